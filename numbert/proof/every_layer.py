"""Proving every layer of numbert."""

# ruff: noqa: F405
from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from numbert.bert.tasks.registry import *  # noqa: F403 (every class)
from numbert.config import BertConfig
from numbert.errors import InputError
from numbert.nn.activations import ACT2FN
from numbert.nn.array import Array
from numbert.nn.attention import (
    AttentionContext,
    AttentionInBlocks,
    AttentionMask,
    AttentionProbs,
    AttentionScores,
    HeadMask,
)
from numbert.nn.layers import Dropout, Embedding, LayerNorm, Linear
from numbert.nn.losses import BCEWithLogitsLoss, CrossEntropyLoss, MSELoss
from numbert.nn.module import Module, Parameter
from numbert.proof.check import gradcheck
from numbert.proof.report import GradcheckReport

# No two axes are alike, so that none can be mistaken for another.
B, L, R, E, H, D, F, V, T, P, N = 8, 5, 9, 12, 3, 4, 7, 17, 6, 11, 2


class BertSelfAttentionInBlocks(BertSelfAttention):
    """Attention that takes every sequence for a long one, in blocks of four."""

    def __init__(self, config: BertConfig, *, seed: Any) -> None:
        super().__init__(config, seed=seed)
        self.in_blocks.size = 4

    def runs_in_blocks(self, scores: int, head_mask: Array | None, output_attentions: bool) -> bool:
        return True


def gradcheck_all(seed: int = 0, only: Sequence[str] = ()) -> Iterator[tuple[str, GradcheckReport]]:
    """Proves each layer class of numbert at tiny sizes; yields the name of each case and its report.

    Every parameter is drawn from normal(0, 0.5), biases and LayerNorm weights too, because multiplying by 1 or
    adding 0 would hide errors. Models are checked at fewer entries of each tensor, because their layers are
    checked by themselves.

    Args:
        seed: the seed of the parameters, the inputs, dropout and what `gradcheck` draws.
        only: parts of names; if given, only cases whose name has one of them, in capitals or not, are checked.

    Raises:
        InputError: seed is negative.
    """
    if seed < 0:
        raise InputError(f"seed is {seed}; it cannot be negative")
    for name, layer, inputs, keyword_inputs in cases(np.random.default_rng(seed)):
        if only and not any(part.lower() in name.lower() for part in only):
            continue
        entries = 2 if isinstance(layer, BertPreTrainedModel) else 24
        yield (
            name,
            gradcheck(layer, *inputs, seed=seed, max_entries=entries, raise_on_failure=False, **keyword_inputs),
        )


