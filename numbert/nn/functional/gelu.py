"""gelu: x Phi(x), with Phi the cumulative distribution function of the standard normal; and its form with tanh.

(Hendrycks & Gimpel 2016, arXiv:1606.08415.) Each backward is d_x = d_output * f'(x), element by element, so only
f' has to be derived: docs/derivations.md#activations.
"""

from __future__ import annotations

import math

import numpy as np

from numbert.nn.array import Array
from numbert.nn.blocks import mapped
from numbert.nn.numerics import underflow_is_zero

SQRT_HALF = math.sqrt(0.5)
SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
CUBIC = 0.044715  # of the approximation by tanh


def _normal_cdf(x: Array) -> Array:
    from scipy.special import erfc  # here, so that float32 models start without scipy

    return 0.5 * erfc(-x * SQRT_HALF)


def gelu_plain(x: Array) -> Array:
    """x Phi(x) = x/2 (1 + erf(x / sqrt 2)), of any shape."""
    cdf = _normal_cdf(x)
    return x * cdf


@underflow_is_zero
def gelu(x: Array) -> Array:
    """`gelu_plain`, of any shape.

    float64 and complex128 are exact up to rounding; float32 is computed by a rational approximation with an
    absolute error below 5e-7.
    """
    if x.dtype == np.float32:
        return mapped(_gelu_float32, x)
    return x * _normal_cdf(x)


# The tail Q(a) = 1 - Phi(a) for a >= 0 is t (c1 + t (c2 + ... )) exp(-a^2 / 2) with t = 1 / (1 + p a):
# Abramowitz & Stegun, Handbook of Mathematical Functions, 7.1.26, for erfc(a / sqrt 2) / 2.
_P = 0.3275911 * SQRT_HALF
_C = [c / 2 for c in (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)]


def _tail(a: Array, gauss: Array) -> Array:
    """Q(a) for a >= 0 in float32, given gauss = exp(-a^2 / 2); in place, for a block in the cache."""
    t = a * _P  # p a
    t += 1  # 1 + p a
    np.reciprocal(t, out=t)  # t
    q = t * _C[4]  # t c5
    for c in _C[3::-1]:
        q += c  # c4 + t c5, and so on down to c1
        q *= t  # t (c4 + t c5), and so on
    q *= gauss  # Q(a)
    return q


def _gauss(x: Array) -> Array:
    gauss = x * x  # x^2
    gauss *= -0.5  # -x^2 / 2
    return np.exp(gauss, out=gauss)


def _gelu_float32(out: Array, x: Array) -> None:
    # x Phi(x) is x - x Q(x) for positive x and x Q(-x) for negative x: relu(x) - |x| Q(|x|) for both.
    # With an array NumPy takes a minimum or maximum in a quarter of the time (0.2 ns) that a number costs (1 ns).
    a = np.full_like(x, 1e30)
    np.minimum(x, a, out=a)  # since inf * Q(inf) would be inf * 0
    np.abs(a, out=a)  # |x|
    q = _tail(a, _gauss(x))  # Q(|x|)
    q *= a  # |x| Q(|x|)
    out.fill(0)
    np.maximum(x, out, out=out)  # relu(x)
    out -= q


def gelu_backward_plain(d_output: Array, x: Array) -> Array:
    """d_output gelu'(x), with gelu'(x) = Phi(x) + x phi(x) by the product rule; phi = Phi' is the density."""
    cdf = _normal_cdf(x)
    density = np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    slope = cdf + x * density
    return d_output * slope


@underflow_is_zero
def gelu_backward(d_output: Array, x: Array) -> Array:
    """`gelu_backward_plain`, of any shape; in float32 by the approximation that `gelu` uses."""
    if x.dtype == np.float32:
        return mapped(_gelu_backward_float32, d_output, x)
    density = np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return d_output * (_normal_cdf(x) + x * density)


def _gelu_backward_float32(out: Array, d_output: Array, x: Array) -> None:
    gauss = _gauss(x)  # exp(-x^2 / 2)
    q = _tail(np.abs(x), gauss)  # Q(|x|)
    # Phi(x) = 1/2 + sign(x) (1/2 - Q(|x|))
    np.subtract(0.5, q, out=out)  # 1/2 - Q(|x|)
    np.copysign(out, x, out=out)  # sign(x) (1/2 - Q(|x|))
    out += 0.5  # Phi(x)
    gauss *= 1 / math.sqrt(2 * math.pi)  # phi(x)
    gauss *= x  # x phi(x)
    out += gauss  # gelu'(x)
    out *= d_output


# --- with tanh, as in the original code of GPT and BERT ----------------------------------------------------------


def gelu_tanh_plain(x: Array) -> Array:
    """x/2 (1 + tanh(u)) with u = sqrt(2/pi) (x + 0.044715 x^3), of any shape."""
    u = SQRT_2_OVER_PI * (x + CUBIC * x * x * x)
    return 0.5 * x * (1 + np.tanh(u))


@underflow_is_zero
def gelu_tanh(x: Array) -> Array:
    """`gelu_tanh_plain` in blocks of rows. A configuration calls it gelu_new or gelu_pytorch_tanh."""
    return mapped(_gelu_tanh, x)


def _tanh_of_cubic(x: Array) -> Array:
    y = x * x  # x^2
    y *= CUBIC * SQRT_2_OVER_PI  # 0.044715 sqrt(2/pi) x^2
    y += SQRT_2_OVER_PI  # sqrt(2/pi) (1 + 0.044715 x^2)
    y *= x  # u
    return np.tanh(y, out=y)


def _gelu_tanh(out: Array, x: Array) -> None:
    np.add(_tanh_of_cubic(x), 1, out=out)  # 1 + tanh(u)
    out *= x
    out *= 0.5


def gelu_tanh_backward_plain(d_output: Array, x: Array) -> Array:
    """d_output f'(x), with f' = (1 + y)/2 + x/2 (1 - y^2) u' and y = tanh(u).

    Here u' = sqrt(2/pi) (1 + 3 * 0.044715 x^2).
    """
    y = np.tanh(SQRT_2_OVER_PI * (x + CUBIC * x * x * x))
    d_u = SQRT_2_OVER_PI * (1 + 3 * CUBIC * x * x)
    slope = 0.5 * (1 + y) + 0.5 * x * d_u * (1 - y * y)
    return d_output * slope


@underflow_is_zero
def gelu_tanh_backward(d_output: Array, x: Array) -> Array:
    """`gelu_tanh_backward_plain` in blocks of rows."""
    return mapped(_gelu_tanh_backward, d_output, x)


def _gelu_tanh_backward(out: Array, d_output: Array, x: Array) -> None:
    y = _tanh_of_cubic(x)
    slope = x * x  # x^2
    slope *= 3 * CUBIC * SQRT_2_OVER_PI  # 3 * 0.044715 sqrt(2/pi) x^2
    slope += SQRT_2_OVER_PI  # u'
    slope *= x  # x u'
    slope *= 1 - y * y  # x u' (1 - y^2)
    np.add(y, 1, out=out)  # 1 + y
    out += slope  # 1 + y + x u' (1 - y^2)
    out *= 0.5  # f'
    out *= d_output
