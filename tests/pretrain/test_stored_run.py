"""A run that an earlier numbert stopped half-way goes on to the same bits.

run-format-1/ is such a run's folder; helpers/make_run.py made it, and the numbers of expected.json are what that
numbert came to. A change of format would be a new folder beside this one and the refusal of this one.
"""

import json
import shutil

import numpy as np
import pytest
from make_run import STOPPED, arithmetic, outcome
from places import TESTS

from numbert.pretrain.entry import pretrain

STORED = TESTS / "pretrain" / "run-format-1"
EXPECTED = json.loads((STORED / "expected.json").read_text())
OPTIONS = {"resume": True, "save_every": STOPPED, "eval_every": STOPPED, "progress": False}


@pytest.fixture
def resumed(tmp_path):
    """The folder after the rest of the steps."""
    folder = tmp_path / "run"
    shutil.copytree(STORED, folder)
    pretrain([], folder, **OPTIONS)
    return folder


def test_it_goes_on_to_the_same_weights_moments_and_metrics(resumed):
    found = outcome(resumed)
    if arithmetic() == EXPECTED["arithmetic"]:
        for what in ("weights", "moments", "metrics"):
            assert found[what] == EXPECTED[what], what
    else:  # another BLAS, or another processor: the same up to rounding
        for ours, theirs in zip(found["metrics"], EXPECTED["metrics"], strict=True):
            assert ours["step"] == theirs["step"]
            for name in {"loss", "mlm_loss", "nsp_loss"} & set(theirs):
                np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, err_msg=name)
            if "held_out" in theirs:
                np.testing.assert_allclose(ours["held_out"]["loss"], theirs["held_out"]["loss"], rtol=1e-4)
        assert set(found["weights"]) == set(EXPECTED["weights"])


def test_what_was_the_best_before_is_remembered(resumed):
    """Its state.json calls the value of the best checkpoint best_loss."""
    before = json.loads((STORED / "checkpoints" / "step-6" / "state.json").read_text())
    assert before["best_step"] == 6
    assert before["best_loss"] == EXPECTED["metrics"][2]["held_out"]["loss"]
