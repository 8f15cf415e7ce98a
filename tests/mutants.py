"""Bugs that people really make when they write BERT and its backward, and what plants them.

Each Mutant is one exact replacement in one file of numbert. `plant` makes it in a copy of the package, `run_tests`
runs tests on the copy and tells which one failed first; test_mutants.py demands that one does.
"""

from __future__ import annotations

import compileall
import importlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
TIMEOUT = 600  # seconds, for a process that takes 1 to 30 on an idle machine

GRADCHECK = "test_gradcheck.py::TestEveryLayerOfNumbert::test_each_is_proved_below_1e_10"
PARITY = "test_parity.py"
CONTRACT = "test_layer_contract.py"
MODEL = "test_model.py"
FUNCTIONAL = "test_functional.py"
CHECKPOINT = "test_checkpoint.py"
CHECKPOINTING = "test_gradient_checkpointing.py"
INFERENCE = "test_inference.py"
OPTIMIZER = "test_optimizer.py"
TRAINING = "test_training_parity.py"
TEXT = "test_pretrain_text.py"
PREPARE = "test_pretrain_prepare.py"
PAIRS = "test_pretrain_pairs.py"
BATCHES = "test_pretrain_batches.py"
BASELINES = "test_pretrain_baselines.py"
TRAINER = "test_pretrain_trainer.py"
RESUME = "test_pretrain_resume.py"


@dataclass(frozen=True)
class Mutant:
    """One bug.

    Attributes:
        file: in numbert/, where `old` stands exactly once; `new` takes its place.
        why: how people come to it, and what goes wrong.
        tests: files, or tests in them (file::name), in tests/; each must catch the bug by itself.
        gradient: both the gradient check and the comparison with PyTorch must catch it, too.
    """

    name: str
    file: str
    old: str
    new: str
    why: str
    tests: tuple[str, ...] = ()
    gradient: bool = False

    @property
    def must_catch(self) -> tuple[str, ...]:
        return ((GRADCHECK, PARITY) if self.gradient else ()) + self.tests

    def applied_to(self, text: str) -> str:
        """The file's text with the bug in it.

        Raises:
            StaleMutantError: `old` is not there exactly once.
        """
        if (count := text.count(self.old)) != 1:
            raise StaleMutantError(
                f"{self.name} has gone stale: numbert/{self.file} has {count} times, not once:\n{self.old}"
            )
        return text.replace(self.old, self.new)


class StaleMutantError(Exception):
    pass


# --- the mathematics --------------------------------------------------------------------------------------------

FUNCTIONS = [
    Mutant(
        "softmax-without-maximum",
        "nn/functional.py",
        "np.subtract(x, x.real.max(axis=-1, keepdims=True), out=probs)",
        "np.copyto(probs, x)",
        "the definition as it stands in the paper: exp overflows for scores of a hundred",
        tests=(FUNCTIONAL, MODEL),
    ),
    Mutant(
        "softmax-over-queries",
        "nn/functional.py",
        "    attention_probs = softmax(attention_scores)\n",
        "    attention_probs = softmax(attention_scores.swapaxes(-1, -2)).swapaxes(-1, -2)\n",
        "axis -2 for -1: the keys' shares of one query do not sum to 1, and the model still trains",
        gradient=True,
        tests=(CONTRACT,),
    ),
    Mutant(
        "softmax-backward-without-sum",
        "nn/functional.py",
        "np.subtract(d_probs, d_x.sum(axis=-1, keepdims=True), out=d_x)",
        "np.copyto(d_x, d_probs)",
        "probs * d_probs is the diagonal of the Jacobian alone: that raising one share lowers the others is lost",
        gradient=True,
    ),
    Mutant(
        "layer-norm-unbiased-variance",
        "nn/functional.py",
        "variance /= x.shape[-1]",
        "variance /= x.shape[-1] - 1",
        "ddof=1, which torch.var has by default, and LayerNorm has not",
        gradient=True,
    ),
    Mutant(
        "layer-norm-eps-outside-root",
        "nn/functional.py",
        "variance += eps\n        np.divide(1, np.sqrt(variance, out=variance), out=inverse_std)",
        "np.divide(1, np.sqrt(variance, out=variance) + eps, out=inverse_std)",
        "std + eps for sqrt(variance + eps), which no test with eps=1e-12 can see",
        tests=(CONTRACT,),
    ),
    Mutant(
        "layer-norm-over-rows",
        "nn/functional.py",
        "np.subtract(x, x.mean(axis=-1, keepdims=True), out=normalized)",
        "np.subtract(x, x.mean(axis=0, keepdims=True), out=normalized)",
        "the mean of batch normalization: each feature over all tokens",
        gradient=True,
    ),
    Mutant(
        "layer-norm-backward-without-mean",
        "nn/functional.py",
        "        d_x -= mean\n",
        "",
        "the mean counted as a constant; an upstream gradient of ones would hide it",
        gradient=True,
    ),
    Mutant(
        "layer-norm-backward-without-variance",
        "nn/functional.py",
        "        d_x -= normalized * mean_along_normalized\n",
        "",
        "the variance counted as a constant",
        gradient=True,
    ),
    Mutant(
        "layer-norm-weight-gradient-times-weight",
        "nn/functional.py",
        'd_weight = np.einsum("ne,ne->e", d_output, normalized)',
        'd_weight = np.einsum("ne,ne->e", d_output * weight, normalized)',
        "the d_x of the line before used again; as long as the weight is 1 it is even right",
        gradient=True,
    ),
    Mutant(
        "layer-norm-bias-gradient-over-features",
        "nn/functional.py",
        "d_output.sum(axis=0)",
        "d_output.sum(axis=-1)",
        "the bias gradient summed over the wrong axis",
        gradient=True,
    ),
    Mutant(
        "loss-summed",
        "nn/functional.py",
        "loss = row_loss[labelled].sum() / max(1, labelled.sum())",
        "loss = row_loss[labelled].sum()",
        "reduction='sum': the learning rate silently depends on the batch",
        tests=(PARITY, MODEL),
    ),
    Mutant(
        "loss-gradient-summed",
        "nn/functional.py",
        "d_logits = probs * (labelled[:, None] * (d_loss / max(1, len(rows)))).astype(probs.dtype)\n"
        "    d_logits[rows, labels[rows]] -= np.asarray(d_loss / max(1, len(rows)), probs.dtype)",
        "d_logits = probs * (labelled[:, None] * d_loss).astype(probs.dtype)\n"
        "    d_logits[rows, labels[rows]] -= np.asarray(d_loss, probs.dtype)",
        "probs - one_hot, with the 1/n of the mean forgotten",
        gradient=True,
    ),
    Mutant(
        "loss-mean-over-all-rows",
        "nn/functional.py",
        "max(1, labelled.sum())",
        "len(labels)",
        "np.mean over the masked losses: divided by the ignored rows, too",
        tests=(FUNCTIONAL, MODEL),
    ),
    Mutant(
        "ignored-rows-in-the-gradient",
        "nn/functional.py",
        "(labelled[:, None] * (d_loss / max(1, len(rows)))).astype(probs.dtype)",
        "np.asarray(d_loss / max(1, len(rows)), probs.dtype)",
        "the ignored rows keep probs as their gradient, since only the one_hot was left out",
        tests=(GRADCHECK, FUNCTIONAL),
    ),
    Mutant(
        "ignored-rows-count-as-class-0",
        "nn/functional.py",
        "loss = row_loss[labelled].sum()",
        "loss = row_loss.sum()",
        "-100 made harmless for the indexing, then summed as if it were a class",
        tests=(FUNCTIONAL, MODEL),
    ),
    Mutant(
        "ignore-index-is-minus-1",
        "nn/functional.py",
        "IGNORE = -100",
        "IGNORE = -1",
        "another library's ignore index: -100 becomes a class",
        tests=(MODEL,),
    ),
    Mutant(
        "gelu-by-tanh",
        "nn/activations.py",
        "return x * _normal_cdf(x)",
        "return gelu_tanh(x)",
        "the approximation where the published models compute the exact function",
        gradient=True,
    ),
    Mutant(
        "gelu-slope-without-density",
        "nn/activations.py",
        "return d_output * (_normal_cdf(x) + x * density)",
        "return d_output * _normal_cdf(x)",
        "half of the product rule: Phi(x) without x phi(x)",
        gradient=True,
    ),
    Mutant(
        "gelu-slope-without-density-in-float32",
        "nn/activations.py",
        "    gauss *= x\n    out += gauss\n",
        "",
        "the same in the fast path, which a gradient check in float64 never runs",
        tests=(PARITY, FUNCTIONAL),
    ),
    Mutant(
        "gelu-tail-mirrored",
        "nn/activations.py",
        "    np.copysign(out, x, out=out)\n",
        "",
        "Phi(|x|) for Phi(x): right for positive x only",
        tests=(PARITY, FUNCTIONAL),
    ),
    Mutant(
        "gelu-tanh-slope-without-inner-derivative",
        "nn/activations.py",
        "    slope = x * x\n"
        "    slope *= 3 * 0.044715 * SQRT_2_OVER_PI\n"
        "    slope += SQRT_2_OVER_PI\n"
        "    slope *= x\n",
        "    slope = x.copy()\n",
        "the chain rule stops at tanh: u'(x) of the cubic inside is missing",
        gradient=True,
    ),
    Mutant(
        "relu-slope-from-the-gradient",
        "nn/activations.py",
        "return d_output * (x.real > 0)",
        "return d_output * (d_output.real > 0)",
        "the sign of what comes in asked of the wrong array",
        gradient=True,
    ),
    Mutant(
        "silu-slope-without-x",
        "nn/activations.py",
        "return d_output * (s + x * s * (1 - s))",
        "return d_output * (s + s * (1 - s))",
        "the product rule with the x of x s' forgotten",
        gradient=True,
    ),
    Mutant(
        "tanh-slope-without-square",
        "nn/activations.py",
        "return d_output * (1 - output * output)",
        "return d_output * (1 - output)",
        "1 - tanh for 1 - tanh^2, in the pooler",
        gradient=True,
    ),
]

