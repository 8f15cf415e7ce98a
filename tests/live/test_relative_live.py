"""The comparison of bert/test_relative.py with PyTorch in this process; relative models in transformers' hands.

From its fifth release on, transformers has no relative positions, so there is nothing to compare with.
"""

import numpy as np
import pytest
import relative_steps
import tiny
from parity_cases import assert_same

import numbert

pytestmark = pytest.mark.live
torch = pytest.importorskip("torch", reason="needs torch")
transformers = pytest.importorskip("transformers", reason="needs transformers")

if int(transformers.__version__.split(".")[0]) < 5:

    @pytest.mark.parametrize("seed", [21, 22])
    @pytest.mark.parametrize("kind", relative_steps.KINDS)
    def test_gradients_and_steps_of_a_pruned_decoder(kind, seed):
        theirs = relative_steps.torch_numbers(kind, seed)
        assert_same(relative_steps.numbert_numbers(kind, theirs, np.float64, seed), theirs, tolerance=1e-12)

    @pytest.mark.parametrize("kind", relative_steps.KINDS)
    def test_each_reads_what_the_other_saves(kind, tmp_path):
        """After a step of training and of pruning here; no name in the file is missing or unexpected."""
        model = numbert.BertForPreTraining(tiny.config(position_embedding_type=kind), seed=1)
        model(**tiny.batch())
        model.backward()
        numbert.AdamW(model.parameters(), lr=0.1).step()
        model.prune_heads({1: [0]})
        model.eval().save_pretrained(tmp_path / "ours")
        read, info = transformers.BertForPreTraining.from_pretrained(tmp_path / "ours", output_loading_info=True)
        assert not any(info.values()), info
        assert read.config.position_embedding_type == kind
        inputs = {name: torch.tensor(array) for name, array in tiny.inputs().items()}
        with torch.no_grad():
            theirs = read.eval()(**inputs).prediction_logits.numpy()
        np.testing.assert_allclose(model(**tiny.inputs()).prediction_logits, theirs, rtol=0, atol=1e-5)

        read.save_pretrained(tmp_path / "theirs")
        back = numbert.BertForPreTraining.from_pretrained(tmp_path / "theirs").state_dict()
        for name, array in model.state_dict().items():
            np.testing.assert_array_equal(back[name], array, err_msg=name)
