"""transformers and numbert read what the other saves: every name in the file, the same outputs, the same ids."""

import json
import pickle
import re

import make_tf_checkpoint
import numpy as np
import pytest
import tiny
from messages import one_line

import numbert
from numbert import InputError
from numbert.bert.tasks.convert import convert
from numbert.cli import main
from numbert.files.tokenizer import bert_tokenizer, save_tokenizer

pytestmark = pytest.mark.live
torch = pytest.importorskip("torch", reason="needs torch")
transformers = pytest.importorskip("transformers", reason="needs transformers")

TASKS = [
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "BertForQuestionAnswering",
    "BertForMultipleChoice",
]
CLASSES = [
    "BertModel",
    "BertForPreTraining",
    "BertForMaskedLM",
    "BertForNextSentencePrediction",
    "BertLMHeadModel",
    *TASKS,
]
# What the configuration of a class has besides.
CONFIGS = {"BertLMHeadModel": {"is_decoder": True, "add_cross_attention": True, "use_cache": False}}
TEXTS = ["The cat", "", "a Café [MASK] e\u0301 naïve", "中文, the 'cats'!", "[SEP] emoji 🙂\x00\u00a0x"]
TOKENS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "the",
    "The",
    "cat",
    "##s",
    "cafe",
    "a",
    "e",
    "é",
    ",",
    "中",
    "'",
]


def theirs(name, tied=True, **options):
    """A transformers model whose every parameter is random, biases and LayerNorms too."""
    torch.manual_seed(0)
    # Its other attention cannot make a decoder's mask in double precision.
    config = transformers.BertConfig(
        **tiny.SIZES, tie_word_embeddings=tied, attn_implementation="eager", **CONFIGS.get(name, {})
    )
    model = getattr(transformers, name)(config, **options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.5)
    return model


def ours(name, tied=True, **options):
    model = getattr(numbert, name)(
        tiny.config(tie_word_embeddings=tied, **CONFIGS.get(name, {})), **options
    ).eval()
    rng = np.random.default_rng(0)
    for parameter in model.parameters():
        parameter.data = rng.normal(0, 0.5, parameter.shape).astype(model.dtype)
    return model


def assert_same_outputs(numbert_model, transformers_model):
    """Every output and every hidden state, to 1e-5 of the largest number in it."""
    given = tiny.inputs()
    if numbert_model.config.add_cross_attention:
        states = np.random.default_rng(0).standard_normal((tiny.BATCH, 4, tiny.SIZES["hidden_size"]))
        given["encoder_hidden_states"] = states.astype(np.float32)
    if isinstance(numbert_model, numbert.BertForMultipleChoice):
        given = {key: value[None] for key, value in given.items()}  # one question of five choices
    with numbert.no_grad():
        one = dict(numbert_model(**given, output_hidden_states=True))
    with torch.no_grad():
        inputs = {key: torch.tensor(value) for key, value in given.items()}
        if "encoder_hidden_states" in inputs:
            inputs["encoder_hidden_states"] = inputs["encoder_hidden_states"].to(transformers_model.dtype)
        other = dict(transformers_model(**inputs, output_hidden_states=True))
    assert set(one) == set(other)
    for key in one:
        arrays = one[key] if isinstance(one[key], tuple) else (one[key],)
        tensors = other[key] if isinstance(other[key], tuple) else (other[key],)
        for array, tensor in zip(arrays, tensors, strict=True):
            scale = max(1.0, float(tensor.abs().max()))
            assert np.abs(array - tensor.numpy()).max() < 1e-5 * scale, key


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", CLASSES)
class TestBothDirections:
    def test_transformers_reads_what_numbert_saves(self, name, tied, tmp_path):
        model = ours(name, tied)
        model.save_pretrained(tmp_path)
        read, info = getattr(transformers, name).from_pretrained(tmp_path, output_loading_info=True)
        assert not any(info.values()), info
        assert_same_outputs(model, read.eval())

    def test_numbert_reads_what_transformers_saves(self, name, tied, tmp_path):
        model = theirs(name, tied)
        model.save_pretrained(tmp_path)
        assert_same_outputs(getattr(numbert, name).from_pretrained(tmp_path), model)

    def test_from_one_to_the_other_and_back(self, name, tied, tmp_path):
        model = ours(name, tied)
        model.save_pretrained(tmp_path / "one")
        getattr(transformers, name).from_pretrained(tmp_path / "one").save_pretrained(tmp_path / "two")
        back = getattr(numbert, name).from_pretrained(tmp_path / "two").state_dict()
        for key, array in model.state_dict().items():
            assert np.array_equal(back[key], array), key


