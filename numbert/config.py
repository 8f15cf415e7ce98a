"""BertConfig: the sizes and switches of a model, as a published config.json holds them."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from numbert.errors import InputError, as_bool, as_integer, as_real, shown
from numbert.labels import named_labels
from numbert.nn.activations import ACT2FN

POSITION_EMBEDDING_TYPES = ("absolute", "relative_key", "relative_key_query")

PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")

SWITCHES = (
    "use_cache",
    "is_decoder",
    "add_cross_attention",
    "gradient_checkpointing",
    "tie_word_embeddings",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
)

# Each layer is an object of its own: far more than any BERT has, and far fewer than would fill a memory.
MOST_LAYERS = 10_000


class _Labelled:
    """The property num_labels, which is an argument of BertConfig as well."""

    id2label: dict[int, str]
    label2id: dict[str, int]

    @property
    def num_labels(self) -> int:
        """How many labels there are. Setting it to another number takes their names away."""
        return len(self.id2label)

    @num_labels.setter
    def num_labels(self, value: int) -> None:
        if value != self.num_labels:
            self.id2label, self.label2id = named_labels(value, None, None)


@dataclass
class BertConfig(_Labelled):
    """The sizes and switches of a BERT. Names and defaults are those of bert-base-uncased's published config.json.

    NumPy's numbers and booleans are converted to Python's, so that JSON can always hold a configuration, and
    `from_dict(config.to_dict())` equals `config`. A configuration only describes a model: whether memory holds a
    model of these sizes is checked when one is made.

    Args:
        num_labels: how many labels there are, if they have no names: they are then called LABEL_0, LABEL_1, ...
            Default 2, or as many as are named.

    Attributes:
        num_labels: how many labels there are. Setting it to another number takes their names away.
        id2label: the name of each label, by its number, as {0: "ham", 1: "spam"}.
        label2id: the number of each label, by its name.
        problem_type: what the labels of a sequence are: "regression", "single_label_classification",
            "multi_label_classification", or None if `BertForSequenceClassification` is to tell by the labels.
        pruned_heads: for the number of a layer the numbers of its pruned heads.
        extra: whatever else a config.json holds (transformers_version, ...). It is kept, so that saving loses
            nothing, in the form that JSON gives it: keys are strings, and tuples become lists.

    Raises:
        InputError: a value is outside its limits, or JSON cannot hold `extra`; the message names value and limit.
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0
    position_embedding_type: str = "absolute"
    use_cache: bool = True
    classifier_dropout: float | None = None
    is_decoder: bool = False
    add_cross_attention: bool = False
    chunk_size_feed_forward: int = 0
    pruned_heads: dict[int, list[int]] = field(default_factory=dict)
    gradient_checkpointing: bool = False
    tie_word_embeddings: bool = True
    output_attentions: bool = False
    output_hidden_states: bool = False
    return_dict: bool = True
    architectures: list[str] | None = None
    model_type: str = "bert"
    num_labels: InitVar[int | None] = None
    id2label: dict[int, str] = None  # type: ignore[assignment]  # __post_init__ puts a dict in its place
    label2id: dict[str, int] = None  # type: ignore[assignment]
    problem_type: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self, num_labels: int | None) -> None:
        if not isinstance(self.model_type, str) or self.model_type != "bert":
            raise InputError(
                f"this is the configuration of a {shown(self.model_type)} model; numbert reads 'bert'"
            )
        for name in (
            "vocab_size",
            "hidden_size",
            "num_attention_heads",
            "intermediate_size",
            "max_position_embeddings",
            "type_vocab_size",
        ):
            self._check(name, as_integer, lambda value: value >= 1, "an integer of at least 1")
        self._check(
            "num_hidden_layers",
            as_integer,
            lambda value: 0 <= value <= MOST_LAYERS,
            f"an integer from 0 to {MOST_LAYERS}",
        )
        self._check("chunk_size_feed_forward", as_integer, lambda value: value >= 0, "an integer of at least 0")
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
            self._check(name, as_real, lambda value: 0 <= value <= 1, "between 0 and 1")
        for name in ("initializer_range", "layer_norm_eps"):
            self._check(name, as_real, lambda value: 0 <= value < math.inf, "a number of at least 0")
        if self.classifier_dropout is not None:
            self._check("classifier_dropout", as_real, lambda value: 0 <= value <= 1, "null or between 0 and 1")
        if self.pad_token_id is not None:
            self._check(
                "pad_token_id",
                as_integer,
                lambda value: 0 <= value < self.vocab_size,
                f"null or an id from 0 to {shown(self.vocab_size - 1)}",
            )
        for name in SWITCHES:
            self._check(name, as_bool, lambda value: True, "true or false")
        self._check(
            "hidden_act",
            _as_string,
            lambda value: value in ACT2FN,
            f"one of {', '.join(ACT2FN)}, of the names known",
        )
        self._check(
            "position_embedding_type",
            _as_string,
            lambda value: value in POSITION_EMBEDDING_TYPES,
            f"one of {', '.join(POSITION_EMBEDDING_TYPES)}",
        )
        if self.architectures is not None:
            self._check("architectures", _as_strings, lambda value: True, "null or a list of names of classes")
        if self.problem_type is not None:
            self._check(
                "problem_type",
                _as_string,
                lambda value: value in PROBLEM_TYPES,
                f"null or one of {', '.join(PROBLEM_TYPES)}",
            )
        self.id2label, self.label2id = named_labels(num_labels, self.id2label, self.label2id)
        if self.hidden_size % self.num_attention_heads:
            raise InputError(
                f"hidden_size is {shown(self.hidden_size)}, which num_attention_heads, "
                f"{shown(self.num_attention_heads)}, does not divide"
            )
        self._check_pruned_heads()
        self._check_extra()

    def _check(
        self, name: str, convert: Callable[[str, Any], Any], valid: Callable[[Any], bool], wanted: str
    ) -> None:
        """Replaces a field by its converted value; raises InputError where that fails or is outside its limits."""
        value = getattr(self, name)
        try:
            converted = convert(name, value)
        except InputError:
            converted = None
        if converted is None or not valid(converted):
            raise InputError(f"{name} is {shown(value)}; it must be {wanted}")
        setattr(self, name, converted)

    def _check_extra(self) -> None:
        if not isinstance(self.extra, dict):
            raise InputError(f"extra is {shown(self.extra)}; it must be a dict")
        for name in self.extra:
            if name in _arguments(type(self)):
                raise InputError(f"extra has {name!r} in it, which is an argument of its own")
        try:
            text = json.dumps(self.extra, sort_keys=True, allow_nan=False, default=_number_or_bool)
            self.extra = json.loads(text)
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(f"extra is {shown(self.extra)}; JSON cannot hold it: {_one_line(error)}") from None

    @property
    def attention_head_size(self) -> int:
        """The size d = e / h of one attention head."""
        return self.hidden_size // self.num_attention_heads

    def _check_pruned_heads(self) -> None:
        """Makes integers of the layers' numbers, which JSON holds as strings, and sorts the heads."""
        layers, h = self.num_hidden_layers, self.num_attention_heads
        try:
            checked = {_as_layer(layer): _as_heads(heads) for layer, heads in self.pruned_heads.items()}
        except (InputError, AttributeError):  # the latter: no dict
            checked = None
        if (
            checked is None
            or len(checked) < len(self.pruned_heads)
            or not all(
                0 <= layer < layers and all(0 <= head < h for head in heads) and len(heads) < h
                for layer, heads in checked.items()
            )
        ):
            raise InputError(
                f"pruned_heads is {shown(self.pruned_heads)}; it must be a dict from layers, 0 to {layers - 1}, "
                f"to lists of heads, 0 to {h - 1}, with a head left in each and no layer twice"
            )
        self.pruned_heads = checked

    # --- files ----------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as config.json holds them, with the entries of `extra` among the others."""
        fields = dataclasses.asdict(self)
        return {**fields.pop("extra"), **fields}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Makes a configuration of what `to_dict` returns. Keys that numbert does not know go into `extra`.

        Some programs write null or 0 for false, 1 for true, and a single name for a list of architectures. These
        are read as they are meant.

        Raises:
            InputError: the model type is not bert, or a value is outside its limits.
        """
        known = _arguments(cls)
        extra = {key: value for key, value in values.items() if key not in known}
        fields = {key: value for key, value in values.items() if key in known}
        for name in set(SWITCHES) & set(fields):
            if fields[name] is None or (isinstance(fields[name], int) and fields[name] in (0, 1)):
                fields[name] = bool(fields[name])
        if fields.get("pruned_heads", 0) is None:
            del fields["pruned_heads"]
        if isinstance(fields.get("architectures"), str):
            fields["architectures"] = [fields["architectures"]]
        return cls(**fields, extra=extra)

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Reads a config.json.

        Raises:
            InputError: the file is missing or is not a JSON object, or `from_dict` refuses its content.
        """
        path = Path(path)
        try:
            # NaN and Infinity are not JSON, though Python writes them: kept by name, so that they can be written.
            values = json.loads(path.read_text(encoding="utf-8"), parse_constant=str)
        except FileNotFoundError:
            raise InputError(f"{path} does not exist") from None
        except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, too many digits; too deep
            raise InputError(f"{path} is not readable as JSON: {error}") from None
        if not isinstance(values, dict):
            raise InputError(f"{path} holds a {type(values).__name__}; a configuration is a JSON object")
        try:
            return cls.from_dict(values)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    def to_json(self) -> str:
        """Returns the text of a config.json.

        Raises:
            InputError: a field has been set to a value that its limits or JSON do not allow.
        """
        checked = dataclasses.replace(self)
        return json.dumps(checked.to_dict(), indent=2, sort_keys=True) + "\n"


