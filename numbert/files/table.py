"""read_table: the keys and values in a table of LevelDB, as the index of a TensorFlow checkpoint is one.

The file is blocks, one after the other, and a footer of 48 bytes:

    data block ... data block    the keys in order, with their values
    metaindex block              further blocks; TensorFlow has none
    index block                  for each data block a key that is not below its last, and its handle
    footer                       the handles of the last two, zeros up to 40 bytes, and 8 bytes that say what it is

A handle is where a block is: offset and size, two varints (`numbert/files/protobuf.py`).

A block is entries, the offsets of some of them (restart points, at which a search may begin), and how many these
offsets are, in 4 bytes. Behind it, not counted in its size, stand a byte that says how it is compressed and a
checksum of both. Neighbouring keys begin alike, so an entry stores only what its key does not share with the key
before: how much it shares, how long the rest is, how long the value is (three varints), the rest, the value.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from numbert.errors import InputError
from numbert.files.crc32c import crc32c, masked
from numbert.files.protobuf import cut, varint

FOOTER = 48
MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
TRAILER = 5  # behind each block: compression and checksum
COMPRESSIONS = {1: "Snappy", 2: "Zstandard"}
# Keys that share much are many times as large as the file. All of a base model, with Adam's, are 50 KB.
KEYS_AT_MOST = 1 << 26


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Within it, a ValueError about the content of a file becomes an InputError that names the file."""
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path} cannot be read: {error}") from None


def read_table(path: Path) -> dict[bytes, bytes]:
    """Reads all keys and values of a table, in the order of the keys. The checksum of every block is compared.

    Raises:
        InputError: the file cannot be read, is no table, is damaged, or has a block that is compressed.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    if data[-len(MAGIC) :] != MAGIC or len(data) < FOOTER:
        raise InputError(f"{path} is no index of a TensorFlow checkpoint, or not whole: it does not end as one")
    entries: dict[bytes, bytes] = {}
    last, size = None, 0
    with naming(path):
        metaindex, at = _handle(data, len(data) - FOOTER)
        index, _ = _handle(data, at)
        _block(data, metaindex)
        for _, handle in _entries(_block(data, index)):
            for key, value in _entries(_block(data, _handle(handle, 0)[0])):
                if last is not None and key <= last:
                    raise ValueError("its keys are not in order")
                if (size := size + len(key)) > KEYS_AT_MOST:
                    raise ValueError(f"its keys are more than {KEYS_AT_MOST:,} bytes")
                entries[key] = value
                last = key
    return entries


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """Reads offset and size of a block, and returns them with the place behind them."""
    offset, at = varint(data, at)
    size, at = varint(data, at)
    return (offset, size), at


def _block(data: bytes, handle: tuple[int, int]) -> bytes:
    """The block at a handle, after its checksum has been compared."""
    offset, size = handle
    block = cut(data, offset, size + TRAILER)
    content, compression = block[:size], block[size]
    if masked(crc32c(block[: size + 1])) != int.from_bytes(block[size + 1 :], "little"):
        raise ValueError(f"the block at byte {offset:,} is damaged: its checksum is another")
    if compression:
        how = COMPRESSIONS.get(compression, f"method {compression}")
        raise ValueError(f"the block at byte {offset:,} is compressed ({how}); numbert reads blocks that are not")
    return content


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields each key and value of a block. They are read in a row, so the restart points are not needed."""
    if len(block) < 4:
        raise ValueError("a block has no restart points")
    end = len(block) - 4 * (1 + int.from_bytes(block[-4:], "little"))
    if end < 0:
        raise ValueError("a block has more restart points than bytes")
    key, at = b"", 0
    while at < end:
        shared, at = varint(block, at)
        rest, at = varint(block, at)
        length, at = varint(block, at)
        if shared > len(key) or at + rest + length > end:
            raise ValueError("an entry goes beyond its block")
        key = key[:shared] + block[at : at + rest]
        yield key, block[at + rest : at + rest + length]
        at += rest + length
