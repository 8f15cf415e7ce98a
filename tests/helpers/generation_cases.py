"""The decoders and prompts on which generated tokens are compared with transformers', token by token.

`torch_tokens` lets transformers write, `numbert_tokens` numbert. make_parity.py stores the first;
`bert/test_generation.py` compares with what is stored, `live/test_generation_live.py` computes both afresh.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from parity_cases import SIZES
from places import STORED

FILE = STORED / "generation.safetensors"
PROMPT, EOS = 4, 9
# How to write: greedily and with beams, for long and for short texts, with an end token and without.
WAYS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "greedy-eos": {"eos_token_id": EOS},
    "two-beams": {"num_beams": 2},
    "beams-eos": {"num_beams": 3, "eos_token_id": EOS},
    "beams-long": {"num_beams": 3, "eos_token_id": EOS, "length_penalty": 2.0},
    "beams-short": {"num_beams": 3, "eos_token_id": EOS, "length_penalty": -1.0},
    "beams-sum": {"num_beams": 5, "eos_token_id": EOS, "length_penalty": 0.0},
    "one-token": {"num_beams": 3, "eos_token_id": EOS, "max_new_tokens": 1},
    "end-is-padding": {"num_beams": 2, "eos_token_id": 0, "pad_token_id": 0},
}


@dataclass
class Decoder:
    config: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    padded: bool = False

    @property
    def sizes(self) -> dict[str, Any]:
        return SIZES | {"is_decoder": True} | self.config


DECODERS = {
    "padded": Decoder(seed=2, padded=True),
    "relative": Decoder({"position_embedding_type": "relative_key"}, seed=3, padded=True),
    "cross": Decoder({"add_cross_attention": True, "position_embedding_type": "relative_key_query"}, seed=2),
}


def prompts(decoder: Decoder) -> dict[str, np.ndarray]:
    """What is gone on from: three prompts, and for cross-attention what they look at."""
    rng = np.random.default_rng(decoder.seed)
    given = {"input_ids": rng.integers(1, SIZES["vocab_size"], (3, PROMPT))}
    if decoder.padded:
        given["attention_mask"] = np.array([[1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]])
    if decoder.config.get("add_cross_attention"):
        given["encoder_hidden_states"] = rng.standard_normal((3, 5, SIZES["hidden_size"]))
        given["encoder_attention_mask"] = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 1, 0, 0]])
    return given


def torch_tokens(decoder: Decoder) -> dict[str, np.ndarray]:
    """The weights as `weight.NAME`, and what transformers writes in each way as `ids.WAY`."""
    import torch
    import transformers

    torch.manual_seed(decoder.seed)
    config = transformers.BertConfig(**decoder.sizes, attn_implementation="eager")
    model = transformers.BertLMHeadModel(config).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
        model.cls.predictions.transform.LayerNorm.weight *= 0.4  # so that no piece is far ahead,
        model.cls.predictions.bias[EOS] += 1.0  # and some texts end
    inputs = {name: torch.tensor(value) for name, value in prompts(decoder).items()}
    inputs.setdefault("attention_mask", torch.ones_like(inputs["input_ids"]))
    numbers = {
        f"weight.{name.replace('predictions.decoder.bias', 'predictions.bias')}": parameter.detach().numpy()
        for name, parameter in model.named_parameters()
    }
    for way, options in WAYS.items():
        told = {"do_sample": False, "max_new_tokens": 7, "pad_token_id": 0} | options
        numbers[f"ids.{way}"] = model.generate(**inputs, **told).numpy()
    return {name: np.array(value, order="C") for name, value in numbers.items()}


def numbert_tokens(decoder: Decoder, weights: dict[str, np.ndarray], **options: Any) -> dict[str, np.ndarray]:
    """What numbert writes in each way, as `ids.WAY`, from the same weights."""
    model = numbert_decoder(decoder, weights)
    given = prompts(decoder)
    return {
        f"ids.{way}": model.generate(**given, **({"max_new_tokens": 7} | chosen), **options)
        for way, chosen in WAYS.items()
    }


def numbert_decoder(decoder: Decoder, weights: dict[str, np.ndarray]) -> Any:
    import numbert

    model = numbert.BertLMHeadModel(numbert.BertConfig(**decoder.sizes), dtype=np.float64)
    model.load_state_dict(
        {name.removeprefix("weight."): array for name, array in weights.items() if name.startswith("weight.")}
    )
    return model


def stored() -> dict[str, dict[str, np.ndarray]]:
    """What is in the file, for each decoder by its name."""
    from safetensors.numpy import load_file

    found: dict[str, dict[str, np.ndarray]] = {name: {} for name in DECODERS}
    for key, array in load_file(FILE).items():
        decoder, _, name = key.partition("/")
        found[decoder][name] = array
    return found


def to_store() -> dict[str, np.ndarray]:
    """What make_parity.py writes into the file."""
    return {
        f"{name}/{key}": array
        for name, decoder in DECODERS.items()
        for key, array in torch_tokens(decoder).items()
    }


def assert_same_tokens(
    ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], ways: Iterable[str] = tuple(WAYS)
) -> None:
    for way in ways:
        np.testing.assert_array_equal(ours[f"ids.{way}"], theirs[f"ids.{way}"], err_msg=way)
