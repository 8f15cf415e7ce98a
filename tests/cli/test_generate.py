"""numbert generate: each text and what follows it on stdout, piece by piece; one line for what is wrong."""

import io
import itertools
import json
import sys

import pytest
import tiny

import numbert
from numbert.files.tokenizer import load_tokenizer, save_tokenizer


@pytest.fixture(scope="module")
def decoder(folder, tmp_path_factory):
    """A tiny untrained decoder with the tokenizer of the other model."""
    path = tmp_path_factory.mktemp("decoder")
    config = tiny.config(
        vocab_size=len(tiny.WORDS), is_decoder=True, initializer_range=0.8, tie_word_embeddings=False
    )
    numbert.BertLMHeadModel(config, seed=4).save_pretrained(path)
    save_tokenizer(load_tokenizer(folder), path)
    return str(path)


def written(decoder, texts, *arguments, **options):
    model = numbert.BertLMHeadModel.from_pretrained(decoder)
    return numbert.generate_text(model, load_tokenizer(decoder), texts, *arguments, **options)


def test_each_text_and_what_follows_it_is_a_line(run, decoder):
    code, out, err = run("generate", "the cat", "a dog", "--model", decoder, "--max-new-tokens", 4)
    assert (code, err) == (0, "")
    assert out == "".join(f"{one.text}{one.continuation}\n" for one in written(decoder, ["the cat", "a dog"], 4))
    assert out.startswith("the cat")


def test_each_piece_is_flushed_as_it_comes(run, decoder, monkeypatch):
    shown = []

    class Screen(io.StringIO):
        def flush(self):
            shown.append(self.getvalue())

    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    assert run("generate", "the cat", "--model", decoder, "--max-new-tokens", 4, "--eos-token-id", 1)[0] == 0
    assert len(set(shown)) >= 5
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(shown))


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["--do-sample", "--temperature", 3, "--top-k", 6, "--top-p", 0.9, "--seed", 7],
         {"do_sample": True, "temperature": 3, "top_k": 6, "top_p": 0.9, "seed": 7}),
        (["--num-beams", 3, "--length-penalty", -1], {"num_beams": 3, "length_penalty": -1}),
        (["--eos-token-id", 6, "--no-cache"], {"eos_token_id": 6, "use_cache": False}),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, list) else "",
)  # fmt: skip
def test_every_option_reaches_the_model(run, decoder, monkeypatch, arguments, options):
    given = {}
    generate = numbert.BertLMHeadModel.generate

    def watched(self, *inputs, **named):
        given.update(named)
        return generate(self, *inputs, **named)

    monkeypatch.setattr(numbert.BertLMHeadModel, "generate", watched)
    code, out, _ = run("generate", "the cat", "--model", decoder, "--max-new-tokens", 5, "--json", *arguments)
    assert code == 0
    assert {name: given[name] for name in options} == options
    assert given["max_new_tokens"] == 5
    assert json.loads(out) == [written(decoder, "the cat", 5, **options)[0].to_dict()]


def test_texts_from_standard_input(run, decoder, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the cat\na dog\n")))
    code, out, _ = run("generate", "-", "--model", decoder, "--max-new-tokens", 3)
    assert (code, out.count("\n")) == (0, 2)
    assert out.splitlines()[1].startswith("a dog")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num-beams", 0], "num_beams is 0; it can be 1 to 13"),
        (["--do-sample", "--top-p", 1.5], "top_p is 1.5; it must be above 0 and at most 1"),
        (["--top-k", 3], "top_k=3 is for sampling: give do_sample=True, too"),
        (["--max-new-tokens", 20], "'the cat': a prompt of 3 tokens and max_new_tokens=20: the model has only 11"),
        (["--max-new-tokens", "many"], "argument --max-new-tokens: invalid int value: 'many'"),
        (["--eos-token-id", 13], "eos_token_id is 13; it can be 0 to 12"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_what_the_user_got_wrong_is_one_line(run, decoder, arguments, message):
    code, out, err = run("generate", "the cat", "--model", decoder, "--max-new-tokens", 4, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("numbert generate: ")
    assert message in err


def test_a_decoder_must_be_named_and_be_one(run, folder):
    assert run("generate", "the cat") == (
        2,
        "",
        "numbert generate: name a decoder with --model DIR; the models that come with numbert are none\n",
    )
    code, out, err = run("generate", "the cat", "--model", folder, "--max-new-tokens", 4)
    assert (code, out) == (2, "")
    assert err.endswith(
        "numbert generate: only a decoder writes on after a text: make the model with is_decoder=True\n"
    )
    assert run("generate", "the cat", "--model", "nowhere")[0] == 2
