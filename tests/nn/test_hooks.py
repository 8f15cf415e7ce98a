"""Hooks see what a layer puts out and what comes back, and may replace it."""

import copy
from functools import partial

import numpy as np
import pytest
import tiny

import numbert
from numbert.nn import LayerNorm, Linear, Module

STEP = 1e-20
PLACES = [
    "embeddings",
    "embeddings.LayerNorm",
    "encoder.layer.0.attention.self.scores",
    "encoder.layer.0.attention.self.mask",
    "encoder.layer.0.attention.self.probs",
    "encoder.layer.1.attention.self.dropout",
    "encoder.layer.1.attention.self.context",
    "encoder.layer.0.attention.output",
    "encoder.layer.1.intermediate.intermediate_act_fn",
    "encoder.layer.1.output.dense",
    "pooler.dense",
]


def model_of(dtype):
    # eps as large as this, since a LayerNorm of rows that are all alike is otherwise all but singular.
    return numbert.BertModel(tiny.config(initializer_range=0.5, layer_norm_eps=0.1), dtype=dtype).eval()


def named(model, name):
    return dict(model.named_modules())[name]


def change(kind, rng):
    """A forward hook, and the pre-hook that tells backward what it did, or None where it is a constant offset."""
    factor, noise = 0.0 if kind == "zeroing" else 1.7, {}

    def forward(module, inputs, output):
        if kind == "noise":
            noise.setdefault("noise", rng.standard_normal(output.shape))
            return output + noise["noise"]
        with np.errstate(over="ignore"):  # a masked score is as low as numbers go
            return output * factor

    def backward(module, d_outputs):
        return (d_outputs[0] * factor, *d_outputs[1:])

    return forward, None if kind == "noise" else backward


class TestWhatTheyReplaceIsWhatIsDifferentiated:
    """Noise, zeroing and scaling of an output, each against the complex step through the whole model."""

    @pytest.mark.parametrize("kind", ["noise", "zeroing", "scaling"])
    @pytest.mark.parametrize("place", PLACES)
    def test_against_the_complex_step(self, kind, place):
        rng = np.random.default_rng(0)
        forward_hook, backward_hook = change(kind, rng)
        shape = (tiny.BATCH, tiny.LENGTH, 12)
        embeds, direction = rng.standard_normal(shape), rng.standard_normal(shape)
        given = {"attention_mask": tiny.inputs()["attention_mask"]}
        d_hidden, d_pooled = rng.standard_normal(shape), rng.standard_normal((tiny.BATCH, 12))

        model = model_of(np.float64)
        named(model, place).register_forward_hook(forward_hook)
        if backward_hook:
            named(model, place).register_backward_pre_hook(backward_hook)
        model(inputs_embeds=embeds, **given)
        d_embeds = model.backward(d_hidden, d_pooled)["inputs_embeds"]

        twin = model_of(np.complex128)
        named(twin, place).register_forward_hook(forward_hook)
        moved = embeds + 1j * STEP * direction
        out = twin(inputs_embeds=moved, **given)
        wanted = (out.last_hidden_state.imag * d_hidden).sum() + (out.pooler_output.imag * d_pooled).sum()
        wanted /= STEP
        assert abs((d_embeds * direction).sum() - wanted) <= 1e-10 * max(1.0, abs(wanted))

        # A parameter before the place, one within, one behind it.
        for name, parameter in model.named_parameters():
            v = rng.standard_normal(parameter.shape)
            theirs = dict(twin.named_parameters())[name]
            before, theirs.data = theirs.data, theirs.data + 1j * STEP * v
            out = twin(inputs_embeds=embeds, **given)
            theirs.data = before
            wanted = (out.last_hidden_state.imag * d_hidden).sum() + (out.pooler_output.imag * d_pooled).sum()
            wanted /= STEP
            got = 0.0 if parameter.grad is None else (parameter.grad * v).sum()
            assert abs(got - wanted) <= 1e-9 * max(1.0, abs(wanted)), name


