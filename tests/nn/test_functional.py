"""The pairs of plain functions: backward is the derivative, the fast form is the plain form, extremes are sane."""

import math

import numpy as np
import pytest
from cores import num_threads
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from numbert.nn import blocks
from numbert.nn.functional import (
    attention,
    attention_backward,
    bce_with_logits,
    bce_with_logits_backward,
    cross_entropy,
    cross_entropy_backward,
    gelu,
    gelu_backward,
    gelu_tanh,
    gelu_tanh_backward,
    layer_norm,
    layer_norm_backward,
    mse,
    mse_backward,
    relu,
    relu_backward,
    sigmoid,
    silu,
    silu_backward,
    softmax,
    softmax_backward,
    tanh,
    tanh_backward,
)
from numbert.nn.functional.gelu import (
    _gelu_backward_float32,
    _gelu_float32,
    _gelu_tanh,
    _gelu_tanh_backward,
)
from numbert.nn.functional.softmax import _softmax, _softmax_backward

PAIRS = {
    "gelu": (gelu, gelu_backward),
    "gelu_tanh": (gelu_tanh, gelu_tanh_backward),
    "relu": (relu, relu_backward),
    "silu": (silu, silu_backward),
    "tanh": (tanh, lambda d_output, x: tanh_backward(d_output, tanh(x))),
}
LOWEST = np.finfo(np.float64).min


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def complex_step(function, arrays, upstream, h=1e-20):
    """d sum(function(*arrays) * upstream) / d each array, entry by entry, from imaginary parts alone."""
    gradients = []
    for moved, array in enumerate(arrays):
        gradient = np.empty(array.shape)
        for index in np.ndindex(array.shape):
            inputs = [a.astype(np.complex128) for a in arrays]
            inputs[moved][index] += 1j * h
            gradient[index] = (function(*inputs) * upstream).sum().imag / h
        gradients.append(gradient)
    return gradients


def assert_close(got, wanted, tolerance=1e-12):
    """Equal within tolerance of the largest."""
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max() <= tolerance * np.abs(wanted).max()


