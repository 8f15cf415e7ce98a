"""BertConfig: what every field may be, and what of other people's config.json is read and kept."""

import dataclasses
import json
from fractions import Fraction

import numpy as np
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st
from messages import one_line

import numbert
from numbert import BertConfig, InputError

SIZES = ("vocab_size", "hidden_size", "num_attention_heads", "intermediate_size", "max_position_embeddings")
SIZES += ("type_vocab_size", "num_hidden_layers", "chunk_size_feed_forward")
RATES = ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout")
RATES += ("initializer_range", "layer_norm_eps")
SWITCHES = ("use_cache", "is_decoder", "add_cross_attention", "gradient_checkpointing", "tie_word_embeddings")
SWITCHES += ("output_attentions", "output_hidden_states", "return_dict")
NAMES = ("hidden_act", "position_embedding_type", "model_type")
FIELDS = {f.name for f in dataclasses.fields(BertConfig)}


def test_every_field_is_of_a_kind_that_is_tried_here():
    others = {"pad_token_id", "architectures", "problem_type", "id2label", "label2id", "pruned_heads", "extra"}
    assert {*SIZES, *RATES, *SWITCHES, *NAMES, *others} == FIELDS


class TestNumPyNumbersAreNumbers:
    def test_they_become_pythons(self):
        config = BertConfig(
            vocab_size=np.int64(56),
            hidden_size=np.uint8(12),
            num_attention_heads=np.int16(3),
            pad_token_id=np.int32(1),
            hidden_dropout_prob=np.float32(0.25),
            layer_norm_eps=np.float64(1e-5),
            initializer_range=np.float16(0.5),
            classifier_dropout=np.float32(0.5),
            tie_word_embeddings=np.bool_(False),
            extra={"loss": np.float32(0.5), "steps": [np.int64(3)], "done": np.bool_(True)},
        )
        plain = BertConfig(
            vocab_size=56,
            hidden_size=12,
            num_attention_heads=3,
            pad_token_id=1,
            hidden_dropout_prob=0.25,
            layer_norm_eps=1e-5,
            initializer_range=0.5,
            classifier_dropout=0.5,
            tie_word_embeddings=False,
            extra={"loss": 0.5, "steps": [3], "done": True},
        )
        assert config == plain
        assert config.to_json() == plain.to_json()
        for name, value in vars(config).items():
            assert type(value) in (int, float, bool, str, dict, type(None)), name

    def test_a_model_of_such_sizes_is_saved_and_read_back(self, tmp_path):
        config = tiny.config(vocab_size=np.int64(56), hidden_dropout_prob=np.float32(0.1), extra={"a": np.int8(3)})
        numbert.BertModel(config).save_pretrained(tmp_path)
        read = BertConfig.from_file(tmp_path / "config.json")
        assert (read.vocab_size, read.extra["a"]) == (56, 3)
        assert read.hidden_dropout_prob == config.hidden_dropout_prob == float(np.float32(0.1))


# What no field of the kind can be.
ARRAY = np.ones((40, 40))  # its repr has many lines
NO_NUMBERS = [None, True, np.True_, "4", b"4", float("nan"), float("inf"), -np.inf, 1j, [4], {}, ARRAY, object]
BAD = {
    **{name: [*NO_NUMBERS, 3.5, 4.0, np.float32(4), Fraction(4), -1, -(10**5000)] for name in SIZES},
    **{name: [*NO_NUMBERS, -0.1, -1, np.float64("nan"), 10**400, 10**5000] for name in RATES},
    "classifier_dropout": [True, "0.1", float("nan"), -0.1, 2, 1.0001],
    "pad_token_id": [True, "0", 0.0, -1, 30522, 10**5000, float("nan"), [0]],
    **{name: [None, 0, 1, 3, "yes", "true", 1.0, [], ARRAY] for name in SWITCHES},
    **{name: [None, True, 3, b"gelu", "", "no such\nname", "\ud800", ["gelu"], {}, ARRAY] for name in NAMES},
    "architectures": [5, "BertModel", True, {"BertModel"}, {"BertModel": 1}, [5], [None], [["BertModel"]]],
    "pruned_heads": [
        *(None, True, 3, "0", [], [0], ARRAY, {0: 1}, {0: "1"}, {0: [12]}, {0: [-1]}, {0: [1.0]}, {0: [True]}),
        *({12: [0]}, {-1: [0]}, {"a": [0]}, {"-1": [0]}, {"9" * 5000: [0]}, {1.0: [0]}, {0: list(range(12))}),
    ],
    "problem_type": [True, 3, b"regression", "", "classification", "no such\nname", ["regression"], {}, ARRAY],
    "num_labels": [True, "3", 3.0, 0, -1, 10**7, 10**5000, float("nan"), [3], {}, ARRAY],
    "id2label": [
        True,
        3,
        "ham",
        ["ham"],
        {},
        {1: "ham"},
        {"a": "ham"},
        {0: None},
        {0: 3},
        {"0": "a", 0: "b"},
        ARRAY,
    ],
    "label2id": [
        True,
        3,
        "ham",
        ["ham"],
        {},
        {"ham": 1},
        {"ham": None},
        {"ham": 0.0},
        {3: 0},
        {"a": 0, "b": 0},
        ARRAY,
    ],
    "extra": [None, 3, "a", [("a", 1)], ["a"]],
}


