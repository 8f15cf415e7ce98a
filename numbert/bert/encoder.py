"""BertEncoder: n layers, one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numbert.bert.layer import BertLayer
from numbert.bert.outputs import BaseModelOutput
from numbert.config import BertConfig
from numbert.nn.array import Array
from numbert.nn.module import Module, ModuleList
from numbert.nn.recompute import Rerun, run_without_remembering
from numbert.nn.switches import keeping_saved, remembering


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
        self.gradient_checkpointing = config.gradient_checkpointing

    def forward(
        self,
        hidden_states: Array,
        attention_mask: Array | None = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
    ) -> BaseModelOutput:
        """Runs the layers. hidden_states [b,l,e] -> BaseModelOutput with last_hidden_state [b,l,e].

        Args:
            hidden_states: [b,l,e]
            attention_mask: added to the scores and broadcast to [b,h,l,r] (see `extended_attention_mask`).
            output_attentions, output_hidden_states: whether to return these of every layer.
        """
        checkpointing = self.gradient_checkpointing and self.training and remembering()
        reruns: list[Rerun] = []
        all_hidden_states: tuple[Array, ...] = (hidden_states,)
        all_self_attentions: tuple[Array, ...] = ()
        for layer in self.layer:
            inputs = (hidden_states, attention_mask, output_attentions)
            if checkpointing:
                layer_outputs, rerun = run_without_remembering(layer, self.rng, *inputs)
                reruns.append(rerun)
            else:
                layer_outputs = layer(*inputs)
            hidden_states = layer_outputs[0]
            if output_hidden_states:
                all_hidden_states += (hidden_states,)
            all_self_attentions += layer_outputs[1:]
        self.remember(reruns=reruns if checkpointing else None)
        return BaseModelOutput(
            last_hidden_state=hidden_states,
            hidden_states=all_hidden_states if output_hidden_states else None,
            attentions=all_self_attentions if output_attentions else None,
        )

    def backward(self, d_last_hidden_state: Array) -> Array:
        """d_last_hidden_state [b,l,e] -> d_hidden_states [b,l,e].

        The derivation is in docs/derivations.md#layers-in-a-row.

        Raises:
            RuntimeError: forward ran in train() with gradient checkpointing, and the model is now in eval().
        """
        reruns = self.recall().reruns
        if reruns is not None and not self.training:
            raise RuntimeError(
                "BertEncoder.backward: with gradient checkpointing, stay in train() between forward and backward"
            )
        d_hidden_states = d_last_hidden_state
        for number in reversed(range(len(self.layer))):
            part = self.layer[number] if reruns is None else reruns[number]
            d_hidden_states = part.backward(d_hidden_states)
            if reruns is not None and not keeping_saved():
                reruns[number] = None  # its input is let go with the layer's own activations
        return d_hidden_states if len(self.layer) else d_last_hidden_state.copy()
