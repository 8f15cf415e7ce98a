"""Bundle: the tensors of a TensorFlow checkpoint, PREFIX.index and PREFIX.data-00000-of-00001, without TensorFlow.

The data files, or shards, hold the numbers of all tensors one after the other, little-endian and in rows, and
nothing else. The index is a table (`numbert/files/table.py`). Its first key is empty and has a header; each other
key is the name of a tensor, whose value says where it lies. Header and values are protocol buffers
(`numbert/files/protobuf.py`), with these fields:

    header             1 number of shards    2 whether big-endian    3 version
    value of a tensor  1 type    2 shape    3 shard    4 offset    5 size in bytes    6 masked crc32c    7 slices

A tensor that was partitioned among machines lies in several places. Its value then has only type, shape and
slices: the start and length of each part along each axis. The parts have keys of their own, made of the tensor's
name and the slice, and values like those of whole tensors.
"""

from __future__ import annotations

import math
import mmap
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from numbert.errors import InputError, shown
from numbert.files.crc32c import crc32c, masked
from numbert.files.protobuf import Message
from numbert.files.table import naming, read_table
from numbert.nn.array import Array

# TensorFlow's numbers for types.
TYPES = {1: "float32", 2: "float64", 3: "int32", 7: "string", 9: "int64", 14: "bfloat16", 19: "float16"}
# How those that can be read lie in a file. NumPy has no bfloat16; it is the upper half of a float32.
STORED: dict[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<u2"),
    "int32": np.dtype("<i4"),
    "int64": np.dtype("<i8"),
}
VERSION = 1  # of bundles, as numbert reads them
MOST_AXES = 8


@dataclass(frozen=True)
class Part:
    """A tensor, or a part of one, as it lies in one file.

    Attributes:
        place: where in the tensor it belongs, a slice for each axis.
        checksum: the crc32c of its bytes, masked.
    """

    file: Path
    offset: int
    size: int
    checksum: int
    shape: tuple[int, ...]
    place: tuple[slice, ...]


@dataclass(frozen=True)
class BundleTensor:
    """A tensor in a checkpoint: its type, such as "float32", its shape, and the parts that it lies in."""

    dtype: str
    shape: tuple[int, ...]
    parts: tuple[Part, ...]


class Bundle:
    """A TensorFlow checkpoint. Opening it reads the index; the numbers of a tensor are read when it is.

    Attributes:
        index: the path of the index.
        tensors: the tensors, by name.

    Args:
        prefix: the path without .index, such as uncased_L-12_H-768_A-12/bert_model.ckpt.

    Raises:
        InputError: the index cannot be read, is no index or is damaged, a data file is missing, or one is shorter
            than the index says.
    """

    def __init__(self, prefix: str | Path) -> None:
        self.index = Path(f"{prefix}.index")
        entries = read_table(self.index)
        self._maps: dict[Path, mmap.mmap] = {}
        with naming(self.index):
            if b"" not in entries:
                raise ValueError("it has no header")
            header = Message(entries.pop(b""))
            if header.number(2):
                raise ValueError("its numbers are big-endian; numbert reads little-endian ones")
            if (version := header.message(3).number(2)) > VERSION:
                raise ValueError(f"it has version {version} of the format; numbert reads version {VERSION}")
            self._shards = header.number(1)
            self._prefix = prefix
            self.tensors = {
                _text(key): self._tensor(key, Message(value), entries)
                for key, value in entries.items()
                if not key.startswith(b"\0")  # those are parts
            }
        self._check_files()

    def read(self, name: str) -> Array:
        """Returns a tensor, after its checksum has been compared; bfloat16 as float32.

        A tensor that lies in one place is a view of the mapped file: writing into it changes no file.

        Raises:
            InputError: its type is not one of `STORED`, or its bytes do not have the checksum in the index.
        """
        tensor = self.tensors[name]
        if tensor.dtype not in STORED:
            raise InputError(
                f"{shown(name, 100)} in {self.index} is {tensor.dtype}; a tensor can be {', '.join(STORED)}"
            )
        stored = STORED[tensor.dtype]
        if len(tensor.parts) == 1:
            array = self._read(name, tensor.parts[0], stored)
        else:
            array, there = np.empty(tensor.shape, stored), np.zeros(tensor.shape, np.bool_)
            for part in tensor.parts:
                if there[part.place].any():
                    raise InputError(f"{self.index} cannot be read: two parts of {shown(name, 100)} overlap")
                array[part.place], there[part.place] = self._read(name, part, stored), True
        if tensor.dtype == "bfloat16":
            bits = array.astype(np.uint32)
            bits <<= 16
            return bits.view(np.float32)
        # matmul copies an array that starts between two numbers' places at every call; once here is enough.
        return np.require(array, requirements=["ALIGNED"])

    def _read(self, name: str, part: Part, stored: np.dtype[Any]) -> Array:
        """The numbers of one part, in its shape."""
        if not part.size:
            return np.empty(part.shape, stored)
        if part.file not in self._maps:
            with part.file.open("rb") as file:
                self._maps[part.file] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        data = memoryview(self._maps[part.file])[part.offset : part.offset + part.size]
        if masked(crc32c(data)) != part.checksum:
            raise InputError(f"{part.file} is damaged: {shown(name, 100)} does not have the checksum in the index")
        return np.frombuffer(data, stored).reshape(part.shape)

    # --- the index --------------------------------------------------------------------------------------------

    def _tensor(self, key: bytes, value: Message, entries: dict[bytes, bytes]) -> BundleTensor:
        """A tensor as the index describes it. What does not fit together is a ValueError."""
        name = shown(_text(key), 100)
        dtype = TYPES.get(value.number(1), f"type {value.number(1)}")
        shape = _shape(value)
        if not (slices := value.messages(7)):
            return BundleTensor(dtype, shape, (self._part(name, dtype, value, tuple(slice(0, n) for n in shape)),))
        parts = []
        for one in slices:
            place = _place(name, one, shape)
            if (found := entries.get(_part_key(key, one))) is None:
                raise ValueError(f"{name} is partitioned, and a part of it is not there")
            part = Message(found)
            if part.number(1) != value.number(1) or _shape(part) != tuple(s.stop - s.start for s in place):
                raise ValueError(f"a part of {name} has another type or shape than the whole says")
            parts.append(self._part(name, dtype, part, place))
        if sum(math.prod(part.shape) for part in parts) != math.prod(shape):
            raise ValueError(f"the parts of {name} are not the whole")
        return BundleTensor(dtype, shape, tuple(parts))

    def _part(self, name: str, dtype: str, value: Message, place: tuple[slice, ...]) -> Part:
        shard, shape = value.number(3), _shape(value)
        if shard >= self._shards:
            raise ValueError(f"{name} is in shard {shard:,}, counted from 0, of {self._shards:,}")
        size = value.number(5)
        if dtype in STORED and size != math.prod(shape) * STORED[dtype].itemsize:
            raise ValueError(f"{name} of shape {list(shape)} in {dtype} has {size:,} bytes")
        file = Path(f"{self._prefix}.data-{shard:05d}-of-{self._shards:05d}")
        return Part(file, value.number(4), size, value.number(6), shape, place)

    def _check_files(self) -> None:
        """Raises InputError if a data file is not there, or is too short for the tensors in it."""
        needed: dict[Path, int] = {}
        sums: Counter[Path] = Counter()
        for tensor in self.tensors.values():
            for part in tensor.parts:
                sums[part.file] += part.size  # tensors do not overlap, so this is needed, too
                needed[part.file] = max(part.offset + part.size, sums[part.file], needed.get(part.file, 0))
        for file, size in needed.items():
            try:
                there = file.stat().st_size
            except OSError as error:
                raise InputError(f"{file}, which {self.index} names, cannot be read: {error.strerror}") from None
            if there < size:
                raise InputError(
                    f"{file} is not whole: it has {there:,} bytes, {self.index.name} promises {size:,}"
                )