class TestValuesOutsideTheirLimits:
    @pytest.mark.parametrize(
        ("name", "value"),
        [(name, value) for name, values in BAD.items() for value in values],
        ids=lambda value: repr(value)[:20] if not isinstance(value, int) or abs(value) < 10**400 else "huge",
    )
    def test_one_line_names_the_field(self, name, value):
        with pytest.raises(InputError) as error:
            BertConfig(**{name: value})
        message = one_line(error)
        assert "configuration of a" in message if name == "model_type" else message.startswith(f"{name} is ")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"vocab_size": True}, "vocab_size is True; it must be an integer of at least 1"),
            ({"vocab_size": 3.5}, "vocab_size is 3.5; it must be an integer of at least 1"),
            ({"num_hidden_layers": 20_000}, "num_hidden_layers is 20000; it must be an integer from 0 to 10000"),
            ({"layer_norm_eps": float("nan")}, "layer_norm_eps is nan; it must be a number of at least 0"),
            ({"classifier_dropout": 2}, "classifier_dropout is 2; it must be null or between 0 and 1"),
            ({"output_attentions": 3}, "output_attentions is 3; it must be true or false"),
            ({"tie_word_embeddings": "yes"}, "tie_word_embeddings is 'yes'; it must be true or false"),
            ({"architectures": 5}, "architectures is 5; it must be null or a list of names of classes"),
            ({"model_type": "gpt2"}, "this is the configuration of a 'gpt2' model; numbert reads 'bert'"),
            ({"extra": {"vocab_size": 3}}, "extra has 'vocab_size' in it, which is an argument of its own"),
            (
                {"extra": {"of": object}},
                "extra is {'of': <class 'object'>}; JSON cannot hold it: "
                "a type is neither a number, a string, a list nor a dict",
            ),
        ],
        ids=str,
    )  # fmt: skip
    def test_the_line(self, change, message):
        with pytest.raises(InputError) as error:
            BertConfig(**change)
        assert str(error.value) == message

    @given(
        st.sampled_from(sorted(FIELDS - {"extra"})),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=5)
        | st.binary(max_size=3)
        | st.lists(st.integers(), max_size=2)
        | st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
    )
    def test_whatever_a_field_is_given_it_is_held_as_json_would_or_refused_in_one_line(self, name, value):
        try:
            config = BertConfig(**{name: value})
        except InputError:
            with pytest.raises(InputError) as error:
                BertConfig(**{name: value})
            one_line(error)
        else:
            held = getattr(config, name)
            # An integer where a fraction is wanted is held as the float nearest to it; null may mean the default,
            # and the layers in pruned_heads are numbers.
            exact = held == (float(value) if isinstance(held, float) else value)
            assert exact or name == "pruned_heads" or (value is None and held == getattr(BertConfig(), name))
            assert BertConfig.from_dict(json.loads(config.to_json())) == config


UNNAMED = {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}