class TestEachBackwardIsTheDerivative:
    @pytest.mark.parametrize("name", PAIRS)
    def test_activations(self, name):
        function, backward = PAIRS[name]
        x, d = 2 * drawn(4, 7), drawn(4, 7, seed=1)
        assert_close(backward(d, x), complex_step(function, [x], d)[0])

    @given(name=st.sampled_from(sorted(PAIRS)), value=st.floats(-30, 30), d=st.floats(-2, 2))
    @settings(deadline=None)
    def test_activations_anywhere(self, name, value, d):
        """Out in the tails, too, where the slope is all but 0 or 1."""
        function, backward = PAIRS[name]
        x = np.array([value])
        numeric = complex_step(function, [x], np.array([d]))[0]
        assert abs(backward(np.array([d]), x) - numeric) <= 1e-12

    def test_softmax(self):
        x, d = drawn(3, 4, 5), drawn(3, 4, 5, seed=1)
        assert_close(softmax_backward(d, softmax(x)), complex_step(softmax, [x], d)[0])

    def test_layer_norm(self):
        x, weight, bias, d = drawn(3, 4, 6), drawn(6, seed=1), drawn(6, seed=2), drawn(3, 4, 6, seed=3)
        _, normalized, inverse_std = layer_norm(x, weight, bias, 1e-12)
        numeric = complex_step(lambda *inputs: layer_norm(*inputs, 1e-12)[0], [x, weight, bias], d)
        for got, wanted in zip(layer_norm_backward(d, normalized, inverse_std, weight), numeric, strict=True):
            assert_close(got, wanted)

    @pytest.mark.parametrize("masked", [False, True])
    @pytest.mark.parametrize("dropped", [False, True])
    def test_attention(self, masked, dropped):
        b, h, length, right, d = 2, 3, 4, 5, 6
        query, key, value = drawn(b, h, length, d), drawn(b, h, right, d, seed=1), drawn(b, h, right, d, seed=2)
        mask = np.where(drawn(b, 1, 1, right, seed=3) > 0.5, LOWEST, 0) if masked else None
        keep = (drawn(b, h, length, right, seed=4) > -1) / 0.8 if dropped else None
        upstream = drawn(b, h, length, d, seed=5)
        _, probs = attention(query, key, value, mask, keep)
        got = attention_backward(upstream, query, key, value, probs, keep)
        numeric = complex_step(lambda *inputs: attention(*inputs, mask, keep)[0], [query, key, value], upstream)
        for ours, wanted in zip(got, numeric, strict=True):
            assert_close(ours, wanted)

    @pytest.mark.parametrize("labels", [[3, 0, 6, 3], [3, -100, 6, -100], [-100, -100, 2, -100]])
    def test_cross_entropy(self, labels):
        logits, labels, d_loss = drawn(4, 7), np.array(labels), 0.7
        _, probs = cross_entropy(logits, labels)
        numeric = complex_step(lambda x: cross_entropy(x, labels)[0], [logits], d_loss)[0]
        assert_close(cross_entropy_backward(d_loss, probs, labels), numeric)

    def test_yes_or_no_and_squared_error(self):
        logits, numbers, d_loss = drawn(4, 3), drawn(4, 3, seed=1), 0.7
        answers = np.clip(numbers, 0, 1)
        _, probs = bce_with_logits(logits, answers)
        numeric = complex_step(lambda x: bce_with_logits(x, answers)[0], [logits], d_loss)[0]
        assert_close(bce_with_logits_backward(d_loss, probs, answers), numeric)
        numeric = complex_step(lambda x: mse(x, numbers), [logits], d_loss)[0]
        assert_close(mse_backward(d_loss, logits, numbers), numeric)

    @given(
        x=hnp.arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(1, 5)), elements=st.floats(-20, 20)),
        seed=st.integers(0, 100),
    )
    @settings(max_examples=30, deadline=None)
    def test_softmax_of_anything(self, x, seed):
        d = drawn(*x.shape, seed=seed)
        probs = softmax(x)
        np.testing.assert_allclose(probs.sum(axis=-1), 1, rtol=1e-14)
        numeric = complex_step(softmax, [x], d)[0]
        np.testing.assert_allclose(softmax_backward(d, probs), numeric, rtol=1e-10, atol=1e-15)


