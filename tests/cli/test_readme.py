"""What README.md shows below a block of `numbert` commands is what they print, with the models as they are now."""

import re
import shlex

import pytest
from places import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
# Blocks of nothing but numbert's commands, each with the block of output that stands right below it.
SHOWN = re.findall(r"^```bash\n((?:numbert .*\n)+)```\n\n```\n((?:(?!```).*\n)+)```$", README, re.MULTILINE)
NUMBER = re.compile(r"\d+\.\d+")


def test_readme_shows_an_answer_of_each_command_that_uses_a_model():
    shown = {shlex.split(line)[1] for commands, _ in SHOWN for line in commands.splitlines()}
    assert {"fill-mask", "next-sentence", "embed"} <= shown


def test_the_scores_that_readme_names_are_those_of_the_card():
    card = (ROOT / "weights" / "english" / "MODEL_CARD.md").read_text(encoding="utf-8")
    (scores,) = re.findall(r"^\| this model \|(.*)\|$", card, re.MULTILINE)
    (named,) = re.findall(r"it fills ([\d.]+%) of masks .* others in ([\d.]+%) of pairs", " ".join(README.split()))
    assert named == (scores.split("|")[0].strip(), scores.split("|")[-1].strip())


@pytest.mark.parametrize(("commands", "output"), SHOWN)
def test_the_commands_print_what_readme_shows(commands, output, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed = ""
    for line in commands.splitlines():
        code, out, err = run(*shlex.split(line)[1:])
        assert code == 0, err
        printed += out + err
    assert NUMBER.sub("#", printed) == NUMBER.sub("#", output)
    # The last digit is the processor's: sums are taken in another order.
    assert [float(n) for n in NUMBER.findall(printed)] == pytest.approx(
        [float(n) for n in NUMBER.findall(output)], abs=0.11
    )
