"""Makes run-format-N/, a tiny run that stopped half-way, and what it came to when it went on.

    python tests/helpers/make_run.py tests/pretrain/run-format-1

The test beside it resumes a copy and demands the same bits, where the machine computes with the same bits at all:
`arithmetic` tells. Made by the numbert that first wrote runs of this format; to make it anew would prove nothing.
"""

import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from runs import by_kind, fingerprints
from scipy.special import erf

from numbert.pretrain.entry import pretrain

STOPPED, STEPS = 6, 12
SETTINGS = {
    "vocab_size": 200,
    "hidden_size": 16,
    "layers": 2,
    "heads": 2,
    "length": 24,
    "batch_size": 8,
    "accumulate": 2,
    "dropout": 0.1,
    "whole_words": True,
    "steps": STEPS,
    "seed": 3,
}
# What a checkpoint's loss depends on; times do not count.
MEASURED = ("step", "loss", "mlm_loss", "nsp_loss", "gradient_norm", "gradient_norms", "learning_rate", "held_out")


def arithmetic():
    """A digest of what this machine's products and functions give: another BLAS rounds otherwise."""
    rng = np.random.default_rng(0)
    parts = []
    for n, k, m in ((96, 16, 64), (96, 64, 16), (24, 8, 24), (30, 16, 200)):
        x, y = rng.standard_normal((n, k), np.float32), rng.standard_normal((m, k), np.float32)
        parts += [x @ y.T, x.T @ (x @ y.T), np.exp(x), np.tanh(x), np.sqrt(np.abs(x)), erf(x.astype(np.float64))]
        parts += [x.sum(axis=0), x.mean(axis=1), np.einsum("ne,ne->n", x, x), np.log(np.abs(x))]
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()


def outcome(folder):
    """What a finished run came to: each tensor's digest, and what was measured on the way."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    weights = fingerprints(folder / "model.safetensors")
    moments = fingerprints(folder / "checkpoints" / f"step-{STEPS}" / "optimizer.safetensors")
    return {
        "weights": {name: digest for name, (_, _, digest) in weights.items()},
        "moments": {name: digest for name, (_, _, digest) in moments.items()},
        "metrics": [{name: line[name] for name in MEASURED if name in line} for line in lines],
    }


def main(target):
    target = Path(target)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "run")
        text = by_kind(Path(temporary, "by-kind.txt"))
        pretrain([text], folder, save_every=STOPPED, eval_every=STOPPED, progress=False, **SETTINGS)
        expected = {"arithmetic": arithmetic(), **outcome(folder)}
        shutil.copytree(folder, target)
    # Back to where it was after the checkpoint half-way.
    shutil.rmtree(target / "checkpoints" / f"step-{STEPS}")
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        (target / name).unlink()
    lines = (target / "metrics.jsonl").read_text().splitlines(keepends=True)
    (target / "metrics.jsonl").write_text("".join(line for line in lines if json.loads(line)["step"] <= STOPPED))
    run = json.loads((target / "run.json").read_text())
    run["text"][0]["path"] = "/text/by-kind.txt"
    (target / "run.json").write_text(json.dumps(run, indent=2) + "\n")
    (target / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
