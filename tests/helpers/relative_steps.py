"""A decoder with relative positions, cross-attention and pruned heads: the whole text at once, and token by token.

`torch_numbers` computes it with transformers, `numbert_numbers` with numbert; both give the same names, so a
comparison is a loop. `make_parity.py` stores the first. The published code is right about relative positions with
a cache only where a step is one token.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from parity_cases import BATCH, LENGTH, SIZES, flat, outputs_of_step
from places import STORED

KINDS = ("relative_key", "relative_key_query")
PRUNED = {0: [1], 1: [2, 0]}
ENCODER_LENGTH = 6


def file_of(kind: str) -> Path:
    return STORED / f"decoder-steps-{kind.replace('_', '-')}.safetensors"


def config_of(kind: str) -> dict[str, Any]:
    return SIZES | {"position_embedding_type": kind, "is_decoder": True, "add_cross_attention": True}


def inputs_of(seed: int) -> dict[str, np.ndarray]:
    """Texts of unequal lengths, and what the cross-attention looks at."""
    rng = np.random.default_rng(seed)
    there = np.arange(LENGTH) < np.array([7, 4, 1, 6, 2])[:, None]
    encoder_there = np.arange(ENCODER_LENGTH) < np.array([6, 3, 2, 5, 1])[:, None]
    return {
        "input_ids": rng.integers(1, SIZES["vocab_size"], (BATCH, LENGTH)),
        "attention_mask": there.astype(np.int64),
        "encoder_hidden_states": rng.standard_normal((BATCH, ENCODER_LENGTH, SIZES["hidden_size"])),
        "encoder_attention_mask": encoder_there.astype(np.int64),
    }


def upstream_of(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random gradients of last_hidden_state and pooler_output."""
    rng = np.random.default_rng(seed + 1000)
    e = SIZES["hidden_size"]
    return rng.standard_normal((BATCH, LENGTH, e)), rng.standard_normal((BATCH, e))


def in_steps(model: Any, inputs: dict[str, Any]) -> list[Any]:
    """last_hidden_state [b,1,e] of each token, given to the model one by one with the cache."""
    states, past = [], None
    for end in range(1, LENGTH + 1):
        step = inputs | {
            "input_ids": inputs["input_ids"][:, end - 1 : end],
            "attention_mask": inputs["attention_mask"][:, :end],
        }
        outputs = model(**step, past_key_values=past, use_cache=True)
        past = outputs.past_key_values
        states.append(outputs.last_hidden_state)
    return states


def torch_numbers(kind: str, seed: int = 8) -> dict[str, np.ndarray]:
    """By PyTorch in float64: `weight.NAME`, `output.NAME` and `grad.NAME`; of the steps, `output.steps`."""
    import torch
    import transformers

    torch.manual_seed(seed)
    config = transformers.BertConfig(**config_of(kind), attn_implementation="eager")
    model = transformers.BertModel(config).eval()
    model.prune_heads(PRUNED)
    model = model.double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
        model.embeddings.word_embeddings.weight[config.pad_token_id] = 0
    inputs = {name: torch.tensor(value) for name, value in inputs_of(seed).items()}
    with torch.no_grad():
        steps = torch.cat(in_steps(model, inputs), dim=1)
    inputs["encoder_hidden_states"].requires_grad_(True)
    outputs = model(**inputs, use_cache=False)
    sum(
        (output * torch.tensor(g)).sum() for output, g in zip(outputs[:2], upstream_of(seed), strict=True)
    ).backward()

    numbers = {"output.steps": steps, "grad.encoder_hidden_states": inputs["encoder_hidden_states"].grad}
    for name, parameter in model.named_parameters():
        numbers[f"weight.{name}"] = parameter.detach()
        if parameter.grad is not None:  # the table of absolute positions has none
            numbers[f"grad.{name}"] = parameter.grad
    arrays = {name: tensor.numpy() for name, tensor in numbers.items()} | flat([outputs_of_step(outputs)])
    return {name: np.array(array, order="C") for name, array in arrays.items()}


def numbert_numbers(kind: str, weights: dict[str, np.ndarray], dtype: Any, seed: int = 8) -> dict[str, np.ndarray]:
    """The same by numbert, from the same weights."""
    import numbert

    model = numbert.BertModel(numbert.BertConfig(**config_of(kind), pruned_heads=PRUNED), dtype=dtype).eval()
    model.load_state_dict(
        {name.removeprefix("weight."): w for name, w in weights.items() if name.startswith("weight.")}
    )
    inputs = inputs_of(seed)
    with numbert.no_grad():
        steps = np.concatenate(in_steps(model, inputs), axis=1)
    outputs = model(**inputs, use_cache=False)
    gradients = model.backward(*(g.astype(dtype) for g in upstream_of(seed)))
    numbers = {f"grad.{name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
    numbers |= {"output.steps": steps, "grad.encoder_hidden_states": gradients["encoder_hidden_states"]}
    return numbers | flat([outputs_of_step(outputs)])
