"""A training run that numbert and PyTorch take step for step: a model, 60 batches, an optimizer and its schedule.

`torch_training` and `numbert_training` give the same names, so a comparison is a loop: `losses` [60] and `norms`
[60] (of the gradient before clipping), and `final.NAME` of every weight. `make_parity.py` stores the first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from parity_cases import SIZES
from places import STORED

FILE = STORED / "training.safetensors"
SEED = 1  # of the stored run
STEPS, WARMUP = 60, 10
LR, BETAS, WEIGHT_DECAY = 2e-2, (0.9, 0.98), 0.1
# The loss times 1000, as a loss may be scaled. PyTorch divides by norm + 1e-6 where it clips, and of a thousand
# times as long a gradient this is a part in 10^9. eps is scaled alike, and the gradient is clipped in some steps.
SCALE = 1000.0
EPS, MAX_NORM = 1e-7 * SCALE, 1.5 * SCALE


def batches(seed: int) -> Iterator[dict[str, np.ndarray]]:
    """60 batches for BertForPreTraining, each of 6 to 12 sequences and of another length, padded with id 0.

    There is something to learn: the ids count up from a random start, and the pair's label is whether that is odd.
    """
    rng = np.random.default_rng([seed, 60])
    for _ in range(STEPS):
        b, length = rng.integers(6, 13), rng.integers(5, SIZES["max_position_embeddings"] + 1)
        lengths = rng.integers(3, length + 1, b)  # [b]
        mask = (np.arange(length) < lengths[:, None]).astype(np.int64)  # [b,l]
        start = rng.integers(0, 27, b)
        ids = (4 + (start[:, None] + np.arange(length)) % 27) * mask  # 4 to 30
        labels = np.where((rng.random((b, length)) < 0.3) & (mask == 1), ids, -100)
        labels[0, 1] = ids[0, 1]  # at least one: PyTorch's mean over none is not a number
        yield {
            "input_ids": np.where(labels == -100, ids, 3),  # 3 stands for [MASK]
            "attention_mask": mask,
            "token_type_ids": rng.integers(0, 2, (b, length)),
            "labels": labels,
            "next_sentence_label": start % 2,
        }


def torch_training(seed: int) -> dict[str, np.ndarray]:
    """In float64 by PyTorch and transformers; with the weights it began with as `initial.NAME`."""
    import torch
    import transformers

    torch.manual_seed(seed)
    config = transformers.BertConfig(**SIZES, attn_implementation="eager")
    model = transformers.BertForPreTraining(config).double().train()  # its dropout is 0
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter += 0.1 * torch.randn_like(parameter)
            if name.endswith("word_embeddings.weight"):
                parameter[config.pad_token_id] = 0
    numbers = {f"initial.{name}": p.detach().numpy().copy() for name, p in model.named_parameters()}

    spared = [p for name, p in model.named_parameters() if name.endswith("bias") or "LayerNorm" in name]
    decayed = [p for p in model.parameters() if not any(p is other for other in spared)]
    groups = [{"params": decayed}, {"params": spared, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=BETAS, eps=EPS, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / WARMUP, (STEPS - step) / (STEPS - WARMUP))
    )
    losses, norms = [], []
    for batch in batches(seed):
        loss = model(**{name: torch.tensor(value) for name, value in batch.items()}).loss
        optimizer.zero_grad()
        (SCALE * loss).backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)))
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    numbers |= {f"final.{name}": p.detach().numpy().copy() for name, p in model.named_parameters()}
    return numbers | {"losses": np.array(losses), "norms": np.array(norms)}


def numbert_model(numbers: dict[str, np.ndarray]) -> Any:
    """numbert's model with the weights that the run begins with."""
    import numbert

    model = numbert.BertForPreTraining(numbert.BertConfig(**SIZES), dtype=np.float64).train()
    start = {name: array for name, array in numbers.items() if name.startswith("initial.")}
    model.load_state_dict({name.removeprefix("initial."): array for name, array in start.items()})
    return model


def numbert_training(seed: int, model: Any, bias_correction: bool = True) -> dict[str, np.ndarray]:
    """The same by numbert, from the model as it is."""
    from numbert.train.optimizer import AdamW, clip_grad_norm, decay_groups
    from numbert.train.schedule import warmup_then_linear_decay

    groups = decay_groups(model, WEIGHT_DECAY)
    optimizer = AdamW(groups, lr=LR, betas=BETAS, eps=EPS, bias_correction=bias_correction)
    losses, norms = [], []
    for step, batch in enumerate(batches(seed)):
        losses.append(float(model(**batch).loss))
        model.zero_grad()
        model.backward(SCALE)
        norms.append(clip_grad_norm(model.parameters(), MAX_NORM))
        for group in optimizer.groups:
            group["lr"] = LR * warmup_then_linear_decay(step, STEPS, WARMUP)
        optimizer.step()
    final = {f"final.{name}": array for name, array in model.state_dict().items()}
    return final | {"losses": np.array(losses), "norms": np.array(norms)}


def largest_difference(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> dict[str, float]:
    """Of each name: the largest difference between entries, by the larger of 1 and the largest entry."""
    names = {name for name in theirs if not name.startswith("initial.")}
    assert names == set(ours), f"only one side has {sorted(names ^ set(ours))}"
    return {
        name: float(np.abs(ours[name] - theirs[name]).max() / max(1.0, np.abs(theirs[name]).max()))
        for name in sorted(names)
    }