# --- layers that any network has --------------------------------------------------------------------------------

LAYERS = [
    Mutant(
        "linear-bias-gradient-over-features",
        "nn/layers.py",
        "self.bias.add_grad(d_y.sum(axis=0))",
        "self.bias.add_grad(d_y.sum(axis=-1))",
        "the bias gradient summed over the wrong axis",
        gradient=True,
    ),
    Mutant(
        "linear-bias-gradient-averaged",
        "nn/layers.py",
        "self.bias.add_grad(d_y.sum(axis=0))",
        "self.bias.add_grad(d_y.mean(axis=0))",
        "the mean over the tokens, as if the loss had not taken one already",
        gradient=True,
    ),
    Mutant(
        "gradient-assigned",
        "nn/module.py",
        "            self.grad += gradient\n",
        "            self.grad = gradient\n",
        "= for +=: what is used twice, or accumulated over batches, keeps the last gradient only",
        tests=(GRADCHECK, CONTRACT),
    ),
    Mutant(
        "embedding-gradient-assigned",
        "nn/layers.py",
        "        grad = self.weight.grad\n        if grad is None:\n            grad =",
        "        grad =",
        "a fresh array in each backward: the tied decoder's gradient, which came first, is lost",
        gradient=True,
        tests=(CONTRACT,),
    ),
    Mutant(
        "embedding-gradient-overwrites-repeated-ids",
        "nn/layers.py",
        "grad[distinct] += np.add.reduceat(d_rows[order], starts, axis=0)",
        "grad[ids] += d_rows",
        "NumPy's fancy += adds once for each id, however often the id is there",
        gradient=True,
        tests=(CONTRACT,),
    ),
    Mutant(
        "pad-row-gets-a-gradient",
        "nn/layers.py",
        "looked_up = ids != self.padding_idx",
        "looked_up = ids >= 0",
        "padding_idx forgotten: the [PAD] row drifts from 0",
        gradient=True,
        tests=(CONTRACT,),
    ),
    Mutant(
        "pad-row-drawn",
        "nn/layers.py",
        "            self.weight.data[padding_idx] = 0\n",
        "            pass\n",
        "the [PAD] row drawn like the others, and never trained",
        tests=(CONTRACT,),
    ),
    Mutant(
        "dropout-without-rescaling",
        "nn/layers.py",
        "np.array(1 / (1 - self.p) if self.p < 1 else 0, dtype)",
        "np.array(1, dtype)",
        "eval() then sees numbers 1/(1-p) times as large as those it was trained on",
        tests=(CONTRACT,),
    ),
    Mutant(
        "dropout-backward-draws-again",
        "nn/layers.py",
        "        keep = self.recall().keep\n",
        "        self.recall()\n        keep = self.draw(d_output.shape, d_output.real.dtype)\n",
        "the gradient goes through other numbers than the forward did",
        tests=(GRADCHECK, CONTRACT),
    ),
    Mutant(
        "dropout-backward-in-place",
        "nn/layers.py",
        "return d_output if keep is None else d_output * keep",
        "return d_output if keep is None else np.multiply(d_output, keep, out=d_output)",
        "the gradient that the residual connection needs too is overwritten",
        tests=(GRADCHECK,),
    ),
    Mutant(
        "dropout-in-eval",
        "nn/layers.py",
        "if not self.training or self.p == 0:",
        "if self.p == 0:",
        "every answer differs from the last",
        tests=(f"{CONTRACT}::TestSwitches",),
    ),
    Mutant(
        "dropout-keeps-what-it-should-drop",
        "nn/layers.py",
        ">= self.p",
        "< self.p",
        "p taken as the share that is kept",
        tests=(CONTRACT,),
    ),
    Mutant(
        "no-grad-remembers",
        "nn/module.py",
        "        if _remembering.get():\n            self.saved",
        "        if True:\n            self.saved",
        "activations pile up in inference, and threads write into one model",
        tests=(f"{CONTRACT}::TestSwitches",),
    ),
    Mutant(
        "backward-does-not-use-up",
        "nn/module.py",
        "saved, self.saved = self.saved, None",
        "saved = self.saved",
        "a second backward counts the same batch twice, and activations outlive the step",
        tests=(CONTRACT,),
    ),
]

