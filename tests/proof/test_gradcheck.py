"""gradcheck passes what is right, and says what is wrong with what is not."""

import importlib
import math
import pkgutil
import re

import numpy as np
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

import numbert
import numbert.bert
import numbert.nn
from numbert.bert.attention import BertAttention, BertSelfAttention
from numbert.bert.encoder import BertEncoder
from numbert.bert.layer import BertLayer
from numbert.bert.residual import BertSelfOutput
from numbert.errors import InputError
from numbert.nn.functional import softmax, softmax_backward
from numbert.nn.layers import Dropout, Embedding, LayerNorm, Linear
from numbert.nn.module import Module, Parameter
from numbert.proof import GradcheckError, gradcheck, gradcheck_all
from numbert.proof.every_layer import cases


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


X = drawn(3, 5, 6)  # [b,l,e]


# --- layers as students write them -------------------------------------------------------------------------------


class Square:
    """The least there can be: no parameter, no base class."""

    def forward(self, x):
        self.x = x
        return x**2

    def backward(self, d_output):
        return d_output * 2 * self.x


class PlainLinear:
    """Plain arrays; gradients in d-something."""

    def __init__(self, w, b):
        self.w, self.b = w, b
        self.dw, self.db = np.zeros_like(w), np.zeros_like(b)

    def forward(self, x):
        self.x = x
        return x @ self.w + self.b

    def backward(self, d_output):
        flat = d_output.reshape(-1, d_output.shape[-1])
        self.dw += self.x.reshape(-1, self.x.shape[-1]).T @ flat
        self.db += flat.sum(axis=0)
        return d_output @ self.w.T


class StudentLayerNorm(Module):
    """On numbert's Module, in plain NumPy."""

    mean_term = product_term = True

    def __init__(self, size):
        self.weight = Parameter(drawn(size, seed=1).astype(np.float32))
        self.bias = Parameter(drawn(size, seed=2).astype(np.float32))

    def forward(self, x):
        centred = x - x.mean(axis=-1, keepdims=True)
        std = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
        self.remember(normalized=centred / std, std=std)
        return self.weight.data * centred / std + self.bias.data

    def backward(self, d_output):
        saved = self.recall()
        self.weight.add_grad((d_output * saved.normalized).sum(axis=(0, 1)))
        self.bias.add_grad(d_output.sum(axis=(0, 1)))
        g = d_output * self.weight.data
        d_x = g.copy()
        if self.mean_term:
            d_x -= g.mean(axis=-1, keepdims=True)
        if self.product_term:
            d_x -= saved.normalized * (g * saved.normalized).mean(axis=-1, keepdims=True)
        return d_x / saved.std


class Elementwise:
    """A function and its slope."""

    def __init__(self, function, slope):
        self.function, self.slope = function, slope

    def forward(self, x):
        self.x = x
        return self.function(x)

    def backward(self, d_output):
        return d_output * self.slope(self.x)


def with_backward(base, backward):
    """A class like base with another backward."""
    return type(base.__name__, (base,), {"backward": backward})


class TestRightLayersPass:
    def test_a_numbert_layer(self):
        report = gradcheck(Linear(6, 4, std=0.5), X)
        assert report.ok
        assert [row.tensor for row in report.rows] == ["input x", "weight", "bias"]
        assert {row.method for row in report.rows} == {"complex step"}
        assert report.worst < 1e-13
        assert [row.checked for row in report.rows] == [64, 24, 4]

    def test_a_class_with_nothing_but_forward_and_backward(self):
        assert gradcheck(Square(), X).worst < 1e-13

    def test_a_layer_norm_on_module(self):
        assert gradcheck(StudentLayerNorm(6), X).worst < 1e-10

    def test_an_object_that_is_called(self):
        class Double:
            def __call__(self, x):
                return 2 * x

            def backward(self, d_output):
                return 2 * d_output

        assert gradcheck(Double(), X).ok

    def test_plain_arrays(self):
        report = gradcheck(PlainLinear(drawn(6, 4), drawn(4)), X)
        assert [row.tensor for row in report.rows] == ["input x", "w", "b"]
        assert report.worst < 1e-12

    @pytest.mark.parametrize("home", ["dw", "d_w", "w_grad", "grad_w"])
    def test_each_name_for_a_gradient(self, home):
        class Scale:
            def __init__(self):
                self.w = drawn(6)

            def forward(self, x):
                self.x = x
                return x * self.w

            def backward(self, d_output):
                setattr(self, home, (d_output * self.x).sum(axis=(0, 1)))
                return d_output * self.w

        report = gradcheck(Scale(), X)
        assert [row.tensor for row in report.rows] == ["input x", "w"]
        assert "assigned by each backward, not added: the gradient of w" in report.notes

    @pytest.mark.parametrize("keys", [("W", "W"), ("W", "dW"), (0, 0)])
    def test_dicts_and_lists_of_parameters_and_gradients(self, keys):
        key, home = keys

        class Scale:
            def __init__(self):
                self.params = [drawn(6)] if key == 0 else {key: drawn(6)}
                self.grads = [None] if key == 0 else {}

            def forward(self, x):
                self.cache = x, self.params[key]
                return x * self.params[key]

            def backward(self, d_output):
                x, w = self.cache
                self.grads[home] = (d_output * x).sum(axis=(0, 1))
                return d_output * w

        report = gradcheck(Scale(), X)
        assert [row.tensor for row in report.rows] == ["input x", f"params.{key}"]

    def test_one_array_under_two_names_is_one_parameter(self):
        layer = PlainLinear(drawn(6, 4), drawn(4))
        layer.params = {"W": layer.w, "b": layer.b}
        assert [row.tensor for row in gradcheck(layer, X).rows] == ["input x", "w", "b"]

    def test_what_an_earlier_forward_left_is_no_parameter(self):
        layer = PlainLinear(drawn(6, 4), drawn(4))
        layer.backward(layer.forward(X))
        layer.dx = np.ones_like(X)  # the name of a gradient, for what only looks like a parameter
        assert [row.tensor for row in gradcheck(layer, X).rows] == ["input x", "w", "b"]

    def test_layers_in_lists_keep_their_dotted_names(self):
        class Stack:
            def __init__(self):
                self.layers = [Linear(6, 4, std=0.5, seed=1), Square(), PlainLinear(drawn(4, 3), drawn(3))]

            def forward(self, x):
                for layer in self.layers:
                    x = layer.forward(x)
                return x

            def backward(self, d):
                for layer in reversed(self.layers):
                    d = layer.backward(d)
                return d

        names = ["input x", "layers.0.weight", "layers.0.bias", "layers.2.w", "layers.2.b"]
        assert [row.tensor for row in gradcheck(Stack(), X).rows] == names

    def test_parameters_have_the_names_of_named_parameters(self):
        model = numbert.BertForPreTraining(tiny.config(num_hidden_layers=1))
        report = gradcheck(model, max_entries=1, **tiny.batch())
        assert [row.tensor for row in report.rows] == [name for name, _ in model.named_parameters()]

    @given(
        sizes=st.tuples(*[st.integers(1, 5)] * 4),
        seed=st.integers(0, 1000),
        dtype=st.sampled_from([np.float32, np.float64]),
    )
    @settings(max_examples=25, deadline=None)
    def test_any_sizes_seed_and_dtype(self, sizes, seed, dtype):
        b, length, into, out = sizes
        layer = Linear(into, out, std=0.5, seed=seed, dtype=dtype)
        x = drawn(b, length, into, seed=seed).astype(dtype)
        assert gradcheck(layer, x, seed=seed).worst < 1e-10