class TestWhatTheFunctionsAre:
    """Each against its definition, written another way."""

    def test_gelu_is_x_times_the_normal_distribution(self):
        for x in (-6.0, -1.5, -1e-3, 0.0, 0.4, 2.0, 9.0):
            exact = x * 0.5 * math.erfc(-x / math.sqrt(2))
            assert math.isclose(gelu(np.array([x]))[0], exact, rel_tol=1e-14)

    def test_gelu_keeps_its_digits_in_the_left_tail(self):
        """1 + erf loses them all from -6 on; erfc does not."""
        x = np.array([-8.0, -20.0, -35.0])
        assert (gelu(x) < 0).all()
        assert math.isclose(gelu(x)[0], -8 * 6.220960574271785e-16, rel_tol=1e-12)

    def test_gelu_tanh_is_near_gelu(self):
        x = np.linspace(-5, 5, 1001)
        difference = np.abs(gelu_tanh(x) - gelu(x)).max()
        assert 1e-5 < difference < 5e-4

    def test_sigmoid_and_silu(self):
        x = np.linspace(-30, 30, 61)
        np.testing.assert_allclose(sigmoid(x), 1 / (1 + np.exp(-x)), rtol=1e-14)
        np.testing.assert_allclose(silu(x), x * sigmoid(x), rtol=1e-14)

    def test_layer_norm_uses_the_biased_variance(self):
        x = np.array([[1.0, 2.0, 6.0]])
        output, normalized, inverse_std = layer_norm(x, np.array([2.0, 1.0, 1.0]), np.array([0.0, 0.0, 5.0]), 0.0)
        std = math.sqrt((4 + 1 + 9) / 3)
        np.testing.assert_allclose(normalized, [[-2 / std, -1 / std, 3 / std]], rtol=1e-14)
        np.testing.assert_allclose(output, [[-4 / std, -1 / std, 3 / std + 5]], rtol=1e-14)
        assert inverse_std.shape == (1, 1)

    def test_attention_is_its_definition(self):
        query, key, value = drawn(2, 3, 4, 6), drawn(2, 3, 5, 6, seed=1), drawn(2, 3, 5, 6, seed=2)
        mask, keep = drawn(2, 1, 1, 5, seed=3), (drawn(2, 3, 4, 5, seed=4) > 0) * 2.0
        context, probs = attention(query, key, value, mask, keep)
        scores = np.einsum("bhld,bhrd->bhlr", query, key) / math.sqrt(6) + mask
        expected = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
        np.testing.assert_allclose(probs, expected, rtol=1e-12)
        np.testing.assert_allclose(context, np.einsum("bhlr,bhrd->bhld", expected * keep, value), rtol=1e-10)

    def test_cross_entropy_is_the_mean_over_the_labelled_rows(self):
        logits, labels = drawn(5, 7), np.array([3, -100, 0, 6, -100])
        loss, probs = cross_entropy(logits, labels)
        assert math.isclose(loss, -np.mean([np.log(softmax(logits)[row, labels[row]]) for row in (0, 2, 3)]))
        np.testing.assert_allclose(probs, softmax(logits), rtol=1e-14)
        alone, _ = cross_entropy(logits[labels != -100], labels[labels != -100])
        assert math.isclose(loss, alone)

    def test_cross_entropy_with_nothing_labelled_is_zero(self):
        logits, labels = drawn(4, 7).astype(np.float32), np.full(4, -100)
        loss, probs = cross_entropy(logits, labels)
        assert loss == 0
        assert not cross_entropy_backward(1.0, probs, labels).any()

    def test_yes_or_no_is_the_mean_cross_entropy_of_two_classes(self):
        logits, labels = drawn(4, 3), np.clip(drawn(4, 3, seed=1), 0, 1)
        p = sigmoid(logits)
        loss, probs = bce_with_logits(logits, labels)
        assert math.isclose(loss, -(labels * np.log(p) + (1 - labels) * np.log(1 - p)).mean())
        np.testing.assert_allclose(probs, p, rtol=1e-14)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_yes_or_no_of_large_logits_is_their_size_or_next_to_nothing(self, dtype):
        logits, labels = np.array([1000.0, -1000.0, 1000.0, -1000.0], dtype), np.array([0.0, 1.0, 1.0, 0.0], dtype)
        with np.errstate(all="raise"):
            loss, probs = bce_with_logits(logits, labels)
            d_logits = bce_with_logits_backward(1.0, probs, labels)
        assert loss == 500
        assert d_logits.tolist() == [0.25, -0.25, 0, 0]
        one = bce_with_logits(np.array([30.0], dtype), np.array([1.0], dtype))[0]
        assert math.isclose(one, math.exp(-30), rel_tol=1e-6)

    def test_squared_error_is_the_mean_over_all_entries(self):
        assert mse(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 0.0], [0.0, 4.0]])) == 13 / 4
        nothing = np.zeros((0, 3))
        assert mse(nothing, nothing) == bce_with_logits(nothing, nothing)[0] == 0


