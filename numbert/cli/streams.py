"""The standard streams as a command may find them: missing, closed, full, or of an encoding of few characters."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys

from numbert.errors import InputError

STDIN = "standard input"
# What a text that is not UTF-8 begins with; UTF-32's marks first, as one begins with UTF-16's.
_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def make_ready() -> None:
    """Makes stdout and stderr usable: opens those that are missing, and prints "?" for what stdout cannot show."""
    # Descriptors that are missing (2>&-) first: a file that is opened would get the number, and messages with it.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # until the end
    # Another way to write such characters is the user's wish (PYTHONIOENCODING=ascii:xmlcharrefreplace).
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in ("strict", "surrogateescape"):
        sys.stdout.reconfigure(errors="replace")


def let_go() -> None:
    """Gives up what could not be written, so that Python does not try again when it ends and print a message."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # it only writes; no descriptor; closed
            try:
                stream.flush()
            except OSError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def lines_of_stdin() -> list[str]:
    """The lines of standard input, which end at LF or CRLF only. The last line may end without it.

    Raises:
        InputError: there are no lines, one is blank, or the text is not UTF-8.
    """
    if sys.stdin is None:
        raise InputError(f"there is no {STDIN}, which - reads lines from")
    data = sys.stdin.buffer.read().removeprefix(codecs.BOM_UTF8)
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            raise InputError(f"{STDIN} is {encoding}, from line 1 on; convert it to UTF-8")
    if not data:
        raise InputError(f"{STDIN} is empty; - reads lines from it, each a text")
    return [_text_of(line, number) for number, line in enumerate(data.removesuffix(b"\n").split(b"\n"), start=1)]


def _text_of(line: bytes, number: int) -> str:
    try:
        text = line.removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"line {number} of {STDIN} is not UTF-8: byte {error.start} of it is 0x{line[error.start]:02x}; if it "
            "is Latin-1, `iconv -f latin1 -t utf-8` converts it"
        ) from None
    if "\0" in text:
        raise InputError(f"line {number} of {STDIN} has a zero byte in it; if it is UTF-16, convert it to UTF-8")
    if not text.strip():
        raise InputError(f"line {number} of {STDIN} is blank; each line is a text, and one needs words")
    return text


def argument(text: str, name: str) -> str:
    """A text of the command line, whose bytes are read as UTF-8 whatever the locale says.

    Args:
        text: the argument as Python has read it.
        name: what to call it in a message.

    Raises:
        InputError: the bytes are not UTF-8.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # bytes that the locale's encoding lacks came as lone surrogates
        try:
            return os.fsencode(text).decode("utf-8")
        except UnicodeError:
            raise InputError(f"{name}, {text!a}, is not UTF-8; convert it to UTF-8") from None
    return text
