"""The activations as layers, and ACT2FN, which finds one by its name in a configuration."""

from __future__ import annotations

from numbert.nn.array import Array
from numbert.nn.functional import (
    gelu,
    gelu_backward,
    gelu_tanh,
    gelu_tanh_backward,
    relu,
    relu_backward,
    silu,
    silu_backward,
    tanh,
    tanh_backward,
)
from numbert.nn.module import Module


class Activation(Module):
    """A function applied element by element. [..., f] -> [..., f]. A subclass names its pair of functions."""

    def forward(self, x: Array) -> Array:
        """[..., f] -> [..., f]."""
        self.remember(x=x)
        return self.function(x)

    def backward(self, d_output: Array) -> Array:
        """d_output [..., f] -> d_x [..., f]."""
        return self.function_backward(d_output, self.recall().x)

    def function(self, x: Array) -> Array:
        """The function itself. [..., f] -> [..., f]."""
        raise NotImplementedError

    def function_backward(self, d_output: Array, x: Array) -> Array:
        """Its backward. d_output [..., f], x [..., f] -> d_x [..., f]."""
        raise NotImplementedError


class GELUActivation(Activation):
    """x Phi(x), with Phi the cumulative distribution function of the standard normal. See `gelu`."""

    function = staticmethod(gelu)
    function_backward = staticmethod(gelu_backward)


class NewGELUActivation(Activation):
    """gelu by its approximation with tanh. See `gelu_tanh`."""

    function = staticmethod(gelu_tanh)
    function_backward = staticmethod(gelu_tanh_backward)


class PytorchGELUTanh(NewGELUActivation):
    """gelu by its approximation with tanh, under another published name. See `gelu_tanh`."""


class ReLU(Activation):
    """max(x, 0). See `relu`."""

    function = staticmethod(relu)
    function_backward = staticmethod(relu_backward)


class SiLU(Activation):
    """x sigmoid(x). See `silu`."""

    function = staticmethod(silu)
    function_backward = staticmethod(silu_backward)


class Tanh(Activation):
    """tanh(x). It remembers its output and not its input, because its derivative needs only that. See `tanh`."""

    def forward(self, x: Array) -> Array:
        """[..., f] -> [..., f]."""
        output = tanh(x)
        self.remember(output=output)
        return output

    def backward(self, d_output: Array) -> Array:
        """d_output [..., f] -> d_x [..., f]."""
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
