"""The pretraining heads: which token was masked, and whether the second segment follows the first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from numbert.config import BertConfig
from numbert.nn.activations import ACT2FN
from numbert.nn.array import Array
from numbert.nn.functional import IGNORE
from numbert.nn.layers import LayerNorm, Linear
from numbert.nn.losses import CrossEntropyLoss, MSELoss
from numbert.nn.module import Module, Parameter
from numbert.nn.switches import no_grad


@dataclass(frozen=True)
class HeadLoss:
    """What the `loss` of a head returns.

    Attributes:
        loss: a scalar, the mean over all that has a label; None if no labels were given.
        logits: a score for each class, in the shape that forward returns; None if they were not asked for.
        probs: the softmax of the logits or, if each class is a question of yes or no, their sigmoid; [m,v] for the
            m labelled positions of masked tokens, else in the logits' shape. None if no labels were given, or the
            logits are no scores but numbers to be learned.
    """

    loss: Array | None
    logits: Array | None
    probs: Array | None = None

    @classmethod
    def of(cls, loss_fct: Module, logits: Array, labels: Array | None) -> Self:
        """Makes one of logits and a layer of `numbert.nn.losses`; without labels it has the logits alone."""
        if labels is None:
            return cls(None, logits)
        if isinstance(loss_fct, MSELoss):
            return cls(loss_fct(logits, labels), logits)
        loss, probs = loss_fct(logits, labels)
        return cls(loss, logits, probs)


class BertPredictionHeadTransform(Module):
    """Computes LayerNorm(act(dense(hidden_states))). [..., e] -> [..., e]."""

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
        """d_output [..., e] -> d_hidden_states [..., e].

        The derivation is in docs/derivations.md#layers-in-a-row.
        """
        return self.dense.backward(self.transform_act_fn.backward(self.LayerNorm.backward(d_output)))


class BertLMPredictionHead(Module):
    """Computes a score for every piece of the vocabulary. [..., e] -> [..., v].

    Args:
        decoder_weight: the word embeddings [v,e], if they are to be the decoder's weight, too. Both uses then add
            to its gradient: docs/derivations.md#tied-decoder. By default the decoder draws a weight of its own.
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
        # the first: cls.predictions.bias, as it is published.
        self.bias = self.decoder.bias
        self.loss_fct = CrossEntropyLoss()

    def forward(self, hidden_states: Array) -> Array:
        """[..., e] -> [..., v]."""
        hidden_states = self.transform(hidden_states)
        return self.decoder(hidden_states)

    def backward(self, d_prediction_scores: Array) -> Array:
        """d_prediction_scores [..., v] -> d_hidden_states [..., e]."""
        return self.transform.backward(self.decoder.backward(d_prediction_scores))

    def loss(self, sequence_output: Array, labels: Array | None, return_logits: bool = True) -> HeadLoss:
        """Returns the mean cross-entropy over the labelled positions, with logits [b,l,v] and probs [m,v].

        Without labels, it returns the logits alone.

        The other positions affect neither loss nor gradient, so only the m labelled ones of b*l are decoded for
        backward: docs/derivations.md#masked-positions. In pretraining these are about one in seven, and decoding
        all would add a quarter to the products of a base model. So hooks on this head see the labelled positions
        [m,e] in one call and, if the logits are asked for, the others in a second one.

        Args:
            sequence_output: [b,l,e]
            labels: integers [b,l], -100 where there is nothing to predict; or None.
            return_logits: whether to decode the other positions, too, so that the caller can see them.
        """
        if labels is None:
            return HeadLoss(None, self(sequence_output))  # [b,l,e] -> [b,l,v]
        labelled = labels.reshape(-1) != IGNORE  # [b*l]
        hidden_states = sequence_output.reshape(-1, sequence_output.shape[-1])  # [b*l,e]
        scores = self(hidden_states[labelled])  # [m,e] -> [m,v]
        loss, probs = self.loss_fct(scores, labels.reshape(-1)[labelled])
        self.remember(labels=labels)
        if not return_logits:
            return HeadLoss(loss, None, probs)
        logits = np.empty((len(labelled), scores.shape[-1]), scores.dtype)
        logits[labelled] = scores
        with no_grad():
            logits[~labelled] = self(hidden_states[~labelled])
        return HeadLoss(loss, logits.reshape(*labels.shape, -1), probs)

    def loss_backward(self, d_loss: float = 1.0) -> Array:
        """d_loss (a number) -> d_sequence_output [b,l,e], which is 0 where nothing was predicted.

        The derivation is in docs/derivations.md#masked-positions.
        """
        labels = self.recall().labels  # [b,l]
        d_rows = self.backward(self.loss_fct.backward(d_loss))  # [m,v] -> [m,e]
        d_sequence_output = np.zeros((*labels.shape, d_rows.shape[-1]), d_rows.dtype)
        d_sequence_output[labels != IGNORE] = d_rows
        return d_sequence_output


