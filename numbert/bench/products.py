"""The matrix products of a workload and nothing else, by np.matmul: what a BERT in NumPy can at best come near."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from numbert.config import BertConfig
from numbert.nn.array import Array

# A product out = x w^T: x [..,n,i], w [..,o,i], out [..,n,o]. Linear multiplies so; so do scores, where w are the
# keys, and context, where w [..,d,r] are the values.
Product = tuple[Array, Array, Array]


def products_run(config: BertConfig, lengths: Array) -> Callable[[], object]:
    """Returns a function that does the products of one forward of BertModel in float32, without padding.

    These are the ones that `forward_gflop` counts: in each layer the linear layers on all tokens at once, and
    scores and context of each sequence; and the pooler. Each weight is an array of its own, as in a model, which
    has to come from memory; what is multiplied with it and what comes out are the same few arrays all the time.

    Args:
        lengths: how many tokens each sequence has, integers [b].
    """
    products = _forward(config, lengths)

    def run() -> None:
        for x, w, out in products:
            np.matmul(x, w.mT, out=out)

    return run


def train_products_run(config: BertConfig, lengths: Array, masked: int) -> Callable[[], object]:
    """Returns a function that does the products of a training step of BertForPreTraining in float32.

    These are the ones that `train_gflop` counts: those of forward and of the two heads, and for each of them two
    more, d_x = d_out w and d_w = d_out^T x.

    Args:
        lengths: how many tokens each sequence has, integers [b].
        masked: how many tokens are decoded.
    """
    e = config.hidden_size
    products = _forward(config, lengths)
    array = _arrays()
    for rows, outputs in ((masked, e), (masked, config.vocab_size), (len(lengths), 2)):
        products.append((array("x", rows, e), _random(outputs, e), array("out", rows, outputs)))
    d_products = [(x, w, out, array("d_x", *x.shape), array("d_w", *w.shape)) for x, w, out in reversed(products)]

    def run() -> None:
        for x, w, out in products:
            np.matmul(x, w.mT, out=out)
        for x, w, d_out, d_x, d_w in d_products:
            np.matmul(d_out, w, out=d_x)
            np.matmul(d_out.mT, x, out=d_w)

    return run


def _forward(config: BertConfig, lengths: Array) -> list[Product]:
    e, f, h = config.hidden_size, config.intermediate_size, config.num_attention_heads
    d = e // h
    tokens = int(lengths.sum())
    array = _arrays()

    def linear(rows: int, inputs: int, outputs: int) -> Product:
        return array("x", rows, inputs), _random(outputs, inputs), array("out", rows, outputs)

    attention: list[Product] = []
    for length in lengths.tolist():
        query_layer, key_layer = array("x", h, length, d), array("key", h, length, d)
        attention.append((query_layer, key_layer, array("out", h, length, length)))
        value_layer = array("value", h, length, d)
        attention.append((array("x", h, length, length), value_layer.mT, array("out", h, length, d)))

    products: list[Product] = []
    for _ in range(config.num_hidden_layers):
        products += [linear(tokens, e, e) for _ in range(3)]  # query, key, value
        products += attention
        products += [linear(tokens, e, e), linear(tokens, e, f), linear(tokens, f, e)]
    products.append(linear(len(lengths), e, e))  # the pooler
    return products


def _arrays() -> Callable[..., Array]:
    """Returns a function that makes an array for a role and a shape, and for the same two the same array."""

    @cache
    def array(role: str, *shape: int) -> Array:
        return _random(*shape)

    return array


def _random(*shape: int) -> Array:
    return np.random.default_rng(0).random(shape, np.float32)
