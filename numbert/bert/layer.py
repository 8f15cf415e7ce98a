"""BertIntermediate and BertLayer: attention, then the feed-forward network."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numbert.bert.attention import BertAttention
from numbert.bert.packing import Pack
from numbert.bert.residual import BertOutput
from numbert.config import BertConfig
from numbert.errors import InputError
from numbert.nn.activations import ACT2FN
from numbert.nn.array import Array
from numbert.nn.layers import Linear
from numbert.nn.module import Module
from numbert.nn.recompute import Rerun, in_chunks, in_chunks_backward


class BertIntermediate(Module):
    """Computes act(dense(hidden_states)). [b,l,e] -> [b,l,f]."""

    def __init__(self, config: BertConfig, *, seed: Any = 0, dtype: DTypeLike = np.float32) -> None:
        self.dense = Linear(
            config.hidden_size, config.intermediate_size, std=config.initializer_range, seed=seed, dtype=dtype
        )
        self.intermediate_act_fn = ACT2FN[config.hidden_act]()

    def forward(self, hidden_states: Array) -> Array:
        """[b,l,e] -> [b,l,f]."""
        hidden_states = self.dense(hidden_states)
        return self.intermediate_act_fn(hidden_states)

    def backward(self, d_output: Array) -> Array:
        """d_output [b,l,f] -> d_hidden_states [b,l,e].

        The derivation is in docs/derivations.md#layers-in-a-row.
        """
        return self.dense.backward(self.intermediate_act_fn.backward(d_output))


class BertFeedForward(Module):
    """A layer's `intermediate` and `output` as one part, which runs for each chunk. [b,l,e] -> [b,l,e]."""

    def __init__(self, intermediate: BertIntermediate, output: BertOutput) -> None:
        self.intermediate = intermediate
        self.output = output

    def forward(self, attention_output: Array, kept: Array | None = None) -> Array:
        """[b,l,e] -> [b,l,f] -> [b,l,e]. The argument kept is that of `BertOutput.forward`."""
        intermediate_output = self.intermediate(attention_output)
        return self.output(intermediate_output, attention_output, kept)

    def backward(self, d_layer_output: Array) -> Array:
        """d_layer_output [b,l,e] -> d_attention_output [b,l,e]: docs/derivations.md#residual-sums."""
        d_intermediate_output, d_residual = self.output.backward(d_layer_output)
        d_attention_output = self.intermediate.backward(d_intermediate_output)
        d_attention_output += d_residual
        return d_attention_output


