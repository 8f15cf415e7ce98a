"""What --model takes, a folder or the name of a model that comes with numbert; and `numbert models`."""

import json
import shutil

import numpy as np
import pytest

import numbert
from numbert.files.shipped import DEFAULT
from numbert.inside.models import models

PYTHON = numbert.shipped_model("python")  # in the checkout, or of the wheel that is installed
FILL = ("fill-mask", "Return True if the object [MASK] a string.")


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def other(tmp_path):
    """A folder that is called as a model that comes with numbert, with another model in it."""
    folder = tmp_path / "python"
    shutil.copytree(PYTHON, folder)
    model = numbert.BertForPreTraining.from_pretrained(folder)
    model.cls.predictions.bias.data = np.zeros_like(model.cls.predictions.bias.data)
    model.cls.predictions.bias.data[100] = 99.0
    model.save_pretrained(folder)
    return folder


class TestAModelOption:
    @pytest.mark.parametrize(
        "command",
        [FILL, ("next-sentence", "The default is None.", "It is a string."), ("embed", "The array.", "--json")],
    )
    def test_a_name_is_the_model_that_comes_with_numbert(self, run, command):
        expected = run(*command, "--model", PYTHON)
        assert expected[0] == 0
        assert run(*command, "--model", "python") == expected
        assert run(*command) == run(*command, "--model", DEFAULT)

    def test_a_folder_of_that_name_goes_first_and_a_line_says_so(self, run, other):
        code, out, err = run(*FILL, "--model", "python")
        assert (code, err) == (0, f"python is the folder here, not the model that comes with numbert, {PYTHON}\n")
        assert run(*FILL, "--model", "./python") == (0, out, "")
        assert run(*FILL, "--model", other) == (0, out, "")
        assert run(*FILL, "--model", PYTHON)[1] != out

    def test_a_path_is_never_a_name(self, run):
        for path in ("./python", "python/", "no/python"):
            code, out, err = run(*FILL, "--model", path)
            assert (code, out) == (2, "")
            assert err.startswith("numbert fill-mask: ")
            assert "does not exist; a model is a folder" in err

    def test_a_file_of_that_name_is_no_folder(self, run, tmp_path):
        expected = run(*FILL, "--model", "python")
        (tmp_path / "python").write_text("#!/bin/sh\n")
        assert run(*FILL, "--model", "python") == expected

    def test_what_is_neither_is_told_both(self, run):
        code, out, err = run(*FILL, "--model", "Python")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "Python does not exist" in err
        assert f"comes with numbert: {', '.join(sorted(numbert.files.shipped.shipped_models()))}" in err

    @pytest.mark.parametrize("command", [("summary",), ("shapes",), ("inspect",)], ids=lambda command: command[0])
    def test_what_looks_into_a_model_takes_a_name_too(self, run, command):
        option = () if command == ("inspect",) else ("--model",)
        code, out, _ = run(*command, *option, "python", "--json")
        assert (code, out) == run(*command, *option, PYTHON, "--json")[:2]
        assert code == 0

    def test_a_run_can_begin_from_one(self, run, tmp_path):
        (tmp_path / "text.txt").write_text("One. Two is here.\n\n" * 120)
        options = ("--steps", 1, "--batch-size", 2, "--length", 8, "--json")
        code, _, err = run("pretrain", "text.txt", "--init", "python", "--output", "run", *options)
        assert code == 0, err
        assert json.loads((tmp_path / "run" / "run.json").read_text())["init"]["path"] == str(PYTHON)


class TestModels:
    def test_those_that_come_with_numbert(self, run):
        code, out, err = run("models", "--json")
        assert (code, err) == (0, "")
        rows = {row["name"]: row for row in json.loads(out)}
        assert sorted(rows) == sorted(numbert.files.shipped.shipped_models())
        for name, row in rows.items():
            model = numbert.BertForPreTraining.from_pretrained(PYTHON.parent / name)
            assert row["parameters"] == model.num_parameters()
            assert row["size"] == (PYTHON.parent / name / "model.safetensors").stat().st_size
            assert (row["dtype"], row["ships"]) == ("float16", True)
            assert (row["layers"], row["hidden_size"]) == (
                model.config.num_hidden_layers,
                model.config.hidden_size,
            )

    def test_a_table_for_people(self, run):
        code, out, _ = run("models")
        title, *lines = out.splitlines()
        assert code == 0
        assert title.split() == ["model", "parameters", "n", "e", "v", "positions", "weights"]
        assert len(lines) == len(models())
        for line, row in zip(lines, models(), strict=True):
            assert line.split()[:2] == [row.name, f"{row.parameters:,}"]
            assert line.endswith(f"{row.size / 1e6:.1f} MB float16  comes with numbert")

    def test_those_in_folders_with_the_names_that_the_model_option_takes(self, run, tmp_path, other):
        shutil.copytree(PYTHON, tmp_path / "bert-mine")
        shutil.copytree(PYTHON, tmp_path / "elsewhere" / "bert-other")
        (tmp_path / "notes").mkdir()
        rows = json.loads(run("models", "--json")[1])
        here = [row["name"] for row in rows if not row["ships"]]
        assert here == ["bert-mine", "./python"]
        assert {row["folder"] for row in rows} >= {str(other), str(tmp_path / "bert-mine"), str(PYTHON)}
        # The folder python hides the one that comes with numbert, which has only its path left.
        assert str(PYTHON) in [row["name"] for row in rows if row["ships"]]
        for row in rows:
            assert run(*FILL, "--model", row["name"])[::2] == (0, "")
        rows = json.loads(run("models", "elsewhere", "elsewhere/bert-other", "--json")[1])
        assert [row["name"] for row in rows if not row["ships"]] == ["elsewhere/bert-other"] * 2

    def test_a_folder_that_cannot_be_used_is_a_line_on_stderr(self, run, tmp_path, other):
        (other / "config.json").write_text('{"model_type": "gpt2"}')
        shutil.copytree(PYTHON, tmp_path / "cut")
        with (tmp_path / "cut" / "model.safetensors").open("r+b") as file:
            file.truncate(1000)
        code, out, err = run("models")
        first, second = err.splitlines()
        assert code == 0
        assert first.startswith("cut cannot be used: cut/model.safetensors is not whole")
        assert second.startswith("python cannot be used: python/config.json: ")
        assert len(out.splitlines()) == 1 + len(numbert.files.shipped.shipped_models())

    def test_no_folder(self, run):
        assert run("models", "nowhere")[::2] == (
            2,
            "numbert models: nowhere is no folder; models are looked for in folders\n",
        )
