"""unpad=True leaves out positions whose mask is 0: outputs there are 0, and gradients given there are ignored."""

import numpy as np
import pytest
import tiny
from messages import one_line

from numbert import (
    BertForMaskedLM,
    BertForPreTraining,
    BertForQuestionAnswering,
    BertForTokenClassification,
    BertLMHeadModel,
    BertModel,
    InputError,
    no_grad,
)

IDS, TYPES = (tiny.batch()[name] for name in ("input_ids", "token_type_ids"))
RIGHT = tiny.batch()["attention_mask"]
MASKS = {
    "right": RIGHT,
    "left": RIGHT[:, ::-1].copy(),
    "gaps": np.random.default_rng(0).integers(0, 2, RIGHT.shape),
    "a whole row": RIGHT * np.array([1, 0, 1, 0, 1])[:, None],
    "all": np.zeros_like(RIGHT),
    "none": np.ones_like(RIGHT),
}
ASKED = {"output_hidden_states": True, "output_attentions": True}


def model_of(model_class=BertModel, **changes):
    return model_class(tiny.config(initializer_range=0.5, **changes), seed=3, dtype=np.float64).eval()


def upstream(seed=1):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((5, 7, 12)), rng.standard_normal((5, 12))


@pytest.mark.parametrize("decoder", [False, True])
@pytest.mark.parametrize("pattern", MASKS)
class TestEveryPattern:
    def test_outputs_are_the_padded_ones_with_0_where_the_mask_is_0(self, pattern, decoder):
        mask = MASKS[pattern]
        model = model_of(is_decoder=decoder)
        with no_grad():
            padded = model(IDS, mask, TYPES, use_cache=False, **ASKED)
            out = model(IDS, mask, TYPES, unpad=True, **ASKED)
        assert out.keys() == padded.keys()
        np.testing.assert_allclose(out.pooler_output, padded.pooler_output, atol=1e-12)
        for ours, theirs in zip(
            (out.last_hidden_state, *out.hidden_states),
            (padded.last_hidden_state, *padded.hidden_states),
            strict=True,
        ):
            np.testing.assert_allclose(ours, theirs * mask[..., None], atol=1e-12)
            assert not ours[mask == 0].any()
        for ours, theirs in zip(out.attentions, padded.attentions, strict=True):
            np.testing.assert_allclose(ours, theirs * mask[:, None, :, None], atol=1e-12)
            assert not ours.swapaxes(1, 2)[mask == 0].any()
        with no_grad():
            assert np.array_equal(model(IDS, mask, TYPES, unpad=True)[0], out[0])  # nothing asked for

    def test_the_gradient_there_is_ignored(self, pattern, decoder):
        mask = MASKS[pattern]
        d_last, d_pooled = upstream()
        zeroed = d_last * mask[..., None]
        anything = np.where(mask[..., None] == 0, np.nan, d_last)
        results = []
        for d, unpad in ((d_last, True), (anything, True), (zeroed, True), (zeroed, False)):
            model = model_of(is_decoder=decoder)
            given = d.copy()
            model(IDS, mask, TYPES, unpad=unpad)
            g = model.backward(given, d_pooled)["inputs_embeds"]
            np.testing.assert_array_equal(given, d)  # what was given is not written to
            results.append([g, *(p.grad for p in model.parameters())])
        for ours in results[1:]:
            for first, other in zip(results[0], ours, strict=True):
                np.testing.assert_allclose(first, other, atol=1e-12)


class TestWithOtherInputs:
    def test_without_a_mask_nothing_is_left_out(self):
        model = model_of()
        assert np.array_equal(model(IDS, unpad=True).last_hidden_state, model(IDS).last_hidden_state)

    def test_a_hook_changes_no_output(self):
        model = model_of()
        out = model(IDS, RIGHT, unpad=True)
        with model.encoder.layer[0].register_forward_hook(lambda module, inputs, output: None):
            assert np.array_equal(model(IDS, RIGHT, unpad=True).last_hidden_state, out.last_hidden_state)

    def test_cross_attention_and_a_head_mask(self):
        model = model_of(is_decoder=True, add_cross_attention=True)
        states = np.random.default_rng(0).standard_normal((5, 4, 12))
        inputs = {"encoder_hidden_states": states, "head_mask": np.array([1, 0.5, 0]), "use_cache": False}
        (out, g), (padded, reference) = (
            (
                model(IDS, RIGHT, unpad=unpad, **inputs, **ASKED),
                model.backward(upstream()[0] * (1 if unpad else RIGHT[..., None])),
            )
            for unpad in (True, False)
        )
        for ours, theirs in zip(out.cross_attentions, padded.cross_attentions, strict=True):
            np.testing.assert_allclose(ours, theirs * RIGHT[:, None, :, None], atol=1e-12)
        assert set(g) == {"inputs_embeds", "head_mask", "encoder_hidden_states"}
        for name, ours in g.items():
            np.testing.assert_allclose(ours, reference[name], atol=1e-12)

    def test_in_float32_and_as_a_tuple(self):
        model = BertModel(tiny.config()).eval()
        last, pooled, hidden_states, attentions = model(IDS, RIGHT, unpad=True, return_dict=False, **ASKED)
        arrays = (last, pooled, *hidden_states, *attentions)
        assert {array.dtype for array in arrays} == {np.dtype(np.float32)}
        model.backward(np.ones_like(last))
        assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {np.dtype(np.float32)}

    def test_the_losses_and_their_gradients_are_the_padded_ones(self):
        batch = tiny.batch()
        next_sentence = batch.pop("next_sentence_label")
        causal = np.where(RIGHT == 1, IDS, -100)
        for model_class, labels in (
            (BertForPreTraining, {"labels": batch["labels"], "next_sentence_label": next_sentence}),
            (BertForMaskedLM, {"labels": batch["labels"]}),
            (BertLMHeadModel, {"labels": causal}),
        ):
            model = model_of(model_class, is_decoder=model_class is BertLMHeadModel)
            inputs = {"input_ids": IDS, "attention_mask": RIGHT, **labels}
            (loss, g), (padded, reference) = (
                (model(**inputs, unpad=unpad).loss, model.backward()["inputs_embeds"]) for unpad in (True, False)
            )
            assert loss == pytest.approx(padded, rel=1e-12)
            np.testing.assert_allclose(g, reference, atol=1e-12)