# --- attention --------------------------------------------------------------------------------------------------

ATTENTION = [
    Mutant(
        "heads-split-without-transpose",
        "bert/attention.py",
        "return x.reshape(b, length, self.num_attention_heads, self.attention_head_size).transpose(0, 2, 1, 3)",
        "return x.reshape(b, self.num_attention_heads, length, self.attention_head_size)",
        "[b,l,e] -> [b,h,l,d] by reshape alone: the shape is right, and each head sees parts of other tokens",
        gradient=True,
    ),
    Mutant(
        "heads-joined-without-transpose",
        "bert/attention.py",
        "return x.transpose(0, 2, 1, 3).reshape(b, length, self.all_head_size)",
        "return x.reshape(b, length, self.all_head_size)",
        "[b,h,l,d] -> [b,l,e] by reshape alone: it still trains",
        gradient=True,
    ),
    Mutant(
        "scale-by-root-of-hidden-size",
        "nn/functional.py",
        "attention_scores /= math.sqrt(query.shape[-1])",
        "attention_scores /= math.sqrt(query.shape[-1] * query.shape[1])",
        "1/sqrt(e) for 1/sqrt(d): the softmax of every head is too flat",
        gradient=True,
    ),
    Mutant(
        "scale-forgotten-in-backward",
        "nn/functional.py",
        "    d_scores /= math.sqrt(query.shape[-1])\n",
        "",
        "the queries' and keys' gradients are sqrt(d) times too large, and training still works somewhat",
        gradient=True,
    ),
    Mutant(
        "float64-by-np-sqrt",
        "nn/functional.py",
        "attention_scores /= math.sqrt(query.shape[-1])",
        "attention_scores = attention_scores / np.sqrt(query.shape[-1])",
        "on NumPy 2 float32 / np.sqrt(64) is float64: all that follows takes twice the memory and time",
        tests=(CONTRACT, PARITY),
    ),
    Mutant(
        "mask-ignored",
        "nn/functional.py",
        "        attention_scores += attention_mask\n",
        "        pass\n",
        "an argument that nothing uses: sentences of one length do not show it",
        tests=(MODEL, PARITY),
    ),
    Mutant(
        "mask-added-after-softmax",
        "nn/functional.py",
        "        attention_scores += attention_mask\n    attention_probs = softmax(attention_scores)\n",
        "        pass\n"
        "    attention_probs = softmax(attention_scores) + (0 if attention_mask is None else attention_mask)\n",
        "a mask of scores added to shares, which become huge negative numbers",
        tests=(MODEL, PARITY, CONTRACT),
    ),
    Mutant(
        "mask-multiplied-after-softmax",
        "nn/functional.py",
        "        attention_scores += attention_mask\n    attention_probs = softmax(attention_scores)\n",
        "        pass\n"
        "    keys = True if attention_mask is None else attention_mask == 0\n"
        "    attention_probs = softmax(attention_scores) * keys\n",
        "[PAD] has taken its share of each row before it is masked: what is left does not sum to 1",
        tests=(MODEL, PARITY, CONTRACT),
    ),
    Mutant(
        "mask-inverted",
        "bert/inputs.py",
        "np.where(mask == 0, lowest,",
        "np.where(mask == 1, lowest,",
        "1 taken as 'masked': every token looks at the padding only, and the model still trains",
        tests=(MODEL, PARITY, INFERENCE),
    ),
    Mutant(
        "mask-of-queries",
        "bert/inputs.py",
        "extended[:, None, None, :]",
        "extended[:, None, :, None]",
        "[b,r] spread as [b,1,l,1]: it flattens the padding's own rows and hides nothing from the others",
        tests=(MODEL, PARITY),
    ),
    Mutant(
        "mask-rows-transposed",
        "bert/inputs.py",
        "else extended[:, None, :, :]",
        "else extended.swapaxes(1, 2)[:, None, :, :]",
        "[b,l,r] read as [b,r,l]: a causal mask lets each token see the future only",
        tests=(MODEL, PARITY),
    ),
    Mutant(
        "value-gradient-without-transpose",
        "nn/functional.py",
        "d_value = kept_probs.swapaxes(-1, -2) @ d_context",
        "d_value = kept_probs @ d_context",
        "where l = r the shapes fit without it",
        gradient=True,
    ),
    Mutant(
        "key-gradient-without-transpose",
        "nn/functional.py",
        "d_key = d_scores.swapaxes(-1, -2) @ query",
        "d_key = d_scores @ query",
        "where l = r the shapes fit without it",
        gradient=True,
    ),
    Mutant(
        "key-gradient-from-keys",
        "nn/functional.py",
        "d_key = d_scores.swapaxes(-1, -2) @ query",
        "d_key = d_scores.swapaxes(-1, -2) @ key",
        "the line above copied, one name left unchanged",
        gradient=True,
    ),
    Mutant(
        "query-and-key-gradients-swapped",
        "bert/attention.py",
        "d_query_layer, d_key_layer, d_value_layer = attention_backward(",
        "d_key_layer, d_query_layer, d_value_layer = attention_backward(",
        "two results of one shape in the wrong order",
        gradient=True,
    ),
    Mutant(
        "attention-dropout-not-in-backward",
        "nn/functional.py",
        "        d_probs *= keep\n",
        "        pass\n",
        "the dropped shares get a gradient; models with p = 0, as in most comparisons, do not show it",
        tests=(GRADCHECK,),
    ),
    Mutant(
        "value-gradient-without-dropout",
        "nn/functional.py",
        "    # context = kept_probs @ value\n"
        "    kept_probs = attention_probs if keep is None else attention_probs * keep\n",
        "    # context = kept_probs @ value\n    kept_probs = attention_probs\n",
        "the values' gradient from the shares before dropout",
        tests=(GRADCHECK,),
    ),
    Mutant(
        "value-gradient-not-added",
        "bert/attention.py",
        "d_hidden_states += self.value.backward(",
        "self.value.backward(",
        "hidden_states went into three layers, two give a gradient back; every parameter of this layer is right",
        gradient=True,
    ),
]

