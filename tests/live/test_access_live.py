"""A resized model, beside transformers: it reads what numbert saves, and resizes to the same numbers."""

import numpy as np
import pytest
import tiny
from test_model_folder_live import assert_same_outputs, ours, theirs

import numbert

pytestmark = pytest.mark.live
torch = pytest.importorskip("torch", reason="needs torch")
transformers = pytest.importorskip("transformers", reason="needs transformers")

V = tiny.SIZES["vocab_size"]
SIZES = [V + 8, V - 8]
CLASSES = ["BertModel", "BertForPreTraining", "BertForMaskedLM", "BertForNextSentencePrediction"]


@pytest.fixture(autouse=True)
def ids_below_every_size(monkeypatch):
    given = tiny.inputs()
    given["input_ids"] %= min(SIZES)
    monkeypatch.setattr(tiny, "inputs", lambda: given)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", CLASSES)
class TestResized:
    def test_transformers_reads_it(self, name, tied, size, tmp_path):
        model = ours(name, tied)
        model.resize_token_embeddings(size)
        model.save_pretrained(tmp_path)
        read, info = getattr(transformers, name).from_pretrained(tmp_path, output_loading_info=True)
        assert not any(info.values()), info
        assert read.config.vocab_size == size
        assert_same_outputs(model, read.eval())

    def test_what_transformers_resizes_is_the_same(self, name, tied, size, tmp_path):
        """Sizes and every number that remains; new rows have the same mean and deviation, new biases are 0."""
        other = theirs(name, tied)
        other.save_pretrained(tmp_path)
        model = getattr(numbert, name).from_pretrained(tmp_path)
        model.resize_token_embeddings(size)
        other.resize_token_embeddings(size, mean_resizing=False)
        assert model.config.vocab_size == other.config.vocab_size == size
        kept, state = min(size, V), other.state_dict()
        for key, array in model.state_dict().items():
            reference = state[key].numpy()
            assert array.shape == reference.shape, key
            if array.shape[0] == size:
                assert np.array_equal(array[:kept], reference[:kept]), key
                if size > V:
                    assert array[kept:].std() == pytest.approx(reference[kept:].std(), abs=0.01), key
            else:
                assert np.array_equal(array, reference), key