# The class's own attribute is the argument's default, None, which has done its work and hides the property.
del BertConfig.num_labels


def _arguments(cls: type[BertConfig]) -> set[str]:
    """The names of the arguments, without extra."""
    return {f.name for f in dataclasses.fields(cls)} - {"extra"} | {"num_labels"}


def _as_string(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"{name} is {shown(value)}; it must be a string")
    return str(value)


def _as_strings(name: str, value: Any) -> list[str]:
    if not isinstance(value, list | tuple):
        raise InputError(f"{name} is {shown(value)}; it must be a list of strings")
    return [_as_string(name, one) for one in value]


def _as_layer(value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return int(value[:20])  # far beyond any number of layers, and Python converts no more than 4,300 digits
    return as_integer("a layer", value)


def _as_heads(value: Any) -> list[int]:
    if not isinstance(value, list | tuple | set):
        raise InputError("no list of heads")
    return sorted({as_integer("a head", head) for head in value})


def _number_or_bool(value: Any) -> Any:
    """For json.dumps: NumPy's numbers and booleans as Python's."""
    for kind, convert in ((np.bool_, bool), (np.integer, int), (np.floating, float)):
        if isinstance(value, kind):
            return convert(value)
    raise TypeError(f"a {type(value).__name__} is neither a number, a string, a list nor a dict")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