class TestLabels:
    """id2label, label2id and num_labels say the same thing, as in transformers' config.json."""

    @pytest.mark.parametrize(
        ("given_", "names"),
        [
            ({}, {0: "LABEL_0", 1: "LABEL_1"}),
            ({"num_labels": 3}, UNNAMED),
            ({"num_labels": np.int64(1)}, {0: "LABEL_0"}),
            ({"id2label": {0: "ham", 1: "spam"}}, {0: "ham", 1: "spam"}),
            ({"id2label": {"1": "spam", "0": "ham"}, "num_labels": 2}, {0: "ham", 1: "spam"}),
            ({"label2id": {"spam": 1, "ham": "0"}}, {0: "ham", 1: "spam"}),
            ({"id2label": UNNAMED, "label2id": {"a": 0, "b": 1}}, {0: "a", 1: "b"}),
            ({"id2label": UNNAMED, "num_labels": 1}, {0: "LABEL_0"}),
            ({"id2label": UNNAMED}, UNNAMED),
            ({"id2label": {0: "O", 1: "O"}}, {0: "O", 1: "O"}),
        ],
        ids=str,
    )
    def test_each_may_be_left_out_and_names_of_nobodys_give_way(self, given_, names):
        config = BertConfig(**given_)
        assert config.id2label == names
        assert list(config.id2label) == list(range(config.num_labels))
        assert set(config.label2id) == set(names.values())
        assert all(names[index] == name for name, index in config.label2id.items())
        assert BertConfig.from_dict(json.loads(config.to_json())) == config == dataclasses.replace(config)

    @pytest.mark.parametrize(
        ("given_", "message"),
        [
            ({"num_labels": 3, "id2label": {0: "a"}}, "num_labels is 3, but 1 labels have names, {0: 'a'}"),
            ({"num_labels": 3, "label2id": {"a": 0}}, "num_labels is 3, but 1 labels have names, {0: 'a'}"),
            (
                {"id2label": {0: "a", 1: "b"}, "label2id": {"b": 0, "a": 1}},
                "label2id is {'b': 0, 'a': 1}, which is not the inverse of id2label, {0: 'a', 1: 'b'}",
            ),
            (
                {"id2label": {0: "a", 1: "b"}, "label2id": {"a": 0}},
                "label2id is {'a': 0}, which is not the inverse of id2label, {0: 'a', 1: 'b'}",
            ),
            ({"num_labels": 0}, "num_labels is 0; it must be an integer from 1 to 1000000"),
            (
                {"problem_type": "classification"},
                "problem_type is 'classification'; it must be null or one of regression, "
                "single_label_classification, multi_label_classification",
            ),
            ({"extra": {"num_labels": 3}}, "extra has 'num_labels' in it, which is an argument of its own"),
        ],
        ids=str,
    )
    def test_what_does_not_fit_is_one_line(self, given_, message):
        with pytest.raises(InputError) as error:
            BertConfig(**given_)
        assert one_line(error) == message

    def test_another_number_takes_the_names_away_and_the_same_number_leaves_them(self):
        config = BertConfig(id2label={0: "ham", 1: "spam"})
        config.num_labels = 2
        assert config.label2id == {"ham": 0, "spam": 1}
        config.num_labels = 3
        assert config.id2label == UNNAMED
        assert dataclasses.replace(config, num_labels=1).id2label == {0: "LABEL_0"}
        with pytest.raises(InputError, match="num_labels is 'many'"):
            config.num_labels = "many"

    def test_labels_are_in_the_order_of_their_numbers_whatever_the_file_sorts_them_by(self):
        names = {index: f"name {index}" for index in range(12)}
        by_text = {str(index): names[index] for index in sorted(names, key=str)}
        assert list(by_text) != list(map(str, names))
        assert list(BertConfig(id2label=by_text).id2label.items()) == list(names.items())

    def test_a_file_has_the_names_by_digits_and_no_number(self):
        written = json.loads(BertConfig(num_labels=3, problem_type="regression").to_json())
        assert written["id2label"] == {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}
        assert written["label2id"] == {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2}
        assert written["problem_type"] == "regression"
        assert "num_labels" not in written


class Cycle(dict):
    """A dict that holds itself."""

    def __init__(self):
        self["self"] = self


def deep(depth=100_000):
    made = []
    for _ in range(depth):
        made = [made]
    return made


