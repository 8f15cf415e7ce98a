"""The command `numbert`: a thin shell over the functions of the package.

Results go to stdout, progress and messages to stderr. What the user got wrong is one line on stderr and exit
code 2. Each command imports what it needs, so that the light ones start at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from numbert.cli import learn, look, prove, use
from numbert.cli.command import Commands, say
from numbert.errors import InputError


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and exits: 0 done, 1 a check failed, 2 the user's mistake, 130 Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        sys.exit(options.run(options))
    except (InputError, OSError) as error:
        if isinstance(error, BrokenPipeError):  # `numbert ... | head` has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        say(f"numbert {options.command}: {error}")
        sys.exit(2)
    except KeyboardInterrupt:
        say(f"numbert {options.command}: stopped")
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    from numbert import __version__

    parser = argparse.ArgumentParser(
        prog="numbert",
        description="BERT in plain NumPy: train it, use it, look into it, prove its gradients.",
    )
    parser.add_argument("--version", action="version", version=f"numbert {__version__}")
    commands = Commands(parser)
    for room in (learn, use, look, prove):
        room.add_to(commands)
    return parser
