"""AdamW, and gradient clipping."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from numbert.errors import InputError, as_bool, as_integer, as_real, at_least
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

    m and v start at 0 and are too small at first; m' and v' are corrected for that.
    With bias_correction=False m' is m and v' is v, as in the original BERT (AdamWeightDecayOptimizer in
    google-research/bert). That one subtracts both terms from the old p at once, with eps = 1e-6:

        p -= lr (m / (sqrt(v) + eps) + weight_decay p)

    It is the same update, up to rounding: here too the decay subtracts lr weight_decay times the old p, and m
    and v do not depend on p. Where gradients stay alike, a step without correction is
    (1 - beta1^t) / sqrt(1 - beta2^t) times as long as one with it: 3.2 times at t = 1, 6.6 at 12, 1.3 at 1000. A
    warm-up balances this.

    Args:
        parameters: Parameters; or groups, which are dicts of "params" (Parameters) and any of the options below
            for these alone. A Parameter that is given twice, as a tied one may be, counts once.
        lr: the learning rate. It may be changed between steps: `group["lr"] = ...` for each of `optimizer.groups`.
        betas: beta1 and beta2, the part of its old value that each mean keeps in a step, from 0 to below 1.
        eps: keeps the division finite where v is 0.
        weight_decay: how strongly parameters are drawn to 0.
        bias_correction: whether the means are corrected for their start at 0.

    Attributes:
        groups: the groups, dicts with all their options.
        moments: the `Moments` of each parameter that has been updated.

    Raises:
        InputError: an option is not a number or is outside its limits, a parameter is complex or in two groups,
            or there is no parameter.
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
        everything = self._parameters()
        if not everything:
            raise InputError("AdamW was given no parameter")
        if len(set(everything)) != len(everything):
            raise InputError("a parameter is in two of AdamW's groups; it can be in one")
        self.moments: dict[Parameter, Moments] = {}

    @underflow_is_zero
    def step(self, gradient_factor: float = 1.0) -> None:
        """Updates every trainable parameter that has a gradient, in its own array.

        Only an array that is read-only or not contiguous is replaced, by a copy that is kept.

        Args:
            gradient_factor: what each gradient counts times, as `clip_factor` gives it. The gradients stay as they
                are: clipping so spares writing and reading them once more.

        Raises:
            ValueError: a gradient has another shape than its parameter.
            InputError: a parameter was resized, or lost its pruned heads, after an earlier step. Then nothing is
                updated.
        """
        for parameter, moments in self.moments.items():
            if moments.m.shape != parameter.shape:
                raise InputError(
                    f"AdamW has moments of shape {moments.m.shape} for a parameter of shape {parameter.shape}, "
                    "which was resized since; make a new AdamW"
                )
        for group in self.groups:
            for parameter in group["params"]:
                if parameter.trainable and parameter.grad is not None:
                    self._update(parameter, parameter.grad, gradient_factor, **group)

    def state_dict(self) -> dict[str, Any]:
        """The state that `load_state_dict` takes, so that the next step is the same, bit for bit.

        Parameters are numbered in the order of the groups, from 0.

        Returns:
            a dict. Its "groups" are dicts of each group's options, with the numbers of its parameters as
            "params". Its "moments" are, by the number of each parameter that has been updated, dicts of "step"
            (int), "m" and "v" (arrays in the parameter's shape and dtype). The arrays are the optimizer's own,
            not copies: the next step writes into them.
        """
        number = {parameter: i for i, parameter in enumerate(self._parameters())}
        groups = [
            group | {"params": [number[parameter] for parameter in group["params"]]} for group in self.groups
        ]
        moments = {number[parameter]: dict(vars(moments)) for parameter, moments in self.moments.items()}
        return {"groups": groups, "moments": moments}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over the options, and copies of the moments in each parameter's dtype.

        Args:
            state: what `state_dict` gave for an AdamW whose parameters had the same order, groups and shapes.

        Raises:
            InputError: the state does not fit, and nothing has changed; the message says where.
        """
        parameters = self._parameters()
        ours = [group["params"] for group in self.state_dict()["groups"]]
        try:
            theirs = [list(group["params"]) for group in state["groups"]]
            options = [_checked_options(group) for group in state["groups"]]
            if theirs != ours:
                raise InputError(
                    f"the state is of groups of {[len(group) for group in theirs]} parameters, "
                    f"this AdamW has groups of {[len(group) for group in ours]}"
                )
            moments = {}
            for number, values in state["moments"].items():
                if number not in range(len(parameters)):
                    raise InputError(f"the state has moments of parameter {number}, of 0 to {len(parameters) - 1}")
                parameter = parameters[number]
                moments[parameter] = _checked_moments(parameter, number, **values)
        except (TypeError, KeyError, AttributeError) as error:
            raise InputError(f"this is no state of AdamW: {type(error).__name__}: {error}") from None
        for group, values in zip(self.groups, options, strict=True):
            group.update(values)
        self.moments = moments

    def _parameters(self) -> list[Parameter]:
        return [parameter for group in self.groups for parameter in group["params"]]

    def _update(
        self,
        parameter: Parameter,
        gradient: Array,
        factor: float,
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
            if factor != 1:
                g = g * factor
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


def _checked_group(group: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
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
    given = {name: group.get(name, value) for name, value in options.items()}
    return {"params": list(dict.fromkeys(parameters)), **_checked_options(given)}


def _checked_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a group as Python's own numbers."""
    checked: dict[str, Any] = {}
    for name in ("lr", "eps", "weight_decay"):
        checked[name] = as_real(name, options[name])
        at_least(name, checked[name], 0)
    betas = options["betas"]
    if not isinstance(betas, tuple | list) or len(betas) != 2:
        raise InputError(f"betas are {betas!r}; they must be two numbers")
    checked["betas"] = tuple(as_real("a beta", beta) for beta in betas)
    for beta in checked["betas"]:
        if not 0 <= beta < 1:
            raise InputError(f"betas are {betas}; each must be at least 0 and below 1")
    return checked | {"bias_correction": as_bool("bias_correction", options["bias_correction"])}


def _checked_moments(parameter: Parameter, number: int, *, step: Any, m: Any, v: Any) -> Moments:
    """Copies of the moments, in the parameter's dtype."""
    step = as_integer(f"the step of parameter {number}", step)
    at_least(f"the step of parameter {number}", step, 0)
    for name, array in (("m", m), ("v", v)):
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.shape != parameter.shape:
            what = f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else repr(array)
            raise InputError(
                f"{name} of parameter {number} is {what}; it must be real numbers {list(parameter.shape)}"
            )
    return Moments(step, np.array(m, parameter.dtype, order="C"), np.array(v, parameter.dtype, order="C"))


def decay_groups(model: Module, weight_decay: float) -> list[dict[str, Any]]:
    """The groups for AdamW in which matrices and tables decay, and biases and LayerNorm's weights do not.

    Args:
        model: whose parameters are grouped.
        weight_decay: that of the first group.
    """
    decayed: list[Parameter] = []
    rest: list[Parameter] = []
    for parameter in model.parameters():
        (decayed if parameter.data.ndim > 1 else rest).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


def clip_grad_norm(parameters: Iterable[Parameter], max_norm: float) -> float:
    """Scales all gradients by one factor so that their Euclidean norm, as one long vector, is at most max_norm.

    Gradients of parameters that are not trainable do not count and stay as they are.

    Returns:
        the norm before. If it is infinite or not a number, the gradients stay as they are.

    Raises:
        InputError: max_norm is not a number or is not above 0.
    """
    parameters = list(parameters)
    norm = grad_norm(parameters)
    factor = clip_factor(norm, max_norm)
    if factor != 1:
        for gradient in _gradients(parameters):
            in_row_blocks(lambda block: np.multiply(block, factor, out=block), np.atleast_1d(gradient))
    return norm


def clip_factor(norm: float, max_norm: float) -> float:
    """Returns what gradients of this Euclidean norm are to be multiplied with, so that it is at most max_norm.

    It is 1 if the norm is infinite or not a number.

    Raises:
        InputError: max_norm is not a number or is not above 0.
    """
    max_norm = as_real("max_norm", max_norm)
    if not max_norm > 0:
        raise InputError(f"max_norm is {max_norm}; it must be above 0")
    return max_norm / norm if math.isfinite(norm) and norm > max_norm else 1.0


@underflow_is_zero
def grad_norm(parameters: Iterable[Parameter]) -> float:
    """Returns the Euclidean norm of all gradients of trainable parameters, as one long vector."""
    squares: list[float] = []

    def kernel(gradient: Array) -> None:
        exact = gradient.astype(np.float64)  # the square of a float32 can be beyond float32
        squares.append(float(np.einsum("i,i->", exact, exact)))

    for gradient in _gradients(parameters):
        in_row_blocks(kernel, gradient.reshape(-1))
    return math.sqrt(math.fsum(squares))  # fsum: the same in whatever order the threads come


def _gradients(parameters: Iterable[Parameter]) -> list[Array]:
    return [p.grad for p in dict.fromkeys(parameters) if p.trainable and p.grad is not None]
