"""Standard streams as they may be: missing, closed, full, not UTF-8.

A process gets the environment that these tests run in, without what says how Python opens its streams.
"""

import contextlib
import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import by_kind

import numbert
from numbert.cli.streams import argument, lines_of_stdin
from numbert.errors import InputError
from numbert.text import documentation

SETTINGS = {
    "PYTHONUNBUFFERED",
    "PYTHONIOENCODING",
    "PYTHONUTF8",
    "PYTHONCOERCECLOCALE",
    "LC_ALL",
    "LC_CTYPE",
    "LANG",
}
TINY = "--vocab-size 200 --hidden-size 16 --length 24 --batch-size 8 --layers 1 --heads 2 --steps 2"
OVERLONG = "cat " * 30  # of which a message tells
LINES = st.text(st.characters(exclude_characters="\n\0", codec="utf-8"), max_size=20).filter(str.strip)
buffered_or_not = pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
needs_shell = pytest.mark.skipif(os.name != "posix", reason="streams are closed as a POSIX shell does it")


def shell(line, **variables):
    """-> exit code, stdout and stderr of a line for a shell; `numbert` in it is the command."""
    command = f"{shlex.quote(sys.executable)} -m numbert"
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS} | variables
    done = subprocess.run(
        ["bash", "-c", f'set -o pipefail; numbert() {{ {command} "$@"; }}; {line}'],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def standard_input(data):
    return io.TextIOWrapper(io.BytesIO(data), encoding="ascii")


class TestStandardInput:
    @pytest.mark.parametrize("end", ["", "\n"])
    def test_row_i_is_line_i_whatever_is_in_a_line(self, run, folder, monkeypatch, end):
        """str.splitlines() parts lines at all of these; BERT's tokenizer takes them for spaces, or for nothing."""
        texts = [f"the{character}cat" for character in "\u2028\u2029\f\v\x1c\x1d\x1e\x85\r"] + ["a dog"]
        monkeypatch.setattr(sys, "stdin", standard_input(("\n".join(texts) + end).encode()))
        code, out, err = run("embed", "--model", folder, "-", "--json")
        assert (code, err) == (0, "")
        model = numbert.BertModel.from_pretrained(folder, add_pooling_layer=False)
        expected = numbert.embed(model, numbert.load_tokenizer(folder), texts)
        np.testing.assert_array_equal(np.array(json.loads(out), np.float32), expected)

    @pytest.mark.parametrize("text", ["the cat\na", "the cat\na\n", "the cat\r\na\r\n", "\ufeffthe cat\na"])
    def test_lf_or_crlf_ends_a_line_and_the_last_needs_no_end(self, monkeypatch, text):
        monkeypatch.setattr(sys, "stdin", standard_input(text.encode()))
        assert lines_of_stdin() == ["the cat", "a"]

    @given(st.lists(LINES, min_size=1))
    def test_any_lines_come_back(self, lines):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdin", standard_input(("\ufeff" + "\r\n".join(lines) + "\r\n").encode()))
            assert lines_of_stdin() == lines

    @given(st.binary())
    def test_any_bytes_are_xx(self, data):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdin", standard_input(data))
            with contextlib.suppress(InputError):
                assert len(lines_of_stdin()) == data.removesuffix(b"\n").count(b"\n") + 1

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"", "standard input is empty; - reads lines from it, each a text"),
            (b"\xef\xbb\xbf", "standard input is empty"),
            (b"\n", "line 1 of standard input is blank"),
            (b"the\n\ncat\n", "line 2 of standard input is blank"),
            (b"the\r\n \t\r\ncat", "line 2 of standard input is blank"),
            ("the\ncat\n\u2028\u3000\n".encode(), "line 3 of standard input is blank"),
            (
                "the\ncafé\n".encode("latin-1"),
                "line 2 of standard input is not UTF-8: byte 3 of it is 0xe9",
            ),
            (b"the\n\xed\xa0\x80\n", "line 2 of standard input is not UTF-8: byte 0 of it is 0xed"),
            ("the\n".encode("utf-16"), "standard input is UTF-16, from line 1 on; convert it to UTF-8"),
            (b"\xfe\xff" + "the\n".encode("utf-16-be"), "standard input is UTF-16"),
            ("the\n".encode("utf-32"), "standard input is UTF-32"),
            ("the\n".encode("utf-16-le"), "line 1 of standard input has a zero byte in it; if it is UTF-16"),
        ],
    )
    @pytest.mark.parametrize("command", ["embed", "fill-mask"])
    def test_what_is_wrong_is_named_by_its_line(self, run, folder, monkeypatch, command, data, message):
        monkeypatch.setattr(sys, "stdin", standard_input(data))
        code, out, err = run(command, "--model", folder, "-")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert err.startswith(f"numbert {command}: {message}")

    def test_it_can_be_read_once(self, run, folder, monkeypatch):
        monkeypatch.setattr(sys, "stdin", standard_input(b"the"))
        code, _, err = run("embed", "--model", folder, "-", "-")
        assert (code, err) == (2, "numbert embed: - is given twice; standard input can be read once\n")

    @needs_shell
    def test_through_a_pipe(self, folder):
        by_pipe = shell(f"printf 'the\\fcat\\r\\na' | numbert embed --model {folder} -")
        assert by_pipe == shell(f"numbert embed --model {folder} $'the\\fcat' a")
        assert by_pipe[1].count(b"\n") == 2


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "name"),
        [
            (("embed", "the", "caf\udce9"), "text 2"),
            (("fill-mask", "caf\udce9"), "text 1"),
            (("next-sentence", "caf\udce9", "a"), "FIRST"),
            (("next-sentence", "a", "caf\udce9"), "SECOND"),
        ],
    )
    def test_one_that_is_not_utf_8_is_named(self, run, folder, arguments, name):
        """Python gives a byte 0xe9 that is no UTF-8 as the lone surrogate U+DCE9."""
        code, out, err = run(*arguments, "--model", folder)
        assert (code, out) == (2, "")
        assert err == f"numbert {arguments[0]}: {name}, 'caf\\udce9', is not UTF-8; convert it to UTF-8\n"

    @given(st.text(st.characters(codec="utf-8")))
    def test_any_other_is_as_it_is(self, text):
        assert argument(text, "text") == text

    @needs_shell
    def test_utf_8_is_read_in_a_locale_that_knows_ascii_alone(self, folder):
        ascii_alone = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        code, out, err = shell(f"numbert next-sentence --model {folder} café Ж --json", **ascii_alone)
        assert (code, err) == (0, b"")
        assert (json.loads(out)["first"], json.loads(out)["second"]) == ("café", "Ж")


