"""Mathematics without parameters: functions of arrays that a student can call without any layer.

Each file holds, for one function `name`, in this order:

    name_plain            the formula as it stands on paper, one symbol a line: no blocks, nothing in place
    name                  the same numbers, fast; layers call this one
    name_backward_plain   the gradient as it is derived
    name_backward         the same numbers, fast

A backward takes the gradient of each output and what it needs of the forward, and returns the gradient of each
input, in order. It writes into nothing that it was given, and the caller may overwrite what it returns. A test
compares every fast form with its plain one; `numbert bench kernels` times the two. If the plain form is as fast as
any, the two names are one function; `split_heads` and `join_heads` are each other's backward. Derivations that do
not fit into a docstring are in docs/derivations.md.
"""

from numbert.nn.functional.attention import (
    attention,
    attention_backward,
    attention_backward_plain,
    attention_context,
    attention_context_backward,
    attention_context_backward_plain,
    attention_context_plain,
    attention_plain,
    attention_scores,
    attention_scores_backward,
    attention_scores_backward_plain,
    attention_scores_plain,
)
from numbert.nn.functional.attention_blocks import Terms, attention_in_blocks, attention_in_blocks_backward
from numbert.nn.functional.dropout import (
    drawn_kept,
    dropout,
    dropout_backward,
    dropout_backward_plain,
    dropout_plain,
)
from numbert.nn.functional.elementwise import (
    add,
    add_plain,
    relu,
    relu_backward,
    relu_backward_plain,
    relu_plain,
    sigmoid,
    sigmoid_plain,
    silu,
    silu_backward,
    silu_backward_plain,
    silu_plain,
    tanh,
    tanh_backward,
    tanh_backward_plain,
    tanh_plain,
)
from numbert.nn.functional.embedding import (
    embedding,
    embedding_backward,
    embedding_backward_plain,
    embedding_plain,
)
from numbert.nn.functional.gelu import (
    gelu,
    gelu_backward,
    gelu_backward_plain,
    gelu_plain,
    gelu_tanh,
    gelu_tanh_backward,
    gelu_tanh_backward_plain,
    gelu_tanh_plain,
)
from numbert.nn.functional.heads import (
    join_heads,
    join_heads_backward,
    join_heads_plain,
    split_heads,
    split_heads_backward,
    split_heads_plain,
)
from numbert.nn.functional.layer_norm import (
    layer_norm,
    layer_norm_backward,
    layer_norm_backward_plain,
    layer_norm_plain,
)
from numbert.nn.functional.linear import linear, linear_backward, linear_backward_plain, linear_plain
from numbert.nn.functional.losses import (
    IGNORE,
    bce_with_logits,
    bce_with_logits_backward,
    bce_with_logits_backward_plain,
    bce_with_logits_plain,
    cross_entropy,
    cross_entropy_backward,
    cross_entropy_backward_plain,
    cross_entropy_plain,
    mse,
    mse_backward,
    mse_backward_plain,
    mse_plain,
)
from numbert.nn.functional.relative import (
    relative_rows,
    relative_scores,
    relative_scores_backward,
    relative_scores_backward_plain,
    relative_scores_plain,
)
from numbert.nn.functional.softmax import softmax, softmax_backward, softmax_backward_plain, softmax_plain

__all__ = [
    "IGNORE",
    "Terms",
    "add",
    "add_plain",
    "attention",
    "attention_backward",
    "attention_backward_plain",
    "attention_context",
    "attention_context_backward",
    "attention_context_backward_plain",
    "attention_context_plain",
    "attention_in_blocks",
    "attention_in_blocks_backward",
    "attention_plain",
    "attention_scores",
    "attention_scores_backward",
    "attention_scores_backward_plain",
    "attention_scores_plain",
    "bce_with_logits",
    "bce_with_logits_backward",
    "bce_with_logits_backward_plain",
    "bce_with_logits_plain",
    "cross_entropy",
    "cross_entropy_backward",
    "cross_entropy_backward_plain",
    "cross_entropy_plain",
    "drawn_kept",
    "dropout",
    "dropout_backward",
    "dropout_backward_plain",
    "dropout_plain",
    "embedding",
    "embedding_backward",
    "embedding_backward_plain",
    "embedding_plain",
    "gelu",
    "gelu_backward",
    "gelu_backward_plain",
    "gelu_plain",
    "gelu_tanh",
    "gelu_tanh_backward",
    "gelu_tanh_backward_plain",
    "gelu_tanh_plain",
    "join_heads",
    "join_heads_backward",
    "join_heads_plain",
    "layer_norm",
    "layer_norm_backward",
    "layer_norm_backward_plain",
    "layer_norm_plain",
    "linear",
    "linear_backward",
    "linear_backward_plain",
    "linear_plain",
    "mse",
    "mse_backward",
    "mse_backward_plain",
    "mse_plain",
    "relative_rows",
    "relative_scores",
    "relative_scores_backward",
    "relative_scores_backward_plain",
    "relative_scores_plain",
    "relu",
    "relu_backward",
    "relu_backward_plain",
    "relu_plain",
    "sigmoid",
    "sigmoid_plain",
    "silu",
    "silu_backward",
    "silu_backward_plain",
    "silu_plain",
    "softmax",
    "softmax_backward",
    "softmax_backward_plain",
    "softmax_plain",
    "split_heads",
    "split_heads_backward",
    "split_heads_plain",
    "tanh",
    "tanh_backward",
    "tanh_backward_plain",
    "tanh_plain",
]