def test_labels_mean_the_same_on_both_sides(tmp_path):
    """Their names, their number and the problem type; and a head of more than two labels."""
    names = {0: "ham", 1: "spam", 2: "eggs"}
    labels = {"id2label": names, "label2id": {name: index for index, name in names.items()}}
    config = tiny.config(**labels, problem_type="multi_label_classification")
    model = numbert.BertForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path / "one")
    read, info = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "one", output_loading_info=True
    )
    assert not any(info.values()), info
    assert (read.config.id2label, read.config.label2id) == (names, labels["label2id"])
    assert (read.config.num_labels, read.config.problem_type) == (3, "multi_label_classification")
    assert_same_outputs(model, read.eval())
    read.save_pretrained(tmp_path / "two")
    back = numbert.BertForSequenceClassification.from_pretrained(tmp_path / "two")
    assert (back.config.id2label, back.config.label2id) == (names, labels["label2id"])
    assert back.config.problem_type == "multi_label_classification"


@pytest.mark.parametrize("name", TASKS)
def test_a_new_head_on_what_transformers_pretrained(name, tmp_path, capsys):
    theirs("BertForPreTraining").save_pretrained(tmp_path / "one")
    capsys.readouterr()
    model = getattr(numbert, name).from_pretrained(tmp_path / "one")
    assert capsys.readouterr().err.count("\n") == 1
    model.save_pretrained(tmp_path / "two")
    read, info = getattr(transformers, name).from_pretrained(tmp_path / "two", output_loading_info=True)
    assert not any(info.values()), info
    assert_same_outputs(model, read.eval())


def test_without_a_pooler(tmp_path):
    model = ours("BertModel", add_pooling_layer=False)
    model.save_pretrained(tmp_path)
    read, info = transformers.BertModel.from_pretrained(
        tmp_path, add_pooling_layer=False, output_loading_info=True
    )
    assert not any(info.values()), info
    given = tiny.inputs()
    with torch.no_grad():
        other = read.eval()(**{key: torch.tensor(value) for key, value in given.items()})
    assert np.abs(model(**given)[0] - other[0].numpy()).max() < 1e-4
    read.save_pretrained(tmp_path / "again")
    numbert.BertModel.from_pretrained(tmp_path / "again", add_pooling_layer=False)


def test_auto_classes_know_what_numbert_saved(tmp_path):
    ours("BertForMaskedLM").save_pretrained(tmp_path)
    assert type(transformers.AutoModelForMaskedLM.from_pretrained(tmp_path)).__name__ == "BertForMaskedLM"


def test_float64_stays_float64(tmp_path):
    ours("BertModel", dtype=np.float64).save_pretrained(tmp_path)
    assert transformers.BertModel.from_pretrained(tmp_path, torch_dtype="auto").dtype == torch.float64


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(dtype, tmp_path):
    model = theirs("BertForPreTraining").to(getattr(torch, dtype))
    model.save_pretrained(tmp_path)
    assert_same_outputs(numbert.BertForPreTraining.from_pretrained(tmp_path), model.float())


def test_shards(tmp_path):
    model = theirs("BertForPreTraining")
    model.save_pretrained(tmp_path, max_shard_size="4KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    assert_same_outputs(numbert.BertForPreTraining.from_pretrained(tmp_path), model)


def pickled(folder, model, *parts):
    """A folder as transformers once saved it: config.json and pytorch_model.bin, or several such files."""
    folder.mkdir()
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    state = model.state_dict()
    for number, names in enumerate(parts or (state,)):
        file = f"pytorch_model-{number + 1:05d}-of-{len(parts):05d}.bin" if parts else "pytorch_model.bin"
        torch.save({name: state[name] for name in names}, folder / file)
    return folder


class TestPickles:
    @pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
    @pytest.mark.parametrize("name", CLASSES)
    def test_a_pickle_is_converted_as_the_message_says(self, name, dtype, tmp_path):
        model = theirs(name).to(getattr(torch, dtype))
        source = pickled(tmp_path / "old", model)
        with pytest.raises(InputError) as caught:
            getattr(numbert, name).from_pretrained(source)
        command = re.search("`numbert (.*) FOLDER`", str(caught.value))[1]
        with pytest.raises(SystemExit) as exit:
            main([*command.split(), str(tmp_path / "new")])
        assert not exit.value.code
        read = getattr(numbert, name).from_pretrained(tmp_path / "new")
        assert read.dtype == (np.float64 if dtype == "float64" else np.float32)
        assert_same_outputs(read, model.double() if dtype == "float64" else model.float())

    def test_several_files_and_a_tokenizer(self, tmp_path):
        model = theirs("BertForPreTraining")
        names = list(model.state_dict())
        source = pickled(tmp_path / "old", model, names[:9], names[9:])
        (source / "vocab.txt").write_text("\n".join(TOKENS), encoding="utf-8")
        conversion = convert(source, tmp_path / "new")
        assert conversion.model == "BertForPreTraining"
        assert_same_outputs(numbert.BertForPreTraining.from_pretrained(tmp_path / "new"), model)
        auto = transformers.AutoTokenizer.from_pretrained(tmp_path / "new")
        assert auto("The cat")["input_ids"] == numbert.load_tokenizer(tmp_path / "new").encode("The cat").ids

    def test_the_names_of_the_first_files(self, tmp_path):
        """gamma and beta, no prefix, no architecture, and the ids of positions that were saved as weights."""
        model = theirs("BertModel")
        state = {
            name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): tensor
            for name, tensor in model.state_dict().items()
        }
        (tmp_path / "config.json").write_text(tiny.config().to_json())
        torch.save(state | {"embeddings.position_ids": torch.arange(11)}, tmp_path / "pytorch_model.bin")
        conversion = convert(tmp_path / "pytorch_model.bin", tmp_path / "new")
        assert conversion.model == "BertModel"
        assert conversion.notes == [f"{tmp_path} has no vocab.txt, so the model comes without a tokenizer"]
        assert_same_outputs(numbert.BertModel.from_pretrained(tmp_path / "new"), model)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"\x80\x04", "cannot be opened by torch.load"),
            (b"\x80\x04no pickle", "cannot be opened by torch.load"),
            (pickle.dumps(print), "cannot be opened by torch.load"),
            (None, "holds a list; a model's weights are saved as state_dict"),
            ({"model": {"a": 1}}, "holds no arrays by name"),
        ],
        ids=["cut", "noise", "code", "a list", "one level too deep"],
    )
    def test_others_are_one_line(self, content, message, tmp_path):
        path = tmp_path / "pytorch_model.bin"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            torch.save([1, 2] if content is None else content, path)
        with pytest.raises(InputError, match=message) as caught:
            convert(path, tmp_path / "new")
        assert str(path) in one_line(caught)


