"""Every planted bug of this folder is caught by the tests.

`pytest -m mutation` plants them all and ends with the list of what caught each; `-k softmax` plants those with
softmax in their name, `-k bert/attention.py` those of that file.
"""

import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from mutants import MUTANTS
from mutants.machinery import Mutant, StaleMutantError, copy_package, plant, run_tests

pytestmark = pytest.mark.mutation
PROCESSES = 2


class Table:
    """A pytest plugin that ends the run with what caught each mutant."""

    def __init__(self):
        self.catches = {}

    def pytest_terminal_summary(self, terminalreporter):
        if not self.catches:
            return
        width = max(map(len, self.catches))
        terminalreporter.section(f"{len(self.catches)} planted bugs, each caught")
        terminalreporter.write_line(f"{'mutant':{width}} | caught by")
        for name, catches in self.catches.items():
            for catch in catches:
                terminalreporter.write_line(f"{name:{width}} | {catch}")
                name = ""


@pytest.fixture(scope="module")
def table(request):
    table = Table()
    request.config.pluginmanager.register(table)
    return table


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory):
    """What comes of each selected mutant, by its name, and of none, by "", if selected: futures, two at a time."""
    selected = [(item, getattr(item, "originalname", "")) for item in request.session.items]
    items = [item for item, name in selected if name == test_the_bug_is_caught.__name__]
    folder = tmp_path_factory.mktemp("mutants")
    original = copy_package(folder / "original")

    def run(mutant):
        planted = plant(mutant, original, folder / mutant.name)
        catches = run_tests(planted, mutant.must_catch, mutant.file)
        shutil.rmtree(planted)
        return catches

    targets = sorted({target for mutant in MUTANTS for target in mutant.must_catch})
    pool = ThreadPoolExecutor(PROCESSES)
    futures = {}
    if any(name == test_without_a_bug_the_same_tests_pass.__name__ for _, name in selected):
        futures[""] = pool.submit(run_tests, original, tuple(targets))
    for item in items:
        mutant = item.callspec.params["mutant"]
        futures[mutant.name] = pool.submit(run, mutant)
    yield futures
    pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.file}:{mutant.name}")
def test_the_bug_is_caught(mutant, runs, table):
    catches = runs[mutant.name].result()
    assert [catch.target for catch in catches] == list(mutant.must_catch)
    survived = [catch.target for catch in catches if not catch.test]
    assert not survived, f"{mutant.name} survives {', '.join(survived)}: {mutant.why}"
    broken = [f"{catch.broken} in {catch}" for catch in catches if catch.broken]
    assert not broken
    table.catches[mutant.name] = catches


def test_without_a_bug_the_same_tests_pass(runs):
    assert [str(catch) for catch in runs[""].result() if catch.test] == []


def test_there_are_mutants_enough_and_each_says_what_it_is():
    assert len(MUTANTS) >= 30
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert all(mutant.why and mutant.must_catch and mutant.old != mutant.new for mutant in MUTANTS)


def test_a_mutant_whose_line_is_gone_or_there_twice_is_stale():
    mutant = Mutant("name", "nn/module.py", "old", "new", "why")
    assert mutant.applied_to("one old line") == "one new line"
    for text in ("another line", "an old, old line"):
        with pytest.raises(
            StaleMutantError, match=r"name has gone stale: numbert/nn/module\.py has \d times, not"
        ):
            mutant.applied_to(text)


def run_with(new, tmp_path):
    mutant = Mutant(
        "broken", "nn/functional/softmax.py", "np.exp(probs, out=probs)", new, "why", ("bert/test_parity.py",)
    )
    folder = plant(mutant, copy_package(tmp_path / "original"), tmp_path / "planted")
    return run_tests(folder, mutant.must_catch, mutant.file)


def test_a_mutant_that_is_no_program_does_not_count_as_caught(tmp_path):
    (catch,) = run_with("exponential(probs, out=probs)", tmp_path)
    assert catch.broken == "the mutant is broken: NameError"


def test_a_mutant_that_cannot_be_imported_does_not_count_as_caught(tmp_path):
    with pytest.raises(RuntimeError, match=r"the tests did not run:(.|\n)*SyntaxError"):
        run_with("np.exp(", tmp_path)
