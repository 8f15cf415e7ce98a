"""BertPreTrainedModel: what every model is, with its configuration, generator and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from numbert.bert.encoder import BertEncoder
from numbert.config import BertConfig
from numbert.files.save import save_model
from numbert.files.weights import Checkpoint, load_into
from numbert.nn.module import Module, checked_dtype
from numbert.nn.switches import uninitialized


class BertPreTrainedModel(Module):
    """What every model shares: a configuration, a generator, initial weights, files.

    Initial weights are as published: every Linear and Embedding draws from normal(0, initializer_range), biases
    and the [PAD] row are 0, LayerNorm weights are 1.

    Args:
        config: the sizes; `numbert.config` says what each may be.
        seed: an integer, or the `np.random.Generator` to draw weights and dropout from.
        dtype: float32, float64, or complex128 (for complex-step derivatives).

    Raises:
        InputError: the dtype is another, or the configuration asks for what numbert does not have yet.
    """

    base_model_prefix = "bert"

    def __init__(self, config: BertConfig, seed: int | np.random.Generator, dtype: DTypeLike) -> None:
        checked_dtype(dtype)
        config.refuse_what_is_not_there_yet()
        self.config = config
        self.rng = np.random.default_rng(seed)

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
        checkpoint = Checkpoint(folder)
        config = BertConfig.from_file(Path(folder) / "config.json")
        with uninitialized():
            model = cls(config, dtype=checkpoint.dtype if dtype is None else dtype, **options)
        load_into(model, checkpoint)
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
