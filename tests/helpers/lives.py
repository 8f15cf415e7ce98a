"""Processes that train and may be killed. Each begins with numbert imported, which else takes most of its time."""

import multiprocessing
import os
import pydoc
import signal
import time

from numbert.pretrain.entry import pretrain

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["numbert.pretrain.entry"])


def life(text, folder, options, seconds=None, moment=None):
    """A process that trains, killed after some seconds or at a moment -> its time of life, its exit code."""
    process = _PROCESSES.Process(target=_train, args=(text, folder, options, moment), daemon=True)
    begun = time.monotonic()
    process.start()
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join()
    return time.monotonic() - begun, process.exitcode


def _train(text, folder, options, moment):
    if moment is not None:
        _kill_at(*moment)
    pretrain([text], folder, **options)


def _kill_at(function, call, when):
    """Has this process killed "before" or "after" the nth call of a function, which is given by its name."""
    owner, name = pydoc.locate(function.rpartition(".")[0]), function.rpartition(".")[2]
    true, calls = getattr(owner, name), []

    def killed(*arguments, **options):
        calls.append(1)
        last = len(calls) == call
        if last and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = true(*arguments, **options)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, killed)
