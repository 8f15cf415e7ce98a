"""The command line: results on stdout, messages on stderr, exit codes, one line for what the user got wrong."""

import json
from pathlib import Path

import make_tf_checkpoint
import numpy as np
import pytest
from runs import by_kind

from numbert.inside import summary
from numbert.text import documentation
from numbert.train.metrics import read_metrics


class TestUsingAModel:
    def test_fill_mask(self, run, folder):
        code, out, err = run("fill-mask", "--model", folder, "the [MASK] sat", "a [MASK] ran [MASK]", "--top-k", 2)
        assert (code, err) == (0, "")
        lines = out.splitlines()
        assert lines[0] == "the [MASK] sat"
        assert lines[1].count("%") == 2
        assert lines[3].startswith("  mask 1:")
        code, out, _ = run("fill-mask", "--model", folder, "the [MASK] sat", "--json")
        (filled,) = json.loads(out)
        assert len(filled["masks"][0]) == 5

    def test_next_sentence(self, run, folder):
        code, out, err = run("next-sentence", "--model", folder, "the cat sat", "a dog ran")
        assert (code, err) == (0, "")
        assert "% that the second text follows the first" in out
        _, out, _ = run("next-sentence", "--model", folder, "the cat sat", "a dog ran", "--json")
        assert 0 < json.loads(out)["is_next"] < 1

    def test_embed(self, run, folder, tmp_path):
        _, out, _ = run("embed", "--model", folder, "the cat sat", "a dog ran")
        assert [len(line.split()) for line in out.splitlines()] == [12, 12]
        _, as_json, _ = run("embed", "--model", folder, "the cat sat", "a dog ran", "--json")
        path = tmp_path / "x.npy"
        code, out, err = run("embed", "--model", folder, "the cat sat", "a dog ran", "--output", path)
        assert (code, out) == (0, "")
        assert "x.npy: 2 x 12, float32" in err
        np.testing.assert_array_equal(np.load(path), np.array(json.loads(as_json), np.float32))

    def test_embed_overwrites_nothing(self, run, folder, tmp_path):
        path = tmp_path / "mine.npy"
        path.write_text("precious")
        code, _, err = run("embed", "--model", folder, "the cat", "--output", path)
        assert code == 2
        assert err == f"numbert embed: {path} exists; name a file that does not\n"
        assert path.read_text() == "precious"

    def test_embed_says_what_it_cuts(self, run, folder):
        _, _, err = run("embed", "--model", folder, "cat " * 30, "dog")
        assert err == "1 of 2 texts cut to 11 tokens\n"


class TestConverting:
    def test_a_tensorflow_checkpoint(self, run, tmp_path):
        code, out, err = run("convert", make_tf_checkpoint.PREFIX, tmp_path / "new")
        assert (code, out) == (0, f"{tmp_path / 'new'}: BertForPreTraining\n")
        assert "vocab.txt has no capital letters, so do_lower_case is true" in err
        assert run("fill-mask", "--model", tmp_path / "new", "a [MASK] b")[0] == 0

    def test_nothing_is_overwritten(self, run, tmp_path):
        (tmp_path / "mine").write_text("precious")
        code, out, err = run("convert", make_tf_checkpoint.PREFIX, tmp_path)
        assert (code, out) == (2, "")
        said = f"{tmp_path} is in the way: it holds other files; name a folder that is new or empty"
        assert err == f"numbert convert: {said}\n"
        assert [path.name for path in tmp_path.iterdir()] == ["mine"]


class TestLookingIn:
    def test_summary(self, run):
        assert "130,609,732" in run("summary")[1]
        assert "12 x BertLayer(" in run("summary", "--listing")[1]
        shapes = json.loads(run("summary", "--json")[1])
        assert shapes["bert.embeddings.word_embeddings.weight"] == [28996, 768]

    def test_summary_of_a_folder(self, run, folder):
        assert "Total params: " in run("summary", "--model", folder, "--class", "BertForPreTraining")[1]

    def test_shapes(self, run, folder):
        code, out, _ = run("shapes")
        assert code == 0
        assert "encoder.layer.0.attention/0" in out
        assert "[1, 13, 3072]" in out
        rows = json.loads(run("shapes", "--model", folder, "--batch", 4, "--length", 6, "--json")[1])
        assert rows[-1] == {"name": "/pooler_output", "letters": ["b", "e"], "numbers": [4, 12]}

    def test_inspect(self, run, folder):
        code, out, _ = run("inspect", folder)
        assert code == 0
        assert "0 missing" in out
        assert "bert.encoder.layer.1.attention.self.query.weight" in out
        assert json.loads(run("inspect", folder, "--json")[1])


