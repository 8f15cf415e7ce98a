"""fill_mask, next_sentence and embed: the same answers in every order, batch and padding."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from messages import one_line
from tokenizers import Tokenizer

import numbert
from numbert import InputError
from numbert.errors import shown
from numbert.files.tokenizer import bert_tokenizer
from numbert.inference import overlong

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS += ["the", "a", "cat", "dog", "sat", "ran", "on", "under", "mat", "tree", "and", "then", "slept"]
CLS, SEP = 2, 3


@pytest.fixture(scope="module")
def tokenizer():
    return bert_tokenizer({word: i for i, word in enumerate(WORDS)})


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
    TEXTS = ("the cat sat on the mat", "dog", "then a dog ran under the tree", "the cat")

    def test_the_mean_over_tokens_and_not_over_padding(self, model, tokenizer):
        vectors = numbert.embed(model.bert, tokenizer, self.TEXTS, batch_size=2)
        assert vectors.shape == (4, 12)
        assert vectors.dtype == np.float32
        for text, vector in zip(self.TEXTS, vectors, strict=True):
            hidden = model.bert(np.array([tokenizer.encode(text).ids])).last_hidden_state[0]
            np.testing.assert_allclose(vector, hidden.mean(axis=0), atol=1e-6, err_msg=text)

    @pytest.mark.parametrize("positions", [6, 7, 8, 11])
    @pytest.mark.parametrize("lengths", [(9, 2), (2, 9), (9, 9), (3, 4), (4, 3), (1, 1), (5, 6)])
    def test_a_pair_is_cut_as_everywhere_and_keeps_both_separators(self, tokenizer, positions, lengths):
        model = numbert.BertModel(tiny.config(max_position_embeddings=positions, vocab_size=60), seed=3).eval()
        first, second = ("cat " * lengths[0], "dog " * lengths[1])
        field = Tokenizer.from_str(tokenizer.to_str())
        field.enable_truncation(positions, strategy="longest_first")
        wanted = field.encode(first, second)
        assert wanted.ids.count(tokenizer.token_to_id("[SEP]")) == 2
        hidden_states = model(np.array([wanted.ids]), token_type_ids=np.array([wanted.type_ids]))[0]
        vectors = numbert.embed(model, tokenizer, [(first, second), "cat"])
        np.testing.assert_allclose(vectors[0], hidden_states[0].mean(axis=0), rtol=1e-5, atol=1e-6)
        assert overlong(model, tokenizer, [(first, second)]) == ([0] if sum(lengths) + 3 > positions else [])

    def test_overlong_texts_count_with_their_beginning_between_cls_and_sep(self, model, tokenizer):
        words = ["the", "cat", "sat", "on", "the", "mat", "and", "then", "a", "dog", "ran", "under", "a", "tree"]
        texts = [" ".join(words[:length]) for length in (14, 10, 9)]
        vectors = numbert.embed(model.bert, tokenizer, [*texts, "cat"])
        ids = [CLS, *(WORDS.index(word) for word in words[:9]), SEP]
        assert len(ids) == model.config.max_position_embeddings
        expected = model.bert(np.array([ids])).last_hidden_state[0].mean(axis=0)
        for vector in vectors[:3]:
            np.testing.assert_allclose(vector, expected, atol=1e-6)

    def test_which_texts_are_cut_is_told_once_before_they_are_computed(self, model, tokenizer):
        texts = ["cat " * 10, "cat", "cat " * 9, "dog " * 30]
        told = []
        numbert.embed(model, tokenizer, texts, on_cut=told.append)
        assert told == [[0, 3]]
        assert overlong(model, tokenizer, texts) == [0, 3]
        numbert.embed(model, tokenizer, ["cat " * 9], on_cut=told.append)
        assert overlong(model, tokenizer, ["cat " * 9]) == overlong(model, tokenizer, []) == []
        assert told == [[0, 3]], "nothing is told where nothing is cut"

    def test_the_tokenizer_stays_as_it_is_and_may_be_shared_by_threads(self, model, tokenizer):
        texts = [f"{word} " * (n + 1) for n in range(25) for word in WORDS[5:]]
        before = tokenizer.to_str()
        alone = numbert.embed(model, tokenizer, texts)
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda _: numbert.embed(model, tokenizer, texts), range(8)))
        assert all(np.array_equal(vectors, alone) for vectors in together)
        assert tokenizer.to_str() == before

    def test_each_text_is_tokenized_once(self, model, tokenizer):
        seen = []

        class Counting:
            """The tokenizer, and every text that it is asked to cut into tokens."""

            def __getattr__(self, name):
                return getattr(tokenizer, name)

            def encode_batch(self, texts, **options):
                seen.extend(texts)
                return tokenizer.encode_batch(texts, **options)

        texts = ["cat " * 30, "dog", "cat " * 30]
        numbert.embed(model, Counting(), texts, on_cut=lambda cut: None)
        assert seen == texts

    @pytest.mark.parametrize("direction", ["left", "right"])
    def test_a_tokenizer_that_pads_gives_the_same_vectors(self, direction, model, tokenizer):
        padding = Tokenizer.from_str(tokenizer.to_str())
        padding.enable_padding(direction=direction, length=30)
        texts = ["the cat sat", "dog", "cat " * 20]
        assert np.array_equal(numbert.embed(model, padding, texts), numbert.embed(model, tokenizer, texts))
        assert padding.padding["length"] == 30
        text = "the [MASK] sat"
        assert numbert.fill_mask(model, padding, text) == numbert.fill_mask(model, tokenizer, text)
        pair = ("the cat", "a dog ran")
        assert numbert.next_sentence(model, padding, *pair) == numbert.next_sentence(model, tokenizer, *pair)

    def test_a_tokenizer_that_truncates_does_as_its_user_wishes(self, model, tokenizer):
        truncating = Tokenizer.from_str(tokenizer.to_str())
        truncating.enable_truncation(4, direction="left")
        ids = [CLS, WORDS.index("the"), WORDS.index("mat"), SEP]
        np.testing.assert_allclose(
            numbert.embed(model, truncating, "the cat sat on the mat")[0],
            model.bert(np.array([ids])).last_hidden_state[0].mean(axis=0),
            atol=1e-6,
        )

    def test_the_encoder_of_a_model_with_heads_is_taken(self, model, tokenizer):
        vectors = numbert.embed(model.bert, tokenizer, self.TEXTS)
        assert np.array_equal(numbert.embed(model, tokenizer, self.TEXTS), vectors)
        for cls in (numbert.BertForMaskedLM, numbert.BertForNextSentencePrediction):
            assert numbert.embed(cls(model.config), tokenizer, self.TEXTS).shape == vectors.shape

    def test_bad_input(self, model, tokenizer):
        with pytest.raises(numbert.InputError, match="no text to embed"):
            numbert.embed(model.bert, tokenizer, [])

    def test_progress_goes_to_stderr(self, model, tokenizer, capsys):
        numbert.embed(model.bert, tokenizer, ["cat"] * 5, batch_size=2, progress=True)
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "texts" in captured.err


class Series:
    """What pandas' Series is, as far as this is about: values that are iterated over, and one axis."""

    ndim = 1

    def __init__(self, values):
        self.values = values

    def __iter__(self):
        return iter(self.values)

    def __len__(self):
        return len(self.values)

    def __bool__(self):
        raise ValueError("The truth value of a Series is ambiguous.")