@needs_shell
class TestCharactersThatStdoutLacks:
    @pytest.mark.parametrize(
        ("encoding", "first_line"),
        [
            ("cp1252", b"? caf\xe9 [MASK]"),
            ("ascii", b"? caf? [MASK]"),
            ("ascii:xmlcharrefreplace", b"&#1046; caf&#233; [MASK]"),
        ],
    )
    def test_they_are_replaced_as_python_was_told_or_by_a_question_mark(self, folder, encoding, first_line):
        code, out, err = shell(f"numbert fill-mask --model {folder} 'Ж café [MASK]'", PYTHONIOENCODING=encoding)
        assert (code, err) == (0, b"")
        assert out.splitlines()[0] == first_line

    def test_json_has_every_character(self, run, folder):
        out = run("fill-mask", "--model", folder, "Ж [MASK]", "--json")[1]
        assert out.isascii()
        assert json.loads(out)[0]["text"] == "Ж [MASK]"

    def test_a_summary_with_its_branches(self):
        code, out, err = shell("numbert summary", PYTHONIOENCODING="latin-1")
        assert (code, err) == (0, b"")
        assert b"Total params: 130,609,732" in out

    def test_a_message_shows_them_by_their_numbers(self):
        code, _, err = shell("numbert embed a --model Ж", PYTHONIOENCODING="cp1252")
        assert code == 2
        assert err.startswith(b"numbert embed: \\u0416 does not exist")

    def test_the_report_of_a_training_is_not_lost(self, tmp_path):
        text = by_kind(tmp_path / "kinds.txt")
        text.write_text(text.read_text().replace("at", "Ж"), encoding="utf-8")
        line = f"numbert pretrain {text} --output {tmp_path}/Ж {TINY}"
        code, out, _ = shell(line, PYTHONIOENCODING="cp1252")
        assert code == 0
        assert b"held-out loss" in out
        assert out.splitlines()[-1] == f"saved in {tmp_path}/?".encode()

    def test_the_corpus_that_is_kept_is_utf_8_whatever_the_encoding(self, run, monkeypatch, tmp_path):
        (tmp_path / "a.py").write_text('"""This is a café with words in it."""\n', encoding="utf-8")
        monkeypatch.setattr(documentation, "default_roots", lambda: [tmp_path])
        kept = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(kept, encoding="cp1252"))
        assert run("corpus")[0] == 0
        assert kept.getvalue().decode("utf-8") == "This is a café with words in it.\n\n"


