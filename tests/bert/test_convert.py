"""convert: which class a checkpoint becomes, what is written, what is said, and what is refused."""

import json
import shutil
import sys

import make_tf_checkpoint as made
import numpy as np
import pytest
import tiny
from messages import one_line
from places import SHARED
from safetensors.numpy import load_file

import numbert
from numbert import BertForPreTraining, InputError
from numbert.bert.tasks.convert import convert
from numbert.files.tensorflow import published_name
from numbert.inside.inspect import inspect

PUBLISHED = SHARED / "data" / "tf1-checkpoint" / "bert_model.ckpt"


def checkpoint(folder, arrays, **changes):
    """A folder as Google's, with these variables."""
    folder.mkdir(exist_ok=True)
    made.write_beside(folder, **changes)
    made.write(folder / "bert_model.ckpt", arrays)
    return folder


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class TestAModelFolder:
    def test_what_is_written_is_read_by_numbert(self, tmp_path):
        conversion = convert(made.PREFIX, tmp_path / "new")
        assert (conversion.folder, conversion.model) == (tmp_path / "new", "BertForPreTraining")
        names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"]
        assert sorted(files(tmp_path / "new")) == names
        assert inspect(tmp_path / "new").counts == {
            "used": 46,
            "tied": 0,
            "ignored": 0,
            "missing": 0,
            "mismatched": 0,
        }
        written, expected = load_file(tmp_path / "new" / "model.safetensors"), made.stored_arrays()
        for variable, array in expected.items():
            if name := published_name(variable):
                array = array.T if variable.endswith("kernel") else array
                np.testing.assert_array_equal(written.pop(name), array, err_msg=name)
        assert written == {}
        config = json.loads((tmp_path / "new" / "config.json").read_text())
        assert config["architectures"] == ["BertForPreTraining"]
        one, other = BertForPreTraining.from_pretrained(tmp_path / "new"), BertForPreTraining.from_tf(made.PREFIX)
        with numbert.no_grad():
            np.testing.assert_array_equal(one(**tiny.inputs())[0], other(**tiny.inputs())[0])

    @pytest.mark.parametrize(
        ("heads", "name"),
        [
            ((), "BertModel"),
            (("mlm",), "BertForMaskedLM"),
            (("nsp",), "BertForNextSentencePrediction"),
            (("mlm", "nsp"), "BertForPreTraining"),
            (("classifier",), "BertForSequenceClassification"),
            (("squad",), "BertForQuestionAnswering"),
        ],
        ids=str,
    )
    def test_the_heads_say_which_class_it_is(self, heads, name, tmp_path):
        source = checkpoint(tmp_path / "google", made.google(*heads))
        assert convert(source, tmp_path / "new").model == name
        assert inspect(tmp_path / "new").counts["missing"] == 0
        if name == "BertForSequenceClassification":
            config = json.loads((tmp_path / "new" / "config.json").read_text())
            assert config["id2label"] == {str(number): f"LABEL_{number}" for number in range(5)}

    def test_an_encoder_without_pooler(self, tmp_path):
        arrays = {name: array for name, array in made.google().items() if "pooler" not in name}
        conversion = convert(checkpoint(tmp_path / "google", arrays), tmp_path / "new")
        assert conversion.model == "BertModel"
        assert numbert.BertModel.from_pretrained(tmp_path / "new", add_pooling_layer=False).pooler is None

    def test_what_the_model_does_not_have_is_named_in_one_line(self, tmp_path):
        arrays = made.google("mlm") | {"cls/other/output_weights": np.ones(3, np.float32)}
        conversion = convert(checkpoint(tmp_path / "google", arrays), tmp_path / "new")
        assert conversion.notes[-1] == (
            f"{tmp_path / 'google' / 'bert_model.ckpt'} has cls/other/output_weights, bert.pooler.dense.bias, "
            "bert.pooler.dense.weight, which BertForMaskedLM does not have"
        )

    @pytest.mark.skipif(not SHARED.exists(), reason="the published checkpoint is in ../shared/data")
    def test_a_published_checkpoint(self, tmp_path):
        assert convert(PUBLISHED, tmp_path / "new").model == "BertForPreTraining"
        assert inspect(tmp_path / "new").counts == {
            "used": 46,
            "tied": 0,
            "ignored": 0,
            "missing": 0,
            "mismatched": 0,
        }
        model, tokenizer = (
            BertForPreTraining.from_pretrained(tmp_path / "new"),
            numbert.load_tokenizer(tmp_path / "new"),
        )
        assert tokenizer.encode("All Work and no play").tokens == [
            "[CLS]",
            "all",
            "work",
            "and",
            "no",
            "play",
            "[SEP]",
        ]
        with numbert.no_grad():
            out = model(np.array([tokenizer.encode("all work and no play").ids]))
        assert out.prediction_logits.shape == (1, 7, 15)


