"""numbert gives PyTorch's numbers: every output, the loss and every gradient of small models.

PyTorch's side is stored (tests/helpers/make_parity.py made it), so this proves it without PyTorch.
"""

import numpy as np
import pytest
from parity_cases import CASES, assert_same, numbert_numbers
from places import STORED
from safetensors.numpy import load_file


@pytest.mark.parametrize("name", CASES)
def test_float64_equals_pytorch(name):
    theirs = load_file(STORED / f"{name}.safetensors")
    assert_same(numbert_numbers(CASES[name], theirs, np.float64), theirs, tolerance=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_float32_equals_pytorch_in_float64_up_to_rounding(name):
    theirs = load_file(STORED / f"{name}.safetensors")
    ours = numbert_numbers(CASES[name], theirs, np.float32)
    assert {array.dtype for array in ours.values()} == {np.dtype(np.float32)}
    assert_same(ours, theirs, tolerance=2e-5)


def test_every_activation_has_a_case_or_is_a_synonym_of_one():
    from numbert.nn.activations import ACT2FN

    used = {case.sizes.get("hidden_act", "gelu") for case in CASES.values()}
    assert set(ACT2FN) - used == {"swish", "tanh"}  # swish is silu; tanh is the pooler's
