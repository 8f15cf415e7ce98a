"""Measures how much memory and time preparing a large text takes, in a process of its own.

    python tests/measure_preparation.py [--megabytes 1000] [--form prose|lines]

The text is made of 100,000 invented words, some frequent and most rare, as in a language.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from numbert.text.prepare import VOCABULARY_BYTES

WORDS = 100_000
_AT_A_TIME = 200_000  # words

PREPARE = """
import json, resource, sys, time
from pathlib import Path
from numbert.text import prepare
from numbert.text.corpus import find_corpus
from numbert.progress import Progress

prepare.VOCABULARY_BYTES = int(sys.argv[3])

def peak():  # MiB
    if (status := Path("/proc/self/status")).exists():  # where ru_maxrss is the parent's, if that was more
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)

started, before = time.perf_counter(), peak()
prepare.prepare(find_corpus([sys.argv[1]]), Path(sys.argv[2]), 4_000, 0, Progress(shown="--show" in sys.argv))
print(json.dumps({"seconds": time.perf_counter() - started, "peak": peak(), "imports": before}))
"""


def write_text(path: Path, megabytes: float, form: str = "prose", seed: int = 0) -> None:
    """A text of sentences of 5 to 24 words: paragraphs of wrapped lines, or a sentence in each line."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlucmfwypvbgkqjxz"))
    p = np.arange(26, 0, -1) ** 1.5
    lengths = rng.integers(2, 11, WORDS)
    spelled = "".join(rng.choice(letters, lengths.sum(), p=p / p.sum()).tolist())
    stops = lengths.cumsum().tolist()
    words = np.array([spelled[stop - n : stop] for stop, n in zip(stops, lengths.tolist(), strict=True)], object)
    frequency = 1 / np.arange(10, WORDS + 10)
    up_to = (frequency / frequency.sum()).cumsum()
    written = 0
    with path.open("w", encoding="utf-8") as file:
        while written < megabytes * 1e6:
            drawn = words[np.searchsorted(up_to[:-1], rng.random(_AT_A_TIME))].tolist()
            ends = rng.integers(5, 25, _AT_A_TIME // 5).cumsum()
            ends = ends[ends <= _AT_A_TIME].tolist()
            starts = [0, *ends[:-1]]
            sentences = [" ".join(drawn[a:b]).capitalize() + "." for a, b in zip(starts, ends, strict=True)]
            blocks = [sentences[i : i + 6] for i in range(0, len(sentences), 6)]
            between = "\n" if form == "lines" else " "
            written += file.write("".join(between.join(block) + "\n\n" for block in blocks))


def measure(
    text: Path, folder: Path, vocabulary_bytes: int = VOCABULARY_BYTES, show: bool = False
) -> dict[str, float]:
    """Prepares in a new process -> "seconds", "peak" and "imports": resident MiB at most, and before it began."""
    command = [sys.executable, "-c", PREPARE, str(text), str(folder), str(vocabulary_bytes), *["--show"] * show]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(run.stdout)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=float, default=1000)
    parser.add_argument("--form", choices=("prose", "lines"), default="prose")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder, "text.txt")
        write_text(text, given.megabytes, given.form)
        found = measure(text, Path(folder, "data"), show=True)
        print(
            f"{text.stat().st_size / 1e6:,.0f} MB of {given.form} prepared in {found['seconds']:.0f} s; "
            f"peak memory {found['peak']:,.0f} MiB, of which {found['imports']:,.0f} MiB were there before"
        )
