"""What is not said has a value, and it is the documented one: the table of all defaults, and what they do."""

import importlib
import inspect
import math

import numpy as np
import pytest
import tiny

import numbert
from numbert import AdamW, BertConfig, BertForMaskedLM, BertForPreTraining, BertModel, InputError, nn
from numbert.bert.tasks import registry
from numbert.files.tokenizer import bert_tokenizer
from numbert.nn.activations import ACT2FN

ATTENTION = {
    "attention_mask": None,
    "head_mask": None,
    "encoder_hidden_states": None,
    "encoder_attention_mask": None,
}
CACHED = {"past_key_value": None, "output_attentions": False}
DRAWN = {"seed": 0, "dtype": np.float32}  # of all that has initial weights
LABELLED = {"labels": None, "return_dict": None}
THREE_INPUTS = {"input_ids": None, "attention_mask": None, "token_type_ids": None}

# Each public name, each of its methods, and a few functions by their module, with their defaults.
DEFAULTS = {
    "Linear": {"bias": True, "weight": None, "std": 0.02, **DRAWN},
    "Embedding": {"padding_idx": None, "std": 0.02, **DRAWN},
    "Embedding.forward": {"name": "ids"},
    "LayerNorm": {"eps": 1e-12, "dtype": np.float32},
    "Dropout": {"seed": 0},
    "Module.named_modules": {"prefix": ""},
    "Module.train": {"mode": True},
    "Module.load_state_dict": {"strict": True},
    "Module.num_parameters": {"only_trainable": False},
    "Parameter": {"trainable": True},
    "Parameter.add_grad": {"owned": False},
    "linear": {"bias": None},
    "linear_plain": {"bias": None},
    "linear_backward": {"learned": True},
    "embedding_backward": {"padding_idx": None, "out": None},
    "embedding_backward_plain": {"padding_idx": None},
    "Terms": {
        "attention_mask": None,
        "head_mask": None,
        "table": None,
        "with_key": False,
        "p": 0.0,
        "seed": None,
    },
    "numbert.nn.attention.AttentionInBlocks": {"size": 512},
    "attention_in_blocks": {"size": 512},
    "attention_in_blocks_backward": {"size": 512},
    "AdamW.step": {"gradient_factor": 1.0},
    "attention": {"attention_mask": None, "keep": None},
    "attention_plain": {"attention_mask": None, "keep": None},
    "attention_backward": {"keep": None},
    "attention_backward_plain": {"keep": None},
    "BertEmbeddings": DRAWN,
    "BertEmbeddings.forward": {
        "input_ids": None,
        "token_type_ids": None,
        "position_ids": None,
        "inputs_embeds": None,
        "past_key_values_length": 0,
    },
    "Dropout.forward": {"kept": None},
    "DistanceEmbedding": DRAWN,
    "BertSelfAttention": {"position_embedding_type": None, **DRAWN},
    "BertSelfAttention.forward": {**ATTENTION, **CACHED},
    "BertSelfAttention.attend": {"output_attentions": False},
    "BertSelfOutput": DRAWN,
    "BertSelfOutput.forward": {"kept": None},
    "BertAttention": {"position_embedding_type": None, **DRAWN},
    "BertAttention.forward": {**ATTENTION, **CACHED},
    "BertFeedForward.forward": {"kept": None},
    "BertIntermediate": DRAWN,
    "BertOutput": DRAWN,
    "BertLayer": DRAWN,
    "BertLayer.forward": {**ATTENTION, **CACHED},
    "BertEncoder": DRAWN,
    "BertEncoder.forward": {
        **ATTENTION,
        "past_key_values": None,
        "use_cache": False,
        "output_attentions": False,
        "output_hidden_states": False,
    },
    "BertPooler": DRAWN,
    "BertPredictionHeadTransform": DRAWN,
    "BertLMPredictionHead": {"decoder_weight": None, **DRAWN},
    "BertOnlyMLMHead": {"decoder_weight": None, **DRAWN},
    "BertOnlyNSPHead": DRAWN,
    "BertPreTrainingHeads": {"decoder_weight": None, **DRAWN},
    "BertLMPredictionHead.loss": {"return_logits": True},
    "BertLMPredictionHead.loss_backward": {"d_loss": 1.0},
    "BertOnlyMLMHead.loss": {"return_logits": True},
    "BertOnlyMLMHead.loss_backward": {"d_loss": 1.0},
    "BertOnlyNSPHead.loss_backward": {"d_loss": 1.0},
    "BertPreTrainingHeads.loss": {"labels": None, "next_sentence_label": None, "return_logits": True},
    "BertPreTrainedModel.from_pretrained": {"dtype": None, "config": None},
    "BertPreTrainedModel.from_tf": {"config": None, "dtype": None},
    "BertPreTrainedModel.from_weights": {"dtype": None},
    "BertPreTrainedModel.save_pretrained": {"dtype": None},
    "BertPreTrainedModel.push_to_hub": {
        "tokenizer": None,
        "commit_message": None,
        "private": False,
        "dtype": None,
        "progress": True,
    },
    "BertPreTrainedModel.resize_token_embeddings": {"new_num_tokens": None},
    "BertModel": {"add_pooling_layer": True, **DRAWN},
    "BertModel.forward": {
        **THREE_INPUTS,
        "position_ids": None,
        "head_mask": None,
        "inputs_embeds": None,
        "encoder_hidden_states": None,
        "encoder_attention_mask": None,
        "past_key_values": None,
        "use_cache": None,
        "output_attentions": None,
        "output_hidden_states": None,
        "return_dict": None,
        "unpad": False,
    },
    "BertModel.backward": {"d_pooler_output": None},
    "BertForPreTraining": DRAWN,
    "BertForPreTraining.forward": {
        **THREE_INPUTS,
        **LABELLED,
        "next_sentence_label": None,
        "return_logits": True,
    },
    "BertForPreTraining.backward": {"d_loss": 1.0},
    "BertForMaskedLM": DRAWN,
    "BertForMaskedLM.forward": {**THREE_INPUTS, **LABELLED, "return_logits": True},
    "BertForNextSentencePrediction": DRAWN,
    "BertForNextSentencePrediction.forward": {**THREE_INPUTS, **LABELLED},
    "BertLMHeadModel": DRAWN,
    "BertLMHeadModel.forward": {**THREE_INPUTS, **LABELLED, "use_cache": None, "return_logits": True},
    "BertLMHeadModel.generate": {
        "attention_mask": None,
        "encoder_hidden_states": None,
        "encoder_attention_mask": None,
        "max_new_tokens": 20,
        "do_sample": False,
        "temperature": 1.0,
        "top_k": None,
        "top_p": None,
        "num_beams": 1,
        "length_penalty": 1.0,
        "eos_token_id": None,
        "pad_token_id": None,
        "use_cache": True,
        "seed": 0,
        "on_tokens": None,
    },
    "sampling_probs": {"temperature": 1.0, "top_k": None, "top_p": None},
    "get_extended_attention_mask": {"dtype": np.float32, "is_decoder": False},
    "BertForSequenceClassification": DRAWN,
    "BertForSequenceClassification.forward": {**THREE_INPUTS, **LABELLED},
    "BertForTokenClassification": DRAWN,
    "BertForTokenClassification.forward": {**THREE_INPUTS, **LABELLED},
    "BertForQuestionAnswering": DRAWN,
    "BertForQuestionAnswering.forward": {
        **THREE_INPUTS,
        "start_positions": None,
        "end_positions": None,
        "return_dict": None,
    },
    "BertForMultipleChoice": DRAWN,
    "BertForMultipleChoice.forward": {
        **THREE_INPUTS,
        **LABELLED,
        "position_ids": None,
        "inputs_embeds": None,
    },
    "BertForMultipleChoice.backward": {"d_loss": 1.0},
    "numbert.inside.inspect.inspect": {"model_class": None},
    "AdamW": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01, "bias_correction": True},
    "embed": {"batch_size": 64, "progress": False, "on_cut": None},
    "generate_text": {"max_new_tokens": 20, "on_piece": None},
    "fill_mask": {"top_k": 5, "batch_size": 64, "progress": False},
    "gradcheck": {
        "seed": 0,
        "method": "auto",
        "max_entries": 64,
        "constants": (),
        "raise_on_failure": True,
    },
    "numbert.inside.shapes.shapes": {"model_class": BertModel, "batch": 1, "length": 13, "saved": False},
    "numbert.inside.summary.summary": {"depth": 3},
    "numbert.files.hub.download": {"folder": None, "revision": "main", "progress": True},
    "numbert.files.save.save_model": {"dtype": None},
    "numbert.files.tokenizer.save_tokenizer": {"max_length": None},
    "numbert.bert.tasks.convert.convert": {"progress": True},
    "numbert.files.tokenizer.bert_tokenizer": {
        "do_lower_case": True,
        "strip_accents": None,
        "tokenize_chinese_chars": True,
    },
    "shipped_model": {"name": "english"},
}


