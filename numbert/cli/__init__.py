"""The command `numbert`: a thin shell over the functions of the package.

Results go to stdout, progress and messages to stderr. What the user got wrong is one line on stderr and exit
code 2. Each command imports what it needs, so that the light ones start at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from numbert.cli import learn, look, prove, streams, use
from numbert.cli.command import Commands, Parser
from numbert.errors import InputError
from numbert.progress import say

OLD_NAMES = {"documentation": "corpus"}  # of commands; --help does not list them


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and exits: with 0 when done, 1 if a check failed, 2 for a user's mistake, 130 for Ctrl-C.

    Args:
        arguments: what to run, as on the command line after `numbert`; by default sys.argv's.
    """
    streams.make_ready()
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and (new_name := OLD_NAMES.get(given[0])):
        say(f"numbert {given[0]} is called `numbert {new_name}` now")
        given[0] = new_name
    name = "numbert"
    code: Any = 0
    try:
        try:
            options = _parser().parse_args(given)
            name = f"numbert {options.command}"
            code = options.run(options)
        except SystemExit as exit:  # --help, --version, or options that the parser refuses
            code = exit.code
        sys.stdout.flush()
    except BrokenPipeError:  # `numbert ... | head` has seen enough
        pass
    except (InputError, OSError) as error:
        say(f"{name}: {error}".replace("\n", " "))
        code = 2
    except MemoryError as error:
        say(f"{name}: there is not enough memory. {error}".rstrip())
        code = 2
    except KeyboardInterrupt:
        say(f"{name}: stopped")
        code = 130
    streams.let_go()
    sys.exit(code)


def _parser() -> Parser:
    from numbert import __version__

    parser = Parser(
        prog="numbert",
        description="BERT in plain NumPy: train it, use it, look into it, prove its gradients.",
    )
    parser.add_argument("--version", action="version", version=f"numbert {__version__}")
    commands = Commands(parser)
    for room in (learn, use, look, prove):
        room.add_to(commands)
    return parser
