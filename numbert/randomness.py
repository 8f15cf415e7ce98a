"""Random generators that depend on nothing but a seed, a purpose and a number."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What random numbers are drawn for, besides the weights and the dropout of the first process."""

    PAIRS = 1
    MASKS = 2
    HELD_OUT = 3
    HELD_OUT_MASKS = 4
    FILLS = 5
    DROPOUT = 6
    DOCUMENTS = 7


def generator(seed: int, purpose: Purpose, number: int = 0, part: int = 0) -> np.random.Generator:
    """A generator that is the same for the same arguments and independent of all others.

    With it a resumed run draws the same numbers, as it needs to know no more than its step.

    Args:
        seed: the run's.
        purpose: what is drawn.
        number, part: which of several draws for this purpose, such as the step, or epoch and part.
    """
    return np.random.default_rng([seed, purpose, number, part])
