"""Messages and bars on whatever stderr is."""

import io
import sys

import pytest
import tiny
from runs import TINY, by_kind

import numbert
from numbert.files.tokenizer import bert_tokenizer
from numbert.pretrain.entry import pretrain
from numbert.progress import bar, say, to_terminal
from numbert.text.documentation import documentation

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat"]


class OnlyWrites:
    """What a program may put in stderr's place."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text


class Full(io.StringIO):
    def write(self, text):
        raise OSError(28, "No space left on device")


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


POOR = {"none": lambda: None, "only writes": OnlyWrites, "full": Full, "closed": closed}


def poor(test):
    """Runs a test with each; within it stderr is replaced, as pytest puts its own there before."""
    return pytest.mark.parametrize("make", POOR.values(), ids=POOR)(test)


@poor
def test_a_message_ends_on_stderr_or_nowhere(make, monkeypatch, capfd):
    monkeypatch.setattr(sys, "stderr", stream := make())
    say("a message")
    assert capfd.readouterr() == ("", "")
    if isinstance(stream, OnlyWrites):
        assert stream.text == "a message\n"


def test_a_message_in_an_encoding_that_lacks_its_characters(monkeypatch):
    bytes_written = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(bytes_written, encoding="latin-1"))
    say("café Ж")
    assert bytes_written.getvalue() == b"caf\xe9 \\u0416\n"


@poor
def test_none_of_these_is_a_terminal(make, monkeypatch):
    monkeypatch.setattr(sys, "stderr", make())
    assert to_terminal() is False


def test_a_terminal_is_one(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert to_terminal() is True


@pytest.mark.parametrize("stream", [None, OnlyWrites()], ids=["none", "only writes"])
class TestWithoutABar:
    """The work goes on, and nothing is on stdout."""

    def test_bar(self, stream, monkeypatch, capfd):
        monkeypatch.setattr(sys, "stderr", stream)
        with bar(True, 2, " texts") as advance:
            advance(1)
            advance(1)
        assert capfd.readouterr() == ("", "")

    def test_embed(self, stream, monkeypatch, capfd):
        model = numbert.BertModel(tiny.config(vocab_size=len(WORDS)), seed=0).eval()
        tokenizer = bert_tokenizer({word: i for i, word in enumerate(WORDS)})
        monkeypatch.setattr(sys, "stderr", stream)
        assert numbert.embed(model, tokenizer, ["cat"] * 3, progress=True).shape == (3, 12)
        assert capfd.readouterr() == ("", "")

    def test_documentation(self, stream, monkeypatch, capfd, tmp_path):
        (tmp_path / "a.py").write_text('"""This is a module with words in it."""\n')
        monkeypatch.setattr(sys, "stderr", stream)
        assert documentation([tmp_path], progress=True) == [["This is a module with words in it."]]
        assert capfd.readouterr() == ("", "")

    def test_pretrain(self, stream, monkeypatch, capfd, tmp_path):
        text = by_kind(tmp_path / "kinds.txt")
        monkeypatch.setattr(sys, "stderr", stream)
        result = pretrain([text], tmp_path / "run", steps=2, **(TINY | {"progress": True}))
        assert result.steps == 2
        assert capfd.readouterr() == ("", "")
        if stream is not None:
            assert "step 2 of 2" in stream.text
