"""generate_text: a text and what follows it, the same alone and among others, told as it comes."""

import numpy as np
import pytest
import tiny
from messages import one_line

import numbert
from numbert import BertLMHeadModel, InputError, generate_text
from numbert.files.tokenizer import bert_tokenizer

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS += ["the", "cat", "sat", "on", "a", "mat", ".", ",", "##s", "##ting"]
CLS, SEP = 2, 3
TEXTS = ["the cat", "a mat sat on a", "the"]


def decoder(**changes):
    sizes = {"vocab_size": len(WORDS), "max_position_embeddings": 16, "tie_word_embeddings": False}
    config = tiny.config(is_decoder=True, initializer_range=0.8, **sizes, **changes)
    return BertLMHeadModel(config, seed=4).eval()


@pytest.fixture(scope="module")
def tokenizer():
    return bert_tokenizer({word: i for i, word in enumerate(WORDS)})


@pytest.fixture(scope="module")
def model():
    return decoder()


def says(*pieces):
    """A decoder that writes these pieces, whatever the prompt: only the position decides."""
    model = decoder()
    for parameter in model.parameters():
        parameter.data[...] = 0
    for name, parameter in model.named_parameters():
        if name.endswith("LayerNorm.weight"):
            parameter.data[...] = 1
    # An axis for each position; the vocabulary's scores look at it through weights of their own.
    model.bert.embeddings.position_embeddings.weight.data[:12] = 9 * np.eye(12)
    model.cls.predictions.transform.dense.weight.data[...] = np.eye(12)
    weight = np.zeros((len(WORDS), 12), np.float32)
    for place, piece in enumerate(pieces):
        weight[WORDS.index(piece), place + 1] = 1  # behind [CLS] and one word
    model.cls.predictions.decoder.weight = numbert.Parameter(weight)
    return model


class TestText:
    @pytest.mark.parametrize(
        ("pieces", "continuation"),
        [
            (["cat", "##s", "sat", ".", "[SEP]"], " cats sat."),
            (["##ting", ",", "a", "[SEP]"], "ting, a"),
            (["[SEP]"], ""),
            (["[UNK]", "[MASK]", "mat", "[SEP]"], " [UNK] [MASK] mat"),
        ],
    )
    def test_pieces_are_put_together_and_the_end_is_not_shown(self, tokenizer, pieces, continuation):
        told = []
        (written,) = generate_text(says(*pieces), tokenizer, "the", 8, told.append)
        assert written.text == "the"
        assert written.continuation == continuation
        assert written.ids == [WORDS.index(piece) for piece in pieces]
        assert "".join(told) == f"the{continuation}\n"
        assert len(told) == len(pieces) + 1, "each piece as it comes, then the line's end"

    def test_the_model_goes_on_from_cls_and_the_text(self, model, tokenizer):
        (written,) = generate_text(model, tokenizer, ["the cat"], 5)
        ids = model.generate(np.array([[CLS, 5, 6]]), max_new_tokens=5, eos_token_id=SEP)
        assert written.ids == ids[0, 3:].tolist()
        assert written.to_dict() == {"text": "the cat", "continuation": written.continuation, "ids": written.ids}

    def test_the_configuration_may_name_another_end_and_the_caller_a_third(self, model, tokenizer):
        first = generate_text(model, tokenizer, "the cat", 5)[0].ids[0]
        ends = decoder(extra={"eos_token_id": first})
        assert generate_text(ends, tokenizer, "the cat", 5)[0].ids == [first]
        assert generate_text(model, tokenizer, "the cat", 5, eos_token_id=first)[0].ids == [first]
        assert len(generate_text(ends, tokenizer, "the cat", 5, eos_token_id=4)[0].ids) == 5

    @pytest.mark.parametrize(
        "how", [{}, {"num_beams": 3}, {"do_sample": True, "temperature": 3.0, "seed": 5}], ids=str
    )
    def test_a_text_gets_what_it_gets_alone_and_what_is_told_is_what_is_returned(self, model, tokenizer, how):
        told = []
        together = generate_text(model, tokenizer, TEXTS, 6, told.append, **how)
        assert together == [generate_text(model, tokenizer, text, 6, **how)[0] for text in TEXTS]
        assert "".join(told) == "".join(f"{one.text}{one.continuation}\n" for one in together)
        assert len({tuple(one.ids) for one in together}) > 1

    def test_a_text_with_nothing_behind_it_is_told(self, model, tokenizer):
        told = []
        assert generate_text(model, tokenizer, "the cat ", 0, told.append)[0].continuation == ""
        assert told == ["the cat\n"]


class TestBadInput:
    @pytest.mark.parametrize(
        ("texts", "options", "message"),
        [
            (["the", 3], {}, "text 1 is 3, a int; it must be a str"),
            (["the", "\u200b"], {}, "there is nothing to go on from in '\\u200b'"),
            (["the"], {}, "'the': a prompt of 2 tokens and max_new_tokens=20: the model has only 16 positions"),
            (
                ["the", "cat " * 20],
                {"max_new_tokens": 9},
                "a prompt of 21 tokens and max_new_tokens=9: the model has",
            ),
            ("the", {"max_new_tokens": -1}, "max_new_tokens is -1; it must be at least 0"),
            ("the", {"max_new_tokens": "many"}, "max_new_tokens is 'many'; it must be an integer"),
            ("the", {"max_new_tokens": 3, "num_beams": 0}, "num_beams is 0"),
            ("the", {"max_new_tokens": 3, "top_p": 1.5}, "top_p is 1.5"),
        ],
    )
    def test_one_line_before_anything_is_told(self, model, tokenizer, texts, options, message):
        told = []
        with pytest.raises(InputError) as error:
            generate_text(model, tokenizer, texts, on_piece=told.append, **options)
        assert message in one_line(error)
        assert told == []

    def test_models_and_tokenizers_of_another_kind(self, model, tokenizer):
        with pytest.raises(InputError, match="needs the head for the next token, as in BertLMHeadModel"):
            generate_text(numbert.BertForMaskedLM(tiny.config()), tokenizer, "the")
        with pytest.raises(InputError, match="only a decoder writes on"):
            generate_text(BertLMHeadModel(tiny.config()), tokenizer, "the", 3)
        with pytest.raises(InputError, match=r"it must be a tokenizers\.Tokenizer"):
            generate_text(model, None, "the", 3)
