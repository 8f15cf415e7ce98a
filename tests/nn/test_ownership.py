"""Who owns an array: a backward writes into nothing that it was given, and gives away what it returns."""

import numpy as np
import pytest

import numbert
from numbert.nn import Dropout, Linear, Module, Parameter, keep_saved
from numbert.proof.calls import Inputs, gradients_taken, named_outputs
from numbert.proof.every_layer import cases

CASES = {name: (layer, inputs, keywords) for name, layer, inputs, keywords in cases(np.random.default_rng(0))}


def arrays_in(value, name=""):
    """Every floating array in nested tuples, dicts and dataclasses, with where it stands."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "f":
            yield name, value
    elif hasattr(value, "items"):
        for key, item in value.items():
            yield from arrays_in(item, f"{name}[{key!r}]")
    elif isinstance(value, tuple | list):
        for index, item in enumerate(value):
            yield from arrays_in(item, f"{name}[{index}]")


def held_by(layer):
    """Every array that the layer and those below it hold: parameters, gradients, and what forward saved."""
    for name, parameter in layer.named_parameters():
        yield f"{name}.data", parameter.data
        if parameter.grad is not None:
            yield f"{name}.grad", parameter.grad
    for name, module in layer.named_modules():
        if module.saved is not None:
            yield from arrays_in(dict(vars(module.saved)), f"{name}.saved")


def backward_of(layer, result, upstream):
    taken = gradients_taken(layer, result)
    in_order = [upstream[output] for output, where in taken.items() if isinstance(where, int)]
    by_keyword = {where: upstream[output] for output, where in taken.items() if isinstance(where, str)}
    return layer.backward(*in_order, **by_keyword)


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", CASES)
def test_the_rule_holds_for_every_layer(name, mode):
    layer, args, keywords = CASES[name]
    getattr(layer.zero_grad() or layer, mode)()
    inputs = Inputs.of(layer.forward, args, keywords)
    given = {f"input {inputs.names[key]}": inputs.values[key] for key in inputs.floats()}
    result = inputs.call(layer.forward)
    rng = np.random.default_rng(1)
    upstream = {output: rng.standard_normal(array.shape) for output, array in named_outputs(result).items()}
    given |= {f"d_{output}": array for output, array in upstream.items()}
    before = {where: array.copy() for where, array in [*given.items(), *held_by(layer)]}

    with keep_saved():
        returned = dict(arrays_in(backward_of(layer, result, upstream), "result"))
        first = {where: array.copy() for where, array in returned.items()}
        held = dict(held_by(layer))
        for where, array in [*given.items(), *held.items()]:
            if where in before:
                assert np.array_equal(array, before[where]), f"{name}: backward writes into {where}"
        for where, array in returned.items():
            for other, theirs in [*given.items(), *held.items(), *returned.items()]:
                assert other == where or not np.shares_memory(array, theirs), f"{name}: {where} is in {other}"
        for where, array in held.items():
            if where.endswith(".grad"):
                for other, theirs in given.items():
                    assert not np.shares_memory(array, theirs), f"{name}: {where} is in {other}"

        for array in returned.values():
            array[...] = np.nan  # the caller's to overwrite
        again = dict(arrays_in(backward_of(layer, result, upstream), "result"))
    for where, array in again.items():
        np.testing.assert_array_equal(array, first[where], err_msg=f"{name}: {where}")
    layer.forget()


def test_a_layer_that_passes_its_argument_through_does_no_harm_to_the_caller():
    """A student's layer may break the rule; those around it still write into nothing that is the caller's."""

    class Identity(Module):
        def forward(self, x, *_):
            self.remember()
            return x

        def backward(self, d_output):
            self.recall()
            return d_output

    layer = numbert.BertLayer(
        numbert.BertConfig(hidden_size=12, num_attention_heads=3, intermediate_size=20), dtype=np.float64
    )
    layer.output.LayerNorm, layer.attention.output.LayerNorm = Identity(), Identity()
    rng = np.random.default_rng(0)
    hidden_states, d_output = rng.standard_normal((2, 4, 12)), rng.standard_normal((2, 4, 12))
    before = d_output.copy()
    layer.eval()(hidden_states)
    layer.backward(d_output)
    np.testing.assert_array_equal(d_output, before)


class TestAddGrad:
    def test_what_it_is_given_is_copied(self):
        parameter, gradient = Parameter(np.zeros(3)), np.ones(3)
        parameter.add_grad(gradient)
        gradient[:] = 7
        assert parameter.grad.tolist() == [1, 1, 1]
        parameter.add_grad(gradient)
        assert gradient.tolist() == [7, 7, 7]
        assert parameter.grad.tolist() == [8, 8, 8]

    def test_what_the_caller_gives_away_may_become_grad(self):
        parameter, gradient = Parameter(np.zeros(3)), np.ones(3)
        parameter.add_grad(gradient, owned=True)
        assert parameter.grad is gradient

    def test_a_wrong_shape_is_named(self):
        with pytest.raises(ValueError, match=r"gradient of shape \(2,\) for a parameter of shape \(3,\)"):
            Parameter(np.zeros(3)).add_grad(np.ones(2))


class TestTrainable:
    def test_a_parameter_that_is_not_trainable_gets_no_gradient_and_the_others_theirs(self):
        frozen, free = (numbert.BertForPreTraining(_config(), dtype=np.float64).eval() for _ in range(2))
        names = [name for name, _ in frozen.named_parameters() if "embeddings" in name or "query" in name]
        for name, parameter in frozen.named_parameters():
            parameter.trainable = name not in names
        ids = np.array([[5, 6, 7, 8]])
        for model in (frozen, free):
            model(ids, labels=ids, next_sentence_label=np.array([1]))
            model.backward()
        theirs = dict(free.named_parameters())
        for name, parameter in frozen.named_parameters():
            if name in names:
                assert parameter.grad is None, name
            else:
                np.testing.assert_array_equal(parameter.grad, theirs[name].grad, err_msg=name)
        assert frozen.num_parameters(only_trainable=True) == sum(
            p.size for name, p in free.named_parameters() if name not in names
        )

    def test_the_products_for_it_are_not_computed(self):
        """What costs a third of a backward is left out where nothing is learned from it."""
        layer = Linear(6, 4, dtype=np.float64)
        layer.weight.trainable = layer.bias.trainable = False
        layer(np.ones((2, 6)))
        layer.backward(np.ones((2, 4)))
        assert layer.weight.grad is layer.bias.grad is None

    def test_a_bias_alone_can_be_learned(self):
        layer = Linear(6, 4, dtype=np.float64)
        layer.weight.trainable = False
        layer(np.ones((2, 6)))
        layer.backward(np.ones((2, 4)))
        assert layer.weight.grad is None
        assert layer.bias.grad.tolist() == [2, 2, 2, 2]

    def test_it_is_shown(self):
        parameter = Parameter(np.zeros(2), trainable=False)
        assert repr(parameter) == "Parameter([2], float64, not trainable)"


def test_dropout_that_drops_nothing_returns_its_input_forward_and_a_copy_backward():
    layer, x, d_output = Dropout(0.0), np.ones((2, 3)), np.ones((2, 3))
    assert layer(x) is x
    d_x = layer.backward(d_output)
    assert d_x is not d_output
    assert np.array_equal(d_x, d_output)


def _config():
    return numbert.BertConfig(
        vocab_size=11, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12
    )
