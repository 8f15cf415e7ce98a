"""The models of tasks: which loss for which labels, what is left out of it, and what they refuse."""

import json

import numpy as np
import pytest
import tiny
from messages import one_line

import numbert
from numbert import (
    BertForMultipleChoice,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    InputError,
)

CLASSES = [
    BertForSequenceClassification,
    BertForTokenClassification,
    BertForQuestionAnswering,
    BertForMultipleChoice,
]


def made(cls, dtype=np.float64, **changes):
    return cls(tiny.config(initializer_range=0.3, **changes), dtype=dtype).eval()


def choices(count=3):
    """tiny's five texts as questions of `count` choices, which differ in their first token."""
    given = tiny.inputs()
    inputs = {name: np.repeat(value[:, None], count, axis=1) for name, value in given.items()}  # [b,c,l]
    inputs["input_ids"][:, :, 0] = 1 + np.arange(count)
    return inputs


class TestSequenceClassification:
    def loss(self, labels, **changes):
        model = made(BertForSequenceClassification, **changes)
        out = model(**tiny.inputs(), labels=labels)
        return out.loss, out.logits

    def test_one_label_is_a_regression(self):
        labels = np.array([0.5, -1.0, 2.0, 0.0, 3.5])
        loss, logits = self.loss(labels, num_labels=1)
        assert loss == pytest.approx(((logits[:, 0] - labels) ** 2).mean(), rel=1e-14)
        assert self.loss(labels[:, None], num_labels=1)[0] == loss

    def test_several_labels_may_be_a_regression_if_the_configuration_says_so(self):
        labels = np.arange(15).reshape(5, 3) / 7
        loss, logits = self.loss(labels, num_labels=3, problem_type="regression")
        assert loss == pytest.approx(((logits - labels) ** 2).mean(), rel=1e-14)

    def test_integers_are_a_class_for_each_text_and_minus_100_leaves_one_out(self):
        loss, logits = self.loss(np.array([0, 2, -100, 1, 2]), num_labels=3)
        log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        assert loss == pytest.approx(-log_probs[[0, 1, 3, 4], [0, 2, 1, 2]].mean(), rel=1e-14)

    def test_floating_numbers_are_yes_or_no_for_each_label(self):
        labels = np.array([[0, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 1], [0.25, 0.5, 1]])
        loss, logits = self.loss(labels, num_labels=3)
        p = 1 / (1 + np.exp(-logits))
        assert loss == pytest.approx(-(labels * np.log(p) + (1 - labels) * np.log(1 - p)).mean(), rel=1e-13)
        assert self.loss(labels, num_labels=3, problem_type="multi_label_classification")[0] == loss

    def test_the_configuration_stays_as_it_is_and_each_call_is_judged_anew(self):
        """transformers writes what it has guessed from the first labels into its configuration."""
        model = made(BertForSequenceClassification, num_labels=3)
        before = json.loads(model.config.to_json())
        for labels in (np.zeros((5, 3)), np.zeros(5, int), np.ones((5, 3))):
            model(**tiny.inputs(), labels=labels)
            model.backward()
        assert json.loads(model.config.to_json()) == before
        assert not any(module.saved for module in model.modules())

    def test_without_labels_there_are_logits_alone(self):
        out = made(BertForSequenceClassification, num_labels=3)(**tiny.inputs())
        assert out.keys() == ["logits"]
        assert out.logits.shape == (5, 3)

    def test_float64_labels_do_not_make_a_float32_model_compute_in_float64(self):
        model = made(BertForSequenceClassification, np.float32, num_labels=3)
        assert model(**tiny.inputs(), labels=np.zeros((5, 3))).loss.dtype == np.float32
        assert model.backward()["inputs_embeds"].dtype == np.float32