def _shape(value: Message) -> tuple[int, ...]:
    """Field 2 of a value: in its field 2 an axis each, whose field 1 is the size."""
    shape = tuple(axis.number(1) for axis in value.message(2).messages(2))
    if len(shape) > MOST_AXES or math.prod(size or 1 for size in shape) >= 1 << 48:
        raise ValueError(f"there is a shape {shown(list(shape))}")
    return shape


def _place(name: str, one: Message, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """A slice for each axis: start and length, of which none is there where the part has the whole axis."""
    extents = one.messages(1)
    place = tuple(
        slice(extent.number(1), extent.number(1) + extent.number(2)) if extent.has(2) else slice(0, size)
        for extent, size in zip(extents, shape, strict=False)
    )
    if len(extents) != len(shape) or any(s.stop > size for s, size in zip(place, shape, strict=True)):
        raise ValueError(f"a part of {name} is beyond its shape, {list(shape)}")
    return place


def _part_key(name: bytes, one: Message) -> bytes:
    """The key of a part: a zero, the name, the number of axes, and the start and length along each axis.

    All are written so that keys sort as the numbers do; the length of a whole axis is -1.
    """
    extents = one.messages(1)
    escaped = re.sub(rb"[\0\xff]", lambda byte: byte[0] + bytes([255 - byte[0][0]]), name)
    key = _ordered(0) + escaped + b"\0\1" + _ordered(len(extents))
    for extent in extents:
        key += _ordered_signed(extent.number(1)) + _ordered_signed(extent.number(2) if extent.has(2) else -1)
    return key


def _ordered(number: int) -> bytes:
    """How many bytes the number has, and these, the highest first; 0 has none."""
    size = (number.bit_length() + 7) // 8
    return bytes([size]) + number.to_bytes(size, "big")


def _ordered_signed(number: int) -> bytes:
    """In 7 bits a byte; as many of the first bits are inverted as there are bytes, so that longer is larger."""
    size = (number if number >= 0 else ~number).bit_length() // 7 + 1
    inverted = ((1 << size) - 1) << 7 * size
    return ((number % (1 << 8 * size)) ^ inverted).to_bytes(size, "big")


def _text(key: bytes) -> str:
    """A name as it can stand in a line, whatever its bytes are."""
    text = key.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
