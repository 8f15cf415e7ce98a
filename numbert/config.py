"""BertConfig: the sizes and switches of a model, as a published config.json holds them."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from numbert.errors import InputError, NotYetError
from numbert.nn.activations import ACT2FN

POSITION_EMBEDDING_TYPES = ("absolute", "relative_key", "relative_key_query")


@dataclass
class BertConfig:
    """The sizes of a BERT. Names and defaults are those of a published config.json (bert-base-uncased's shape).

    Raises:
        InputError: a value is outside its limits; the message names both.
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
    gradient_checkpointing: bool = False
    tie_word_embeddings: bool = True
    output_attentions: bool = False
    output_hidden_states: bool = False
    return_dict: bool = True
    architectures: list[str] | None = None
    model_type: str = "bert"
    # What else a config.json holds (id2label, transformers_version, ...): kept, so that saving loses nothing.
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (
            "vocab_size",
            "hidden_size",
            "num_attention_heads",
            "intermediate_size",
            "max_position_embeddings",
            "type_vocab_size",
        ):
            self._check(name, int, lambda value: value >= 1, "an integer of at least 1")
        for name in ("num_hidden_layers", "chunk_size_feed_forward"):
            self._check(name, int, lambda value: value >= 0, "an integer of at least 0")
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
            self._check(name, (int, float), lambda value: 0 <= value <= 1, "between 0 and 1")
        for name in ("initializer_range", "layer_norm_eps"):
            self._check(name, (int, float), lambda value: value >= 0, "a number of at least 0")
        if self.pad_token_id is not None:
            self._check(
                "pad_token_id",
                int,
                lambda value: 0 <= value < self.vocab_size,
                f"null or an id from 0 to {self.vocab_size - 1}",
            )
        self._check(
            "hidden_act",
            str,
            lambda value: value in ACT2FN,
            f"one of {', '.join(ACT2FN)}, of the names known",
        )
        self._check(
            "position_embedding_type",
            str,
            lambda value: value in POSITION_EMBEDDING_TYPES,
            f"one of {', '.join(POSITION_EMBEDDING_TYPES)}",
        )
        if self.hidden_size % self.num_attention_heads:
            raise InputError(
                f"hidden_size is {self.hidden_size}, which num_attention_heads, {self.num_attention_heads}, "
                "does not divide"
            )

    def _check(self, name: str, types: Any, valid: Any, wanted: str) -> None:
        value = getattr(self, name)
        if not isinstance(value, types) or isinstance(value, bool) or not valid(value):
            raise InputError(f"{name} is {value!r}; it must be {wanted}")

    @property
    def attention_head_size(self) -> int:
        """d = e / h."""
        return self.hidden_size // self.num_attention_heads

    def refuse_what_is_not_there_yet(self) -> None:
        """Raises NotYetError for a field that asks for a part of BERT which numbert does not have yet."""
        for name, wanted in (
            ("is_decoder", False),
            ("add_cross_attention", False),
            ("position_embedding_type", "absolute"),
            ("chunk_size_feed_forward", 0),
        ):
            if (value := getattr(self, name)) != wanted:
                raise NotYetError(f"{name}={value!r} is not in numbert yet; it can be {wanted!r}")

    # --- files ----------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The fields as config.json holds them: `extra` spread out among the others."""
        fields = dataclasses.asdict(self)
        return {**fields.pop("extra"), **fields}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`. Keys that numbert does not know go into `extra`.

        Raises:
            InputError: the model type is not bert, or a value is outside its limits.
        """
        model_type = values.get("model_type", "bert")
        if model_type != "bert":
            raise InputError(f"this is the configuration of a {model_type!r} model; numbert reads 'bert'")
        known = {f.name for f in dataclasses.fields(cls)} - {"extra"}
        extra = {key: value for key, value in values.items() if key not in known}
        return cls(**{key: value for key, value in values.items() if key in known}, extra=extra)

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Reads a config.json.

        Raises:
            InputError: the file is missing, is not a JSON object, or `from_dict` refuses it.
        """
        path = Path(path)
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"{path} does not exist") from None
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise InputError(f"{path} is not readable as JSON: {error}") from None
        if not isinstance(values, dict):
            raise InputError(f"{path} holds a {type(values).__name__}; a configuration is a JSON object")
        try:
            return cls.from_dict(values)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"