# --- BERT -------------------------------------------------------------------------------------------------------

BERT = [
    Mutant(
        "attention-residual-gradient-lost",
        "bert/attention.py",
        "        d_hidden_states += d_residual\n",
        "",
        "the way past the layer forgotten; every parameter of this layer is right, those below it are not",
        gradient=True,
    ),
    Mutant(
        "feed-forward-residual-gradient-lost",
        "bert/layer.py",
        "        d_attention_output += d_residual\n",
        "",
        "the way past the feed-forward network forgotten",
        gradient=True,
    ),
    Mutant(
        "residual-after-layer-norm",
        "bert/attention.py",
        "return self.LayerNorm(hidden_states + input_tensor)",
        "return self.LayerNorm(hidden_states) + input_tensor",
        "the residual connection around the norm instead of inside it",
        gradient=True,
    ),
    Mutant(
        "attention-dropout-at-the-hidden-rate",
        "bert/attention.py",
        "Dropout(config.attention_probs_dropout_prob,",
        "Dropout(config.hidden_dropout_prob,",
        "two rates that are 0.1 in every published configuration",
        tests=(CONTRACT,),
    ),
    Mutant(
        "eps-of-the-configuration-ignored",
        "bert/embeddings.py",
        "LayerNorm(e, eps=config.layer_norm_eps, dtype=dtype)",
        "LayerNorm(e, dtype=dtype)",
        "the layer's default, which is the published value and not everyone's",
        tests=(CONTRACT,),
    ),
    Mutant(
        "every-layer-drawn-alike",
        "bert/layer.py",
        "[BertLayer(config, seed=self.rng, dtype=dtype) for",
        "[BertLayer(config, seed=0, dtype=dtype) for",
        "one seed for each layer instead of one generator for all",
        tests=(CONTRACT,),
    ),
    Mutant(
        "layers-undone-in-forward-order",
        "bert/layer.py",
        "for layer in reversed(list(self.layer)):",
        "for layer in self.layer:",
        "reversed() forgotten: with one layer nobody notices",
        gradient=True,
    ),
    Mutant(
        "token-types-not-handed-on",
        "bert/model.py",
        'token_type_ids=checked_ids("token_type_ids", token_type_ids, shape)',
        "token_type_ids=None",
        "an argument that is checked and dropped: both segments look alike",
        tests=(PARITY,),
    ),
    Mutant(
        "positions-not-handed-on",
        "bert/model.py",
        'position_ids=checked_ids("position_ids", position_ids, shape)',
        "position_ids=None",
        "an argument that is checked and dropped",
        tests=(PARITY,),
    ),
    Mutant(
        "positions-from-1",
        "bert/embeddings.py",
        "position_ids = np.arange(seq_length)[None]",
        "position_ids = np.arange(1, seq_length + 1)[None]",
        "positions counted from 1: every token has its neighbour's position vector",
        tests=(PARITY,),
    ),
    Mutant(
        "inputs-embeds-changed",
        "bert/embeddings.py",
        "        embeddings = inputs_embeds + token_type_embeddings\n",
        "        embeddings = inputs_embeds\n        embeddings += token_type_embeddings\n",
        "the sum made in place, in the caller's own array",
        tests=(MODEL,),
    ),
    Mutant(
        "position-gradient-of-the-first-sequence",
        "bert/embeddings.py",
        "gradient.sum(axis=axes, keepdims=True) if axes",
        "gradient[:1] if axes",
        "broadcasting over b undone by indexing instead of a sum",
        gradient=True,
    ),
    Mutant(
        "pooler-takes-the-last-token",
        "bert/pooler.py",
        "first_token_tensor = hidden_states[:, 0]",
        "first_token_tensor = hidden_states[:, -1]",
        "the habit of recurrent networks; with padding it is not even a word",
        gradient=True,
        tests=(MODEL,),
    ),
    Mutant(
        "pooled-gradient-on-the-last-token",
        "bert/pooler.py",
        "d_hidden_states[:, 0] = d_first_token_tensor",
        "d_hidden_states[:, -1] = d_first_token_tensor",
        "forward and backward disagree about the position",
        gradient=True,
    ),
    Mutant(
        "pooled-gradient-overwritten",
        "bert/model.py",
        "d_sequence_output += d_last_hidden_state",
        "d_sequence_output = d_last_hidden_state",
        "last_hidden_state is an output and the pooler's input: the gradients of both must be added",
        gradient=True,
    ),
    Mutant(
        "next-sentence-gradient-lost",
        "bert/pretraining.py",
        "return self.bert.backward(d_sequence_output, d_pooled_output)",
        "return self.bert.backward(d_sequence_output)",
        "the pooled gradient computed and not handed on: the pooler never learns",
        gradient=True,
    ),
    Mutant(
        "one-factor-for-both-losses",
        "bert/pretraining.py",
        "cross_entropy_backward(d_nsp_loss, ",
        "cross_entropy_backward(d_mlm_loss, ",
        "the pairs of a part of a batch count as much as it has of the words",
        tests=(MODEL,),
    ),
    Mutant(
        "next-sentence-loss-lost",
        "bert/pretraining.py",
        "            loss, nsp_probs = cross_entropy(seq_relationship_score, next_sentence_label)\n"
        "            losses.append(loss)\n",
        "            _, nsp_probs = cross_entropy(seq_relationship_score, next_sentence_label)\n",
        "half of the objective is missing in the loss that is reported, though not in the gradient",
        tests=(PARITY, MODEL),
    ),
    Mutant(
        "next-sentence-ignore-index-0",
        "bert/pretraining.py",
        '        labels = checked_labels("labels", labels, outputs.pooler_output.shape[:1], 2)\n',
        '        labels = checked_labels("labels", labels, outputs.pooler_output.shape[:1], 2)\n'
        "        labels = None if labels is None else np.where(labels == 0, -100, labels)\n",
        "ignore_index=0, meant for [PAD] among the words, used for the two classes: 'next' is never learned",
        tests=(MODEL, PARITY),
    ),
    Mutant(
        "next-sentence-ignore-index-1",
        "bert/pretraining.py",
        '        next_sentence_label = checked_labels("next_sentence_label", next_sentence_label, shape[:1], 2)\n',
        '        next_sentence_label = checked_labels("next_sentence_label", next_sentence_label, shape[:1], 2)\n'
        "        if next_sentence_label is not None:\n"
        "            next_sentence_label = np.where(next_sentence_label == 1, -100, next_sentence_label)\n",
        "'not next' is never learned; forward and backward agree, so no gradient check can see it",
        tests=(PARITY,),
    ),
    Mutant(
        "masked-lm-loss-over-all-positions",
        "bert/heads.py",
        "    loss, probs = cross_entropy(scores, labels.reshape(-1)[labelled])\n",
        "    loss, probs = cross_entropy(scores, labels.reshape(-1)[labelled])\n"
        "    loss = np.asarray(loss * labelled.mean(), scores.dtype)\n",
        "the mean over b*l: the loss falls when fewer words are masked",
        tests=(PARITY, MODEL),
    ),
    Mutant(
        "masked-lm-gradient-in-the-wrong-rows",
        "bert/heads.py",
        "d_sequence_output[labelled] = d_rows",
        "d_sequence_output[: len(d_rows)] = d_rows",
        "the m gradients put back in the first m rows instead of the m that were decoded",
        gradient=True,
    ),
    Mutant(
        "loss-factor-ignored",
        "bert/heads.py",
        "cross_entropy_backward(d_loss, probs, flat[labelled])",
        "cross_entropy_backward(1.0, probs, flat[labelled])",
        "backward(1 / steps) accumulates whole gradients",
        tests=(CONTRACT,),
    ),
    Mutant(
        "tied-weight-not-shared",
        "bert/pretraining.py",
        "return bert.embeddings.word_embeddings.weight if",
        "return Parameter(bert.embeddings.word_embeddings.weight.data.copy()) if",
        "a copy instead of the Parameter: equal at first, then they part",
        tests=(PARITY, CONTRACT),
    ),
    Mutant(
        "tied-gradient-lost",
        "bert/pretraining.py",
        "return bert.embeddings.word_embeddings.weight if",
        "return Parameter(bert.embeddings.word_embeddings.weight.data) if",
        "the array shared and the Parameter not: the decoder's gradient goes where no optimizer looks",
        tests=(PARITY, CONTRACT),
    ),
    Mutant(
        "pooler-keeps-activations",
        "bert/model.py",
        "                self.pooler.forget()\n",
        "                pass\n",
        "a backward that does not pass the pooler leaves its activations for the next one to find",
        tests=(CONTRACT,),
    ),
]

