"""BertIntermediate, BertOutput, BertLayer and BertEncoder."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numbert.bert.attention import BertAttention, BertSelfOutput
from numbert.bert.outputs import BaseModelOutput
from numbert.config import BertConfig
from numbert.nn.activations import ACT2FN
from numbert.nn.layers import Linear
from numbert.nn.module import Array, Module, ModuleList, no_grad, remembering


class BertIntermediate(Module):
    """act(dense(hidden_states)): seeds' BertIntermediate. [b,l,e] -> [b,l,f]."""

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
        """d_output [b,l,f] -> d_hidden_states [b,l,e]: docs/derivations.md#layers-in-a-row."""
        return self.dense.backward(self.intermediate_act_fn.backward(d_output))


class BertOutput(BertSelfOutput):
    """BertSelfOutput from the intermediate size: seeds' BertOutput. [b,l,f], [b,l,e] -> [b,l,e]."""

    @staticmethod
    def in_features(config: BertConfig) -> int:
        return config.intermediate_size


class BertLayer(Module):
    """Attention, then the feed-forward network: seeds' BertLayer. [b,l,e] -> [b,l,e]."""

    def __init__(self, config: BertConfig, *, seed: Any = 0, dtype: DTypeLike = np.float32) -> None:
        seed = np.random.default_rng(seed)
        self.attention = BertAttention(config, seed=seed, dtype=dtype)
        self.intermediate = BertIntermediate(config, seed=seed, dtype=dtype)
        self.output = BertOutput(config, seed=seed, dtype=dtype)

    def forward(
        self, hidden_states: Array, attention_mask: Array | None = None, output_attentions: bool = False
    ) -> tuple[Array, ...]:
        """-> (layer_output [b,l,e],), with attention_probs [b,h,l,r] behind it on request."""
        attention_outputs = self.attention(hidden_states, attention_mask, output_attentions)
        layer_output = self.feed_forward(attention_outputs[0])
        return (layer_output, *attention_outputs[1:])

    def feed_forward(self, attention_output: Array) -> Array:
        """[b,l,e] -> [b,l,f] -> [b,l,e]."""
        intermediate_output = self.intermediate(attention_output)
        return self.output(intermediate_output, attention_output)

    def backward(self, d_layer_output: Array) -> Array:
        """d_layer_output [b,l,e] -> d_hidden_states [b,l,e]: docs/derivations.md#residual-sums."""
        d_intermediate_output, d_residual = self.output.backward(d_layer_output)
        d_attention_output = self.intermediate.backward(d_intermediate_output)
        d_attention_output += d_residual
        return self.attention.backward(d_attention_output)


class BertEncoder(Module):
    """n layers, one after the other: seeds' BertEncoder. [b,l,e] -> [b,l,e].

    Attributes:
        gradient_checkpointing: while training, keep each layer's input only, and let backward run the layer once
            more: docs/derivations.md#checkpointing.
    """

    def __init__(self, config: BertConfig, *, seed: Any = 0, dtype: DTypeLike = np.float32) -> None:
        self.rng = np.random.default_rng(seed)
        self.layer = ModuleList(
            [BertLayer(config, seed=self.rng, dtype=dtype) for _ in range(config.num_hidden_layers)]
        )
        self.gradient_checkpointing = config.gradient_checkpointing

    def forward(
        self,
        hidden_states: Array,
        attention_mask: Array | None = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
    ) -> BaseModelOutput:
        """[b,l,e] -> BaseModelOutput."""
        checkpointing = self.gradient_checkpointing and self.training and remembering()
        layer_inputs: list[Array] = []
        rng_states: list[Any] = []
        all_hidden_states: tuple[Array, ...] = (hidden_states,)
        all_self_attentions: tuple[Array, ...] = ()
        for layer in self.layer:
            if checkpointing:
                layer.forget()  # what is left of an earlier forward would be taken for this one's
                layer_inputs.append(hidden_states)
                rng_states.append(self.rng.bit_generator.state)
            with no_grad() if checkpointing else contextlib.nullcontext():
                layer_outputs = layer(hidden_states, attention_mask, output_attentions)
            hidden_states = layer_outputs[0]
            if output_hidden_states:
                all_hidden_states += (hidden_states,)
            all_self_attentions += layer_outputs[1:]
        self.remember(
            layer_inputs=layer_inputs,
            rng_states=rng_states,
            attention_mask=attention_mask if checkpointing else None,
        )
        return BaseModelOutput(
            last_hidden_state=hidden_states,
            hidden_states=all_hidden_states if output_hidden_states else None,
            attentions=all_self_attentions if output_attentions else None,
        )

    def backward(self, d_last_hidden_state: Array) -> Array:
        """d_last_hidden_state [b,l,e] -> d_hidden_states [b,l,e]: docs/derivations.md#layers-in-a-row.

        Raises:
            RuntimeError: forward was in train() with gradient checkpointing, and this is in eval().
        """
        saved = self.recall()
        d_hidden_states = d_last_hidden_state
        for layer in reversed(list(self.layer)):
            if saved.layer_inputs:
                # pop, so that each input is let go with the layer's own activations.
                self.run_again(layer, saved.layer_inputs.pop(), saved.attention_mask, saved.rng_states.pop())
            d_hidden_states = layer.backward(d_hidden_states)
        return d_hidden_states

    def run_again(self, layer: BertLayer, hidden_states: Array, attention_mask: Array | None, state: Any) -> None:
        """The layer's forward as it was, dropout too, so that it remembers. The generator stays where it is.

        Args:
            hidden_states: the layer's input, [b,l,e].
            state: of the generator when the layer ran.
        """
        if not self.training:
            raise RuntimeError(
                "BertEncoder.backward: with gradient checkpointing, stay in train() between forward and backward"
            )
        now = self.rng.bit_generator.state
        self.rng.bit_generator.state = state
        try:
            layer(hidden_states, attention_mask)
        finally:
            self.rng.bit_generator.state = now