class TestExtra:
    @pytest.mark.parametrize(
        "value",
        [
            object(),
            {1, 2},
            b"bytes",
            1j,
            np.ones(2),
            float("nan"),
            np.float32("inf"),
            Cycle(),
            {("a", 1): 2},
            deep(),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_what_json_cannot_hold_is_refused_before_anything_is_written(self, value, tmp_path):
        with pytest.raises(InputError, match="JSON cannot hold it") as error:
            BertConfig(extra={"key": value})
        one_line(error)
        model = numbert.BertModel(tiny.config())
        model.config.extra["key"] = value  # after it was checked
        with pytest.raises(InputError, match="JSON cannot hold it") as error:
            model.save_pretrained(tmp_path / "new")
        one_line(error)
        assert not (tmp_path / "new").exists()
        with pytest.raises(InputError, match="JSON cannot hold it"):
            model.config.to_json()

    def test_a_field_that_was_set_to_nonsense_is_not_written(self):
        config = tiny.config()
        config.vocab_size = "many"
        with pytest.raises(InputError, match="vocab_size is 'many'"):
            config.to_json()

    def test_it_is_held_as_json_gives_it_back(self):
        given_ = {"names": {0: "no", 1: "yes"}, "sizes": (1, 2)}
        config = BertConfig(extra=given_)
        assert config.extra == {"names": {"0": "no", "1": "yes"}, "sizes": [1, 2]}
        given_["sizes"] = object()
        assert config.to_dict()["sizes"] == [1, 2], "the caller's dict is not held"

    JSON = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    )

    @given(st.dictionaries(st.text(), JSON, max_size=4))
    def test_whatever_json_holds_comes_back(self, extra):
        extra = {key: value for key, value in extra.items() if key not in FIELDS or key == "extra"}
        config = BertConfig(extra=extra)
        assert config.extra == extra
        assert BertConfig.from_dict(json.loads(config.to_json())) == config


class TestOtherPeoplesFiles:
    """What published files hold, though BertConfig itself would not be given it."""

    def read(self, tmp_path, text):
        (tmp_path / "config.json").write_text(text)
        return BertConfig.from_file(tmp_path / "config.json")

    @pytest.mark.parametrize(
        ("values", "fields"),
        [
            ({"pad_token_id": None}, {"pad_token_id": None}),
            ({"classifier_dropout": None}, {"classifier_dropout": None}),
            ({"classifier_dropout": 0}, {"classifier_dropout": 0.0}),
            ({"gradient_checkpointing": True}, {"gradient_checkpointing": True}),
            ({"type_vocab_size": 1}, {"type_vocab_size": 1}),
            ({"num_hidden_layers": 0}, {"num_hidden_layers": 0}),
            ({"hidden_dropout_prob": 0}, {"hidden_dropout_prob": 0.0}),
            ({"is_decoder": None, "use_cache": None}, {"is_decoder": False, "use_cache": False}),
            ({"tie_word_embeddings": 1, "return_dict": 0}, {"tie_word_embeddings": True, "return_dict": False}),
            ({"architectures": None}, {"architectures": None}),
            ({"architectures": []}, {"architectures": []}),
            ({"architectures": "BertModel"}, {"architectures": ["BertModel"]}),
            ({"finetuning_task": None}, {"extra": {"finetuning_task": None}}),
            ({"num_labels": 2, "extra": 3}, {"extra": {"extra": 3}}),
            ({"id2label": None, "label2id": None, "num_labels": None, "problem_type": None}, {}),
        ],
        ids=str,
    )  # fmt: skip
    def test_unusual_and_harmless(self, values, fields, tmp_path):
        config = self.read(tmp_path, json.dumps(values))
        assert {name: getattr(config, name) for name in fields} == fields
        assert config == dataclasses.replace(BertConfig(), **fields)

    def test_not_a_number_is_kept_by_its_name(self, tmp_path):
        config = self.read(tmp_path, '{"best_loss": NaN, "limits": [-Infinity, 1.5]}')
        assert config.extra == {"best_loss": "NaN", "limits": ["-Infinity", 1.5]}
        assert json.loads(config.to_json())["best_loss"] == "NaN"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("[" * 100_000, "is not readable as JSON"),
            ('{"vocab_size": ' + "9" * 5000 + "}", "is not readable as JSON"),
            ('{"hidden_dropout_prob": NaN}', "hidden_dropout_prob is 'NaN'; it must be between 0 and 1"),
            ('{"layer_norm_eps": 1e999}', "layer_norm_eps is inf; it must be a number of at least 0"),
            ('{"num_hidden_layers": null}', "num_hidden_layers is None; it must be an integer from 0 to 10000"),
            ('{"use_cache": "no"}', "use_cache is 'no'; it must be true or false"),
            ('{"model_type": null}', "the configuration of a None model; numbert reads 'bert'"),
            ('{"architectures": {"a": 1}}', "architectures is {'a': 1}; it must be null or a list"),
        ],
        ids=lambda text: text[:30],
    )
    def test_one_line_names_the_file(self, text, message, tmp_path):
        with pytest.raises(InputError) as error:
            self.read(tmp_path, text)
        assert message in one_line(error)
        assert str(error.value).startswith(str(tmp_path / "config.json"))
