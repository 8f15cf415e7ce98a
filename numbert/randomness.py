"""Random numbers by what they are for: a generator that depends on a seed and a purpose alone."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What random numbers are for, besides the weights and the dropout of the first process."""

    PAIRS = 1
    MASKS = 2
    HELD_OUT = 3
    HELD_OUT_MASKS = 4
    FILLS = 5
    DROPOUT = 6
    DOCUMENTS = 7


def generator(seed: int, purpose: Purpose, number: int = 0, part: int = 0) -> np.random.Generator:
    """A generator that is the same for the same arguments and independent of all others.

    So a run that is resumed needs to know no more than its step.
    """
    return np.random.default_rng([seed, purpose, number, part])
