"""A text and settings for runs of a moment, which tests share."""

import numpy as np

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


def by_kind(path, seed=0):
    """Documents of words of one kind: who knows a word of a document knows the kind of the others."""
    rng = np.random.default_rng(seed)
    kinds = [kind.split() for kind in KINDS]
    documents = []
    for _ in range(60):
        kind = kinds[rng.integers(len(kinds))]
        documents.append("\n".join(" ".join(rng.choice(kind, 7)).capitalize() + "." for _ in range(12)))
    path.write_text("\n\n".join(documents))
    return path


def weights(folder):
    return (folder / "model.safetensors").read_bytes()
