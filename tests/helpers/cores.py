"""The number of threads for the time of a test."""

from contextlib import contextmanager

from numbert import get_num_threads, set_num_threads


@contextmanager
def num_threads(n):
    """Within it numbert computes with n threads, however many cores there are."""
    before = get_num_threads()
    set_num_threads(n)
    try:
        yield
    finally:
        set_num_threads(before)
