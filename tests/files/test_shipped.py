"""The model that comes with numbert: found from a checkout and from an installed package, small, and good."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from places import ROOT

import numbert
from numbert.cli import main
from numbert.files.shipped import shipped_model


def python(path, cwd, *arguments):
    """Runs Python with this path, whichever numbert is installed here."""
    return subprocess.run(
        [sys.executable, "-P", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={"PATH": "", "PYTHONPATH": str(path)},
    )


def fill(path, cwd):
    return python(path, cwd, "-m", "numbert", "fill-mask", "Return the [MASK] of the array.")


def test_from_a_checkout(tmp_path):
    found = python(ROOT, tmp_path, "-c", "import numbert; print(numbert.shipped_model())")
    assert found.stdout.strip() == str(ROOT / "weights")
    done = fill(ROOT, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "%" in done.stdout


def test_from_an_installed_package(tmp_path):
    """Laid out as a wheel is: weights/ within the package (see pyproject.toml)."""
    shutil.copytree(ROOT / "numbert", tmp_path / "numbert", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "weights", tmp_path / "numbert" / "weights")
    done = fill(tmp_path, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == fill(ROOT, tmp_path).stdout


def test_without_it_the_user_is_asked_for_a_model(tmp_path):
    shutil.copytree(ROOT / "numbert", tmp_path / "numbert", ignore=shutil.ignore_patterns("__pycache__"))
    done = fill(tmp_path, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "numbert fill-mask: numbert's own model is not installed here; give --model FOLDER\n"


def test_its_size():
    files = [path for path in (ROOT / "weights").iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 25e6
    config = json.loads((ROOT / "weights" / "config.json").read_text())
    assert config["num_hidden_layers"] >= 4
    assert config["dtype"] == "float16"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Return the [MASK] of the array.", "shape"),
        ("If this is not given, the [MASK] is used.", "default"),
        ("Return True if the object [MASK] a string.", "is"),
        ("The [MASK] value is None.", "default"),
        ("Raise an [MASK] if the file does not exist.", "error"),
    ],
)
def test_it_knows_what_documentation_says(text, word):
    model = numbert.BertForMaskedLM.from_pretrained(shipped_model())
    (filled,) = numbert.fill_mask(model, numbert.load_tokenizer(shipped_model()), [text], top_k=5)
    assert word in [guess.token for guess in filled.masks[0]]


def test_it_tells_what_follows_from_what_does_not():
    model = numbert.BertForNextSentencePrediction.from_pretrained(shipped_model())
    tokenizer = numbert.load_tokenizer(shipped_model())
    first = "Open the file for reading."
    assert numbert.next_sentence(model, tokenizer, first, "If the file does not exist, an error is raised.") > 0.5
    assert numbert.next_sentence(model, tokenizer, first, "The matrix must be symmetric and positive.") < 0.5


def test_it_is_the_default_of_each_command(capsys, tmp_path):
    for arguments in (
        ["fill-mask", "The [MASK] value."],
        ["next-sentence", "The default is None.", "It must be a string."],
        ["embed", "The array.", "--json"],
    ):
        outputs = []
        for model in ([], ["--model", str(ROOT / "weights")]):
            with pytest.raises(SystemExit) as exit:
                main([*arguments, *model])
            assert not exit.value.code
            outputs.append(capsys.readouterr().out)
        assert outputs[0] == outputs[1]


def test_its_embeddings_tell_what_is_alike():
    model = numbert.BertModel.from_pretrained(shipped_model(), add_pooling_layer=False)
    vectors = numbert.embed(
        model,
        numbert.load_tokenizer(shipped_model()),
        [
            "Return the sum of the array.",
            "Compute the sum of all elements.",
            "Open a socket and wait for a client.",
        ],
    )
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