# --- gradient checkpointing -------------------------------------------------------------------------------------

RECOMPUTING = [
    Mutant(
        "dropout-drawn-anew",
        "bert/layer.py",
        "        self.rng.bit_generator.state = state\n",
        "",
        "the layer runs again with other random numbers: every gradient is that of another forward",
        tests=(CHECKPOINTING,),
    ),
    Mutant(
        "generator-left-in-the-past",
        "bert/layer.py",
        "            self.rng.bit_generator.state = now\n",
        "            pass\n",
        "the next step draws the same numbers as this one; this step's gradients are right",
        tests=(CHECKPOINTING,),
    ),
    Mutant(
        "one-generator-state-for-all-layers",
        "bert/layer.py",
        "saved.attention_mask, saved.rng_states.pop())",
        "saved.attention_mask, saved.rng_states[0])",
        "the state at the start of forward: right for the first layer, and for a model of one",
        tests=(CHECKPOINTING,),
    ),
    Mutant(
        "mask-not-kept",
        "bert/layer.py",
        "attention_mask=attention_mask if checkpointing else None",
        "attention_mask=None",
        "the second forward looks at the padding",
        tests=(CHECKPOINTING,),
    ),
    Mutant(
        "layer-outputs-kept-for-inputs",
        "bert/layer.py",
        "            hidden_states = layer_outputs[0]\n",
        "            hidden_states = layer_outputs[0]\n"
        "            layer_inputs[-1:] = [hidden_states] if checkpointing else []\n",
        "the variable read one line too late: each layer runs again on its own output",
        tests=(CHECKPOINTING,),
    ),
    Mutant(
        "activations-kept-all-the-same",
        "bert/layer.py",
        "with no_grad() if checkpointing else contextlib.nullcontext():",
        "with contextlib.nullcontext():",
        "everything is right, and nothing is saved: only a look at the memory can tell",
        tests=(CHECKPOINTING,),
    ),
    Mutant(
        "checkpointing-in-eval",
        "bert/layer.py",
        "self.gradient_checkpointing and self.training and remembering()",
        "self.gradient_checkpointing and remembering()",
        "time spent for a model that is only looked at, and whose arrays are then not there to see",
        tests=(CHECKPOINTING,),
    ),
]

# --- checkpoints ------------------------------------------------------------------------------------------------

CHECKPOINTS = [
    Mutant(
        "gamma-and-beta-swapped",
        "checkpoint/names.py",
        '((".gamma", ".weight"), (".beta", ".bias"))',
        '((".gamma", ".bias"), (".beta", ".weight"))',
        "two vectors of one shape: a LayerNorm that multiplies by its bias loads without a word",
        tests=(f"{CHECKPOINT}::TestNames",),
    ),
    Mutant(
        "prefix-not-added",
        "checkpoint/names.py",
        '(name, f"{prefix}.{name}", name.removeprefix(f"{prefix}."))',
        '(name, name.removeprefix(f"{prefix}."))',
        "a bare encoder does not fit into a model with heads",
        tests=(f"{CHECKPOINT}::TestNames",),
    ),
    Mutant(
        "prefix-not-removed",
        "checkpoint/names.py",
        '(name, f"{prefix}.{name}", name.removeprefix(f"{prefix}."))',
        '(name, f"{prefix}.{name}")',
        "an encoder is not found inside a model with heads",
        tests=(f"{CHECKPOINT}::TestNames",),
    ),
    Mutant(
        "bfloat16-shifted-by-8",
        "checkpoint/load.py",
        "bits <<= 16",
        "bits <<= 8",
        "bfloat16 is the upper half of a float32, not its upper quarter",
        tests=(f"{CHECKPOINT}::TestReading",),
    ),
    Mutant(
        "bfloat16-read-as-float16",
        "checkpoint/load.py",
        '"BF16": "<u2"}',
        '"BF16": "<f2"}',
        "16 bits are not 16 bits: exponent and fraction have other lengths",
        tests=(f"{CHECKPOINT}::TestReading",),
    ),
    Mutant(
        "loaded-in-columns",
        "checkpoint/load.py",
        ").reshape(tensor.shape)",
        ").reshape(tensor.shape[::-1]).T",
        "[out,in] read as the transpose of [in,out]: the shapes fit, the numbers do not",
        tests=(f"{CHECKPOINT}::TestReading",),
    ),
    Mutant(
        "saved-transposed",
        "checkpoint/save.py",
        "np.ascontiguousarray(data, dtype)",
        "np.ascontiguousarray(data.T, dtype)",
        "TensorFlow's [in,out] in a file that is read as [out,in]",
        tests=(f"{CHECKPOINT}::TestReading",),
    ),
    Mutant(
        "loaded-model-in-training",
        "bert/model.py",
        "        return model.eval()\n",
        "        return model\n",
        "dropout in every answer of a model that was only to be used",
        tests=(f"{CHECKPOINT}::TestReading",),
    ),
    Mutant(
        "tied-decoder-saved-twice",
        "checkpoint/save.py",
        "model.named_parameters() if tied else model.all_named_parameters()",
        "model.all_named_parameters()",
        "the decoder beside the word embeddings, which readers report as unexpected",
        tests=(f"{CHECKPOINT}::TestSaving",),
    ),
]

