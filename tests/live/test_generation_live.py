"""numbert writes what transformers writes, token by token: on weights and prompts that are not stored."""

import dataclasses

import pytest
from generation_cases import DECODERS, assert_same_tokens, numbert_tokens, torch_tokens

pytestmark = pytest.mark.live
torch = pytest.importorskip("torch", reason="needs torch")
transformers = pytest.importorskip("transformers", reason="needs transformers")


@pytest.mark.skipif(
    int(transformers.__version__.split(".")[0]) >= 5, reason="needs transformers 4, which has relative positions"
)
@pytest.mark.parametrize("seed", [11, 12, 13, 14])
@pytest.mark.parametrize("name", DECODERS)
def test_the_same_tokens_greedily_and_by_beam_search(name, seed):
    decoder = dataclasses.replace(DECODERS[name], seed=seed)
    theirs = torch_tokens(decoder)
    assert_same_tokens(numbert_tokens(decoder, theirs), theirs)
