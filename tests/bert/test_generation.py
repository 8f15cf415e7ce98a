"""generate: the tokens that transformers writes, that each text gets alone, and drawn as often as they should be.

transformers' side is stored (tests/helpers/make_parity.py made it), so this proves it without PyTorch.
"""

import copy
import itertools

import numpy as np
import pytest
import tiny
from generation_cases import DECODERS, assert_same_tokens, numbert_tokens, stored
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import one_line

from numbert import BertLMHeadModel, InputError, sampling_probs
from numbert.bert.tasks import registry
from numbert.bert.tasks.decoding import Hypotheses, beam_search, draw

STORED = stored()
LOGITS = np.log([0.5, 0.25, 0.125, 0.125])
EOS = 19


def decoder(seed=8, **changes):
    """A model whose answers are far from alike: wide initial weights."""
    settings = {
        "is_decoder": True,
        "tie_word_embeddings": False,
        "initializer_range": 0.8,
        "max_position_embeddings": 16,
    } | changes
    return BertLMHeadModel(tiny.config(**settings), seed=seed, dtype=np.float64)


def prompts():
    """Integers [3,4] without padding."""
    return np.random.default_rng(5).integers(1, tiny.SIZES["vocab_size"], (3, 4))


@pytest.fixture(scope="module")
def model():
    return decoder().eval()


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("name", DECODERS)
def test_the_same_tokens_as_transformers(name, use_cache):
    assert_same_tokens(numbert_tokens(DECODERS[name], STORED[name], use_cache=use_cache), STORED[name])


def test_among_the_stored_tokens_texts_end_early_late_and_not_at_all():
    ids = [array for numbers in STORED.values() for name, array in numbers.items() if name.startswith("ids.")]
    lengths = {array.shape[1] for array in ids}
    assert {5, 11} < lengths
    assert len({array.tobytes() for array in ids}) > 15


class TestGreedy:
    def test_each_token_is_the_most_probable_after_those_before_it(self, model):
        ids = prompts()
        written = model.generate(ids, max_new_tokens=6)
        assert written.shape == (3, 10)
        assert np.array_equal(written[:, :4], ids)
        for length in range(4, 10):
            assert np.array_equal(model(written[:, :length]).logits[:, -1].argmax(axis=-1), written[:, length])

    def test_twenty_tokens_unless_told_otherwise_and_none_if_so(self):
        ids = prompts()
        assert decoder(max_position_embeddings=24).generate(ids).shape == (3, 24)
        none = decoder().generate(ids, max_new_tokens=0)
        assert np.array_equal(none, ids)
        assert none is not ids

    def test_behind_the_end_token_stands_padding(self, model):
        ids = prompts()
        free = model.generate(ids, max_new_tokens=8)
        eos = int(free[0, 4])  # so the first text ends with its first new token
        written = model.generate(ids, max_new_tokens=8, eos_token_id=eos, pad_token_id=7)
        for row, unended in zip(written, free, strict=True):
            ends = np.flatnonzero(unended[4:] == eos)
            length = 4 + (ends[0] + 1 if len(ends) else 8)
            assert np.array_equal(row[:length], unended[:length])
            assert (row[length:] == 7).all()
        assert (written[0] == 7).any()

    def test_it_stops_when_every_text_has_ended(self, model):
        ids = prompts()[:1]
        eos = int(model.generate(ids, max_new_tokens=1)[0, -1])
        assert model.generate(ids, max_new_tokens=8, eos_token_id=eos).shape == (1, 5)

    def test_the_configuration_may_name_the_end_and_the_padding(self):
        ids = prompts()
        eos = int(decoder().generate(ids, max_new_tokens=1)[0, -1])
        named = decoder(extra={"eos_token_id": eos}, pad_token_id=9)
        written = named.generate(ids, max_new_tokens=8)
        assert np.array_equal(written, decoder(pad_token_id=9).generate(ids, max_new_tokens=8, eos_token_id=eos))
        assert written[0, 4] == eos
        assert (written[0, 5:] == 9).all()
        unpadded = decoder(pad_token_id=None).generate(ids, max_new_tokens=8, eos_token_id=eos)
        assert (unpadded[0, 4:] == eos).all(), "without another one, the end token pads"

    def test_on_tokens_gets_each_step_at_once(self, model):
        steps = []
        written = model.generate(prompts(), max_new_tokens=5, on_tokens=steps.append)
        assert np.array_equal(np.stack(steps, axis=1), written[:, 4:])

    def test_any_float_type(self, model):
        ids = prompts()
        expected = model.generate(ids, max_new_tokens=6)
        for dtype in (np.float32, np.complex128):
            assert np.array_equal(copy.deepcopy(model).to(dtype).generate(ids, max_new_tokens=6), expected)


