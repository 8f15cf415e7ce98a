"""Work that threads share: every piece once, failures raised, and the BLAS's number of threads put back."""

import os
import subprocess
import sys
import threading
from contextlib import ExitStack

import numpy as np
import pytest
import tiny
from cores import num_threads
from hypothesis import given
from hypothesis import strategies as st
from messages import one_line

import numbert
from numbert import InputError, no_grad
from numbert.nn import threads
from numbert.nn.switches import remembering
from numbert.nn.threads import Blas, blas, in_threads, threads_here

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")


@pytest.fixture(autouse=True)
def three_threads():
    with num_threads(3):
        yield


class Library:
    """A BLAS for these tests: it has a number of threads and does nothing."""

    def __init__(self, num_threads=4):
        self.num_threads, self.calls = num_threads, []

    def set_num_threads(self, n):
        self.num_threads = n
        self.calls.append(n)


def blas_of(*libraries):
    made = Blas()
    made.libraries = lambda: list(libraries)
    return made


def run(script, **environment):
    """Runs a script in a Python of its own; returns what it prints."""
    kept = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    result = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.strip()


def in_thread(function, *arguments):
    thread = threading.Thread(target=function, args=arguments)
    thread.start()
    return thread


class TestTheNumber:
    @pytest.mark.parametrize("wrong", [0, -1, 1.5, "2", None, True, np.nan])
    def test_what_is_no_number_of_threads(self, wrong):
        with pytest.raises(InputError, match="n is ") as error:
            numbert.set_num_threads(wrong)
        one_line(error)
        assert numbert.get_num_threads() == 3

    def test_it_is_what_was_set(self):
        for n in (1, np.int64(2), 100):
            numbert.set_num_threads(n)
            assert numbert.get_num_threads() == n

    @pytest.mark.parametrize(
        ("environment", "wanted"),
        [
            ({}, CORES),
            ({"OMP_NUM_THREADS": "1"}, 1),
            ({"OMP_NUM_THREADS": "1000"}, CORES),
            ({"OMP_NUM_THREADS": "0"}, CORES),
            ({"OMP_NUM_THREADS": "²"}, CORES),
        ],
    )
    def test_before_that_it_is_the_environments_or_the_number_of_cores(self, environment, wanted):
        script = "import sys\nfrom numbert.nn.threads import get_num_threads\nprint(get_num_threads())"
        assert run(script, PYTHONUTF8="1", **environment) == str(wanted)


