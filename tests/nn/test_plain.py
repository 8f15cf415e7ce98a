"""Every fast form of numbert.nn.functional is its plain form, on odd shapes and at the ends of the number line."""

import dataclasses
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

# The shapes of x and y in a sum: alike, a mask for all queries, one row for all.
SUMMANDS = [((B, H, L, R),) * 2, ((B, H, L, R), (B, 1, 1, R)), ((L, E), (1, E)), ((0, E), (E,)), ((), ())]
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
    "add": [lambda draw, x=x, y=y: (draw(*x), draw(*y)) for x, y in SUMMANDS],
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
    """But for those that are another one, draw random numbers, or compute none.

    The plain form of attention in blocks is that of attention, with other arguments: see below.
    """
    functions = {name for name in functional.__all__ if inspect.isfunction(getattr(functional, name))}
    fast = {name for name in functions if not name.endswith("_plain")}
    without = {name for name in fast if f"{name}_plain" not in functions}
    others = {"drawn_kept", "join_heads_backward", "relative_rows", "split_heads_backward"}
    assert without == others | {"attention_in_blocks", "attention_in_blocks_backward"}


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


class TestAttentionInBlocks:
    """Its plain form is `attention_plain`, with the distances' scores in the mask, the heads' factors in keep."""

    # What else goes into it, and l and r: blocks of 3 queries and 3 keys leave 1, 2 or nothing for the last one.
    TERMS = ("attention_mask", "rows_of_mask", "head_mask", "table", "with_key", "dropout")
    SIZES = ((L, R), (7, 7), (4, 6), (1, 8), (3, 3), (1, 1))
    SIZE = 3

    def arguments(self, draw, length, r, terms):
        query, key, value = draw(B, H, length, D), draw(B, H, r, D), draw(B, H, r, D)
        real = draw(1).real.dtype
        made = functional.Terms()
        if "attention_mask" in terms:  # of the first sequence nothing may be looked at, of the others some
            looked_at = draw.kept(B, 1, 1, r) & (np.arange(B) > 0)[:, None, None, None]
            made.attention_mask = np.where(looked_at, 0, np.finfo(real).min).astype(real)
        if "rows_of_mask" in terms:  # a query that may look at nothing, one that may look at the last key alone
            looked_at = draw.kept(1, 1, length, r)
            looked_at[..., 0, :] = False
            looked_at[..., -1, :] = np.arange(r) == r - 1
            made.attention_mask = np.where(looked_at, 0, np.finfo(real).min).astype(real)
        if "head_mask" in terms:
            made.head_mask = draw(1, H, 1, 1)
        if "table" in terms:
            made.table, made.with_key = draw(2 * r + 1, D), "with_key" in terms
        if "dropout" in terms:
            made.p, made.seed = 0.4, 7
        return query, key, value, made

    def probs(self, query, key, terms):
        """The probabilities after dropout: what comes out of values that stand for one key each."""
        b, h, r, d = key.shape
        each = np.zeros((b, h, r, -(-r // d) * d), query.dtype)
        each[..., :r] = np.eye(r)
        columns = [
            functional.attention_in_blocks(query, key, each[..., j : j + d], terms, self.SIZE)[0]
            for j in range(0, r, d)
        ]
        return np.concatenate(columns, axis=-1)[..., :r]

    def keep(self, query, key, terms):
        """The factors of dropout."""
        kept, probs = (self.probs(query, key, dataclasses.replace(terms, seed=s)) for s in (terms.seed, None))
        scale = 1 if terms.seed is None else 1 / (1 - terms.p)
        keep = np.where((kept == 0) & (probs != 0), 0, scale).astype(query.real.dtype)
        np.testing.assert_allclose(kept, probs * keep, rtol=1e-5)
        return keep

    def plain(self, query, key, value, terms, d_context):
        """context and the five gradients, from the plain forms."""
        keep = self.keep(query, key, dataclasses.replace(terms, head_mask=None))
        factors = keep if terms.head_mask is None else keep * terms.head_mask
        mask = 0 if terms.attention_mask is None else terms.attention_mask
        key_term = key if terms.with_key else None
        if terms.table is not None:
            mask = mask + functional.relative_scores_plain(query, key_term, terms.table, key.shape[2])
        mask = np.broadcast_to(mask, (B, H, query.shape[2], key.shape[2]))
        context, probs = functional.attention_plain(query, key, value, mask, factors)
        d_query, d_key, d_value = functional.attention_backward_plain(d_context, query, key, value, probs, factors)
        d_factors, _ = functional.attention_context_backward_plain(d_context, probs * factors, value)
        d_head_mask = d_table = None
        if terms.head_mask is not None:
            d_head_mask = (d_factors * probs * keep).sum(axis=(2, 3), keepdims=True)
        if terms.table is not None:
            d_scores = functional.softmax_backward_plain(d_factors * factors, probs)
            d_query_relative, d_key_relative, d_table = functional.relative_scores_backward_plain(
                d_scores, query, key_term, terms.table
            )
            d_query = d_query + d_query_relative
            d_key = d_key if d_key_relative is None else d_key + d_key_relative
        return context, (d_query, d_key, d_value, d_head_mask, d_table)

    def blocked(self, query, key, value, terms, d_context):
        results = functional.attention_in_blocks(query, key, value, terms, size=self.SIZE)
        gradients = functional.attention_in_blocks_backward(
            d_context, query, key, value, terms, *results, size=self.SIZE
        )
        return results[0], gradients

    def compare(self, arguments, d_context, tolerance):
        with np.errstate(all="ignore"):
            context, gradients = self.blocked(*arguments, d_context)
            plain, plain_gradients = self.plain(*arguments, d_context)
        for ours, theirs in zip((context, *gradients), (plain, *plain_gradients), strict=True):
            assert (ours is None) == (theirs is None)
            if theirs is not None:
                assert ours.dtype == arguments[0].dtype
                assert ours.shape == theirs.shape
                np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * max(1, np.abs(theirs).max()))

    @pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
    @pytest.mark.parametrize("sizes", SIZES)
    def test_it_is_the_plain_form(self, sizes, dtype):
        tolerance = 3e-6 if dtype == np.float32 else 1e-13
        for seed, terms in enumerate([(), *((term,) for term in self.TERMS[:4]), self.TERMS[2:], self.TERMS[1:]]):
            draw = Draw(dtype, seed=seed)
            length, r = sizes if not {"table", "with_key"} & {*terms} or sizes[0] <= sizes[1] else (sizes[1],) * 2
            arguments = self.arguments(draw, length, r, terms)
            self.compare(arguments, draw(B, H, length, D), tolerance)

    def test_a_row_that_may_look_at_nothing_looks_at_all_keys_equally(self):
        draw = Draw(np.float32)
        query, key, value, terms = self.arguments(draw, 5, 7, ("attention_mask",))
        context, row_max, log_sum = functional.attention_in_blocks(query, key, value, terms, size=3)
        np.testing.assert_allclose(
            context[0], np.broadcast_to(value[0].mean(1, keepdims=True), context[0].shape), rtol=1e-5
        )
        assert (row_max[0] == np.finfo(np.float32).min).all()
        np.testing.assert_allclose(log_sum[0], np.log(7), rtol=1e-6)

    @pytest.mark.parametrize("factor", [1e-30, 1.0, 30.0, 1e4])
    def test_scores_of_every_size(self, factor):
        """With large ones each row is one key's, and the largest may come first, last or between."""
        draw = Draw(np.float64)
        query, key, value, terms = self.arguments(draw, 8, 10, ("rows_of_mask",))
        arguments = (query * factor, key * factor, value, terms)
        self.compare(arguments, draw(B, H, 8, D), 1e-12)

    def test_minus_infinity_forbids_too(self):
        """Also where a whole block of keys is forbidden."""
        draw = Draw(np.float64)
        query, key, value, _ = self.arguments(draw, 5, 8, ())
        forbidden = np.arange(8) < 4
        arguments = [
            (query, key, value, functional.Terms(np.where(forbidden, lowest, 0.0))) for lowest in (-np.inf, -1e300)
        ]
        d_context = draw(B, H, 5, D)
        (context, gradients), (wanted, wanted_gradients) = (self.blocked(*these, d_context) for these in arguments)
        np.testing.assert_array_equal(context, wanted)
        for ours, theirs in zip(gradients[:3], wanted_gradients[:3], strict=True):
            np.testing.assert_array_equal(ours, theirs)

    @pytest.mark.parametrize("shape", [(7,), (5, 7), (B, 1, 5, 1), (1, H, 1, 7), (B, H, 5, 7)])
    def test_a_mask_of_any_shape_that_can_be_broadcast(self, shape):
        draw = Draw(np.float64)
        query, key, value, _ = self.arguments(draw, 5, 7, ())
        self.compare((query, key, value, functional.Terms(draw(*shape))), draw(B, H, 5, D), 1e-13)

    def test_the_size_of_the_blocks_changes_no_number(self):
        draw = Draw(np.float64)
        query, key, value, terms = self.arguments(draw, 9, 11, ("attention_mask", "table", "with_key"))
        whole = functional.attention_in_blocks(query, key, value, terms)
        for size in (1, 2, 5, 11):
            for ours, theirs in zip(
                functional.attention_in_blocks(query, key, value, terms, size), whole, strict=True
            ):
                np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)

    def test_dropout_is_one_draw_for_forward_and_backward_and_another_for_another_seed(self):
        draw = Draw(np.float64)
        query, key, _, terms = self.arguments(draw, 7, 8, ("dropout",))
        keep = self.keep(query, key, terms)
        assert np.array_equal(keep, self.keep(query, key, terms))
        assert not np.array_equal(keep, self.keep(query, key, dataclasses.replace(terms, seed=8)))
        assert 0.2 < (keep == 0).mean() < 0.6  # p is 0.4
        blocks = {
            keep[head][i : i + 3, j : j + 3].tobytes() for head in np.ndindex(B, H) for i in (0, 3) for j in (0, 3)
        }
        assert len(blocks) > B * H * 3  # each of 24 draws for itself, 9 numbers, which may be those of another

    def test_underflow_is_no_error_of_the_callers(self):
        draw = Draw(np.float32)
        query, key, value, terms = self.arguments(draw, 7, 8, ("attention_mask", "dropout", "table"))
        for factor in (np.float32(1e-37), np.float32(60)):
            with np.errstate(all="ignore"):
                given, d_context = (query * factor, key * factor, value * factor, terms), query[..., ::-1] * factor
            with np.errstate(all="raise", over="ignore", invalid="ignore", divide="ignore"):
                self.blocked(*given, d_context)


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