class TestFloat32Kernels:
    """The fast gelu of float32 against the exact one: the bound that its docstring promises."""

    # Dense, and with what is near 0, where a relative error would show.
    GRID = np.concatenate(
        [np.linspace(-10, 10, 400_001), np.geomspace(1e-30, 1, 1000), -np.geomspace(1e-30, 1, 1000)]
    )
    X32 = GRID.astype(np.float32)
    X64 = X32.astype(np.float64)

    def test_gelu(self):
        error = np.abs(gelu(self.X32).astype(np.float64) - gelu(self.X64))
        assert gelu(self.X32).dtype == np.float32
        assert error.max() < 5e-7

    def test_the_slope_of_gelu(self):
        ones = np.ones_like(self.X32)
        error = np.abs(gelu_backward(ones, self.X32).astype(np.float64) - gelu_backward(ones * 1.0, self.X64))
        assert error.max() < 5e-7

    @pytest.mark.parametrize("name", ["gelu_tanh", "silu", "relu", "tanh"])
    def test_the_others_are_right_up_to_rounding(self, name):
        function, backward = PAIRS[name]
        ones = np.ones_like(self.X32)
        for got, exact in (
            (function(self.X32), function(self.X64)),
            (backward(ones, self.X32), backward(np.ones_like(self.X64), self.X64)),
        ):
            assert got.dtype == np.float32
            assert (np.abs(got - exact) <= 2e-6 * np.maximum(1, np.abs(exact))).all()

    def test_gelu_is_zero_at_zero_and_the_identity_far_out(self):
        x = np.array([0.0, -0.0, 12.0, 100.0, 1e18, -20.0, -100.0, -1e18], np.float32)
        assert gelu(x).tolist() == [0, 0, 12, 100, x[4], 0, 0, 0]
        assert gelu_backward(np.ones_like(x), x).tolist() == [0.5, 0.5, 1, 1, 1, 0, 0, 0]

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize(
        "function", [softmax, lambda x: layer_norm(x, np.ones(6, x.dtype), np.ones(6, x.dtype), 1e-12)[0]]
    )
    def test_the_dtype_is_kept(self, function, dtype):
        assert function(drawn(3, 6).astype(dtype)).dtype == dtype


class TestExtremes:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("name", sorted(set(PAIRS) - {"relu"}))
    def test_nan_comes_out_as_nan_and_nothing_else_does(self, name, dtype):
        """A NaN upstream must be seen, not turned into a number; and it must not spread to its neighbours."""
        function, backward = PAIRS[name]
        x = np.array([1.0, np.nan, -2.0], dtype)
        d = np.ones_like(x)
        assert np.isnan(function(x)).tolist() == [False, True, False]
        assert np.isnan(backward(d, x)).tolist() == [False, True, False]
        d[2] = np.nan
        assert np.isnan(backward(d, np.abs(x)))[2]

    def test_relu_does_not_hide_a_nan(self):
        assert np.isnan(relu(np.array([1.0, np.nan, -2.0]))).tolist() == [False, True, False]

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_gelu_of_infinity(self, dtype):
        assert gelu(np.array([np.inf, 1.0], dtype))[0] == np.inf

    def test_nothing_overflows_far_out(self):
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            for dtype in (np.float32, np.float64):
                x = np.array([-1e4, -100, 100, 1e4], dtype)
                for name, (function, backward) in PAIRS.items():
                    assert np.isfinite(function(x)).all(), name
                    assert np.isfinite(backward(np.ones_like(x), x)).all(), name

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_large_logits_give_a_finite_loss_and_gradient(self, dtype):
        logits = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 0], [0, 0, 0]], dtype)
        labels = np.array([1, 1, 2])
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            loss, probs = cross_entropy(logits, labels)
            d_logits = cross_entropy_backward(1.0, probs, labels)
        assert math.isclose(loss, (2e4 + 0 + math.log(3)) / 3, rel_tol=1e-6)
        assert loss.dtype == d_logits.dtype == dtype
        np.testing.assert_allclose(d_logits[0], [1 / 3, -1 / 3, 0], rtol=1e-6)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_softmax_of_huge_and_of_masked_scores(self, dtype):
        lowest = np.finfo(dtype).min
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            probs = softmax(np.array([[1e30, 1e30, -1e30], [lowest, 1, lowest], [lowest] * 3], dtype))
        np.testing.assert_allclose(probs, [[0.5, 0.5, 0], [0, 1, 0], [1 / 3] * 3], rtol=1e-6)

    def test_layer_norm_of_a_constant_row_is_its_bias(self):
        output, normalized, inverse_std = layer_norm(np.full((2, 4), 3.0), np.ones(4), np.arange(4.0), 1e-12)
        assert not normalized.any()
        assert (output == np.arange(4)).all()
        assert np.isfinite(inverse_std).all()

    def test_layer_norm_keeps_its_digits_far_from_zero(self):
        """The mean is taken off before squaring: the mean square less the squared mean would be noise."""
        x = drawn(3, 64)
        near, _, _ = layer_norm(x, np.ones(64), np.zeros(64), 1e-12)
        far, _, _ = layer_norm(x + 1e6, np.ones(64), np.zeros(64), 1e-12)
        np.testing.assert_allclose(far, near, atol=1e-8)