class TestInThreads:
    @pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
    @pytest.mark.parametrize("n", [1, 2, 5])
    def test_every_piece_is_worked_on_once(self, n, count):
        done = []
        with num_threads(n):
            in_threads(done.append, iter(range(count)))
        assert sorted(done) == list(range(count))

    def test_as_many_threads_as_are_allowed_and_the_callers_is_one(self):
        together, who = threading.Barrier(3), set()

        def work(piece):
            together.wait(30)  # three are at work at one time
            who.add(threading.get_ident())

        in_threads(work, range(3))
        assert len(who) == 3
        assert threading.get_ident() in who

    def test_one_thread_is_the_callers(self):
        who = set()
        with num_threads(1):
            in_threads(lambda piece: who.add(threading.get_ident()), range(9))
        assert who == {threading.get_ident()}

    @pytest.mark.parametrize("fails_in", ["the caller's thread", "another"])
    def test_a_failure_is_raised_and_no_further_piece_is_begun(self, fails_in):
        together, begun = threading.Barrier(3), []

        def work(piece):
            begun.append(piece)
            if len(begun) <= 3:
                together.wait(30)
                if (threading.current_thread() is threading.main_thread()) == (fails_in == "the caller's thread"):
                    raise ZeroDivisionError(piece)
            threading.Event().wait(0.05)

        with pytest.raises(ZeroDivisionError):
            in_threads(work, range(1000))
        assert len(begun) < 20  # three, and a few while the failure is on its way

    def test_no_piece_runs_any_more_when_a_failure_is_raised(self):
        together, running = threading.Barrier(3), []

        def work(piece):
            together.wait(30)
            if threading.current_thread() is threading.main_thread():
                raise KeyboardInterrupt
            running.append(piece)
            threading.Event().wait(0.05)
            running.remove(piece)

        with pytest.raises(KeyboardInterrupt):
            in_threads(work, range(3))
        assert running == []

    def test_it_works_in_a_copy_of_the_callers_context(self):
        together, remembered = threading.Barrier(3), []

        def work(piece):
            together.wait(30)
            remembered.append(remembering())

        with no_grad():
            in_threads(work, range(3))
        assert remembered == [False] * 3
        in_threads(work, range(3))
        assert remembered[3:] == [True] * 3

    def test_a_share_that_shares_its_own_work_computes_alone(self):
        together, inner = threading.Barrier(3), []

        def work(piece):
            together.wait(30)
            assert threads_here() == 1
            in_threads(lambda part: inner.append((piece, part, threading.get_ident())), range(4))

        in_threads(work, range(3))
        assert threads_here() == 3
        assert sorted(pair[:2] for pair in inner) == [(i, j) for i in range(3) for j in range(4)]
        assert len({(piece, who) for piece, _, who in inner}) == 3

    def test_a_single_piece_is_not_shared(self, monkeypatch):
        """It may share its own work, and the BLAS, whose threads are of use to it, is left alone."""
        library = Library()
        monkeypatch.setattr(blas, "libraries", lambda: [library])
        in_threads(lambda piece: library.calls.append(threads_here()), [0])
        assert library.calls == [3]

    def test_several_callers_at_once(self):
        wrong = []

        def call(number):
            for _ in range(20):
                done = []
                in_threads(done.append, range(17))
                if sorted(done) != list(range(17)):
                    wrong.append((number, done))

        for thread in [in_thread(call, number) for number in range(5)]:
            thread.join()
        assert not wrong

    def test_a_busy_pool_is_not_waited_for(self):
        leave, done = threading.Event(), []
        busy = [threads._pool().submit(leave.wait, 5) for _ in range(2)]
        try:
            in_threads(done.append, range(9))
            assert sorted(done) == list(range(9))
            assert not any(task.done() for task in busy)
        finally:
            leave.set()

    def test_a_share_that_was_not_begun_does_nothing_later(self, monkeypatch):
        """Where no thread can be started, the pool says so, but keeps what it was given."""
        kept, done = [], []

        class Full:
            def submit(self, function, *arguments):
                kept.append((function, arguments))
                raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threads, "_pool", Full)
        in_threads(done.append, range(9))
        assert (done, len(kept)) == (list(range(9)), 2)
        for function, arguments in kept:
            function(*arguments)
        assert done == list(range(9))

    def test_a_share_that_was_begun_is_waited_for_even_so(self, monkeypatch):
        both, done = threading.Barrier(2), []

        class Full:
            def submit(self, function, *arguments):
                in_thread(function, *arguments)
                raise RuntimeError("can't start new thread")

        def work(piece):
            both.wait(30)
            if threading.current_thread() is not threading.main_thread():
                threading.Event().wait(0.05)
            done.append(piece)

        with num_threads(2):
            monkeypatch.setattr(threads, "_pool", Full)
            in_threads(work, range(2))
            assert sorted(done) == [0, 1]
            monkeypatch.undo()

    def test_at_the_interpreters_end_the_caller_does_all(self):
        script = (
            "import atexit, numbert\nfrom numbert.nn.threads import in_threads\nnumbert.set_num_threads(3)\n"
            "done = []\natexit.register(lambda: (in_threads(done.append, range(9)), print(sorted(done))))"
        )
        assert run(script) == str(list(range(9)))

    @needs_fork
    def test_a_forked_child_computes(self):
        script = """
import os, threading, numbert
from numbert.nn.threads import in_threads
numbert.set_num_threads(3)

def shared():
    together, who = threading.Barrier(3), []
    in_threads(lambda piece: (together.wait(30), who.append(threading.get_ident())), range(3))
    return len(set(who)) == 3

assert shared()
child = os.fork()
if not child:
    os._exit(0 if shared() else 1)
print(os.waitpid(child, 0)[1], shared())
"""
        assert run(script) == "0 True"


