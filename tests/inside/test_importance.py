"""head_importance: the published score of each head."""

import numpy as np
import pytest
import tiny

import numbert
from numbert import (
    BertForMaskedLM,
    BertForNextSentencePrediction,
    BertForPreTraining,
    BertLMHeadModel,
    BertModel,
    InputError,
    head_importance,
)


def model_of(cls=BertForPreTraining, dtype=np.float64, **changes):
    """A model whose every parameter is random, far from zero."""
    model = cls(tiny.config(**changes), dtype=dtype)
    rng = np.random.default_rng(3)
    for parameter in model.parameters():
        parameter.data = rng.normal(0, 0.5, parameter.shape).astype(dtype)
    return model


def batch_for(cls):
    batch = tiny.batch()
    if cls is BertForPreTraining:
        return batch
    next_sentence_label = batch.pop("next_sentence_label")
    if cls is BertForNextSentencePrediction:
        batch["labels"] = next_sentence_label
    return batch


def row(batch, i):
    return {name: array[i : i + 1] for name, array in batch.items()}


def by_differences(model, batch):
    """The score as its definition says, with central differences of each example's loss."""
    n, h = model.config.num_hidden_layers, model.config.num_attention_heads
    b = len(batch["input_ids"])
    total = np.zeros((n, h))
    with numbert.no_grad():
        for i in range(b):
            for place in np.ndindex(n, h):
                losses = []
                for step in (1e-5, -1e-5):
                    mask = np.ones((n, h))
                    mask[place] += step
                    losses.append(model(**row(batch, i), head_mask=mask).loss)
                total[place] += abs(losses[0] - losses[1]) / 2e-5 / b
    return total / np.linalg.norm(total, axis=1, keepdims=True)


@pytest.mark.parametrize("cls", [BertForPreTraining, BertForMaskedLM, BertForNextSentencePrediction])
def test_it_is_the_mean_absolute_derivative_with_rows_of_norm_1(cls):
    model, batch = model_of(cls).eval(), batch_for(cls)
    scores = head_importance(model, batch)
    assert scores.shape == (2, 3)
    assert scores.dtype == np.float64
    assert np.linalg.norm(scores, axis=1) == pytest.approx([1, 1], rel=1e-12)
    assert scores == pytest.approx(by_differences(model, batch), rel=1e-6)


def test_of_a_decoder_with_cross_attention():
    model = model_of(BertLMHeadModel, is_decoder=True, add_cross_attention=True).eval()
    batch = batch_for(BertLMHeadModel)
    batch["encoder_hidden_states"] = np.random.default_rng(4).standard_normal((5, 4, 12))
    assert head_importance(model, batch) == pytest.approx(by_differences(model, batch), rel=1e-6)


def test_it_does_not_matter_how_batches_are_cut():
    model, batch = model_of(), tiny.batch()
    whole = head_importance(model, batch)
    rows = [row(batch, i) for i in range(5)]
    parts = [{name: array[part] for name, array in batch.items()} for part in (slice(0, 3), slice(3, 5))]
    for batches in ([batch], rows, iter(rows), parts, (batch, batch)):
        assert head_importance(model, batches) == pytest.approx(whole, rel=1e-12)
    lists = {name: array.tolist() for name, array in batch.items()}
    one_row_for_all = lists | {
        "position_ids": [[0, 1, 2, 3, 4, 5, 6]],
        "output_attentions": True,
        "return_dict": False,
    }
    assert head_importance(model, one_row_for_all) == pytest.approx(whole, rel=1e-12)


def test_a_row_without_any_label_changes_nothing():
    model, batch = model_of(BertForMaskedLM), batch_for(BertForMaskedLM)
    labelled = head_importance(model, {name: array[:4] for name, array in batch.items()})
    batch["labels"][4] = -100
    assert head_importance(model, batch) == pytest.approx(labelled, rel=1e-12)


def test_pruned_heads_have_0_and_a_layer_that_nothing_depends_on_has_zeros():
    model = model_of(BertForMaskedLM)
    model.prune_heads({0: [1]})
    model.bert.encoder.layer[1].attention.output.dense.weight.data[:] = 0
    scores = head_importance(model, batch_for(BertForMaskedLM))
    assert scores[0, 1] == 0
    assert (scores[0, [0, 2]] > 0).all()
    assert (scores[1] == 0).all()


def test_float32_gives_the_same_up_to_rounding():
    whole = head_importance(model_of(), tiny.batch())
    assert head_importance(model_of(dtype=np.float32), tiny.batch()) == pytest.approx(whole, abs=1e-5)


