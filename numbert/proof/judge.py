"""Judging whether backward's gradient of a tensor is the numeric one; if not, where, by how much, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from numbert.nn.array import Array
from numbert.proof.diagnosis import Clues, diagnose, diagnose_sample, diagnose_shape
from numbert.proof.measure import TOLERANCE, Tensor
from numbert.proof.report import FAILED, TensorResult

FLOOR = 1e-3
LEAST_SLOPE = 1.8  # 2 for a right gradient, 1 for a wrong one
DIAGNOSED = 1024  # entries of a wrong tensor, up to which all are computed to find the cause


def relative_error(got: Any, wanted: Any, largest: float) -> Array:
    """Computes |got - wanted| / max(|got|, |wanted|, 0.001 largest), as in `gradcheck`; NaN becomes infinite."""
    scale = np.maximum(np.maximum(np.abs(got), np.abs(wanted)), FLOOR * largest)
    error = np.abs(np.subtract(got, wanted)) / np.where(scale > 0, scale, 1)
    return np.nan_to_num(error, nan=np.inf)


def judged(tensor: Tensor, largest: float) -> TensorResult:
    """Makes the row of a tensor in the report.

    Args:
        largest: the largest numeric derivative of the whole check.
    """
    method = tensor.method
    if tensor.slope is not None and method != "Taylor slope":
        method += ", Taylor slope"
    row = TensorResult(tensor.name, tensor.data.shape, len(tensor.entries), method)
    if not tensor.well_shaped:
        failure = f": its gradient has shape {list(tensor.gradient.shape)}"
        return replace(row, error=np.inf, result=FAILED, failure=failure)

    tolerance = TOLERANCE[tensor.method]
    along = float(relative_error(tensor.along, tensor.wanted_along, largest))
    errors = relative_error(tensor.gradient.flat[tensor.entries], tensor.wanted, largest)
    if along > tolerance and not (errors > tolerance).any():
        entry = find_wrong_entry(tensor, tolerance, largest)
        tensor.entries = np.append(tensor.entries, entry)
        tensor.wanted = np.append(tensor.wanted, tensor.at([entry]))
        errors = relative_error(tensor.gradient.flat[tensor.entries], tensor.wanted, largest)
    row.error = float(max(along, *errors, 0.0))
    if tensor.slope is not None and not tensor.slope > LEAST_SLOPE:
        row.result = FAILED
        row.failure = f": the Taylor remainder falls with slope {tensor.slope:.2f}, not 2"
    if row.error > tolerance:
        row.result = FAILED
        if len(errors):
            row.failure = worst_entry(tensor, errors)
    return row


def worst_entry(tensor: Tensor, errors: Array) -> str:
    """Describes the entry with the largest relative error: its place, the two numbers, the error."""
    worst = int(np.argmax(errors))
    index = [int(i) for i in np.unravel_index(tensor.entries[worst], tensor.data.shape)]
    got, wanted = tensor.gradient.flat[tensor.entries[worst]], tensor.wanted[worst]
    return f" at {index}: backward {got:.10g}, {tensor.method} {wanted:.10g}, relative error {errors[worst]:.1e}"


def causes(tensor: Tensor, clues: Clues) -> list[str]:
    """Says what is likely wrong in the backward of a tensor that FAILED, in one line or none."""
    gradient = tensor.gradient
    if tensor.missing:
        return [tensor.missing]
    if not np.isfinite(gradient).all():
        return [f"{np.sum(~np.isfinite(gradient))} of {gradient.size} entries are NaN or infinite"]
    if tensor.data.size > DIAGNOSED:
        cause = diagnose_sample(gradient.flat[tensor.entries], tensor.wanted, clues) if tensor.well_shaped else ""
    elif tensor.well_shaped:
        data = tensor.data if tensor.name.startswith("input ") else None
        cause = diagnose(gradient, all_wanted(tensor), replace(clues, data=data))
    else:
        cause = diagnose_shape(gradient, all_wanted(tensor))
    return [cause] if cause else []


def all_wanted(tensor: Tensor) -> Array:
    """Computes the numeric derivative at every entry, in the tensor's shape."""
    return tensor.at(range(tensor.data.size)).reshape(tensor.data.shape)


def find_wrong_entry(tensor: Tensor, tolerance: float, largest: float) -> int:
    """Finds a flat index where the gradient is wrong, by halving the range in which it is wrong."""
    low, high = 0, tensor.data.size
    while high - low > 1:
        middle = (low + high) // 2
        half = np.zeros_like(tensor.direction)
        half.flat[low:middle] = tensor.direction.flat[low:middle]
        error = relative_error((tensor.gradient * half).sum(), tensor.derivative(..., half), largest)
        low, high = (low, middle) if error > tolerance else (middle, high)
    return low
