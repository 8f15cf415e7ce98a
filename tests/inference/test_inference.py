"""fill_mask, next_sentence and embed: the same answers in every order, batch and padding."""

import numpy as np
import pytest
import tiny
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import numbert
from numbert.inference import overlong

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS += ["the", "a", "cat", "dog", "sat", "ran", "on", "under", "mat", "tree", "and", "then", "slept"]


@pytest.fixture(scope="module")
def tokenizer():
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.add_special_tokens(WORDS[:5])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


@pytest.fixture(scope="module")
def model():
    return numbert.BertForPreTraining(tiny.config(vocab_size=len(WORDS), initializer_range=0.5), seed=1).eval()


class TestFillMask:
    def test_guesses_are_the_models_probabilities(self, model, tokenizer):
        text = "the [MASK] sat on the mat"
        (filled,) = numbert.fill_mask(model, tokenizer, [text], top_k=3)
        ids = np.array([tokenizer.encode(text).ids])
        logits = model(ids).prediction_logits[0, 2].astype(float)
        probs = np.exp(logits) / np.exp(logits).sum()
        best = np.argsort(-probs)[:3]
        assert [guess.token for guess in filled.masks[0]] == [WORDS[i] for i in best]
        np.testing.assert_allclose([g.probability for g in filled.masks[0]], probs[best], rtol=1e-5)

    def test_every_mask_of_every_text_in_order(self, model, tokenizer):
        texts = ["[MASK] cat", "the [MASK] and the [MASK] slept under the tree", "a dog [MASK]"]
        together = numbert.fill_mask(model, tokenizer, texts, batch_size=2)
        assert [len(filled.masks) for filled in together] == [1, 2, 1]
        for text, filled in zip(texts, together, strict=True):
            (alone,) = numbert.fill_mask(model, tokenizer, [text])
            for ours, theirs in zip(filled.masks, alone.masks, strict=True):
                assert [g.token for g in ours] == [g.token for g in theirs]
        assert together[0].to_dict()["masks"][0][0].keys() == {"token", "probability"}

    @pytest.mark.parametrize(
        ("text", "top_k", "message"),
        [
            ("the cat sat", 5, r"there is no \[MASK\] in 'the cat sat'"),
            ("[MASK] " * 10, 5, "has 12 tokens; the model has 11 positions"),
            ("[MASK]", 0, "top_k is 0; it can be 1 to 18"),
            ("[MASK]", 19, "top_k is 19; it can be 1 to 18"),
        ],
    )
    def test_bad_input(self, model, tokenizer, text, top_k, message):
        with pytest.raises(numbert.InputError, match=message):
            numbert.fill_mask(model, tokenizer, [text], top_k=top_k)


class TestNextSentence:
    def test_it_is_the_probability_of_label_0(self, model, tokenizer):
        probability = numbert.next_sentence(model, tokenizer, "the cat sat", "then a dog ran")
        encoding = tokenizer.encode("the cat sat", "then a dog ran")
        logits = model(np.array([encoding.ids]), token_type_ids=np.array([encoding.type_ids]))[1][0]
        assert probability == pytest.approx(1 / (1 + np.exp(logits[1] - logits[0])), rel=1e-5)
        assert probability != numbert.next_sentence(model, tokenizer, "then a dog ran", "the cat sat")

    def test_the_two_kinds_of_model_agree(self, model, tokenizer):
        other = numbert.BertForNextSentencePrediction(model.config).eval()
        state = {name: a for name, a in model.state_dict().items() if "predictions" not in name}
        other.load_state_dict(state)
        pair = ("the cat sat", "a dog ran")
        assert numbert.next_sentence(other, tokenizer, *pair) == numbert.next_sentence(model, tokenizer, *pair)

    def test_bad_input(self, model, tokenizer):
        with pytest.raises(numbert.InputError, match="both texts must have words"):
            numbert.next_sentence(model, tokenizer, "the cat", " ")
        with pytest.raises(numbert.InputError, match="has 13 tokens; the model has 11 positions"):
            numbert.next_sentence(model, tokenizer, "the cat sat on the mat", "a dog ran then")


class TestEmbed:
    TEXTS = ("the cat sat on the mat", "dog", "then a dog ran under the tree", "the cat", "")

    def test_the_mean_over_tokens_and_not_over_padding(self, model, tokenizer):
        vectors = numbert.embed(model.bert, tokenizer, self.TEXTS, batch_size=2)
        assert vectors.shape == (5, 12)
        assert vectors.dtype == np.float32
        for text, vector in zip(self.TEXTS, vectors, strict=True):
            hidden = model.bert(np.array([tokenizer.encode(text).ids])).last_hidden_state[0]
            np.testing.assert_allclose(vector, hidden.mean(axis=0), atol=1e-6, err_msg=text)

    def test_overlong_texts_count_with_their_beginning(self, model, tokenizer):
        long, beginning = "cat " * 20, "cat " * 10
        assert overlong(model.bert, tokenizer, [long, "cat"]) == [0]
        vectors = numbert.embed(model.bert, tokenizer, [long, "cat"])
        ids = tokenizer.encode(beginning).ids[:11]
        np.testing.assert_allclose(vectors[0], model.bert(np.array([ids]))[0][0].mean(axis=0), atol=1e-6)

    def test_bad_input(self, model, tokenizer):
        with pytest.raises(numbert.InputError, match="no text to embed"):
            numbert.embed(model.bert, tokenizer, [])
        with pytest.raises(numbert.InputError, match="batch_size is 0"):
            numbert.embed(model.bert, tokenizer, ["cat"], batch_size=0)

    def test_progress_goes_to_stderr(self, model, tokenizer, capsys):
        numbert.embed(model.bert, tokenizer, ["cat"] * 5, batch_size=2, progress=True)
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "texts" in captured.err
