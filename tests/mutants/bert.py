"""Bugs planted in bert: attention, layers, heads, models."""

from mutants.machinery import GRADCHECK, PARITY, Mutant

CONTRACT = "nn/test_layer_contract.py"
MODEL = "bert/test_model.py"
CHECKPOINTING = "bert/test_gradient_checkpointing.py"
INFERENCE = "inference/test_inference.py"
MODEL_FOLDERS = "files/test_model_folders.py"
OWNERSHIP = "nn/test_ownership.py"
PRETRAIN = "pretrain/test_pretrain.py"
TASKS = "bert/test_tasks.py"

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
        "        return masked_lm, HeadLoss.of(self.loss_fct, seq_relationship_score, next_sentence_label)",
        "        nsp = HeadLoss.of(self.loss_fct, seq_relationship_score, next_sentence_label)\n"
        "        return masked_lm, nsp if masked_lm.loss is None else HeadLoss(None, nsp.logits, nsp.probs)",
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
        "        d_hidden_states += d_residual\n        return d_hidden_states\n",
        "        d_residual += d_hidden_states\n        return d_residual\n",
        "a residual that a layer passed through is the caller's own gradient: it is doubled",
        tests=(OWNERSHIP,),
    ),
    Mutant(
        "encoder-without-layers-returns-its-argument",
        "bert/encoder.py",
        "return d_hidden_states if len(self.layer) else d_last_hidden_state.copy()",
        "return d_hidden_states",
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
        "classifier-dropout-not-in-backward",
        "bert/tasks/classification.py",
        "return None, self.dropout.backward(self.classifier.backward(d_logits))\n\n\nclass BertForToken",
        "return None, self.classifier.backward(d_logits)\n\n\nclass BertForToken",
        "the dropout between pooler and classifier is not undone; in eval() nobody notices",
        tests=(GRADCHECK,),
    ),
    Mutant(
        "choices-and-questions-mixed",
        "bert/tasks/classification.py",
        "d_logits = self.loss_fct.backward(d_loss).reshape(-1, 1)  # [b,c] -> [b·c,1]",
        "d_logits = self.loss_fct.backward(d_loss).T.reshape(-1, 1)  # [b,c] -> [b·c,1]",
        "[b,c] flattened by columns: each choice gets the gradient of another question's",
        gradient=True,
    ),
    Mutant(
        "choices-flattened-by-columns",
        "bert/tasks/classification.py",
        ".reshape(b, choices)  # [b·c,e] -> [b,c]",
        ".reshape(choices, b).T  # [b·c,e] -> [b,c]",
        "the scores of one question are those of several",
        tests=(PARITY, TASKS),
    ),
    Mutant(
        "one-label-is-a-class",
        "bert/tasks/classification.py",
        "if problem_type is None and self.config.num_labels == 1:",
        "if False:",
        "a regression taken for questions of yes or no",
        tests=(PARITY, TASKS),
    ),
    Mutant(
        "classifier-dropout-of-0-taken-for-none",
        "bert/tasks/classification.py",
        "config.hidden_dropout_prob if own is None else own",
        "own or config.hidden_dropout_prob",
        "a rate of 0 that was asked for is falsy, so the other one is taken",
        tests=(TASKS,),
    ),
    Mutant(
        "positions-beyond-the-text-clamped-to-its-end",
        "bert/tasks/question_answering.py",
        "np.where(array < length, array, IGNORE)",
        "np.minimum(array, length - 1)",
        "an answer that was cut off is learned as if it were the last token",
        tests=(PARITY, TASKS),
    ),
    Mutant(
        "start-and-end-gradients-swapped",
        "bert/tasks/question_answering.py",
        "np.stack((d_start_logits, d_end_logits), axis=-1)",
        "np.stack((d_end_logits, d_start_logits), axis=-1)",
        "two gradients of one shape in the wrong order",
        gradient=True,
    ),
    Mutant(
        "start-and-end-losses-summed",
        "bert/tasks/question_answering.py",
        "np.asarray((start.loss + end.loss) / 2)",
        "np.asarray(start.loss + end.loss)",
        "a loss of twice its size beside the gradient of the mean",
        gradient=True,
    ),
    Mutant(
        "head-loss-factor-lost",
        "bert/tasks/one_head.py",
        "self.loss_backward(saved, d_loss)",
        "self.loss_backward(saved, 1.0)",
        "backward(1 / steps) accumulates whole gradients",
        tests=(TASKS,),
    ),
]
