"""Module and Parameter: what every layer is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from numbert.errors import InputError, abridged
from numbert.nn.array import Array
from numbert.nn.hooks import Handle, Hooks, register, watched_forward
from numbert.nn.switches import drawing, keeping_saved, remembering

DTYPES = (np.float32, np.float64, np.complex128)


def checked_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """A dtype that a model can have.

    Raises:
        InputError: it is not float32, float64 or complex128.
    """
    try:
        checked = None if dtype is None else np.dtype(dtype)  # np.dtype(None) is float64
    except TypeError:
        checked = None
    if checked is None or checked not in DTYPES:
        raise InputError(f"dtype is {checked or dtype}; a model can be float32, float64 or complex128")
    return checked


class Parameter:
    """An array that is learned, and the gradient of the loss with respect to it.

    Attributes:
        data: the values, in the shape and layout of the published models (`[out, in]` for a weight).
        grad: None until a backward reaches the parameter, then an array of data's shape and dtype.
        trainable: False for one that stays as it is: backward adds nothing to grad, and AdamW passes it over.
    """

    __slots__ = ("data", "grad", "trainable")

    def __init__(self, data: Array, trainable: bool = True) -> None:
        self.data = data
        self.grad: Array | None = None
        self.trainable = trainable

    @classmethod
    def normal(cls, shape: tuple[int, ...], std: float, seed: Any, dtype: DTypeLike) -> Parameter:
        """Draws from normal(0, std). The draw is in float32 for every dtype, so that one seed gives one model."""
        if not drawing():
            return cls(np.empty(shape, dtype))
        values = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
        values *= std
        return cls(values.astype(dtype, copy=False))

    @classmethod
    def full(cls, shape: tuple[int, ...], value: float, dtype: DTypeLike) -> Parameter:
        """Fills with one value."""
        return cls(np.full(shape, value, dtype))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.data.dtype

    @property
    def size(self) -> int:
        return self.data.size

    def add_grad(self, gradient: Array, owned: bool = False) -> None:
        """Adds to grad, where the parameter is trainable.

        Args:
            gradient: of data's shape. It is copied, not kept.
            owned: True where nobody else will read or write the array: then it may become grad itself.

        Raises:
            ValueError: the gradient has not the parameter's shape.
        """
        if gradient.shape != self.data.shape:
            raise ValueError(f"gradient of shape {gradient.shape} for a parameter of shape {self.data.shape}")
        if not self.trainable:
            return
        if self.grad is None:
            self.grad = gradient.astype(self.data.dtype, copy=not owned)
        else:
            self.grad += gradient

    def __repr__(self) -> str:
        frozen = "" if self.trainable else ", not trainable"
        return f"Parameter({list(self.shape)}, {self.dtype}{'' if self.grad is None else ', with grad'}{frozen})"


class Module:
    """A layer: `forward` computes, `backward` undoes it line by line and adds to each `Parameter.grad`.

    A subclass sets its parameters and sub-layers as attributes; their order is the order of
    `named_parameters()`, and the attribute names are the names in a published model.

    What forward needs again it hands to `remember`, and backward takes it with `recall`.

    What backward returns: the gradients of the differentiable inputs that were given, in forward's order; one
    alone bare, several as a tuple.

    Who owns an array:

    - A forward may return its argument. Its inputs and outputs are not written to until backward is done: they
      may be among what is remembered.
    - A backward writes into nothing that it was given. What it returns is the caller's to overwrite: it is not its
      own argument, and shares no memory with another result, a saved array or a grad.
    - `Parameter.add_grad` copies what it is given, unless the caller says that it is owned.

    Attributes:
        saved: what the latest forward remembered, by name (`layer.saved.attention_probs`); None before a forward
            and after its backward.
        training: True at first and after `train()`, False after `eval()`; decides dropout and nothing else.
        listed: whether `print(model)` and `summary` show the layer.
        hooks: None, or the hooks that were registered.
    """

    saved: SimpleNamespace | None = None
    training: bool = True
    listed: bool = True
    hooks: Hooks | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.hooks is None:
            return self.forward(*args, **kwargs)
        return watched_forward(self, args, kwargs)

    # --- between forward and backward -----------------------------------------------------------------------

    def remember(self, **values: Any) -> None:
        """Keeps values for backward as `self.saved`; under `no_grad()` it keeps nothing."""
        if remembering():
            self.saved = SimpleNamespace(**values)

    def recall(self) -> SimpleNamespace:
        """Gives what the latest forward remembered, once; within `keep_saved()` as often as it is asked.

        Raises:
            RuntimeError: there was no forward, it ran under `no_grad()`, or a backward has used it up.
        """
        saved = self.saved
        if saved is None:
            raise RuntimeError(
                f"{type(self).__name__}.backward has no forward to undo: call forward first, outside no_grad(), "
                "and backward once for each forward"
            )
        if not keeping_saved():
            self.saved = None
        return saved

    def forget(self) -> None:
        """Drops what this layer and all layers below it remember."""
        for module in self.modules():
            module.saved = None

    def use_up(self) -> None:
        """Drops what layers remember that the loss did not reach, unless within `keep_saved()`."""
        if not keeping_saved():
            self.forget()

    # --- hooks ----------------------------------------------------------------------------------------------

    def register_forward_hook(self, hook: Callable[[Any, tuple[Any, ...], Any], Any]) -> Handle:
        """Calls `hook(module, inputs, output)` after each forward of this layer.

        It fires once for each outermost call `module(...)`, also when gradient checkpointing runs a layer again.

        Args:
            hook: gets the arguments of forward in its order, with the defaults of those not given, and what it
                returned. What it returns, unless None, takes the output's place. That counts as adding a
                constant: backward hands the gradient of the replaced output to the layer as it is.

        Returns:
            a handle with `remove()`, which is also a context manager.
        """
        return register(self, "forward", hook)

    def register_backward_pre_hook(self, hook: Callable[[Any, tuple[Any, ...]], Any]) -> Handle:
        """Calls `hook(module, d_outputs)` before each backward of this layer.

        Args:
            hook: gets the arguments of backward in its order. What it returns, unless None, takes their place: a
                tuple of the same length.

        Returns:
            a handle with `remove()`, which is also a context manager.
        """
        return register(self, "backward_pre", hook)

    def register_backward_hook(self, hook: Callable[[Any, tuple[Any, ...], Any], Any]) -> Handle:
        """Calls `hook(module, d_outputs, d_inputs)` after each backward of this layer.

        Args:
            hook: gets the arguments that backward had, in its order, and exactly what it returned. What the hook
                returns, unless None, takes the place of d_inputs and must have the same form.

        Returns:
            a handle with `remove()`, which is also a context manager.
        """
        return register(self, "backward", hook)

    # --- the tree of layers ---------------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Every layer with its dotted name, this one first, under the name ''."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator[Module]:
        return (module for _, module in self.named_modules())

    def all_named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Like `named_parameters`, but a tied parameter comes under each of its names."""
        for prefix, module in self.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, Parameter):
                    yield (f"{prefix}.{name}" if prefix else name), value

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Every parameter with its name in a published model; a tied one once, under its first name."""
        seen: set[int] = set()
        for name, parameter in self.all_named_parameters():
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield name, parameter

    def parameters(self) -> list[Parameter]:
        return [parameter for _, parameter in self.named_parameters()]

    def num_parameters(self, only_trainable: bool = False) -> int:
        """How many numbers the parameters hold, a tied parameter counted once; or those of the trainable ones."""
        return sum(p.size for p in self.parameters() if p.trainable or not only_trainable)

    # --- switches -------------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Turns dropout on (mode=True) or off; changes nothing else."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Turns dropout off; changes nothing else."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Sets every grad to None."""
        for parameter in self.parameters():
            parameter.grad = None

    def to(self, dtype: DTypeLike) -> Self:
        """Converts every parameter to dtype (float32, float64 or complex128), dropping gradients.

        Raises:
            InputError: the dtype is another.
        """
        dtype = checked_dtype(dtype)
        for parameter in self.parameters():
            parameter.data = parameter.data.astype(dtype, copy=False)
            parameter.grad = None
        return self

    # --- state ----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Array]:
        """Each parameter's array under its name. The arrays are the model's own, not copies."""
        return {name: parameter.data for name, parameter in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Array], strict: bool = True) -> None:
        """Copies arrays into the parameters, converted to each parameter's dtype; all or nothing.

        A tied parameter may be given under any of its names.

        Raises:
            InputError: a shape differs; or, if strict, a name is missing or unexpected.
        """
        aliases: dict[int, list[str]] = {}
        for name, parameter in self.all_named_parameters():
            aliases.setdefault(id(parameter), []).append(name)
        chosen: list[tuple[Parameter, Array]] = []
        missing: list[str] = []
        for name, parameter in self.named_parameters():
            key = next((alias for alias in aliases[id(parameter)] if alias in state), None)
            if key is None:
                missing.append(name)
                continue
            value = np.asarray(state[key])
            if value.shape != parameter.shape:
                raise InputError(f"{key} has shape {value.shape}, the model needs {parameter.shape}")
            if np.iscomplexobj(value) and not np.iscomplexobj(parameter.data):
                raise InputError(f"{key} is {value.dtype}, the model is {parameter.dtype}")
            chosen.append((parameter, value))
        unexpected = sorted(set(state) - {alias for names in aliases.values() for alias in names})
        if strict and (missing or unexpected):
            raise InputError(
                "the state does not fit the model: "
                f"missing {abridged(missing) or 'nothing'}; unexpected {abridged(unexpected) or 'nothing'}"
            )
        for parameter, value in chosen:
            parameter.data = value.astype(parameter.dtype, copy=True)

    # --- print(model) ---------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        return ""

    def __repr__(self) -> str:
        children = [(name, child) for name, child in self.named_children() if child.listed]
        head = f"{type(self).__name__}({self.extra_repr()}"
        if not children:
            return head + ")"
        return head + "\n" + "".join(_indented(f"({name}): {child!r}") for name, child in children) + ")"


class ModuleList(Module):
    """Layers in a row, named by their index: `layer.0`, `layer.1`, ..."""

    def __init__(self, modules: list[Any]) -> None:
        for index, module in enumerate(modules):
            setattr(self, str(index), module)

    def __iter__(self) -> Iterator[Any]:
        return (module for _, module in self.named_children())

    def __len__(self) -> int:
        return sum(1 for _ in self.named_children())

    def __getitem__(self, index: int) -> Any:
        return list(self)[index]

    def __repr__(self) -> str:
        # Neighbours that print alike are printed once: "(0-11): 12 x BertLayer(...)".
        groups: list[list[Any]] = []
        for index, module in enumerate(self):
            text = repr(module)
            if groups and groups[-1][2] == text:
                groups[-1][1] = index
            else:
                groups.append([index, index, text])
        lines = [
            f"({first}): {text}" if first == last else f"({first}-{last}): {last - first + 1} x {text}"
            for first, last, text in groups
        ]
        return "ModuleList(\n" + "".join(_indented(line) for line in lines) + ")"


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())
