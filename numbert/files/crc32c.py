"""crc32c, the checksum that a TensorFlow checkpoint has of each block and each tensor, in a plain and a fast form.

A register of 32 bits begins with ones. Each byte is added to its lowest eight bits (addition of bits is XOR); then
the register moves right by eight places, and what falls out on the right comes back as one of 256 constants. The
checksum is the last register, inverted.

All of it is additions of bits, so it is linear: the register after two messages that are added is the sum of their
registers, and that is what the fast form lives on. A message of rows, each of k words of 32 bits, has the register
of one row alone: its first row, moved on as k words of zeros would move it, plus the second, moved on, plus the
third, and so on. So NumPy moves k words at a time. The row that is left is folded in half, and in half again, in
the same way, until one word is left.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from numbert.nn.array import Array

ONES = 0xFFFFFFFF
POLYNOMIAL = 0x82F63B78  # Castagnoli's, its highest power in the lowest bit
MASK = 0xA282EAD8
ROW = 1 << 14  # words; some rows of this size stay in a core's own cache


def crc32c_plain(data: Any, register: int = ONES) -> int:
    """Returns the checksum, byte for byte.

    Args:
        data: bytes, or what has a buffer of bytes.
        register: where to begin; the inverse of the checksum of what comes before.
    """
    table = _table()
    for byte in memoryview(data).cast("B"):
        register = register >> 8 ^ table[(register ^ byte) & 0xFF]
    return register ^ ONES


def crc32c(data: Any) -> int:
    """Returns what `crc32c_plain` returns, about a hundred times as fast. The head of this file says how.

    Args:
        data: bytes, or what has a buffer of bytes.
    """
    data = memoryview(data).cast("B")
    odd = len(data) % 4
    register = crc32c_plain(data[:odd]) ^ ONES
    words: Array = np.frombuffer(data[odd:], "<u4")  # [words]
    if not len(words):
        return register ^ ONES
    first = (len(words) - 1) % ROW + 1  # the first row may be shorter: zeros before it move nothing
    row: Array = np.zeros(ROW, np.uint32)
    row[-first:] = words[:first]
    row[-first] ^= register
    for following in words[first:].reshape(-1, ROW):
        row = _moved_on(row, ROW) ^ following
    while len(row) > 1:
        half = len(row) // 2
        row = _moved_on(row[:half], half) ^ row[half:]
    return int(_moved_on(row, 1)[0]) ^ ONES


def masked(checksum: int) -> int:
    """Returns a checksum as it is stored: turned by 15 bits, plus a constant.

    Data that has its own checksum in it would otherwise have a checksum that says little of it.
    """
    return ((checksum >> 15 | checksum << 17) + MASK) & ONES


@functools.cache
def _table() -> list[int]:
    """The constant for each byte that falls out of the register: the register that the byte alone leaves."""
    table = []
    for register in range(256):
        for _ in range(8):
            register = register >> 1 ^ (POLYNOMIAL if register & 1 else 0)
        table.append(register)
    return table


def _moved_on(registers: Array, words: int) -> Array:
    """Each register after that many words of zeros, a power of two; uint32 [k] -> uint32 [k]."""
    low, high = _tables(words)
    return low[registers & 0xFFFF] ^ high[registers >> 16]


@functools.cache
def _tables(words: int) -> tuple[Array, Array]:
    """What becomes of each value of a register's lower half, and of its upper half; uint32 [65536] each."""
    if words == 1:
        bits = [crc32c_plain(bytes(4), 1 << bit) ^ ONES for bit in range(32)]
        moved = np.array(bits, np.uint32)  # [32]: what becomes of each bit
    else:
        moved = _moved_on(_moved_on(np.uint32(1) << np.arange(32, dtype=np.uint32), words // 2), words // 2)
    tables = []
    for half in (moved[:16], moved[16:]):
        table = np.zeros(1, np.uint32)
        for bit in half:  # all values up to this bit: those without it, and those with it
            table = np.concatenate((table, table ^ bit))
        tables.append(table)
    return tables[0], tables[1]
