"""The comparison of test_parity.py with PyTorch in this process, on weights and batches that are not stored."""

import dataclasses
import math

import numpy as np
import pytest
from parity_cases import CASES, assert_same, numbert_numbers, torch_numbers

pytestmark = pytest.mark.live
torch = pytest.importorskip("torch", reason="needs torch")
transformers = pytest.importorskip("transformers", reason="needs transformers")


RELEASE = int(transformers.__version__.split(".")[0])


@pytest.mark.parametrize("seed", [11, 12, 13])
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.last_release >= RELEASE])
def test_outputs_losses_and_gradients(name, seed):
    case = dataclasses.replace(CASES[name], seed=seed)
    theirs = torch_numbers(case)
    assert_same(numbert_numbers(case, theirs, np.float64), theirs, tolerance=1e-12)


def test_initialisation_is_as_published():
    """Means and standard deviations of every parameter agree with transformers' own initialisation."""
    import numbert

    sizes = {"vocab_size": 2000, "hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    theirs = transformers.BertForPreTraining(transformers.BertConfig(**sizes)).state_dict()
    ours = numbert.BertForPreTraining(numbert.BertConfig(**sizes), seed=3).state_dict()
    for name, array in ours.items():
        reference = theirs[name].numpy()
        assert array.shape == reference.shape, name
        tolerance = 6 * 0.02 / math.sqrt(array.size)
        assert array.mean() == pytest.approx(reference.mean(), abs=2 * tolerance), name
        assert array.std() == pytest.approx(reference.std(), abs=2 * tolerance), name
    for name in ("bert.embeddings.word_embeddings.weight",):
        assert not ours[name][0].any(), "the [PAD] row starts at zero"
        assert not theirs[name][0].any()
