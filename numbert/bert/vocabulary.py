"""VocabularyMixin: the tables of word embeddings and of the decoder, and how they grow and shrink together."""

from __future__ import annotations

import numpy as np

from numbert.bert.embeddings import BertEmbeddings
from numbert.bert.heads import BertLMPredictionHead
from numbert.bert.positions import DistanceEmbedding
from numbert.config import BertConfig
from numbert.errors import InputError, as_integer, at_least, shown
from numbert.nn.array import Array
from numbert.nn.layers import Embedding, LayerNorm, Linear
from numbert.nn.module import Module, Parameter
from numbert.nn.switches import uninitialized


class VocabularyMixin(Module):
    """What a model has that begins with word embeddings and may end with a decoder.

    Call these methods on the whole model. A BertModel inside another knows nothing of the decoder above it; when
    its table was changed alone, `tie_weights` of the whole model makes the decoder follow.
    """

    config: BertConfig
    rng: np.random.Generator

    def _init_weights(self, module: Module) -> None:
        """Draws the initial weights of one layer anew from the model's generator, and sets its grads to None.

        Those of a Linear, an Embedding or a DistanceEmbedding are drawn from normal(0, initializer_range); the
        bias and the row `padding_idx` become 0. A LayerNorm's weight becomes 1 and its bias 0. Any other layer
        stays as it is, and so do the layers inside it. These are the numbers that the layer's constructor draws
        from the same generator.
        """
        std = self.config.initializer_range
        if isinstance(module, Linear | Embedding | DistanceEmbedding):
            weight = module.weight
            weight.data = Parameter.normal(weight.shape, std, self.rng, weight.dtype).data
            if isinstance(module, Embedding) and module.padding_idx is not None:
                weight.data[module.padding_idx] = 0
        elif isinstance(module, LayerNorm):
            module.weight.data = np.ones_like(module.weight.data)
        else:
            return
        if isinstance(module, Linear | LayerNorm) and module.bias is not None:
            module.bias.data = np.zeros_like(module.bias.data)
        module.zero_grad()

    def get_input_embeddings(self) -> Embedding:
        """Returns the word embeddings, whose weight is [v,e]."""
        return self._embeddings().word_embeddings

    def set_input_embeddings(self, value: Embedding) -> None:
        """Puts other word embeddings in the place of the model's; a tied decoder follows.

        The layer itself becomes part of the model, so its Parameter can be shared with another model.

        Args:
            value: an Embedding of the model's sizes and dtype. `resize_token_embeddings` makes tables of other
                sizes.

        Raises:
            InputError: value is no Embedding, or has another size or dtype.
        """
        if not isinstance(value, Embedding):
            raise InputError(f"the word embeddings are {shown(value)}; they must be an Embedding")
        _check_like("the word embeddings", value.weight, self.get_input_embeddings().weight)
        self._embeddings().word_embeddings = value
        self.tie_weights()

    def get_output_embeddings(self) -> Linear | None:
        """Returns the decoder, whose weight is [v,e] and whose bias is [v]; None in a model that has none."""
        head = self._prediction_head()
        return None if head is None else head.decoder

    def set_output_embeddings(self, new_embeddings: Linear) -> None:
        """Puts another decoder in the place of the model's, with its bias.

        Args:
            new_embeddings: a Linear with a bias, of the model's sizes and dtype. In a tied model its weight must
                be that of the word embeddings: the same Parameter.

        Raises:
            InputError: the model has no decoder; new_embeddings is no Linear or has no bias, another size or
                another dtype; or its weight is not that of the word embeddings and the configuration ties them.
        """
        head = self._prediction_head()
        if head is None:
            raise InputError(f"a {type(self).__name__} has no decoder")
        if not isinstance(new_embeddings, Linear) or new_embeddings.bias is None:
            raise InputError(f"the decoder is {shown(new_embeddings)}; it must be a Linear with a bias")
        _check_like("the decoder's weights", new_embeddings.weight, head.decoder.weight)
        if self.config.tie_word_embeddings and new_embeddings.weight is not self.get_input_embeddings().weight:
            raise InputError(
                "the configuration ties the decoder to the word embeddings: set_input_embeddings changes both, "
                "and config.tie_word_embeddings = False lets them differ"
            )
        head.decoder, head.bias = new_embeddings, new_embeddings.bias

    def tie_weights(self) -> None:
        """Makes the decoder follow the word embeddings, if the configuration ties them: one Parameter for both.

        The bias follows the number of rows: it gets zeros at its end, or loses its last numbers. Constructors tie
        by themselves; this is for who changes `config.tie_word_embeddings`, or the table of a BertModel inside the
        model. If the configuration does not tie them, nothing changes.
        """
        head, embeddings = self._prediction_head(), self.get_input_embeddings()
        if head is not None:
            if not self.config.tie_word_embeddings:
                return
            head.decoder.weight, head.decoder.bias = embeddings.weight, head.bias
            _fit(head.decoder)
        self._set_vocab_size(embeddings.num_embeddings)

    def resize_token_embeddings(self, new_num_tokens: int | None = None) -> Embedding:
        """Adds rows at the end of the word embeddings, or removes the last ones; the decoder and its bias follow.

        What remains keeps its numbers. New rows are drawn by `_init_weights`, first those of the word embeddings,
        then those of a decoder that is not tied; new numbers of the bias are 0. (From version 4.46 on transformers
        draws new rows around the mean of the old ones, unless it is told mean_resizing=False.)

        `config.vocab_size` follows. Every Parameter stays the same object, its grad becomes None, and what forward
        remembered is dropped. An AdamW that has made a step holds averages of the old size, so it must be made
        anew.

        Args:
            new_num_tokens: how many rows there shall be; None changes nothing.

        Returns:
            the word embeddings, as `get_input_embeddings` does.

        Raises:
            InputError: new_num_tokens is no integer of at least 1, would remove the [PAD] row, or is more than
                memory holds. The model is then as it was.
        """
        embeddings, decoder = self.get_input_embeddings(), self.get_output_embeddings()
        if new_num_tokens is None:
            return embeddings
        size = as_integer("new_num_tokens", new_num_tokens)
        at_least("new_num_tokens", size, 1)
        for pad in (embeddings.padding_idx, self.config.pad_token_id):
            if pad is not None and pad >= size:
                raise InputError(f"new_num_tokens is {size}; it must be above {pad}, the row of [PAD]")
        weights = [embeddings.weight]
        if decoder is not None and decoder.weight is not embeddings.weight:
            weights.append(decoder.weight)
        try:
            resized = [self._with_rows(weight.data, size) for weight in weights]
        except (MemoryError, ValueError, OverflowError):
            raise InputError(f"there is no memory for {shown(size)} word embeddings") from None
        for weight, data in zip(weights, resized, strict=True):
            weight.data = data
        embeddings.num_embeddings = size
        if decoder is not None:
            _fit(decoder)
        self._set_vocab_size(size)
        self.zero_grad()
        self.forget()
        return embeddings

    def _with_rows(self, table: Array, size: int) -> Array:
        """Returns the first `size` rows of a table [v,e]; where there are fewer, new ones are drawn."""
        with uninitialized():
            new = Embedding(max(0, size - len(table)), table.shape[1], dtype=table.dtype)
        self._init_weights(new)
        return np.concatenate([table[:size], new.weight.data])

    def _set_vocab_size(self, size: int) -> None:
        for module in self.modules():
            if isinstance(module, VocabularyMixin):  # the model, and the BertModel in it
                module.config.vocab_size = size

    def _embeddings(self) -> BertEmbeddings:
        return next(module for module in self.modules() if isinstance(module, BertEmbeddings))

    def _prediction_head(self) -> BertLMPredictionHead | None:
        return next((module for module in self.modules() if isinstance(module, BertLMPredictionHead)), None)


def _fit(decoder: Linear) -> None:
    """Gives the decoder's bias a number for each row of its weight: adds zeros at the end, or cuts there."""
    size = decoder.out_features = len(decoder.weight.data)
    if (bias := decoder.bias) is not None and len(bias.data) != size:
        kept = bias.data[:size]
        bias.data = np.concatenate([kept, np.zeros(size - len(kept), bias.dtype)])
        bias.grad = None


def _check_like(name: str, given: Parameter, present: Parameter) -> None:
    """Raises InputError unless a Parameter that is to take another one's place has its shape and dtype."""
    if (given.shape, given.dtype) != (present.shape, present.dtype):
        raise InputError(
            f"{name} are {given.dtype} {list(given.shape)}; here they must be "
            f"{present.dtype} {list(present.shape)}"
        )