# --- what is wrong, and what gradcheck says about it -------------------------------------------------------------


def add_to_linear(layer, d, d_weight_sign=1, d_bias=None):
    """The right backward of Linear but for its arguments; gives x and d as rows."""
    x = layer.recall().x
    rows, d_rows = x.reshape(-1, x.shape[-1]), d.reshape(-1, d.shape[-1])
    layer.weight.add_grad(d_weight_sign * (d_rows.T @ rows))
    layer.bias.add_grad(d_rows.sum(axis=0) if d_bias is None else d_bias)
    return x, d_rows


def lost_sign(self, d):
    add_to_linear(self, d, d_weight_sign=-1)
    return d @ self.weight.data


def bias_not_summed_over_the_batch(self, d):
    add_to_linear(self, d, d_bias=d)
    return d @ self.weight.data


def mean_over_the_batch(self, d):
    add_to_linear(self, d, d_bias=d.reshape(-1, d.shape[-1]).mean(axis=0))
    return d @ self.weight.data


def bias_forgotten(self, d):
    x = self.recall().x
    self.weight.add_grad(d.reshape(-1, d.shape[-1]).T @ x.reshape(-1, x.shape[-1]))
    return d @ self.weight.data


def bias_always_zero(self, d):
    add_to_linear(self, d, d_bias=np.zeros_like(self.bias.data))
    return d @ self.weight.data


def square_weight_transposed(self, d):
    x = self.recall().x
    self.weight.add_grad(x.reshape(-1, 6).T @ d.reshape(-1, 6))
    self.bias.add_grad(d.sum(axis=(0, 1)))
    return d @ self.weight.data


def square_weight_not_transposed_back(self, d):
    add_to_linear(self, d)
    return d @ self.weight.data.T


def nothing_returned(self, d):
    add_to_linear(self, d)


def too_few_rows_returned(self, d):
    add_to_linear(self, d)
    return (d @ self.weight.data)[0]


def not_a_number(self, d):
    add_to_linear(self, d)
    return d @ self.weight.data * np.nan


def float32_inside(self, d):
    add_to_linear(self, d)
    return d.astype(np.float32) @ self.weight.data.astype(np.float32)


def weight_in_wrong_shape(self, d):
    x = self.recall().x
    self.weight.add_grad(x.reshape(-1, 6).T @ d.reshape(-1, 4))
    self.bias.add_grad(d.sum(axis=(0, 1)))
    return d @ self.weight.data


def last_sequence_forgotten(self, d):
    add_to_linear(self, d)
    d_x = d @ self.weight.data
    d_x[-1] = 0
    return d_x


LINEAR = {
    lost_sign: (4, "weight", "off by the constant factor -1: a lost sign"),
    bias_not_summed_over_the_batch: (
        4,
        "bias",
        "right when summed over the leading axes: a missing sum over the b",
    ),
    mean_over_the_batch: (4, "bias", "off by the constant factor 0.0666667 = 1/15"),
    bias_forgotten: (4, "bias", "never received a gradient"),
    bias_always_zero: (4, "bias", "it is zero everywhere: never added"),
    square_weight_transposed: (6, "weight", "equal to the transpose"),
    square_weight_not_transposed_back: (6, "input x", "FAILED input x at ["),
    nothing_returned: (4, "input x", "backward returns no gradient for it"),
    too_few_rows_returned: (4, "input x", "its gradient has shape [5, 6]"),
    not_a_number: (4, "input x", "90 of 90 entries are NaN or infinite"),
    float32_inside: (4, "input x", "digits: float32, an approximation, or"),
    weight_in_wrong_shape: (4, "weight", "its gradient has shape [6, 4]\n    equal to the transpose"),
    last_sequence_forgotten: (4, "input x", "wrong only at 2 of axis 0, of 3"),
}


