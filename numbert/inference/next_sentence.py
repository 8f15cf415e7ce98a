"""next_sentence: judges how probable it is that one text follows another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from numbert.bert.tasks.pretraining import BertForNextSentencePrediction, BertForPreTraining
from numbert.errors import InputError, shown
from numbert.inference.batches import batches, refuse_overlong
from numbert.inference.models import require_head
from numbert.inference.texts import as_text, as_tokenizer
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
    """Returns the probability, from 0 to 1, that the second text follows the first.

    Raises:
        InputError: one of the texts is no str or has no token, together they have more tokens than the model has
            positions, or the model has no head for the next sentence.
    """
    require_head(
        model,
        (BertForNextSentencePrediction, BertForPreTraining),
        "the next sentence",
        "next_sentence(model, tokenizer, first, second)",
    )
    tokenizer = as_tokenizer(tokenizer)
    texts = {"first": as_text("first", first), "second": as_text("second", second)}
    pieces = tokenizer.encode_batch(list(texts.values()), add_special_tokens=False)
    for (name, text), encoding in zip(texts.items(), pieces, strict=True):
        if not len(encoding):
            raise InputError(f"both texts must have words in them, and {name} is {shown(text)}")
    encoding = tokenizer.post_process(pieces[0], pieces[1])  # [CLS] first [SEP] second [SEP]
    refuse_overlong(encoding, " / ".join(texts.values()), model)
    ((_, batch),) = batches([encoding], 1, model, progress=False)
    with no_grad():
        outputs = model(**batch, return_dict=True, unpad=True)
    logits = outputs.seq_relationship_logits if isinstance(model, BertForPreTraining) else outputs.logits  # [1,2]
    return float(softmax(logits)[0, 0])