SHAPES = [(), (5,), (1, 1), (0, 3), (4, 5), (2, 3, 4), (2, 0, 4), (2, 3, 4, 5)]


class TestShapes:
    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
    @pytest.mark.parametrize("name", PAIRS)
    def test_activations_take_any_shape(self, name, dtype, shape):
        function, backward = PAIRS[name]
        x, d = drawn(*shape).astype(dtype), drawn(*shape, seed=1).astype(dtype)
        x, d = np.asarray(x), np.asarray(d)
        for out in (function(x), backward(d, x)):
            assert out.shape == shape
            assert out.dtype == dtype

    @pytest.mark.parametrize("shape", [(0,), (3, 0), (2, 3, 0)])
    @pytest.mark.parametrize("name", PAIRS)
    def test_rows_without_numbers(self, name, shape):
        function, backward = PAIRS[name]
        x = np.zeros(shape, np.float32)
        assert function(x).shape == backward(x, x).shape == shape

    @pytest.mark.parametrize("shape", [(5,), (4, 5), (0, 5), (2, 3, 4), (2, 0, 4), (2, 3, 4, 5)])
    def test_functions_of_rows(self, shape):
        x, d = drawn(*shape), drawn(*shape, seed=1)
        weight = drawn(shape[-1], seed=2)
        assert softmax(x).shape == softmax_backward(d, softmax(x)).shape == shape
        output, normalized, inverse_std = layer_norm(x, weight, weight, 1e-12)
        assert output.shape == normalized.shape == shape
        assert inverse_std.shape == (*shape[:-1], 1)
        d_x, d_weight, d_bias = layer_norm_backward(d, normalized, inverse_std, weight)
        assert d_x.shape == shape
        assert d_weight.shape == d_bias.shape == (shape[-1],)

    def test_cross_entropy_of_no_rows(self):
        logits, labels = np.zeros((0, 7)), np.zeros(0, int)
        loss, probs = cross_entropy(logits, labels)
        assert loss == 0
        assert cross_entropy_backward(1.0, probs, labels).shape == (0, 7)

    @pytest.mark.parametrize("view", [lambda x: x.T, lambda x: x[::2], lambda x: x[:, ::-1], np.asfortranarray])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_views_give_what_their_copies_give(self, view, dtype):
        x, d = view(drawn(6, 6).astype(dtype)), view(drawn(6, 6, seed=1).astype(dtype))
        before = x.copy()
        x_copy, d_copy = np.ascontiguousarray(x), np.ascontiguousarray(d)
        for name, (function, backward) in PAIRS.items():
            np.testing.assert_array_equal(function(x), function(x_copy), err_msg=name)
            np.testing.assert_array_equal(backward(d, x), backward(d_copy, x_copy), err_msg=name)
        np.testing.assert_array_equal(softmax(x), softmax(x_copy))
        probs = view(softmax(drawn(6, 6).astype(dtype)))
        np.testing.assert_array_equal(
            softmax_backward(d, probs), softmax_backward(d_copy, np.ascontiguousarray(probs))
        )
        weight = np.ones(6, dtype)
        for ours, expected in zip(
            layer_norm(x, weight, weight, 1e-12), layer_norm(x_copy, weight, weight, 1e-12), strict=True
        ):
            np.testing.assert_allclose(ours, expected, rtol=1e-5 if dtype == np.float32 else 1e-13)
        np.testing.assert_array_equal(x, before, err_msg="the input is left as it was")


