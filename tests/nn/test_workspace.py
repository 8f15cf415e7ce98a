"""A workspace's memory is used again when nobody refers to it any more, and never before."""

import gc
import threading
import weakref

import numpy as np
import pytest
import tiny
from cores import num_threads
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided, sliding_window_view

import numbert
from numbert import no_grad
from numbert.nn.workspace import SMALLEST, Storage, empty, workspace

LARGE = SMALLEST // 4  # so many float32 numbers come from a workspace
VIEWS = {
    "itself": lambda x: x,
    "a slice": lambda x: x[1:],
    "one number": lambda x: x[-1, -1:],
    "reshaped": lambda x: x.reshape(-1),
    "transposed": lambda x: x.T,
    "swapped axes of a slice": lambda x: x[::2].swapaxes(0, 1),
    "of another type": lambda x: x.view(np.uint8),
    "strides of its own": lambda x: as_strided(x, (3, 3), (8, 4)),
    "windows": lambda x: sliding_window_view(x, 2, axis=0),
    "broadcast": lambda x: np.broadcast_to(x, (2, *x.shape)),
    "asarray": lambda x: np.asarray(x[2:]),
    "a memoryview": memoryview,
    "an array of a memoryview": lambda x: np.asarray(memoryview(x)[1:]),
    "from a buffer": lambda x: np.frombuffer(x, np.float32, offset=16),
    "a view of a view's view": lambda x: x.reshape(2, -1).T[3:][:, 1],
    "a subclass": lambda x: x.view(type("Sub", (np.ndarray,), {})),
    "in a tuple": lambda x: (None, [x[:1]]),
}


def place(array):
    return array.__array_interface__["data"][0]


