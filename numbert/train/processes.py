"""Data-parallel training: several processes share each batch and add up their gradients, by MPI."""

from __future__ import annotations

import os
import traceback as traceback_module
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import numpy as np

from numbert.errors import InputError
from numbert.nn.array import Array
from numbert.progress import say

# Where mpirun of Open MPI, of MPICH and Intel MPI, and Slurm's srun --mpi say how many processes there are.
_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")


class Processes:
    """The processes that train together; without mpirun there is only this one.

    Within a `with`, an error in one process ends all of them, as the others would wait for it for ever.

    Attributes:
        rank: the number of this process, from 0.
        size: how many processes there are.
    """

    def __init__(self, communicator: Any = None) -> None:
        self._communicator = communicator
        self.rank: int = communicator.Get_rank() if communicator else 0
        self.size: int = communicator.Get_size() if communicator else 1

    @classmethod
    def found(cls) -> Self:
        """Finds the processes that `mpirun -n SIZE numbert ...` has started.

        Raises:
            InputError: there are several, and mpi4py is not installed or is built for another MPI.
        """
        if all(os.environ.get(name, "1") == "1" for name in _SIZES):
            return cls()
        try:
            from mpi4py import MPI
        except ImportError as error:
            raise InputError(f"mpirun needs mpi4py: pip install mpi4py ({error})") from None
        started = max(int(os.environ.get(name, "1")) for name in _SIZES)
        if (seen := MPI.COMM_WORLD.Get_size()) != started:
            raise InputError(
                f"mpirun has started {started} processes and mpi4py sees {seen}: it is built for another MPI"
            )
        return cls(MPI.COMM_WORLD)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and messages."""
        return self.rank == 0

    def add_up(self, arrays: Iterable[Array]) -> None:
        """Replaces each array by the sum over all processes, in place and with the same bits in each of them."""
        if self._communicator is not None:
            arrays = list(arrays)
            for dtype in dict.fromkeys(array.dtype for array in arrays):  # in one order everywhere
                alike = [array for array in arrays if array.dtype == dtype]
                row = np.concatenate([array.reshape(-1) for array in alike])
                total = np.empty_like(row)
                self._communicator.Allreduce(row, total)
                for array, part in zip(
                    alike, np.split(total, np.cumsum([array.size for array in alike])[:-1]), strict=True
                ):
                    array[...] = part.reshape(array.shape)

    def wait_for_first(self) -> None:
        """Waits until all processes have come to this call."""
        if self._communicator is not None:
            self._communicator.Barrier()

    def gather(self, value: Any) -> list[Any]:
        """Collects a value from each process: a list by rank in the first one, an empty list in the others."""
        if self._communicator is None:
            return [value]
        return self._communicator.gather(value) or []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None or self._communicator is None:
            return
        code = 130 if isinstance(error, KeyboardInterrupt) else 2
        if isinstance(error, InputError | OSError):
            say(f"process {self.rank} of {self.size}: {error}")
        elif code != 130:  # a mistake of ours
            say("".join(traceback_module.format_exception(error)))
            code = 1
        self._communicator.Abort(code)
