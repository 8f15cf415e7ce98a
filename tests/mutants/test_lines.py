"""Every planted bug still has its line: told without running any, so that who changes the line learns it."""

import re

import pytest

from mutants import MUTANTS
from mutants.machinery import ROOT


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.file}:{mutant.name}")
def test_the_line_is_in_its_file_exactly_once(mutant):
    mutant.applied_to((ROOT / "numbert" / mutant.file).read_text(encoding="utf-8"))


def test_the_readme_does_not_promise_more():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(MUTANTS) > int(re.findall(r"over (\d+) planted bugs, each caught", readme)[0])
