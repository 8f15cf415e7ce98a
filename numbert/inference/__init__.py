"""Using a trained model on text: fill masks, judge a next sentence, make vectors of texts."""

from numbert.inference.embed import embed, overlong
from numbert.inference.fill_mask import FilledMask, Guess, fill_mask
from numbert.inference.next_sentence import next_sentence

__all__ = ["FilledMask", "Guess", "embed", "fill_mask", "next_sentence", "overlong"]