class TestLeftPadding:
    @pytest.mark.parametrize("positions", ["absolute", "relative_key", "relative_key_query"])
    @pytest.mark.parametrize("how", [{}, {"num_beams": 3}, {"num_beams": 2, "use_cache": False}], ids=str)
    def test_each_text_gets_the_tokens_that_it_gets_alone(self, positions, how):
        model = decoder(position_embedding_type=positions)
        ids = prompts()
        mask = np.array([[0, 0, 0, 1], [1, 1, 1, 1], [0, 1, 1, 1]])
        written = model.generate(ids, mask, max_new_tokens=6, eos_token_id=EOS, **how)
        for row, text, real in zip(written, ids, mask, strict=True):
            alone = model.generate(text[real == 1][None], max_new_tokens=6, eos_token_id=EOS, **how)[
                0, real.sum() :
            ]
            assert np.array_equal(row[4 : 4 + len(alone)], alone)
            assert not row[4 + len(alone) :].any()

    def test_what_stands_in_the_padding_does_not_matter(self, model):
        ids, mask = prompts(), np.array([[0, 0, 1, 1]] * 3)
        other = np.where(mask == 1, ids, 9)
        first, second = (model.generate(i, mask, max_new_tokens=5)[:, 4:] for i in (ids, other))
        assert np.array_equal(first, second)


class Script:
    """Takes a model's place in beam search: the probabilities of each step, whatever stands before."""

    def __init__(self, *probs):
        self.logits = [np.log(one) for one in probs]

    def __call__(self, ids):
        return np.tile(self.logits.pop(0), (len(ids), 1))

    def take(self, rows):
        """Goes on with these rows, which are all alike."""


class TestBeamSearch:
    def test_an_end_behind_the_first_candidates_is_no_hypothesis(self):
        """In the second step the candidates are 0 3 (0.2), 0 0 (0.175), 1 3 (0.16) and 1 0 (0.14): two beams, so
        1 3 comes too late. With it there would be two texts, none that goes on would look better after three
        tokens, and the search would end before the fourth makes 0 0 0 0 the best."""
        steps = [0.5, 0.4, 0.06, 0.04], [0.35, 0.15, 0.1, 0.4], [0.36, 0.34, 0.28, 0.02], [0.97, 0.01, 0.01, 0.01]
        written = beam_search(Script(*steps), np.array([[1]]), 4, 2, 1.0, 3, 0)
        assert written.tolist() == [[1, 0, 0, 0, 0]]

    def test_an_end_among_the_first_is_one_and_may_win(self):
        even = [0.34, 0.33, 0.32, 0.01]
        written = beam_search(Script([0.4, 0.1, 0.2, 0.3], even, even), np.array([[1]]), 3, 2, 0.0, 3, 0)
        assert written.tolist() == [[1, 3]]

    def test_with_as_many_beams_as_pieces_two_tokens_are_the_best_of_all_pairs(self):
        v = 7
        model = decoder(vocab_size=v).eval()
        ids = np.array([[1, 2, 3], [4, 4, 5]])
        written = model.generate(ids, max_new_tokens=2, num_beams=v)
        for row, prompt in zip(written, ids, strict=True):
            pairs = np.array(list(itertools.product(range(v), repeat=2)))
            texts = np.concatenate([np.tile(prompt, (len(pairs), 1)), pairs], axis=1)
            logits = model(texts).logits
            log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
            rows = np.arange(len(pairs))
            totals = log_probs[rows, 2, pairs[:, 0]] + log_probs[rows, 3, pairs[:, 1]]
            assert np.array_equal(row[3:], pairs[totals.argmax()])

    def test_one_beam_is_greedy(self, model):
        assert np.array_equal(
            model.generate(prompts(), max_new_tokens=5, num_beams=1), model.generate(prompts(), max_new_tokens=5)
        )

    def test_hypotheses_are_compared_by_their_mean_and_the_worst_makes_room(self):
        found = Hypotheses(num_beams=2, length_penalty=1.0)
        one, two, three = np.array([1]), np.array([2, 2]), np.array([3, 3, 3])
        found.add(-2.0, one)
        assert not found.is_done(-100.0, 1), "there is room for another"
        found.add(-3.0, two)  # -1.5 a token
        assert found.worst == -2.0
        assert found.is_done(-6.0, 3)
        assert not found.is_done(-5.9, 3)
        found.add(-6.0, three)  # -2, no better than the worst
        assert [score for score, _ in found.kept] == [-2.0, -1.5]
        found.add(-3.0, three)  # -1
        assert [score for score, _ in found.kept] == [-1.5, -1.0]
        assert found.best() is three

    def test_of_equal_scores_the_last_is_the_best(self):
        found = Hypotheses(num_beams=2, length_penalty=0.0)
        first, second = np.array([1]), np.array([2])
        found.add(-1.0, first)
        found.add(-1.0, second)
        assert found.best() is second

    @pytest.mark.parametrize("length_penalty", [1e300, -1e300])
    def test_any_penalty_is_a_number(self, model, length_penalty):
        written = model.generate(prompts(), max_new_tokens=4, num_beams=2, length_penalty=length_penalty)
        assert written.shape == (3, 8)


