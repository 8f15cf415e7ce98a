"""numbert writes what transformers writes, token by token: on weights and prompts that are not stored."""

import dataclasses

import pytest
from generation_cases import DECODERS, WAYS, assert_same_tokens, numbert_tokens, torch_tokens

pytestmark = pytest.mark.live
torch = pytest.importorskip("torch", reason="needs torch")
transformers = pytest.importorskip("transformers", reason="needs transformers")


# The releases 5 have no relative positions, and their search with beams ends by other rules.
RELEASE = int(transformers.__version__.split(".")[0])
NAMES = [
    name for name, decoder in DECODERS.items() if RELEASE < 5 or "position_embedding_type" not in decoder.config
]


@pytest.mark.parametrize("seed", [11, 12, 13, 14])
@pytest.mark.parametrize("name", NAMES)
def test_the_same_tokens_greedily_and_by_beam_search(name, seed):
    decoder = dataclasses.replace(DECODERS[name], seed=seed)
    theirs = torch_tokens(decoder)
    ways = [way for way, options in WAYS.items() if RELEASE < 5 or "num_beams" not in options]
    assert_same_tokens(numbert_tokens(decoder, theirs), theirs, ways)
