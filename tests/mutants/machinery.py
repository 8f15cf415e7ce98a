"""What plants a bug in a copy of numbert, and tells which test caught it.

Each Mutant is one exact replacement in one file of numbert. `plant` makes it in a copy of the package, `run_tests`
runs tests on the copy and tells which one failed first; test_mutants.py demands that one does.
"""

from __future__ import annotations

import compileall
import importlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TIMEOUT = 600  # seconds, for a process that takes 1 to 30 on an idle machine

GRADCHECK = "proof/test_gradcheck.py::TestEveryLayerOfNumbert::test_each_is_proved_below_1e_10"
PARITY = "bert/test_parity.py"


@dataclass(frozen=True)
class Mutant:
    """One bug.

    Attributes:
        file: in numbert/, where `old` stands exactly once; `new` takes its place.
        why: how people come to it, and what goes wrong.
        tests: files, or tests in them (file::name), in tests/; each must catch the bug by itself.
        gradient: both the gradient check and the comparison with PyTorch must catch it, too.
    """

    name: str
    file: str
    old: str
    new: str
    why: str
    tests: tuple[str, ...] = ()
    gradient: bool = False

    @property
    def must_catch(self) -> tuple[str, ...]:
        return ((GRADCHECK, PARITY) if self.gradient else ()) + self.tests

    def applied_to(self, text: str) -> str:
        """The file's text with the bug in it.

        Raises:
            StaleMutantError: `old` is not there exactly once.
        """
        if (count := text.count(self.old)) != 1:
            raise StaleMutantError(
                f"{self.name} has gone stale: numbert/{self.file} has {count} times, not once:\n{self.old}"
            )
        return text.replace(self.old, self.new)


class StaleMutantError(Exception):
    pass


# What shows that the mutant is no program, rather than a wrong one.
BROKEN = (
    "SyntaxError",
    "IndentationError",
    "ImportError",
    "ModuleNotFoundError",
    "NameError",
    "UnboundLocalError",
)


@dataclass(frozen=True)
class Catch:
    """The first test of one target that failed; test is "" where none did.

    Attributes:
        target: what was run, as in Mutant.tests.
        test: the name of the test within tests/.
        error: the exception's class.
        broken: why this does not count, or "".
    """

    target: str
    test: str = ""
    error: str = ""
    message: str = ""
    broken: str = ""

    def __str__(self) -> str:
        said = next(iter(self.message.strip().splitlines()), "")
        return f"{self.test}: {said[:80]}{'...' * (len(said) > 80)}"


def copy_package(folder: Path) -> Path:
    """Copies what a test run needs, compiled, so that each mutant compiles one file only."""
    ignored = shutil.ignore_patterns("__pycache__")
    for part in ("numbert", "tests"):
        shutil.copytree(ROOT / part, folder / part, ignore=ignored)
    shutil.copy2(ROOT / "pyproject.toml", folder)
    (folder / "weights").symlink_to(ROOT / "weights")
    compileall.compile_dir(folder / "numbert", quiet=2)
    return folder


def plant(mutant: Mutant, original: Path, folder: Path) -> Path:
    """A copy of the copied package with the bug in it."""
    temporary = shutil.ignore_patterns("temporary")  # where its own tests may run
    shutil.copytree(original, folder, symlinks=True, ignore=temporary)
    path = folder / "numbert" / mutant.file
    path.write_text(mutant.applied_to(path.read_text(encoding="utf-8")), encoding="utf-8")
    Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)
    return folder


def run_tests(folder: Path, targets: tuple[str, ...], file: str = "__init__.py") -> list[Catch]:
    """Runs each target on the package in a folder, up to its first failure, in one new process.

    Args:
        file: in numbert/; it is imported first, and must come from the folder.

    Raises:
        RuntimeError: the process failed by itself, as when the package cannot be imported, or took too long.
    """
    # Nothing may be told in full: with CI set, pytest writes the whole diff of two files.
    left_out = ("PYTEST_ADDOPTS", "NUMBERT_NO_SKIPS", "CI", "BUILD_NUMBER")
    environment = {k: v for k, v in os.environ.items() if k not in left_out}
    environment |= {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # hypothesis' own takes a second, and the tests need none
    command = [sys.executable, str(folder / "tests" / "mutants" / Path(__file__).name), file, *targets]
    try:
        run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"the tests took more than {TIMEOUT} seconds") from None
    if run.returncode:
        raise RuntimeError(f"the tests did not run:\n{run.stdout[-2000:]}{run.stderr[-2000:]}")
    return [Catch(**catch) for catch in json.loads(run.stdout.splitlines()[-1])]


class FirstFailure:
    """A pytest plugin that keeps what the first failing test was."""

    def __init__(self, target: str) -> None:
        self.catch = Catch(target)

    def pytest_exception_interact(self, node, call, report) -> None:  # type: ignore[no-untyped-def]
        if self.catch.test:
            return
        error = call.excinfo.type.__name__
        broken = ""
        if call.when == "collect":
            broken = "it could not be collected"
        elif error in BROKEN:
            broken = f"the mutant is broken: {error}"
        test = node.nodeid.removeprefix("tests/")
        message = str(call.excinfo.value).replace(f"{Path.cwd()}{os.sep}", "")
        self.catch = Catch(self.catch.target, test, error, message[:400], broken)


def main(file: str, *targets: str) -> None:
    """In the new process: imports numbert's file, runs the targets, and prints the catches as JSON."""
    import pytest

    parts = Path("numbert", file).with_suffix("").parts
    module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
    wanted = Path.cwd() / "numbert" / file
    if Path(str(module.__file__)).resolve() != wanted.resolve():
        raise SystemExit(f"{module.__name__} is {module.__file__}, not {wanted}")
    if any("hypothesis" in Path("tests", target.partition("::")[0]).read_text("utf-8") for target in targets):
        from hypothesis import Phase, settings

        # The same examples each time, so that no mutant escapes by chance; what fails need not be made small.
        settings.register_profile("mutants", derandomize=True, phases=[Phase.explicit, Phase.generate])
        settings.load_profile("mutants")
    catches = []
    for target in targets:
        first = FirstFailure(target)
        options = ["-x", "-q", "-p", "no:cacheprovider", "--tb=short", "--basetemp=temporary"]
        code = pytest.main([*options, f"tests/{target}"], [first])
        if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) and not first.catch.broken:
            raise SystemExit(f"pytest {target} ended with {code!r}")
        catches.append(vars(first.catch))
    print()
    print(json.dumps(catches))


if __name__ == "__main__":
    main(*sys.argv[1:])