class BertOnlyMLMHead(Module):
    """The head for masked tokens alone. [b,l,e] -> [b,l,v]."""

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

    def loss(self, sequence_output: Array, labels: Array | None, return_logits: bool = True) -> HeadLoss:
        """Does what `BertLMPredictionHead.loss` does."""
        return self.predictions.loss(sequence_output, labels, return_logits)

    def loss_backward(self, d_loss: float = 1.0) -> Array:
        """Does what `BertLMPredictionHead.loss_backward` does."""
        return self.predictions.loss_backward(d_loss)


class BertOnlyNSPHead(Module):
    """Computes scores for "follows" (class 0) and "does not follow" (class 1). [b,e] -> [b,2]."""

    def __init__(self, config: BertConfig, *, seed: Any = 0, dtype: DTypeLike = np.float32) -> None:
        self.seq_relationship = Linear(config.hidden_size, 2, std=config.initializer_range, seed=seed, dtype=dtype)
        self.loss_fct = CrossEntropyLoss()

    def forward(self, pooled_output: Array) -> Array:
        """[b,e] -> [b,2]."""
        return self.seq_relationship(pooled_output)

    def backward(self, d_seq_relationship_score: Array) -> Array:
        """d_seq_relationship_score [b,2] -> d_pooled_output [b,e]."""
        return self.seq_relationship.backward(d_seq_relationship_score)

    def loss(self, pooled_output: Array, labels: Array | None) -> HeadLoss:
        """Returns the mean cross-entropy over the labelled pairs, with logits and probs [b,2].

        Args:
            pooled_output: [b,e]
            labels: integers [b]: 0 if the second segment follows the first, 1 if it does not, -100 if there is
                nothing to predict. Without labels, it returns the logits alone.
        """
        return HeadLoss.of(self.loss_fct, self(pooled_output), labels)  # [b,e] -> [b,2]

    def loss_backward(self, d_loss: float = 1.0) -> Array:
        """d_loss (a number) -> d_pooled_output [b,e]."""
        return self.backward(self.loss_fct.backward(d_loss))  # [b,2] -> [b,e]


class BertPreTrainingHeads(Module):
    """Both pretraining heads. [b,l,e], [b,e] -> [b,l,v], [b,2].

    The argument decoder_weight is that of `BertLMPredictionHead`.
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
        self.predictions = BertLMPredictionHead(config, decoder_weight, seed=seed, dtype=dtype)
        self.seq_relationship = Linear(config.hidden_size, 2, std=config.initializer_range, seed=seed, dtype=dtype)
        self.loss_fct = CrossEntropyLoss()

    def forward(self, sequence_output: Array, pooled_output: Array) -> tuple[Array, Array]:
        """[b,l,e], [b,e] -> prediction_scores [b,l,v], seq_relationship_score [b,2]."""
        return self.predictions(sequence_output), self.seq_relationship(pooled_output)

    def backward(self, d_prediction_scores: Array, d_seq_relationship_score: Array) -> tuple[Array, Array]:
        """The gradients of both scores, [b,l,v] and [b,2] -> d_sequence_output [b,l,e], d_pooled_output [b,e]."""
        return (
            self.predictions.backward(d_prediction_scores),
            self.seq_relationship.backward(d_seq_relationship_score),
        )

    def loss(
        self,
        sequence_output: Array,
        pooled_output: Array,
        labels: Array | None = None,
        next_sentence_label: Array | None = None,
        return_logits: bool = True,
    ) -> tuple[HeadLoss, HeadLoss]:
        """Returns the HeadLoss of masked tokens and that of next sentences; without labels, only their logits.

        Args:
            sequence_output: [b,l,e]
            pooled_output: [b,e]
            labels: integers [b,l], as `BertLMPredictionHead.loss` takes them.
            next_sentence_label: integers [b], as `BertOnlyNSPHead.loss` takes them.
            return_logits: False leaves out the logits of masked tokens if there are labels.
        """
        masked_lm = self.predictions.loss(sequence_output, labels, return_logits)
        seq_relationship_score = self.seq_relationship(pooled_output)  # [b,e] -> [b,2]
        return masked_lm, HeadLoss.of(self.loss_fct, seq_relationship_score, next_sentence_label)

    def loss_backward(
        self, d_mlm_loss: float | None, d_nsp_loss: float | None
    ) -> tuple[Array | None, Array | None]:
        """The gradients of both losses -> d_sequence_output [b,l,e], d_pooled_output [b,e].

        Args:
            d_mlm_loss, d_nsp_loss: the gradients of the two losses, numbers; None for a loss that was not
                computed, and then the result that belongs to it is None, too.
        """
        d_sequence_output = d_pooled_output = None
        if d_mlm_loss is not None:
            d_sequence_output = self.predictions.loss_backward(d_mlm_loss)
        if d_nsp_loss is not None:
            d_pooled_output = self.seq_relationship.backward(self.loss_fct.backward(d_nsp_loss))
        self.use_up()
        return d_sequence_output, d_pooled_output