@needs_shell
@buffered_or_not
class TestAClosedPipe:
    @pytest.mark.parametrize("command", ["summary", "inspect {} --json", "--help"])
    def test_it_is_silence_and_no_error(self, folder, command, unbuffered):
        line = f"numbert {command.format(folder)} | true"
        assert shell(line, PYTHONUNBUFFERED=unbuffered) == (0, b"", b"")

    def test_what_was_read_is_there(self, unbuffered):
        code, out, err = shell("numbert shapes | head -n 1", PYTHONUNBUFFERED=unbuffered)
        assert (code, err, out.count(b"\n")) == (0, b"", 1)
        assert out.startswith(b"embeddings.word_embeddings")

    def test_nobody_reads_the_messages(self, unbuffered):
        code, _, _ = shell("numbert embed a --model nowhere 2>&1 | true", PYTHONUNBUFFERED=unbuffered)
        assert code == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@buffered_or_not
class TestAFullDevice:
    @pytest.mark.parametrize("command", ["summary", "embed a --model {}", "--help"])
    def test_results_are_lost_in_one_line(self, folder, command, unbuffered):
        code, _, err = shell(f"numbert {command.format(folder)} > /dev/full", PYTHONUNBUFFERED=unbuffered)
        name = "" if command.startswith("-") else " " + command.split()[0]
        assert (code, err) == (2, f"numbert{name}: [Errno 28] No space left on device\n".encode())

    def test_messages_are_lost_alone(self, folder, unbuffered):
        line = f"numbert embed '{OVERLONG}' --model {folder} 2> /dev/full"
        code, out, _ = shell(line, PYTHONUNBUFFERED=unbuffered)
        assert (code, len(out.split())) == (0, 12)


@needs_shell
class TestMissingStreams:
    def test_without_stderr_nothing_but_results_is_on_stdout(self, folder):
        line = f"numbert embed '{OVERLONG}' --model {folder}"
        code, out, err = shell(line)
        assert (code, err) == (0, b"1 of 1 texts cut to 11 tokens\n")
        assert shell(f"{line} 2>&-") == (0, out, b"")

    @pytest.mark.parametrize("arguments", ["embed a --model nowhere", "embed"])
    def test_an_error_without_stderr_is_its_exit_code(self, arguments):
        assert shell(f"numbert {arguments} 2>&-") == (2, b"", b"")

    def test_a_file_does_not_get_the_messages(self, folder, tmp_path):
        """The first file that is opened would get the descriptor that is missing."""
        line = f"numbert embed '{OVERLONG}' --model {folder} --output {tmp_path}/x.npy 2>&-"
        assert shell(line) == (0, b"", b"")
        assert np.load(tmp_path / "x.npy").shape == (1, 12)

    def test_a_training_without_stderr(self, tmp_path):
        text = by_kind(tmp_path / "kinds.txt")
        code, out, err = shell(f"numbert pretrain {text} --output {tmp_path}/run {TINY} 2>&-")
        assert (code, err) == (0, b"")
        assert out.startswith(b"first loss")

    def test_without_stdin(self, folder):
        code, out, err = shell(f"numbert embed the --model {folder} <&-")
        assert (code, len(out.split()), err) == (0, 12, b"")
        code, out, err = shell(f"numbert embed - --model {folder} <&-")
        assert (code, out) == (2, b"")
        assert err == b"numbert embed: there is no standard input, which - reads lines from\n"

    def test_without_any(self, folder):
        assert shell(f"numbert embed a --model {folder} <&- >&- 2>&-")[0] == 0
