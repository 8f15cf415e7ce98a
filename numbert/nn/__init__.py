"""What any network needs: Module and Parameter, the layers, and mathematics as pairs of functions.

Each function has its backward; nothing here knows BERT.
"""

from numbert.nn import functional
from numbert.nn.activations import (
    ACT2FN,
    GELUActivation,
    NewGELUActivation,
    PytorchGELUTanh,
    ReLU,
    SiLU,
    Tanh,
)
from numbert.nn.attention import AttentionContext, AttentionMask, AttentionProbs, AttentionScores
from numbert.nn.functional import *  # noqa: F403 (every function: numbert.nn.functional.__all__)
from numbert.nn.layers import Dropout, Embedding, LayerNorm, Linear
from numbert.nn.module import Module, ModuleList, Parameter
from numbert.nn.switches import keep_saved, no_grad

__all__ = [
    *functional.__all__,
    "ACT2FN",
    "AttentionContext",
    "AttentionMask",
    "AttentionProbs",
    "AttentionScores",
    "Dropout",
    "Embedding",
    "GELUActivation",
    "LayerNorm",
    "Linear",
    "Module",
    "ModuleList",
    "NewGELUActivation",
    "Parameter",
    "PytorchGELUTanh",
    "ReLU",
    "SiLU",
    "Tanh",
    "functional",
    "keep_saved",
    "no_grad",
]
