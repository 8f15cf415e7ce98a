"""next_sentence: how probably one text follows another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from numbert.bert.tasks.pretraining import BertForNextSentencePrediction, BertForPreTraining
from numbert.errors import InputError
from numbert.inference.batches import batches, encoded
from numbert.nn.functional import softmax
from numbert.nn.switches import no_grad

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def next_sentence(
    model: BertForNextSentencePrediction | BertForPreTraining,
    tokenizer: Tokenizer,
    first: str,
    second: str,
) -> float:
    """The probability that the second text follows the first.

    Raises:
        InputError: a text is empty, or together they have more tokens than the model has positions.
    """
    if not first.strip() or not second.strip():
        raise InputError("both texts must have words in them")
    encodings = encoded(tokenizer, [(first, second)], model)
    ((_, batch),) = batches(encodings, 1, model, progress=False)
    with no_grad():
        outputs = model(**batch)
    logits = outputs.seq_relationship_logits if isinstance(model, BertForPreTraining) else outputs.logits  # [1,2]
    return float(softmax(logits)[0, 0])