class TestWhatTheySee:
    def test_a_forward_hook_gets_the_arguments_in_forwards_order_and_the_output(self):
        model, seen = model_of(np.float64), {}
        model.embeddings.register_forward_hook(lambda module, inputs, output: seen.update(i=inputs, o=output))
        ids = tiny.inputs()["input_ids"]
        out = model.embeddings(token_type_ids=np.zeros_like(ids), input_ids=ids)
        assert seen["i"][0] is ids
        assert seen["i"][2:] == (None, None, 0), "what is not given is there with its default"
        assert seen["o"] is out

    def test_a_backward_hook_gets_backwards_arguments_and_exactly_what_it_returned(self):
        model, seen = model_of(np.float64), {}
        model.encoder.layer[1].output.register_backward_hook(
            lambda module, d_outputs, d_inputs: seen.update(d_outputs=d_outputs, d_inputs=d_inputs)
        )
        out = model(**tiny.inputs())
        d = np.random.default_rng(0).standard_normal(out.last_hidden_state.shape)
        model.backward(d)
        assert isinstance(seen["d_outputs"], tuple)
        assert seen["d_outputs"][0] is d, "the last layer gets the caller's own"
        d_hidden_states, d_input_tensor = seen["d_inputs"]
        assert d_hidden_states.shape[-1] == 20
        assert d_input_tensor.shape[-1] == 12

    def test_one_gradient_alone_is_bare(self):
        layer, seen = Linear(3, 4), []
        layer.register_backward_hook(lambda module, d_outputs, d_inputs: seen.append(d_inputs))
        layer(np.ones((2, 3), np.float32))
        returned = layer.backward(np.ones((2, 4), np.float32))
        assert isinstance(seen[0], np.ndarray)
        np.testing.assert_array_equal(seen[0], returned)

    def test_a_model_called_by_keywords_shows_them_in_order(self):
        model, seen = model_of(np.float64), []
        model.register_forward_hook(lambda module, inputs, output: seen.append(inputs))
        batch = tiny.inputs()
        model(token_type_ids=batch["token_type_ids"], input_ids=batch["input_ids"])
        assert seen[0][0] is batch["input_ids"]
        assert seen[0][1] is None
        assert seen[0][2] is batch["token_type_ids"]

    def test_each_step_of_the_attention_is_seen_with_its_gradient(self):
        model, outputs, gradients = model_of(np.float64), {}, {}
        attention = model.encoder.layer[0].attention.self
        for name in ("scores", "mask", "probs", "dropout", "context"):
            part = getattr(attention, name)
            part.register_forward_hook(lambda m, i, output, name=name: outputs.update({name: output}))
            part.register_backward_pre_hook(lambda m, d, name=name: gradients.update({name: d[0]}))
        out = model(**tiny.inputs())
        model.backward(np.ones_like(out.last_hidden_state))
        b, h, length, d = tiny.BATCH, 3, tiny.LENGTH, 4
        for name in ("scores", "mask", "probs", "dropout"):
            assert outputs[name].shape == gradients[name].shape == (b, h, length, length)
        assert outputs["context"].shape == gradients["context"].shape == (b, h, length, d)
        np.testing.assert_allclose(outputs["probs"].sum(axis=-1), 1)


class TestWhatTheyKeepIsTheirs:
    """The layers around add in place to what a backward returns; what a hook has seen or given is not touched."""

    def test_what_they_saw(self):
        model, seen, copies = model_of(np.float64), {}, {}

        def keep(name, module, d_outputs, d_inputs):
            arrays = d_inputs.values() if isinstance(d_inputs, dict) else d_inputs
            arrays = [a for a in (arrays if isinstance(d_inputs, tuple | dict) else [d_inputs]) if a is not None]
            seen[name] = [*arrays, *(d for d in d_outputs if d is not None)]
            copies[name] = [array.copy() for array in seen[name]]

        for name, module in model.named_modules():
            module.register_backward_hook(partial(keep, name))
        out = model(**tiny.inputs())
        model.backward(np.ones_like(out.last_hidden_state), np.ones_like(out.pooler_output))
        assert len(seen) > 20
        for name, arrays in seen.items():
            for array, before in zip(arrays, copies[name], strict=True):
                np.testing.assert_array_equal(array, before, err_msg=name)

    def test_what_they_gave(self):
        model = model_of(np.float64)
        zeros = np.zeros((tiny.BATCH, tiny.LENGTH, 12))
        model.encoder.layer[0].attention.self.query.register_backward_hook(lambda m, d, g: zeros)
        out = model(**tiny.inputs())
        model.backward(np.ones_like(out.last_hidden_state))
        assert not zeros.any()


