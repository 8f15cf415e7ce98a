"""A tiny model and batch that tests share. All sizes differ, so that no two axes can be mistaken."""

import numpy as np

import numbert

SIZES = {
    "vocab_size": 29,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "max_position_embeddings": 11,
}
BATCH, LENGTH = 5, 7
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "a", "dog", "ran", "##s", "mat"]


def config(**changes):
    return numbert.BertConfig(**(SIZES | changes))


def batch(seed=0):
    """Ids, a padding mask and labels for BertForPreTraining."""
    rng = np.random.default_rng(seed)
    lengths = np.array([7, 3, 6, 2, 5])
    mask = (np.arange(LENGTH) < lengths[:, None]).astype(np.int64)
    ids = rng.integers(1, SIZES["vocab_size"], (BATCH, LENGTH)) * mask
    labels = np.where((rng.random(ids.shape) < 0.4) & (mask == 1), ids, -100)
    labels[0, 2] = 3
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "token_type_ids": rng.integers(0, 2, ids.shape),
        "labels": labels,
        "next_sentence_label": rng.integers(0, 2, BATCH),
    }


def inputs(seed=0):
    """The same without labels."""
    given = batch(seed)
    del given["labels"], given["next_sentence_label"]
    return given
