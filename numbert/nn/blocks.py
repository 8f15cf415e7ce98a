"""Element-wise work in blocks of rows that stay in the cache, which makes a chain of NumPy steps fast.

A chain such as gelu's twenty multiplications reads and writes main memory twenty times when each step runs over
the whole array. Over blocks of half a megabyte the steps after the first find their numbers in a cache. NumPy
releases the interpreter lock inside a step, so large arrays are also shared between threads.
`numbert bench kernels` compares the result with the plain form.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from numbert.nn.array import Array
from numbert.nn.threads import in_threads
from numbert.nn.workspace import empty

# Elements in one block, 512 KB in float32. Smaller ones stay in a core's L2 cache and are faster for one thread,
# but two threads then hand over the interpreter lock more often: gelu took 5.2 and 10.5 ns an element with 65,536,
# and 5.5 and 8.1 ns with 131,072 (AVX2).
BLOCK = 131_072
# The elements that a thread takes at a time. With less, handing over costs more than is computed.
SHARE = 500_000


def in_row_blocks(kernel: Callable[..., None], *arrays: Array) -> None:
    """Calls `kernel(*blocks)` on matching blocks of rows of the arrays, instead of `kernel(*arrays)`.

    Args:
        kernel: a function that computes row by row and writes into one or more of its arguments.
        arrays: arrays with the same number of rows (first axis); the first is the largest.
    """
    rows = len(arrays[0])
    if rows == 0:
        return
    size = arrays[0].size
    step = max(1, BLOCK * rows // max(1, size))

    def work(share: range) -> None:
        for low in share:
            high = min(low + step, share.stop)
            kernel(*(array[low:high] for array in arrays))

    shares = max(1, size // SHARE)
    bounds = [rows * index // shares for index in range(shares + 1)]
    in_threads(work, [range(low, high, step) for low, high in pairwise(bounds)])


def mapped(kernel: Callable[..., None], *inputs: Array) -> Array:
    """Runs `kernel(out, *inputs)`, which works element by element, over blocks of rows, and returns `out`.

    Args:
        inputs: arrays of one shape, which is also that of the new array `out`.
    """
    out = empty(inputs[0].shape, np.result_type(*inputs))
    if out.size:
        rows = (-1, out.shape[-1]) if out.ndim else (1, 1)
        in_row_blocks(kernel, out.reshape(rows), *(x.reshape(rows) for x in inputs))
    return out