class TestWhatTheUserGotWrong:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["embed", "--model", "nowhere", "a"], "nowhere"),
            (["inspect", "nowhere"], "nowhere"),
            (["summary", "--class", "BertForPoetry"], "there is no model BertForPoetry"),
            (["summary", "--depth", "0"], "depth is 0; it must be at least 1"),
            (["shapes", "--batch", "-1"], "batch is -1; it must be at least 1"),
            (["shapes", "--length", "0"], "length is 0; it must be at least 1"),
            (["shapes", "--model", "nowhere.json"], "nowhere.json does not exist"),
            (["gradcheck", "no-such-layer"], "no layer's name has no-such-layer in it"),
            (["gradcheck", "--seed", "-1"], "seed is -1"),
            (["bench", "forward", "--rounds", "0"], "rounds is 0"),
            (["bench", "kernels", "--batch", str(10**25)], "no memory holds so many sequences"),
            (["bench", "kernels", "--batch", str(10**15)], "there is not enough memory. Unable to allocate"),
            (["bench", "--cold-start", "nowhere"], "nowhere does not exist"),
            (["bench", "train", "--busy"], "busy goes with forward and table, not with train"),
            (["bench", "texts", "--layers", "1", "--texts", "0"], "texts is 0; it must be at least 1"),
            (["bench", "--hidden-size", "12", "--heads", "5"], "num_attention_heads"),
            (["embed", ""], "text 1 is empty"),
            (["embed", "a", " \n"], "text 2 is empty"),
            (["embed", "a", "--batch-size", "0"], "batch_size is 0"),
            (["embed", "a", "--batch-size", "many"], "argument --batch-size: invalid int value: 'many'; see"),
            (["embed", "a", "--output", "no/x.npy"], "no/x.npy cannot be made: no is no folder"),
            (["fill-mask", "[MASK]", "--top-k", str(10**25)], "it can be 1 to 8000"),
            (["next-sentence", "a", ""], "both texts must have words in them"),
            (["corpus", "--output", "no/x.txt"], "no/x.txt cannot be made: no is no folder"),
            (["pretrain", "nowhere.txt"], "nowhere.txt"),
            (["pretrain", "--length", "4"], "length is 4; it must be at least 8"),
            (["pretrain", "--init", "nowhere"], "nowhere does not exist; a model is a folder"),
            (["pretrain", "--learning-rate", "nan"], "learning_rate is nan"),
            (["plot", "nowhere"], "nowhere does not exist"),
            (["export-optimizer", "nowhere"], "nowhere"),
            (["download", "no/such/name"], "no/such/name"),
            (["convert", "nowhere", "new"], "nowhere.index does not exist; a TensorFlow checkpoint is NAME.index"),
            (["convert", ".", "new"], "has no NAME.index; give the path of one, up to .index"),
        ],
    )
    def test_one_line_and_exit_code_2(self, run, arguments, message, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        code, out, err = run(*arguments)
        assert code == 2
        assert out == ""
        *before, last = err.splitlines()
        assert before in ([], ["Reading ..."])
        assert last.startswith(f"numbert {arguments[0]}: ")
        assert message in last
        assert not list(tmp_path.iterdir()), "nothing is left behind"

    def test_no_mask_in_the_text(self, run, folder):
        code, _, err = run("fill-mask", "--model", folder, "the cat sat")
        assert (code, err) == (2, "numbert fill-mask: there is no [MASK] in 'the cat sat'\n")

    @pytest.mark.parametrize("arguments", [[], ["sing"], ["embed"], ["embed", "a", "--no-such-option"]])
    def test_options_that_are_none_are_one_line_that_names_help(self, run, arguments):
        code, out, err = run(*arguments)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "--help" in err
        assert "documentation" not in err

    @pytest.mark.parametrize(
        "arguments",
        [
            ("embed", "a", "--model"),
            ("fill-mask", "[MASK]", "--model"),
            ("next-sentence", "a", "b", "--model"),
            ("summary", "--model"),
            ("shapes", "--model"),
            ("inspect",),
            ("pretrain", "--init"),
            ("bench", "--cold-start"),
            ("plot",),
            ("export-optimizer",),
            ("publish", "--output", "out"),
        ],
        ids=lambda arguments: arguments[0],
    )
    def test_a_file_where_a_folder_is_meant_is_named_with_its_folder(self, run, arguments, folder, tmp_path):
        path = Path(folder) / "model.safetensors"
        code, out, err = run(*arguments, path)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert f"{path} is " in err
        assert err.endswith(f"the folder that it is in, {folder}\n")

    def test_a_configuration_is_a_file_or_in_a_folder(self, run, folder):
        assert run("summary", "--model", Path(folder) / "config.json") == run("summary", "--model", folder)

    @pytest.mark.parametrize("command", [("embed", "a"), ("corpus",)], ids=lambda command: command[0])
    def test_a_folder_where_a_file_is_meant(self, run, command, tmp_path):
        code, out, err = run(*command, "--output", tmp_path)
        assert (code, out) == (2, "")
        assert err == f"numbert {command[0]}: {tmp_path} exists; name a file that does not\n"

    def test_an_error_that_comes_late_leaves_no_file(self, run, folder, tmp_path):
        path = tmp_path / "x.npy"
        code, _, err = run("embed", "--model", folder, "a", "--batch-size", 0, "--output", path)
        assert (code, err) == (2, "numbert embed: batch_size is 0; it must be at least 1\n")
        assert not path.exists()


class TestARun:
    """Begun, gone on with, drawn and handed over."""

    OPTIONS = (
        *("--vocab-size", 200, "--hidden-size", 16, "--length", 24, "--batch-size", 8, "--steps", 6),
        *(
            "--layers",
            2,
            "--heads",
            4,
            "--positions",
            30,
            "--learning-rate",
            1e-3,
            "--warmup",
            0.5,
            "--dropout",
            0.1,
        ),
        *(
            "--weight-decay",
            0.1,
            "--max-grad-norm",
            0.5,
            "--accumulate",
            2,
            "--no-bias-correction",
            "--whole-words",
            "--near",
            2,
        ),
    )

    def test_every_option_reaches_the_run(self, run, tmp_path):
        text, folder = by_kind(tmp_path / "kinds.txt"), tmp_path / "run"
        code, out, err = run(
            *("pretrain", text, "--output", folder, "--seed", 4, *self.OPTIONS),
            *("--save-every", 2, "--eval-every", 3, "--keep", 5, "--gradient-checkpointing"),
        )
        assert code == 0, err
        assert "held-out loss" in out
        assert json.loads((folder / "run.json").read_text())["settings"] == {
            "steps": 6,
            "seed": 4,
            "vocab_size": 200,
            "hidden_size": 16,
            "layers": 2,
            "heads": 4,
            "length": 24,
            "positions": 30,
            "batch_size": 8,
            "accumulate": 2,
            "learning_rate": 1e-3,
            "warmup": 0.5,
            "weight_decay": 0.1,
            "max_grad_norm": 0.5,
            "bias_correction": False,
            "dropout": 0.1,
            "whole_words": True,
            "near": 2,
        }
        assert {path.name for path in (folder / "checkpoints").iterdir()} >= {"step-2", "step-4", "step-6"}
        held_out = [line["step"] for line in read_metrics(folder / "metrics.jsonl") if "held_out" in line]
        assert held_out == [3, 6]

        code, out, _ = run("pretrain", "--output", folder, "--resume", "--json")
        assert (code, json.loads(out)["steps"]) == (0, 6)
        code, _, err = run("pretrain", "--output", folder, "--resume", "--layers", 3)
        assert (code, err.count("\n")) == (2, 1)
        assert "layers is 3 and in the run of" in err

        code, out, _ = run("plot", folder)
        assert (code, out) == (0, f"{folder / 'curves.png'}\n")
        code, out, _ = run("export-optimizer", folder, "--output", tmp_path / "torch")
        assert (code, out) == (0, f"{tmp_path / 'torch'}\n")
        assert (tmp_path / "torch" / "continue.py").is_file()
        assert run("fill-mask", "--model", folder, "Cat [MASK] bird.")[0] == 0


def test_the_corpus_as_a_text_to_pretrain_on(run, tmp_path, monkeypatch):
    package = tmp_path / "package"
    package.mkdir()
    for name in ("one", "two"):
        docstring = f"Describes number {name} in a word. It has two sentences of several words."
        (package / f"{name}.py").write_text(f'"""{docstring}"""\n')
    (package / "none.py").touch()
    monkeypatch.setattr(documentation, "default_roots", lambda: [package])
    code, out, err = run("corpus")
    assert (code, err) == (0, "")
    assert run("documentation") == (0, out, "numbert documentation is called `numbert corpus` now\n")
    assert out.split("\n\n")[0] == "Describes number one in a word.\nIt has two sentences of several words."
    code, _, err = run("corpus", "--output", tmp_path / "docs.txt")
    assert (code, err) == (0, f"{tmp_path / 'docs.txt'}: 2 documents, 0.00 MB\n")
    assert (tmp_path / "docs.txt").read_text() == out
    code, _, err = run("corpus", "--output", tmp_path / "docs.txt")
    assert (code, err) == (
        2,
        f"numbert corpus: {tmp_path / 'docs.txt'} exists; name a file that does not\n",
    )


def test_gradcheck_of_some_layers(run):
    code, out, _ = run("gradcheck", "LayerNorm")
    assert code == 0
    assert "LayerNorm" in out
    assert "layers proved" in out


def test_help_names_no_old_name(run):
    code, out, _ = run("--help")
    assert code == 0
    assert "corpus" in out
    assert "the text that pretrain learns from" in out
    assert "    documentation" not in out


def test_ctrl_c(run, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(summary, "summary", interrupted)
    assert run("summary") == (130, "", "numbert summary: stopped\n")
