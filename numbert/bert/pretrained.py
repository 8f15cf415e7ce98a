"""BertPreTrainedModel: what all models have in common."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from numbert.bert.encoder import BertEncoder
from numbert.bert.pruning import heads_to_prune as heads_to_prune_of
from numbert.bert.vocabulary import VocabularyMixin
from numbert.config import BertConfig
from numbert.errors import InputError, abridged, as_integer, shown
from numbert.files.save import save_model
from numbert.files.upload import PushToHubMixin
from numbert.files.weights import StoredWeights, Weights, ignored_names, load_into
from numbert.nn.module import checked_dtype
from numbert.nn.switches import drawing, remembering, uninitialized
from numbert.nn.workspace import workspace

# What decides how large a model's arrays are.
SIZES = (
    "vocab_size",
    "max_position_embeddings",
    "type_vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
)


class BertPreTrainedModel(VocabularyMixin, PushToHubMixin):
    """What all models have in common: a configuration, a random generator, initial weights, model folders.

    Initial weights are as published: those of every Linear and Embedding are drawn from
    normal(0, initializer_range), biases and the [PAD] row are 0, and LayerNorm weights are 1.

    Args:
        config: the sizes; `BertConfig` says what each may be.
        seed: an integer, or the `np.random.Generator` from which weights and dropout are drawn.
        dtype: float32, float64, or complex128 (for complex-step derivatives).

    Attributes:
        draws_missing_head: whether `from_pretrained` draws the head, and says so, where the files have none, as
            those of a model for another task.

    Raises:
        InputError: dtype is none of these, no memory holds a model of these sizes, or the configuration asks for
            cross-attention and not for a decoder.
    """

    base_model_prefix = "bert"
    draws_missing_head = False

    def __init__(self, config: BertConfig, seed: int | np.random.Generator, dtype: DTypeLike) -> None:
        checked_dtype(dtype)
        if not isinstance(config, BertConfig):
            raise InputError(f"config is a {type(config).__name__}; it must be a BertConfig")
        self._refuse_what_no_memory_holds(config, np.dtype(dtype))
        self.config = dataclasses.replace(config)  # the model's own: pruning changes it
        self.rng = generator_of(seed)

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

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if remembering():
            return super().__call__(*args, **kwargs)
        with workspace():
            return super().__call__(*args, **kwargs)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the parameters, and of all that the model computes."""
        return next(parameter for _, parameter in self.named_parameters()).dtype

    def gradient_checkpointing_enable(self) -> None:
        """Turns gradient checkpointing on: it takes less memory and more time.

        While training, forward then remembers only the input of each layer, and backward runs the layer once more.
        The gradients stay the same, bit for bit. `config.gradient_checkpointing` says how a model starts; this
        method does not change it. See docs/derivations.md#gradient-checkpointing.
        """
        self._checkpoint_gradients(True)

    def gradient_checkpointing_disable(self) -> None:
        """Turns gradient checkpointing off. The backward of an earlier forward is still possible."""
        self._checkpoint_gradients(False)

    def _checkpoint_gradients(self, value: bool) -> None:
        for module in self.modules():
            if isinstance(module, BertEncoder):
                module.gradient_checkpointing = value

    def prune_heads(self, heads_to_prune: Mapping[int, Iterable[int]]) -> None:
        """Takes heads out of the self-attention of some layers (see `BertAttention.prune_heads`).

        `config.pruned_heads` says which are gone, so that a saved model is read back without them. Gradients of
        what is made smaller are set to None, and a forward before it can no longer be undone. An optimizer that
        has updated the model's parameters must be made anew. docs/pruning.md shows how heads are chosen.

        Args:
            heads_to_prune: for the number of a layer the numbers of its heads, as the configuration counts them.

        Raises:
            InputError: a layer or head does not exist, a head is pruned already or named twice, or a layer would
                have none left. Then nothing is pruned.
        """
        if not isinstance(heads_to_prune, Mapping):
            raise InputError(f"heads_to_prune is {shown(heads_to_prune)}; it must be a dict of lists, one a layer")
        (layers,) = (module.layer for module in self.modules() if isinstance(module, BertEncoder))
        n, h = len(layers), self.config.num_attention_heads
        checked: dict[int, set[int]] = {}
        for number, heads in heads_to_prune.items():
            layer = as_integer("a layer in heads_to_prune", number)
            if not 0 <= layer < n:
                raise InputError(f"heads_to_prune has layer {shown(layer)}; there are {n}, counted from 0")
            try:
                checked[layer] = heads_to_prune_of(heads, layers[layer].attention.pruned_heads, h)
            except InputError as error:
                raise InputError(f"layer {layer}: {error}") from None
        for layer, heads in checked.items():
            if heads:
                layers[layer].attention.prune_heads(heads)
                self.config.pruned_heads[layer] = sorted(layers[layer].attention.pruned_heads)
                self.forget()

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """Raises InputError: only a BertLMHeadModel writes on after a text. See `GenerationMixin.generate`."""
        raise InputError(
            f"a {type(self).__name__} does not generate; use BertLMHeadModel, with is_decoder=True in its "
            "configuration"
        )

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        dtype: DTypeLike | None = None,
        *,
        config: BertConfig | None = None,
        **options: Any,
    ) -> Self:
        """Reads a model folder: config.json and model.safetensors (or its shards). The model is in eval().

        A task's head that the files do not have is drawn as in a new model, and a line on stderr says so.
        Arrays that have the model's dtype in the file are views of the mapped file; writing into one changes the
        model and not the file.

        Args:
            dtype: float32, float64 or complex128; default float64 if all weights in the file are, else float32.
            config: what is to be read in the place of config.json, as for another number of labels.
            options: the other arguments of the constructor, by name.

        Raises:
            InputError: a file is missing or broken, or does not fit the model. `numbert inspect FOLDER` shows
                what does not fit.
        """
        weights = StoredWeights(folder)
        if config is None:
            config = BertConfig.from_file(Path(folder) / "config.json")
        return cls.from_weights(weights, config, dtype, **options)

    @classmethod
    def from_tf(
        cls,
        prefix: str | Path,
        config: BertConfig | None = None,
        dtype: DTypeLike | None = None,
        **options: Any,
    ) -> Self:
        """Reads a TensorFlow checkpoint of Google's BERT, without TensorFlow. The model is in eval().

        The checksum of each array that the model has is compared. Heads that the model does not have are left out,
        as in `from_pretrained`, and so are an optimizer's variables. Of other variables that have no place in the
        model, the logger "numbert" says the names in one line.

        Args:
            prefix: what the names of the checkpoint's files begin with, such as
                uncased_L-12_H-768_A-12/bert_model.ckpt.
            config: the configuration; by default that in bert_config.json, beside the checkpoint.
            dtype: float32, float64 or complex128; default float64 if all weights in the checkpoint are, else
                float32.
            options: the other arguments of the constructor, by name.

        Raises:
            InputError: a file is missing or damaged, or does not fit the model.
        """
        from numbert.files.tensorflow import TensorFlowWeights  # here, because few need it

        weights = TensorFlowWeights(prefix)
        model = cls.from_weights(weights, weights.config() if config is None else config, dtype, **options)
        strange = weights.unknown + [name for name in ignored_names(model, weights) if ".layer." in name]
        if strange:
            logging.getLogger("numbert").warning(
                f"{weights.folder} has {abridged(strange)}, which this {cls.__name__} does not have"
            )
        return model

    @classmethod
    def from_weights(
        cls, weights: Weights, config: BertConfig, dtype: DTypeLike | None = None, **options: Any
    ) -> Self:
        """Makes a model of a configuration and of weights that were opened, in eval(). `from_pretrained` uses it.

        Raises:
            InputError: the weights do not fit the model.
        """
        with uninitialized():
            model = cls(config, dtype=weights.dtype if dtype is None else dtype, **options)
        load_into(model, weights)
        return model.eval()

    def save_pretrained(self, folder: str | Path, dtype: DTypeLike | None = None) -> None:
        """Writes config.json and model.safetensors into a folder, as the newest transformers reads them.

        Each file is written whole or not at all, and replaces a file of its name.

        Args:
            dtype: float16, float32 or float64 for the weights in the file; default the model's dtype.

        Raises:
            InputError: the model is complex, dtype is none of these, a weight is beyond the range of dtype, or the
                folder cannot be made.
        """
        save_model(self, folder, dtype)


