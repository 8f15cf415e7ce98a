"""chunk_size_feed_forward: the same loss and gradients from less memory, with dropout, hooks and checkpointing."""

import tracemalloc

import numpy as np
import pytest
import tiny

import numbert
from numbert import InputError
from numbert.nn.recompute import in_chunks
from numbert.proof import gradcheck

LENGTH = 6
DROPOUT = {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.2}


def batch():
    """The tiny batch, of six tokens, which chunks of 1, 2, 3 and 6 divide."""
    return {name: array[:, :LENGTH] if array.ndim == 2 else array for name, array in tiny.batch().items()}


def made(chunk, dtype=np.float64, model_class=numbert.BertForPreTraining, **changes):
    config = tiny.config(chunk_size_feed_forward=chunk, initializer_range=0.3, **DROPOUT | changes)
    return model_class(config, seed=3, dtype=dtype)


def step(model):
    """One forward and backward -> the loss and every gradient."""
    loss = model(**batch()).loss
    d_embeds = model.backward()["inputs_embeds"]
    return {"loss": loss, "inputs_embeds": d_embeds} | {name: p.grad for name, p in model.named_parameters()}


def assert_close(ours, theirs, tolerance):
    assert set(ours) == set(theirs)
    for name, array in theirs.items():
        error = np.abs(ours[name] - array).max() / max(1.0, np.abs(array).max())
        assert error <= tolerance, f"{name}: off by {error:.1e}"


def assert_same_bits(ours, theirs):
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array, err_msg=name)


class TestGradients:
    @pytest.mark.parametrize("checkpointing", [False, True])
    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-5)])
    def test_loss_and_gradients_are_those_of_the_whole(self, dtype, tolerance, training, checkpointing):
        """Dropout draws for the whole length and the chunks get their parts, so it drops the same numbers."""
        whole = step(made(0, dtype).train(training))
        for chunk in (1, 2, 6):
            model = made(chunk, dtype, gradient_checkpointing=checkpointing).train(training)
            assert_close(step(model), whole, tolerance)
            assert all(module.saved is None for module in model.modules())

    @pytest.mark.parametrize("checkpointing", [False, True])
    def test_two_runs_agree_to_the_last_bit(self, checkpointing):
        one, other = (made(2, np.float32, gradient_checkpointing=checkpointing).train() for _ in range(2))
        for _ in range(2):  # the second step draws other numbers and adds to the gradients
            assert_same_bits(step(one), step(other))
        assert one.rng.bit_generator.state == other.rng.bit_generator.state

    def test_with_and_without_checkpointing_they_agree_to_the_last_bit(self):
        one, other = (made(2, np.float32, gradient_checkpointing=on).train() for on in (False, True))
        assert_same_bits(step(one), step(other))

    def test_it_draws_as_much_as_the_whole(self):
        models = [made(chunk).train() for chunk in (0, 2)]
        for model in models:
            model(**batch())
        assert models[0].rng.bit_generator.state == models[1].rng.bit_generator.state

    def test_the_complex_step_proves_it_with_dropout(self):
        assert gradcheck(made(3).train(), max_entries=2, **batch()).ok

    def test_a_decoder_with_cross_attention_in_chunks(self):
        config = {"is_decoder": True, "add_cross_attention": True}
        rng = np.random.default_rng(0)
        states, d = rng.standard_normal((tiny.BATCH, 4, 12)), rng.standard_normal((tiny.BATCH, LENGTH, 12))
        found = []
        for chunk in (0, 2):
            model = made(chunk, model_class=numbert.BertModel, **config).eval()
            output = model(batch()["input_ids"], encoder_hidden_states=states)
            found.append(model.backward(d) | {"output": output.last_hidden_state})
        assert_close(found[1], found[0], 1e-12)


@pytest.mark.parametrize("chunk", [4, 5, 7, 100])
def test_a_chunk_that_does_not_divide_the_length_is_one_line(chunk):
    """A longer one does not divide it either, as in the published code."""
    model = made(chunk)
    with pytest.raises(
        InputError, match=f"^6 tokens cannot be cut into chunks of chunk_size_feed_forward={chunk}$"
    ):
        model(**batch())