def made(shape=(64, LARGE // 64), dtype=np.float32):
    return empty(shape, dtype)


class TestMemory:
    def test_it_is_used_again_once_nobody_refers_to_it(self):
        with workspace():
            places = {place(made()) for _ in range(9)}
            assert len(places) == 1
            first = made()
            second = made()
            assert place(first) != place(second)
            del first
            assert place(made()) in places

    def test_also_for_another_shape_and_type_of_about_that_size(self):
        with workspace():
            first = place(made((64, LARGE // 64)))
            assert place(made((LARGE // 2,), np.float64)) == first
            assert place(made((4, LARGE // 4), np.float32)) == first
            assert place(made((1, LARGE // 4), np.complex128)) == first
        with workspace():
            first = place(made((9 * LARGE // 8,)))
            assert place(made((LARGE + 10, 1))) == first  # a quarter larger is not too large

    def test_it_is_an_array_like_any_other(self):
        with workspace():
            for shape, dtype in (((3, LARGE), np.float32), ((LARGE + 1,), np.complex128), ((2, 5, LARGE), "f8")):
                array = empty(shape, dtype)
                assert (array.shape, array.dtype, type(array)) == (shape, np.dtype(dtype), np.ndarray)
                assert array.flags.c_contiguous
                assert array.flags.writeable
                assert array.flags.aligned
                array[...] = 1
                assert (array == 1).all()

    @pytest.mark.parametrize("view", VIEWS)
    def test_never_while_there_is_a_view(self, view):
        with workspace():
            array = made()
            array[...] = np.arange(array.size).reshape(array.shape)
            kept = VIEWS[view](array)
            taken = place(array)
            del array
            gc.collect()
            others = [made() for _ in range(3)]
            for other in others:
                other[...] = -1
            assert taken not in map(place, others)
            del kept
            gc.collect()
            assert place(made()) == taken

    def test_what_is_kept_outlives_the_block(self):
        with workspace():
            array = made()
            array[...] = 7
            view = array[3:]
            del array
        with workspace():
            for _ in range(3):
                made()[...] = -1
        assert (view == 7).all()

    def test_it_is_given_back_with_the_block(self):
        with workspace():
            array = made()
            storage = weakref.ref(array.base)
            assert type(array.base) is Storage
            del array
            assert storage() is not None
        assert storage() is None

    def test_a_block_within_a_block_has_memory_of_its_own(self):
        with workspace():
            first = place(made())
            with workspace():
                storage = weakref.ref(made().base)
                assert place(made()) != first
            assert storage() is None
            assert place(made()) == first

    def test_after_an_exception_there_is_none(self):
        with pytest.raises(ZeroDivisionError), workspace():
            raise ZeroDivisionError
        assert made().base is None

    def test_outside_a_block_and_for_small_arrays_memory_is_numpys(self):
        assert made().base is None
        with workspace():
            assert empty((SMALLEST - 1,), np.uint8).base is None
            assert empty((0, 10**6), np.float32).base is None
            assert empty((), np.float64).base is None
            assert type(empty((SMALLEST,), np.uint8).base) is Storage

    def test_each_thread_has_its_own(self):
        """Also one that works in a copy of this thread's context."""
        import contextvars

        found = []

        def other():
            found.append(made().base)
            with workspace():
                found.append(place(made()))

        with workspace():
            mine = place(made())
            thread = threading.Thread(target=contextvars.copy_context().run, args=(other,))
            thread.start()
            thread.join()
            assert place(made()) == mine
        assert found[0] is None
        assert found[1] != mine

    def test_what_comes_in_between_takes_nothing_that_is_just_being_lent(self, monkeypatch):
        """A signal's handler may run a model in the middle of `empty`, and keep what it gets."""
        from numbert.nn import workspace as module

        kept = []

        def interrupted(*arguments):
            monkeypatch.setattr(module.weakref, "ref", ref)
            kept.append(made())
            return ref(*arguments)

        ref = weakref.ref
        with workspace():
            made()
            monkeypatch.setattr(module.weakref, "ref", interrupted)
            array = made()
            assert not np.shares_memory(array, kept[0])
            others = [made() for _ in range(3)]
            assert not any(np.shares_memory(other, held) for other in others for held in (array, kept[0]))

    # What a program may do with arrays: make one, keep a view of one, drop one; then all are to be as they were.
    @given(
        st.lists(
            st.tuples(st.sampled_from(["make", "view", "drop"]), st.integers(0, 30), st.integers(0, 30)),
            max_size=40,
        )
    )
    @settings(deadline=None)
    def test_nothing_that_is_held_ever_changes(self, steps):
        views = [view for name, view in VIEWS.items() if "memoryview" not in name and "tuple" not in name]
        held = []
        with workspace():
            for number, (what, which, how) in enumerate(steps):
                if what == "make":
                    array = made((8 + 8 * (which % 3), LARGE // 8))
                    array[...] = number
                    held.append((array, array.copy()))
                    del array
                elif held and what == "drop":
                    held.pop(which % len(held))
                elif held:
                    whole, _ = held[which % len(held)]
                    if whole.ndim == 2 and min(whole.shape) > 4 and whole.flags.c_contiguous:
                        view = views[how % len(views)](whole)
                        held[which % len(held)] = (view, view.copy())
                        del view
                    del whole
                for array, copy in held:
                    assert np.array_equal(array, copy)


class TestAModel:
    """What a model returns is the caller's."""

    SIZES = tiny.config(hidden_size=48, num_attention_heads=4, intermediate_size=200, max_position_embeddings=64)

    @pytest.mark.parametrize(
        "options", [{}, {"unpad": True}, {"output_hidden_states": True, "output_attentions": True}]
    )
    @pytest.mark.parametrize("n", [1, 3])
    def test_its_outputs_stay_as_they_are(self, n, options):
        model = numbert.BertModel(self.SIZES).eval()
        rng = np.random.default_rng(0)
        kept = []
        with num_threads(n), no_grad():
            for call in range(12):
                b, length = (1, 60) if call % 3 else (6, 60)
                ids = rng.integers(1, 29, (b, length))
                mask = (np.arange(length) < rng.integers(1, length + 1, (b, 1))).astype(int)
                for array in arrays(model(ids, mask, **options).to_tuple()):
                    view = array[..., :7] if call % 2 else array
                    kept.append((view, view.copy()))
                    del array, view
                for array, copy in kept:
                    assert np.array_equal(array, copy)

    def test_the_numbers_are_those_without_a_workspace(self, monkeypatch):
        import contextlib

        from numbert.bert import encoder, pretrained

        model = numbert.BertModel(self.SIZES).eval()
        ids = np.random.default_rng(0).integers(1, 29, (6, 60))
        with num_threads(3), no_grad():
            ours = model(ids).last_hidden_state
            for module in (encoder, pretrained):
                monkeypatch.setattr(module, "workspace", contextlib.nullcontext)
            assert np.array_equal(model(ids).last_hidden_state, ours)


def arrays(result):
    """Every array in a tuple of tuples."""
    for value in result:
        yield from arrays(value) if isinstance(value, tuple) else (value,)
