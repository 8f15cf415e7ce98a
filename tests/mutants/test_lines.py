"""Every planted bug still has its line: without running any, so that who changes that line learns it at once."""

import pytest

from mutants import MUTANTS
from mutants.machinery import ROOT


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.file}:{mutant.name}")
def test_the_line_is_in_its_file_exactly_once(mutant):
    mutant.applied_to((ROOT / "numbert" / mutant.file).read_text(encoding="utf-8"))
