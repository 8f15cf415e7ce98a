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
    """Returns the NumPy dtype, if a model can have it.

    Raises:
        InputError: the dtype is not float32, float64 or complex128.
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
        data: the values, in the shape and layout of the published models ([out,in] for a weight).
        grad: None until a backward reaches the parameter; then an array of data's shape and dtype.
        trainable: False for a parameter that is to stay as it is: backward adds nothing to its grad, and AdamW
            does not change it.
    """

    __slots__ = ("data", "grad", "trainable")

    def __init__(self, data: Array, trainable: bool = True) -> None:
        self.data = data
        self.grad: Array | None = None
        self.trainable = trainable

    @classmethod
    def normal(cls, shape: tuple[int, ...], std: float, seed: Any, dtype: DTypeLike) -> Parameter:
        """Makes a parameter drawn from normal(0, std).

        The draw is in float32 for every dtype, so that one seed gives one model whatever its dtype. Within
        `uninitialized()` nothing is drawn.

        Args:
            seed: an integer, or the `np.random.Generator` to draw from.
        """
        if not drawing():
            return cls(np.empty(shape, dtype))
        values = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
        values *= std
        return cls(values.astype(dtype, copy=False))

    @classmethod
    def full(cls, shape: tuple[int, ...], value: float, dtype: DTypeLike) -> Parameter:
        """Makes a parameter whose entries all have one value."""
        return cls(np.full(shape, value, dtype))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of `data`."""
        return self.data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of `data`."""
        return self.data.dtype

    @property
    def size(self) -> int:
        """How many numbers `data` holds."""
        return self.data.size

    def add_grad(self, gradient: Array, owned: bool = False) -> None:
        """Adds a gradient to `grad`, if the parameter is trainable.

        Args:
            gradient: an array of data's shape. It is copied unless it is owned.
            owned: True if nobody else will read or write the array. Then it may become `grad` itself.

        Raises:
            ValueError: the gradient does not have the parameter's shape.
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

    Forward hands what backward will need to `remember`, and backward takes it from `recall`.

    Backward returns the gradients of the differentiable inputs that were given, in forward's order: a single one
    as it is, several as a tuple.

    Who may write into which array:

    - A forward may return its argument. Nobody writes into its inputs and outputs until backward is done, because
      they may be among what is remembered.
    - A backward writes into nothing that it was given. The caller may overwrite what it returns: that is none of
      its arguments, and shares no memory with another result, a saved array or a grad.
    - `Parameter.add_grad` copies what it is given, unless the caller says that it is owned.

    Attributes:
        saved: what the latest forward remembered, by name (`layer.saved.attention_probs`); None before a forward
            and after its backward.
        training: True at first and after `train()`, False after `eval()`. It decides dropout and nothing else.
        listed: whether `print(model)` and `summary` show the layer.
        hooks: the hooks that are registered, or None.
    """

    saved: SimpleNamespace | None = None
    training: bool = True
    listed: bool = True
    hooks: Hooks | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Computes the output from the inputs; each subclass has its own."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, *args: Any, **kwargs: Any) -> Any:
        """Computes the gradients of the inputs from those of the outputs; each subclass has its own."""
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.hooks is None:
            return self.forward(*args, **kwargs)
        return watched_forward(self, args, kwargs)

    # --- between forward and backward -----------------------------------------------------------------------

    def remember(self, **values: Any) -> None:
        """Keeps values for backward as the attributes of `self.saved`. Under `no_grad()` it keeps nothing."""
        if remembering():
            self.saved = SimpleNamespace(**values)

    def recall(self) -> SimpleNamespace:
        """Returns what the latest forward remembered: once, or within `keep_saved()` any number of times.

        Raises:
            RuntimeError: there was no forward, or it ran under `no_grad()`, or a backward has used it up.
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
        """Drops what this layer and all layers inside it remember."""
        for module in self.modules():
            module.saved = None

    def skip(self) -> None:
        """Drops what an earlier forward remembered, for a layer that this forward leaves out."""
        if remembering():
            self.forget()

    def use_up(self) -> None:
        """Drops what layers that the loss did not reach still remember. Within `keep_saved()` it drops nothing."""
        if not keeping_saved():
            self.forget()

    # --- hooks ----------------------------------------------------------------------------------------------

    def register_forward_hook(self, hook: Callable[[Any, tuple[Any, ...], Any], Any]) -> Handle:
        """Calls `hook(module, inputs, output)` after each forward of this layer.

        The hook is called once for each outermost call `module(...)`. Gradient checkpointing calls a layer once
        more in backward: until then the hook must stay, and give the same again.

        Args:
            hook: a function of the layer, the tuple of forward's arguments in their order (with the defaults of
                those not given, `*args` as one tuple, `**kwargs` as one dict), and forward's output. If it returns
                something other than None, that takes the output's place. For backward this counts as adding a
                constant: the gradient of the replaced output goes to the layer unchanged.

        Returns:
            a handle with `remove()`, which is also a context manager.

        Raises:
            InputError: the hook is no function.
        """
        return register(self, "forward", hook)

    def register_backward_pre_hook(self, hook: Callable[[Any, tuple[Any, ...]], Any]) -> Handle:
        """Calls `hook(module, d_outputs)` before each backward of this layer.

        Args:
            hook: a function of the layer and the tuple of backward's arguments in their order. If it returns
                something other than None, that takes their place; it must be a tuple of the same length.

        Returns:
            a handle with `remove()`, which is also a context manager.

        Raises:
            InputError: the hook is no function.
        """
        return register(self, "backward_pre", hook)

    def register_backward_hook(self, hook: Callable[[Any, tuple[Any, ...], Any], Any]) -> Handle:
        """Calls `hook(module, d_outputs, d_inputs)` after each backward of this layer.

        Args:
            hook: a function of the layer, the tuple of backward's arguments in their order, and exactly what
                backward returned. If the hook returns something other than None, that takes the place of d_inputs
                and must have the same form. What it was given and what it returns stay the hook's: the caller of
                backward gets copies.

        Returns:
            a handle with `remove()`, which is also a context manager.

        Raises:
            InputError: the hook is no function.
        """
        return register(self, "backward", hook)

    # --- the tree of layers ---------------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yields each layer that is an attribute of this one, with the attribute's name."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Yields every layer with its dotted name; the first is this one, under the name ''."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator[Module]:
        """Yields this layer and every layer inside it."""
        return (module for _, module in self.named_modules())

    def all_named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yields every parameter with its name; unlike `named_parameters`, a tied one under each of its names."""
        for prefix, module in self.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, Parameter):
                    yield (f"{prefix}.{name}" if prefix else name), value

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yields every parameter with its published name; a tied one only once, under its first name."""
        seen: set[int] = set()
        for name, parameter in self.all_named_parameters():
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield name, parameter

    def parameters(self) -> list[Parameter]:
        """Returns every parameter once, in the order of `named_parameters`."""
        return [parameter for _, parameter in self.named_parameters()]

    def num_parameters(self, only_trainable: bool = False) -> int:
        """Counts the numbers in all parameters, or in the trainable ones only; a tied parameter counts once."""
        return sum(p.size for p in self.parameters() if p.trainable or not only_trainable)

    # --- switches -------------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Turns dropout on (mode=True) or off, changes nothing else, and returns the layer itself."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Turns dropout off, changes nothing else, and returns the layer itself."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Sets every grad to None."""
        for parameter in self.parameters():
            parameter.grad = None

    def to(self, dtype: DTypeLike) -> Self:
        """Converts every parameter to dtype, sets every grad to None, and returns the layer itself.

        Raises:
            InputError: dtype is not float32, float64 or complex128.
        """
        dtype = checked_dtype(dtype)
        for parameter in self.parameters():
            parameter.data = parameter.data.astype(dtype, copy=False)
            parameter.grad = None
        return self

    # --- state ----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Array]:
        """Returns each parameter's array under its published name. The arrays are the model's own, not copies."""
        return {name: parameter.data for name, parameter in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Array], strict: bool = True) -> None:
        """Copies arrays into the parameters, converted to each parameter's dtype: all of them, or none.

        A tied parameter may be given under any of its names.

        Args:
            strict: False allows names that are missing or that the model does not have.

        Raises:
            InputError: a shape differs, an array is complex and the model is not, or strict is True and a name is
                missing or unexpected.
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
        """Returns what `print(model)` shows between the parentheses behind the class's name."""
        return ""

    def __repr__(self) -> str:
        children = [(name, child) for name, child in self.named_children() if child.listed]
        head = f"{type(self).__name__}({self.extra_repr()}"
        if not children:
            return head + ")"
        return head + "\n" + "".join(_indented(f"({name}): {child!r}") for name, child in children) + ")"


class ModuleList(Module):
    """A list of layers, which are named by their index: `layer.0`, `layer.1`, ..."""

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
