"""The models and batches on which numbert is compared with PyTorch, number by number.

A case says what to build and what to feed it. `torch_numbers` computes it with torch and transformers,
`numbert_numbers` with numbert; both give the same names, so a comparison is a loop. `make_parity.py` stores
the first, `bert/test_parity.py` compares with what is stored, `live/test_parity_live.py` computes both afresh.
"""

from __future__ import annotations

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
BATCH, LENGTH = 5, 7


@dataclass
class Case:
    model: str  # the class, by its name in transformers and in numbert
    config: dict[str, Any] = field(default_factory=dict)
    mask: str = "padding"  # none, padding [b,r] or rows [b,l,r]
    ids: str = "input_ids"  # or inputs_embeds
    positions: bool = False
    labels: str = ""  # of BertForSequenceClassification: classes, numbers or answers (yes or no)
    seed: int = 0

    @property
    def sizes(self) -> dict[str, Any]:
        return SIZES | self.config


CASES = {
    "pretraining-gelu": Case("BertForPreTraining"),
    "pretraining-untied": Case("BertForPreTraining", {"tie_word_embeddings": False}, mask="none", seed=1),
    "masked-lm-gelu-new": Case("BertForMaskedLM", {"hidden_act": "gelu_new"}, mask="rows", seed=2),
    "masked-lm-relu": Case("BertForMaskedLM", {"hidden_act": "relu"}, positions=True, seed=3),
    "next-sentence-silu": Case("BertForNextSentencePrediction", {"hidden_act": "silu"}, seed=4),
    "model-tanh-embeds": Case("BertModel", {"hidden_act": "gelu_pytorch_tanh"}, ids="inputs_embeds", seed=5),
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
    elif case.model == "BertForMaskedLM":
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
    return inputs


def upstream_of(case: Case) -> dict[str, np.ndarray]:
    """For a model without a loss: a random gradient of each output."""
    rng = np.random.default_rng(case.seed + 1000)
    e = SIZES["hidden_size"]
    return {
        "last_hidden_state": rng.standard_normal((BATCH, LENGTH, e)),
        "pooler_output": rng.standard_normal((BATCH, e)),
    }


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
    inputs = {name: torch.tensor(value) for name, value in inputs_of(case).items()}
    if case.ids == "inputs_embeds":
        inputs["inputs_embeds"].requires_grad_(True)
    if case.mask == "rows" and int(transformers.__version__.split(".")[0]) >= 5:
        # These releases take a mask of rows only as the attention adds it, [b,1,l,r].
        mask = inputs["attention_mask"][:, None].double()
        inputs["attention_mask"] = (1 - mask) * torch.finfo(torch.float64).min
    outputs = model(**inputs, output_hidden_states=True, output_attentions=True)
    if case.model == "BertModel":
        loss = sum((outputs[k] * torch.tensor(g)).sum() for k, g in upstream_of(case).items())
    else:
        loss = outputs.loss
    loss.backward()

    numbers = {}
    for name, parameter in model.named_parameters():
        # transformers 5 has a second, unused bias in an untied head; the one that is used has our first name.
        unused = parameter.grad is None
        name = name.replace("predictions.decoder.bias", "predictions.bias")
        if not unused:
            numbers |= {f"weight.{name}": parameter.detach().numpy(), f"grad.{name}": parameter.grad.numpy()}
    if case.ids == "inputs_embeds":
        numbers["grad.inputs_embeds"] = inputs["inputs_embeds"].grad.numpy()
        (table,) = (name for name, _ in model.named_parameters() if name.endswith("word_embeddings.weight"))
        numbers[f"weight.{table}"] = model.get_input_embeddings().weight.detach().numpy()
    return {name: np.array(value, order="C") for name, value in (numbers | flat(outputs)).items()}


def numbert_numbers(case: Case, weights: dict[str, np.ndarray], dtype: Any) -> dict[str, np.ndarray]:
    """The same by numbert, from the same weights."""
    import numbert

    model = getattr(numbert, case.model)(numbert.BertConfig(**case.sizes), dtype=dtype).eval()
    model.load_state_dict(
        {name.removeprefix("weight."): w for name, w in weights.items() if name.startswith("weight.")}
    )
    outputs = model(**inputs_of(case), output_hidden_states=True, output_attentions=True)
    if case.model == "BertModel":
        g = upstream_of(case)
        d_inputs = model.backward(g["last_hidden_state"].astype(dtype), g["pooler_output"].astype(dtype))
    else:
        d_inputs = model.backward()
    numbers = {f"grad.{name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
    if case.ids == "inputs_embeds":
        numbers["grad.inputs_embeds"] = d_inputs["inputs_embeds"]
    return numbers | flat(outputs)


def flat(outputs: Any) -> dict[str, np.ndarray]:
    """The outputs as `output.NAME`; hidden_states and attentions stacked [n+1,b,l,e] and [n,b,h,l,r]."""
    numbers = {}
    for name, value in outputs.items():
        if isinstance(value, tuple) and not value:
            continue  # transformers has an empty tuple for the cross attentions that there are not
        arrays = value if isinstance(value, tuple) else (value,)
        arrays = [a.detach().numpy() if hasattr(a, "detach") else np.asarray(a) for a in arrays]
        numbers[f"output.{name}"] = np.stack(arrays) if isinstance(value, tuple) else arrays[0]
    return numbers


def assert_same(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], tolerance: float) -> None:
    """Every output and gradient of theirs is in ours, and equal within tolerance of the array's largest entry."""
    names = {name for name in theirs if not name.startswith("weight.")}
    assert names == set(ours), f"only one side has {sorted(names ^ set(ours))}"
    for name in sorted(names):
        assert ours[name].shape == theirs[name].shape, name
        # Gradients that are 0 in exact arithmetic (a key's bias) are compared with 1, not with their noise.
        error = np.abs(ours[name] - theirs[name]).max() / max(1.0, np.abs(theirs[name]).max())
        assert error <= tolerance, f"{name}: off by {error:.1e} of its largest entry"