class BertLayer(Module):
    """Attention, in a decoder cross-attention, then the feed-forward network. [b,l,e] -> [b,l,e].

    Attributes:
        chunk_size_feed_forward: the number of positions that the feed-forward network works on at a time; 0 for
            all. With chunks less memory is needed, and backward runs each chunk once more:
            docs/derivations.md#feed-forward-chunks.

    Raises:
        InputError: the configuration asks for cross-attention and not for a decoder.
    """

    def __init__(self, config: BertConfig, *, seed: Any = 0, dtype: DTypeLike = np.float32) -> None:
        seed = np.random.default_rng(seed)
        if config.add_cross_attention and not config.is_decoder:
            raise InputError("add_cross_attention=True needs a decoder: is_decoder=True")
        self.is_decoder = config.is_decoder
        self.chunk_size_feed_forward = config.chunk_size_feed_forward
        self.attention = BertAttention(config, seed=seed, dtype=dtype)
        self.crossattention: BertAttention | None = None
        if config.add_cross_attention:
            # The distance from a token of one text to one of another means nothing.
            self.crossattention = BertAttention(config, position_embedding_type="absolute", seed=seed, dtype=dtype)
        self.intermediate = BertIntermediate(config, seed=seed, dtype=dtype)
        self.output = BertOutput(config, seed=seed, dtype=dtype)

    def forward(
        self,
        hidden_states: Array,
        attention_mask: Array | Pack | None = None,
        head_mask: Array | None = None,
        encoder_hidden_states: Array | None = None,
        encoder_attention_mask: Array | None = None,
        past_key_value: tuple[Array, ...] | None = None,
        output_attentions: bool = False,
    ) -> tuple[Any, ...]:
        """Returns a tuple of layer_output [b,l,e], attention_probs, cross_attention_probs, past_key_value.

        The probabilities, [b,h,l,r], are among them if they are asked for, and past_key_value if the layer is a
        decoder's.

        Args:
            hidden_states, attention_mask, output_attentions: as `BertSelfAttention.forward` takes them.
            head_mask: the same for self-attention and cross-attention.
            encoder_hidden_states, encoder_attention_mask: as `BertSelfAttention.forward` takes them, for
                cross-attention.
            past_key_value: the keys and values [b,h,r,d] of self-attention and then, with encoder_hidden_states,
                those of cross-attention: 2 or 4 arrays.

        Raises:
            InputError: encoder_hidden_states are given, and the layer has no cross-attention; or
                chunk_size_feed_forward does not divide l.
        """
        self_attention_outputs = self.attention(
            hidden_states,
            attention_mask,
            head_mask,
            past_key_value=None if past_key_value is None else past_key_value[:2],
            output_attentions=output_attentions,
        )
        attention_output, *outputs = self_attention_outputs
        crossed = encoder_hidden_states is not None
        if crossed:
            if self.crossattention is None:
                raise no_cross_attention()
            attention_output, *cross_outputs = self.crossattention(
                attention_output,
                None,
                head_mask,
                encoder_hidden_states,
                encoder_attention_mask,
                None if past_key_value is None else past_key_value[2:],
                output_attentions,
            )
            # attention_probs of both, then the keys and values of both: 2 + 2 arrays
            past_key_value = outputs.pop() + cross_outputs.pop()
            outputs += [*cross_outputs, past_key_value]
        elif self.crossattention is not None:
            self.crossattention.skip()
        if not isinstance(attention_mask, Pack):
            self.check_chunks(attention_output.shape[1])
        layer_output, reruns = self.feed_forward(attention_output)
        self.remember(crossed=crossed, heads_masked=head_mask is not None, reruns=reruns)
        return (layer_output, *outputs)

    def check_chunks(self, length: int) -> None:
        """Raises InputError if sequences of that length cannot be cut into chunks."""
        size = self.chunk_size_feed_forward
        if size and length % size:
            raise InputError(f"{length} tokens cannot be cut into chunks of chunk_size_feed_forward={size}")

    @property
    def feed_forward_part(self) -> BertFeedForward:
        """`intermediate` and `output` as one part. (Their names in the files are the layer's own.)"""
        return BertFeedForward(self.intermediate, self.output)

    def feed_forward(self, attention_output: Array) -> tuple[Array, list[Rerun] | None]:
        """Runs the feed-forward network, in chunks if it is to: [b,l,e] -> [b,l,e], and the chunks' reruns."""
        part = self.feed_forward_part
        size = self.chunk_size_feed_forward
        if not size:
            return part(attention_output), None
        # Drawn for the whole length, so that chunks change nothing.
        kept = self.output.dropout.draw(attention_output.shape)
        return in_chunks(part, size, attention_output, kept)

    def backward(self, d_layer_output: Array) -> Any:
        """d_layer_output [b,l,e] -> d_hidden_states [b,l,e], d_head_mask, d_encoder_hidden_states [b,r,e].

        Of the last two, only those are returned whose inputs were given; d_head_mask has head_mask's shape. The
        derivation is in docs/derivations.md#residual-sums.
        """
        saved = self.recall()
        if saved.reruns is None:
            d_attention_output = self.feed_forward_part.backward(d_layer_output)
        else:
            d_attention_output = in_chunks_backward(d_layer_output, self.chunk_size_feed_forward, saved.reruns)
        if not saved.crossed:
            return self.attention.backward(d_attention_output)
        assert self.crossattention is not None
        # head_mask went into both attentions: the two gradients add up.
        d_attention_output, *d_cross_head_mask, d_encoder_hidden_states = self.crossattention.backward(
            d_attention_output
        )
        d_self = self.attention.backward(d_attention_output)
        if not saved.heads_masked:
            return d_self, d_encoder_hidden_states
        d_hidden_states, d_head_mask = d_self
        d_head_mask += d_cross_head_mask[0]
        return d_hidden_states, d_head_mask, d_encoder_hidden_states


def no_cross_attention() -> InputError:
    """Returns the error for encoder_hidden_states that are given to a decoder without cross-attention."""
    return InputError(
        "encoder_hidden_states are given, but the layers have no cross-attention: "
        "make the model with is_decoder=True, add_cross_attention=True"
    )