class TestTokenClassification:
    def test_the_loss_is_the_mean_over_tokens_with_a_label(self):
        model = made(BertForTokenClassification, num_labels=4)
        labels = np.where(tiny.inputs()["attention_mask"] == 1, tiny.inputs()["input_ids"] % 4, -100)
        out = model(**tiny.inputs(), labels=labels)
        assert out.logits.shape == (5, 7, 4)
        log_probs = (out.logits - np.log(np.exp(out.logits).sum(-1, keepdims=True)))[labels != -100]
        kept = labels[labels != -100]
        assert out.loss == pytest.approx(-log_probs[np.arange(len(kept)), kept].mean(), rel=1e-14)


class TestQuestionAnswering:
    def test_the_loss_is_the_mean_of_starts_and_ends_and_leaves_out_what_is_beyond_the_text(self):
        model = made(BertForQuestionAnswering)
        out = model(**tiny.inputs(), start_positions=[0, 6, 7, 2, 3], end_positions=[1, 6, 2, 999, 7])
        assert out.start_logits.shape == out.end_logits.shape == (5, 7)

        def mean(logits, rows, places):
            log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
            return -log_probs[rows, places].mean()

        start = mean(out.start_logits, [0, 1, 3, 4], [0, 6, 2, 3])
        end = mean(out.end_logits, [0, 1, 2], [1, 6, 2])
        assert out.loss == pytest.approx((start + end) / 2, rel=1e-14)

    def test_the_output_is_as_published(self):
        model = made(BertForQuestionAnswering)
        given = {"start_positions": np.zeros(5, int), "end_positions": np.ones(5, int)}
        assert model(**tiny.inputs()).keys() == ["start_logits", "end_logits"]
        assert model(**tiny.inputs(), **given).keys() == ["loss", "start_logits", "end_logits"]
        assert len(model(**tiny.inputs(), **given, return_dict=False)) == 3


class TestMultipleChoice:
    def test_each_choice_is_a_text_of_its_own(self):
        model = made(BertForMultipleChoice)
        inputs = choices()
        out = model(**inputs, labels=np.array([2, 0, -100, 1, 1]))
        assert out.logits.shape == (5, 3)
        for choice in range(3):
            pooled = model.bert(**{name: value[:, choice] for name, value in inputs.items()}).pooler_output
            np.testing.assert_allclose(out.logits[:, choice], model.classifier(pooled)[:, 0], atol=1e-14)
        log_probs = out.logits - np.log(np.exp(out.logits).sum(-1, keepdims=True))
        assert out.loss == pytest.approx(-log_probs[[0, 1, 3, 4], [2, 0, 1, 1]].mean(), rel=1e-13)

    def test_the_gradient_of_embeddings_has_their_shape(self):
        model = made(BertForMultipleChoice)
        inputs = choices()
        del inputs["input_ids"]
        mask = inputs.pop("attention_mask")[:, :, None, :] * np.ones((7, 1), int)  # [b,c,l,r]
        embeds = np.random.default_rng(0).standard_normal((5, 3, 7, 12))
        positions = np.broadcast_to(np.arange(7), (5, 3, 7))
        labels = np.array([2, 0, -100, 1, 1])
        loss = model(None, mask, inputs_embeds=embeds, position_ids=positions, **inputs, labels=labels).loss
        d_embeds = model.backward()["inputs_embeds"]
        assert d_embeds.shape == embeds.shape
        assert not d_embeds[2].any()
        assert d_embeds[0].any(axis=(1, 2)).all()
        moved = embeds - 1e-6 * d_embeds
        assert model(None, mask, inputs_embeds=moved, **inputs, labels=labels).loss < loss