def generator(texts):
    yield from texts


class TestTexts:
    """One text, or whatever holds several."""

    TEXTS = ("the [MASK] sat", "a dog [MASK] on the mat", "[MASK]")

    @pytest.mark.parametrize(
        "kind",
        [list, tuple, iter, np.array, lambda texts: np.array(texts, object), Series, generator],
        ids=["list", "tuple", "iterator", "array", "array of objects", "Series", "generator"],
    )
    def test_several_texts_in_any_form(self, kind, model, tokenizer):
        expected = numbert.embed(model, tokenizer, list(self.TEXTS))
        assert np.array_equal(numbert.embed(model, tokenizer, kind(self.TEXTS)), expected)
        filled = numbert.fill_mask(model, tokenizer, kind(self.TEXTS))
        assert filled == numbert.fill_mask(model, tokenizer, list(self.TEXTS))
        assert [type(one.text) for one in filled] == [str] * 3
        assert overlong(model, tokenizer, kind(self.TEXTS)) == []

    @pytest.mark.parametrize("text", ["the [MASK] sat", np.str_("the [MASK] sat")])
    def test_one_string_is_one_text(self, text, model, tokenizer):
        vectors = numbert.embed(model, tokenizer, text)
        assert vectors.shape == (1, 12)
        assert np.array_equal(vectors, numbert.embed(model, tokenizer, ["the [MASK] sat"]))
        assert numbert.fill_mask(model, tokenizer, text) == numbert.fill_mask(model, tokenizer, [text])
        assert overlong(model, tokenizer, text) == []
        assert overlong(model, tokenizer, "cat " * 10) == [0]

    @pytest.mark.parametrize(
        ("texts", "message"),
        [
            (b"[MASK]", "texts is b'[MASK]', a bytes; it must be a str or a list of str"),
            ({"[MASK]": 1}, "texts is {'[MASK]': 1}, a dict; it must be a str or a list of str"),
            (None, "texts is None, a NoneType; it must be a str or a list of str"),
            (3, "texts is 3, a int; it must be a str or a list of str"),
            (np.array("a"), "texts is array('a', dtype='<U1'), a ndarray; it must be a str or a list of str"),
            (np.ones((1, 1)), "texts is array([[1.]]), a ndarray; it must be a str or a list of str"),
            (["[MASK]", b"[MASK]"], "text 1 is b'[MASK]', a bytes; it must be a str"),
            (["[MASK]", "[MASK]", None], "text 2 is None, a NoneType; it must be a str"),
            (["[MASK]", float("nan")], "text 1 is nan, a float; it must be a str"),
            ([["[MASK]", "cat", "dog"]], "text 0 is ['[MASK]', 'cat', 'dog'], a list; it must be a str"),
            ([("[MASK]",)], "text 0 is ('[MASK]',), a tuple; it must be a str"),
            ([np.zeros((2, 1))], "text 0 is array([[0.], [0.]]), a ndarray; it must be a str"),
            (["[MASK]", "[MASK] \ud800\n"], "text 1, '[MASK] \\ud800\\n', has a lone surrogate, '\\ud800', at 7"),
            (["[MASK]", "\udfff" * 99], None),
        ],
        ids=lambda value: ascii(value)[:20],
    )  # fmt: skip
    def test_what_is_no_text_is_one_line(self, texts, message, model, tokenizer):
        for function in (numbert.embed, numbert.fill_mask, overlong):
            with pytest.raises(InputError) as error:
                function(model, tokenizer, texts)
            assert message is None or str(error.value) == message
            one_line(error)

    def test_masks_are_filled_in_texts_and_not_in_pairs(self, model, tokenizer):
        with pytest.raises(InputError, match=r"text 0 is .*, a tuple; it must be a str"):
            numbert.fill_mask(model, tokenizer, [("[MASK]", "cat")])

    def test_a_pair_is_of_two_texts(self, model, tokenizer):
        for function in (numbert.embed, overlong):
            with pytest.raises(InputError, match=r"text 1\[0\] is 3, a int; it must be a str"):
                function(model, tokenizer, ["cat", (3, "cat")])

    # All that BERT's normalizer takes away, and a text that was empty from the start.
    NOTHING = ("", " ", "\n\t", "\u200b", "\x00\x07\x1f", "\ufeff", "\ufffd", "\u0301")

    @pytest.mark.parametrize("nothing", NOTHING, ids=ascii)
    def test_a_text_of_which_nothing_is_left_has_no_answer(self, nothing, model, tokenizer):
        for function in (numbert.embed, overlong):
            with pytest.raises(InputError, match="has nothing in it that the tokenizer keeps") as error:
                function(model, tokenizer, ["cat", nothing])
            assert one_line(error).startswith(f"text 1, {nothing!r}, ")
        with pytest.raises(InputError, match=r"there is no \[MASK\] in '") as error:
            numbert.fill_mask(model, tokenizer, ["[MASK]", nothing])
        one_line(error)
        for name, pair in (("first", (nothing, "cat")), ("second", ("cat", nothing))):
            with pytest.raises(InputError, match=f"both texts must have words in them, and {name} is '") as error:
                numbert.next_sentence(model, tokenizer, *pair)
            one_line(error)

    @pytest.mark.parametrize(
        ("first", "second", "message"),
        [
            ("cat", None, "second is None, a NoneType; it must be a str"),
            (b"cat", "dog", "first is b'cat', a bytes; it must be a str"),
            (["cat"], "dog", "first is ['cat'], a list; it must be a str"),
            ("cat", "\ud800", "second, '\\ud800', has a lone surrogate, '\\ud800', at 0"),
        ],
        ids=lambda value: ascii(value)[:20],
    )  # fmt: skip
    def test_a_pair_is_of_texts(self, first, second, message, model, tokenizer):
        with pytest.raises(InputError) as error:
            numbert.next_sentence(model, tokenizer, first, second)
        assert str(error.value) == message

    @given(
        st.lists(
            st.text(st.characters(), max_size=8) | st.none() | st.binary(max_size=3) | st.integers(), max_size=3
        )
        | st.text(max_size=8)
        | st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2)
        | st.floats()
    )
    @settings(
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors], deadline=None
    )
    def test_whatever_is_given_there_is_a_vector_for_each_text_or_one_line(self, model, tokenizer, texts):
        try:
            vectors = numbert.embed(model, tokenizer, texts)
        except InputError:
            with pytest.raises(InputError) as error:
                numbert.embed(model, tokenizer, texts)
            one_line(error)
        else:
            assert np.isfinite(vectors).all()
            assert len(vectors) == (1 if isinstance(texts, str) else len(texts))