class TestBlocks:
    """Work in blocks of rows, on several threads, gives bit for bit what one pass over the whole array gives."""

    @pytest.fixture
    def three_threads(self):
        with num_threads(3):
            yield

    # A kernel computes row by row, so where the blocks begin and end cannot matter.
    @pytest.mark.parametrize("shape", [(7, 5), (3000, 64), (2, 100_000), (200_000, 3), (1100, 1024)])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_each_kernel_is_the_plain_form(self, three_threads, shape, dtype):
        x, d = drawn(*shape).astype(dtype), drawn(*shape, seed=1).astype(dtype)
        whole = np.empty_like(x)
        kernels = [
            (_gelu_tanh, (x,), gelu_tanh(x)),
            (_gelu_tanh_backward, (d, x), gelu_tanh_backward(d, x)),
            (_softmax, (x,), softmax(x)),
            (_softmax_backward, (d, softmax(x)), softmax_backward(d, softmax(x))),
        ]
        if dtype == np.float32:
            kernels.append((_gelu_float32, (x,), gelu(x)))
            kernels.append((_gelu_backward_float32, (d, x), gelu_backward(d, x)))
        for kernel, inputs, blocked in kernels:
            kernel(whole, *inputs)
            np.testing.assert_array_equal(blocked, whole, err_msg=kernel.__name__)

    def test_layer_norm_in_blocks(self):
        x, d, weight = drawn(3000, 64), drawn(3000, 64, seed=1), drawn(64, seed=2)
        output, normalized, inverse_std = layer_norm(x, weight, weight, 1e-12)
        d_x, _, _ = layer_norm_backward(d, normalized, inverse_std, weight)
        for row in (0, 1023, 1024, 1025, 2999):
            alone = layer_norm(x[row], weight, weight, 1e-12)
            np.testing.assert_allclose(output[row], alone[0], rtol=1e-12)
            np.testing.assert_allclose(
                d_x[row], layer_norm_backward(d[row], *alone[1:], weight)[0], rtol=1e-9, atol=1e-13
            )

    @pytest.mark.parametrize("threads", [1, 2, 3, 8])
    def test_any_number_of_threads_gives_the_same(self, monkeypatch, threads):
        x = drawn(1001, 257).astype(np.float32)
        expected = gelu(x)
        monkeypatch.setattr(blocks, "SHARE", 1000)
        with num_threads(threads):
            assert np.array_equal(gelu(x), expected)
            assert np.array_equal(softmax(x).sum(axis=-1).round(5), np.ones(1001))

    def test_every_row_is_worked_on_once(self, monkeypatch, three_threads):
        for rows, share, block in [(1, 1, 10), (7, 6, 2), (100, 40, 33), (5, 1, 1), (64, 100, 10_000)]:
            monkeypatch.setattr(blocks, "SHARE", share)
            monkeypatch.setattr(blocks, "BLOCK", block)
            counts = np.zeros((rows, 3))

            def count(part):
                part += 1

            blocks.in_row_blocks(count, counts)
            assert (counts == 1).all(), (rows, share, block)

    def test_an_error_in_a_share_is_raised(self, monkeypatch, three_threads):
        monkeypatch.setattr(blocks, "SHARE", 1)

        def fails(part):
            if (part == 9).any():
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            blocks.in_row_blocks(fails, np.arange(10.0)[:, None])

    def test_small_work_stays_in_one_thread(self, monkeypatch, three_threads):
        shares = []
        monkeypatch.setattr(blocks, "in_threads", lambda work, pieces: shares.append(len(pieces)))
        for size in (blocks.SHARE - 1, 2 * blocks.SHARE - 1, 2 * blocks.SHARE, 7 * blocks.SHARE):
            blocks.in_row_blocks(lambda part: None, np.empty((size, 1), np.uint8))
        assert shares == [1, 1, 2, 7]
