"""generate_text: writes on after a text."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from numbert.bert.tasks.causal import BertLMHeadModel
from numbert.bert.tasks.generation import refuse_too_long
from numbert.errors import InputError, as_integer, shown
from numbert.inference.models import require_head
from numbert.inference.texts import as_texts, as_tokenizer
from numbert.nn.array import Array

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass
class Continuation:
    """One text and what the model writes after it.

    Attributes:
        text: the text, as it was given.
        continuation: what follows it, without the end token; it begins with a space unless its first piece goes on
            with the last word or is punctuation.
        ids: the new tokens, with the end token if there is one.
    """

    text: str
    continuation: str
    ids: list[int]

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as a dict that JSON can hold."""
        return asdict(self)


def generate_text(
    model: BertLMHeadModel,
    tokenizer: Tokenizer,
    texts: str | Iterable[str],
    max_new_tokens: int = 20,
    on_piece: Callable[[str], None] | None = None,
    **options: Any,
) -> list[Continuation]:
    """Writes on after each text, one text after the other.

    The model reads [CLS] and the text, without the [SEP] that would end it.

    Args:
        texts: one text, or a list, tuple, array, Series or generator of texts.
        max_new_tokens: how many tokens are written at most.
        on_piece: a function that is called with what there is to print, as it comes: a text with the first piece
            of its continuation, each further piece, and a line end. Beam search has the continuation all at once.
        options: the other arguments of `GenerationMixin.generate`, by name. By default eos_token_id is that of the
            configuration or else [SEP].

    Returns:
        a Continuation for each text, in order; for a single text a list of one. A text gets the one that it gets
        alone, also if it is sampled from a seed.

    Raises:
        InputError: a text is no str, has no token, or has with max_new_tokens more tokens than the model has
            positions; the model has no head for the next token; or `GenerationMixin.generate` raises it.
    """
    require_head(model, (BertLMHeadModel,), "the next token", "generate_text(model, tokenizer, texts)")
    tokenizer = as_tokenizer(tokenizer)
    texts = as_texts(texts)
    max_new_tokens = as_integer("max_new_tokens", max_new_tokens)
    prompts = [_prompt(tokenizer, text) for text in texts]
    for text, prompt in zip(texts, prompts, strict=True):
        refuse_too_long(len(prompt), max_new_tokens, model.config, f"{shown(text)}: a prompt")
    sep = token_id(tokenizer, "[SEP]")
    ends = (options.get("eos_token_id"), model.config.extra.get("eos_token_id"), sep)
    options["eos_token_id"] = next(end for end in ends if end is not None)
    tell = on_piece or (lambda piece: None)
    return [
        _written(model, tokenizer, text, prompt, tell, max_new_tokens=max_new_tokens, **options)
        for text, prompt in zip(texts, prompts, strict=True)
    ]


def _written(
    model: BertLMHeadModel,
    tokenizer: Tokenizer,
    text: str,
    prompt: list[int],
    tell: Callable[[str], None],
    **options: Any,
) -> Continuation:
    untold = [text.rstrip()]
    eos = options["eos_token_id"]

    def say(tokens: Array) -> None:
        untold.append(_spoken(tokenizer, tokens.tolist(), eos))
        tell("".join(untold))
        untold.clear()

    at_once = options.get("num_beams", 1) == 1
    ids = model.generate(np.array([prompt]), on_tokens=say if at_once else None, **options)[0, len(prompt) :]
    continuation = _spoken(tokenizer, ids.tolist(), eos)
    tell("".join(untold) + ("" if at_once else continuation) + "\n")
    return Continuation(text, continuation, ids.tolist())


def _prompt(tokenizer: Tokenizer, text: str) -> list[int]:
    """Returns the ids of [CLS] and a text."""
    pieces = tokenizer.encode(text, add_special_tokens=False).ids
    if not pieces:
        raise InputError(f"there is nothing to go on from in {shown(text)}")
    return [token_id(tokenizer, "[CLS]"), *pieces]


def token_id(tokenizer: Tokenizer, token: str) -> int:
    """Returns the id of a special token.

    Raises:
        InputError: the tokenizer has none.
    """
    index = tokenizer.token_to_id(token)
    if index is None:
        raise InputError(f"the tokenizer has no {token}")
    return index


def _spoken(tokenizer: Tokenizer, ids: list[int], eos: int) -> str:
    """Returns pieces as text: each behind a space, unless it goes on with a word or is punctuation."""
    from tokenizers import decoders

    decoder = tokenizer.decoder or decoders.WordPiece()
    pieces = [tokenizer.id_to_token(index) or f"id {index}" for index in ids if index != eos]
    # One by one, behind a word: the decoder treats the first piece of all in another way.
    return "".join(decoder.decode(["a", piece])[1:] for piece in pieces)