class TestNumbers:
    """batch_size and top_k."""

    @pytest.mark.parametrize(
        "value", [0, -1, -(10**5000), True, False, 2.5, 2.0, "2", None, float("nan"), [2]], ids=shown
    )
    def test_a_batch_has_at_least_one_text(self, value, model, tokenizer):
        for function in (numbert.embed, numbert.fill_mask):
            for texts in ("[MASK]", ["[MASK]"] * 3, []):
                with pytest.raises(InputError) as error:
                    function(model, tokenizer, texts, batch_size=value)
                assert one_line(error).startswith("batch_size is ")

    @pytest.mark.parametrize("value", [0, -1, 19, 10**5000, True, 2.5, 2.0, "2", None, float("nan")], ids=shown)
    def test_top_k_is_a_number_of_words(self, value, model, tokenizer):
        with pytest.raises(InputError) as error:
            numbert.fill_mask(model, tokenizer, "[MASK]", top_k=value)
        assert one_line(error).startswith("top_k is ")

    def test_numpys_integers_are_integers(self, model, tokenizer):
        texts = ["the [MASK]", "[MASK] cat", "a [MASK]"]
        expected = numbert.fill_mask(model, tokenizer, texts, 3, 2)
        assert numbert.fill_mask(model, tokenizer, texts, np.int64(3), np.uint8(2)) == expected
        assert numbert.embed(model, tokenizer, texts, batch_size=np.int32(2)).shape == (3, 12)