@pytest.mark.parametrize("cls", CLASSES)
class TestEach:
    def labelled(self, cls, nothing=False):
        """Inputs with labels, or with labels that are all to be ignored."""
        if cls is BertForQuestionAnswering:
            return tiny.inputs() | dict.fromkeys(("start_positions", "end_positions"), np.full(5, nothing * 7))
        if cls is BertForTokenClassification:
            return tiny.inputs() | {"labels": np.full((5, 7), nothing * -100)}
        inputs = choices() if cls is BertForMultipleChoice else tiny.inputs()
        return inputs | {"labels": np.full(5, nothing * -100)}

    def test_where_nothing_is_labelled_loss_and_gradient_are_0(self, cls):
        model = made(cls)
        assert model(**self.labelled(cls, nothing=True)).loss == 0
        model.backward()
        assert not any(parameter.grad.any() for parameter in model.parameters() if parameter.grad is not None)

    def test_backward_uses_everything_up_scales_by_d_loss_and_needs_labels(self, cls):
        model = made(cls)
        whole, quarter = (self.gradients(model, cls, d_loss) for d_loss in (1.0, 0.25))
        np.testing.assert_allclose(quarter, whole / 4, rtol=1e-12, atol=1e-16)
        assert not any(module.saved for module in model.modules())
        unlabelled = {n: v for n, v in self.labelled(cls).items() if not n.endswith(("labels", "positions"))}
        model(**unlabelled)
        with pytest.raises(RuntimeError, match=f"{cls.__name__}.backward: the latest forward had no labels"):
            model.backward()

    def gradients(self, model, cls, d_loss):
        model.zero_grad()
        model(**self.labelled(cls))
        d_inputs = model.backward(d_loss)
        return np.concatenate([d_inputs["inputs_embeds"].ravel(), *(p.grad.ravel() for p in model.parameters())])

    def test_the_classifier_has_a_dropout_of_its_own_if_the_configuration_names_one(self, cls):
        if cls is BertForQuestionAnswering:
            assert not hasattr(made(cls, classifier_dropout=0.5), "dropout")
            return
        assert made(cls, hidden_dropout_prob=0.3).dropout.p == 0.3
        assert made(cls, hidden_dropout_prob=0.3, classifier_dropout=0.0).dropout.p == 0.0
        assert made(cls, hidden_dropout_prob=0.0, classifier_dropout=0.6).dropout.p == 0.6

    def test_the_parameters_have_their_published_names(self, cls):
        names = [name for name, _ in made(cls).named_parameters()]
        head = "qa_outputs" if cls is BertForQuestionAnswering else "classifier"
        assert names[-2:] == [f"{head}.weight", f"{head}.bias"]
        pooled = cls in (BertForSequenceClassification, BertForMultipleChoice)
        assert ("bert.pooler.dense.weight" in names) == pooled