# --- learning ---------------------------------------------------------------------------------------------------

OPTIMIZING = [
    Mutant(
        "decay-coupled",
        "pretrain/optimizer.py",
        "        beta1, beta2 = betas\n",
        "        beta1, beta2 = betas\n"
        "        gradient, weight_decay = gradient + weight_decay * parameter.data, 0.0\n",
        "L2 in the gradient, as Adam had it: weights with large gradients hardly decay",
        tests=(OPTIMIZER, TRAINING),
    ),
    Mutant(
        "decay-without-learning-rate",
        "pretrain/optimizer.py",
        "p *= 1 - lr * weight_decay",
        "p *= 1 - weight_decay",
        "the paper's decay, where torch.optim.AdamW multiplies it by the learning rate",
        tests=(OPTIMIZER, TRAINING),
    ),
    Mutant(
        "first-moment-not-corrected",
        "pretrain/optimizer.py",
        "correction1 = 1 - beta1**moments.step if bias_correction else 1.0",
        "correction1 = 1.0",
        "the first steps are ten times too short",
        tests=(OPTIMIZER,),
    ),
    Mutant(
        "second-moment-not-corrected",
        "pretrain/optimizer.py",
        "correction2 = math.sqrt(1 - beta2**moments.step) if bias_correction else 1.0",
        "correction2 = 1.0",
        "the first steps are thirty times too long",
        tests=(OPTIMIZER, TRAINING),
    ),
    Mutant(
        "second-moment-corrected-all-the-same",
        "pretrain/optimizer.py",
        "math.sqrt(1 - beta2**moments.step) if bias_correction else 1.0",
        "math.sqrt(1 - beta2**moments.step)",
        "bias_correction=False heard by one of the two means: the first steps are thirty times too short",
        tests=(OPTIMIZER, TRAINING),
    ),
    Mutant(
        "eps-not-corrected",
        "pretrain/optimizer.py",
        "eps * correction2\n",
        "eps\n",
        "the corrections taken out of the arrays, and out of eps not",
        tests=(OPTIMIZER,),
    ),
    Mutant(
        "biases-decay",
        "pretrain/optimizer.py",
        "if parameter.data.ndim > 1 else rest",
        "if parameter.data.ndim > 0 else rest",
        "biases and LayerNorm weights drawn to 0, where 1 is neutral",
        tests=(OPTIMIZER, TRAINING),
    ),
    Mutant(
        "warmup-from-0",
        "pretrain/optimizer.py",
        "return (step + 1) / warmup",
        "return step / warmup",
        "the first batch is computed and not learned from",
        tests=(OPTIMIZER, TRAINING),
    ),
    Mutant(
        "clipped-one-by-one",
        "pretrain/optimizer.py",
        "            gradient *= max_norm / norm\n",
        "            gradient *= max_norm / max(max_norm, float(np.linalg.norm(gradient)))\n",
        "each gradient to the norm by itself: their direction together changes",
        tests=(OPTIMIZER, TRAINING),
    ),
]

