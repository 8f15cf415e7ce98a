"""numbert: BERT in plain NumPy, with a backward pass written by hand and proved.

Every layer is here under its published name. `numbert.nn` has the mathematics as plain functions, each with its
backward.
"""

import importlib
from typing import TYPE_CHECKING, Any

from numbert import bert, nn
from numbert.bert.inputs import get_extended_attention_mask, get_head_mask
from numbert.bert.tasks.decoding import sampling_probs
from numbert.bert.tasks.registry import *  # noqa: F403 (every class)
from numbert.config import BertConfig
from numbert.errors import InputError
from numbert.files.shipped import shipped_model
from numbert.files.tokenizer import load_tokenizer
from numbert.inference import embed, fill_mask, generate_text, next_sentence
from numbert.nn.layers import Dropout, Embedding, LayerNorm, Linear
from numbert.nn.module import Module, Parameter
from numbert.nn.switches import keep_saved, no_grad
from numbert.nn.threads import get_num_threads, set_num_threads
from numbert.train.optimizer import AdamW, clip_grad_norm

__version__ = "0.1.0"

__all__ = [
    *bert.__all__,
    "AdamW",
    "BertConfig",
    "Dropout",
    "Embedding",
    "GradcheckError",
    "InputError",
    "LayerNorm",
    "Linear",
    "Module",
    "Parameter",
    "clip_grad_norm",
    "embed",
    "fill_mask",
    "generate_text",
    "get_extended_attention_mask",
    "get_head_mask",
    "get_num_threads",
    "gradcheck",
    "head_importance",
    "keep_saved",
    "load_tokenizer",
    "next_sentence",
    "nn",
    "no_grad",
    "sampling_probs",
    "set_num_threads",
    "shipped_model",
]

# What takes long to load and is not always needed.
if TYPE_CHECKING:
    from numbert.inside.importance import head_importance
    from numbert.proof import GradcheckError, gradcheck
_LATER = {
    "GradcheckError": "numbert.proof",
    "gradcheck": "numbert.proof",
    "head_importance": "numbert.inside.importance",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        value = globals()[name] = getattr(importlib.import_module(_LATER[name]), name)
        return value
    raise AttributeError(f"module 'numbert' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
