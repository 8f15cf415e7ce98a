"""The layers with parameters that any network needs: Linear, Embedding, LayerNorm; and Dropout.

`seed` is everywhere an integer or the model's own `np.random.Generator`, from which the layers draw in turn.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numbert.errors import InputError
from numbert.nn.array import Array
from numbert.nn.functional import layer_norm, layer_norm_backward
from numbert.nn.module import Module, Parameter


class Linear(Module):
    """y = x W^T + bias. [..., in] -> [..., out].

    Derivation: y[n,o] = sum_i x[n,i] W[o,i] + bias[o], so
    d_x = d_y W, d_W = d_y^T x and d_bias = the sum of d_y over n, where n runs over all leading axes.

    Args:
        weight: a Parameter to share instead of drawing one, as the decoder shares the word embeddings.
        std: standard deviation of the initial weights; the initial bias is 0.
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
        # One product over all rows: a stack of matrices would be many small products.
        y = x.reshape(-1, self.in_features) @ self.weight.data.T
        if self.bias is not None:
            y += self.bias.data
        return y.reshape(*x.shape[:-1], self.out_features)

    def backward(self, d_output: Array) -> Array:
        x = self.recall().x
        d_y = d_output.reshape(-1, self.out_features)
        self.weight.add_grad(d_y.T @ x.reshape(-1, self.in_features))  # [out,n] @ [n,in] -> [out,in]
        if self.bias is not None:
            self.bias.add_grad(d_y.sum(axis=0))
        return (d_y @ self.weight.data).reshape(x.shape)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Embedding(Module):
    """Row `id` of a table for each id. Integers [...] -> [..., e].

    Derivation: y[n] = W[id_n], so the gradient of row i of W is the sum of d_y[n] over all n with id_n = i.

    Args:
        padding_idx: this row starts at 0 and gets no gradient from lookups, as in PyTorch. (In a tied model
            it still gets one from the decoder.)
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
            name: what an error calls the ids.

        Raises:
            InputError: ids are not integers, or one is outside 0 to num_embeddings - 1.
        """
        check_ids(ids, self.num_embeddings, name)
        self.remember(ids=ids)
        return self.weight.data[ids]

    def backward(self, d_output: Array) -> None:
        ids = self.recall().ids.reshape(-1)
        d_rows = d_output.reshape(len(ids), self.embedding_dim)
        if self.padding_idx is not None:
            looked_up = ids != self.padding_idx
            ids, d_rows = ids[looked_up], d_rows[looked_up]
        grad = self.weight.grad
        if grad is None:
            grad = self.weight.grad = np.zeros_like(self.weight.data)
        if len(ids):
            # Sorted by id, the rows of one id are neighbours, and reduceat sums each run: np.add.at does the
            # same and takes several times as long.
            order = np.argsort(ids, kind="stable")
            distinct, starts = np.unique(ids[order], return_index=True)
            grad[distinct] += np.add.reduceat(d_rows[order], starts, axis=0)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class LayerNorm(Module):
    """Each row to mean 0 and variance 1, then times weight plus bias. [..., e] -> [..., e]. See `layer_norm`.

    The derivation is in docs/derivations.md#layernorm.
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
        saved = self.recall()
        d_x, d_weight, d_bias = layer_norm_backward(
            d_output, saved.normalized, saved.inverse_std, self.weight.data
        )
        self.weight.add_grad(d_weight)
        self.bias.add_grad(d_bias)
        return d_x

    def extra_repr(self) -> str:
        return f"({self.normalized_shape},), eps={self.eps}, elementwise_affine=True"


class Dropout(Module):
    """While training, drops each number with probability p and divides the others by 1 - p.

    So the expected output is the input, and eval() needs no factor (Srivastava et al. 2014, section 10).
    Derivation: y = x * keep with a random constant keep, so d_x = d_y * keep.
    """

    def __init__(self, p: float, *, seed: Any = 0) -> None:
        if not 0 <= p <= 1:
            raise InputError(f"a dropout probability is between 0 and 1, got {p}")
        self.p = p
        self.rng = np.random.default_rng(seed)

    def draw(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array | None:
        """The factors keep: 0 with probability p, else 1 / (1 - p); None where dropout does nothing."""
        if not self.training or self.p == 0:
            return None
        kept = self.rng.random(shape, dtype=np.float32) >= self.p
        return kept * np.array(1 / (1 - self.p) if self.p < 1 else 0, dtype)

    def forward(self, x: Array) -> Array:
        """Any shape -> the same shape."""
        keep = self.draw(x.shape, x.real.dtype)
        self.remember(keep=keep)
        return x if keep is None else x * keep

    def backward(self, d_output: Array) -> Array:
        keep = self.recall().keep
        return d_output if keep is None else d_output * keep

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace=False"


def check_ids(ids: Array, size: int, name: str) -> None:
    """Raises InputError, with the first offender and its place, unless ids are integers from 0 to size - 1."""
    if not np.issubdtype(ids.dtype, np.integer):
        raise InputError(f"{name} must be integers, got an array of {ids.dtype}")
    if ids.size and (ids.min() < 0 or ids.max() >= size):
        place = np.argwhere((ids < 0) | (ids >= size))[0].tolist()
        raise InputError(f"{name} has {ids[tuple(place)]} at {place}; it can be 0 to {size - 1}")