class TestSamplingProbs:
    def test_by_default_they_are_the_softmax(self):
        np.testing.assert_allclose(sampling_probs(LOGITS), [0.5, 0.25, 0.125, 0.125], rtol=1e-14)

    def test_half_the_temperature_squares_them(self):
        np.testing.assert_allclose(sampling_probs(LOGITS, 0.5), np.array([16, 4, 1, 1]) / 22, rtol=1e-14)

    def test_twice_the_temperature_takes_their_roots(self):
        roots = np.sqrt([8, 4, 2, 2])
        np.testing.assert_allclose(sampling_probs(LOGITS, temperature=2), roots / roots.sum(), rtol=1e-14)

    @pytest.mark.parametrize(
        ("top_k", "weights"), [(1, [1, 0, 0, 0]), (2, [2, 1, 0, 0]), (3, [4, 2, 1, 1]), (9, [4, 2, 1, 1])]
    )
    def test_top_k_keeps_ties_with_the_last(self, top_k, weights):
        np.testing.assert_allclose(
            sampling_probs(LOGITS, top_k=top_k), np.array(weights) / sum(weights), rtol=1e-14
        )

    @pytest.mark.parametrize(
        ("top_p", "weights"),
        [(1e-9, [1, 0, 0, 0]), (0.49, [1, 0, 0, 0]), (0.51, [2, 1, 0, 0]), (0.8, [4, 2, 1, 0]), (1, [4, 2, 1, 1])],
    )
    def test_top_p_keeps_as_many_as_reach_it(self, top_p, weights):
        np.testing.assert_allclose(
            sampling_probs(LOGITS, top_p=top_p), np.array(weights) / sum(weights), rtol=1e-14
        )

    def test_temperature_comes_first_then_top_k_then_top_p(self):
        # At temperature 1/2 the shares are 16, 4, 1, 1; of the two that are left the first has 0.8.
        np.testing.assert_allclose(sampling_probs(LOGITS, 0.5, 2, 0.79), [1, 0, 0, 0])
        np.testing.assert_allclose(sampling_probs(LOGITS, 0.5, 2, 0.81), [0.8, 0.2, 0, 0], rtol=1e-14)

    def test_any_axes_and_scores_of_any_size(self):
        logits = np.array([[[1e300, 0.0, -1e300]], [[-5.0, 2000.0, 0.0]]], np.float64)
        probs = sampling_probs(logits, temperature=1e-300)
        assert probs.dtype == np.float64
        assert np.array_equal(probs, [[[1, 0, 0]], [[0, 1, 0]]])
        assert sampling_probs(np.float32([0, 1]), 0.7).dtype == np.float64

    def test_a_point_falls_to_the_piece_in_whose_interval_it_is(self):
        class Points:
            def random(self, size):
                return np.array([0.0, 0.49, 0.5, np.nextafter(1.0, 0)])

        assert draw(np.array([[0.0, 0.5, 0.0, 0.5, 0.0]] * 4), Points()).tolist() == [1, 1, 3, 3]


