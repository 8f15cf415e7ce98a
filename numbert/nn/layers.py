"""The layers with parameters that any network needs: Linear, Embedding, LayerNorm; and Dropout.

`seed` is always an integer or the model's own `np.random.Generator`, from which the layers draw in turn.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numbert.errors import InputError
from numbert.nn.array import Array
from numbert.nn.functional import (
    drawn_kept,
    dropout,
    dropout_backward,
    embedding,
    embedding_backward,
    layer_norm,
    layer_norm_backward,
    linear,
    linear_backward,
)
from numbert.nn.module import Module, Parameter


class Linear(Module):
    """Computes y = x W^T + bias. [..., in] -> [..., out]. See `linear`, which also has the derivation.

    Args:
        bias: False makes a layer without bias.
        weight: a Parameter [out,in] to share, as the decoder shares the word embeddings; by default one is drawn.
        std: the standard deviation of the initial weights. The initial bias is 0.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        weight: Parameter | None = None,
        std: float = 0.02,
        seed: Any = 0,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.in_features, self.out_features = in_features, out_features
        self.weight = weight or Parameter.normal((out_features, in_features), std, seed, dtype)
        self.bias = Parameter.full((out_features,), 0.0, dtype) if bias else None

    def forward(self, x: Array) -> Array:
        """[..., in] -> [..., out].

        Raises:
            InputError: the last axis of x is not `in_features`.
        """
        if x.shape[-1:] != (self.in_features,):
            raise InputError(f"Linear takes [..., {self.in_features}], got an array of shape {x.shape}")
        self.remember(x=x)
        return linear(x, self.weight.data, None if self.bias is None else self.bias.data)

    def backward(self, d_output: Array) -> Array:
        """d_output [..., out] -> d_x [..., in]."""
        x = self.recall().x
        learned = self.weight.trainable or (self.bias is not None and self.bias.trainable)
        d_x, d_weight, d_bias = linear_backward(d_output, x, self.weight.data, learned)
        if d_weight is not None:
            self.weight.add_grad(d_weight, owned=True)
        if self.bias is not None and d_bias is not None:
            self.bias.add_grad(d_bias, owned=True)
        return d_x

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Embedding(Module):
    """Looks up row `id` of a table for each id. Integers [...] -> [..., e]. See `embedding` for the derivation.

    Args:
        padding_idx: the row that starts at 0 and gets no gradient from lookups, as in PyTorch. (In a tied model
            it still gets a gradient from the decoder.)
        std: the standard deviation of the initial weights.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        std: float = 0.02,
        seed: Any = 0,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.num_embeddings, self.embedding_dim, self.padding_idx = num_embeddings, embedding_dim, padding_idx
        self.weight = Parameter.normal((num_embeddings, embedding_dim), std, seed, dtype)
        if padding_idx is not None:
            self.weight.data[padding_idx] = 0

    def forward(self, ids: Array, name: str = "ids") -> Array:
        """[...] -> [..., e].

        Args:
            name: how an error message calls the ids.

        Raises:
            InputError: ids are not integers, or one of them is not between 0 and num_embeddings - 1.
        """
        check_ids(ids, self.num_embeddings, name)
        self.remember(ids=ids)
        return embedding(ids, self.weight.data)

    def backward(self, d_output: Array) -> None:
        """Adds the gradient of the table; d_output is [..., e]. It returns None, because ids have no gradient."""
        ids = self.recall().ids
        if not self.weight.trainable:
            return
        if self.weight.grad is None:
            self.weight.grad = np.zeros_like(self.weight.data)
        embedding_backward(d_output, ids, self.num_embeddings, self.padding_idx, out=self.weight.grad)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class LayerNorm(Module):
    """Brings each row to mean 0 and variance 1, then multiplies by weight and adds bias. [..., e] -> [..., e].

    See `layer_norm` for the formula and docs/derivations.md#layernorm for the derivation.
    """

    def __init__(self, normalized_shape: int, eps: float = 1e-12, *, dtype: DTypeLike = np.float32) -> None:
        self.normalized_shape, self.eps = normalized_shape, eps
        self.weight = Parameter.full((normalized_shape,), 1.0, dtype)
        self.bias = Parameter.full((normalized_shape,), 0.0, dtype)

    def forward(self, x: Array) -> Array:
        """[..., e] -> [..., e].

        Raises:
            InputError: the last axis of x is not `normalized_shape`.
        """
        if x.shape[-1:] != (self.normalized_shape,):
            raise InputError(f"LayerNorm takes [..., {self.normalized_shape}], got an array of shape {x.shape}")
        output, normalized, inverse_std = layer_norm(x, self.weight.data, self.bias.data, self.eps)
        self.remember(normalized=normalized, inverse_std=inverse_std)
        return output

    def backward(self, d_output: Array) -> Array:
        """d_output [..., e] -> d_x [..., e]."""
        saved = self.recall()
        d_x, d_weight, d_bias = layer_norm_backward(
            d_output, saved.normalized, saved.inverse_std, self.weight.data
        )
        self.weight.add_grad(d_weight, owned=True)
        self.bias.add_grad(d_bias, owned=True)
        return d_x

    def extra_repr(self) -> str:
        return f"({self.normalized_shape},), eps={self.eps}, elementwise_affine=True"


class Dropout(Module):
    """While training, sets each number to 0 with probability p and divides the others by 1 - p. See `dropout`.

    Raises:
        InputError: p is not between 0 and 1.
    """

    def __init__(self, p: float, *, seed: Any = 0) -> None:
        if not 0 <= p <= 1:
            raise InputError(f"a dropout probability is between 0 and 1, got {p}")
        self.p = p
        self.rng = np.random.default_rng(seed)

    def draw(self, shape: tuple[int, ...]) -> Array | None:
        """Draws which numbers of an array of this shape are kept: bool; None if nothing is to be dropped."""
        return drawn_kept(shape, self.p, self.rng) if self.training and self.p > 0 else None

    def draw_seed(self) -> int | None:
        """Draws what generators of a part that drops by itself start from; None if nothing is dropped."""
        return int(self.rng.integers(2**63)) if self.training and self.p > 0 else None

    def forward(self, x: Array, kept: Array | None = None) -> Array:
        """Any shape -> the same shape. If nothing is dropped, the output is x itself.

        Args:
            kept: what `draw` returned, or x's part of it, if it was drawn beforehand.
        """
        if kept is None:
            kept = self.draw(x.shape)
        self.remember(kept=kept)
        return x if kept is None else dropout(x, kept, self.p)

    def backward(self, d_output: Array) -> Array:
        """d_output -> d_x, of any shape."""
        kept = self.recall().kept
        return d_output.copy() if kept is None else dropout_backward(d_output, kept, self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace=False"


def check_ids(ids: Array, size: int, name: str) -> None:
    """Raises InputError, naming the first wrong id and its place, unless ids are integers from 0 to size - 1."""
    if not np.issubdtype(ids.dtype, np.integer):
        raise InputError(f"{name} must be integers, got an array of {ids.dtype}")
    if ids.size and (ids.min() < 0 or ids.max() >= size):
        place = np.argwhere((ids < 0) | (ids >= size))[0].tolist()
        raise InputError(f"{name} has {ids[tuple(place)]} at {place}; it can be 0 to {size - 1}")
