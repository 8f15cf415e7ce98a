"""Guessing what is wrong in a backward from what its wrong gradient looks like."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from numbert.nn.array import Array


@dataclass
class Clues:
    """What a wrong gradient is compared with.

    Attributes:
        data: the tensor whose gradient it is, if that is an input.
        upstream: the upstream gradients, one for each output.
        outputs: the outputs.
        ids: the integer inputs.
        sizes: the sizes of all axes and the integers among the layer's attributes, which a lost factor may consist
            of.
    """

    data: Array | None = None
    upstream: list[Array] = field(default_factory=list)
    outputs: list[Array] = field(default_factory=list)
    ids: list[Array] = field(default_factory=list)
    sizes: set[int] = field(default_factory=set)


def alike(x: Array, y: Array) -> bool:
    """Whether two arrays are equal up to the error of a numeric derivative."""
    return x.shape == y.shape and bool(np.abs(x - y).max() <= 1e-5 * np.abs(y).max())


def diagnose_shape(got: Array, want: Array) -> str:
    """Names the likely cause of a gradient whose shape is not the tensor's; "" if none is likely."""
    if got.size == want.size and alike(got.reshape(want.shape), want):
        return "the right numbers in a wrong shape"
    if got.ndim == want.ndim and any(
        alike(got.transpose(axes), want) for axes in itertools.permutations(range(got.ndim))
    ):
        return "equal to the transpose"
    extra = got.ndim - want.ndim
    if extra > 0 and alike(got.sum(axis=tuple(range(extra))), want):
        return "right when summed over the leading axes: a missing sum over the batch"
    return ""


def diagnose(got: Array, want: Array, clues: Clues) -> str:
    """Names the likely cause of a wrong gradient of which all entries are known; "" if none is likely."""
    difference = got - want
    return (
        diagnose_sample(got, want, clues)
        or _other_order(got, want)
        or _residual(difference, want, clues.upstream)
        or _along_an_axis(difference, want, clues)
        or _repeated_ids(difference, want, clues.ids)
        or _place(difference, want)
    )


def diagnose_sample(got: Array, want: Array, clues: Clues) -> str:
    """Names the likely cause of a wrong gradient, if a sample of its entries shows it; else ""."""
    off = np.abs(got - want).max()
    if off == 0:
        return ""
    if alike(got, want):
        digits = -math.log10(off / np.abs(want).max())
        return f"right to {int(digits)} digits: float32, an approximation, or inputs that make rounding large?"
    largest, right = float(np.abs(got).max()), float(np.abs(want).max())
    if largest < 1e-10 * right:
        return "it is zero everywhere: never added"
    if right < 1e-10 * largest:
        return "it should be zero everywhere"
    factor = float((got * want).sum() / (want * want).sum())
    if not alike(got, factor * want):
        return ""
    names = _names_of(factor, clues.sizes)
    cause = {-1.0: "a lost sign", 2.0: "added twice", 0.5: "half of it lost"}.get(
        round(factor, 4), "a lost factor"
    )
    return f"off by the constant factor {factor:.6g}{f' = {names}' if names else ''}: {cause}"


def _names_of(factor: float, sizes: Iterable[int]) -> str:
    sign = "-" if factor < 0 else ""
    named: dict[str, float] = {}
    for n in sorted({2, *sizes} - {0, 1}):
        named |= {f"{n}": n, f"1/{n}": 1 / n, f"sqrt({n})": math.sqrt(n), f"1/sqrt({n})": 1 / math.sqrt(n)}
    fitting = [name for name, value in named.items() if math.isclose(abs(factor), value, rel_tol=1e-4)]
    return " or ".join(sign + name for name in fitting)


def _other_order(got: Array, want: Array) -> str:
    for axes in itertools.permutations(range(want.ndim)):
        if axes != tuple(range(want.ndim)) and alike(got, want.transpose(axes)):
            return "equal to the transpose" if want.ndim == 2 else f"equal to it with the axes in the order {axes}"
    if alike(np.sort(got, axis=None), np.sort(want, axis=None)):
        return "the same numbers in another order: a reshape where a transpose belongs?"
    return ""


def _residual(difference: Array, want: Array, upstream: list[Array]) -> str:
    # As large as the gradient itself: rounding must not pass for it.
    if np.abs(difference).max() < 1e-3 * np.abs(want).max():
        return ""
    for d_output in upstream:
        for sign, what in ((1, "doubled"), (-1, "lost")):
            if alike(difference, sign * d_output):
                return f"differs by exactly the upstream gradient: a {what} residual"
    return ""


def _along_an_axis(difference: Array, want: Array, clues: Clues) -> str:
    """Differences that are simple along one axis: the mean terms of a normalization, the sum of a softmax."""
    if np.abs(difference).max() < 1e-4 * np.abs(want).max():
        return ""
    data = clues.data
    outputs = [output for output in clues.outputs if output.shape == want.shape]
    for axis in reversed(range(difference.ndim)):
        along = "along the last axis" if axis == difference.ndim - 1 else f"along axis {axis}"
        if difference.shape[axis] < 4:  # too few numbers to tell a pattern
            continue
        if _spanned(difference, [np.ones_like(want)], axis):
            return f"differs by a constant {along}: a missing mean term?"
        if data is not None and _spanned(difference, [data, np.ones_like(want)], axis):
            return f"differs by a multiple of the input (and a constant) {along}: a missing mean term?"
        if any(_spanned(difference, [output], axis) for output in outputs):
            return f"differs by a multiple of the output {along}: the missing sum term of a softmax?"
    return ""


def _spanned(difference: Array, basis: list[Array], axis: int) -> bool:
    """Whether the difference, along that axis, is a linear combination of the arrays in basis."""
    rows, *columns = (
        np.moveaxis(array, axis, -1).reshape(-1, array.shape[axis]) for array in (difference, *basis)
    )
    stacked = np.stack(columns, axis=-1)  # [n,size,basis]
    fitted = stacked @ (np.linalg.pinv(stacked) @ rows[..., None])
    return alike(fitted[..., 0], rows)


def _repeated_ids(difference: Array, want: Array, ids: list[Array]) -> str:
    if difference.ndim != 2:
        return ""
    wrong = np.flatnonzero((np.abs(difference) > 1e-5 * np.abs(want).max()).any(axis=1))
    for array in ids:
        values, counts = np.unique(array, return_counts=True)
        if set(wrong.tolist()) <= set(values[counts > 1].tolist()):
            return f"wrong only at ids that occur more than once ({_list(wrong)}): assigned, not summed?"
    return ""


def _place(difference: Array, want: Array) -> str:
    """Names the rows or columns outside of which the gradient is right."""
    wrong = np.abs(difference) > 1e-5 * np.abs(want).max()
    for axis in range(wrong.ndim):
        where = np.flatnonzero(wrong.any(axis=tuple(a for a in range(wrong.ndim) if a != axis)))
        if len(where) < wrong.shape[axis]:
            return f"wrong only at {_list(where)} of axis {axis}, of {wrong.shape[axis]}"
    return ""


def _list(indices: Array, most: int = 5) -> str:
    return ", ".join(str(index) for index in indices[:most]) + (", ..." if len(indices) > most else "")