class TestSampling:
    SAME = 4000  # texts, all alike, so that each is a draw of its own

    @pytest.mark.parametrize(
        "how",
        [{}, {"temperature": 0.6}, {"temperature": 3.0, "top_k": 5}, {"temperature": 2.5, "top_p": 0.7}],
        ids=str,
    )
    def test_tokens_are_as_frequent_as_their_probabilities(self, how):
        model = decoder(num_hidden_layers=1, initializer_range=0.3)
        ids = np.tile(prompts()[:1], (self.SAME, 1))
        written = model.generate(ids, max_new_tokens=1, do_sample=True, seed=11, **how)[:, -1]
        probs = sampling_probs(model.eval()(ids[:1]).logits[0, -1], **how)
        counts = np.bincount(written, minlength=len(probs))
        assert (probs > 0).sum() > 2
        assert (np.abs(counts - self.SAME * probs) <= 4.5 * np.sqrt(self.SAME * probs * (1 - probs)) + 1e-9).all()

    def test_the_second_token_follows_from_the_first_that_was_drawn(self):
        model = decoder(num_hidden_layers=1, initializer_range=0.3)
        ids = np.tile(prompts()[:1], (self.SAME, 1))
        written = model.generate(ids, max_new_tokens=2, do_sample=True, top_k=2, seed=12)
        firsts = np.unique(written[:, 4])
        assert len(firsts) == 2
        for first in firsts:
            rows = written[written[:, 4] == first]
            probs = sampling_probs(model.eval()(rows[:1, :5]).logits[0, -1], top_k=2)
            counts = np.bincount(rows[:, 5], minlength=len(probs))
            assert (
                np.abs(counts - len(rows) * probs) <= 4.5 * np.sqrt(len(rows) * probs * (1 - probs)) + 1e-9
            ).all()

    def test_a_seed_makes_a_generator_of_its_own(self, model):
        def drawn(**how):
            return model.generate(prompts(), max_new_tokens=8, do_sample=True, temperature=5.0, **how)

        state, everyone = model.rng.bit_generator.state, np.random.get_state()[1].copy()  # noqa: NPY002
        assert np.array_equal(drawn(seed=4), drawn(seed=4))
        assert np.array_equal(drawn(), drawn(seed=0))
        assert not np.array_equal(drawn(seed=4), drawn(seed=5))
        rng = np.random.default_rng(4)
        assert np.array_equal(drawn(seed=rng), drawn(seed=4))
        assert not np.array_equal(drawn(seed=rng), drawn(seed=4)), "a generator that is given goes on"
        assert model.rng.bit_generator.state == state
        assert np.array_equal(np.random.get_state()[1], everyone)  # noqa: NPY002

    def test_with_and_without_a_cache_to_the_same_tokens(self, model):
        how = {"max_new_tokens": 8, "do_sample": True, "temperature": 2.0, "eos_token_id": EOS, "seed": 2}
        mask = np.array([[1, 1, 1, 1], [0, 0, 1, 1], [0, 1, 1, 1]])
        assert np.array_equal(
            model.generate(prompts(), mask, **how), model.generate(prompts(), mask, use_cache=False, **how)
        )


