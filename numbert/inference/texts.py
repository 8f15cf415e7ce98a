"""Checks of the texts and tokenizers that a user gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from numbert.errors import InputError, shown

if TYPE_CHECKING:
    from tokenizers import Tokenizer


Pair = tuple[str, str]


def as_texts(texts: str | Iterable[str]) -> list[str]:
    """Returns one text, or a list, tuple, array, Series or generator of texts, as a list of str.

    Raises:
        InputError: texts is none of these, or `as_text` refuses one of them.
    """
    return [as_text(f"text {index}", text) for index, text in enumerate(_listed(texts))]


def as_texts_and_pairs(texts: str | Iterable[str | Pair]) -> list[Pair | tuple[str]]:
    """Returns the same as `as_texts`, each text as a tuple of one, or of two where it is a pair of texts.

    Raises:
        InputError: texts is no text and no list or the like, or `as_text` refuses a text.
    """
    found: list[Pair | tuple[str]] = []
    for index, text in enumerate(_listed(texts)):
        if isinstance(text, tuple | list) and len(text) == 2:
            first, second = (as_text(f"text {index}[{place}]", part) for place, part in enumerate(text))
            found.append((first, second))
        else:
            found.append((as_text(f"text {index}", text),))
    return found


def _listed(texts: Any) -> Iterable[Any]:
    if isinstance(texts, str):
        return [texts]
    # What has rows and columns would give its columns' names, a dict its keys.
    if isinstance(texts, bytes | Mapping) or getattr(texts, "ndim", 1) != 1 or not hasattr(texts, "__iter__"):
        raise InputError(f"texts is {shown(texts)}, a {type(texts).__name__}; it must be a str or a list of str")
    listed: Iterable[Any] = texts
    return listed


def as_text(name: str, text: Any) -> str:
    """Returns a text as a plain str.

    Args:
        name: how the error message calls the text.

    Raises:
        InputError: the text is no str, or has a lone surrogate in it, which is half of a character.
    """
    if not isinstance(text, str):
        raise InputError(f"{name} is {shown(text)}, a {type(text).__name__}; it must be a str")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        surrogate = shown(text[error.start])
        raise InputError(f"{name}, {shown(text)}, has a lone surrogate, {surrogate}, at {error.start}") from None
    return str(text)


def as_tokenizer(tokenizer: Tokenizer) -> Tokenizer:
    """Returns the tokenizer; one that pads is copied without its padding, which would count as text.

    Raises:
        InputError: the tokenizer is no `tokenizers.Tokenizer`.
    """
    if not (hasattr(tokenizer, "encode_batch") and hasattr(tokenizer, "post_process")):
        raise InputError(
            f"tokenizer is a {type(tokenizer).__name__}; it must be a tokenizers.Tokenizer, as of load_tokenizer"
        )
    if tokenizer.padding is None:
        return tokenizer
    from tokenizers import Tokenizer

    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_padding()
    return copy
