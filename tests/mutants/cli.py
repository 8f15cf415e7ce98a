"""Bugs planted in cli and in progress.py."""

from mutants.machinery import Mutant

STREAMS = "cli/test_streams.py"
CLI = "cli/test_cli.py"
PROGRESS = "test_progress.py"
NAMES = "cli/test_model_names.py"

MUTANTS = [
    Mutant(
        "lines-end-where-str-splitlines-says",
        "cli/streams.py",
        r'data.removesuffix(b"\n").split(b"\n")',
        '[line.encode() for line in data.decode("utf-8", "replace").splitlines()]',
        "a text with U+2028 or a form feed in it becomes two, and every vector after it is in another's row",
        tests=(f"{STREAMS}::TestStandardInput",),
    ),
    Mutant(
        "stdout-as-strict-as-python-opens-it",
        "cli/streams.py",
        'sys.stdout.reconfigure(errors="replace")',
        "pass",
        "a traceback at the first character that a Windows console lacks",
        tests=(f"{STREAMS}::TestCharactersThatStdoutLacks",),
    ),
    Mutant(
        "stdout-flushed-by-python-alone",
        "cli/__init__.py",
        "        sys.stdout.flush()\n",
        "",
        "what is buffered meets the full device when Python ends, after the exit code was decided",
        tests=(f"{STREAMS}::TestAFullDevice",),
    ),
    Mutant(
        "messages-by-print",
        "progress.py",
        r'sys.stderr.write(f"{message}\n")',
        "print(message, file=sys.stderr)",
        "print writes to stdout where sys.stderr is None: messages among the results",
        tests=(PROGRESS,),
    ),
    Mutant(
        "a-name-goes-before-a-folder",
        "cli/command.py",
        "if given in shipped and not path.is_dir():",
        "if given in shipped:",
        "the user's own folder is passed over without a word",
        tests=(f"{NAMES}::TestAModelOption",),
    ),
    Mutant(
        "a-folder-goes-first-in-silence",
        "cli/command.py",
        '        say(f"{given} is the folder here',
        '        str(f"{given} is the folder here',
        "nothing tells which of two models answers",
        tests=(f"{NAMES}::TestAModelOption",),
    ),
    Mutant(
        "a-listed-name-that-means-another-model",
        "inside/models.py",
        'f"./{name}" if name in shipped else name',
        "name",
        "two rows of `numbert models` have one name",
        tests=(f"{NAMES}::TestModels",),
    ),
    Mutant(
        "a-file-left-by-what-failed",
        "cli/command.py",
        "            path.unlink()\n",
        "",
        "the next run refuses to overwrite an empty file",
        tests=(f"{CLI}::TestWhatTheUserGotWrong::test_an_error_that_comes_late_leaves_no_file",),
    ),
]
