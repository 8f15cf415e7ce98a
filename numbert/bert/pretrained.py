"""BertPreTrainedModel: what every model is, with its configuration, generator and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from numbert.bert.encoder import BertEncoder
from numbert.config import BertConfig
from numbert.errors import InputError, shown
from numbert.files.save import save_model
from numbert.files.weights import StoredWeights, load_into
from numbert.nn.module import Module, checked_dtype
from numbert.nn.switches import drawing, uninitialized

# What decides how large a model's arrays are.
SIZES = (
    "vocab_size",
    "max_position_embeddings",
    "type_vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
)


class BertPreTrainedModel(Module):
    """What every model shares: a configuration, a generator, initial weights, files.

    Initial weights are as published: every Linear and Embedding draws from normal(0, initializer_range), biases
    and the [PAD] row are 0, LayerNorm weights are 1.

    Args:
        config: the sizes; `numbert.config` says what each may be.
        seed: an integer, or the `np.random.Generator` to draw weights and dropout from.
        dtype: float32, float64, or complex128 (for complex-step derivatives).

    Raises:
        InputError: the dtype is another, no memory holds a model of these sizes, or the configuration asks for
            what numbert does not have yet.
    """

    base_model_prefix = "bert"

    def __init__(self, config: BertConfig, seed: int | np.random.Generator, dtype: DTypeLike) -> None:
        checked_dtype(dtype)
        config.refuse_what_is_not_there_yet()
        self._refuse_what_no_memory_holds(config, np.dtype(dtype))
        self.config = config
        self.rng = np.random.default_rng(seed)

    def _refuse_what_no_memory_holds(self, config: BertConfig, dtype: np.dtype[Any]) -> None:
        """Raises InputError where there is no memory for the encoder's parameters; some are made before it ends.

        An uninitialized model takes memory only where it is written to, so there its largest array counts alone.
        """
        needed = dtype.itemsize * (encoder_parameters(config) if drawing() else largest_parameter(config))
        if needed < 2**30:  # a GiB, which is there; asking for less would change how malloc serves the model
            return
        try:
            np.empty(needed, np.uint8)  # asked for, and given back at once
        except (MemoryError, ValueError, OverflowError):
            sizes = ", ".join(f"{name} {shown(getattr(config, name))}" for name in SIZES)
            raise InputError(f"there is no memory for a {type(self).__name__} with {sizes} in {dtype}") from None

    @property
    def dtype(self) -> np.dtype[Any]:
        return next(parameter for _, parameter in self.named_parameters()).dtype

    def gradient_checkpointing_enable(self) -> None:
        """From now on, while training, forward remembers each layer's input alone and backward runs it once more.

        The gradients stay the same, bit for bit. `config.gradient_checkpointing` says how a model starts; this
        leaves it as it is. See docs/derivations.md#checkpointing.
        """
        self._checkpoint_gradients(True)

    def gradient_checkpointing_disable(self) -> None:
        """From now on forward remembers all that backward needs. A forward before it can still be undone."""
        self._checkpoint_gradients(False)

    def _checkpoint_gradients(self, value: bool) -> None:
        for module in self.modules():
            if isinstance(module, BertEncoder):
                module.gradient_checkpointing = value

    @classmethod
    def from_pretrained(cls, folder: str | Path, dtype: DTypeLike | None = None, **options: Any) -> Self:
        """Reads config.json and model.safetensors (or its shards) from a folder; ready to use, in eval().

        The arrays are views of the mapped file where its dtype is the model's; writing into one changes the
        model and not the file.

        Args:
            dtype: default float64 for a float64 file, else float32.
            options: as the constructor's.

        Raises:
            InputError: a file is missing or broken, or does not fit; `numbert inspect FOLDER` shows how.
        """
        weights = StoredWeights(folder)
        config = BertConfig.from_file(Path(folder) / "config.json")
        with uninitialized():
            model = cls(config, dtype=weights.dtype if dtype is None else dtype, **options)
        load_into(model, weights)
        return model.eval()

    def save_pretrained(self, folder: str | Path, dtype: DTypeLike | None = None) -> None:
        """Writes config.json and model.safetensors, as the newest transformers reads them.

        Each file is written whole or not at all, in place of one of that name.

        Args:
            dtype: float16, float32 or float64 for the file; default the model's.

        Raises:
            InputError: the model is complex, the dtype is another, a weight is beyond its range, or the folder
                cannot be made.
        """
        save_model(self, folder, dtype)


def encoder_parameters(config: BertConfig) -> int:
    """How many numbers BertModel without its pooler learns."""
    e, f = config.hidden_size, config.intermediate_size
    tables = (config.vocab_size + config.max_position_embeddings + config.type_vocab_size) * e
    attention = 4 * (e * e + e)
    feed_forward = 2 * e * f + f + e
    return tables + 2 * e + config.num_hidden_layers * (attention + feed_forward + 4 * e)


def largest_parameter(config: BertConfig) -> int:
    """How many numbers the largest of its arrays has."""
    e, f = config.hidden_size, config.intermediate_size
    return e * max(config.vocab_size, config.max_position_embeddings, config.type_vocab_size, e, f)
