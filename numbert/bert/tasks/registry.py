"""The one list of classes: every layer and every model of BERT.

The public names of `numbert`, `summary`, `shapes`, `inspect`, the gradient check's list, the parity cases and the
docs are made from it, or a test compares them with it. A new class needs a file of its own and its name here.
"""

from __future__ import annotations

from numbert.bert.attention import BertAttention, BertSelfAttention
from numbert.bert.embeddings import BertEmbeddings
from numbert.bert.encoder import BertEncoder
from numbert.bert.heads import (
    BertLMPredictionHead,
    BertOnlyMLMHead,
    BertOnlyNSPHead,
    BertPredictionHeadTransform,
    BertPreTrainingHeads,
)
from numbert.bert.layer import BertFeedForward, BertIntermediate, BertLayer
from numbert.bert.model import BertModel
from numbert.bert.pooler import BertPooler
from numbert.bert.positions import DistanceEmbedding
from numbert.bert.pretrained import BertPreTrainedModel
from numbert.bert.residual import BertOutput, BertSelfOutput
from numbert.bert.tasks.causal import BertLMHeadModel
from numbert.bert.tasks.classification import (
    BertForMultipleChoice,
    BertForSequenceClassification,
    BertForTokenClassification,
)
from numbert.bert.tasks.pretraining import BertForMaskedLM, BertForNextSentencePrediction, BertForPreTraining
from numbert.bert.tasks.question_answering import BertForQuestionAnswering
from numbert.errors import InputError
from numbert.nn.module import Module

__all__ = [  # in the order data flows
    "BertAttention",
    "BertEmbeddings",
    "BertEncoder",
    "BertFeedForward",
    "BertForMaskedLM",
    "BertForMultipleChoice",
    "BertForNextSentencePrediction",
    "BertForPreTraining",
    "BertForQuestionAnswering",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "BertIntermediate",
    "BertLMHeadModel",
    "BertLMPredictionHead",
    "BertLayer",
    "BertModel",
    "BertOnlyMLMHead",
    "BertOnlyNSPHead",
    "BertOutput",
    "BertPooler",
    "BertPreTrainedModel",
    "BertPreTrainingHeads",
    "BertPredictionHeadTransform",
    "BertSelfAttention",
    "BertSelfOutput",
    "DistanceEmbedding",
]  # fmt: skip

_CLASSES: list[type[Module]] = [globals()[name] for name in __all__]
LAYERS = [cls for cls in _CLASSES if not issubclass(cls, BertPreTrainedModel)]
MODELS = [cls for cls in _CLASSES if issubclass(cls, BertPreTrainedModel) and cls is not BertPreTrainedModel]


def model_class_named(name: str) -> type[BertPreTrainedModel]:
    """Returns a model class by its name.

    Raises:
        InputError: numbert has no such class.
    """
    by_name = {cls.__name__: cls for cls in MODELS}
    if name not in by_name:
        raise InputError(f"there is no model {name}; there are {', '.join(by_name)}")
    return by_name[name]
