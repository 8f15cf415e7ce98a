"""Bugs planted in bert: attention, layers, heads, models."""

from mutants.machinery import GRADCHECK, PARITY, Mutant

ACCESS = "bert/test_access.py"
CONTRACT = "nn/test_layer_contract.py"
MODEL = "bert/test_model.py"
CHECKPOINTING = "bert/test_gradient_checkpointing.py"
HEADS = "bert/test_heads.py"
INFERENCE = "inference/test_inference.py"
MODEL_FOLDERS = "files/test_model_folders.py"
OWNERSHIP = "nn/test_ownership.py"
PRETRAIN = "pretrain/test_pretrain.py"

MUTANTS = [
    Mutant(
        "mask-added-after-softmax",
        "bert/attention.py",
        (
            "            attention_scores = self.mask(attention_scores, attention_mask)\n"
            "        attention_probs = self.probs(attention_scores)\n"
        ),
        (
            "            self.mask(attention_scores, attention_mask)\n"
            "        added = 0 if attention_mask is None else attention_mask\n"
            "        attention_probs = self.probs(attention_scores) + added\n"
        ),
        "a mask of scores added to shares, which become huge negative numbers",
        tests=(MODEL, PARITY, CONTRACT),
    ),
    Mutant(
        "mask-multiplied-after-softmax",
        "bert/attention.py",
        (
            "            attention_scores = self.mask(attention_scores, attention_mask)\n"
            "        attention_probs = self.probs(attention_scores)\n"
        ),
        (
            "            self.mask(attention_scores, attention_mask)\n"
            "        keys = True if attention_mask is None else attention_mask == 0\n"
            "        attention_probs = self.probs(attention_scores) * keys\n"
        ),
        "[PAD] has taken its share of each row before it is masked: what is left does not sum to 1",
        tests=(MODEL, PARITY, CONTRACT),
    ),
    Mutant(
        "attention-dropout-not-in-backward",
        "bert/attention.py",
        "        d_attention_probs = self.dropout.backward(d_attention_probs)\n",
        "        self.dropout.backward(d_attention_probs)\n",
        "the dropped shares get a gradient; models with p = 0, as in most comparisons, do not show it",
        tests=(GRADCHECK,),
    ),
    Mutant(
        "value-gradient-without-dropout",
        "bert/attention.py",
        "self.context(self.dropout(attention_probs), value_layer)  # [b,h,l,d]\n",
        (
            "self.context(self.dropout(attention_probs), value_layer)  # [b,h,l,d]\n"
            "        if self.context.saved:\n"
            "            self.context.saved.attention_probs = attention_probs\n"
        ),
        "the values' gradient from the shares before dropout",
        tests=(GRADCHECK,),
    ),
    Mutant(
        "mask-inverted",
        "bert/inputs.py",
        "np.where(looked_at, lowest.dtype.type(0), lowest)",
        "np.where(looked_at, lowest, lowest.dtype.type(0))",
        "1 taken as 'masked': every token looks at the padding only, and the model still trains",
        tests=(MODEL, PARITY, INFERENCE),
    ),
    Mutant(
        "mask-of-queries",
        "bert/inputs.py",
        "looked_at = mask[:, None, None, :] != 0",
        "looked_at = mask[:, None, :, None] != 0",
        "[b,r] spread as [b,1,l,1]: it flattens the padding's own rows and hides nothing from the others",
        tests=(MODEL, PARITY),
    ),
    Mutant(
        "mask-rows-transposed",
        "bert/inputs.py",
        "looked_at = mask[:, None] != 0",
        "looked_at = mask.swapaxes(1, 2)[:, None] != 0",
        "[b,l,r] read as [b,r,l]: a causal mask lets each token see the future only",
        tests=(MODEL, PARITY),
    ),
    Mutant(
        "query-and-key-gradients-swapped",
        "bert/attention.py",
        "d_query_layer, d_key_layer = self.scores.backward(",
        "d_key_layer, d_query_layer = self.scores.backward(",
        "two results of one shape in the wrong order",
        gradient=True,
    ),
    Mutant(
        "value-gradient-not-added",
        "bert/attention.py",
        "d_hidden_states += self.value.backward(",
        "self.value.backward(",
        "hidden_states went into three layers, two give a gradient back; every parameter of this layer is right",
        gradient=True,
    ),
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
        "bert/residual.py",
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
        "bert/encoder.py",
        "[BertLayer(config, seed=self.rng, dtype=dtype) for",
        "[BertLayer(config, seed=0, dtype=dtype) for",
        "one seed for each layer instead of one generator for all",
        tests=(CONTRACT,),
    ),
    Mutant(
        "layers-undone-in-forward-order",
        "bert/encoder.py",
        "for number in reversed(range(len(self.layer))):",
        "for number in range(len(self.layer)):",
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
        "position_ids = np.arange(past_key_values_length, end)[None]",
        "position_ids = np.arange(past_key_values_length + 1, end + 1)[None]",
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
        "self.position_embeddings.backward(summed_to(d_embeddings, saved.position_shape))",
        "self.position_embeddings.backward(d_embeddings[:1])",
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
        "bert/tasks/pretraining.py",
        "return self.bert.backward(d_sequence_output, d_pooled_output)",
        "return self.bert.backward(d_sequence_output)",
        "the pooled gradient computed and not handed on: the pooler never learns",
        gradient=True,
    ),
    Mutant(
        "one-factor-for-both-losses",
        "bert/heads.py",
        "self.loss_fct.backward(d_nsp_loss)",
        "self.loss_fct.backward(d_nsp_loss if d_mlm_loss is None else d_mlm_loss)",
        "the pairs of a part of a batch count as much as it has of the words",
        tests=(MODEL,),
    ),
    Mutant(
        "next-sentence-loss-lost",
        "bert/heads.py",
        "        return masked_lm, HeadLoss(loss, seq_relationship_score, probs)",
        "        alone = masked_lm.loss is None\n"
        "        return masked_lm, HeadLoss(loss if alone else None, seq_relationship_score, probs)",
        "half of the objective is missing in the loss that is reported, though not in the gradient",
        tests=(PARITY, MODEL),
    ),
    Mutant(
        "next-sentence-ignore-index-0",
        "bert/tasks/pretraining.py",
        '        labels = checked_labels("labels", labels, outputs.pooler_output.shape[:1], 2)\n',
        '        labels = checked_labels("labels", labels, outputs.pooler_output.shape[:1], 2)\n'
        "        labels = None if labels is None else np.where(labels == 0, -100, labels)\n",
        "ignore_index=0, meant for [PAD] among the words, used for the two classes: 'next' is never learned",
        tests=(MODEL, PARITY),
    ),
    Mutant(
        "next-sentence-ignore-index-1",
        "bert/tasks/pretraining.py",
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
        "        loss, probs = self.loss_fct(scores, labels.reshape(-1)[labelled])\n",
        (
            "        loss, probs = self.loss_fct(scores, labels.reshape(-1)[labelled])\n"
            "        loss = np.asarray(loss * labelled.mean(), scores.dtype)\n"
        ),
        "the mean over b*l: the loss falls when fewer words are masked",
        tests=(PARITY, MODEL),
    ),
    Mutant(
        "masked-lm-gradient-in-the-wrong-rows",
        "bert/heads.py",
        "d_sequence_output[labels != IGNORE] = d_rows",
        "d_sequence_output.reshape(-1, d_rows.shape[-1])[: len(d_rows)] = d_rows",
        "the m gradients put back in the first m rows instead of the m that were decoded",
        gradient=True,
    ),
    Mutant(
        "loss-factor-ignored",
        "bert/heads.py",
        "d_rows = self.backward(self.loss_fct.backward(d_loss))",
        "d_rows = self.backward(self.loss_fct.backward(1.0))",
        "backward(1 / steps) accumulates whole gradients",
        tests=(CONTRACT,),
    ),
    Mutant(
        "tied-weight-not-shared",
        "bert/tasks/pretraining.py",
        "return bert.embeddings.word_embeddings.weight if",
        "return Parameter(bert.embeddings.word_embeddings.weight.data.copy()) if",
        "a copy instead of the Parameter: equal at first, then they part",
        tests=(PARITY, CONTRACT),
    ),
    Mutant(
        "tied-gradient-lost",
        "bert/tasks/pretraining.py",
        "return bert.embeddings.word_embeddings.weight if",
        "return Parameter(bert.embeddings.word_embeddings.weight.data) if",
        "the array shared and the Parameter not: the decoder's gradient goes where no optimizer looks",
        tests=(PARITY, CONTRACT),
    ),
    Mutant(
        "pooler-keeps-activations",
        "bert/model.py",
        "                self.pooler.use_up()\n",
        "                pass\n",
        "a backward that does not pass the pooler leaves its activations for the next one to find",
        tests=(CONTRACT,),
    ),
    Mutant(
        "one-generator-state-for-all-layers",
        "bert/encoder.py",
        "                reruns.append(rerun)\n",
        ("                reruns.append(rerun)\n                rerun.state = reruns[0].state\n"),
        "the state at the start of forward: right for the first layer, and for a model of one",
        tests=(CHECKPOINTING,),
    ),
    Mutant(
        "mask-not-kept",
        "bert/encoder.py",
        "                reruns.append(rerun)\n",
        ("                reruns.append(rerun)\n                rerun.inputs = (rerun.inputs[0], None, False)\n"),
        "the second forward looks at the padding",
        tests=(CHECKPOINTING,),
    ),
    Mutant(
        "checkpointing-in-eval",
        "bert/encoder.py",
        "self.gradient_checkpointing and self.training and remembering()",
        "self.gradient_checkpointing and remembering()",
        "time spent for a model that is only looked at, and whose arrays are then not there to see",
        tests=(CHECKPOINTING,),
    ),
    Mutant(
        "loaded-model-in-training",
        "bert/pretrained.py",
        "        return model.eval()\n",
        "        return model\n",
        "dropout in every answer of a model that was only to be used",
        tests=(f"{MODEL_FOLDERS}::TestReading",),
    ),
    Mutant(
        "nsp-weighs-as-words",
        "bert/tasks/pretraining.py",
        "None if saved.next_sentence_label is None else d_nsp_loss,",
        "None if saved.next_sentence_label is None else d_mlm_loss,",
        "the pairs of a part count by its share of words",
        tests=(f"{PRETRAIN}::TestTheSameUpdateInOtherWays",),
    ),
    Mutant(
        "residual-added-into-the-callers-array",
        "bert/attention.py",
        "        d_hidden_states += d_residual\n        return given(d_hidden_states, *others)\n",
        "        d_residual += d_hidden_states\n        return given(d_residual, *others)\n",
        "a residual that a layer passed through is the caller's own gradient: it is doubled",
        tests=(OWNERSHIP,),
    ),
    Mutant(
        "encoder-without-layers-returns-its-argument",
        "bert/encoder.py",
        "d_hidden_states = d_last_hidden_state.copy()",
        "pass",
        "with n = 0 nothing is between the caller's array and what it gets back",
        tests=(OWNERSHIP,),
    ),
    Mutant(
        "a-number-for-the-pooler",
        "bert/model.py",
        "if not isinstance(add_pooling_layer, bool | np.bool_):",
        "if False:",
        "BertModel(config, 3) takes the seed for the pooler, and is a model with the seed 0",
        tests=(MODEL,),
    ),
    Mutant(
        "init-weights-forgets-pad",
        "bert/vocabulary.py",
        "weight.data[module.padding_idx] = 0",
        "pass",
        "drawn like every other row, the row of [PAD] is no longer 0",
        tests=(ACCESS,),
    ),
    Mutant(
        "init-weights-of-a-layer-norm-drawn",
        "bert/vocabulary.py",
        "module.weight.data = np.ones_like(module.weight.data)",
        "module.weight.data = np.zeros_like(module.weight.data)",
        "a LayerNorm whose weight is 0 gives its bias, whatever comes in",
        tests=(ACCESS,),
    ),
    Mutant(
        "new-rows-are-zeros",
        "bert/vocabulary.py",
        "        self._init_weights(new)\n",
        "        new.weight.data[:] = 0\n",
        "new tokens that are all the same vector get the same gradient from the decoder, and look like [PAD]",
        tests=(ACCESS,),
    ),
    Mutant(
        "every-row-drawn-anew",
        "bert/vocabulary.py",
        "new = Embedding(max(0, size - len(table)),",
        "table = table[:0]\n            new = Embedding(size,",
        "a table of the new size in the place of the old one: what the model had learned of words is gone",
        tests=(ACCESS,),
    ),
    Mutant(
        "bias-does-not-follow",
        "bert/vocabulary.py",
        "(bias := decoder.bias) is not None and len(bias.data) != size",
        "(bias := decoder.bias) is not None and len(bias.data) > size",
        "the table has grown, and the decoder's bias is still as long as the old vocabulary",
        tests=(ACCESS,),
    ),
    Mutant(
        "untied-decoder-not-resized",
        "bert/vocabulary.py",
        "            weights.append(decoder.weight)\n",
        "            weights[:] = [embeddings.weight]\n",
        "a decoder with a table of its own keeps the old number of rows",
        tests=(ACCESS,),
    ),
    Mutant(
        "resizing-unties",
        "bert/vocabulary.py",
        "            weight.data = data\n",
        "            embeddings.weight = Parameter(data)\n",
        "a new Parameter for the table: the decoder keeps the old one, and so does the optimizer",
        tests=(ACCESS,),
    ),
    Mutant(
        "replaced-table-not-tied",
        "bert/vocabulary.py",
        "        self._embeddings().word_embeddings = value\n        self.tie_weights()\n",
        "        self._embeddings().word_embeddings = value\n",
        "the decoder goes on with the table that was replaced",
        tests=(ACCESS,),
    ),
    Mutant(
        "replaced-decoders-bias-has-one-name",
        "bert/vocabulary.py",
        "head.decoder, head.bias = new_embeddings, new_embeddings.bias",
        "head.decoder = new_embeddings",
        "cls.predictions.bias is saved, and the decoder computes with another one",
        tests=(ACCESS,),
    ),
    Mutant(
        "resizing-forgets-the-configuration",
        "bert/vocabulary.py",
        "                module.config.vocab_size = size\n",
        "                pass\n",
        "labels are checked by the old size, and a saved model is not read back",
        tests=(ACCESS,),
    ),
    Mutant(
        "resizing-keeps-gradients",
        "bert/vocabulary.py",
        "        self.zero_grad()\n        self.forget()\n",
        "        self.forget()\n",
        "gradients of the old size, to which the next backward adds",
        tests=(ACCESS,),
    ),
    Mutant(
        "head-mask-before-softmax",
        "bert/attention.py",
        (
            "        attention_probs = self.probs(attention_scores)\n"
            "        if head_mask is not None:\n"
            "            attention_probs = self.head_mask(attention_probs, head_mask)\n"
        ),
        (
            "        attention_probs = self.probs(attention_scores)\n"
            "        if head_mask is not None:\n"
            "            self.head_mask(attention_probs, head_mask)\n"
            "            attention_probs = self.probs(attention_scores * head_mask)\n"
        ),
        "scores of 0 are no attention left out, but attention to all keys alike",
        tests=(HEADS, GRADCHECK),
    ),
    Mutant(
        "head-mask-of-every-second-layer-kept",
        "bert/model.py",
        "d_head_mask.sum(axis=0) if len(saved.head_mask_shape) == 1 else d_head_mask",
        "d_head_mask[-1] if len(saved.head_mask_shape) == 1 else d_head_mask",
        "a mask [h] is used in every layer, and only the last layer's gradient is given back",
        tests=(HEADS, GRADCHECK),
    ),
    Mutant(
        "head-mask-of-cross-attention-forgotten",
        "bert/layer.py",
        "        d_head_mask += d_cross_head_mask[0]\n",
        "",
        "the same mask went into both attentions",
        tests=(HEADS, GRADCHECK),
    ),
    Mutant(
        "columns-of-other-heads-pruned",
        "bert/attention.py",
        "        keep_columns(self.output.dense, numbers)\n",
        "        keep_columns(self.output.dense, np.arange(len(numbers)))\n",
        "the last columns are cut off: the shapes fit, and the heads that are left are read by others' weights",
        tests=(HEADS,),
    ),
    Mutant(
        "heads-counted-anew-after-pruning",
        "bert/pruning.py",
        "    places = left if before is None else np.searchsorted(before, left)\n",
        "    places = np.arange(len(left)) if before is not None else left\n",
        "the second pruning takes the first heads that are left, whichever were named",
        tests=(HEADS,),
    ),
    Mutant(
        "heads-interleaved-in-pruning",
        "bert/pruning.py",
        "(places[:, None] * d + np.arange(d)).reshape(-1)",
        "(places[:, None] + len(places) * np.arange(d)).reshape(-1)",
        "the numbers of one head stand side by side, not one in each group",
        tests=(HEADS,),
    ),
    Mutant(
        "bias-pruned-from-the-front",
        "bert/pruning.py",
        "linear.bias.data[numbers], None\n",
        "linear.bias.data[: len(numbers)], None\n",
        "the bias of query, key and value is cut to fit, and belongs to other heads",
        tests=(HEADS,),
    ),
    Mutant(
        "pruned-in-one-layer-before-the-next-is-checked",
        "bert/pretrained.py",
        "                checked[layer] = heads_to_prune_of(heads, layers[layer].attention.pruned_heads, h)\n",
        (
            "                checked[layer] = heads_to_prune_of(heads, layers[layer].attention.pruned_heads, h)\n"
            "                layers[layer].attention.prune_heads(checked[layer])\n"
            "                self.config.pruned_heads[layer] = sorted(layers[layer].attention.pruned_heads)\n"
            "                checked[layer] = set()\n"
        ),
        "an error leaves a model that is pruned in half",
        tests=(HEADS,),
    ),
    Mutant(
        "pruned-heads-of-all-who-share-a-configuration",
        "bert/pretrained.py",
        "        self.config = dataclasses.replace(config)  # the model's own: pruning changes it\n",
        "        self.config = config\n",
        "a second model of the configuration is saved as if it were pruned",
        tests=(HEADS,),
    ),
    Mutant(
        "a-forward-survives-pruning",
        "bert/pretrained.py",
        "                self.forget()\n",
        "",
        "backward runs the checkpointed layers again, with other heads than forward had",
        tests=(HEADS,),
    ),
    Mutant(
        "head-mask-nan-taken",
        "bert/inputs.py",
        "    wrong = ~np.isfinite(mask)\n",
        "    wrong = mask > np.inf\n",
        "not a number anywhere, and the model says nothing",
        tests=(HEADS,),
    ),
]
