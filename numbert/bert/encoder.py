"""BertEncoder: n layers, one after the other."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numbert.bert.inputs import get_extended_attention_mask
from numbert.bert.layer import BertLayer
from numbert.bert.outputs import BaseModelOutput, joined
from numbert.bert.packing import Pack, packs
from numbert.config import BertConfig
from numbert.nn.array import Array, given
from numbert.nn.module import Module, ModuleList
from numbert.nn.recompute import Rerun, run_without_remembering
from numbert.nn.switches import keeping_saved, remembering
from numbert.nn.threads import blas, in_threads, threads_here
from numbert.nn.workspace import workspace

# A thread computes parts of a batch of at least so many tokens, and of about so many numbers of [b,l,e]. With
# fewer the weights are read, and the interpreter lock changes hands, more often than is worth it; with more the
# activations do not fit into the caches. (512 tokens are best where e is 768, 1,024 where it is 384.)
FEWEST_ROWS, MOST_NUMBERS = 32, 400_000


class BertEncoder(Module):
    """n layers, one after the other. [b,l,e] -> [b,l,e].

    Attributes:
        gradient_checkpointing: whether, while training, only the input of each layer is kept and backward runs
            the layer once more: docs/derivations.md#gradient-checkpointing.
    """

    def __init__(self, config: BertConfig, *, seed: Any = 0, dtype: DTypeLike = np.float32) -> None:
        self.rng = np.random.default_rng(seed)
        self.layer = ModuleList(
            [BertLayer(config, seed=self.rng, dtype=dtype) for _ in range(config.num_hidden_layers)]
        )
        for number, heads in config.pruned_heads.items():
            self.layer[number].attention.prune_heads(heads)
        self.gradient_checkpointing = config.gradient_checkpointing
        self.hidden_size = config.hidden_size
        self.is_decoder = config.is_decoder
        self.relative = config.position_embedding_type != "absolute"

    def forward(
        self,
        hidden_states: Array,
        attention_mask: Array | Pack | None = None,
        head_mask: Array | None = None,
        encoder_hidden_states: Array | None = None,
        encoder_attention_mask: Array | None = None,
        past_key_values: tuple[tuple[Array, ...], ...] | None = None,
        use_cache: bool = False,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
    ) -> BaseModelOutput:
        """Runs the layers. hidden_states [b,l,e] -> BaseModelOutput with last_hidden_state [b,l,e].

        Args:
            hidden_states: [b,l,e]
            attention_mask: added to the scores and broadcast to [b,h,l,r] (see `get_extended_attention_mask`).
            head_mask: [n,1,h,1,1], for each layer what is multiplied with its probabilities (see `get_head_mask`).
            encoder_hidden_states: [b,r,e], for cross-attention.
            encoder_attention_mask: takes the place of attention_mask in cross-attention.
            past_key_values: for each layer the keys and values of earlier steps (see `BertLayer.forward`).
            use_cache: whether to return past_key_values; only of a decoder.
            output_attentions, output_hidden_states: whether to return these of every layer.
        """
        parts = self.parts(len(hidden_states), hidden_states.shape[1]) if past_key_values is None else []
        if len(parts) > 1 and not isinstance(attention_mask, Pack):
            return self.in_parts(
                parts,
                hidden_states,
                attention_mask,
                head_mask,
                encoder_hidden_states,
                encoder_attention_mask,
                None,
                use_cache,
                output_attentions,
                output_hidden_states,
            )
        checkpointing = self.gradient_checkpointing and self.training and remembering()
        if checkpointing and use_cache:
            warnings.warn(
                "use_cache=True does not go with gradient checkpointing; no cache is returned", stacklevel=2
            )
            use_cache = False
        reruns: list[Rerun] = []
        all_hidden_states: tuple[Array, ...] = (hidden_states,)
        all_self_attentions: tuple[Array, ...] = ()
        all_cross_attentions: tuple[Array, ...] = ()
        next_decoder_cache: tuple[Any, ...] = ()
        for i, layer in enumerate(self.layer):
            inputs = (
                hidden_states,
                attention_mask,
                None if head_mask is None else head_mask[i],
                encoder_hidden_states,
                encoder_attention_mask,
                None if past_key_values is None else past_key_values[i],
                output_attentions,
            )
            if checkpointing:
                layer_outputs, rerun = run_without_remembering(layer, self.rng, *inputs)
                reruns.append(rerun)
            else:
                layer_outputs = layer(*inputs)
            hidden_states = layer_outputs[0]
            if output_hidden_states:
                all_hidden_states += (hidden_states,)
            if output_attentions:
                all_self_attentions += (layer_outputs[1],)
                if encoder_hidden_states is not None:
                    all_cross_attentions += (layer_outputs[2],)
            if use_cache:
                next_decoder_cache += (layer_outputs[-1],)
        self.remember(
            reruns=reruns if checkpointing else None,
            head_mask=head_mask,
            encoder_hidden_states=encoder_hidden_states,
        )
        return BaseModelOutput(
            last_hidden_state=hidden_states,
            past_key_values=next_decoder_cache if use_cache else None,
            hidden_states=all_hidden_states if output_hidden_states else None,
            attentions=all_self_attentions if output_attentions else None,
            cross_attentions=all_cross_attentions or None,
        )

    def parts(self, b: int, length: int) -> list[slice]:
        """Returns the sequences that are computed together: parts of the batch for threads, or the whole.

        A thread computes whole sequences, so that threads need not wait for each other. It is the whole where
        anything is remembered or drawn, or a hook is to see it; and where it is small, or is a part itself.
        """
        threads = threads_here()
        if threads == 1 or b == 1 or b * length < 2 * FEWEST_ROWS or not blas.obeys() or self.watched():
            return [slice(None)]
        count = min(b, b * length // FEWEST_ROWS, threads * -(-b * length // (threads * self.most_rows())))
        return [slice(b * i // count, b * (i + 1) // count) for i in range(count)]

    def most_rows(self) -> int:
        """Returns how many tokens a thread computes at a time, if a sequence has no more."""
        return max(FEWEST_ROWS, MOST_NUMBERS // self.hidden_size)

    def watched(self) -> bool:
        """Returns whether the batch runs whole: something is remembered or drawn, or a hook is to see it."""
        return remembering() or any(part.training or part.hooks for part in self.modules())

    def in_parts(
        self,
        parts: list[slice],
        hidden_states: Array,
        attention_mask: Array | None,
        head_mask: Array | None,
        encoder_hidden_states: Array | None,
        encoder_attention_mask: Array | None,
        *others: Any,
    ) -> BaseModelOutput:
        """Does what `forward` does with the same arguments, for parts of the batch in several threads."""
        outputs: list[Any] = [None] * len(parts)

        def run(number: int) -> None:
            def part(array: Array | None, axes: int) -> Array | None:
                if array is None or array.ndim < axes or len(array) == 1:
                    return array  # broadcast to every sequence
                return array[parts[number]]

            with workspace():
                outputs[number] = self.forward(
                    hidden_states[parts[number]],
                    part(attention_mask, 4),
                    head_mask,
                    part(encoder_hidden_states, 3),
                    part(encoder_attention_mask, 4),
                    *others,
                )

        in_threads(run, range(len(parts)))
        return joined(outputs)

    def unpads(self, tokens: Array) -> bool:
        """Returns whether `unpadded` may take the place of `forward`: nobody is to see the batch as a whole.

        Args:
            tokens: bool [b,l], which positions hold tokens.
        """
        if self.watched():
            return False
        # Relative positions are those within a pack: what is left out may not lie between tokens.
        apart = np.diff(tokens.astype(np.int8), axis=-1, prepend=0) == 1  # [b,l], where tokens begin
        return not self.relative or bool((apart.sum(axis=-1) <= 1).all())

    def unpadded(
        self, hidden_states: Array, tokens: Array, head_mask: Array | None, output_hidden_states: bool
    ) -> BaseModelOutput:
        """Does what `forward` does for the tokens alone; what it returns is 0 elsewhere.

        Args:
            hidden_states: [b,l,e]
            tokens: bool [b,l], which positions hold tokens: queries and keys.
            head_mask, output_hidden_states: as `forward` takes them.
        """
        b, length, e = hidden_states.shape
        for layer in self.layer:
            layer.check_chunks(length)
        rows = hidden_states.reshape(b * length, e)
        count = len(self.layer) + 1 if output_hidden_states else 1
        states = [np.zeros((b * length, e), hidden_states.dtype) for _ in range(count)]

        def run(pack: Pack) -> None:
            with workspace():
                output = self.forward(
                    rows[pack.places][None], pack, head_mask, output_hidden_states=output_hidden_states
                )
                those = output.hidden_states or (output.last_hidden_state,)
                for whole, part in zip(states, those, strict=True):
                    whole[pack.places] = part[0]

        def causal_mask(length: int) -> Array | None:
            if not self.is_decoder or length == 1:
                return None
            return get_extended_attention_mask(
                np.ones((1, length)), (1, length), hidden_states.dtype, is_decoder=True
            )

        in_threads(run, packs(tokens, self.most_rows(), threads_here(), causal_mask))
        all_hidden_states = tuple(state.reshape(b, length, e) for state in states)
        return BaseModelOutput(
            all_hidden_states[-1], hidden_states=all_hidden_states if output_hidden_states else None
        )

    def backward(self, d_last_hidden_state: Array) -> Any:
        """d_last_hidden_state [b,l,e] -> d_hidden_states [b,l,e], d_head_mask, d_encoder_hidden_states [b,r,e].

        Of the last two, only those are returned whose inputs were given; d_head_mask is [n,1,h,1,1]. The
        derivation is in docs/derivations.md#layers-in-a-row.

        Raises:
            RuntimeError: forward ran in train() with gradient checkpointing, and the model is now in eval().
        """
        saved = self.recall()
        reruns = saved.reruns
        if reruns is not None and not self.training:
            raise RuntimeError(
                "BertEncoder.backward: with gradient checkpointing, stay in train() between forward and backward"
            )
        d_hidden_states = d_last_hidden_state
        d_head_mask = None if saved.head_mask is None else np.zeros_like(saved.head_mask)
        # Every layer looked at the same encoder_hidden_states: the gradients add up.
        crossed = saved.encoder_hidden_states is not None
        d_encoder_hidden_states = np.zeros_like(saved.encoder_hidden_states) if crossed else None
        for number in reversed(range(len(self.layer))):
            part = self.layer[number] if reruns is None else reruns[number]
            d_inputs = part.backward(d_hidden_states)
            d_hidden_states, *others = d_inputs if isinstance(d_inputs, tuple) else (d_inputs,)
            if d_head_mask is not None:
                d_head_mask[number] = others[0]
            if d_encoder_hidden_states is not None:
                d_encoder_hidden_states += others[-1]
            if reruns is not None and not keeping_saved():
                reruns[number] = None  # its input is let go with the layer's own activations
        if not len(self.layer):
            d_hidden_states = d_last_hidden_state.copy()
        return given(d_hidden_states, d_head_mask, d_encoder_hidden_states)
