"""A text and settings for runs of a moment, which tests share."""

import hashlib

import numpy as np
from safetensors.numpy import load_file

TINY = {
    "vocab_size": 200,
    "hidden_size": 16,
    "layers": 1,
    "heads": 2,
    "length": 24,
    "batch_size": 8,
    "progress": False,
}
MODEL_FILES = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"}
RUN_FILES = {"run.json", "metrics.jsonl", "data", "checkpoints"}

KINDS = (
    *("cat dog bird fish horse mouse", "sun rain wind snow cloud moon", "red blue green white brown pink"),
    *("bread cheese apple milk soup rice", "door wall roof floor stair room"),
)


def by_kind(path, seed=0, documents=60):
    """Documents of words of one kind: who knows a word of a document knows the kind of the others."""
    rng = np.random.default_rng(seed)
    kinds = [kind.split() for kind in KINDS]
    texts = []
    for _ in range(documents):
        kind = kinds[rng.integers(len(kinds))]
        texts.append("\n".join(" ".join(rng.choice(kind, 7)).capitalize() + "." for _ in range(12)))
    path.write_text("\n\n".join(texts))
    return path


def weights(folder):
    return fingerprints(folder / "model.safetensors")


def fingerprints(path):
    """Of each tensor in a file: what differs has a name, and pytest need not write the diff of a file's bytes."""
    return {
        name: (array.dtype.str, array.shape, hashlib.sha256(array.tobytes()).hexdigest())
        for name, array in load_file(path).items()
    }


def digests(folder):
    """Of each file in a folder and below, by its path there."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }
