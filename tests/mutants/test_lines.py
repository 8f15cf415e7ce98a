"""Every planted bug still has its line: told without running any, so that who changes the line learns it."""

import pytest

from mutants import MUTANTS
from mutants.machinery import ROOT


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.file}:{mutant.name}")
def test_the_line_is_in_its_file_exactly_once(mutant):
    mutant.applied_to((ROOT / "numbert" / mutant.file).read_text(encoding="utf-8"))


def test_the_readme_counts_them():
    assert f"| {len(MUTANTS)} planted bugs, each caught" in (ROOT / "README.md").read_text(encoding="utf-8")