class TestTheModelIsLeftAsItWas:
    def model(self):
        """Some gradients, a saved forward, parts in train() and in eval(), a frozen parameter."""
        model = model_of()
        model(**tiny.batch())
        model.backward()
        model(**tiny.batch())
        model.bert.embeddings.eval()
        model.cls.seq_relationship.weight.trainable = False
        return model

    def state(self, model):
        """Everything that could have changed, so that it can be compared."""
        return {
            "grads": [(p.grad, None if p.grad is None else p.grad.copy()) for p in model.parameters()],
            "trainable": [p.trainable for p in model.parameters()],
            "data": [p.data.copy() for p in model.parameters()],
            "saved": [module.saved for module in model.modules()],
            "training": [module.training for module in model.modules()],
            "generator": model.rng.bit_generator.state,
        }

    def assert_same(self, before, after):
        for (grad, copied), (now, _) in zip(before["grads"], after["grads"], strict=True):
            assert grad is now
            assert grad is None or np.array_equal(now, copied)
        assert all(one is other for one, other in zip(before["saved"], after["saved"], strict=True))
        assert all(np.array_equal(*pair) for pair in zip(before["data"], after["data"], strict=True))
        for what in ("trainable", "training", "generator"):
            assert before[what] == after[what], what

    def test_after_it_is_done(self):
        model, other = self.model(), self.model()
        before = self.state(model)
        head_importance(model, tiny.batch())
        self.assert_same(before, self.state(model))
        model.backward()  # of the forward before
        other.backward()
        for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
            assert np.array_equal(mine.grad, theirs.grad)

    def test_after_an_error(self):
        model = self.model()
        before = self.state(model)
        wrong = tiny.batch() | {"input_ids": np.full((5, 7), 99)}
        with pytest.raises(InputError, match="99"):
            head_importance(model, [tiny.batch(), wrong])
        self.assert_same(before, self.state(model))

    def test_dropout_is_off_and_checkpointing_does_not_matter(self):
        dropping = model_of(hidden_dropout_prob=0.5, gradient_checkpointing=True).train()
        assert np.array_equal(head_importance(dropping, tiny.batch()), head_importance(model_of(), tiny.batch()))


def without(*names):
    return {name: value for name, value in tiny.batch().items() if name not in names}


WRONG = [
    (tiny.inputs(), "a batch has no labels and no next_sentence_label; head_importance needs the loss"),
    (tiny.inputs() | {"labels": None}, "a batch has no labels and no next_sentence_label"),
    (without("input_ids"), "a batch has neither input_ids nor inputs_embeds"),
    (tiny.batch() | {"labels": tiny.batch()["labels"][:1]}, r"labels has shape \(1, 7\); .* 5 rows of input_ids"),
    (tiny.batch() | {"labels": 3}, r"labels has shape \(\); the batch has 5 rows of input_ids"),
    (tiny.batch() | {"input_ids": 3}, r"input_ids has shape \(\); it must have a row for each example"),
    (tiny.batch() | {"attention_mask": np.ones((4, 7))}, r"attention_mask has shape \(4, 7\)"),
    (tiny.batch() | {"labels": [[1], [1, 2]]}, "labels is .*; it must be an array, or rows of one length"),
    (tiny.batch() | {"head_mask": np.ones(3)}, "a batch has head_mask; it is 1 here"),
    (tiny.batch() | {"past_key_values": ()}, "a batch has past_key_values; give the whole sequence"),
    (tiny.batch() | {"labels": np.full((5, 7), 29)}, r"labels has 29 at \[0, 0\]"),
    ([], "there is no batch; head_importance needs at least one"),
    ({name: array[:0] for name, array in tiny.batch().items()}, "there is no batch"),
    ([tiny.batch(), [1, 2]], r"a batch is \[1, 2\]; it must be a dict of the model's inputs"),
    ("batch", "a batch is 'b'; it must be a dict"),
    (3, "batches is 3; it must be dicts of the model's inputs"),
]


@pytest.mark.parametrize(("batches", "message"), WRONG)
def test_what_is_wrong_is_one_line(batches, message):
    with pytest.raises(InputError, match=message) as caught:
        head_importance(model_of(), batches)
    assert "\n" not in str(caught.value)


def test_a_model_without_a_loss_and_what_is_no_model_are_one_line():
    with pytest.raises(InputError, match="a BertModel has no loss; head_importance needs a model with a head"):
        head_importance(BertModel(tiny.config()), tiny.batch())
    with pytest.raises(InputError, match="model is None; it must be a model of numbert"):
        head_importance(None, tiny.batch())


def test_weights_that_are_not_finite_are_one_line():
    model = model_of()
    model.bert.encoder.layer[0].output.dense.weight.data[:] = np.nan
    with pytest.raises(InputError, match="the loss of example 0, counted from 0, has no finite gradient"):
        head_importance(model, tiny.batch())
