"""Using a trained model on text: fill masks, judge a next sentence, make vectors of texts, write on after them."""

from numbert.inference.embed import embed, overlong
from numbert.inference.fill_mask import FilledMask, Guess, fill_mask
from numbert.inference.generate import Continuation, generate_text
from numbert.inference.next_sentence import next_sentence

__all__ = [
    "Continuation",
    "FilledMask",
    "Guess",
    "embed",
    "fill_mask",
    "generate_text",
    "next_sentence",
    "overlong",
]
