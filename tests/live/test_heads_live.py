"""Pruned model folders, and the importance of heads, as transformers has them until its release 4."""

import numpy as np
import pytest
import tiny

import numbert

pytestmark = pytest.mark.live
torch = pytest.importorskip("torch", reason="needs torch")
transformers = pytest.importorskip("transformers", reason="needs transformers")
RELEASE = int(transformers.__version__.split(".")[0])

PRUNED = {0: [1], 1: [2, 0]}
DECODER = {"is_decoder": True, "add_cross_attention": True, "position_embedding_type": "relative_key_query"}
CASES = {"BertForPreTraining": {}, "BertForMaskedLM": {}, "BertLMHeadModel": DECODER}


def inputs_for(name, **labels):
    given = tiny.inputs() | labels
    if name == "BertLMHeadModel":
        given["encoder_hidden_states"] = np.random.default_rng(4).standard_normal((5, 4, 12))
    return given


def assert_same_outputs(ours, theirs, name):
    given = inputs_for(name)
    with torch.no_grad():
        other = theirs(**{key: torch.tensor(value) for key, value in given.items()})[0].numpy()
    assert np.abs(ours(**given)[0] - other).max() < 1e-9 * max(1.0, np.abs(other).max())


@pytest.fixture
def ours():
    def build(name):
        model = getattr(numbert, name)(tiny.config(**CASES[name]), dtype=np.float64).eval()
        rng = np.random.default_rng(0)
        for parameter in model.parameters():
            parameter.data = rng.normal(0, 0.5, parameter.shape)
        return model

    return build


if RELEASE < 5:

    @pytest.mark.parametrize("name", CASES)
    class TestPrunedFolders:
        def test_transformers_reads_what_numbert_saves(self, name, ours, tmp_path):
            model = ours(name)
            model.prune_heads({1: [2]})
            model.prune_heads({0: [1], 1: [0]})
            model.save_pretrained(tmp_path)
            cls = getattr(transformers, name)
            read, info = cls.from_pretrained(tmp_path, output_loading_info=True, torch_dtype=torch.float64)
            assert not any(info.values()), info
            assert read.config.pruned_heads == {0: [1], 1: [0, 2]}
            assert_same_outputs(model, read.eval(), name)

        def test_numbert_reads_what_transformers_saves(self, name, tmp_path):
            torch.manual_seed(0)
            config = transformers.BertConfig(**tiny.SIZES, **CASES[name])
            theirs = getattr(transformers, name)(config).double().eval()
            with torch.no_grad():
                for parameter in theirs.parameters():
                    parameter.normal_(0, 0.5)
            theirs.prune_heads(PRUNED)
            theirs.double()  # pruning makes what is left float32
            theirs.save_pretrained(tmp_path, max_shard_size="4KB")
            assert (tmp_path / "model.safetensors.index.json").exists()
            read = getattr(numbert, name).from_pretrained(tmp_path)
            assert read.config.pruned_heads == {0: [1], 1: [0, 2]}
            assert_same_outputs(read, theirs, name)

    @pytest.mark.parametrize("name", CASES)
    def test_importance_is_that_of_torchs_gradients(name, ours, tmp_path):
        model = ours(name)
        model.save_pretrained(tmp_path)
        theirs = getattr(transformers, name).from_pretrained(tmp_path, torch_dtype=torch.float64).eval()
        batch = tiny.batch()
        if name != "BertForPreTraining":
            del batch["next_sentence_label"]
        given = inputs_for(name, **batch)
        total = np.zeros((2, 3))
        for i in range(5):
            head_mask = torch.ones((2, 3), dtype=torch.float64, requires_grad=True)
            row = {key: torch.tensor(value[i : i + 1]) for key, value in given.items()}
            theirs(**row, head_mask=head_mask).loss.backward()
            total += np.abs(head_mask.grad.numpy())
        total /= np.linalg.norm(total, axis=1, keepdims=True)
        assert np.abs(numbert.head_importance(model, given) - total).max() < 1e-9

else:

    def test_the_releases_5_refuse_a_pruned_folder(ours, tmp_path):
        model = ours("BertForPreTraining")
        model.prune_heads(PRUNED)
        model.save_pretrained(tmp_path)
        with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
            transformers.BertForPreTraining.from_pretrained(tmp_path)
