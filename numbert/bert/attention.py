"""BertSelfAttention and BertAttention: every token looks at every token of its sequence, or of an encoder's."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numbert.bert.cache import KeysAndValues, appended
from numbert.bert.packing import Pack
from numbert.bert.positions import DistanceEmbedding
from numbert.bert.pruning import (
    all_heads,
    heads_left,
    heads_to_prune,
    keep_columns,
    keep_rows,
    numbers_of,
)
from numbert.bert.residual import BertSelfOutput
from numbert.config import BertConfig
from numbert.nn.array import Array, given
from numbert.nn.attention import (
    AttentionContext,
    AttentionInBlocks,
    AttentionMask,
    AttentionProbs,
    AttentionScores,
    HeadMask,
)
from numbert.nn.functional import add, join_heads, join_heads_backward, split_heads, split_heads_backward
from numbert.nn.layers import Dropout, Linear
from numbert.nn.module import Module
from numbert.nn.switches import inferring, remembering

# The largest l * r for which [b,h,l,r] is made. Above it attention runs in blocks, with memory linear in l. Where
# nothing is learned blocks are also faster, from a smaller one on (see `attention_in_blocks`).
MOST_SCORES, MOST_SCORES_TO_INFER = 512 * 512, 384 * 384


class BertSelfAttention(Module):
    """h heads of scaled dot-product attention side by side (Vaswani et al. 2017, 3.2.2). [b,l,e] -> [b,l,e].

    Each step is a layer, which hooks can watch and replace: `scores`, `distance_embedding` (if positions are
    relative), `mask` (if there is one), `probs`, `head_mask` (if there is one), `dropout` and `context`.

    Args:
        position_embedding_type: "absolute" for an attention whose scores know no positions, though the
            configuration asks for relative ones; by default as the configuration says.

    Attributes:
        num_attention_heads: the number of heads that are not pruned.
        heads_left: integers, the numbers of these heads among those of the configuration; None if none is pruned.
    """

    def __init__(
        self,
        config: BertConfig,
        *,
        position_embedding_type: str | None = None,
        seed: Any = 0,
        dtype: DTypeLike = np.float32,
    ) -> None:
        seed = np.random.default_rng(seed)
        self.num_attention_heads = self.configured_heads = config.num_attention_heads
        self.attention_head_size = config.attention_head_size
        self.all_head_size = self.num_attention_heads * self.attention_head_size
        self.is_decoder = config.is_decoder
        self.heads_left: Array | None = None
        draw: dict[str, Any] = {"std": config.initializer_range, "seed": seed, "dtype": dtype}
        self.query = Linear(config.hidden_size, self.all_head_size, **draw)
        self.key = Linear(config.hidden_size, self.all_head_size, **draw)
        self.value = Linear(config.hidden_size, self.all_head_size, **draw)
        self.scores = AttentionScores()
        self.distance_embedding: DistanceEmbedding | None = None
        if (position_embedding_type or config.position_embedding_type) != "absolute":
            self.distance_embedding = DistanceEmbedding(config, seed=seed, dtype=dtype)
        self.mask = AttentionMask()
        self.probs = AttentionProbs()
        self.head_mask = HeadMask()
        self.dropout = Dropout(config.attention_probs_dropout_prob, seed=seed)
        self.context = AttentionContext()
        self.in_blocks = AttentionInBlocks()

    def transpose_for_scores(self, x: Array) -> Array:
        """Splits e into heads. [b,l,e] -> [b,h,l,d]. See `split_heads`."""
        return split_heads(x, self.num_attention_heads)

    def keys_and_values(self, states: Array) -> tuple[Array, Array]:
        """[b,r,e] -> key_layer and value_layer [b,h,r,d]."""
        return self.transpose_for_scores(self.key(states)), self.transpose_for_scores(self.value(states))

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
        """Returns a tuple of context_layer [b,l,e], attention_probs [b,h,l,r] (if asked for), keys and values.

        Keys and values are a pair of arrays [b,h,r,d], which only a decoder returns.

        Args:
            hidden_states: [b,l,e]
            attention_mask: added to the scores and broadcast to [b,h,l,r] (see `get_extended_attention_mask`).
            head_mask: multiplied with the probabilities and broadcast to [b,h,l,r], usually [1,h,1,1], where h
                counts pruned heads, too.
            encoder_hidden_states: [b,r,e]; if given, keys and values are theirs (cross-attention).
            encoder_attention_mask: takes the place of attention_mask in cross-attention.
            past_key_value: the keys and values [b,h,r,d] of earlier steps. They are constants: no gradient reaches
                what they were made of.
            output_attentions: whether to return attention_probs, after head_mask and before dropout. Pruned heads
                are among them, as zeros.
        """
        query_layer = self.transpose_for_scores(self.query(hidden_states))  # [b,l,e] -> [b,h,l,d]
        if encoder_hidden_states is not None and past_key_value is not None:
            case = KeysAndValues.CROSS_WITH_CACHE
            key_layer, value_layer = past_key_value  # [b,h,r,d]
            self.key.skip()
            self.value.skip()
        elif encoder_hidden_states is not None:
            case = KeysAndValues.CROSS
            key_layer, value_layer = self.keys_and_values(encoder_hidden_states)  # [b,r,e] -> [b,h,r,d]
        elif past_key_value is not None:
            case = KeysAndValues.SELF_WITH_CACHE
            key_layer, value_layer = self.keys_and_values(hidden_states)  # [b,l,e] -> [b,h,l,d]
            key_layer = appended(past_key_value[0], key_layer)  # [b,h,past,d], [b,h,l,d] -> [b,h,r,d]
            value_layer = appended(past_key_value[1], value_layer)
        else:
            case = KeysAndValues.SELF
            key_layer, value_layer = self.keys_and_values(hidden_states)  # [b,l,e] -> [b,h,r,d], where r is l
        if encoder_hidden_states is not None:
            attention_mask = encoder_attention_mask
        if head_mask is not None and self.heads_left is not None:
            head_mask = head_mask[:, self.heads_left]

        if isinstance(attention_mask, Pack):
            attention_probs = None
            context_layer = attention_mask.attend(
                lambda query, key, value, mask: self.attend(query, key, value, mask, head_mask)[0],
                query_layer,
                key_layer,
                value_layer,
            )  # [1,h,t,d] -> [1,t,e]
        else:
            context_layer, attention_probs = self.attend(
                query_layer, key_layer, value_layer, attention_mask, head_mask, output_attentions
            )
            context_layer = join_heads(context_layer)  # [b,h,l,d] -> [b,l,e]

        self.remember(
            case=case,
            masked=attention_mask is not None,
            heads_masked=head_mask is not None,
            encoder_hidden_states=encoder_hidden_states,
            # The rest is for readers: the steps hold the same arrays, and each undoes itself.
            query_layer=query_layer,
            key_layer=key_layer,
            value_layer=value_layer,
            **({} if attention_probs is None else {"attention_probs": attention_probs}),
        )
        if attention_probs is None and remembering():
            self.saved = SavedInBlocks(**(vars(self.saved) | vars(self.in_blocks.saved)))
        outputs: tuple[Any, ...] = (context_layer,)
        if output_attentions:
            assert attention_probs is not None
            outputs += (all_heads(attention_probs, self.heads_left, self.configured_heads),)
        if self.is_decoder:
            outputs += ((key_layer, value_layer),)
        return outputs

    def attend(
        self,
        query_layer: Array,
        key_layer: Array,
        value_layer: Array,
        attention_mask: Array | None,
        head_mask: Array | None,
        output_attentions: bool = False,
    ) -> tuple[Array, Array | None]:
        """Runs the steps, or `in_blocks` in their place: [b,h,l,d], [b,h,r,d], [b,h,r,d] -> [b,h,l,d], [b,h,l,r].

        The arguments are those of `forward`. The second result is attention_probs, None if they are not made.
        """
        scores = query_layer.shape[2] * key_layer.shape[2]
        if self.runs_in_blocks(scores, head_mask, output_attentions):
            for step in self.steps():
                step.skip()
            table, with_key = None, False
            if self.distance_embedding is not None:
                table = self.distance_embedding.checked_table(key_layer.shape[2])
                with_key = self.distance_embedding.with_key
            context_layer = self.in_blocks(
                query_layer,
                key_layer,
                value_layer,
                attention_mask,
                head_mask,
                table,
                with_key,
                p=self.dropout.p,
                seed=self.dropout.draw_seed(),
            )
            return context_layer, None
        self.in_blocks.skip()
        attention_scores = self.scores(query_layer, key_layer)  # [b,h,l,r]
        if self.distance_embedding is not None:
            attention_scores = add(attention_scores, self.distance_embedding(query_layer, key_layer))
        if attention_mask is None:
            self.mask.skip()
        else:
            attention_scores = self.mask(attention_scores, attention_mask)
        attention_probs = self.probs(attention_scores)
        if head_mask is not None:
            attention_probs = self.head_mask(attention_probs, head_mask)
        else:
            self.head_mask.skip()
        return self.context(self.dropout(attention_probs), value_layer), attention_probs  # [b,h,l,d], [b,h,l,r]

    def steps(self) -> list[Module]:
        """The layers that `in_blocks` takes the place of."""
        steps = [self.scores, self.distance_embedding, self.mask, self.probs, self.head_mask, self.dropout]
        return [step for step in (*steps, self.context) if step is not None]

    def runs_in_blocks(self, scores: int, head_mask: Array | None, output_attentions: bool) -> bool:
        """Returns whether the sequences are long, and nobody is to see [b,h,l,r]: no hook on a step, no caller.

        Args:
            scores: l * r.
            head_mask, output_attentions: as `forward` takes them.
        """
        most = MOST_SCORES_TO_INFER if inferring() else MOST_SCORES
        one_a_head = head_mask is None or head_mask.shape[2:] == (1, 1)
        return scores > most and one_a_head and not output_attentions and not any(s.hooks for s in self.steps())

    def backward(self, d_context_layer: Array) -> Any:
        """d_context_layer [b,l,e] -> d_hidden_states [b,l,e], d_head_mask, d_encoder_hidden_states [b,r,e].

        Of the last two, only those are returned whose inputs were given; d_head_mask has head_mask's shape.
        attention_probs, keys and values carry no gradient. The derivation is in docs/derivations.md#attention.
        """
        saved = self.recall()
        # context_layer = join_heads(context_layer)
        d_context_layer = join_heads_backward(d_context_layer, self.num_attention_heads)  # [b,l,e] -> [b,h,l,d]
        d_query_layer, d_key_layer, d_value_layer, d_head_mask = self.attend_backward(d_context_layer, saved)
        if d_head_mask is not None:
            d_head_mask = all_heads(d_head_mask, self.heads_left, self.configured_heads)

        d_hidden_states = self.query.backward(split_heads_backward(d_query_layer))
        d_encoder_hidden_states = None
        match saved.case:
            case KeysAndValues.CROSS_WITH_CACHE:  # the cache is a constant
                d_encoder_hidden_states = np.zeros_like(saved.encoder_hidden_states)
            case KeysAndValues.CROSS:
                d_encoder_hidden_states = self.key.backward(split_heads_backward(d_key_layer))
                d_encoder_hidden_states += self.value.backward(split_heads_backward(d_value_layer))
            case _:
                # hidden_states went into query, key and value: the three gradients add up. Of the keys and
                # values, the last l are this step's; the cached ones before them are constants.
                length = d_query_layer.shape[2]
                d_hidden_states += self.key.backward(split_heads_backward(d_key_layer[:, :, -length:]))
                d_hidden_states += self.value.backward(split_heads_backward(d_value_layer[:, :, -length:]))
        return given(d_hidden_states, d_head_mask, d_encoder_hidden_states)

    def attend_backward(self, d_context_layer: Array, saved: Any) -> tuple[Array, Array, Array, Array | None]:
        """d_context_layer [b,h,l,d] -> the gradients of query, key and value layer, and of a head mask."""
        d_head_mask = None
        if isinstance(saved, SavedInBlocks):
            d_query_layer, d_key_layer, d_value_layer, *others = self.in_blocks.backward(d_context_layer)
            if self.distance_embedding is not None:
                self.distance_embedding.weight.add_grad(others.pop(), owned=True)
            if saved.heads_masked:
                d_head_mask = others.pop()
            return d_query_layer, d_key_layer, d_value_layer, d_head_mask
        d_attention_probs, d_value_layer = self.context.backward(d_context_layer)
        d_attention_probs = self.dropout.backward(d_attention_probs)
        if saved.heads_masked:
            d_attention_probs, d_head_mask = self.head_mask.backward(d_attention_probs)
        d_attention_scores = self.probs.backward(d_attention_probs)
        if saved.masked:
            d_attention_scores = self.mask.backward(d_attention_scores)
        d_query_layer, d_key_layer = self.scores.backward(d_attention_scores)
        if self.distance_embedding is not None:
            # The scores are a sum of two terms, and query and key went into both.
            d_query_relative, d_key_relative = self.distance_embedding.backward(d_attention_scores)
            d_query_layer += d_query_relative
            d_key_layer += d_key_relative
        return d_query_layer, d_key_layer, d_value_layer, d_head_mask


class SavedInBlocks(SimpleNamespace):
    """What `BertSelfAttention` remembers where it ran in blocks: query_layer, key_layer, value_layer [b,h,l,d] ...

    context_layer [b,h,l,d], and of each row [b,h,l,1] its largest score, row_max, and log_sum.
    """

    def __getattr__(self, name: str) -> Any:
        if name == "attention_probs":
            raise AttributeError(
                "attention_probs [b,h,l,r] was not made: the sequence is long and attention ran in blocks; "
                "ask for it with output_attentions=True"
            )
        raise AttributeError(name)


class BertAttention(Module):
    """Attention and its output with the residual connection. [b,l,e] -> [b,l,e].

    The argument position_embedding_type is that of `BertSelfAttention`.

    Attributes:
        pruned_heads: the numbers of the heads that are pruned, as the configuration counts heads.
    """

    def __init__(
        self,
        config: BertConfig,
        *,
        position_embedding_type: str | None = None,
        seed: Any = 0,
        dtype: DTypeLike = np.float32,
    ) -> None:
        seed = np.random.default_rng(seed)
        self.self = BertSelfAttention(
            config, position_embedding_type=position_embedding_type, seed=seed, dtype=dtype
        )
        self.output = BertSelfOutput(config, seed=seed, dtype=dtype)
        self.pruned_heads: set[int] = set()

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
        """Returns a tuple like that of `BertSelfAttention.forward`, which has the same arguments.

        Its first is attention_output [b,l,e].
        """
        self_outputs = self.self(
            hidden_states,
            attention_mask,
            head_mask,
            encoder_hidden_states,
            encoder_attention_mask,
            past_key_value,
            output_attentions,
        )
        attention_output = self.output(self_outputs[0], hidden_states)
        return (attention_output, *self_outputs[1:])

    def backward(self, d_attention_output: Array) -> Any:
        """d_attention_output [b,l,e] -> what `BertSelfAttention.backward` returns.

        The derivation is in docs/derivations.md#residual-sums.
        """
        d_context_layer, d_residual = self.output.backward(d_attention_output)
        d_self = self.self.backward(d_context_layer)
        d_hidden_states, *others = d_self if isinstance(d_self, tuple) else (d_self,)
        d_hidden_states += d_residual
        return given(d_hidden_states, *others)

    def prune_heads(self, heads: Iterable[int]) -> None:
        """Takes heads out: their rows of query, key and value, and their columns of the output's dense layer.

        The attention then computes what it did with a head mask of 0 there, with smaller products. Gradients are
        set to None, and a forward before it can no longer be undone. It may be called several times.

        Args:
            heads: numbers of heads, as the configuration counts them.

        Raises:
            InputError: a head does not exist, is pruned already or named twice, or none would be left. Then
                nothing is pruned.
        """
        heads = heads_to_prune(heads, self.pruned_heads, self.self.configured_heads)
        if not heads:
            return
        before = self.self.heads_left
        left = heads_left(self.pruned_heads | heads, self.self.configured_heads)
        numbers = numbers_of(left, before, self.self.attention_head_size)
        for linear in (self.self.query, self.self.key, self.self.value):
            keep_rows(linear, numbers)
        keep_columns(self.output.dense, numbers)
        self.pruned_heads |= heads
        self.self.heads_left = left
        self.self.num_attention_heads = len(left)
        self.self.all_head_size = len(numbers)
        self.forget()
