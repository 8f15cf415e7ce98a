"""Activations: pairs of plain functions, the layers that call them, and ACT2FN, which finds one by its name.

Each pair is `f(x)` and `f_backward(d_output, x)`, on arrays of any shape, in float32, float64 or complex128.
A derivative `f'(x)` is all there is to derive: `d_x = d_output * f'(x)`, element by element
(docs/derivations.md#activations).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from numbert.nn.array import Array
from numbert.nn.blocks import in_row_blocks
from numbert.nn.module import Module

SQRT_HALF = math.sqrt(0.5)
SQRT_2_OVER_PI = math.sqrt(2 / math.pi)


# --- gelu: x Phi(x), with Phi the cumulative distribution of the normal ------------------------------------------


def gelu(x: Array) -> Array:
    """x * Phi(x) = x/2 * (1 + erf(x / sqrt 2)) (Hendrycks & Gimpel 2016, arXiv:1606.08415).

    In float64 and complex128 to the last digits; in float32 with an absolute error below 5e-7.
    """
    if x.dtype == np.float32:
        return _mapped(_gelu_float32, x)
    return x * _normal_cdf(x)


def gelu_backward(d_output: Array, x: Array) -> Array:
    """gelu'(x) = Phi(x) + x phi(x): the product rule, with the density phi = Phi'."""
    if x.dtype == np.float32:
        return _mapped(_gelu_backward_float32, d_output, x)
    density = np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return d_output * (_normal_cdf(x) + x * density)


def _normal_cdf(x: Array) -> Array:
    from scipy.special import erfc  # here, so that float32 models start without scipy

    return 0.5 * erfc(-x * SQRT_HALF)


# The tail Q(a) = 1 - Phi(a) for a >= 0 is t (c1 + t (c2 + ... )) exp(-a^2 / 2) with t = 1 / (1 + p a):
# Abramowitz & Stegun, Handbook of Mathematical Functions, 7.1.26, for erfc(a / sqrt 2) / 2.
_P = 0.3275911 * SQRT_HALF
_C = [c / 2 for c in (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)]


def _tail(a: Array, gauss: Array) -> Array:
    """Q(a) for a >= 0 in float32, given gauss = exp(-a^2 / 2); in place, for a block in the cache."""
    t = a * _P
    t += 1
    np.reciprocal(t, out=t)
    q = t * _C[4]
    for c in _C[3::-1]:
        q += c
        q *= t
    q *= gauss
    return q


def _gauss(x: Array) -> Array:
    gauss = x * x
    gauss *= -0.5
    return np.exp(gauss, out=gauss)


def _gelu_float32(out: Array, x: Array) -> None:
    # x Phi(x) is x - x Q(x) for positive x and x Q(-x) for negative x: relu(x) - |x| Q(|x|) for both.
    a = np.abs(x)
    q = _tail(a, _gauss(x))
    q *= a
    np.maximum(x, 0, out=out)
    out -= q


def _gelu_backward_float32(out: Array, d_output: Array, x: Array) -> None:
    gauss = _gauss(x)
    q = _tail(np.abs(x), gauss)
    # Phi(x) = 1/2 + sign(x) (1/2 - Q(|x|))
    np.subtract(0.5, q, out=out)
    np.copysign(out, x, out=out)
    out += 0.5
    gauss *= 1 / math.sqrt(2 * math.pi)
    gauss *= x
    out += gauss
    out *= d_output


# --- gelu with tanh, as in the original code of GPT and BERT -----------------------------------------------------


def gelu_tanh(x: Array) -> Array:
    """x/2 * (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))): gelu_new and gelu_pytorch_tanh in a config."""
    return _mapped(_gelu_tanh, x)


def gelu_tanh_backward(d_output: Array, x: Array) -> Array:
    """With y = tanh(u(x)): f' = (1 + y)/2 + x/2 (1 - y^2) u', u' = sqrt(2/pi) (1 + 3 * 0.044715 x^2)."""
    return _mapped(_gelu_tanh_backward, d_output, x)


def _tanh_of_cubic(x: Array) -> Array:
    y = x * x
    y *= 0.044715 * SQRT_2_OVER_PI
    y += SQRT_2_OVER_PI
    y *= x
    return np.tanh(y, out=y)