class TestWhatItComputes:
    def calls(self, model, **how):
        """The shape of input_ids at each call of the BertModel, and the caches that it returned, with copies."""
        shapes, caches = [], []

        def watch(module, inputs, output):
            shapes.append(np.shape(inputs[0]))
            arrays = [array for layer in output.past_key_values or () for array in layer]
            caches.extend((array, array.copy()) for array in arrays)

        with model.bert.register_forward_hook(watch):
            model.generate(prompts(), max_new_tokens=4, **how)
        return shapes, caches

    def test_with_a_cache_each_step_is_one_token_and_a_prompt_is_read_once_for_all_beams(self, model):
        assert self.calls(model)[0] == [(3, 4), (3, 1), (3, 1), (3, 1)]
        assert self.calls(model, num_beams=2)[0] == [(3, 4), (6, 1), (6, 1), (6, 1)]
        assert self.calls(model, use_cache=False)[0] == [(3, 4), (3, 5), (3, 6), (3, 7)]

    @pytest.mark.parametrize("how", [{}, {"num_beams": 3}])
    def test_a_cache_that_was_returned_is_never_written_to(self, model, how):
        _, caches = self.calls(model, **how)
        assert len(caches) == 4 * 2 * 2
        assert all(np.array_equal(array, copied) for array, copied in caches)

    def test_the_keys_and_values_of_an_encoder_are_made_once(self):
        model = decoder(add_cross_attention=True)
        made = []
        keys = model.bert.encoder.layer[0].crossattention.self.key
        with keys.register_forward_hook(lambda module, inputs, output: made.append(output.shape)):
            model.generate(prompts(), max_new_tokens=4, num_beams=2, encoder_hidden_states=np.ones((3, 5, 12)))
        assert made == [(3, 5, 12)]

    def test_without_dropout_and_the_model_is_left_as_it_was(self):
        model = decoder(hidden_dropout_prob=0.5, attention_probs_dropout_prob=0.5)
        model.bert.encoder.layer[0].eval()
        expected = copy.deepcopy(model).eval().generate(prompts(), max_new_tokens=5)
        labels = prompts()
        model(labels, labels=labels)
        modules = list(model.modules())
        before = [(module.training, module.saved) for module in modules], model.rng.bit_generator.state
        config = model.config.to_dict()
        assert np.array_equal(model.generate(prompts(), max_new_tokens=5), expected)
        with pytest.raises(InputError):
            model.generate(prompts(), max_new_tokens=5, encoder_hidden_states=np.ones((3, 5, 12)))
        after = [(module.training, module.saved) for module in modules], model.rng.bit_generator.state
        assert all(x[0] == y[0] and x[1] is y[1] for x, y in zip(before[0], after[0], strict=True))
        assert before[1] == after[1]
        assert model.config.to_dict() == config
        assert all(parameter.grad is None for parameter in model.parameters())
        model.backward()  # of the forward with labels

    def test_pruned_heads_and_a_configuration_that_asks_for_tuples(self):
        model = decoder(return_dict=False, output_attentions=True, use_cache=False)
        model.prune_heads({0: [0, 2]})
        written = model.generate(prompts(), max_new_tokens=5, num_beams=2)
        assert np.array_equal(written, model.generate(prompts(), max_new_tokens=5, num_beams=2, use_cache=False))


IDS = prompts()
ROWS = np.ones((3, 4), int)
BAD = {
    "num_beams is 0; it can be 1 to 29": {"num_beams": 0},
    "num_beams is 30; it can be 1 to 29": {"num_beams": 30},
    "num_beams is 2.5; it must be an integer": {"num_beams": 2.5},
    "top_p is 1.5; it must be above 0 and at most 1": {"top_p": 1.5, "do_sample": True},
    "top_p is 1.25": {"top_p": 1.25},
    "top_p is 0.0": {"top_p": 0, "do_sample": True},
    "top_p is nan": {"top_p": float("nan"), "do_sample": True},
    "top_k is 0; it must be at least 1": {"top_k": 0, "do_sample": True},
    "temperature is 0; do_sample=False always takes the most probable": {"temperature": 0, "do_sample": True},
    "temperature is -1.0; it must be above 0": {"temperature": -1.0, "do_sample": True},
    "temperature is nan": {"temperature": float("nan"), "do_sample": True},
    "temperature is inf": {"temperature": float("inf"), "do_sample": True},
    "temperature=0.5 is for sampling: give do_sample=True": {"temperature": 0.5},
    "top_k=3 is for sampling": {"top_k": 3},
    "top_p=0.5 is for sampling": {"top_p": 0.5},
    "do_sample=True does not go with num_beams": {"do_sample": True, "num_beams": 2},
    "do_sample is 1; it must be True or False": {"do_sample": 1},
    "use_cache is None; it must be True or False": {"use_cache": None},
    "length_penalty is nan": {"length_penalty": float("nan"), "num_beams": 2},
    "length_penalty is 'x'": {"length_penalty": "x"},
    "on_tokens needs num_beams=1": {"on_tokens": print, "num_beams": 2},
    "max_new_tokens is -1; it must be at least 0": {"max_new_tokens": -1},
    "max_new_tokens is True": {"max_new_tokens": True},
    "a prompt of 4 tokens and max_new_tokens=13: the model has only 16 positions": {"max_new_tokens": 13},
    "eos_token_id is 29; it can be 0 to 28": {"eos_token_id": 29},
    "eos_token_id is -1": {"eos_token_id": -1},
    "eos_token_id is [1, 2]; it must be an integer": {"eos_token_id": [1, 2]},
    "pad_token_id is 29; it can be 0 to 28": {"pad_token_id": 29},
    "seed is -1; it must be an integer from 0 on": {"seed": -1},
    "attention_mask has a 0 behind a 1 in row 1; pad on the left": {
        "attention_mask": [[1, 1, 1, 1], [0, 1, 1, 0], [1, 0, 1, 1]]
    },
    "attention_mask has no 1 in row 2": {"attention_mask": [[1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]]},
    "attention_mask has shape (3, 5)": {"attention_mask": np.ones((3, 5))},
    "attention_mask has shape (3, 4, 4)": {"attention_mask": np.ones((3, 4, 4))},
    "attention_mask has 2 at [0, 0]": {"attention_mask": ROWS * 2},
    "input_ids has shape (4,); it must be [b,l]": {"input_ids": [1, 2, 3, 4]},
    "input_ids has shape (3, 0); it must hold at least one token": {"input_ids": np.ones((3, 0), int)},
    "input_ids has 29": {"input_ids": [[29]]},
    "input_ids must be integers": {"input_ids": [[1.0]]},
    "generate needs input_ids": {"input_ids": None},
    "the layers have no cross-attention": {"encoder_hidden_states": np.ones((3, 5, 12))},
    "encoder_attention_mask is given without encoder_hidden_states": {"encoder_attention_mask": np.ones((3, 5))},
    "encoder_attention_mask has shape (3, 4, 5); to generate it must be [b,r]": {
        "encoder_attention_mask": np.ones((3, 4, 5)),
        "encoder_hidden_states": np.ones((3, 5, 12)),
    },
}


