"""Racing what is done with many texts of mixed length: vectors of them, and guesses for a mask in each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from numbert.bench import peers
from numbert.bench.race import Absent, Contestant, Race, hold
from numbert.bench.races import sizes
from numbert.bert.tasks.pretraining import BertForMaskedLM
from numbert.config import BertConfig
from numbert.errors import InputError
from numbert.files.tokenizer import bert_tokenizer
from numbert.inference import embed, fill_mask
from numbert.nn.array import Array

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MEDIAN, SPREAD = 25, 0.6  # of the number of tokens, whose logarithm is normal; as in sentences of a book
BATCH = 32
TOP_K = 5
GIVEN, SORTED = "torch, given order", "torch, sorted by length"


def made_up_tokenizer(config: BertConfig) -> Tokenizer:
    """Makes a tokenizer whose words are one piece each, and as many as the model has ids."""
    words = [f"w{number}" for number in range(config.vocab_size - len(SPECIAL))]
    return bert_tokenizer({piece: number for number, piece in enumerate((*SPECIAL, *words))})


def made_up_texts(config: BertConfig, count: int, seed: int) -> list[str]:
    """Draws texts of lognormal length, of words of `made_up_tokenizer`, each with one [MASK] in it.

    Raises:
        InputError: count is below 1, or the model has too few ids or positions for a text.
    """
    if count < 1:
        raise InputError(f"texts is {count}; it must be at least 1")
    if config.vocab_size < len(SPECIAL) + TOP_K or config.max_position_embeddings < 3:
        raise InputError(f"texts need at least {len(SPECIAL) + TOP_K} ids and 3 positions")
    rng = np.random.default_rng(seed)
    lengths = rng.lognormal(np.log(MEDIAN), SPREAD, count).clip(3, config.max_position_embeddings).astype(np.int64)
    texts = []
    for length in lengths.tolist():
        words = [f"w{number}" for number in rng.integers(0, config.vocab_size - len(SPECIAL), length - 2)]
        words[rng.integers(0, len(words))] = "[MASK]"
        texts.append(" ".join(words))
    return texts


def texts_races(config: BertConfig, count: int, rounds: int, seed: int, progress: bool) -> list[Race]:
    """Races `embed` and `fill_mask` on made-up texts with transformers' model in padded batches of 32.

    Args:
        count: the number of texts.

    Raises:
        InputError: count is below 1, or the model is too small for texts.
        RuntimeError: two answers differ by more than float32 rounding.
    """
    texts, tokenizer = made_up_texts(config, count, seed), made_up_tokenizer(config)
    lengths = [len(encoding) for encoding in tokenizer.encode_batch(texts)]
    tokens = f"{min(lengths)} to {max(lengths)} tokens, {sum(lengths)} in all"
    about = f"{count} texts of {tokens}, {sizes(config)}, float32"
    model = BertForMaskedLM(config, seed=seed).eval()

    def vectors() -> dict[str, Array]:
        return {"vectors": embed(model, tokenizer, texts)}

    def guesses() -> dict[str, Array]:
        filled = fill_mask(model, tokenizer, texts, TOP_K)
        return {"log_probs": np.log([[guess.probability for guess in one.masks[0]] for one in filled])}

    works = {
        "texts, embed": (vectors, _torch_vectors, []),
        "texts, fill-mask": (guesses, _torch_guesses, ["torch decodes every position, as transformers does."]),
    }
    try:
        theirs = peers.torch_model(model)
    except Absent as absent:
        return [
            hold(
                Race(name, about, count, "texts", absent={peers.TORCH: str(absent)}),
                [Contestant("numbert", ours, ours)],
                rounds,
                progress,
            )
            for name, (ours, _, _) in works.items()
        ]
    races = []
    for name, (ours, make, notes) in works.items():
        race = Race(name, about, count, "texts", notes=[*notes, f"torch in padded batches of {BATCH}, with sdpa."])
        contestants = [Contestant("numbert", ours, ours)]
        for form in (GIVEN, SORTED):
            answer = _in_batches(make(theirs), tokenizer, texts, form == SORTED)
            contestants.append(Contestant(form, answer, answer))
        races.append(hold(race, contestants, rounds, progress))
    return races


# --- torch's way -------------------------------------------------------------------------------------------------

Batch = Callable[[Any, Any], Any]  # ids and mask, both [b,l], to an answer for each text


def _torch_vectors(model: Any) -> tuple[str, Batch]:
    def of_batch(ids: Any, mask: Any) -> Any:
        states = model.bert(input_ids=ids, attention_mask=mask).last_hidden_state  # [b,l,e]
        weights = mask[:, :, None].to(states.dtype)  # [b,l,1]
        return (states * weights).sum(dim=1) / weights.sum(dim=1)  # [b,e]

    return "vectors", of_batch


def _torch_guesses(model: Any) -> tuple[str, Batch]:
    mask_id = SPECIAL.index("[MASK]")

    def of_batch(ids: Any, mask: Any) -> Any:
        scores = model(input_ids=ids, attention_mask=mask).logits[ids == mask_id]  # [b,l,v] -> [b,v]
        return scores.softmax(dim=-1).topk(TOP_K).values.log()  # [b,5]

    return "log_probs", of_batch


def _in_batches(
    work: tuple[str, Batch], tokenizer: Tokenizer, texts: Sequence[str], by_length: bool
) -> Callable[[], dict[str, Array]]:
    """Returns a function that answers for all texts, in their order, computed in padded batches."""
    torch = peers.imported("torch")
    name, of_batch = work

    def answer() -> dict[str, Array]:
        encoded = [torch.tensor(encoding.ids) for encoding in tokenizer.encode_batch(list(texts))]
        order = list(range(len(encoded)))
        if by_length:
            order.sort(key=lambda index: -len(encoded[index]))
        parts = []
        with torch.no_grad():
            for start in range(0, len(order), BATCH):
                rows = [encoded[index] for index in order[start : start + BATCH]]
                ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)  # [PAD] is 0
                mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
                parts.append(of_batch(ids, mask).numpy())
        answers = np.empty((len(order), parts[0].shape[1]), np.float32)
        answers[order] = np.concatenate(parts)
        return {name: answers}

    return answer