class TestTheTokenizer:
    @pytest.mark.parametrize(("extra", "lower"), [("boat", True), ("Boat", False)])
    def test_text_is_lower_cased_where_the_vocabulary_has_no_capital_letters(self, extra, lower, tmp_path):
        source = checkpoint(tmp_path / "google", made.google(vocab_size=30), vocab_size=30)
        with (source / "vocab.txt").open("a") as file:
            file.write(f"{extra}\n")
        (note,) = convert(source, tmp_path / "new").notes
        assert note == (
            f"{source / 'vocab.txt'} has {'no ' * lower}capital letters, so do_lower_case is {str(lower).lower()} "
            "in tokenizer_config.json"
        )
        tokenizer = numbert.load_tokenizer(tmp_path / "new")
        assert tokenizer.encode("Boat").tokens == ["[CLS]", extra, "[SEP]"]
        (tmp_path / "new" / "tokenizer.json").unlink()  # vocab.txt and tokenizer_config.json say the same
        assert numbert.load_tokenizer(tmp_path / "new").encode("Boat").tokens == ["[CLS]", extra, "[SEP]"]

    def test_what_tokenizer_config_json_says_is_followed(self, tmp_path):
        source = checkpoint(tmp_path / "google", made.google())
        (source / "tokenizer_config.json").write_text('{"do_lower_case": false}')
        assert convert(source, tmp_path / "new").notes == []
        assert numbert.load_tokenizer(tmp_path / "new").encode("A a").tokens == ["[CLS]", "[UNK]", "a", "[SEP]"]

    def test_without_a_vocabulary(self, tmp_path):
        source = checkpoint(tmp_path / "google", made.google())
        (source / "vocab.txt").unlink()
        assert convert(source, tmp_path / "new").notes == [
            f"{source} has no vocab.txt, so the model comes without a tokenizer"
        ]
        assert sorted(files(tmp_path / "new")) == ["config.json", "model.safetensors"]


class TestRefused:
    def test_a_folder_that_holds_something(self, tmp_path):
        (tmp_path / "mine").write_text("precious")
        for folder in (tmp_path, tmp_path / "mine"):
            with pytest.raises(InputError, match="is in the way: it "):
                convert(made.PREFIX, folder)
        assert files(tmp_path) == {"mine": b"precious"}

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda folder: (folder / "bert_config.json").unlink(), "bert_config.json does not exist"),
            (
                lambda folder: (folder / "bert_config.json").write_text("{"),
                "bert_config.json is not readable as JSON",
            ),
            (lambda folder: (folder / "vocab.txt").write_text("a\n"), r"vocab.txt has no \[PAD\]"),
            (
                lambda folder: (folder / "vocab.txt").write_text("\n".join([*made.WORDS, "x", "y"])),
                "has 31 ids, and vocab_size is 29",
            ),
            (
                lambda folder: (folder / "bert_model.ckpt.index").unlink(),
                "has no NAME.index; give the path of one",
            ),
            (
                lambda folder: (folder / "bert_model.ckpt.index").write_bytes(b"x" * 60),
                "is no index of a TensorFlow",
            ),
            (
                lambda folder: (folder / "bert_model.ckpt.data-00000-of-00002").write_bytes(b"x" * 99_999),
                "data-00000-of-00002 is damaged: '.*' does not have the checksum in the index",
            ),
        ],
        ids=["no config", "config", "vocabulary", "large vocabulary", "no index", "index", "data"],
    )
    def test_one_line_and_nothing_is_written(self, spoil, message, tmp_path):
        source = shutil.copytree(made.FOLDER, tmp_path / "google")
        spoil(source)
        with pytest.raises(InputError, match=message) as caught:
            convert(source, tmp_path / "new")
        assert str(source) in one_line(caught)
        assert not (tmp_path / "new").exists()

    @pytest.mark.parametrize("path", ["", "pytorch_model.bin"])
    def test_a_pickle_without_torch(self, path, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "torch", None)
        (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
        with pytest.raises(
            InputError, match=r"pytorch_model.bin is a pickle, which needs the package torch, and that"
        ):
            convert(tmp_path / path, tmp_path / "new")

    def test_a_file_that_is_neither(self, tmp_path):
        (tmp_path / "notes.txt").write_text("a")
        with pytest.raises(
            InputError, match=r"notes.txt is neither a file of a TensorFlow checkpoint nor a pickle"
        ):
            convert(tmp_path / "notes.txt", tmp_path / "new")

    def test_what_is_not_there(self, tmp_path):
        with pytest.raises(
            InputError, match=r"nowhere.index does not exist; a TensorFlow checkpoint is NAME.index"
        ):
            convert(tmp_path / "nowhere", tmp_path / "new")