class TestBadInput:
    @pytest.mark.parametrize("message", BAD)
    def test_one_line_that_names_it(self, model, message):
        with pytest.raises(InputError) as error:
            model.generate(**({"input_ids": IDS, "max_new_tokens": 3} | BAD[message]))
        assert message in one_line(error)

    def test_a_model_that_is_no_decoder(self):
        with pytest.raises(InputError) as error:
            decoder(is_decoder=False).generate(IDS)
        assert one_line(error) == "only a decoder writes on after a text: make the model with is_decoder=True"

    @pytest.mark.parametrize("cls", [cls for cls in registry.MODELS if cls is not BertLMHeadModel])
    def test_on_any_other_class_the_one_to_use_is_named(self, cls):
        with pytest.raises(InputError) as error:
            cls(tiny.config()).generate(IDS, max_new_tokens=3)
        assert one_line(error) == (
            f"a {cls.__name__} does not generate; use BertLMHeadModel, with is_decoder=True in its configuration"
        )

    def test_weights_that_are_no_numbers(self):
        model = decoder()
        model.cls.predictions.bias.data[3] = np.nan
        with pytest.raises(InputError, match="the model's scores are no finite numbers"):
            model.generate(IDS, max_new_tokens=3)

    @pytest.mark.parametrize("logits", [[], 3.0, "abc", [["a"]], [[1, 2], [3]]], ids=str)
    def test_logits_that_are_none(self, logits):
        with pytest.raises(InputError, match="logits"):
            sampling_probs(logits)

    @settings(max_examples=60, deadline=None)
    @given(
        st.fixed_dictionaries(
            {},
            optional={
                "max_new_tokens": st.integers(-1, 4) | st.just(2.0),
                "do_sample": st.booleans(),
                "temperature": st.floats(),
                "top_k": st.integers(-1, 40) | st.none(),
                "top_p": st.floats(-0.5, 1.5) | st.none(),
                "num_beams": st.integers(-1, 4),
                "length_penalty": st.floats(),
                "eos_token_id": st.integers(-1, 30) | st.none(),
                "pad_token_id": st.integers(-1, 30) | st.none(),
                "use_cache": st.booleans(),
                "seed": st.integers(-1, 9),
                "attention_mask": st.lists(
                    st.lists(st.integers(0, 1), min_size=4, max_size=4), min_size=3, max_size=3
                ),
            },
        )
    )
    def test_whatever_is_asked_for_there_are_tokens_or_one_line(self, model, options):
        options.setdefault("max_new_tokens", 3)
        written, message = IDS, ""
        try:
            written = model.generate(IDS, **options)
        except InputError as error:
            message = str(error)
        assert len(message.splitlines()) <= 1
        assert np.array_equal(written[:, :4], IDS)
        assert message or written.shape[1] <= 4 + options["max_new_tokens"]
        assert ((written >= 0) & (written < 29)).all()
