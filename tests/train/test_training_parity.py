"""numbert learns as PyTorch does, step for step: 60 losses, 60 gradient norms and the weights they lead to.

PyTorch's side is stored (tests/helpers/make_parity.py made it), so this proves it without PyTorch. It covers what
one step cannot: the optimizer's memory, its schedule and groups, clipping, gradients that must not stay behind.
"""

import math

import numpy as np
import pytest
from safetensors.numpy import load_file
from training_case import (
    BETAS,
    EPS,
    FILE,
    LR,
    MAX_NORM,
    SCALE,
    SEED,
    STEPS,
    WARMUP,
    WEIGHT_DECAY,
    batches,
    largest_difference,
    numbert_model,
    numbert_training,
    torch_training,
)


@pytest.fixture(scope="module")
def theirs():
    return load_file(FILE)


def test_60_steps_equal_pytorchs(theirs):
    differences = largest_difference(numbert_training(SEED, numbert_model(theirs)), theirs)
    assert max(differences.values()) < 1e-8, differences


def test_gradient_checkpointing_changes_no_bit_of_them(theirs):
    plain, checkpointed = numbert_model(theirs), numbert_model(theirs)
    checkpointed.gradient_checkpointing_enable()
    differences = largest_difference(numbert_training(SEED, checkpointed), numbert_training(SEED, plain))
    assert set(differences.values()) == {0.0}


def test_the_run_is_one_that_can_go_wrong(theirs):
    """It learns, clips in some steps only, pads, and has [PAD] where only the decoder moves its row."""
    losses, norms = theirs["losses"], theirs["norms"]
    assert losses.shape == norms.shape == (STEPS,)
    assert losses[-10:].mean() < losses[:10].mean() - 0.5
    assert 10 < (norms > MAX_NORM).sum() < 50
    assert all((batch["attention_mask"] == 0).any() for batch in batches(SEED))
    words = "bert.embeddings.word_embeddings.weight"
    assert not theirs[f"initial.{words}"][0].any()
    assert theirs[f"final.{words}"][0].any()
    for name, array in theirs.items():
        if name.startswith("final."):
            assert np.abs(array - theirs[name.replace("final.", "initial.")]).max() > 1e-6 or "key.bias" in name


def test_without_bias_correction_60_steps_are_those_of_the_original_bert(theirs):
    model, losses = numbert_model(theirs), []
    m = {name: np.zeros(p.shape) for name, p in model.named_parameters()}
    v = {name: np.zeros(p.shape) for name, p in model.named_parameters()}
    for step, batch in enumerate(batches(SEED)):
        losses.append(float(model(**batch).loss))
        model.zero_grad()
        model.backward(SCALE)
        norm = math.sqrt(sum((p.grad**2).sum() for p in model.parameters()))
        lr = LR * min((step + 1) / WARMUP, (STEPS - step) / (STEPS - WARMUP))
        for name, p in model.named_parameters():
            g = p.grad * min(1, MAX_NORM / norm)
            m[name] = BETAS[0] * m[name] + (1 - BETAS[0]) * g
            v[name] = BETAS[1] * v[name] + (1 - BETAS[1]) * g**2
            decay = 0 if name.endswith("bias") or "LayerNorm" in name else WEIGHT_DECAY
            p.data = p.data - lr * (m[name] / (np.sqrt(v[name]) + EPS) + decay * p.data)
    ours = numbert_training(SEED, numbert_model(theirs), bias_correction=False)
    np.testing.assert_allclose(ours["losses"], losses, rtol=0, atol=1e-8)
    for name, p in model.named_parameters():
        np.testing.assert_allclose(ours[f"final.{name}"], p.data, rtol=0, atol=1e-8, err_msg=name)
    assert np.abs(ours["losses"] - theirs["losses"]).max() > 1e-3, "the correction makes no difference"


@pytest.mark.live
@pytest.mark.parametrize("seed", [11, 12])
def test_60_steps_equal_pytorchs_in_this_process(seed):
    for name in ("torch", "transformers"):
        pytest.importorskip(name, reason=f"needs {name}")
    theirs = torch_training(seed)
    differences = largest_difference(numbert_training(seed, numbert_model(theirs)), theirs)
    assert max(differences.values()) < 1e-8, differences