PRETRAINING = [
    Mutant(
        "always-mask",
        "pretrain/batches.py",
        "REPLACED_BY_MASK = 0.8",
        "REPLACED_BY_MASK = 1.0",
        "no word stays or is random, so that the model learns nothing about words it can see",
        tests=(BATCHES,),
    ),
    Mutant(
        "no-word-stays",
        "pretrain/batches.py",
        "REPLACED_BY_RANDOM_WORD = 0.1",
        "REPLACED_BY_RANDOM_WORD = 0.2",
        "80/20/0 for 80/10/10: what is not [MASK] is then always wrong",
        tests=(BATCHES,),
    ),
    Mutant(
        "every-tenth-word-masked",
        "pretrain/settings.py",
        "MASKED = 0.15",
        "MASKED = 0.10",
        "fewer words are predicted than published",
        tests=(BATCHES,),
    ),
    Mutant(
        "special-tokens-masked",
        "pretrain/batches.py",
        "ordinary = input_ids >= FIRST_WORD",
        "ordinary = input_ids >= 0",
        "[CLS], [SEP] and [PAD] among the words to predict: the easiest of all",
        tests=(BATCHES,),
    ),
    Mutant(
        "random-word-may-be-special",
        "pretrain/batches.py",
        "rng.integers(FIRST_WORD, vocab_size,",
        "rng.integers(0, vocab_size,",
        "a random [SEP] or [PAD] in the middle of a sentence",
        tests=(BATCHES,),
    ),
    Mutant(
        "labels-everywhere",
        "pretrain/batches.py",
        "labels = np.where(chosen, input_ids, IGNORE)",
        "labels = np.where(ordinary, input_ids, IGNORE)",
        "every word to predict, most of them in plain sight: the loss falls at once",
        tests=(BATCHES,),
    ),
    Mutant(
        "labels-of-the-masked-ids",
        "pretrain/batches.py",
        "    return masked, labels\n",
        "    return masked, np.where(chosen, masked, IGNORE)\n",
        "the labels taken after masking: the answer is always [MASK]",
        tests=(BATCHES,),
    ),
    Mutant(
        "token-type-of-the-first-separator",
        "pretrain/batches.py",
        "token_type_ids = ((first_sep < place)",
        "token_type_ids = ((first_sep <= place)",
        "the [SEP] between A and B counted with B",
        tests=(BATCHES,),
    ),
    Mutant(
        "last-separator-not-attended",
        "pretrain/batches.py",
        "(place <= last_sep).astype(np.int64)\n",
        "(place < last_sep).astype(np.int64)\n",
        "a mask one token too short",
        tests=(BATCHES,),
    ),
    Mutant(
        "random-next-from-the-same-document",
        "pretrain/pairs.py",
        "other = (document + int(rng.integers(1, len(documents)))) % len(documents)",
        "other = int(rng.integers(0, len(documents)))",
        "some of the sentences labelled 'not next' are",
        tests=(PAIRS,),
    ),
    Mutant(
        "next-sentence-labels-swapped",
        "pretrain/pairs.py",
        "IS_NEXT, NOT_NEXT = 0, 1",
        "IS_NEXT, NOT_NEXT = 1, 0",
        "1 for 'next', as one would think; published models have 0",
        tests=(PAIRS,),
    ),
    Mutant(
        "too-long-pairs-lose-b-only",
        "pretrain/pairs.py",
        "kept_b = min(length_b, max(most // 2, most - length_a))",
        "kept_b = max(0, most - length_a)",
        "truncated at the end: B disappears behind a long A",
        tests=(PAIRS,),
    ),
    Mutant(
        "whole-word-without-its-last-piece",
        "pretrain/batches.py",
        "chosen[row, start:stop] = True",
        "chosen[row, start : stop - 1] = True",
        "the end of the word left in sight, which gives the rest away",
        tests=(BATCHES,),
    ),
    Mutant(
        "whole-words-beyond-the-room",
        "pretrain/batches.py",
        "if stop - start <= room:",
        "if room > 0:",
        "the last word drawn whole although it does not fit: more is masked than wanted",
        tests=(BATCHES,),
    ),
    Mutant(
        "first-words-masked-first",
        "pretrain/batches.py",
        "starts[lottery[row, starts].argsort()].tolist()",
        "starts.tolist()",
        "whole words taken from the left, not drawn: the same words in every epoch",
        tests=(BATCHES,),
    ),
    Mutant(
        "special-token-where-no-word-is",
        "pretrain/batches.py",
        "chosen[row, first] = ordinary[row, first]",
        "chosen[row, first] = True",
        "[CLS] to be predicted in a row of nothing but [UNK]",
        tests=(BATCHES,),
    ),
    Mutant(
        "parts-in-runs-overlap",
        "pretrain/batches.py",
        "array[index::count]",
        "array[index : index + len(array) // count]",
        "the parts of a batch cut wrongly: some pairs come twice, some never",
        tests=(BATCHES,),
    ),
    Mutant(
        "resumed-at-the-start-of-the-part",
        "pretrain/pairs.py",
        "position.pair += len(more)",
        "position.pair = len(more)",
        "the position counts the latest pairs only",
        tests=(PAIRS,),
    ),
    Mutant(
        "every-epoch-the-same",
        "pretrain/pairs.py",
        "rng = generator(*self.key, epoch, 1 + index)",
        "rng = generator(*self.key, 0, 1 + index)",
        "the same splits, random sentences and truncations again in each epoch",
        tests=(PAIRS,),
    ),
    Mutant(
        "one-document-left-out",
        "pretrain/pairs.py",
        "np.split(order, np.flatnonzero",
        "np.split(order[1:], np.flatnonzero",
        "each epoch misses a document, another one each time",
        tests=(PAIRS,),
    ),
    Mutant(
        "held-out-documents-in-the-vocabulary",
        "pretrain/prepare.py",
        "elif learned % every == 0 and document not in self.held_out:",
        "elif learned % every == 0:",
        "the vocabulary learned from the text that is to be new to the model",
        tests=(PREPARE,),
    ),
    Mutant(
        "data-written-in-place",
        "pretrain/prepare.py",
        'unfinished = folder.with_name(f".{folder.name}.unfinished")',
        "unfinished = folder",
        "a process that is killed leaves a data folder that looks whole",
        tests=(PREPARE,),
    ),
    Mutant(
        "place-of-a-bad-byte-within-its-chunk",
        "pretrain/corpus.py",
        "size - undecoded + error.start",
        "size + error.start",
        "wrong by the bytes of a character that lies across two chunks",
        tests=(TEXT,),
    ),
    Mutant(
        "part-of-a-line-taken-for-a-blank-line",
        "pretrain/corpus.py",
        "yield from lines[:1] if lines[0].strip() else []",
        "yield lines[0]",
        "what is left of a long line after its parts is empty, and ends a document in the middle of a paragraph",
        tests=(TEXT,),
    ),
    Mutant(
        "pairs-across-pieces-not-counted",
        "pretrain/baselines.py",
        "ids[start : start + _TOKENS_AT_A_TIME + 1]",
        "ids[start : start + _TOKENS_AT_A_TIME]",
        "counting in pieces loses a pair at each border",
        tests=(BASELINES,),
    ),
    Mutant(
        "unseen-followers-impossible",
        "pretrain/baselines.py",
        "probabilities * (last - first) if last > first",
        "probabilities * 1e-9 if last > first",
        "no weight for words that never followed: an infinite loss, or nearly",
        tests=(BASELINES,),
    ),
]

RUNS = [
    Mutant(
        "generator-not-resumed",
        "pretrain/trainer.py",
        "            self.model.rng.bit_generator.state = self.state.generators[rank]\n",
        "            pass\n",
        "a resumed run draws other dropout than it would have",
        tests=(f"{RESUME}::test_an_interrupt_ends_after_the_step_and_resume_goes_on[2]",),
    ),
    Mutant(
        "moments-not-resumed",
        "pretrain/snapshot.py",
        "            optimizer.moments[parameter] = moments\n",
        "",
        "AdamW starts anew with means of 0; the loss jumps and few see it",
        tests=(f"{RESUME}::test_an_interrupt_ends_after_the_step_and_resume_goes_on[2]",),
    ),
    Mutant(
        "moments-of-step-1",
        "pretrain/snapshot.py",
        "Moments(state.step, ",
        "Moments(1, ",
        "the means are there, and are corrected as if they had just begun",
        tests=(f"{RESUME}::test_an_interrupt_ends_after_the_step_and_resume_goes_on[2]",),
    ),
    Mutant(
        "text-from-the-start",
        "pretrain/trainer.py",
        "(settings.seed, Purpose.PAIRS), state.position)",
        "(settings.seed, Purpose.PAIRS))",
        "a resumed run goes through the text from its beginning again",
        tests=(f"{RESUME}::test_an_interrupt_ends_after_the_step_and_resume_goes_on[2]",),
    ),
    Mutant(
        "checkpoint-in-place",
        "pretrain/runs.py",
        '        beside = self.checkpoints / f".{final.name}.unfinished"\n',
        "        beside = final\n",
        "a checkpoint is written where it is looked for, so that half of one is taken for one",
        tests=(f"{RESUME}::test_killed_at_each_delicate_moment[numbert.pretrain.snapshot.save_file]",),
    ),
    Mutant(
        "metrics-twice",
        "pretrain/runs.py",
        'if line["step"] <= step]',
        "if True]",
        "a resumed run writes some lines of metrics a second time",
        tests=(f"{RESUME}::test_killed_at_each_delicate_moment[numbert.pretrain.snapshot.save_file]",),
    ),
    Mutant(
        "best-not-kept",
        "pretrain/runs.py",
        "            if step != best:\n",
        "            if True:\n",
        "the best checkpoint goes as soon as it is not among the last",
        tests=(f"{RESUME}::test_the_latest_checkpoints_and_the_best_are_kept",),
    ),
    Mutant(
        "parts-weigh-alike",
        "pretrain/trainer.py",
        "words, pairs = part.words / max(1, batch.words), part.pairs / batch.pairs",
        "words = pairs = 1 / self.settings.accumulate",
        "accumulated as most do: the mean of the parts' means, though one has more masked words than another",
        tests=(f"{TRAINER}::TestTheSameUpdateInOtherWays",),
    ),
    Mutant(
        "nsp-weighs-as-words",
        "bert/pretraining.py",
        "cross_entropy_backward(d_nsp_loss, saved.nsp_probs",
        "cross_entropy_backward(d_mlm_loss, saved.nsp_probs",
        "the pairs of a part count by its share of words",
        tests=(f"{TRAINER}::TestTheSameUpdateInOtherWays",),
    ),
    Mutant(
        "evaluation-leaves-eval",
        "pretrain/evaluation.py",
        "    model.train(training)\n",
        "",
        "after the first evaluation there is no dropout any more",
        tests=(f"{TRAINER}::test_the_held_out_scores_are_means_over_words_and_pairs",),
    ),
    Mutant(
        "nan-is-saved",
        "pretrain/trainer.py",
        "        if not math.isfinite(scores.loss) or not math.isfinite(norm):\n",
        "        if False:\n",
        "NaN spreads over the weights, and the checkpoints of better days are removed one by one",
        tests=(f"{TRAINER}::test_a_loss_that_is_not_finite_stops_and_names_what_went_first",),
    ),
    Mutant(
        "first-gradient-in-forward-order",
        "pretrain/trainer.py",
        "    for name, parameter in reversed(parameters):\n",
        "    for name, parameter in parameters:\n",
        "backward spreads NaN towards the embeddings, which are then blamed",
        tests=(f"{TRAINER}::test_the_parameter_that_went_first_is_named",),
    ),
    Mutant(
        "other-text-not-noticed",
        "pretrain/runs.py",
        "            if file.sha256 not in stored_files:\n",
        "            if file.path not in stored_files.values():\n",
        "a text that was edited is taken for the run's",
        tests=(f"{RESUME}::test_a_changed_text_is_told_from_another",),
    ),
]

