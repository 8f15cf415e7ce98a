"""AdamW, the schedule of its learning rate, and gradient clipping."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from numbert.errors import InputError
from numbert.nn.array import Array
from numbert.nn.blocks import in_row_blocks
from numbert.nn.module import Module, Parameter
from numbert.nn.numerics import underflow_is_zero


@dataclass
class Moments:
    """What AdamW remembers of one parameter.

    Attributes:
        step: how many updates it has had.
        m, v: running means of the gradient and of its square, in the parameter's shape and dtype.
    """

    step: int
    m: Array
    v: Array


class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2017, arXiv:1711.05101), as torch.optim.AdamW.

    For each parameter p with gradient g, at its update number t:

        p -= lr weight_decay p
        m = beta1 m + (1 - beta1) g
        v = beta2 v + (1 - beta2) g^2
        p -= lr m' / (sqrt(v') + eps)   with m' = m / (1 - beta1^t), v' = v / (1 - beta2^t)

    m and v start at 0, so that early on they are means over too few gradients; the primed ones make up for it.
    With bias_correction=False m' is m and v' is v, as in the original BERT (AdamWeightDecayOptimizer in
    google-research/bert). That one takes both steps at once from the old p, with eps = 1e-6:

        p -= lr (m / (sqrt(v) + eps) + weight_decay p)

    It is the same update, up to rounding: here, too, the decay takes lr weight_decay p off the old p, and m and v
    do not depend on p. Where gradients stay alike, a step without correction is (1 - beta1^t) / sqrt(1 - beta2^t)
    times as long: 3.2 times at t = 1, 6.6 at 12, 1.3 at 1000. A warm-up makes up for it.

    Args:
        parameters: Parameters; or groups, dicts of "params" and any of the options below for these alone. One
            that is there twice, as a tied one may be, counts once.
        lr: learning rate. It may be changed between steps: `group["lr"] = ...` for each of `optimizer.groups`.
        betas: what the means keep of themselves in each step.
        eps: keeps the division finite.
        weight_decay: how strongly parameters are drawn to 0.
        bias_correction: whether the means are corrected for their start at 0.

    Attributes:
        groups: the groups with all their options.
        moments: for each parameter that has been updated.

    Raises:
        InputError: an option is outside its limits, a parameter is complex or in two groups, or there is none.
    """

    def __init__(
        self,
        parameters: Iterable[Parameter] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        bias_correction: bool = True,
    ) -> None:
        options = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "bias_correction": bias_correction,
        }
        given: list[Any] = list(parameters)
        groups = given if given and isinstance(given[0], dict) else [{"params": given}]
        self.groups = [_checked_group(group, options) for group in groups]
        everything = [parameter for group in self.groups for parameter in group["params"]]
        if not everything:
            raise InputError("AdamW was given no parameter")
        if len(set(everything)) != len(everything):
            raise InputError("a parameter is in two of AdamW's groups; it can be in one")
        self.moments: dict[Parameter, Moments] = {}

    @underflow_is_zero
    def step(self) -> None:
        """Updates every parameter that has a gradient, in its own array.

        An array that cannot be written (a read-only view) or is not contiguous becomes a copy, once.

        Raises:
            ValueError: a gradient has not its parameter's shape.
        """
        for group in self.groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, **group)

    def _update(
        self,
        parameter: Parameter,
        gradient: Array,
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        bias_correction: bool,
        **_: Any,
    ) -> None:
        if gradient.shape != parameter.shape:
            raise ValueError(f"gradient of shape {gradient.shape} for a parameter of shape {parameter.shape}")
        flags = parameter.data.flags
        if not (flags.writeable and flags.c_contiguous):
            parameter.data = np.array(parameter.data, order="C")
        if parameter not in self.moments:
            zeros = np.zeros_like(parameter.data)
            self.moments[parameter] = Moments(0, zeros, zeros.copy())
        moments = self.moments[parameter]
        moments.step += 1
        beta1, beta2 = betas
        # lr m' / (sqrt(v') + eps) with the two corrections taken out of the arrays:
        # lr (correction2 / correction1) m / (sqrt(v) + eps correction2)
        correction1 = 1 - beta1**moments.step if bias_correction else 1.0
        correction2 = math.sqrt(1 - beta2**moments.step) if bias_correction else 1.0
        rate, floor = lr * correction2 / correction1, eps * correction2

        def kernel(p: Array, g: Array, m: Array, v: Array) -> None:
            scratch = g - m
            scratch *= 1 - beta1
            m += scratch
            np.multiply(g, g, out=scratch)
            scratch *= 1 - beta2
            v *= beta2
            v += scratch
            np.sqrt(v, out=scratch)
            scratch += floor
            np.divide(m, scratch, out=scratch)
            scratch *= rate
            p *= 1 - lr * weight_decay
            p -= scratch

        arrays = (parameter.data, gradient, moments.m, moments.v)
        in_row_blocks(kernel, *(array.reshape(-1) for array in arrays))


