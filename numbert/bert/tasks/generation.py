"""GenerationMixin: writes on after a prompt, token by token."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from numbert.bert.heads import BertOnlyMLMHead
from numbert.bert.inputs import as_array, checked_inputs, checked_mask
from numbert.bert.model import BertModel
from numbert.bert.pretrained import generator_of
from numbert.bert.tasks.decoding import NextLogits, beam_search, checked_sampling, draw, sampling_probs, write_on
from numbert.config import BertConfig
from numbert.errors import InputError, as_bool, as_integer, as_real, shown
from numbert.nn.array import Array
from numbert.nn.layers import check_ids
from numbert.nn.module import Module
from numbert.nn.switches import no_grad


class GenerationMixin:
    """What `BertLMHeadModel` has besides its layers: `generate`."""

    config: BertConfig
    bert: BertModel
    cls: BertOnlyMLMHead

    def generate(
        self,
        input_ids: ArrayLike,
        attention_mask: ArrayLike | None = None,
        *,
        encoder_hidden_states: ArrayLike | None = None,
        encoder_attention_mask: ArrayLike | None = None,
        max_new_tokens: int = 20,
        do_sample: bool = False,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        num_beams: int = 1,
        length_penalty: float = 1.0,
        eos_token_id: int | None = None,
        pad_token_id: int | None = None,
        use_cache: bool = True,
        seed: int | np.random.Generator = 0,
        on_tokens: Callable[[Array], None] | None = None,
    ) -> Array:
        """Writes on after each prompt of a batch. Integers [b,l] -> [b,l + new], the prompts with what follows.

        By default it takes the most probable token each time (greedy). It ends when every text has its end token,
        or after max_new_tokens. It runs in eval() and under `no_grad()`; the model is left as it was.

        Shorter prompts are padded on the left, and each text gets the tokens that it gets alone, as its positions
        count from its first token. (Sampled tokens differ, as all texts draw from one generator.)

        Args:
            input_ids: integers [b,l], the prompts.
            attention_mask: [b,l], 0 for the padding before a prompt and 1 from its first token on; default 1
                everywhere, whatever input_ids has.
            encoder_hidden_states: [b,r,e], what a decoder with cross-attention looks at.
            encoder_attention_mask: [b,r], which of them may be looked at; default all.
            max_new_tokens: how many tokens are written at most; 0 gives the prompts back.
            do_sample: True draws each token by `sampling_probs`, which explains temperature, top_k and top_p.
            temperature, top_k, top_p: for sampling only; by default the model's own probabilities are sampled.
            num_beams: how many beginnings of each text beam search keeps; 1 is no beam search. The text with the
                best score is returned.
            length_penalty: the score of a text in beam search is the logarithm of its probability, divided by the
                number of its new tokens to the power of this; above 0 it favours long texts, below 0 short ones.
                With one beam there is nothing to compare.
            eos_token_id: the token that ends a text; default the one in the configuration's `extra`, or none.
            pad_token_id: what follows the end of a text that is shorter than others; default the
                configuration's, or else the end token.
            use_cache: False computes everything anew for each token: the same tokens, more slowly.
            seed: an integer, or the generator from which tokens are drawn; the model's own is not used.
            on_tokens: a function that is called with the new tokens [b] as soon as they are known, which needs
                num_beams=1.

        Raises:
            InputError: the model is no decoder; an argument is outside its limits, or does not go with another;
                prompt and new tokens together are more than the model has positions; a mask has padding behind a
                token; or the model's scores are no finite numbers.
        """
        config = self.config
        if not config.is_decoder:
            raise InputError("only a decoder writes on after a text: make the model with is_decoder=True")
        ids = checked_prompts(input_ids, config.vocab_size)
        mask = checked_left_padding(attention_mask, ids.shape)
        new = as_integer("max_new_tokens", max_new_tokens)
        refuse_too_long(ids.shape[1], new, config)
        temperature, top_k, top_p = checked_sampling(temperature, top_k, top_p)
        do_sample, beams = as_bool("do_sample", do_sample), as_integer("num_beams", num_beams)
        if not 1 <= beams <= config.vocab_size:
            raise InputError(f"num_beams is {shown(num_beams)}; it can be 1 to {config.vocab_size}")
        length_penalty = as_real("length_penalty", length_penalty)
        if not math.isfinite(length_penalty):
            raise InputError(f"length_penalty is {length_penalty}; it must be a finite number")
        if do_sample and beams > 1:
            raise InputError("do_sample=True does not go with num_beams above 1: beam search draws nothing")
        for name, value, unset in (
            ("temperature", temperature, 1),
            ("top_k", top_k, None),
            ("top_p", top_p, None),
        ):
            if value != unset and not do_sample:
                raise InputError(f"{name}={value} is for sampling: give do_sample=True, too")
        if on_tokens is not None and beams > 1:
            raise InputError("on_tokens needs num_beams=1: beam search knows its tokens only at the end")
        eos = config.extra.get("eos_token_id") if eos_token_id is None else eos_token_id
        if eos is not None:
            eos = checked_id("eos_token_id", eos, config.vocab_size)
        pads = (pad_token_id, config.pad_token_id, eos, 0)  # without eos nothing is padded
        pad = checked_id("pad_token_id", next(pad for pad in pads if pad is not None), config.vocab_size)
        rng = generator_of(seed)
        cross = checked_cross(encoder_hidden_states, encoder_attention_mask)

        def greedy(logits: Array) -> Array:
            return logits.argmax(axis=-1)

        def sampled(logits: Array) -> Array:
            return draw(sampling_probs(logits, temperature, top_k, top_p), rng)

        if not new:
            return ids
        with no_grad(), without_dropout(self.bert, self.cls):
            logits_of = NextLogits(self.bert, self.cls, mask, as_bool("use_cache", use_cache), cross)
            if beams > 1:
                return beam_search(logits_of, ids, new, beams, length_penalty, eos, pad)
            return write_on(logits_of, ids, new, sampled if do_sample else greedy, eos, pad, on_tokens)


@contextlib.contextmanager
def without_dropout(*parts: Module) -> Iterator[None]:
    """Within it the parts are in eval(). One that already is, is not written to, so it can serve many threads."""
    training = [module for part in parts for module in part.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def checked_prompts(input_ids: ArrayLike, vocab_size: int) -> Array:
    """Returns prompts as integers [b,l].

    Raises:
        InputError: they have another shape, hold no token, or an id that is none of the vocabulary's.
    """
    if input_ids is None:
        raise InputError("generate needs input_ids, the prompts to go on from")
    ids, _, _ = checked_inputs(input_ids, None, 0, np.dtype(np.float32))
    assert ids is not None
    check_ids(ids, vocab_size, "input_ids")
    return ids.astype(np.int64)


def checked_left_padding(attention_mask: ArrayLike | None, shape: tuple[int, ...]) -> Array:
    """Returns the mask of prompts as integers [b,l]: in each row zeros, if any, and then ones.

    Raises:
        InputError: the mask has another shape, another value, a row of zeros alone, or a zero behind a one.
    """
    if attention_mask is None:
        return np.ones(shape, np.int64)
    mask = checked_mask("attention_mask", attention_mask)
    if mask.shape != shape:
        raise InputError(f"attention_mask has shape {mask.shape}; for these prompts it must be {shape}")
    mask = mask.astype(np.int64)
    if not mask.any(axis=1).all():
        row = int(mask.any(axis=1).argmin())
        raise InputError(f"attention_mask has no 1 in row {row}; a text needs a token to go on from")
    falls = (np.diff(mask, axis=1) < 0).any(axis=1)
    if falls.any():
        row = int(falls.argmax())
        raise InputError(
            f"attention_mask has a 0 behind a 1 in row {row}; pad on the left, so that new tokens follow the text"
        )
    return mask


def refuse_too_long(length: int, new: int, config: BertConfig, what: str = "a prompt") -> None:
    """Raises InputError if new is below 0, or prompt and new tokens are more than the model has positions."""
    limit = config.max_position_embeddings
    if new < 0:
        raise InputError(f"max_new_tokens is {shown(new)}; it must be at least 0")
    if length + new > limit:
        raise InputError(
            f"{what} of {length} tokens and max_new_tokens={shown(new)}: the model has only {limit} positions"
        )


def checked_id(name: str, value: Any, vocab_size: int) -> int:
    """Returns the id of a token.

    Raises:
        InputError: it is no integer, or not in the vocabulary.
    """
    index = as_integer(name, value)
    if not 0 <= index < vocab_size:
        raise InputError(f"{name} is {shown(index)}; it can be 0 to {vocab_size - 1}")
    return index


def checked_cross(
    encoder_hidden_states: ArrayLike | None, encoder_attention_mask: ArrayLike | None
) -> dict[str, Array]:
    """Returns those that were given, as arrays; the model checks what is in them.

    Raises:
        InputError: the mask is not [b,r]: one [b,l,r] says nothing of the tokens that are yet to come.
    """
    cross = {}
    if encoder_hidden_states is not None:
        cross["encoder_hidden_states"] = as_array("encoder_hidden_states", encoder_hidden_states)
    if encoder_attention_mask is not None:
        mask = cross["encoder_attention_mask"] = as_array("encoder_attention_mask", encoder_attention_mask)
        if mask.ndim != 2:
            raise InputError(f"encoder_attention_mask has shape {mask.shape}; to generate it must be [b,r]")
    return cross
