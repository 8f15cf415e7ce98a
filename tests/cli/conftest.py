"""A model for the commands, and how tests run them."""

import pytest
import tiny

import numbert
from numbert.cli import main
from numbert.files.tokenizer import bert_tokenizer, save_tokenizer


@pytest.fixture(scope="package")
def folder(tmp_path_factory):
    """A tiny untrained model with a tokenizer."""
    folder = tmp_path_factory.mktemp("model")
    model = numbert.BertForPreTraining(tiny.config(vocab_size=len(tiny.WORDS), initializer_range=0.5), seed=1)
    model.save_pretrained(folder)
    save_tokenizer(bert_tokenizer({word: i for i, word in enumerate(tiny.WORDS)}), folder)
    return str(folder)


@pytest.fixture
def run(capsys):
    """Runs a command in this process and gives its exit code, stdout and stderr."""

    def run(*arguments):
        with pytest.raises(SystemExit) as exit:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return exit.value.code or 0, captured.out, captured.err

    return run