class TestWrongBackwardsFail:
    @pytest.mark.parametrize("wrong", LINEAR, ids=lambda wrong: wrong.__name__)
    def test_of_a_linear_layer(self, wrong):
        out, tensor, diagnosis = LINEAR[wrong]
        layer = with_backward(Linear, wrong)(6, out, std=0.5)
        with pytest.raises(GradcheckError) as caught:
            gradcheck(layer, X)
        assert [row.tensor for row in caught.value.report.failures] == [tensor], "and nothing else"
        assert diagnosis in str(caught.value)

    def test_a_failure_names_layer_tensor_index_both_numbers_and_the_error(self):
        report = gradcheck(with_backward(Linear, lost_sign)(6, 4), X, raise_on_failure=False)
        assert str(report).startswith("gradcheck of Linear: FAILED\n")
        line = re.search(
            r"FAILED weight at \[(\d), (\d)\]: backward (\S+), complex step (\S+), relative error 2.0e\+00",
            str(report),
        )
        assert line
        assert math.isclose(float(line[3]), -float(line[4]), rel_tol=1e-9)

    @pytest.mark.parametrize(
        ("kept", "diagnosis"),
        [
            ({"mean_term": False}, "differs by a constant along the last axis: a missing mean term?"),
            ({"product_term": False}, "differs by a multiple of the input (and a constant) along the last axis"),
            (
                {"mean_term": False, "product_term": False},
                "differs by a multiple of the input (and a constant) al",
            ),
        ],
    )
    def test_layer_norm_without_its_mean_terms(self, kept, diagnosis):
        wrong = type("StudentLayerNorm", (StudentLayerNorm,), kept)
        report = gradcheck(wrong(6), X, raise_on_failure=False)
        assert [row.tensor for row in report.failures] == ["input x"]
        assert diagnosis in str(report)

    def test_softmax_without_its_sum(self):
        class Softmax(Elementwise):
            def backward(self, d_probs):
                probs = softmax(self.x)
                return probs * d_probs

        report = gradcheck(Softmax(softmax, None), X, raise_on_failure=False)
        assert (
            "differs by a multiple of the output along the last axis: the missing sum term of a softmax?"
            in str(report)
        )

    @pytest.mark.parametrize(("times", "diagnosis"), [(0, "a lost residual"), (2, "a doubled residual")])
    def test_a_residual_that_is_lost_or_doubled(self, times, diagnosis):
        class Residual(Square):
            def forward(self, x):
                return super().forward(x) + x

            def backward(self, d_output):
                return super().backward(d_output) + times * d_output

        with pytest.raises(GradcheckError, match=f"differs by exactly the upstream gradient: {diagnosis}"):
            gradcheck(Residual(), X)

    def test_scores_without_their_scale(self):
        class Attention:
            head_size = 8

            def forward(self, query, key):
                self.saved = query, key, softmax(query @ key.swapaxes(-1, -2) / math.sqrt(8))
                return self.saved[2]

            def backward(self, d_probs):
                query, key, probs = self.saved
                d_scores = softmax_backward(d_probs, probs)
                return d_scores @ key, d_scores.swapaxes(-1, -2) @ query

        report = gradcheck(Attention(), drawn(2, 3, 4, 8), drawn(2, 3, 5, 8, seed=1), raise_on_failure=False)
        assert [row.tensor for row in report.failures] == ["input query", "input key"]
        assert "off by the constant factor 2.82843 = sqrt(8)" in str(report)

    def test_heads_that_are_reshaped_where_they_should_be_transposed(self):
        class Heads:
            """[b,l,e] -> [b,h,l,d]"""

            def forward(self, x):
                b, length, e = x.shape
                return x.reshape(b, length, 2, e // 2).transpose(0, 2, 1, 3)

            def backward(self, d_output):
                b, h, length, d = d_output.shape
                return d_output.reshape(b, length, h * d)

        with pytest.raises(GradcheckError, match="the same numbers in another order: a reshape where a transpose"):
            gradcheck(Heads(), X)

    def test_axes_of_equal_size_in_the_wrong_order(self):
        class Turn:
            def forward(self, x):
                return x.transpose(0, 2, 1) ** 2

            def backward(self, d_output):
                return 2 * np.ones((2, 4, 4)) * d_output

        class Swap:
            def forward(self, x):
                return x.transpose(1, 0, 2)

            def backward(self, d_output):
                return d_output

        with pytest.raises(GradcheckError, match=r"equal to it with the axes in the order \(1, 0, 2\)"):
            gradcheck(Swap(), drawn(3, 3, 4))
        with pytest.raises(GradcheckError, match="FAILED input x at"):
            gradcheck(Turn(), drawn(2, 4, 4))

    def test_an_embedding_that_assigns_the_rows_of_repeated_ids(self):
        def assigns(self, d_output):
            grad = np.zeros_like(self.weight.data)
            grad[self.recall().ids] = d_output
            self.weight.add_grad(grad)

        layer = with_backward(Embedding, assigns)(9, 4)
        with pytest.raises(
            GradcheckError, match=r"wrong only at ids that occur more than once \(2, 7\): assigned"
        ):
            gradcheck(layer, np.array([[1, 2, 7], [7, 2, 5]]))

    def test_a_gradient_where_none_is_due(self):
        class Constant(Square):
            def forward(self, x):
                self.x = x
                return x[:1] ** 2 + 0 * x.sum()

            def backward(self, d_output):
                return np.ones_like(self.x)

        with pytest.raises(GradcheckError, match="FAILED input x at"):
            gradcheck(Constant(), X)
        silent = Elementwise(lambda x: 0 * x + 1, lambda x: 1)
        with pytest.raises(GradcheckError, match="it should be zero everywhere"):
            gradcheck(silent, X)

    def test_one_wrong_entry_of_a_large_tensor_is_found(self):
        """It is hardly among those compared one by one: the random direction tells, and halving finds it."""

        class OneWrong(Square):
            def backward(self, d_output):
                d_x = super().backward(d_output)
                d_x[123, 45] *= 1.001
                return d_x

        report = gradcheck(OneWrong(), drawn(200, 100), max_entries=8, raise_on_failure=False)
        assert "FAILED input x at [123, 45]: backward" in str(report)
        assert gradcheck(Square(), drawn(200, 100), max_entries=8).rows[0].checked == 8

    def test_half_of_a_tables_entries_are_chosen_where_something_was_looked_up(self):
        def forgets_one_id(self, d_output):
            saved = self.recall()
            self.remember(ids=saved.ids[1:])
            Embedding.backward(self, d_output[1:])

        layer = with_backward(Embedding, forgets_one_id)(5000, 3)
        report = gradcheck(layer, np.array([7, 4000, 7, 12]), max_entries=20, raise_on_failure=False)
        assert report.rows[0].checked > 12
        assert re.search(r"FAILED weight at \[7, \d\]", str(report))

    @given(factor=st.floats(-3, 3), seed=st.integers(0, 100))
    @settings(max_examples=25, deadline=None)
    def test_any_factor_but_one(self, factor, seed):
        layer = Elementwise(np.exp, lambda x: factor * np.exp(x))
        report = gradcheck(layer, X, seed=seed, max_entries=5, raise_on_failure=False)
        assert report.ok == (abs(factor - 1) < 1e-10)


class TestManners:
    """What a backward may not do, though its numbers are right the first time."""

    def test_a_gradient_is_added_not_assigned(self):
        def assigns(self, d):
            x = self.recall().x
            self.weight.grad = d.reshape(-1, 4).T @ x.reshape(-1, 6)
            self.bias.add_grad(d.sum(axis=(0, 1)))
            return d @ self.weight.data

        with pytest.raises(
            GradcheckError, match="weight: after two backwards grad is that of one: assigned, not ad"
        ):
            gradcheck(with_backward(Linear, assigns)(6, 4), X)

    def test_nothing_is_left_for_the_next_call(self):
        class Hoards(Square):
            total = 0

            def backward(self, d_output):
                self.total = self.total + super().backward(d_output)
                return self.total

        with pytest.raises(
            GradcheckError, match="input x: the gradient of a second call depends on the first call"
        ):
            gradcheck(Hoards(), X)

    def test_the_upstream_gradient_is_left_alone(self):
        class Writes(Square):
            def backward(self, d_output):
                d_output *= 2 * self.x
                return d_output

        with pytest.raises(
            GradcheckError, match="backward changes the upstream gradient of output that it was han"
        ):
            gradcheck(Writes(), X)

    def test_the_inputs_are_left_alone(self):
        class ForwardWrites:
            def forward(self, x):
                x *= 2
                return x

            def backward(self, d_output):
                return 2 * d_output

        class BackwardWrites(Square):
            def backward(self, d_output):
                self.x *= 2
                return d_output * self.x

        with pytest.raises(GradcheckError, match="forward changes its input x in place"):
            gradcheck(ForwardWrites(), X)
        with pytest.raises(GradcheckError, match="backward changes its input x in place"):
            gradcheck(BackwardWrites(), X)

    def test_the_parameters_are_left_alone(self):
        class Learns(PlainLinear):
            def backward(self, d_output):
                d_x = super().backward(d_output)
                self.w = self.w - 0.1 * self.dw
                return d_x

        with pytest.raises(GradcheckError, match="backward changes w itself, where it should leave a gradient"):
            gradcheck(Learns(drawn(6, 4), drawn(4)), X)

    def test_an_error_in_backward_is_reported_with_its_line(self):
        class Mismatched(PlainLinear):
            def backward(self, d_output):
                return d_output @ self.w

        with pytest.raises(GradcheckError, match=r"backward raises ValueError: matmul.*return d_output @ self\.w"):
            gradcheck(Mismatched(drawn(6, 4), drawn(4)), X)

    def test_more_gradients_than_inputs(self):
        class Generous(Square):
            def backward(self, d_output):
                return super().backward(d_output), d_output

        with pytest.raises(GradcheckError, match="backward returns 2 gradients, for 1 floating input"):
            gradcheck(Generous(), X)

    def test_a_plain_array_without_a_gradient(self):
        class Forgets(PlainLinear):
            def backward(self, d_output):
                self.dw += self.x.reshape(-1, 6).T @ d_output.reshape(-1, 4)
                return d_output @ self.w.T

        layer = Forgets(drawn(6, 4), drawn(4))
        with pytest.raises(GradcheckError, match="it is zero everywhere: never added"):
            gradcheck(layer, X)
        del layer.db
        with pytest.raises(GradcheckError, match="never received a gradient"):
            gradcheck(layer, X)
        report = gradcheck(layer, X, constants=["b"])
        assert [row.result for row in report.rows if row.tensor == "b"] == ["not checked: a constant"]


class TestParametersThatAreNotTrainable:
    def test_they_are_left_out_and_the_report_says_so(self):
        layer = Linear(6, 4, dtype=np.float64)
        layer.weight.trainable = False
        report = gradcheck(layer, drawn(3, 6))
        results = {row.tensor: row.result for row in report.rows}
        assert results == {"input x": "ok", "weight": "not checked: not trainable", "bias": "ok"}

    def test_the_layer_keeps_them(self):
        layer = Linear(6, 4, dtype=np.float64)
        layer.weight.trainable = False
        gradcheck(layer, drawn(3, 6))
        assert not layer.weight.trainable


class TestWhoseArrays:
    """What backward returns is the caller's to overwrite; gradcheck notes where it is not."""

    class Shares:
        def __init__(self, what):
            self.what = what

        def forward(self, x, y):
            return x + y

        def backward(self, d_output):
            if self.what == "argument":
                return d_output, d_output.copy()
            copy = d_output.copy()
            return (copy, copy) if self.what == "result" else (copy, d_output.copy())

    @pytest.mark.parametrize(
        ("what", "note"),
        [
            ("argument", "the gradient of x is the upstream gradient of output itself"),
            ("result", "the gradient of x is the gradient of y itself"),
            ("nothing", None),
        ],
    )
    def test_a_note_says_so(self, what, note):
        report = gradcheck(self.Shares(what), drawn(2, 3), drawn(2, 3, seed=1))
        assert report.ok
        assert any(note in one for one in report.notes) if note else report.notes == []

    def test_a_result_that_the_next_backward_overwrites_is_noted(self):
        class Reuses:
            def forward(self, x):
                self.d_x = getattr(self, "d_x", np.zeros(x.shape))
                return 2 * x

            def backward(self, d_output):
                np.multiply(d_output, 2, out=self.d_x)
                return self.d_x

        report = gradcheck(Reuses(), drawn(2, 3))
        assert report.notes == [
            "the gradient of x is in the same array after each backward: the next one overwrites it"
        ]


class TestArraysOfItsOwn:
    """A layer may fill one array in every forward and return it: fast code does."""

    class Filled:
        def __init__(self):
            self.out, self.w, self.dw = np.zeros((3, 4)), drawn(4, seed=1), np.zeros(4)

        def forward(self, x):
            self.x = x
            np.multiply(x * x, self.w, out=self.out)
            return self.out

        def backward(self, d_output):
            self.dw += (d_output * self.x * self.x).sum(axis=0)
            return 2 * d_output * self.x * self.w

    @pytest.mark.parametrize("method", ["auto", "complex", "central", "taylor"])
    @pytest.mark.parametrize("called_before", [False, True])
    def test_of_the_layer(self, method, called_before):
        layer, x = self.Filled(), drawn(3, 4)
        if called_before:
            layer.forward(x)
        assert gradcheck(layer, x, method=method).ok

    def test_of_the_program(self):
        shared = np.zeros((3, 4))

        class Global:
            def forward(self, x):
                self.x = x
                shared[...] = x * x
                return shared

            def backward(self, d_output):
                return 2 * d_output * self.x

        assert gradcheck(Global(), drawn(3, 4)).ok

    def test_a_wrong_one_is_still_wrong(self):
        class Wrong(self.Filled):
            def backward(self, d_output):
                return d_output * self.x * self.w

        with pytest.raises(GradcheckError, match="input x"):
            gradcheck(Wrong(), drawn(3, 4))


class TestWrongInside:
    def test_a_wrong_leaf_of_a_model_is_named_with_its_cause(self):
        model = numbert.BertForPreTraining(tiny.config(initializer_range=0.5))
        wrong = model.bert.encoder.layer[1].attention.output
        wrong.LayerNorm = type("StudentLayerNorm", (StudentLayerNorm,), {"product_term": False})(12)
        report = gradcheck(model, max_entries=1, raise_on_failure=False, **tiny.batch())
        assert list(report.inside) == ["bert.encoder.layer.1.attention.output.LayerNorm"]
        assert "the place to start: bert.encoder.layer.1.attention.output.LayerNorm (StudentLayerNorm)" in str(
            report
        )
        assert "\n        differs by a multiple of the input (and a constant) along the last axis" in str(report)
        failed = {row.tensor for row in report.failures}
        assert "bert.encoder.layer.0.output.dense.weight" in failed, "all that is before it fails with it"
        assert not any(name.startswith(("cls.", "bert.pooler.")) for name in failed), "what is behind it is right"

    def test_a_leaf_that_raises_is_named(self):
        layer = BertLayer(tiny.config())
        layer.intermediate.dense = with_backward(Linear, lambda self, d: d @ d)(12, 20)
        report = gradcheck(layer, drawn(5, 7, 12), raise_on_failure=False)
        assert list(report.inside) == ["intermediate.dense"]

    @pytest.mark.parametrize("inside", [False, True])
    def test_right_leaves_put_together_wrongly(self, inside):
        class NoResidual(BertAttention):
            def backward(self, d_attention_output):
                d_context_layer, _ = self.output.backward(d_attention_output)
                return self.self.backward(d_context_layer)

        attention = NoResidual(tiny.config(initializer_range=0.5))
        if inside:
            layer = BertLayer(tiny.config(initializer_range=0.5))
            layer.attention = attention
            report = gradcheck(layer, drawn(5, 7, 12), max_entries=8, raise_on_failure=False)
            assert list(report.inside) == ["attention"]
        else:
            report = gradcheck(attention, drawn(5, 7, 12), max_entries=8, raise_on_failure=False)
            assert report.inside == {}
            assert [row.tensor for row in report.failures] == ["input hidden_states"]
            assert re.search(
                r"each of the \d+ layers inside is right by itself: the fault is in NoResidual.backward",
                str(report),
            )


class TestMethods:
    """The complex step where forward is holomorphic; else central differences, and a Taylor slope beside them."""

    ABS = Elementwise(np.abs, np.sign)

    def test_abs_is_not_holomorphic_and_its_right_backward_passes(self):
        report = gradcheck(self.ABS, X)
        assert report.rows[0].method == "central differences, Taylor slope"
        assert report.notes == ["no complex step: forward gives real numbers for complex ones"]

    def test_a_wrong_backward_of_abs_fails(self):
        """Zero is what the complex step gives for abs: agreeing with it proves nothing."""
        wrong = Elementwise(lambda x: np.abs(x) + 0j * x if np.iscomplexobj(x) else np.abs(x), np.zeros_like)
        report = gradcheck(wrong, X, raise_on_failure=False)
        assert not report.ok
        assert "it is zero everywhere: never added" in str(report)
        assert "no complex step for input x: forward is not holomorphic in it (abs? real?)" in report.notes

    def test_only_the_tensors_that_need_it_lose_the_complex_step(self):
        class Mixed(PlainLinear):
            def forward(self, x):
                return super().forward(x) + np.abs(self.b)

            def backward(self, d_output):
                d_x = super().backward(d_output)
                self.db += (d_output * np.sign(self.b)).sum(axis=(0, 1))
                return d_x

        methods = {row.tensor: row.method for row in gradcheck(Mixed(drawn(6, 4), drawn(4)), X).rows}
        assert methods == {
            "input x": "complex step",
            "w": "complex step",
            "b": "central differences, Taylor slope",
        }

    @pytest.mark.parametrize(
        ("function", "note"),
        [
            (
                lambda x: np.tanh(np.copysign(x, x)),
                "forward raises TypeError",
            ),
            (lambda x: np.tanh(x.astype(np.float64)), "forward raises ComplexWarning"),
            (lambda x: np.tanh(x).real, "forward gives real numbers for complex ones"),
        ],
    )
    def test_a_forward_for_real_numbers_only(self, function, note):
        right = Elementwise(function, lambda x: 1 - np.tanh(x) ** 2)
        report = gradcheck(right, X)
        assert note in report.notes[0]
        assert report.worst < 1e-8
        wrong = Elementwise(function, lambda x: 1 + np.tanh(x) ** 2)
        with pytest.raises(GradcheckError, match="central differences"):
            gradcheck(wrong, X)
        with pytest.raises(InputError, match="method='complex' is not possible: forward"):
            gradcheck(right, X, method="complex")

    @pytest.mark.parametrize(
        ("method", "shown"),
        [("complex", "complex step"), ("central", "central differences"), ("taylor", "Taylor slope")],
    )
    def test_one_can_be_asked_for(self, method, shown):
        layer = BertLayer(tiny.config(initializer_range=0.5))
        report = gradcheck(layer, drawn(5, 7, 12), method=method, max_entries=2)
        assert {row.method for row in report.rows} == {shown}
        layer.output.LayerNorm = type("StudentLayerNorm", (StudentLayerNorm,), {"mean_term": False})(12)
        report = gradcheck(layer, drawn(5, 7, 12), method=method, max_entries=2, raise_on_failure=False)
        assert list(report.inside) == ["output.LayerNorm"]
        if method == "taylor":
            assert re.search(r"the Taylor remainder falls with slope 1\.[0-3]\d, not 2", str(report))

    def test_relu_passes_by_every_method(self):
        layer = Elementwise(lambda x: np.where(x.real > 0, x, 0 * x), lambda x: x > 0)
        for method in ("auto", "complex", "central", "taylor"):
            assert gradcheck(layer, X, method=method).ok

    def test_a_method_that_is_none(self):
        with pytest.raises(InputError, match="method is 'exact'; it can be auto, complex, central, taylor"):
            gradcheck(Square(), X, method="exact")


class TestRandomness:
    def test_dropout_replays_its_draws(self):
        report = gradcheck(Dropout(0.4, seed=3), X)
        assert report.worst < 1e-13

    def test_a_generator_shared_by_two_layers(self):
        rng = np.random.default_rng(5)

        class Twice(Module):
            def __init__(self):
                self.first, self.second = Dropout(0.3, seed=rng), Dropout(0.6, seed=rng)

            def forward(self, x):
                return self.second(np.tanh(self.first(x)))

            def backward(self, d):
                d = self.second.backward(d)
                y = np.tanh(self.x) if hasattr(self, "x") else None
                return self.first.backward(d * (1 - y**2))

        class Remembers(Twice):
            def forward(self, x):
                self.x = self.first(x)
                return self.second(np.tanh(self.x))

        state = rng.bit_generator.state
        assert gradcheck(Remembers(), X).ok
        assert rng.bit_generator.state == state

    @pytest.mark.parametrize("source", [np.random.RandomState(3), np.random])
    def test_a_students_dropout_with_numpys_old_generators(self, source):
        class OldDropout:
            def __init__(self):
                if source is not np.random:
                    self.rng = source

            def forward(self, x):
                draw = np.random.rand if source is np.random else self.rng.rand
                self.keep = (draw(*x.shape) > 0.5) * 2.0
                return x * self.keep

            def backward(self, d_output):
                return d_output * self.keep

        before = np.random.get_state()[1].copy()  # noqa: NPY002
        assert gradcheck(OldDropout(), X).ok
        assert np.array_equal(np.random.get_state()[1], before), "and the caller's draws are as they were"  # noqa: NPY002

    def test_a_generator_that_gradcheck_cannot_replay(self):
        rng = np.random.default_rng(0)
        noisy = Elementwise(lambda x: x + rng.standard_normal(x.shape), np.ones_like)
        with pytest.raises(
            InputError, match="output of Elementwise differs from one forward to the next: keep the"
        ):
            gradcheck(noisy, X)

    def test_the_seed_decides(self):
        reports = [str(gradcheck(LayerNorm(6), X, seed=seed, max_entries=3)) for seed in (1, 1, 2)]
        assert reports[0] == reports[1] != reports[2]

    def test_the_upstream_gradient_is_not_ones(self):
        """Ones would hide this: the rows of a softmax sum to 1, whatever the input."""
        wrong = Elementwise(softmax, np.zeros_like)
        with pytest.raises(GradcheckError, match="zero everywhere"):
            gradcheck(wrong, X)


class TestNothingIsTouched:
    def test_the_layer_and_the_inputs_stay_as_they_are(self):
        model = numbert.BertForPreTraining(tiny.config())
        batch = tiny.batch()
        model(**batch)
        model.backward()
        model(**batch)
        saved = model.bert.encoder.layer[0].attention.self.saved
        model.cls.eval()
        data = {name: p.data.copy() for name, p in model.named_parameters()}
        grads = {name: p.grad.copy() for name, p in model.named_parameters()}
        state = model.rng.bit_generator.state
        copies = {name: value.copy() for name, value in batch.items()}

        gradcheck(model, max_entries=1, **batch)

        for name, parameter in model.named_parameters():
            assert parameter.dtype == np.float32
            assert np.array_equal(parameter.data, data[name]), name
            assert np.array_equal(parameter.grad, grads[name]), name
        assert model.bert.encoder.layer[0].attention.self.saved is saved
        assert model.bert.training
        assert not model.cls.training
        assert model.rng.bit_generator.state == state
        assert all(np.array_equal(batch[name], copies[name]) for name in batch)
        assert not any("forward" in vars(module) for module in model.modules())

    def test_a_failed_check_touches_nothing_either(self):
        layer = with_backward(Linear, lost_sign)(6, 4)
        x = X.copy()
        gradcheck(layer, x, raise_on_failure=False)
        assert layer.weight.grad is None
        assert layer.saved is None
        assert np.array_equal(x, X)

    def test_float32_is_proved_in_double(self):
        layer = LayerNorm(6, dtype=np.float32)
        assert gradcheck(layer, X.astype(np.float32)).worst < 1e-10
        assert layer.weight.dtype == np.float32

    def test_what_cannot_be_copied_is_named(self):
        layer = Square()
        layer.lock = __import__("threading").Lock()
        with pytest.raises(
            InputError, match=r"gradcheck works on copies of the layer, which cannot be copied: .*lock"
        ):
            gradcheck(layer, X)


class TestInputsAndOutputs:
    def test_a_mask_is_not_checked_and_listed(self):
        mask = np.where(drawn(5, 1, 1, 7) > 0, 0, -1e9)
        report = gradcheck(BertSelfAttention(tiny.config(initializer_range=0.5)), drawn(5, 7, 12), mask)
        results = {row.tensor: row.result for row in report.rows}
        assert results["input attention_mask"] == "not checked: backward returns no gradient for it"
        assert results["input hidden_states"] == "ok"
        assert "not checked: backward returns no gradient for it" in str(report)

    def test_extra_outputs_get_no_gradient(self):
        layer = BertSelfAttention(tiny.config(initializer_range=0.5))
        assert gradcheck(layer, drawn(5, 7, 12), None, output_attentions=True, max_entries=4).ok
        encoder = BertEncoder(tiny.config(initializer_range=0.5))
        x = drawn(5, 7, 12)
        assert gradcheck(encoder, x, output_attentions=True, output_hidden_states=True, max_entries=1).ok

    @pytest.mark.parametrize("return_dict", [True, False])
    @pytest.mark.parametrize("pooler", [True, False])
    def test_a_model_with_and_without_pooler(self, pooler, return_dict):
        model = numbert.BertModel(tiny.config(num_hidden_layers=1), add_pooling_layer=pooler)
        options = {"output_hidden_states": True, "return_dict": return_dict, "max_entries": 1}
        assert gradcheck(model, **tiny.inputs(), **options).ok
        embeds = {"inputs_embeds": drawn(5, 7, 12), "attention_mask": tiny.inputs()["attention_mask"] * 1.0}
        results = {row.tensor: row.result for row in gradcheck(model, **embeds, **options).rows}
        assert results["input inputs_embeds"] == "ok"
        assert results["input attention_mask"].startswith("not checked")

    @pytest.mark.parametrize("return_dict", [True, False])
    def test_a_model_with_a_loss(self, return_dict):
        model = numbert.BertForMaskedLM(tiny.config(num_hidden_layers=1))
        batch = {**tiny.inputs(), "labels": tiny.batch()["labels"], "return_dict": return_dict}
        assert gradcheck(model, max_entries=1, **batch).ok

    def test_a_model_without_labels_has_nothing_to_differentiate(self):
        with pytest.raises(InputError, match="the forward of BertForMaskedLM gives no loss without labels"):
            gradcheck(numbert.BertForMaskedLM(tiny.config()), **tiny.inputs())

    def test_a_loss_whose_backward_takes_nothing(self):
        class MeanSquare:
            def forward(self, x, target):
                self.difference = x - target
                return (self.difference**2).mean()

            def backward(self):
                d_x = 2 * self.difference / self.difference.size
                return d_x, -d_x

        assert gradcheck(MeanSquare(), X, X + 1).ok

    def test_two_outputs_and_two_inputs(self):
        report = gradcheck(
            BertSelfOutput(tiny.config(initializer_range=0.5)), drawn(5, 7, 12), drawn(5, 7, 12, seed=1)
        )
        assert [row.tensor for row in report.rows[:2]] == ["input hidden_states", "input input_tensor"]

        class SumAndProduct:
            def forward(self, x, y):
                self.saved = x, y
                return x + y, x * y

            def backward(self, d_sum, d_product):
                x, y = self.saved
                return d_sum + d_product * y, d_sum + d_product * x

        assert gradcheck(SumAndProduct(), X, X + 1).ok
        assert gradcheck(SumAndProduct(), X, y=X + 1).ok

    def test_a_lost_gradient_of_a_second_input(self):
        class Sum:
            def forward(self, x, y):
                return x + y

            def backward(self, d_output):
                return d_output

        with pytest.raises(GradcheckError, match=r"FAILED input y at .*\n    backward returns no gradient for it"):
            gradcheck(Sum(), X, X + 1)
        report = gradcheck(Sum(), X, X + 1, constants=["y"])
        assert report.rows[0].result == "not checked: a constant"

    def test_none_and_missing_are_for_what_has_no_gradient(self):
        class Lookup:
            def __init__(self):
                self.table = Parameter(drawn(9, 6))

            def forward(self, ids, scale, flag=True):
                self.ids, self.scale = ids, scale
                return self.table.data[ids] * scale

            def backward(self, d_output):
                grad = np.zeros_like(self.table.data)
                np.add.at(grad, self.ids, d_output * self.scale)
                self.table.add_grad(grad)
                return None, (d_output * self.table.data[self.ids]).sum(axis=-1, keepdims=True)

        report = gradcheck(Lookup(), np.array([1, 3, 3]), drawn(3, 1))
        assert [row.tensor for row in report.rows] == ["input scale", "table"]

    def test_the_padding_row_counts_as_a_constant_where_it_is_looked_up(self):
        ids = np.array([[0, 2, 0], [1, 2, 3]])
        report = gradcheck(Embedding(5, 3, padding_idx=0, std=1), ids)
        assert (
            "the [PAD] row of Embedding counts as a constant where it is looked up (padding_idx)" in report.notes
        )

        def learns_padding(self, d_output):
            self.padding_idx = None
            Embedding.backward(self, d_output)

        with pytest.raises(GradcheckError, match=r"FAILED weight at \[0, \d\]: backward \S+, complex step 0"):
            gradcheck(with_backward(Embedding, learns_padding)(5, 3, padding_idx=0, std=1), ids)

    @pytest.mark.parametrize(
        ("layer", "inputs", "message"),
        [
            (object(), (X,), "gradcheck takes a layer with forward and backward, got object"),
            (Square(), (), "forward does not take these inputs: missing a required argument: 'x'"),
            (
                Square(),
                (np.arange(3),),
                "Square has no parameter and got no floating input: there is nothing to check",
            ),
            (Square(), (X * 1j,), "x is complex; gradcheck takes real inputs"),
            (Square(), (X * np.nan,), "output of Square has NaN or infinity in it"),
            (Linear(6, 4, dtype=np.complex128), (X,), "weight is complex128; give a layer in float32 or float64"),
            (
                Elementwise(lambda x: x.astype(np.float32), np.ones_like),
                (X,),
                "output of Elementwise is float32, though inputs and parameters are float64",
            ),
        ],
    )
    def test_what_cannot_be_checked_is_refused(self, layer, inputs, message):
        with pytest.raises(InputError, match=re.escape(message)):
            gradcheck(layer, *inputs)

    def test_a_backward_whose_gradients_cannot_be_told_apart(self):
        class Cached(Square):
            def backward(self, d_output, cache):
                return d_output

        with pytest.raises(
            InputError, match=r"Cached\.backward takes d_output, cache, and forward returns output: gradc"
        ):
            gradcheck(Cached(), X)

        class Starts(Square):
            def backward(self):
                return 2 * self.x

        with pytest.raises(
            InputError, match=r"Starts\.backward takes no gradient, and the first output of forward is"
        ):
            gradcheck(Starts(), X)

    def test_a_wrong_input_is_the_layers_own_error(self):
        with pytest.raises(InputError, match=r"Linear takes \[..., 6\]"):
            gradcheck(Linear(6, 4), drawn(3, 5))


def test_the_report_is_an_aligned_table():
    text = str(gradcheck(Linear(6, 4), X, max_entries=8))
    lines = text.splitlines()
    assert lines[0] == "gradcheck of Linear: ok"
    assert lines[1].split() == ["tensor", "shape", "entries", "method", "worst", "error", "result"]
    assert [line.index("complex step") for line in lines[2:]] == [lines[1].index("method")] * 3
    assert lines[2].startswith("input x  [3, 5, 6]  8 of 90")


class TestEveryLayerOfNumbert:
    def test_each_is_proved_below_1e_10(self):
        for name, report in gradcheck_all(seed=0):
            assert report.ok, f"{name}\n{report}"
            assert report.worst < 1e-10, name
            assert {row.method for row in report.rows if row.result == "ok"} == {"complex step"}, name

    def test_no_class_is_left_out(self):
        for package in (numbert.nn, numbert.bert):
            for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
                importlib.import_module(module.name)
        abstract = {"Activation", "BertPreTrainedModel", "BertWithOneHead", "VocabularyMixin"}
        containers = {"ModuleList"}
        checked = {type(layer).__name__ for _, layer, _, _ in cases(np.random.default_rng(0))}
        assert {cls.__name__ for cls in subclasses(Module)} - abstract - containers == checked

    def test_no_parameter_is_one_that_hides_errors(self):
        """Weights of 1 and biases of 0, as a new LayerNorm has them, would hide a missing factor or term."""
        for name, layer, _, _ in cases(np.random.default_rng(0)):
            for parameter in layer.parameters():
                assert len(np.unique(parameter.data)) == parameter.size, name
                assert 0.01 < np.abs(parameter.data).mean() < 1.5, name


def subclasses(cls):
    """numbert's own, at any depth."""
    for subclass in cls.__subclasses__():
        if subclass.__module__.startswith("numbert."):
            yield subclass
        yield from subclasses(subclass)