def generator_of(seed: Any) -> np.random.Generator:
    """Returns the random generator that a seed makes; a Generator is returned as it is.

    Raises:
        InputError: the seed is neither an integer from 0 on nor a Generator.
    """
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError):
        raise InputError(f"seed is {shown(seed)}; it must be an integer from 0 on, or a Generator") from None


def encoder_parameters(config: BertConfig) -> int:
    """Counts the numbers that a BertModel without pooler learns, before heads are pruned."""
    e, f = config.hidden_size, config.intermediate_size
    tables = (config.vocab_size + config.max_position_embeddings + config.type_vocab_size) * e
    attention = (4 * (e * e + e) + 2 * e) * (2 if config.add_cross_attention else 1)
    feed_forward = 2 * e * f + f + e + 2 * e
    return tables + 2 * e + config.num_hidden_layers * (attention + distances(config) + feed_forward)


def largest_parameter(config: BertConfig) -> int:
    """Counts the numbers in the largest array of a BertModel."""
    e, f = config.hidden_size, config.intermediate_size
    rows = max(config.vocab_size, config.max_position_embeddings, config.type_vocab_size, e, f)
    return max(e * rows, distances(config))


def distances(config: BertConfig) -> int:
    """Counts the numbers in a layer's table of distances."""
    if config.position_embedding_type == "absolute":
        return 0
    return (2 * config.max_position_embeddings - 1) * config.attention_head_size
