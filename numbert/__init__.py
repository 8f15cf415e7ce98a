"""numbert: BERT in plain NumPy, with a backward pass written by hand and proved."""

from typing import NoReturn

from numbert.bert.model import BertModel
from numbert.bert.pretraining import BertForMaskedLM, BertForNextSentencePrediction, BertForPreTraining
from numbert.checkpoint.tokenizer import load_tokenizer
from numbert.config import BertConfig
from numbert.errors import InputError, NotYetError
from numbert.inference import embed, fill_mask, next_sentence
from numbert.nn.module import Module, Parameter, no_grad

__version__ = "0.1.0"

__all__ = [
    "BertConfig",
    "BertForMaskedLM",
    "BertForNextSentencePrediction",
    "BertForPreTraining",
    "BertModel",
    "InputError",
    "Module",
    "NotYetError",
    "Parameter",
    "embed",
    "fill_mask",
    "load_tokenizer",
    "next_sentence",
    "no_grad",
]

NOT_YET = (
    "BertLMHeadModel",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "BertForQuestionAnswering",
    "BertForMultipleChoice",
)


def __getattr__(name: str) -> NoReturn:
    reason = "is not in numbert yet" if name in NOT_YET else "is not a name of numbert"
    raise AttributeError(f"{name} {reason}")
