"""Other processes: fresh ones whose memory is measured, and one that keeps a core busy."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numbert.errors import InputError

# Ends also when the process that started it is killed.
BUSY = """
import os, sys
while os.getppid() == int(sys.argv[1]):
    for _ in range(1_000_000):
        pass
"""


@contextlib.contextmanager
def busy_core() -> Iterator[None]:
    """A context manager within which another process computes all the time, on whatever core it is put."""
    other = subprocess.Popen([sys.executable, "-c", BUSY, str(os.getpid())], stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        other.kill()
        other.wait()


def in_a_fresh_process(function: str, question: Any, task: str) -> Any:
    """Lets a new process answer a question.

    Args:
        function: where the answer comes from, "module:name" of a function; both are what JSON holds.
        task: what the process is to do, for the message of an error.

    Raises:
        InputError: that process failed, for example for lack of memory; the message ends with the last line of its
            stderr.
    """
    module, name = function.split(":")
    program = f"import json, sys; from {module} import {name}; print(json.dumps({name}(json.load(sys.stdin))))"
    done = subprocess.run(
        [sys.executable, "-c", program], input=json.dumps(question), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise InputError(f"the process that was to {task} failed: {last_words(done)}")
    return json.loads(done.stdout.splitlines()[-1])  # a library may have printed before


def last_words(done: subprocess.CompletedProcess[str]) -> str:
    """Returns the last line of a failed process's stderr, or its exit code."""
    return (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]


def peak_memory() -> int:
    """Returns the most resident memory that this process has had, in bytes.

    Raises:
        InputError: the system cannot tell.
    """
    status = Path("/proc/self/status")
    if status.exists():
        # Linux's ru_maxrss begins at what the parent had when it started this process; VmHWM does not.
        kilobytes = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:")).split()[1]
        return int(kilobytes) * 1024
    try:
        import resource
    except ImportError:
        raise InputError("memory cannot be measured on this system, which has no getrusage") from None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
