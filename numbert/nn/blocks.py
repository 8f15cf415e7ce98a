"""Element-wise work in blocks of rows that stay in the cache, which makes a chain of NumPy steps fast.

A chain such as gelu's twenty multiplications reads and writes main memory twenty times when each step runs over
the whole array. Over blocks of a quarter of a megabyte the steps after the first find their numbers in the L2
cache. NumPy releases the interpreter lock inside a step, so large arrays are also shared between threads;
`numbert bench kernels` compares the result with the plain form.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np

from numbert.nn.array import Array

# Elements in one block, 256 KB in float32: a few such blocks fit a core's L2 cache of 512 KB to 2 MB.
BLOCK = 65_536
# Below this many elements a second thread costs more in handing over the interpreter lock than it computes.
THREADED = 1_000_000


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

    def work(start: int, stop: int) -> None:
        for low in range(start, stop, step):
            high = min(low + step, stop)
            kernel(*(array[low:high] for array in arrays))

    threads = threads_for(size)
    if threads == 1:
        work(0, rows)
        return
    bounds = [rows * index // threads for index in range(threads + 1)]
    others = [_pool().submit(work, bounds[i], bounds[i + 1]) for i in range(1, threads)]
    work(bounds[0], bounds[1])
    for other in others:
        other.result()


def mapped(kernel: Callable[..., None], *inputs: Array) -> Array:
    """Runs `kernel(out, *inputs)`, which works element by element, over blocks of rows, and returns `out`.

    Args:
        inputs: arrays of one shape, which is also that of the new array `out`.
    """
    out = np.empty(inputs[0].shape, np.result_type(*inputs))
    if out.size:
        rows = (-1, out.shape[-1]) if out.ndim else (1, 1)
        in_row_blocks(kernel, out.reshape(rows), *(x.reshape(rows) for x in inputs))
    return out


def threads_for(size: int) -> int:
    """Returns how many threads are worth their cost on this machine for a chain of steps over `size` elements."""
    return 1 if size < THREADED else min(cpu_count(), 8, max(1, size // (THREADED // 2)))


@cache
def cpu_count() -> int:
    """Returns how many cores this process may use: at most OMP_NUM_THREADS, which the BLAS obeys, too."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, int(limit)) if limit.isdigit() and int(limit) > 0 else available


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, cpu_count() - 1), thread_name_prefix="numbert")


# A forked child has the pool but not its threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)
