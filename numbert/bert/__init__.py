"""BERT, in the order data flows: embeddings, attention, layer, pooler, heads, model, pretraining."""

from numbert.bert.attention import BertAttention, BertSelfAttention, BertSelfOutput
from numbert.bert.embeddings import BertEmbeddings
from numbert.bert.heads import (
    BertLMPredictionHead,
    BertOnlyMLMHead,
    BertOnlyNSPHead,
    BertPredictionHeadTransform,
    BertPreTrainingHeads,
)
from numbert.bert.layer import BertEncoder, BertIntermediate, BertLayer, BertOutput
from numbert.bert.model import BertModel, BertPreTrainedModel
from numbert.bert.pooler import BertPooler
from numbert.bert.pretraining import BertForMaskedLM, BertForNextSentencePrediction, BertForPreTraining

__all__ = [
    "BertAttention",
    "BertEmbeddings",
    "BertEncoder",
    "BertForMaskedLM",
    "BertForNextSentencePrediction",
    "BertForPreTraining",
    "BertIntermediate",
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
]