class TestWhatIsRefused:
    def test_what_is_no_function(self):
        with pytest.raises(numbert.InputError, match="a hook of Square is 3; it must be a function"):
            Square().register_forward_hook(3)

    def test_with_gradient_checkpointing_hooks_that_are_gone_before_backward(self):
        """The layer would run again without them, and the gradients be those of another forward."""
        model = numbert.BertModel(tiny.config(), dtype=np.float64).train()
        model.gradient_checkpointing_enable()
        with model.encoder.layer[0].attention.self.probs.register_forward_hook(lambda m, i, output: 0 * output):
            out = model(**tiny.inputs())
        with pytest.raises(
            RuntimeError, match="the forward hooks within BertLayer have changed since its forward"
        ):
            model.backward(np.ones_like(out.last_hidden_state))


class Square(Module):
    def forward(self, x):
        self.remember(x=x)
        return x * x

    def backward(self, d_output):
        return 2 * d_output * self.recall().x


class Quarter(Square):
    """Calls the class it is made from, and itself."""

    def forward(self, x, deeper=True):
        return self(x, deeper=False) if deeper else super().forward(x)

    def backward(self, d_output, deeper=True):
        return self.backward(d_output, deeper=False) if deeper else super().backward(d_output)


class TestHowOften:
    def test_once_for_each_outermost_call(self):
        layer, calls = Quarter(), []
        layer.register_forward_hook(lambda m, inputs, output: calls.append("forward"))
        layer.register_backward_pre_hook(lambda m, d: calls.append("pre"))
        layer.register_backward_hook(lambda m, d, g: calls.append("backward"))
        layer(np.array([3.0]))
        assert calls == ["forward"]
        assert layer.backward(np.array([1.0])).tolist() == [6.0]
        assert calls == ["forward", "pre", "backward"]

    def test_in_the_order_of_registration_each_seeing_what_the_one_before_left(self):
        layer = Square()
        layer.register_forward_hook(lambda m, inputs, output: output + 1)
        layer.register_forward_hook(lambda m, inputs, output: output * 10)
        assert layer(np.array([3.0])).tolist() == [100.0]
        layer.register_backward_pre_hook(lambda m, d: (d[0] * 2,))
        layer.register_backward_hook(lambda m, d, g: g + d[0])
        layer.register_backward_hook(lambda m, d, g: -g)
        assert layer.backward(np.array([1.0])).tolist() == [-(2 * 6.0 + 2)]

    def test_with_gradient_checkpointing_a_replacement_is_made_again(self):
        """A layer that runs again in backward is replaced again, so that what is behind it is what it was."""
        plain, checkpointed = (numbert.BertModel(tiny.config(), dtype=np.float64).train() for _ in range(2))
        checkpointed.gradient_checkpointing_enable()
        noise = np.random.default_rng(0).standard_normal((tiny.BATCH, tiny.LENGTH, 12))
        gradients = []
        for model in (plain, checkpointed):
            model.encoder.layer[0].attention.output.register_forward_hook(lambda m, i, output: output + noise)
            model(**tiny.inputs())
            gradients.append(model.backward(noise)["inputs_embeds"])
        np.testing.assert_array_equal(*gradients)

    def test_within_threads_under_no_grad(self):
        import threading

        model, counts = model_of(np.float32), []
        model.pooler.register_forward_hook(lambda m, i, o: counts.append(1))

        def serve():
            with numbert.no_grad():
                for _ in range(20):
                    model(**tiny.inputs())

        threads = [threading.Thread(target=serve) for _ in range(3)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert len(counts) == 60


class TestHandles:
    def test_remove_and_with(self):
        layer, calls = Square(), []
        handle = layer.register_forward_hook(lambda m, i, o: calls.append(1))
        layer(np.array([1.0]))
        handle.remove()
        handle.remove()
        layer(np.array([1.0]))
        assert calls == [1]
        with layer.register_forward_hook(lambda m, i, o: calls.append(2)):
            layer(np.array([1.0]))
        layer(np.array([1.0]))
        assert calls == [1, 2]

    def test_a_layer_without_hooks_is_as_it_was(self):
        """None set costs nothing: the class's own backward, and one attribute asked for in a call."""
        layer = Square()
        before = dict(vars(layer))
        for register in (
            layer.register_forward_hook,
            layer.register_backward_pre_hook,
            layer.register_backward_hook,
        ):
            register(lambda *_: None).remove()
        assert vars(layer) == before

    def test_a_backward_that_was_set_on_the_object_stays(self):
        layer, calls = Square(), []
        layer.backward = lambda d_output: 7 * d_output
        with layer.register_backward_hook(lambda m, d, g: calls.append(g.tolist())):
            assert layer.backward(np.array([1.0])).tolist() == [7.0]
        assert layer.backward(np.array([1.0])).tolist() == [7.0]
        assert calls == [[7.0]]

    def test_one_of_several_is_removed(self):
        layer, calls = Square(), []
        first = layer.register_forward_hook(lambda m, i, o: calls.append("first"))
        layer.register_forward_hook(lambda m, i, o: calls.append("second"))
        first.remove()
        layer(np.array([1.0]))
        assert calls == ["second"]

    def test_a_deep_copy_has_its_own(self):
        layer, seen = Square(), []
        layer.register_backward_hook(lambda module, d, g: seen.append(module))
        twin = copy.deepcopy(layer)
        twin(np.array([1.0]))
        twin.backward(np.array([1.0]))
        assert seen == [twin]

    def test_a_hook_that_fails_leaves_the_layer_usable(self):
        layer = Square()
        with layer.register_forward_hook(lambda m, i, o: 1 / 0), pytest.raises(ZeroDivisionError):
            layer(np.array([1.0]))
        layer(np.array([3.0]))
        assert layer.backward(np.array([1.0])).tolist() == [6.0]

    @pytest.mark.parametrize("replacement", [np.ones(1), (np.ones(1), np.ones(1)), [np.ones(1)]])
    def test_a_pre_hook_must_return_as_many_as_it_was_given(self, replacement):
        layer = Square()
        layer.register_backward_pre_hook(lambda m, d: replacement)
        layer(np.array([1.0]))
        with pytest.raises(TypeError, match=r"a backward pre-hook of Square must return None or a tuple of 1"):
            layer.backward(np.array([1.0]))


class TestKeepSaved:
    def test_one_forward_serves_several_backwards(self):
        layer, rng = LayerNorm(6, dtype=np.float64), np.random.default_rng(0)
        layer(rng.standard_normal((4, 6)))
        d = rng.standard_normal((4, 6))
        with numbert.nn.keep_saved():
            first, second = layer.backward(d), layer.backward(d)
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(layer.backward(d), first)
        with pytest.raises(RuntimeError, match="no forward to undo"):
            layer.backward(d)

    @pytest.mark.parametrize("given", [{}, {"labels": None}])
    def test_a_whole_model(self, given):
        """Also what the loss does not reach is kept until the first backward outside."""
        model = numbert.BertForPreTraining(tiny.config(), dtype=np.float64).eval()
        batch = tiny.batch() | given
        model(**batch)
        with numbert.nn.keep_saved():
            gradients = [model.backward()["inputs_embeds"] for _ in range(3)]
        np.testing.assert_array_equal(gradients[0], gradients[2])
        np.testing.assert_array_equal(model.backward()["inputs_embeds"], gradients[0])
        assert all(module.saved is None for module in model.modules())

    def test_it_holds_for_the_thread_that_enters_it(self):
        import threading

        layer, errors = Linear(3, 4), []

        def backward_twice():
            layer.backward(np.ones((2, 4), np.float32))
            try:
                layer.backward(np.ones((2, 4), np.float32))
            except RuntimeError as error:
                errors.append(error)

        with numbert.nn.keep_saved():
            layer(np.ones((2, 3), np.float32))
            thread = threading.Thread(target=backward_twice)
            thread.start()
            thread.join()
        assert len(errors) == 1
