"""The models and batches on which numbert is compared with PyTorch, number by number.

A case says what to build and what to feed it. `torch_numbers` computes it with torch and transformers,
`numbert_numbers` with numbert; both give the same names, so a comparison is a loop. `make_parity.py` stores
the first, `bert/test_parity.py` compares with what is stored, `live/test_parity_live.py` computes both afresh.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Sizes that differ from each other, so that no two axes can be mistaken for each other.
SIZES = {
    "vocab_size": 31,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "max_position_embeddings": 11,
    "type_vocab_size": 2,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
BATCH, LENGTH, ENCODED = 5, 7, 6
# The inputs whose gradients are compared.
DIFFERENTIABLE = ("inputs_embeds", "encoder_hidden_states", "head_mask")

DECODER = {"is_decoder": True}
CROSS = {"is_decoder": True, "add_cross_attention": True}


@dataclass
class Case:
    model: str  # the class, by its name in transformers and in numbert
    config: dict[str, Any] = field(default_factory=dict)
    mask: str = "padding"  # none, padding [b,r] or rows [b,l,r]
    ids: str = "input_ids"  # or inputs_embeds
    positions: bool = False
    encoder: str = "none"  # what masks encoder_hidden_states: padding [b,r] or rows [b,l,r]; none without these
    steps: tuple[int, ...] = ()  # the lengths of the steps that the cache connects; all at once without
    labels: str = ""  # of BertForSequenceClassification: classes, numbers or answers (yes or no)
    head_mask: str = "none"  # heads [h] or layers [n,h]
    seed: int = 0

    @property
    def sizes(self) -> dict[str, Any]:
        return SIZES | self.config

    @property
    def last_release(self) -> int:
        """The last major release of transformers that can compute it; the fifth has only what BERT is used for."""
        old = "position_embedding_type" in self.config or "pruned_heads" in self.config or self.head_mask != "none"
        return 4 if old else 5


CASES = {
    "pretraining-gelu": Case("BertForPreTraining"),
    "pretraining-untied": Case("BertForPreTraining", {"tie_word_embeddings": False}, mask="none", seed=1),
    "masked-lm-gelu-new": Case("BertForMaskedLM", {"hidden_act": "gelu_new"}, mask="rows", seed=2),
    "masked-lm-relu": Case("BertForMaskedLM", {"hidden_act": "relu"}, positions=True, seed=3),
    "next-sentence-silu": Case("BertForNextSentencePrediction", {"hidden_act": "silu"}, seed=4),
    "model-tanh-embeds": Case("BertModel", {"hidden_act": "gelu_pytorch_tanh"}, ids="inputs_embeds", seed=5),
    "head-mask": Case("BertForMaskedLM", head_mask="heads", seed=30),
    "head-mask-of-layers": Case("BertModel", CROSS, encoder="padding", head_mask="layers", seed=31),
    "pruned": Case("BertForPreTraining", {"pruned_heads": {0: [1], 1: [0, 2]}}, seed=32),
    "decoder": Case("BertModel", DECODER, seed=10),
    "decoder-rows": Case("BertModel", DECODER, mask="rows", seed=11),
    "decoder-cross-attention": Case("BertModel", CROSS, encoder="padding", seed=12),
    "decoder-steps": Case("BertModel", CROSS, encoder="padding", steps=(3, 1, 1, 2), seed=13),
    "causal-lm": Case("BertLMHeadModel", DECODER, seed=14),
    "causal-lm-cross-attention": Case("BertLMHeadModel", CROSS, encoder="rows", seed=15),
    "model-relative-key": Case("BertModel", {"position_embedding_type": "relative_key"}, seed=6),
    "masked-lm-relative-key-query": Case(
        "BertForMaskedLM", {"position_embedding_type": "relative_key_query"}, mask="rows", seed=7
    ),
    "classify-single": Case("BertForSequenceClassification", {"num_labels": 4}, labels="classes", seed=6),
    "classify-multi": Case("BertForSequenceClassification", {"num_labels": 4}, labels="answers", seed=7),
    "classify-regression": Case("BertForSequenceClassification", {"num_labels": 1}, labels="numbers", seed=8),
    "classify-regression-of-3": Case(
        "BertForSequenceClassification", {"num_labels": 3, "problem_type": "regression"}, labels="numbers", seed=9
    ),
    "classify-tokens": Case("BertForTokenClassification", {"num_labels": 4}, mask="rows", seed=10),
    "answer-questions": Case("BertForQuestionAnswering", ids="inputs_embeds", seed=11),
    "choose": Case("BertForMultipleChoice", ids="inputs_embeds", positions=True, seed=12),
}


def inputs_of(case: Case) -> dict[str, np.ndarray]:
    """What the model is called with, labels included."""
    rng = np.random.default_rng(case.seed)
    shape = (BATCH, LENGTH)
    lengths = np.array([7, 4, 1, 6, 2])
    ids = rng.integers(1, SIZES["vocab_size"], shape)
    ids[np.arange(LENGTH) >= lengths[:, None]] = 0
    inputs: dict[str, np.ndarray] = {"token_type_ids": rng.integers(0, 2, shape)}
    if case.ids == "input_ids":
        inputs["input_ids"] = ids
    else:
        inputs["inputs_embeds"] = rng.standard_normal((*shape, SIZES["hidden_size"]))
    if case.mask == "padding":
        inputs["attention_mask"] = (np.arange(LENGTH) < lengths[:, None]).astype(np.int64)
    elif case.mask == "rows":
        inputs["attention_mask"] = rng.integers(0, 2, (BATCH, LENGTH, LENGTH)) | np.eye(LENGTH, dtype=np.int64)
    if case.positions:
        inputs["position_ids"] = rng.integers(0, SIZES["max_position_embeddings"], shape)
    words = np.where(rng.random(shape) < 0.4, rng.integers(0, SIZES["vocab_size"], shape), -100)
    is_random = rng.integers(0, 2, BATCH)
    is_random[2] = -100  # nothing to learn from this pair
    if case.model == "BertForPreTraining":
        inputs |= {"labels": words, "next_sentence_label": is_random}
    elif case.model in ("BertForMaskedLM", "BertLMHeadModel"):
        inputs["labels"] = words
    elif case.model == "BertForNextSentencePrediction":
        inputs["labels"] = is_random
    elif case.model == "BertForSequenceClassification":
        k = case.config["num_labels"]
        classes = np.where(is_random == -100, -100, rng.integers(0, k, BATCH))
        numbers = rng.standard_normal((BATCH, k) if k > 1 else BATCH)
        inputs["labels"] = {"classes": classes, "numbers": numbers, "answers": 1.0 * (numbers > 0)}[case.labels]
    elif case.model == "BertForTokenClassification":
        inputs["labels"] = np.where(words == -100, -100, words % case.config["num_labels"])
    elif case.model == "BertForQuestionAnswering":  # two positions are beyond the text
        inputs |= {"start_positions": np.array([0, 3, 7, 5, 2]), "end_positions": np.array([4, 3, 99, 6, 0])}
    elif case.model == "BertForMultipleChoice":
        # Two questions of five choices.
        inputs = {name: np.stack([value, value[::-1]]) for name, value in inputs.items()}
        inputs["inputs_embeds"] = rng.standard_normal((2, BATCH, LENGTH, SIZES["hidden_size"]))
        inputs["labels"] = np.array([3, 1])
    if case.encoder != "none":
        inputs["encoder_hidden_states"] = rng.standard_normal((BATCH, ENCODED, SIZES["hidden_size"]))
        seen = np.arange(ENCODED) < np.array([6, 3, 2, 5, 1])[:, None]  # [b,r]
        if case.encoder == "rows":
            seen = rng.integers(0, 2, (BATCH, LENGTH, ENCODED)) | (np.arange(ENCODED) == 2)
        inputs["encoder_attention_mask"] = seen.astype(np.int64)
    n, h = SIZES["num_hidden_layers"], SIZES["num_attention_heads"]
    if case.head_mask != "none":
        inputs["head_mask"] = rng.uniform(0.2, 1.5, h if case.head_mask == "heads" else (n, h))
    return inputs


def upstream_of(case: Case) -> dict[str, np.ndarray]:
    """For a model without a loss: a random gradient of each output."""
    rng = np.random.default_rng(case.seed + 1000)
    e = SIZES["hidden_size"]
    return {
        "last_hidden_state": rng.standard_normal((BATCH, LENGTH, e)),
        "pooler_output": rng.standard_normal((BATCH, e)),
    }


def steps_of(case: Case) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """The inputs of each step, and the gradients of its outputs; without steps, those of the whole at once."""
    inputs, upstream, start = inputs_of(case), upstream_of(case), 0
    for length in case.steps or (LENGTH,):
        step = slice(start, start + length)
        start += length
        given = (
            {k: v if k.startswith("encoder") else v[:, step] for k, v in inputs.items()} if case.steps else inputs
        )
        if case.steps:
            given["attention_mask"] = inputs["attention_mask"][:, :start]  # it counts the cached tokens
        yield given, upstream | {"last_hidden_state": upstream["last_hidden_state"][:, step]}


def torch_numbers(case: Case) -> dict[str, np.ndarray]:
    """Weights, outputs and gradients in float64 by PyTorch, as `weight.NAME`, `output.NAME`, `grad.NAME`."""
    import torch
    import transformers

    torch.manual_seed(case.seed)
    config = transformers.BertConfig(**case.sizes, attn_implementation="eager")
    model = getattr(transformers, case.model)(config).double().eval()
    with torch.no_grad():
        # Far from the published initialisation, so that nothing is nearly linear or nearly zero.
        for name, parameter in model.named_parameters():
            parameter += 0.3 * torch.randn_like(parameter)
            if name.endswith("word_embeddings.weight"):
                parameter[config.pad_token_id] = 0
    newest = int(transformers.__version__.split(".")[0]) >= 5
    whole = inputs_of(case)
    gradients_of = [name for name in DIFFERENTIABLE if name in whole]
    constant = {name: torch.tensor(whole[name], requires_grad=True) for name in gradients_of}
    all_outputs, cache = [], {}
    for given, upstream in steps_of(case):
        inputs = {name: torch.tensor(value) for name, value in given.items()} | constant
        for name, mask in (("attention_mask", case.mask), ("encoder_attention_mask", case.encoder)):
            if newest and mask == "rows":
                # These releases take a mask of rows only as the attention adds it, [b,1,l,r].
                inputs[name] = (1 - inputs[name][:, None].double()) * torch.finfo(torch.float64).min
        outputs = model(**inputs, **cache, output_hidden_states=True, output_attentions=True)
        if case.model == "BertModel":
            loss = sum((outputs[k] * torch.tensor(g)).sum() for k, g in upstream.items())
        elif newest and case.model == "BertLMHeadModel":
            # These releases compute this loss in float32.
            scores, following = outputs.logits[:, :-1], inputs["labels"][:, 1:]
            loss = outputs["loss"] = torch.nn.functional.cross_entropy(scores.flatten(0, 1), following.flatten())
        else:
            loss = outputs.loss
        loss.backward()
        if "pruned_heads" in case.config:
            outputs["attentions"] = with_pruned_heads(outputs.attentions, config)
        all_outputs.append(outputs_of_step(outputs))
        cache = {name: constant_cache(value) for name, value in outputs.items() if name in CACHES}

    numbers = {}
    for name, parameter in model.named_parameters():
        # transformers 5 has a second, unused bias in an untied head; the one that is used has our first name. The
        # words of inputs_embeds, and positions where they are relative, have a table that is not used.
        unused = parameter.grad is None
        name = name.replace("predictions.decoder.bias", "predictions.bias")
        if not unused or name.endswith("embeddings.weight"):
            numbers[f"weight.{name}"] = parameter.detach().numpy()
        if not unused:
            numbers[f"grad.{name}"] = parameter.grad.numpy()
    numbers |= {f"grad.{name}": constant[name].grad.numpy() for name in gradients_of}
    return {name: np.array(value, order="C") for name, value in (numbers | flat(all_outputs)).items()}


def numbert_numbers(case: Case, weights: dict[str, np.ndarray], dtype: Any) -> dict[str, np.ndarray]:
    """The same by numbert, from the same weights."""
    import numbert

    model = getattr(numbert, case.model)(numbert.BertConfig(**case.sizes), dtype=dtype).eval()
    model.load_state_dict(
        {name.removeprefix("weight."): w for name, w in weights.items() if name.startswith("weight.")}
    )
    all_outputs, past, numbers = [], None, {}
    for given, g in steps_of(case):
        inputs = given if past is None else given | {"past_key_values": past}
        outputs = model(**inputs, output_hidden_states=True, output_attentions=True)
        if case.model == "BertModel":
            d_inputs = model.backward(g["last_hidden_state"].astype(dtype), g["pooler_output"].astype(dtype))
        else:
            d_inputs = model.backward()
        for name in DIFFERENTIABLE:
            if name in given:
                numbers[f"grad.{name}"] = numbers.get(f"grad.{name}", 0) + d_inputs[name]
        all_outputs.append(outputs_of_step(outputs))
        past = getattr(outputs, "past_key_values", None)
    numbers |= {f"grad.{name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
    return numbers | flat(all_outputs)


def with_pruned_heads(attentions: tuple[Any, ...], config: Any) -> tuple[np.ndarray, ...]:
    """The probabilities of the heads that are left among zeros, as numbert has them: a layer's are [b,h,l,r]."""
    whole = []
    for layer, left in enumerate(attentions):
        places = [h for h in range(config.num_attention_heads) if h not in config.pruned_heads.get(layer, ())]
        b, _, length, r = left.shape
        whole.append(np.zeros((b, config.num_attention_heads, length, r)))
        whole[-1][:, places] = left.detach().numpy()
    return tuple(whole)