def _gelu_tanh(out: Array, x: Array) -> None:
    np.add(_tanh_of_cubic(x), 1, out=out)
    out *= x
    out *= 0.5


def _gelu_tanh_backward(out: Array, d_output: Array, x: Array) -> None:
    y = _tanh_of_cubic(x)
    slope = x * x
    slope *= 3 * 0.044715 * SQRT_2_OVER_PI
    slope += SQRT_2_OVER_PI
    slope *= x
    slope *= 1 - y * y
    np.add(y, 1, out=out)
    out += slope
    out *= 0.5
    out *= d_output


# --- the others --------------------------------------------------------------------------------------------------


def relu(x: Array) -> Array:
    """max(x, 0)."""
    return np.where(x.real <= 0, x.dtype.type(0), x)  # NaN stays NaN


def relu_backward(d_output: Array, x: Array) -> Array:
    """relu'(x) is 1 for x > 0 and 0 for x <= 0 (at 0 itself any value in [0, 1] is a subgradient)."""
    return d_output * (x.real > 0)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), with no overflow at either end."""
    positive = x.real >= 0
    small = np.exp(np.where(positive, -x, x))  # exp(-|x|), at most 1
    return np.where(positive, x.dtype.type(1), small) / (1 + small)


def silu(x: Array) -> Array:
    """x * sigmoid(x), also called swish (Elfwing et al. 2017, arXiv:1702.03118)."""
    return x * sigmoid(x)


def silu_backward(d_output: Array, x: Array) -> Array:
    """With s = sigmoid(x), s' = s (1 - s): silu'(x) = s + x s (1 - s)."""
    s = sigmoid(x)
    return d_output * (s + x * s * (1 - s))


def tanh(x: Array) -> Array:
    return np.tanh(x)


def tanh_backward(d_output: Array, output: Array) -> Array:
    """tanh' = 1 - tanh^2. The one pair whose backward takes the output, which is all that it needs."""
    return d_output * (1 - output * output)


# --- the layers --------------------------------------------------------------------------------------------------


class Activation(Module):
    """[..., f] -> [..., f], element by element; a subclass names its pair of functions."""

    def forward(self, x: Array) -> Array:
        self.remember(x=x)
        return self.function(x)

    def backward(self, d_output: Array) -> Array:
        return self.function_backward(d_output, self.recall().x)

    def function(self, x: Array) -> Array:
        raise NotImplementedError

    def function_backward(self, d_output: Array, x: Array) -> Array:
        raise NotImplementedError


class GELUActivation(Activation):
    """See `gelu`."""

    function = staticmethod(gelu)
    function_backward = staticmethod(gelu_backward)


class NewGELUActivation(Activation):
    """See `gelu_tanh`."""

    function = staticmethod(gelu_tanh)
    function_backward = staticmethod(gelu_tanh_backward)


class PytorchGELUTanh(NewGELUActivation):
    """See `gelu_tanh`: another published name for the same function."""


class ReLU(Activation):
    """See `relu`."""

    function = staticmethod(relu)
    function_backward = staticmethod(relu_backward)


class SiLU(Activation):
    """See `silu`."""

    function = staticmethod(silu)
    function_backward = staticmethod(silu_backward)


class Tanh(Activation):
    """See `tanh`; it remembers its output, which the pooler keeps anyway, and not its input."""

    def forward(self, x: Array) -> Array:
        output = tanh(x)
        self.remember(output=output)
        return output

    def backward(self, d_output: Array) -> Array:
        return tanh_backward(d_output, self.recall().output)


ACT2FN: dict[str, type[Activation]] = {
    "gelu": GELUActivation,
    "gelu_new": NewGELUActivation,
    "gelu_pytorch_tanh": PytorchGELUTanh,
    "relu": ReLU,
    "silu": SiLU,
    "swish": SiLU,
    "tanh": Tanh,
}


def _mapped(kernel: Any, *inputs: Array) -> Array:
    """Runs `kernel(out, *inputs)` over blocks of rows into a new array."""
    out = np.empty(inputs[0].shape, np.result_type(*inputs))
    if out.size == 0:
        return out
    rows = (-1, out.shape[-1]) if out.ndim else (1, 1)
    in_row_blocks(kernel, out.reshape(rows), *(x.reshape(rows) for x in inputs))
    return out
