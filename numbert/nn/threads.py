"""Threads: how many, and work that is shared between them.

numbert computes with its own threads, each of which runs the BLAS (the library behind NumPy's matrix products) on
one thread. The BLAS's own threads wait for each other within each product: when another program takes a core, they
stand still for whole slices of the scheduler's time. Numbert's take one piece of the work after the other, so that
a thread that is held up leaves its pieces to the others. docs/speed.md has the measurements.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from functools import cache
from typing import Any, TypeVar

from numbert.errors import InputError, as_integer, shown

Piece = TypeVar("Piece")

_wanted: int | None = None
# Whether this thread does a share of work that is shared already.
_sharing: ContextVar[bool] = ContextVar("sharing", default=False)


def set_num_threads(n: int) -> None:
    """Sets the largest number of threads that numbert computes with, in the whole process.

    Within numbert's calls the BLAS has no more of them, either. Simultaneous callers share these threads.

    Args:
        n: at least 1; 1 computes everything in the thread of the caller.

    Raises:
        InputError: n is no integer, or is below 1.
    """
    global _wanted
    n = as_integer("n", n)
    if n < 1:
        raise InputError(f"n is {shown(n)}; there must be at least 1 thread")
    _wanted = n
    _pool.cache_clear()  # whoever uses the old one keeps it until it is done


def get_num_threads() -> int:
    """Returns the largest number of threads that numbert computes with.

    It is what `set_num_threads` was given; before that the number of cores that this process may use, or
    OMP_NUM_THREADS if that is smaller, as they are when it is first asked for.
    """
    global _wanted
    if _wanted is None:
        limit = os.environ.get("OMP_NUM_THREADS", "")
        available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        _wanted = min(available, int(limit)) if limit.isdecimal() and int(limit) > 0 else available
    return _wanted


def threads_here() -> int:
    """Returns how many threads may share a piece of work that begins now: 1 within a share of other work."""
    return 1 if _sharing.get() else get_num_threads()


def in_threads(work: Callable[[Piece], object], pieces: Iterable[Piece]) -> None:
    """Calls `work(piece)` for each piece, in this thread and others, each of which takes the next one.

    Whoever takes a piece computes the same: the BLAS runs on one thread meanwhile. The others work in a copy of
    this thread's context, so that `no_grad()` and the like hold there, too. A share of the work that shares its
    own work computes alone. If there is a failure, no further piece is begun, and it is raised here. A single
    piece is computed as if it were called directly.

    Args:
        work: a function that may run in several threads at once.
        pieces: what it is called with, the longest first.
    """
    pieces = list(pieces)
    if len(pieces) < 2 or not blas.obeys():  # then the BLAS's own threads are all there is
        for piece in pieces:
            work(piece)
        return
    left = iter(pieces)

    def share() -> None:
        token = _sharing.set(True)
        try:
            for piece in left:
                work(piece)
        except BaseException:
            for _ in left:
                pass  # nobody begins another piece
            raise
        finally:
            _sharing.reset(token)

    def share_of(future: Future[None]) -> None:
        if future.set_running_or_notify_cancel():
            try:
                share()
            except BaseException as failure:
                future.set_exception(failure)
            else:
                future.set_result(None)

    futures: list[Future[None]] = []
    with blas.limited_to(1):
        try:
            pool = _pool()
            for _ in range(min(threads_here(), len(pieces)) - 1):
                # Not the pool's own future: where no new thread can be started, as at the interpreter's end,
                # submit fails, and yet a thread that is there already may take the share later.
                futures.append(Future())
                with contextlib.suppress(RuntimeError):
                    pool.submit(copy_context().run, share_of, futures[-1])
            share()
        finally:
            # One that has not begun is not waited for: the pool's threads may be busy with another caller's work.
            begun = [future for future in futures if not future.cancel()]
            failures = [failure for future in begun if (failure := future.exception()) is not None]
    for failure in failures:
        raise failure


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, get_num_threads() - 1), thread_name_prefix="numbert")


class Blas:
    """The number of threads of the BLAS, which it has for the whole process.

    Of the limits that calls ask for at the same time, the smallest holds. The first call to come keeps the number
    that was there before, and the last one to go sets it again.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()  # a signal's handler may come in between
        self.limits: dict[object, tuple[int, int]] = {}  # of the running calls: the thread, and what it asked for
        self.before: list[int] = []
        self.set_to: int | None = None

    @cache  # noqa: B019 (there is one of it)
    def libraries(self) -> list[Any]:
        """The BLAS libraries of this process whose threads can be set: OpenBLAS, MKL, BLIS, FlexiBLAS."""
        from threadpoolctl import ThreadpoolController

        return [
            library
            for library in ThreadpoolController().select(user_api="blas").lib_controllers
            if isinstance(library.num_threads, int)
        ]

    def obeys(self) -> bool:
        """Returns whether its threads can be limited. Those of Apple's Accelerate cannot."""
        return bool(self.libraries())

    @contextlib.contextmanager
    def limited_to(self, n: int) -> Iterator[None]:
        """Within it the BLAS has at most n threads."""
        call = object()
        try:
            with self.lock:
                if not self.limits:
                    self.before = [library.num_threads for library in self.libraries()]
                self.limits[call] = (threading.get_ident(), n)
                self._set()
            yield
        finally:
            with self.lock:
                if self.limits.pop(call, None) is not None:
                    self._set()

    def _set(self) -> None:
        limit = min((n for _, n in self.limits.values()), default=None)
        if limit is not None and limit >= max(self.before, default=1):
            limit = None  # it has no more than that
        if limit == self.set_to:
            return
        self.set_to = limit  # first, so that what an interrupt leaves half done is put back, too
        for library, before in zip(self.libraries(), self.before, strict=True):
            library.set_num_threads(before if limit is None else min(before, limit))

    def after_fork_in_child(self) -> None:
        """Of the running calls only those of the thread that forked go on in the child."""
        here = threading.get_ident()
        self.limits = {call: limit for call, limit in self.limits.items() if limit[0] == here}
        self.lock.release()
        if self.set_to is not None:
            with self.lock:
                self._set()


blas = Blas()

# A forked child has the pool but not its threads. The lock is held over the fork, so that it is nobody else's.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=blas.lock.acquire, after_in_parent=blas.lock.release, after_in_child=blas.after_fork_in_child
    )
    os.register_at_fork(after_in_child=_pool.cache_clear)