def labels_with(place, value=5):
    labels = np.full((5, 7), -100)
    labels[place] = value
    return labels


LEFT = MASKS["left"]  # of the second row only the last three positions are real
CACHE = tuple((np.zeros((5, 3, 2, 4)),) * 2 for _ in range(2))


class TestBadInput:
    @pytest.mark.parametrize(
        ("inputs", "message"),
        [
            ({"attention_mask": np.ones((5, 7, 7))}, r"unpad=True takes a mask \[b,r\]; attention_mask has shape"),
            ({"use_cache": True}, "unpad=True does not go with a cache"),
            ({"past_key_values": CACHE}, "unpad=True does not go with a cache"),
            ({"past_key_values": ()}, "unpad=True does not go with a cache"),
            ({"attention_mask": np.ones((5, 6))}, r"attention_mask has shape \(5, 6\); for this batch it must be"),
            ({"attention_mask": np.ones(7)}, r"attention_mask has shape \(7,\); it must be"),
            ({"attention_mask": np.full((5, 7), 2)}, r"attention_mask has 2 at \[0, 0\]; it must be 1"),
            (
                {"attention_mask": [[1], [1, 0]]},
                "attention_mask is .*; it must be an array, or rows of one length",
            ),
            ({"unpad": 1}, "unpad is 1; it must be True or False"),
            ({"unpad": None}, "unpad is None; it must be True or False"),
        ],
    )
    def test_one_clear_error(self, inputs, message):
        for model_class in (BertModel, BertLMHeadModel):
            with pytest.raises(InputError, match=message) as error:
                model_of(model_class, is_decoder=True)(IDS, **({"unpad": True} | inputs))
            one_line(error)

    @pytest.mark.parametrize("model_class", [BertForPreTraining, BertForMaskedLM, BertLMHeadModel])
    def test_a_label_where_the_mask_is_0(self, model_class):
        model = model_of(model_class, is_decoder=model_class is BertLMHeadModel)
        labels = labels_with((1, 5))  # the second row has three tokens
        assert model(IDS, RIGHT, labels=labels).loss > 0
        message = r"labels has 5 at \[1, 5\], where attention_mask is 0; with unpad=True it must be -100 there"
        with pytest.raises(InputError, match=message) as error:
            model(IDS, RIGHT, labels=labels, unpad=True)
        one_line(error)
        with pytest.raises(InputError, match=message):
            model(IDS, RIGHT.tolist(), labels=labels.tolist(), unpad=np.bool_(True))
        assert model(IDS, labels=labels, unpad=True).loss > 0  # no mask: nothing is left out

    def test_a_label_that_is_predicted_where_the_mask_is_0(self):
        model = model_of(BertLMHeadModel, is_decoder=True)
        with pytest.raises(
            InputError, match=r"labels has 5 at \[1, 4\], predicted at 3, where attention_mask is 0"
        ) as e:
            model(IDS, LEFT, labels=labels_with((1, 4)), unpad=True)
        one_line(e)
        first_label_counts_nowhere = labels_with((0, 0))
        assert model(IDS, LEFT, labels=first_label_counts_nowhere, unpad=True).loss == 0
        inside = labels_with((1, 5))
        assert model(IDS, LEFT, labels=inside, unpad=True).loss == pytest.approx(
            float(model(IDS, LEFT, labels=inside).loss), rel=1e-12
        )


class TestHeadsForTasks:
    def test_a_label_of_a_token_that_is_left_out(self):
        model, labels = model_of(BertForTokenClassification, num_labels=6), labels_with((1, 5))
        assert model(IDS, RIGHT, labels=labels).loss > 0
        with pytest.raises(InputError, match=r"labels has 5 at \[1, 5\], where attention_mask is 0"):
            model(IDS, RIGHT, labels=labels, unpad=True)
        assert model(IDS, RIGHT, labels=labels_with((1, 2)), unpad=True).loss > 0

    @pytest.mark.parametrize("name", ["start_positions", "end_positions"])
    def test_a_position_that_is_left_out(self, name):
        model = model_of(BertForQuestionAnswering)
        inside = {"start_positions": np.array([0, 1, 2, 1, 9]), "end_positions": np.array([6, 2, 5, 7, 4])}
        assert model(IDS, RIGHT, **inside, unpad=True).loss > 0  # those beyond the text are ignored
        padding = {**inside, name: np.array([0, 3, 2, 1, 4])}  # the second row has three tokens
        assert model(IDS, RIGHT, **padding).loss > 0
        with pytest.raises(InputError, match=rf"{name} has 3 at \[1\], which unpad=True leaves out") as error:
            model(IDS, RIGHT, **padding, unpad=True)
        one_line(error)