def defaults_of(function):
    if inspect.isclass(function) and issubclass(function, Exception):
        return {}
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def public():
    """Every public class, method and function that has a default, with its defaults; BertConfig's are below."""
    things = {name: getattr(numbert, name) for name in numbert.__all__}
    things |= {name: getattr(nn, name) for name in nn.__all__}
    del things["BertConfig"]
    for name, thing in list(things.items()):
        if inspect.isclass(thing):
            parts = [thing, *(base for base in thing.__bases__ if base.__name__.endswith("Mixin"))]
            own = {key: getattr(thing, key) for part in parts for key in vars(part) if not key.startswith("_")}
            things |= {f"{name}.{key}": value for key, value in own.items() if inspect.isroutine(value)}
    callables = {name: thing for name, thing in things.items() if callable(thing)}
    return {name: found for name, thing in callables.items() if (found := defaults_of(thing))}


class TestTheTable:
    def test_it_is_so(self):
        found = public()
        for name, wanted in DEFAULTS.items():
            module, _, function = name.rpartition(".")
            if module.startswith("numbert"):
                found[name] = defaults_of(getattr(importlib.import_module(module), function))
            assert found.get(name) == wanted, name

    def test_the_backward_that_models_with_one_head_share(self):
        for name in ("BertForMaskedLM", "BertForNextSentencePrediction", "BertForTokenClassification"):
            assert defaults_of(getattr(numbert, name).backward) == {"d_loss": 1.0}

    def test_it_is_whole(self):
        assert set(public()) <= set(DEFAULTS), "a public default that this table does not name"

    def test_a_configuration_is_bert_base_uncaseds(self):
        published = {
            "architectures": ["BertForMaskedLM"],
            "attention_probs_dropout_prob": 0.1,
            "gradient_checkpointing": False,
            "hidden_act": "gelu",
            "hidden_dropout_prob": 0.1,
            "hidden_size": 768,
            "initializer_range": 0.02,
            "intermediate_size": 3072,
            "layer_norm_eps": 1e-12,
            "max_position_embeddings": 512,
            "model_type": "bert",
            "num_attention_heads": 12,
            "num_hidden_layers": 12,
            "pad_token_id": 0,
            "position_embedding_type": "absolute",
            "type_vocab_size": 2,
            "use_cache": True,
            "vocab_size": 30522,
        }
        # What its file does not say is as in the class that reads it.
        unsaid = {
            "add_cross_attention": False,
            "chunk_size_feed_forward": 0,
            "id2label": {0: "LABEL_0", 1: "LABEL_1"},
            "label2id": {"LABEL_0": 0, "LABEL_1": 1},
            "problem_type": None,
            "classifier_dropout": None,
            "is_decoder": False,
            "output_attentions": False,
            "output_hidden_states": False,
            "pruned_heads": {},
            "return_dict": True,
            "tie_word_embeddings": True,
        }
        assert BertConfig().to_dict() == published | unsaid | {"architectures": None}
        assert BertConfig.from_dict(published) == BertConfig(architectures=["BertForMaskedLM"])


