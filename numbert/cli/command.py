"""The parser, and the checks of paths, that the commands share."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NoReturn

from numbert.errors import InputError
from numbert.files.shipped import DEFAULT, shipped_model, shipped_models
from numbert.progress import say


class Parser(argparse.ArgumentParser):
    """A parser that says in one line what is wrong with the options."""

    def error(self, message: str) -> NoReturn:
        say(f"{self.prog}: {message}; see {self.prog} --help".replace("\n", " "))
        self.exit(2)

    def _print_message(self, message: str, file: Any = None) -> None:
        (sys.stderr if file is None else file).write(message)  # argparse's own loses what cannot be written


class Commands:
    """The commands of a parser. After parsing, `options.run(options)` runs the one that was named."""

    def __init__(self, parser: Parser) -> None:
        self.parsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(self, name: str, run: Callable[[argparse.Namespace], int], help: str) -> Parser:
        """Adds a command.

        Args:
            name: what is typed.
            run: what it does; it returns the exit code.
            help: a line for --help.

        Returns:
            its parser, to which its options are added.
        """
        added = self.parsers.add_parser(name, help=help, description=help)
        added.set_defaults(run=run)
        return added


def gives_json(p: argparse.ArgumentParser) -> None:
    """Adds the option --json."""
    p.add_argument("--json", action="store_true", help="print JSON")


def no_file(path: Path) -> Path:
    """Returns a path where a folder is meant.

    Raises:
        InputError: it is a file.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; give the folder that it is in, {path.absolute().parent}")
    return path


def takes_model(p: argparse.ArgumentParser) -> None:
    """Adds the option --model, for `model_folder`."""
    p.add_argument("--model", metavar="DIR", help=f"a model folder, or one of `numbert models` ({DEFAULT})")


def model_folder(given: str | None) -> Path:
    """Returns the folder of the model that the user gave.

    Args:
        given: a folder's path, or the name of a model that comes with numbert. Where both are there, it is the
            folder, and a line on stderr says so; None is the default model.

    Raises:
        InputError: there is neither.
    """
    if given is None:
        return shipped_model()
    path, shipped = Path(given), shipped_models()
    if given in shipped and not path.is_dir():
        return shipped[given]
    if given in shipped:
        say(f"{given} is the folder here, not the model that comes with numbert, {shipped[given]}")
    if not no_file(path).exists():
        raise InputError(
            f"{path} does not exist; a model is a folder, which `numbert download NAME` makes, or one that comes "
            f"with numbert: {', '.join(shipped) or 'none is installed here'}"
        )
    return path


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """Opens a new file for writing, within a `with`. If the body fails, the file is removed.

    Raises:
        InputError: the path exists, or cannot be made.
    """
    if path.exists():
        raise InputError(f"{path} exists; name a file that does not")
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be made: {path.parent} is no folder")
    with path.open("xb") as file:
        try:
            yield file
            file.flush()
        except BaseException:
            file.close()  # first, as Windows removes no open file
            path.unlink()
            raise