class TestWhatIsKept:
    def test_of_each_chunk_its_input_and_what_dropout_keeps_and_nothing_of_the_feed_forward_network(self):
        model = made(2).train()
        model(**batch())
        layer = model.bert.encoder.layer[0]
        assert [[array.shape for array in rerun.inputs] for rerun in layer.saved.reruns] == [[(5, 2, 12)] * 2] * 3
        assert not any(module.saved for part in (layer.intermediate, layer.output) for module in part.modules())

    def test_under_no_grad_nothing(self):
        model = made(2).eval()
        outputs = model(**batch())
        with numbert.no_grad():
            loss = made(2).eval()(**batch()).loss
        assert loss == pytest.approx(float(outputs.loss), rel=1e-12)
        model = made(2)
        with numbert.no_grad():
            model(**batch())
            _, reruns = in_chunks(model.bert.encoder.layer[0].feed_forward_part, 2, np.ones((1, 6, 12)))
        assert reruns == []
        assert all(module.saved is None for module in model.modules())

    def test_within_keep_saved_one_forward_serves_several_backwards(self):
        whole, chunked = made(0).train(), made(2).train()
        for model in (whole, chunked):
            model(**batch())
            with numbert.nn.keep_saved():
                model.backward()
            model.backward()
        assert_close(*({name: p.grad for name, p in m.named_parameters()} for m in (chunked, whole)), 1e-12)
        assert all(module.saved is None for module in chunked.modules())

    def test_peak_memory(self):
        """Without chunks each layer holds two arrays [b,l,f] for backward, which are most of what there is."""
        sizes = {"num_hidden_layers": 6, "hidden_size": 24, "intermediate_size": 96, "max_position_embeddings": 32}
        ids = np.random.default_rng(0).integers(1, 29, (8, 32))
        d = np.ones((8, 32, 24), np.float32)  # [b,l,e]
        peaks = []
        for chunk in (0, 4):
            model = made(chunk, np.float32, numbert.BertModel, **sizes).train()
            for parameter in model.parameters():
                parameter.grad = np.zeros_like(parameter.data)  # so that only activations come and go
            tracemalloc.start()
            model(input_ids=ids)
            model.backward(d)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        held = 6 * 2 * 8 * 32 * 96 * 4  # two float32 arrays [b,l,f] for each of six layers
        assert peaks[1] < peaks[0] - held
        assert peaks[1] < 0.7 * peaks[0]


class TestHooks:
    def test_a_hook_within_sees_each_chunk_in_forward_and_again_in_backward(self):
        model = made(2).eval()
        dense = model.bert.encoder.layer[0].intermediate.dense
        seen = []
        with dense.register_forward_hook(lambda module, inputs, output: seen.append(output.shape)):
            model(**batch())
            assert seen == [(5, 2, 20)] * 3
            model.backward()
        assert seen == [(5, 2, 20)] * 6

    def test_what_a_hook_puts_in_the_place_of_an_output_counts_in_forward_and_backward(self):
        found = []
        for chunk in (0, 2):
            model = made(chunk).eval()
            dense = model.bert.encoder.layer[0].intermediate.dense
            dense.register_forward_hook(lambda module, inputs, output: 2 * output)
            found.append(step(model))
        assert_close(found[1], found[0], 1e-12)
        assert abs(found[0]["loss"] - step(made(0).eval())["loss"]) > 1e-6

    def test_one_that_comes_between_forward_and_backward_is_refused(self):
        model = made(2).eval()
        model(**batch())
        model.bert.encoder.layer[1].output.dense.register_forward_hook(lambda module, inputs, output: None)
        with pytest.raises(RuntimeError, match=r"the forward hooks within BertFeedForward have changed"):
            model.backward()

    def test_of_the_layer_sees_the_whole(self):
        model = made(2).eval()
        shapes = []
        model.bert.encoder.layer[0].register_forward_hook(
            lambda module, inputs, output: shapes.append(output[0].shape)
        )
        model(**batch())
        assert shapes == [(5, 6, 12)]