CACHES = ("past_key_values", "cache")  # the name in transformers until the releases 5, and in some of these


def constant_cache(cache: Any) -> Any:
    """transformers' cache, through which no gradient flows."""
    if isinstance(cache, tuple):
        return tuple(tuple(array.detach() for array in layer) for layer in cache)
    for part in parts_of_cache(cache).values():
        for layer in part:
            layer.keys, layer.values = layer.keys.detach(), layer.values.detach()
    return cache


def parts_of_cache(cache: Any) -> dict[str, Any]:
    """The layers of a cache of the releases 5: of self-attention, and of cross-attention if there is one."""
    if not hasattr(cache, "cross_attention_cache"):
        return {"self": cache.layers}
    return {"self": cache.self_attention_cache.layers, "cross": cache.cross_attention_cache.layers}


def outputs_of_step(outputs: Any) -> dict[str, np.ndarray]:
    """The outputs by name; those of every layer stacked: hidden_states [n+1,b,l,e], attentions [n,b,h,l,r].

    The cache is two of them, past_key_values.self and past_key_values.cross [n,2,b,h,r,d].
    """
    numbers = {}
    for name, value in outputs.items():
        if name in CACHES:
            if isinstance(value, tuple):
                parts = {"self": [layer[:2] for layer in value], "cross": [layer[2:] for layer in value]}
            else:
                parts = {
                    part: [(x.keys, x.values) for x in layers] for part, layers in parts_of_cache(value).items()
                }
            for part, layers in parts.items():
                if len(layers[0]):
                    arrays = [np.stack([as_numpy(array) for array in layer]) for layer in layers]
                    numbers[f"past_key_values.{part}"] = np.stack(arrays)
        elif not isinstance(value, tuple):
            numbers[name] = as_numpy(value)
        elif value:  # transformers has an empty tuple for the cross attentions that there are not
            numbers[name] = np.stack([as_numpy(array) for array in value])
    return numbers


def as_numpy(array: Any) -> np.ndarray:
    return array.detach().numpy() if hasattr(array, "detach") else np.asarray(array)


def flat(all_outputs: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The outputs as `output.NAME`, of several steps as `output.STEP.NAME`."""
    if len(all_outputs) == 1:
        return {f"output.{name}": array for name, array in all_outputs[0].items()}
    return {f"output.{step}.{name}": array for step, out in enumerate(all_outputs) for name, array in out.items()}


def assert_same(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], tolerance: float) -> None:
    """Every output and gradient of theirs is in ours, and equal within tolerance of the array's largest entry."""
    names = {name for name in theirs if not name.startswith("weight.")}
    assert names == set(ours), f"only one side has {sorted(names ^ set(ours))}"
    for name in sorted(names):
        assert ours[name].shape == theirs[name].shape, name
        # Gradients that are 0 in exact arithmetic (a key's bias) are compared with 1, not with their noise.
        error = np.abs(ours[name] - theirs[name]).max() / max(1.0, np.abs(theirs[name]).max())
        assert error <= tolerance, f"{name}: off by {error:.1e} of its largest entry"