MUTANTS = FUNCTIONS + LAYERS + ATTENTION + BERT + RECOMPUTING + CHECKPOINTS + OPTIMIZING + PRETRAINING + RUNS

# --- the machinery ----------------------------------------------------------------------------------------------

# What shows that the mutant is no program, rather than a wrong one.
BROKEN = (
    "SyntaxError",
    "IndentationError",
    "ImportError",
    "ModuleNotFoundError",
    "NameError",
    "UnboundLocalError",
)


@dataclass(frozen=True)
class Catch:
    """The first test of one target that failed; test is "" where none did.

    Attributes:
        target: what was run, as in Mutant.tests.
        test: the name of the test within tests/.
        error: the exception's class.
        broken: why this does not count, or "".
    """

    target: str
    test: str = ""
    error: str = ""
    message: str = ""
    broken: str = ""

    def __str__(self) -> str:
        said = next(iter(self.message.strip().splitlines()), "")
        return f"{self.test}: {said[:80]}{'...' * (len(said) > 80)}"


def copy_package(folder: Path) -> Path:
    """Copies what a test run needs, compiled, so that each mutant compiles one file only."""
    ignored = shutil.ignore_patterns("__pycache__")
    for part in ("numbert", "tests"):
        shutil.copytree(ROOT / part, folder / part, ignore=ignored)
    shutil.copy2(ROOT / "pyproject.toml", folder)
    compileall.compile_dir(folder / "numbert", quiet=2)
    return folder


def plant(mutant: Mutant, original: Path, folder: Path) -> Path:
    """A copy of the copied package with the bug in it."""
    shutil.copytree(original, folder, ignore=shutil.ignore_patterns("temporary"))  # where its own tests may run
    path = folder / "numbert" / mutant.file
    path.write_text(mutant.applied_to(path.read_text(encoding="utf-8")), encoding="utf-8")
    Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)
    return folder


def run_tests(folder: Path, targets: tuple[str, ...], file: str = "__init__.py") -> list[Catch]:
    """Runs each target on the package in a folder, up to its first failure, in one new process.

    Args:
        file: in numbert/; it is imported first, and must come from the folder.

    Raises:
        RuntimeError: the process failed by itself, as when the package cannot be imported, or took too long.
    """
    # Nothing may be told in full: with CI set, pytest writes the whole diff of two files.
    left_out = ("PYTEST_ADDOPTS", "NUMBERT_NO_SKIPS", "CI", "BUILD_NUMBER")
    environment = {k: v for k, v in os.environ.items() if k not in left_out}
    environment |= {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # hypothesis' own takes a second, and the tests need none
    command = [sys.executable, str(folder / "tests" / Path(__file__).name), file, *targets]
    try:
        run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"the tests took more than {TIMEOUT} seconds") from None
    if run.returncode:
        raise RuntimeError(f"the tests did not run:\n{run.stdout[-2000:]}{run.stderr[-2000:]}")
    return [Catch(**catch) for catch in json.loads(run.stdout.splitlines()[-1])]


class FirstFailure:
    """A pytest plugin that keeps what the first failing test was."""

    def __init__(self, target: str) -> None:
        self.catch = Catch(target)

    def pytest_exception_interact(self, node, call, report) -> None:  # type: ignore[no-untyped-def]
        if self.catch.test:
            return
        error = call.excinfo.type.__name__
        broken = ""
        if call.when == "collect":
            broken = "it could not be collected"
        elif error in BROKEN:
            broken = f"the mutant is broken: {error}"
        test = node.nodeid.removeprefix("tests/")
        message = str(call.excinfo.value).replace(f"{Path.cwd()}{os.sep}", "")
        self.catch = Catch(self.catch.target, test, error, message[:400], broken)


def main(file: str, *targets: str) -> None:
    """In the new process: imports numbert's file, runs the targets, and prints the catches as JSON."""
    import pytest

    parts = Path("numbert", file).with_suffix("").parts
    module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
    wanted = Path.cwd() / "numbert" / file
    if Path(str(module.__file__)).resolve() != wanted.resolve():
        raise SystemExit(f"{module.__name__} is {module.__file__}, not {wanted}")
    if any("hypothesis" in Path("tests", target.partition("::")[0]).read_text("utf-8") for target in targets):
        from hypothesis import Phase, settings

        # The same examples each time, so that no mutant escapes by chance; what fails need not be made small.
        settings.register_profile("mutants", derandomize=True, phases=[Phase.explicit, Phase.generate])
        settings.load_profile("mutants")
    catches = []
    for target in targets:
        first = FirstFailure(target)
        options = ["-x", "-q", "-p", "no:cacheprovider", "--tb=short", "--basetemp=temporary"]
        code = pytest.main([*options, f"tests/{target}"], [first])
        if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) and not first.catch.broken:
            raise SystemExit(f"pytest {target} ended with {code!r}")
        catches.append(vars(first.catch))
    print()
    print(json.dumps(catches))


if __name__ == "__main__":
    main(*sys.argv[1:])