def _checked_group(group: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """The group with the options it leaves out, and each of its parameters once."""
    unknown = sorted(set(group) - {"params", *options})
    if unknown or "params" not in group:
        what = f"has {', '.join(unknown)}" if unknown else "has no params"
        raise InputError(f"a group {what}; its keys can be params, {', '.join(options)}")
    parameters = list(group["params"])
    for parameter in parameters:
        if not isinstance(parameter, Parameter):
            raise InputError(f"AdamW takes Parameters, got a {type(parameter).__name__}; try model.parameters()")
        if parameter.dtype.kind != "f":
            raise InputError(f"AdamW updates real numbers, got a parameter of {parameter.dtype}")
    group = {**options, **group, "params": list(dict.fromkeys(parameters))}
    for name in ("lr", "eps", "weight_decay"):
        if not group[name] >= 0:
            raise InputError(f"{name} is {group[name]}; it must be at least 0")
    for beta in group["betas"]:
        if not 0 <= beta < 1:
            raise InputError(f"betas are {group['betas']}; each must be at least 0 and below 1")
    return group


def decay_groups(model: Module, weight_decay: float) -> list[dict[str, Any]]:
    """The groups for AdamW: matrices and tables decay, biases and LayerNorm's weights do not."""
    decayed: list[Parameter] = []
    rest: list[Parameter] = []
    for parameter in model.parameters():
        (decayed if parameter.data.ndim > 1 else rest).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


def warmup_then_linear_decay(step: int, steps: int, warmup: int) -> float:
    """The factor on the learning rate of step 0, 1, ..., steps - 1: up to 1 in `warmup` steps, then down to 0.

    1 / warmup, 2 / warmup, ..., 1 and from there in a straight line to 0, which step number `steps` would have.
    """
    if step < warmup:
        return (step + 1) / warmup
    return max(0.0, (steps - step) / max(1, steps - warmup))


@underflow_is_zero
def clip_grad_norm(parameters: Iterable[Parameter], max_norm: float) -> float:
    """Scales all gradients by one factor so that their norm, as one long vector, is at most max_norm.

    Returns:
        the norm before. Where it is infinite or not a number the gradients stay as they are.

    Raises:
        InputError: max_norm is not above 0.
    """
    if not max_norm > 0:
        raise InputError(f"max_norm is {max_norm}; it must be above 0")
    gradients = [parameter.grad for parameter in dict.fromkeys(parameters) if parameter.grad is not None]
    squares: list[float] = []

    def kernel(gradient: Array) -> None:
        exact = gradient.astype(np.float64)  # the square of a float32 can be beyond float32
        squares.append(float(np.einsum("i,i->", exact, exact)))

    for gradient in gradients:
        in_row_blocks(kernel, gradient.reshape(-1))
    norm = math.sqrt(math.fsum(squares))  # fsum: the same in whatever order the threads come
    if math.isfinite(norm) and norm > max_norm:
        for gradient in gradients:
            gradient *= max_norm / norm
    return norm