CALLS = {
    "embed(model, tokenizer, texts)": lambda model, tokenizer: numbert.embed(model, tokenizer, "cat"),
    "overlong(model, tokenizer, texts)": lambda model, tokenizer: overlong(model, tokenizer, "cat"),
    "fill_mask(model, tokenizer, texts)": lambda model, tokenizer: numbert.fill_mask(model, tokenizer, "[MASK]"),
    "next_sentence(model, tokenizer, first, second)": lambda model, tokenizer: numbert.next_sentence(
        model, tokenizer, "cat", "dog"
    ),
}


class TestModelsAndTokenizers:
    def test_a_model_without_the_head_is_one_line(self, model, tokenizer):
        words, pairs = numbert.BertForMaskedLM(model.config), numbert.BertForNextSentencePrediction(model.config)
        for without in (model.bert, pairs):
            with pytest.raises(InputError) as error:
                numbert.fill_mask(without, tokenizer, "[MASK]")
            assert str(error.value) == (
                "fill_mask(model, tokenizer, texts) needs the head for masked tokens, as in BertForMaskedLM or "
                f"BertForPreTraining; model is a {type(without).__name__}"
            )
        for without in (model.bert, words):
            with pytest.raises(InputError) as error:
                numbert.next_sentence(without, tokenizer, "cat", "dog")
            assert str(error.value) == (
                "next_sentence(model, tokenizer, first, second) needs the head for the next sentence, as in "
                f"BertForNextSentencePrediction or BertForPreTraining; model is a {type(without).__name__}"
            )

    @pytest.mark.parametrize("call", CALLS)
    def test_what_is_no_model_is_one_line(self, call, model, tokenizer):
        for thing in (tokenizer, None, "weights", numbert.BertModel, model.config, model.bert.encoder):
            with pytest.raises(InputError) as error:
                CALLS[call](thing, model)
            assert one_line(error).startswith(f"{call} needs ")
            assert str(error.value).endswith(f"model is a {type(thing).__name__}")

    @pytest.mark.parametrize("call", CALLS)
    def test_what_is_no_tokenizer_is_one_line(self, call, model):
        for thing in (None, "vocab.txt", str.split, model):
            with pytest.raises(InputError) as error:
                CALLS[call](model, thing)
            assert one_line(error).startswith(f"tokenizer is a {type(thing).__name__}; it must be a tokenizers.")

    def test_a_configuration_that_asks_for_tuples_changes_nothing(self, model, tokenizer):
        """config.json's "return_dict": false is for who calls the model himself."""
        asks = numbert.BertForPreTraining(
            numbert.BertConfig.from_dict(model.config.to_dict() | {"return_dict": False})
        )
        asks.load_state_dict(model.state_dict())
        asks.eval()
        assert isinstance(asks(np.array([[2, 5, 3]])), tuple)
        texts = ["the [MASK] sat", "[MASK]"]
        assert np.array_equal(numbert.embed(asks, tokenizer, texts), numbert.embed(model, tokenizer, texts))
        assert numbert.fill_mask(asks, tokenizer, texts) == numbert.fill_mask(model, tokenizer, texts)
        pair = ("the cat", "a dog ran")
        assert numbert.next_sentence(asks, tokenizer, *pair) == numbert.next_sentence(model, tokenizer, *pair)
        only = numbert.BertForNextSentencePrediction(asks.config).eval()
        only.load_state_dict({name: a for name, a in model.state_dict().items() if "predictions" not in name})
        assert numbert.next_sentence(only, tokenizer, *pair) == numbert.next_sentence(model, tokenizer, *pair)
