"""Every fast form of numbert.nn.functional is its plain form, on odd shapes and at the ends of the number line."""

import inspect

import numpy as np
import pytest

from numbert.nn import functional

B, L, R, H, D, E, V = 2, 5, 3, 3, 4, 7, 11
EXTREMES = [np.inf, -np.inf, np.nan, 80.0, -80.0, 1e-310, -1e-310, 1e-40, 0.0, -0.0]


def shapes(*last):
    """Arrays of these shapes: rows of all kinds, one, none, and without numbers where that has a meaning."""
    return [(4, *last), (1, *last), (0, *last), (2, 3, *last), (2, 0, *last), (2, 3, 4, *last), last]


class Draw:
    """Draws arguments of one dtype; where `extremes`, some of the numbers are at the ends of the line."""

    def __init__(self, dtype, extremes=False, seed=0):
        self.dtype, self.extremes = np.dtype(dtype), extremes
        self.rng = np.random.default_rng(seed)

    def __call__(self, *shape):
        x = self.rng.standard_normal(shape)
        if self.dtype.kind == "c":
            x = x + 1j * self.rng.standard_normal(shape)
        x = np.asarray(x, self.dtype)
        if self.extremes and x.size:
            places = self.rng.permutation(x.size)[: max(1, x.size // 8)]
            x.reshape(-1)[places] = self.rng.choice(np.array(EXTREMES), len(places)).astype(self.dtype)
        return x

    def ids(self, size, *shape):
        return self.rng.integers(0, size, shape)

    def kept(self, *shape):
        return self.rng.random(shape) < 0.7


# For each pair the calls to compare: functions from a Draw to the arguments.
def rows(*more):
    return [lambda draw, s=s: (draw(*s), *(m(draw, s) for m in more)) for s in shapes(E)]


def same(draw, shape):
    return draw(*shape)


def normalized(draw, shape):
    return (draw(*shape), draw(*shape), np.abs(draw(*shape[:-1], 1)), draw(E))


def heads(draw):
    return draw(B, H, L, D), draw(B, H, R, D), draw(B, H, R, D)


def attention_arguments(draw):
    mask = np.where(draw.kept(B, 1, 1, R), 0, np.finfo(draw.dtype).min).astype(draw(1).real.dtype)
    return (*heads(draw), mask, draw.kept(B, H, L, R) / draw(1).real.dtype.type(0.7))


def attention_backward_arguments(draw):
    query, key, value = heads(draw)
    return draw(B, H, L, D), query, key, value, functional.softmax_plain(draw(B, H, L, R)), None


def relative_arguments(length, r, p, with_key=True, b=B):
    """Of l queries, the last of r positions, and a table for sequences of p tokens."""
    return lambda draw: (
        draw(b, H, length, D),
        draw(b, H, r, D) if with_key else None,
        draw(2 * p - 1, D),
        r,
    )


def relative_backward_arguments(length, r, p, with_key=True, b=B):
    def arguments(draw):
        query, key, table, _ = relative_arguments(length, r, p, with_key, b)(draw)
        return draw(b, H, length, r), query, key, table

    return arguments


def labels(draw, n):
    made = draw.ids(V, n)
    made[::3] = functional.IGNORE
    return made


def yes_or_no(draw, shape):
    """Labels from 0 to 1: some of them no, some yes, some between."""
    return np.clip(draw.rng.standard_normal(shape), 0, 1).astype(draw.dtype)


# A whole sequence, as long as the table allows or shorter; steps with a cache, of three tokens and of one; one
# token in all; no sequence.
DISTANCES = [(5, 5, 5), (4, 4, 7), (3, 5, 7), (1, 6, 6), (1, 1, 1), (1, 1, 4), (3, 5, 7, True, 0)]
DISTANCES += [(5, 5, 5, False), (3, 5, 7, False), (1, 6, 6, False)]

ELEMENTWISE = [lambda draw, s=s: (draw(*s),) for s in [*shapes(E), (), (3, 0)]]
ELEMENTWISE_BACKWARD = [lambda draw, s=s: (draw(*s), draw(*s)) for s in [*shapes(E), (), (3, 0)]]
CASES = {
    "linear": [lambda draw, s=s: (draw(*s), draw(V, E), draw(V)) for s in shapes(E)],
    "linear_backward": [lambda draw, s=s: (draw(*s[:-1], V), draw(*s), draw(V, E)) for s in shapes(E)],
    "embedding": [lambda draw, s=s: (draw.ids(V, *s), draw(V, E)) for s in [(4, 5), (0, 3), (6,), ()]],
    "embedding_backward": [
        lambda draw, s=s, pad=pad: (draw(*s, E), draw.ids(V, *s), V, pad)
        for s in [(4, 5), (0, 3), (60,)]
        for pad in (None, 3)
    ],
    "dropout": [lambda draw, s=s, p=p: (draw(*s), draw.kept(*s), p) for s in shapes(E) for p in (0.3, 1.0)],
    "dropout_backward": [lambda draw, s=s: (draw(*s), draw.kept(*s), 0.3) for s in shapes(E)],
    "split_heads": [lambda draw: (draw(B, L, H * D), H), lambda draw: (draw(0, L, H * D), H)],
    "join_heads": [lambda draw: (draw(B, H, L, D),), lambda draw: (draw(B, H, 0, D),)],
    "softmax": [*rows(), lambda draw: (draw(3, 0),)],
    "softmax_backward": rows(same),
    "layer_norm": [lambda draw, s=s: (draw(*s), draw(E), draw(E), 1e-12) for s in shapes(E)],
    "layer_norm_backward": [lambda draw, s=s: normalized(draw, s) for s in shapes(E)],
    "attention_scores": [lambda draw: heads(draw)[:2]],
    "attention_scores_backward": [lambda draw: (draw(B, H, L, R), *heads(draw)[:2])],
    "attention_context": [lambda draw: (draw(B, H, L, R), draw(B, H, R, D))],
    "attention_context_backward": [lambda draw: (draw(B, H, L, D), draw(B, H, L, R), draw(B, H, R, D))],
    "attention": [attention_arguments, lambda draw: (*heads(draw), None, None)],
    "attention_backward": [attention_backward_arguments],
    "relative_scores": [relative_arguments(*sizes) for sizes in DISTANCES],
    "relative_scores_backward": [relative_backward_arguments(*sizes) for sizes in DISTANCES],
    "cross_entropy": [lambda draw, n=n: (draw(n, V), labels(draw, n)) for n in (5, 1, 0)],
    "cross_entropy_backward": [
        lambda draw, n=n: (0.7, functional.softmax_plain(draw(n, V)), labels(draw, n)) for n in (5, 1, 0)
    ],
    "bce_with_logits": [lambda draw, s=s: (draw(*s), yes_or_no(draw, s)) for s in [(5, 3), (1, 4), (4,), (0, 3)]],
    "bce_with_logits_backward": [
        lambda draw, s=s: (0.7, functional.sigmoid_plain(draw(*s)), yes_or_no(draw, s))
        for s in [(5, 3), (1, 4), (4,), (0, 3)]
    ],
    "mse": [lambda draw, s=s: (draw(*s), draw(*s)) for s in [(5, 3), (1, 4), (4,), (0, 3)]],
    "mse_backward": [lambda draw, s=s: (0.7, draw(*s), draw(*s)) for s in [(5, 3), (1, 4), (4,), (0, 3)]],
    "gelu": ELEMENTWISE,
    "gelu_backward": ELEMENTWISE_BACKWARD,
    "gelu_tanh": ELEMENTWISE,
    "gelu_tanh_backward": ELEMENTWISE_BACKWARD,
    "relu": ELEMENTWISE,
    "relu_backward": ELEMENTWISE_BACKWARD,
    "sigmoid": ELEMENTWISE,
    "silu": ELEMENTWISE,
    "silu_backward": ELEMENTWISE_BACKWARD,
    "tanh": ELEMENTWISE,
    "tanh_backward": ELEMENTWISE_BACKWARD,
}


def drawn(case, draw):
    """The arguments of a case; what is strange about extreme ones is no news."""
    with np.errstate(all="ignore"):
        return case(draw)


def compared(name, arguments):
    """(fast, plain) arrays of each result; one that both give as None is left out."""
    with np.errstate(all="ignore"):
        fast = getattr(functional, name)(*arguments)
        plain = getattr(functional, f"{name}_plain")(*arguments)
    fast, plain = (result if isinstance(result, tuple) else (result,) for result in (fast, plain))
    return [pair for pair in zip(fast, plain, strict=True) if pair[1] is not None or pair[0] is not None]


# Sums of products, where what cancels within a row is as large as what stands in the others.
PRODUCTS = {name for name in CASES if name.startswith(("linear", "attention", "relative"))}


def assert_same(name, arguments, fast, plain):
    """Within 1e-13 of the row's largest number, in float32 within 4 units in its last place.

    Of a matrix product the largest number of the whole counts, and of an element-wise backward also the largest
    upstream gradient, as slopes are sums that may cancel. gelu and its slope may be 5e-7 off.
    """
    assert fast.shape == plain.shape
    assert fast.dtype == plain.dtype
    if not fast.size:
        return
    strange = ~np.isfinite(plain)
    np.testing.assert_array_equal(np.isnan(fast), np.isnan(plain))
    real = strange & ~np.isnan(plain)
    np.testing.assert_array_equal(fast[real], plain[real])  # the same infinities
    fast, plain = np.where(strange, 0, fast), np.where(strange, 0, plain)
    row = -1 if plain.ndim and name not in PRODUCTS else None
    largest = np.abs(plain).max(axis=row, keepdims=True)
    if CASES[name] is ELEMENTWISE_BACKWARD:
        d_output = np.abs(np.nan_to_num(arguments[0], posinf=0, neginf=0))
        largest = np.maximum(largest, d_output.max(axis=row, keepdims=True))
    if plain.dtype == np.float32:
        tolerance = 4 * np.spacing(largest.astype(np.float32))
        if name == "gelu":
            tolerance = tolerance + 5e-7
        if name == "gelu_backward":
            tolerance = tolerance + 5e-7 * d_output
    else:
        tolerance = 1e-13 * largest + 1e-300
    off = np.abs(fast - plain)
    assert (off <= tolerance).all(), f"{name}: off by {off.max():.2e} of {largest.max():.2e}"


def test_every_function_that_has_a_plain_form_is_compared():
    plain = {name.removesuffix("_plain") for name in functional.__all__ if name.endswith("_plain")}
    assert plain == set(CASES)


def test_every_function_has_a_plain_form():
    """But for those that are another one, draw random numbers, or compute none."""
    functions = {name for name in functional.__all__ if inspect.isfunction(getattr(functional, name))}
    fast = {name for name in functions if not name.endswith("_plain")}
    without = {name for name in fast if f"{name}_plain" not in functions}
    assert without == {"drawn_kept", "join_heads_backward", "relative_rows", "split_heads_backward"}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
@pytest.mark.parametrize("name", CASES)
def test_the_fast_form_is_the_plain_form(name, dtype):
    for seed, case in enumerate(CASES[name]):
        arguments = drawn(case, Draw(dtype, seed=seed))
        for fast, plain in compared(name, arguments):
            assert_same(name, arguments, fast, plain)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CASES)
def test_the_fast_form_is_the_plain_form_at_the_ends_of_the_number_line(name, dtype):
    """inf, NaN, 80 and -80, numbers too small to be normal."""
    for seed, case in enumerate(CASES[name] * 4):
        arguments = drawn(case, Draw(dtype, extremes=True, seed=seed))
        for fast, plain in compared(name, arguments):
            assert_same(name, arguments, fast, plain)


def test_split_and_join_are_each_others_gradient():
    draw = Draw(np.float64)
    x, d_output = draw(B, L, H * D), draw(B, H, L, D)
    split = functional.split_heads(x, H)
    assert np.isclose((split * d_output).sum(), (x * functional.split_heads_backward(d_output)).sum())
    joined, d_joined = functional.join_heads(d_output), draw(B, L, H * D)
    assert np.isclose((joined * d_joined).sum(), (d_output * functional.join_heads_backward(d_joined, H)).sum())


@pytest.mark.parametrize("name", CASES)
def test_underflow_is_no_error_of_the_callers(name):
    """np.seterr(all="raise") is for the caller's mistakes: a number too small to be held is 0."""
    for dtype in (np.float32, np.float64):
        arguments = drawn(CASES[name][0], Draw(dtype))
        with np.errstate(all="ignore"):
            tiny = [a * a.dtype.type(np.finfo(dtype).tiny) if _is_float(a) else a for a in arguments]
            wide = [a * a.dtype.type(60) if _is_float(a) else a for a in arguments]
        for given in (tiny, wide):
            with np.errstate(all="raise", over="ignore", invalid="ignore", divide="ignore"):
                getattr(functional, name)(*given)


def _is_float(argument):
    return isinstance(argument, np.ndarray) and argument.dtype.kind == "f"