def cases(rng: np.random.Generator) -> Iterator[tuple[str, Module, tuple[Any, ...], dict[str, Any]]]:
    """Yields the name, layer, inputs and keyword inputs of each case; the name begins with that of the class."""

    def config(**changes: Any) -> BertConfig:
        sizes: dict[str, Any] = {
            "vocab_size": V,
            "hidden_size": E,
            "num_hidden_layers": N,
            "num_attention_heads": H,
            "intermediate_size": F,
            "max_position_embeddings": P,
            "type_vocab_size": T,
        }
        return BertConfig(**(sizes | changes))

    def random(layer: Module) -> Module:
        for parameter in layer.parameters():
            parameter.data = rng.normal(0, 0.5, parameter.shape)
        return layer

    def drawn(*shape: int) -> Array:
        return rng.standard_normal(shape)

    def ids(limit: int) -> Array:
        return rng.integers(0, limit, (B, L))

    lengths = np.array([5, 1, 4, 2, 5, 3, 5, 2])  # [b]
    padding = (np.arange(L) < lengths[:, None]).astype(np.int64)  # [b,r]
    added_mask = np.where(padding == 0, np.finfo(np.float64).min, 0)[:, None, None, :]  # [b,1,1,r]
    input_ids = np.where(padding == 1, rng.integers(1, V, (B, L)), 0)
    labels = np.where((rng.random((B, L)) < 0.5) & (padding == 1), ids(V), -100)
    is_next = np.array([0, 1, 1, 0, -100, 1, 0, 1])  # [b]

    yield "Linear", random(Linear(E, F, seed=rng)), (drawn(B, L, E),), {}
    yield "Linear, no bias", random(Linear(E, F, bias=False, seed=rng)), (drawn(B, E),), {}
    yield "Embedding", random(Embedding(V, E, seed=rng)), (ids(V),), {}
    yield "Embedding, padding_idx", random(Embedding(V, E, padding_idx=3, seed=rng)), (ids(V),), {}
    yield "LayerNorm", random(LayerNorm(E)), (drawn(B, L, E),), {}
    yield "Dropout, training", Dropout(0.3, seed=rng), (drawn(B, L, E),), {}
    yield "Dropout, eval", Dropout(0.3, seed=rng).eval(), (drawn(B, L, E),), {}
    for act, activation in ACT2FN.items():
        x = 2 * drawn(B, L, F)
        x += np.copysign(0.01, x)  # away from the kink of relu
        yield f"{activation.__name__}, {act}", activation(), (x,), {}

    scores = drawn(B, H, L, R)
    yield "AttentionScores", AttentionScores(), (drawn(B, H, L, D), drawn(B, H, R, D)), {}
    yield "AttentionMask", AttentionMask(), (scores, np.where(drawn(B, 1, 1, R) > 0, 0.0, -1e4)), {}
    yield "AttentionProbs", AttentionProbs(), (scores,), {}
    yield "HeadMask", HeadMask(), (scores, drawn(1, H, 1, 1)), {}
    yield "AttentionContext", AttentionContext(), (scores, drawn(B, H, R, D)), {}
    rows = np.array([3, -100, 0, 6, 3])
    yield "CrossEntropyLoss", CrossEntropyLoss(), (drawn(len(rows), F), rows), {}
    yield "BCEWithLogitsLoss", BCEWithLogitsLoss(), (drawn(B, F), rng.random((B, F))), {}
    yield "MSELoss", MSELoss(), (drawn(B, F), drawn(B, F)), {}

    for kind in ("relative_key", "relative_key_query"):
        distances = random(DistanceEmbedding(config(position_embedding_type=kind), seed=rng))
        yield f"DistanceEmbedding, {kind}", distances, (drawn(B, H, L, D), drawn(B, H, R, D)), {}

    hidden_states, intermediate, pooled = drawn(B, L, E), drawn(B, L, F), drawn(B, E)
    token_types = {"token_type_ids": ids(T)}
    yield "BertEmbeddings", random(BertEmbeddings(config(), seed=rng)), (input_ids,), token_types
    yield (
        "BertEmbeddings, inputs_embeds",
        random(BertEmbeddings(config(), seed=rng)),
        (),
        {**token_types, "position_ids": ids(P), "inputs_embeds": hidden_states},
    )
    yield "BertSelfAttention", random(BertSelfAttention(config(), seed=rng)), (hidden_states, added_mask), {}
    yield "BertSelfAttention, eval", random(BertSelfAttention(config(), seed=rng)).eval(), (hidden_states,), {}
    # In a decoder: self-attention with a cache of four tokens; cross-attention, whose keys are an encoder's.
    head_mask, states = drawn(1, H, 1, 1), drawn(B, R, E)
    cached = (drawn(B, H, R - L, D), drawn(B, H, R - L, D))
    relative = {"position_embedding_type": "relative_key_query", "is_decoder": True}
    yield (
        "BertSelfAttention, relative positions, head mask, cache",
        random(BertSelfAttention(config(**relative), seed=rng)),
        (hidden_states, None, head_mask),
        {"past_key_value": cached},
    )
    crossed = {
        "encoder_hidden_states": states,
        "encoder_attention_mask": np.where(drawn(B, 1, 1, R) > 0, 0.0, -1e4),
    }
    yield (
        "BertSelfAttention, cross-attention",
        random(BertSelfAttention(config(is_decoder=True), seed=rng)),
        (hidden_states, None, head_mask),
        crossed,
    )
    yield (
        "BertSelfAttention, cross-attention, cache",
        random(BertSelfAttention(config(is_decoder=True), seed=rng)),
        (hidden_states, None, head_mask),
        {**crossed, "past_key_value": (drawn(B, H, R, D), drawn(B, H, R, D))},
    )
    pruned = BertAttention(config(), seed=rng)
    pruned.prune_heads([1])
    yield "BertAttention, pruned", random(pruned), (hidden_states, added_mask, head_mask), {}
    yield "BertSelfOutput", random(BertSelfOutput(config(), seed=rng)), (drawn(B, L, E), hidden_states), {}
    yield (
        "BertAttention",
        random(BertAttention(config(), seed=rng)),
        (hidden_states, added_mask),
        {"output_attentions": True},
    )
    yield "BertIntermediate", random(BertIntermediate(config(), seed=rng)), (hidden_states,), {}
    yield "BertOutput", random(BertOutput(config(), seed=rng)), (intermediate, hidden_states), {}
    yield "BertLayer", random(BertLayer(config(), seed=rng)), (hidden_states, added_mask), {}
    yield "BertFeedForward", random(BertLayer(config(), seed=rng).feed_forward_part), (hidden_states,), {}
    chunked = config(chunk_size_feed_forward=1)
    yield "BertLayer, chunks", random(BertLayer(chunked, seed=rng)), (hidden_states, added_mask), {}
    decoder = config(add_cross_attention=True, **relative)
    yield "BertLayer, decoder", random(BertLayer(decoder, seed=rng)), (hidden_states, None, head_mask), crossed
    masks = drawn(N, 1, H, 1, 1)
    yield "BertEncoder, decoder", random(BertEncoder(decoder, seed=rng)), (hidden_states, None, masks), crossed
    yield "BertEncoder", random(BertEncoder(config(), seed=rng)), (hidden_states, added_mask), {}
    yield "BertPooler", random(BertPooler(config(), seed=rng)), (hidden_states,), {}
    yield (
        "BertPredictionHeadTransform",
        random(BertPredictionHeadTransform(config(), seed=rng)),
        (hidden_states,),
        {},
    )
    yield "BertLMPredictionHead", random(BertLMPredictionHead(config(), seed=rng)), (hidden_states,), {}
    tied = Parameter(drawn(V, E))
    yield "BertOnlyMLMHead, tied", random(BertOnlyMLMHead(config(), tied, seed=rng)), (hidden_states,), {}
    yield "BertOnlyNSPHead", random(BertOnlyNSPHead(config(), seed=rng)), (pooled,), {}
    yield "BertPreTrainingHeads", random(BertPreTrainingHeads(config(), seed=rng)), (hidden_states, pooled), {}

    batch = {"input_ids": input_ids, "attention_mask": padding, **token_types}
    rows_of_mask = np.tril(np.ones((L, L), np.int64)) * np.ones((B, 1, 1), np.int64)  # [b,l,r]
    yield "BertModel", random(BertModel(config(), seed=rng)), (), batch
    yield (
        "BertModel, no pooler, inputs_embeds",
        random(BertModel(config(), add_pooling_layer=False, seed=rng)),
        (),
        {"inputs_embeds": hidden_states, "attention_mask": rows_of_mask, "output_hidden_states": True},
    )
    whole = {"encoder_hidden_states": states, "encoder_attention_mask": np.where(drawn(B, L, R) > 0, 1, 0)}
    yield (
        "BertModel, decoder",
        random(BertModel(decoder, seed=rng)),
        (),
        {**batch, **whole, "head_mask": drawn(N, H)},
    )
    yield (
        "BertModel, unpad",
        random(BertModel(config(), seed=rng)),
        (),
        {**batch, "unpad": True, "head_mask": drawn(H)},
    )
    both = {**batch, "labels": labels, "next_sentence_label": is_next}
    yield "BertForPreTraining, tied", random(BertForPreTraining(config(), seed=rng)), (), both
    yield (
        "BertForPreTraining, untied",
        random(BertForPreTraining(config(tie_word_embeddings=False), seed=rng)),
        (),
        both,
    )
    yield (
        "BertLMHeadModel, decoder",
        random(BertLMHeadModel(decoder, seed=rng)),
        (),
        {**batch, **whole, "labels": labels, "head_mask": drawn(N, H)},
    )
    k = 4
    few = {"num_hidden_layers": 1}  # the encoder is checked elsewhere
    several, one = config(num_labels=k, classifier_dropout=0.4, **few), config(num_labels=1, **few)
    for problem_type, settings, wanted in (
        ("regression, one label", one, drawn(B)),
        ("regression, several labels", dataclasses.replace(several, problem_type="regression"), drawn(B, k)),
        ("single label", several, np.array([0, 3, 1, -100, 2, 3, 0, 1])),
        ("multi-label", several, rng.integers(0, 2, (B, k)) * 1.0),
    ):
        model = random(BertForSequenceClassification(settings, seed=rng))
        yield f"BertForSequenceClassification, {problem_type}", model, (), {**batch, "labels": wanted}
    tags = np.where(padding == 1, ids(k), -100)
    yield (
        "BertForTokenClassification",
        random(BertForTokenClassification(several, seed=rng)),
        (),
        {**batch, "labels": tags},
    )
    yield (
        "BertForQuestionAnswering",
        random(BertForQuestionAnswering(config(**few), seed=rng)),
        (),
        {
            **batch,
            "start_positions": np.array([0, 4, 9, 1, 2, 0, 3, 1]),
            "end_positions": np.array([4, 2, 9, 5, 3, 0, 3, 1]),
        },
    )
    yield (
        "BertForMultipleChoice, inputs_embeds",
        random(BertForMultipleChoice(config(**few), seed=rng)),
        (),
        {
            "inputs_embeds": drawn(3, 2, L, E),
            "attention_mask": padding[:6].reshape(3, 2, L),
            "labels": np.array([1, -100, 0]),
        },
    )
    yield "BertForMaskedLM", random(BertForMaskedLM(config(), seed=rng)), (), {**batch, "labels": labels}
    yield (
        "BertForNextSentencePrediction",
        random(BertForNextSentencePrediction(config(), seed=rng)),
        (),
        {**batch, "labels": is_next},
    )

    # The blocks do not divide l and r. Two sequences, as there are many blocks.
    b = 2
    mask = np.where(drawn(b, 1, L, R) > 0, 0.0, -1e4)
    heads = drawn(b, H, L, D), drawn(b, H, R, D), drawn(b, H, R, D)
    yield "AttentionInBlocks", AttentionInBlocks(size=2), (*heads, mask), {}
    yield (
        "AttentionInBlocks, head mask, relative positions, dropout",
        AttentionInBlocks(size=4),
        (*heads, mask, drawn(1, H, 1, 1), drawn(2 * P - 1, D), True, 0.3, 5),
        {},
    )
    yield (
        "BertSelfAttentionInBlocks",
        random(BertSelfAttentionInBlocks(config(), seed=rng)),
        (hidden_states[:b], added_mask[:b]),
        {},
    )
    yield (
        "BertSelfAttentionInBlocks, relative positions, head mask, cache",
        random(BertSelfAttentionInBlocks(config(**relative), seed=rng)),
        (hidden_states[:b], None, head_mask),
        {"past_key_value": (cached[0][:b], cached[1][:b])},
    )