class TestBadInput:
    @pytest.mark.parametrize(
        ("changes", "labels", "message"),
        [
            ({}, np.full(5, 3), "labels has 3 at [0]; it can be 0 to 2, or -100 to ignore"),
            ({}, np.zeros((5, 1), int), "labels has shape (5, 1); for this batch it must be (5,)"),
            (
                {"problem_type": "single_label_classification"},
                np.zeros(5),
                "labels must be integers, got an array of float64",
            ),
            (
                {},
                np.zeros(5),
                "labels has shape (5,); for multi_label_classification of this batch it must be (5, 3)",
            ),
            ({}, np.full((5, 3), 1.5), "labels has 1.5 at [0, 0]; it can be 0 (no) to 1 (yes)"),
            ({}, np.full((5, 3), -100.0), "labels has -100.0 at [0, 0]; it can be 0 (no) to 1 (yes)"),
            ({}, np.full((5, 3), np.nan), "labels has nan at [0, 0]; it can be 0 (no) to 1 (yes)"),
            (
                {"problem_type": "multi_label_classification"},
                np.zeros((5, 3), int),
                "labels must be floating numbers for multi_label_classification, got an array of int64",
            ),
            (
                {"num_labels": 1},
                np.zeros(5, int),
                "labels must be floating numbers for regression, got an array of int64",
            ),
            (
                {"num_labels": 1},
                np.zeros((5, 2)),
                "labels has shape (5, 2); for regression of this batch it must be (5, 1) or (5,)",
            ),
            ({"num_labels": 1}, np.full(5, np.inf), "labels has inf at [0]; it can be a finite number"),
            ({"num_labels": 1}, np.full(5, 1e300), "labels has 1e+300 at [0]; it can be a finite number"),
            ({}, [[1], [2, 3]], "labels is [[1], [2, 3]]; it must be an array, or rows of one length"),
        ],
    )
    def test_labels_of_a_text(self, changes, labels, message):
        model = made(BertForSequenceClassification, np.float32, **({"num_labels": 3} | changes))
        with pytest.raises(InputError) as error:
            model(**tiny.inputs(), labels=labels)
        assert one_line(error) == message

    def test_labels_of_tokens(self):
        model = made(BertForTokenClassification, num_labels=4)
        for labels, message in (
            (np.full((5, 7), 4), "labels has 4 at [0, 0]; it can be 0 to 3, or -100 to ignore"),
            (np.zeros(5, int), "labels has shape (5,); for this batch it must be (5, 7)"),
            (np.zeros((5, 7)), "labels must be integers, got an array of float64"),
        ):
            with pytest.raises(InputError) as error:
                model(**tiny.inputs(), labels=labels)
            assert one_line(error) == message

    @pytest.mark.parametrize(
        ("starts", "ends", "message"),
        [
            (np.zeros(5, int), None, "give start_positions and end_positions, or neither"),
            (np.zeros(4, int), np.zeros(5, int), "start_positions has shape (4,); for this batch it must be (5,)"),
            (np.zeros(5, int), np.zeros(5), "end_positions must be integers, got an array of float64"),
            (
                np.zeros(5, int),
                np.array([0, 0, -1, 0, 0]),
                "end_positions has -1 at [2]; it can be 0 to 6, or more if it is to be ignored",
            ),
        ],
    )
    def test_positions(self, starts, ends, message):
        with pytest.raises(InputError) as error:
            made(BertForQuestionAnswering)(**tiny.inputs(), start_positions=starts, end_positions=ends)
        assert one_line(error) == message

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"input_ids": np.zeros((5, 7), int)}, "input_ids has shape (5, 7); it must be [b,choices,l]"),
            ({"input_ids": None}, "give input_ids or inputs_embeds, and not both"),
            (
                {"input_ids": None, "inputs_embeds": np.zeros((5, 7, 12))},
                "inputs_embeds has shape (5, 7, 12); it must be [b,choices,l,e]",
            ),
            (
                {"attention_mask": np.ones((5, 7))},
                "attention_mask has shape (5, 7); for this batch it must be (5, 3, 7) or (5, 3, 7, 7)",
            ),
            (
                {"token_type_ids": np.ones((15, 7), int)},
                "token_type_ids has shape (15, 7); for this batch it must be (5, 3, 7)",
            ),
            ({"labels": np.full(5, 3)}, "labels has 3 at [0]; it can be 0 to 2, or -100 to ignore"),
            ({"inputs_embeds": np.zeros((5, 3, 7, 12))}, "give input_ids or inputs_embeds, and not both"),
        ],
        ids=str,
    )
    def test_choices(self, change, message):
        with pytest.raises(InputError) as error:
            made(BertForMultipleChoice)(**choices() | change)
        assert one_line(error) == message

    def test_a_question_has_two_labels_start_and_end(self):
        with pytest.raises(InputError) as error:
            BertForQuestionAnswering(tiny.config(num_labels=3))
        assert one_line(error) == "num_labels is 3; for a BertForQuestionAnswering it must be 2, start and end"

    def test_a_label_in_another_tasks_words_is_not_known(self):
        with pytest.raises(TypeError, match="start_positions"):
            made(numbert.BertForTokenClassification)(**tiny.inputs(), start_positions=np.zeros(5, int))
