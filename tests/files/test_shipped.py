"""The models that come with numbert: found from a checkout and from an installed package, small, and good."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from places import ROOT

import numbert
from numbert import InputError
from numbert.files.shipped import DEFAULT, shipped_model, shipped_models

NAMES = sorted(path.parent.name for path in ROOT.glob("weights/*/model.safetensors"))
each_model = pytest.mark.parametrize("name", NAMES)


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
    return python(path, cwd, "-m", "numbert", "fill-mask", "This is the [MASK] of it.")


# --- where they are ----------------------------------------------------------------------------------------------


@each_model
def test_from_a_checkout(name, tmp_path):
    found = python(ROOT, tmp_path, "-c", f"import numbert; print(numbert.shipped_model({name!r}))")
    assert found.stdout.strip() == str(ROOT / "weights" / name)


def test_without_a_name_it_is_the_default(tmp_path):
    assert shipped_model() == shipped_model(DEFAULT) == shipped_models()[DEFAULT]
    assert shipped_model().name == DEFAULT
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


def test_without_them_the_user_is_asked_for_a_model(tmp_path):
    shutil.copytree(ROOT / "numbert", tmp_path / "numbert", ignore=shutil.ignore_patterns("__pycache__"))
    done = fill(tmp_path, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "numbert fill-mask: the models that come with numbert are not installed here; give a model's folder\n"
    )


def test_another_name_is_refused_with_those_that_there_are():
    assert sorted(shipped_models()) == NAMES
    for name in ("latin", "../tests", 3):
        with pytest.raises(InputError, match=rf"does not come with numbert, but {' and '.join(NAMES)}$"):
            shipped_model(name)


@each_model
def test_its_size(name):
    folder = ROOT / "weights" / name
    assert sum(path.stat().st_size for path in folder.iterdir()) < 25e6
    config = json.loads((folder / "config.json").read_text())
    assert config["num_hidden_layers"] >= 4
    assert config["dtype"] == "float16"
    assert (folder / "MODEL_CARD.md").is_file()


# --- what they know (docs/what-the-model-knows.md has more of english) -------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        ("english", "He opened the [MASK] and went out.", "door"),
        ("english", "I have [MASK] seen such a thing in my life.", "never"),
        ("english", "Once upon a [MASK] there lived a king.", "time"),
        ("english", "She was leaning out [MASK] the window.", "of"),
        ("english", "My brother [MASK] older than I am.", "is"),
        ("python", "Return the [MASK] of the array.", "shape"),
        ("python", "If this is not given, the [MASK] is used.", "default"),
        ("python", "Return True if the object [MASK] a string.", "is"),
        ("python", "The [MASK] value is None.", "default"),
        ("python", "Raise an [MASK] if the file does not exist.", "error"),
    ],
)
def test_each_knows_what_it_has_read(name, text, word):
    folder = shipped_model(name)
    model = numbert.BertForMaskedLM.from_pretrained(folder)
    (filled,) = numbert.fill_mask(model, numbert.load_tokenizer(folder), [text], top_k=5)
    assert word in [guess.token for guess in filled.masks[0]]


@pytest.mark.parametrize(
    ("name", "first", "follows", "other"),
    [
        (
            "english",
            "The ship struck upon a rock and began to sink.",
            "The captain ordered the boats to be lowered.",
            "She gave me a piece of bread and some milk.",
        ),
        (
            "python",
            "Open the file for reading.",
            "If the file does not exist, an error is raised.",
            "The matrix must be symmetric and positive.",
        ),
    ],
)
def test_each_tells_what_follows_from_what_does_not(name, first, follows, other):
    folder = shipped_model(name)
    model = numbert.BertForNextSentencePrediction.from_pretrained(folder)
    tokenizer = numbert.load_tokenizer(folder)
    assert numbert.next_sentence(model, tokenizer, first, follows) > 0.5
    assert numbert.next_sentence(model, tokenizer, first, other) < 0.5


def test_pythons_embeddings_tell_what_is_alike():
    folder = shipped_model("python")
    model = numbert.BertModel.from_pretrained(folder, add_pooling_layer=False)
    vectors = numbert.embed(
        model,
        numbert.load_tokenizer(folder),
        [
            "Return the sum of the array.",
            "Compute the sum of all elements.",
            "Open a socket and wait for a client.",
        ],
    )
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
