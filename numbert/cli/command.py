"""What the commands share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

from numbert.errors import InputError


class Commands:
    """The commands of a parser; `options.run(options)` runs the one that was named."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(self, name: str, run: Callable[[argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
        """A new command, to which its options are added."""
        added = self.parsers.add_parser(name, help=help, description=help)
        added.set_defaults(run=run)
        return added


def gives_json(p: argparse.ArgumentParser) -> None:
    p.add_argument("--json", action="store_true", help="print JSON")


def say(message: str) -> None:
    print(message, file=sys.stderr)


def refuse_existing(path: Path) -> None:
    if path.exists():
        raise InputError(f"{path} exists; name a file that does not")


def new_file(path: Path) -> IO[bytes]:
    """Opened for writing; nothing that was there is overwritten."""
    refuse_existing(path)
    return path.open("xb")