def test_transformers_reads_a_converted_tensorflow_checkpoint(tmp_path):
    convert(make_tf_checkpoint.PREFIX, tmp_path / "new")
    read, info = transformers.BertForPreTraining.from_pretrained(tmp_path / "new", output_loading_info=True)
    assert not any(info.values()), info
    assert_same_outputs(numbert.BertForPreTraining.from_tf(make_tf_checkpoint.PREFIX), read.eval())
    arrays = make_tf_checkpoint.stored_arrays()
    query = read.bert.encoder.layer[1].attention.self.query.weight.detach().numpy()
    assert np.array_equal(query, arrays["bert/encoder/layer_1/attention/self/query/kernel"].T)
    auto = transformers.AutoTokenizer.from_pretrained(tmp_path / "new")
    assert auto("Ab c")["input_ids"] == numbert.load_tokenizer(tmp_path / "new").encode("Ab c").ids


@pytest.mark.parametrize("do_lower_case", [True, False])
@pytest.mark.parametrize("stripped", [None, True, False])
@pytest.mark.parametrize("other_normalizer", [True, False])
def test_the_tokenizer_gives_the_same_ids(do_lower_case, stripped, other_normalizer, tmp_path):
    tokenizer = bert_tokenizer({token: index for index, token in enumerate(TOKENS)}, do_lower_case, stripped)
    if other_normalizer:
        from tokenizers import normalizers

        tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), tokenizer.normalizer])
    tokenizer.add_tokens(["naïve"])
    ours("BertModel").save_pretrained(tmp_path)
    save_tokenizer(tokenizer, tmp_path, max_length=11)
    for folder in (tmp_path, tmp_path / "again"):
        auto = transformers.AutoTokenizer.from_pretrained(folder)
        assert auto.model_max_length == 11
        assert (auto.mask_token, auto.pad_token_id) == ("[MASK]", 0)
        for first in TEXTS:
            assert auto(first)["input_ids"] == tokenizer.encode(first).ids, first
            for second in TEXTS:
                # As lists, because transformers takes "" alone for no second text at all.
                one, pair = auto([first], [second]), tokenizer.encode(first, second)
                assert one["input_ids"] == [pair.ids], (first, second)
                assert one["token_type_ids"] == [pair.type_ids], (first, second)
        auto.save_pretrained(tmp_path / "again")
    read = numbert.load_tokenizer(tmp_path / "again")
    assert [e.ids for e in read.encode_batch(TEXTS)] == [e.ids for e in tokenizer.encode_batch(TEXTS)]


@pytest.mark.parametrize("options", [{}, {"do_lower_case": False}, {"strip_accents": False}])
def test_vocab_txt_is_read_as_transformers_reads_it(options, tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(TOKENS) + "\n", encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"} | options))
    (tmp_path / "config.json").write_text(tiny.config().to_json())
    auto = transformers.AutoTokenizer.from_pretrained(tmp_path)
    read = numbert.load_tokenizer(tmp_path)
    for text in TEXTS:
        assert read.encode(text).ids == auto(text)["input_ids"], text
