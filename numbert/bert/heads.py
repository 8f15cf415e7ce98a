"""The pretraining heads: which word was masked, and does the second segment follow the first."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numbert.config import BertConfig
from numbert.nn.activations import ACT2FN
from numbert.nn.array import Array
from numbert.nn.functional import IGNORE, cross_entropy, cross_entropy_backward
from numbert.nn.layers import LayerNorm, Linear
from numbert.nn.module import Module, Parameter
from numbert.nn.switches import no_grad


class BertPredictionHeadTransform(Module):
    """LayerNorm(act(dense(hidden_states))): seeds' BertPredictionHeadTransform. [..., e] -> [..., e]."""

    def __init__(self, config: BertConfig, *, seed: Any = 0, dtype: DTypeLike = np.float32) -> None:
        e = config.hidden_size
        self.dense = Linear(e, e, std=config.initializer_range, seed=seed, dtype=dtype)
        self.transform_act_fn = ACT2FN[config.hidden_act]()
        self.LayerNorm = LayerNorm(e, eps=config.layer_norm_eps, dtype=dtype)

    def forward(self, hidden_states: Array) -> Array:
        """[..., e] -> [..., e]."""
        hidden_states = self.dense(hidden_states)
        hidden_states = self.transform_act_fn(hidden_states)
        return self.LayerNorm(hidden_states)

    def backward(self, d_output: Array) -> Array:
        """d_output [..., e] -> d_hidden_states [..., e]: docs/derivations.md#layers-in-a-row."""
        return self.dense.backward(self.transform_act_fn.backward(self.LayerNorm.backward(d_output)))


class BertLMPredictionHead(Module):
    """A score for every word of the vocabulary: seeds' BertLMPredictionHead. [..., e] -> [..., v].

    Args:
        decoder_weight: the word embeddings [v,e], to be used again as the decoder's weight (tied: both uses
            add to its gradient, docs/derivations.md#tied-decoder); without it the decoder draws its own.
    """

    def __init__(
        self,
        config: BertConfig,
        decoder_weight: Parameter | None = None,
        *,
        seed: Any = 0,
        dtype: DTypeLike = np.float32,
    ) -> None:
        seed = np.random.default_rng(seed)
        self.transform = BertPredictionHeadTransform(config, seed=seed, dtype=dtype)
        self.decoder = Linear(
            config.hidden_size,
            config.vocab_size,
            weight=decoder_weight,
            std=config.initializer_range,
            seed=seed,
            dtype=dtype,
        )
        # One Parameter with two names; a layer's own parameters come before its children's, so that this is
        # the first: cls.predictions.bias, as in the published checkpoints.
        self.bias = self.decoder.bias

    def forward(self, hidden_states: Array) -> Array:
        """[..., e] -> [..., v]."""
        hidden_states = self.transform(hidden_states)
        return self.decoder(hidden_states)

    def backward(self, d_prediction_scores: Array) -> Array:
        """d_prediction_scores [..., v] -> d_hidden_states [..., e]."""
        return self.transform.backward(self.decoder.backward(d_prediction_scores))