def has_standard_deviation(values, wanted):
    """Within five standard errors, which for n normal numbers are std / sqrt(2n); and their mean is 0 as well."""
    values = values.astype(np.float64)
    assert values.std() == pytest.approx(wanted, abs=5 * wanted / math.sqrt(2 * values.size))
    assert abs(values.mean()) < 5 * wanted / math.sqrt(values.size)


def arrays_of(module):
    return [parameter.data for parameter in module.parameters()]


def made(name, **options):
    """An instance of a layer or model, with the smallest of arguments."""
    cls = getattr(numbert, name)
    arguments = {"Linear": (5, 4), "Embedding": (7, 4), "LayerNorm": (4,), "Dropout": (0.5,)}
    return cls(*arguments.get(name, (tiny.config(),)), **options)


MADE = ["Linear", "Embedding", *(cls.__name__ for cls in registry.LAYERS + registry.MODELS)]
MADE = [name for name in MADE if "seed" in inspect.signature(getattr(numbert, name)).parameters]


class TestInitialWeights:
    def test_a_linears_standard_deviation_is_a_fiftieth(self):
        linear = numbert.Linear(500, 400)
        has_standard_deviation(linear.weight.data, 0.02)
        assert not linear.bias.data.any()

    def test_an_embeddings_standard_deviation_is_a_fiftieth(self):
        embedding = numbert.Embedding(500, 400)
        has_standard_deviation(embedding.weight.data, 0.02)
        assert embedding.weight.data.all(axis=-1).any(axis=-1), "no row is 0 where no padding is named"

    def test_every_table_and_matrix_of_a_model_has_the_configurations(self):
        sizes = {"vocab_size": 997, "hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 1}
        for config, std in ((BertConfig(**sizes), 0.02), (BertConfig(**sizes, initializer_range=0.5), 0.5)):
            for name, parameter in BertForPreTraining(config).named_parameters():
                if parameter.data.ndim == 2:
                    rows = parameter.data[1:] if name.endswith("word_embeddings.weight") else parameter.data
                    has_standard_deviation(rows, std)
                elif "LayerNorm.weight" in name:
                    assert (parameter.data == 1).all(), name
                else:
                    assert not parameter.data.any(), name

    def test_layer_norms_weight_is_1_and_bias_0(self):
        layer_norm = numbert.LayerNorm(9)
        assert (layer_norm.weight.data == 1).all()
        assert not layer_norm.bias.data.any()

    @pytest.mark.parametrize("name", MADE)
    def test_the_seed_is_0_and_the_type_float32(self, name):
        by_default, by_zero, by_one = made(name), made(name, seed=0), made(name, seed=1)
        assert all(map(np.array_equal, arrays_of(by_default), arrays_of(by_zero)))
        assert not all(map(np.array_equal, arrays_of(by_default), arrays_of(by_one)))
        assert {parameter.dtype for parameter in by_default.parameters()} == {np.dtype(np.float32)}
        assert made("LayerNorm").weight.dtype == np.float32

    def test_dropouts_seed_is_0(self):
        x = np.ones(64, np.float32)
        dropped = [made("Dropout", **options)(x) for options in ({}, {"seed": 0}, {"seed": 1})]
        assert np.array_equal(dropped[0], dropped[1])
        assert not np.array_equal(dropped[0], dropped[2])


class TestLayers:
    def test_layer_norms_eps_is_1e_12(self):
        """A row whose variance is eps comes out as 1 over the square root of 2."""
        layer_norm = numbert.LayerNorm(2, dtype=np.float64)
        np.testing.assert_allclose(layer_norm(np.array([[-1e-6, 1e-6]])), [[-(0.5**0.5), 0.5**0.5]], rtol=1e-9)
        model = BertModel(tiny.config())
        norms = [module for module in model.modules() if isinstance(module, numbert.LayerNorm)]
        assert {norm.eps for norm in norms} == {1e-12}

    def test_a_linear_has_a_bias(self):
        assert numbert.Linear(3, 2).bias is not None
        assert numbert.Linear(3, 2, bias=False).bias is None

    def test_training_is_on_at_first_and_after_train(self):
        model = BertModel(tiny.config())
        assert model.training
        assert not model.eval().training
        assert model.train().training

    def test_the_activation_is_the_exact_gelu(self):
        layer = BertModel(tiny.config()).encoder.layer[0].intermediate
        assert type(layer.intermediate_act_fn) is ACT2FN["gelu"]
        assert layer.intermediate_act_fn(np.array([1.0]))[0] == pytest.approx(0.8413447460685429, abs=1e-12)


class TestModels:
    def test_a_pooler_is_there_unless_told_otherwise(self):
        assert BertModel(tiny.config()).pooler is not None
        assert BertModel(tiny.config(), add_pooling_layer=False).pooler is None

    def test_what_is_read_is_ready_to_use(self, tmp_path):
        BertModel(tiny.config()).save_pretrained(tmp_path)
        read = BertModel.from_pretrained(tmp_path)
        assert not any(module.training for module in read.modules())
        assert read.dtype == np.float32

    def test_a_state_must_fit_whole(self):
        model = BertModel(tiny.config())
        state = dict(model.state_dict())
        del state["pooler.dense.bias"]
        with pytest.raises(InputError, match=r"missing pooler\.dense\.bias"):
            model.load_state_dict(state)
        model.load_state_dict(state, strict=False)

    def test_inputs_that_are_left_out(self):
        """Every token is looked at, has type 0 and stands where it stands."""
        model = BertModel(tiny.config()).eval()
        ids = tiny.inputs()["input_ids"]
        said = model(
            ids,
            attention_mask=np.ones_like(ids),
            token_type_ids=np.zeros_like(ids),
            position_ids=np.broadcast_to(np.arange(ids.shape[1]), ids.shape),
        )
        unsaid = model(ids)
        assert np.array_equal(said.last_hidden_state, unsaid.last_hidden_state)
        assert unsaid.keys() == ["last_hidden_state", "pooler_output"]

    @pytest.mark.parametrize("cls", [BertForPreTraining, BertForMaskedLM])
    def test_backward_is_of_the_loss_itself_and_logits_are_given(self, cls):
        batch = tiny.batch()
        if cls is BertForMaskedLM:
            del batch["next_sentence_label"]
        gradients = []
        for arguments in ((), (1.0,), (2.0,)):
            model = cls(tiny.config()).eval()
            out = model(**batch)
            assert any("logits" in key for key in out.keys())  # noqa: SIM118 (no dict)
            model.backward(*arguments)
            gradients.append(model.bert.embeddings.word_embeddings.weight.grad)
        assert np.array_equal(gradients[0], gradients[1])
        assert not np.array_equal(gradients[0], gradients[2])


class TestInference:
    @pytest.fixture
    def tokenizer(self):
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat"]
        return bert_tokenizer({word: index for index, word in enumerate(words)})

    @pytest.mark.parametrize("function", [numbert.embed, numbert.fill_mask])
    def test_64_texts_at_a_time_and_nothing_shown(self, function, tokenizer, monkeypatch, capsys):
        model = BertForPreTraining(tiny.config()).eval()
        forward, sizes = model.bert.forward, []

        def counting(input_ids, **inputs):
            sizes.append(len(input_ids))
            return forward(input_ids, **inputs)

        monkeypatch.setattr(model.bert, "forward", counting)
        assert len(function(model, tokenizer, ["[MASK]"] * 70)) == 70
        assert sizes == [64, 6]
        assert capsys.readouterr() == ("", "")

    def test_five_guesses(self, tokenizer):
        (filled,) = numbert.fill_mask(BertForPreTraining(tiny.config()).eval(), tokenizer, "[MASK]")
        assert [len(guesses) for guesses in filled.masks] == [5]


class TestAdamW:
    def steps(self, gradients, **options):
        """One number, 1 at first, after a step for each gradient."""
        parameter = numbert.Parameter(np.ones(1))
        optimizer = AdamW([parameter], **options)
        for gradient in gradients:
            parameter.grad = np.array([gradient])
            optimizer.step()
        return parameter.data[0]

    def test_its_first_step(self):
        """lr = 0.001 and weight_decay = 0.01: the primed means are the gradient and its square."""
        assert self.steps([0.5]) == pytest.approx(1 - 1e-3 * 0.01 - 1e-3 * 0.5 / (0.5 + 1e-8), abs=1e-15)

    def test_eps_is_1e_8(self):
        """As large as the gradient, it halves the step."""
        assert self.steps([1e-8], weight_decay=0.0) == pytest.approx(1 - 1e-3 / 2, abs=1e-12)

    def test_the_means_keep_nine_tenths_and_999_thousandths(self):
        m = (0.9 * 0.1 * 0.5 + 0.1 * -2.0) / (1 - 0.9**2)
        v = (0.999 * 0.001 * 0.5**2 + 0.001 * 4.0) / (1 - 0.999**2)
        first = 1 - 1e-3 * 0.5 / (0.5 + 1e-8)
        expected = first - 1e-3 * m / (math.sqrt(v) + 1e-8)
        assert self.steps([0.5, -2.0], weight_decay=0.0) == pytest.approx(expected, abs=1e-14)
