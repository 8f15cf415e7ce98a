"""Message: the fields of a protocol buffer, and varints, the whole numbers that it is written in.

A varint is a whole number in as few bytes as it needs, seven bits in each, the lowest first; the eighth bit says
that another byte follows. A message is fields, in any order. A field is 8 times its number plus its kind, as a
varint, and its value: of kind 0 a varint, of kinds 1 and 5 eight and four bytes, of kind 2 a length, a varint, and
so many bytes, which are a message again where the format says so. A field that is not there is 0, or an empty
message.
"""

from __future__ import annotations

from collections.abc import Iterator

from numbert.errors import shown


def varint(data: bytes, at: int) -> tuple[int, int]:
    """Reads a varint, below 2**64, and returns it with the place behind it.

    Raises:
        ValueError: the data ends within it, or it is longer than ten bytes.
    """
    value = 0
    for place, byte in enumerate(data[at : at + 10]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value & (1 << 64) - 1, at + place + 1
    raise ValueError(f"there is no whole number at byte {at:,}")


def cut(data: bytes, at: int, size: int) -> bytes:
    """Returns `size` bytes from `at` on.

    Raises:
        ValueError: there are not so many.
    """
    if at + size > len(data):
        raise ValueError(f"{size:,} bytes from byte {at:,} on are beyond its end at {len(data):,}")
    return data[at : at + size]


class Message:
    """The fields of a protocol buffer, by number.

    Raises:
        ValueError: the bytes are no message.
    """

    def __init__(self, data: bytes) -> None:
        self.fields: dict[int, list[int | bytes]] = {}
        for number, value in self._read(data):
            self.fields.setdefault(number, []).append(value)

    @staticmethod
    def _read(data: bytes) -> Iterator[tuple[int, int | bytes]]:
        at = 0
        while at < len(data):
            tag, at = varint(data, at)
            number, kind = divmod(tag, 8)
            if kind == 0:
                value, at = varint(data, at)
                yield number, value
            elif kind in (1, 5):
                size = 8 if kind == 1 else 4
                yield number, int.from_bytes(cut(data, at, size), "little")
                at += size
            elif kind == 2:
                size, at = varint(data, at)
                yield number, cut(data, at, size)
                at += size
            else:
                raise ValueError(f"a field is of kind {kind}")

    def has(self, field: int) -> bool:
        return field in self.fields

    def number(self, field: int) -> int:
        """The value of a field that is a number of at least 0, if it is there more than once the last; else 0."""
        value = self.fields.get(field, [0])[-1]
        if not isinstance(value, int) or value >= 1 << 63:
            raise ValueError(f"field {field} is {shown(value)}; it must be a number of at least 0")
        return value

    def messages(self, field: int) -> list[Message]:
        """The values of a field that is a message, in order."""
        values = self.fields.get(field, [])
        if any(isinstance(value, int) for value in values):
            raise ValueError(f"field {field} is a number; it must be a message")
        return [Message(value) for value in values if isinstance(value, bytes)]

    def message(self, field: int) -> Message:
        """The value of a field that is a message, if it is there more than once the last; else an empty one."""
        return self.messages(field)[-1] if self.has(field) else Message(b"")