class TestTheBlas:
    """Its number of threads is the whole process's: what calls ask for at the same time must go together."""

    def test_a_limit_holds_within_the_block_and_is_put_back(self):
        one, other = Library(4), Library(2)
        limited = blas_of(one, other)
        for n, wanted in ((1, (1, 1)), (3, (3, 2)), (9, (4, 2))):
            with limited.limited_to(n):
                assert (one.num_threads, other.num_threads) == wanted
            assert (one.num_threads, other.num_threads) == (4, 2)

    def test_a_limit_that_changes_nothing_is_not_set(self):
        library = Library(4)
        with blas_of(library).limited_to(4):
            assert library.calls == []
        assert library.calls == []

    def test_an_exception_puts_it_back(self):
        library = Library()
        with pytest.raises(ZeroDivisionError), blas_of(library).limited_to(1):
            raise ZeroDivisionError
        assert library.num_threads == 4

    def test_an_interrupt_while_it_is_set_puts_it_back(self):
        class Interrupted(Library):
            def set_num_threads(self, n):
                super().set_num_threads(n)
                if len(self.calls) == 1:
                    raise KeyboardInterrupt

        library = Interrupted()
        limited = blas_of(library)
        with pytest.raises(KeyboardInterrupt), limited.limited_to(1):
            pass
        assert limited.limits == {}
        with limited.limited_to(2):
            assert library.num_threads == 2
        assert library.num_threads == 4

    # A number is a call that asks for so many threads, and "leave" says which of those inside leaves next.
    @given(st.lists(st.integers(1, 5) | st.tuples(st.just("leave"), st.integers(0, 9)), max_size=12))
    def test_of_overlapping_limits_the_smallest_holds_and_the_last_one_out_puts_it_back(self, steps):
        library = Library(4)
        limited, inside = blas_of(library), []
        for step in [*steps, *[("leave", 0)] * 12]:
            if isinstance(step, int):
                block = limited.limited_to(step)
                block.__enter__()
                inside.append((step, block))
            elif inside:
                _, block = inside.pop(step[1] % len(inside))
                block.__exit__(None, None, None)
            assert library.num_threads == min([4, *(n for n, _ in inside)])
        assert library.num_threads == 4

    def test_two_threads_that_come_and_go_in_every_order(self):
        for leaves_first in (1, 2):
            library = Library(4)
            limited = blas_of(library)
            inside, leave = threading.Event(), threading.Event()

            def other(limited=limited, inside=inside, leave=leave):
                with limited.limited_to(2):
                    inside.set()
                    leave.wait(30)

            with ExitStack() as stack:
                stack.enter_context(limited.limited_to(1))
                thread = in_thread(other)
                inside.wait(30)
                assert library.num_threads == 1
                if leaves_first == 2:
                    leave.set()
                    thread.join()
                    assert library.num_threads == 1
            assert library.num_threads == (2 if leaves_first == 1 else 4)
            leave.set()
            thread.join()
            assert library.num_threads == 4

    def test_what_was_set_between_two_calls_is_what_is_put_back(self):
        library = Library(4)
        limited = blas_of(library)
        with limited.limited_to(1):
            pass
        library.num_threads = 3
        with limited.limited_to(1):
            assert library.num_threads == 1
        assert library.num_threads == 3

    @needs_fork
    @pytest.mark.parametrize("where", ["inside", "outside"])
    def test_a_forked_child_has_the_limits_of_its_own_thread_alone(self, where):
        script = f"""
import contextlib, os, threading
from numbert.nn.threads import blas

class Library:
    num_threads = 4

    def set_num_threads(self, n):
        self.num_threads = n

library = Library()
blas.libraries = lambda: [library]
inside, leave = threading.Event(), threading.Event()

def other():
    with blas.limited_to(1):
        inside.set()
        leave.wait(30)

thread = threading.Thread(target=other)
thread.start()
inside.wait(30)
with blas.limited_to(2) if {where!r} == "inside" else contextlib.nullcontext():
    child = os.fork()
    seen = [library.num_threads]
seen.append(library.num_threads)
with blas.limited_to(3):
    seen.append(library.num_threads)
seen.append(library.num_threads)
if not child:
    os._exit(0 if seen == [{2 if where == "inside" else 4}, 4, 3, 4] else 1)
assert seen == [1, 1, 1, 1], seen
status = os.waitpid(child, 0)[1]
leave.set()
thread.join()
print(status, library.num_threads)
"""
        assert run(script) == "0 4"

    def test_the_library_behind_numpy_obeys(self):
        """In a process of its own: the library that SciPy brings would be enough here."""
        known = ("openblas", "mkl", "blis")
        name = np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
        if not any(word in name for word in known):
            pytest.skip(f"the BLAS is {name}; {', '.join(known)} can be limited")
        script = """
import numpy
from numbert.nn.threads import blas

def threads():
    return [library.num_threads for library in blas.libraries()]

before = threads()
with blas.limited_to(1):
    inside = threads()
print(len(before) > 0, inside == [1] * len(before), threads() == before)
"""
        assert run(script) == "True True True"

    def test_within_shared_work_it_has_one_thread(self, monkeypatch):
        library, seen = Library(4), []
        monkeypatch.setattr(blas, "libraries", lambda: [library])
        in_threads(lambda piece: seen.append(library.num_threads), range(7))
        assert (seen, library.num_threads) == ([1] * 7, 4)


MODEL = {"hidden_size": 24, "num_attention_heads": 4, "max_position_embeddings": 16}
IDS = np.random.default_rng(0).integers(1, 29, (9, 16))


class TestAModel:
    def test_the_same_bits_for_the_same_number_of_threads(self):
        """However often, and by however many callers at once."""
        model = numbert.BertModel(tiny.config(**MODEL)).eval()
        with no_grad():
            expected = model(IDS).last_hidden_state.copy()
        wrong = []

        def serve():
            with no_grad():
                wrong.extend(i for i in range(8) if not np.array_equal(model(IDS).last_hidden_state, expected))

        for thread in [in_thread(serve) for _ in range(4)]:
            thread.join()
        assert not wrong

    def test_with_a_blas_that_cannot_be_limited_nothing_runs_beside_it(self, monkeypatch):
        model = numbert.BertModel(tiny.config(**MODEL), dtype=np.float64).eval()
        mask = np.tri(9, 16, 4, dtype=int)
        expected = model(IDS, mask)
        monkeypatch.setattr(blas, "libraries", list)
        who = set()
        with no_grad():
            in_threads(lambda piece: who.add(threading.get_ident()), range(9))
            assert model.encoder.parts(9, 16) == [slice(None)]
            np.testing.assert_allclose(model(IDS, mask)[0], expected[0], atol=1e-12)
            unpadded = model(IDS, mask, unpad=True)[0]
        assert who == {threading.get_ident()}
        np.testing.assert_allclose(unpadded, expected[0] * mask[..., None], atol=1e-12)
