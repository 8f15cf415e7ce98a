"""BertEncoder: n layers, one after the other."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numbert.bert.layer import BertLayer
from numbert.bert.outputs import BaseModelOutput
from numbert.config import BertConfig
from numbert.nn.array import Array
from numbert.nn.module import Module, ModuleList
from numbert.nn.switches import no_grad, remembering


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
