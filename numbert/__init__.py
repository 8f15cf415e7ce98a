"""numbert: BERT in plain NumPy, with a backward pass written by hand and proved.

Every layer is here under its name; mathematics as pairs of plain functions is in `numbert.nn`.
"""

from typing import NoReturn

from numbert import bert, nn
from numbert.bert.tasks.registry import *  # noqa: F403 (every class)
from numbert.config import BertConfig
from numbert.errors import InputError, NotYetError
from numbert.files.shipped import shipped_model
from numbert.files.tokenizer import load_tokenizer
from numbert.inference import embed, fill_mask, next_sentence
from numbert.nn.layers import Dropout, Embedding, LayerNorm, Linear
from numbert.nn.module import Module, Parameter
from numbert.nn.switches import no_grad
from numbert.proof import GradcheckError, gradcheck
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
    "NotYetError",
    "Parameter",
    "clip_grad_norm",
    "embed",
    "fill_mask",
    "gradcheck",
    "load_tokenizer",
    "next_sentence",
    "nn",
    "no_grad",
    "shipped_model",
]

NOT_YET = (
    "BertLMHeadModel",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "BertForQuestionAnswering",
    "BertForMultipleChoice",
)


def __getattr__(name: str) -> NoReturn:
    if name in NOT_YET:
        # No AttributeError: `from numbert import NAME` would turn one into an ImportError without the reason.
        raise NotYetError(f"{name} is not in numbert yet")
    raise AttributeError(f"{name} is not a name of numbert")