class BertOnlyMLMHead(Module):
    """seeds' BertOnlyMLMHead. [b,l,e] -> [b,l,v]."""

    def __init__(
        self,
        config: BertConfig,
        decoder_weight: Parameter | None = None,
        *,
        seed: Any = 0,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.predictions = BertLMPredictionHead(config, decoder_weight, seed=seed, dtype=dtype)

    def forward(self, sequence_output: Array) -> Array:
        """[b,l,e] -> [b,l,v]."""
        return self.predictions(sequence_output)

    def backward(self, d_prediction_scores: Array) -> Array:
        """d_prediction_scores [b,l,v] -> d_sequence_output [b,l,e]."""
        return self.predictions.backward(d_prediction_scores)


class BertOnlyNSPHead(Module):
    """Scores for "is next" (0) and "is not" (1): seeds' BertOnlyNSPHead. [b,e] -> [b,2]."""

    def __init__(self, config: BertConfig, *, seed: Any = 0, dtype: DTypeLike = np.float32) -> None:
        self.seq_relationship = Linear(config.hidden_size, 2, std=config.initializer_range, seed=seed, dtype=dtype)

    def forward(self, pooled_output: Array) -> Array:
        """[b,e] -> [b,2]."""
        return self.seq_relationship(pooled_output)

    def backward(self, d_seq_relationship_score: Array) -> Array:
        """d_seq_relationship_score [b,2] -> d_pooled_output [b,e]."""
        return self.seq_relationship.backward(d_seq_relationship_score)


class BertPreTrainingHeads(Module):
    """Both heads: seeds' BertPreTrainingHeads. [b,l,e], [b,e] -> [b,l,v], [b,2]."""

    def __init__(
        self,
        config: BertConfig,
        decoder_weight: Parameter | None = None,
        *,
        seed: Any = 0,
        dtype: DTypeLike = np.float32,
    ) -> None:
        seed = np.random.default_rng(seed)
        self.predictions = BertLMPredictionHead(config, decoder_weight, seed=seed, dtype=dtype)
        self.seq_relationship = Linear(config.hidden_size, 2, std=config.initializer_range, seed=seed, dtype=dtype)

    def forward(self, sequence_output: Array, pooled_output: Array) -> tuple[Array, Array]:
        """[b,l,e], [b,e] -> prediction_scores [b,l,v], seq_relationship_score [b,2]."""
        return self.predictions(sequence_output), self.seq_relationship(pooled_output)

    def backward(self, d_prediction_scores: Array, d_seq_relationship_score: Array) -> tuple[Array, Array]:
        """[b,l,v], [b,2] -> d_sequence_output [b,l,e], d_pooled_output [b,e]."""
        return (
            self.predictions.backward(d_prediction_scores),
            self.seq_relationship.backward(d_seq_relationship_score),
        )


def masked_lm_loss(
    predictions: BertLMPredictionHead, sequence_output: Array, labels: Array, return_logits: bool
) -> tuple[Array, Array | None, Array]:
    """The mean cross-entropy over the labelled positions.

    The others touch neither loss nor gradient, so only the m labelled ones of b*l are decoded for backward
    (about one in seven in pretraining, and decoding all adds a quarter to the products of a base model):
    docs/derivations.md#masked-positions.

    Args:
        sequence_output: [b,l,e]
        labels: integers [b,l], -100 where there is nothing to predict.
        return_logits: decode the other positions too, for the caller to see.

    Returns:
        loss, a scalar; logits [b,l,v] or None; and for backward: probs [m,v].
    """
    labelled = labels.reshape(-1) != IGNORE  # [b*l]
    hidden_states = sequence_output.reshape(-1, sequence_output.shape[-1])  # [b*l,e]
    scores = predictions(hidden_states[labelled])  # [m,e] -> [m,v]
    loss, probs = cross_entropy(scores, labels.reshape(-1)[labelled])
    if not return_logits:
        return loss, None, probs
    logits = np.empty((len(labelled), scores.shape[-1]), scores.dtype)
    logits[labelled] = scores
    with no_grad():
        logits[~labelled] = predictions(hidden_states[~labelled])
    return loss, logits.reshape(*labels.shape, -1), probs


def masked_lm_loss_backward(
    predictions: BertLMPredictionHead, d_loss: float, probs: Array, labels: Array
) -> Array:
    """-> d_sequence_output [b,l,e], zero where nothing was predicted: docs/derivations.md#masked-positions."""
    flat = labels.reshape(-1)
    labelled = flat != IGNORE
    d_rows = predictions.backward(cross_entropy_backward(d_loss, probs, flat[labelled]))  # [m,v] -> [m,e]
    d_sequence_output = np.zeros((len(flat), d_rows.shape[-1]), d_rows.dtype)
    d_sequence_output[labelled] = d_rows
    return d_sequence_output.reshape(*labels.shape, -1)
