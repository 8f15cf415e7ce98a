"""What the models compute, take and give back, and what they refuse."""

import contextlib

import numpy as np
import pytest
import tiny

import numbert
from numbert import BertForMaskedLM, BertForNextSentencePrediction, BertForPreTraining, BertModel, InputError
from numbert.bert.pretrained import encoder_parameters, largest_parameter
from numbert.nn.switches import uninitialized


class TestOutputs:
    def test_they_index_like_a_dataclass_a_tuple_and_a_dict(self):
        out = BertModel(tiny.config())(**tiny.inputs())
        assert out[0] is out.last_hidden_state
        assert out["pooler_output"] is out.pooler_output
        assert out.to_tuple()[1] is out[1] is out.pooler_output
        assert out.hidden_states is None
        assert out.keys() == ["last_hidden_state", "pooler_output"]
        assert "attentions" not in out
        assert len(out) == 2
        last, pooled = out
        assert last is out[0]
        assert pooled is out[1]
        assert dict(out)["pooler_output"] is pooled
        with pytest.raises(KeyError, match="'attentions' is not in this"):
            out["attentions"]

    def test_hidden_states_and_attentions_come_on_request(self):
        out = BertModel(tiny.config()).eval()(**tiny.inputs(), output_hidden_states=True, output_attentions=True)
        assert [h.shape for h in out.hidden_states] == [(5, 7, 12)] * 3
        assert [a.shape for a in out.attentions] == [(5, 3, 7, 7)] * 2
        assert out.hidden_states[-1] is out.last_hidden_state
        by_config = BertModel(tiny.config(output_hidden_states=True, output_attentions=True)).eval()
        assert by_config(**tiny.inputs()).keys() == out.keys()

    def test_a_tuple_where_return_dict_is_false(self):
        model = BertForPreTraining(tiny.config())
        assert isinstance(model(**tiny.batch(), return_dict=False), tuple)
        assert len(model(**tiny.batch(), return_dict=False)) == 3

    def test_without_a_pooler(self):
        out = BertModel(tiny.config(), add_pooling_layer=False)(**tiny.inputs())
        assert out.pooler_output is None
        assert len(out.to_tuple()) == 1

    def test_shapes_of_the_heads(self):
        batch = tiny.inputs()
        out = BertForPreTraining(tiny.config())(**batch)
        assert out.loss is None
        assert out.prediction_logits.shape == (5, 7, 29)
        assert out.seq_relationship_logits.shape == (5, 2)
        assert BertForMaskedLM(tiny.config())(**batch).logits.shape == (5, 7, 29)
        assert BertForNextSentencePrediction(tiny.config())(**batch).logits.shape == (5, 2)


class TestMasks:
    def test_padding_changes_nothing(self):
        model = BertModel(tiny.config(), dtype=np.float64).eval()
        given = tiny.inputs()
        whole = model(**given)
        for row, length in enumerate(given["attention_mask"].sum(axis=1)):
            alone = model(**{name: value[row : row + 1, :length] for name, value in given.items()})
            np.testing.assert_allclose(whole.last_hidden_state[row, :length], alone[0][0], atol=1e-13)
            np.testing.assert_allclose(whole.pooler_output[row], alone[1][0], atol=1e-13)

    def test_what_stands_behind_the_mask_cannot_be_seen(self):
        model = BertModel(tiny.config()).eval()
        given = tiny.inputs()
        out = model(**given).last_hidden_state
        given["input_ids"] = np.where(given["attention_mask"] == 0, 17, given["input_ids"])
        changed = model(**given).last_hidden_state
        seen = given["attention_mask"] == 1
        assert np.array_equal(out[seen], changed[seen])
        assert not np.array_equal(out[~seen], changed[~seen])

    def test_a_mask_of_rows_says_who_may_look_at_whom(self):
        """With a triangular mask, a change at a position reaches no earlier one."""
        model = BertModel(tiny.config(), dtype=np.float64).eval()
        ids = tiny.inputs()["input_ids"][:1] * 0 + np.arange(1, 8)
        mask = np.tril(np.ones((7, 7), dtype=int))[None]
        out = model(ids, mask).last_hidden_state
        ids[0, 4] += 9
        changed = model(ids, mask).last_hidden_state
        assert np.array_equal(out[0, :4], changed[0, :4])
        assert (out[0, 4:] != changed[0, 4:]).any(axis=-1).all()

    def test_a_mask_of_ones_is_no_mask(self):
        model = BertModel(tiny.config()).eval()
        ids = tiny.inputs()["input_ids"]
        for ones in (np.ones((5, 7)), np.ones((5, 7), bool), np.ones((5, 7, 7), int)):
            assert np.array_equal(model(ids, ones)[0], model(ids)[0])

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_a_sequence_that_is_all_padding_gives_finite_numbers(self, dtype):
        model = BertForPreTraining(tiny.config(), dtype=dtype).eval()
        batch = tiny.batch()
        batch["attention_mask"][1] = 0
        with np.errstate(all="raise", under="ignore"):
            out = model(**batch)
            model.backward()
        assert np.isfinite(out.loss)
        assert all(np.isfinite(array).all() for array in out.to_tuple())
        assert all(np.isfinite(parameter.grad).all() for parameter in model.parameters())


class TestLosses:
    def test_an_untrained_model_knows_nothing(self):
        """ln v for the masked tokens and ln 2 for the next sentence, as for guessing."""
        sizes = {"vocab_size": 1000, "hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2}
        model = BertForPreTraining(numbert.BertConfig(**sizes)).eval()
        rng = np.random.default_rng(0)
        ids = rng.integers(0, 1000, (16, 32))
        loss = model(ids, labels=ids, next_sentence_label=rng.integers(0, 2, 16)).loss
        assert loss == pytest.approx(np.log(1000) + np.log(2), abs=0.15)

    def test_the_loss_is_the_mean_over_labelled_positions_alone(self):
        model = BertForMaskedLM(tiny.config(), dtype=np.float64).eval()
        batch = tiny.batch()
        out = model(**tiny.inputs(), labels=batch["labels"])
        rows = batch["labels"] != -100
        logits = model(**tiny.inputs()).logits[rows]
        log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        expected = -log_probs[np.arange(rows.sum()), batch["labels"][rows]].mean()
        assert out.loss == pytest.approx(expected, rel=1e-12)

    def test_the_two_losses_add_up_and_each_may_stand_alone(self):
        model = BertForPreTraining(tiny.config(), dtype=np.float64).eval()
        batch, given = tiny.batch(), tiny.inputs()
        both = model(**batch).loss
        words = model(**given, labels=batch["labels"]).loss
        order = model(**given, next_sentence_label=batch["next_sentence_label"]).loss
        assert both == pytest.approx(words + order, rel=1e-12)

    def test_each_loss_can_have_a_factor_of_its_own_in_backward(self):
        """As a part of a batch needs it. The gradient of either loss alone is proved by the complex step."""
        given = tiny.batch()
        d_mlm_loss, d_nsp_loss = 0.3, -1.7

        def gradients(left_out, factor):
            model = BertForPreTraining(tiny.config(), seed=1, dtype=np.float64).eval()
            model(**{name: array for name, array in given.items() if name != left_out})
            d_embeds = model.backward(factor)["inputs_embeds"]
            nothing = np.zeros(())  # the heads of the loss that is left out get none
            return [d_embeds, *(nothing if p.grad is None else p.grad for p in model.parameters())]

        together = gradients(None, (d_mlm_loss, d_nsp_loss))
        words, pairs = gradients("next_sentence_label", d_mlm_loss), gradients("labels", d_nsp_loss)
        for whole, of_words, of_pairs in zip(together, words, pairs, strict=True):
            np.testing.assert_allclose(whole, of_words + of_pairs, rtol=1e-12, atol=1e-15)

    def test_not_next_is_learned_too(self):
        """Label 1 has its own gradient: an ignore index of 0 or 1 would lose half of the task."""
        for label in (0, 1):
            model = BertForNextSentencePrediction(tiny.config(), dtype=np.float64).eval()
            loss = model(**tiny.inputs(), labels=np.full(5, label)).loss
            model.backward()
            assert loss > 0.1
            assert np.abs(model.cls.seq_relationship.weight.grad).max() > 1e-3

    def test_ignored_rows_of_the_next_sentence(self):
        model = BertForNextSentencePrediction(tiny.config(), dtype=np.float64).eval()
        labels = np.array([0, -100, 1, -100, 1])
        rows = labels != -100
        loss = model(**tiny.inputs(), labels=labels).loss
        alone = model(**{name: value[rows] for name, value in tiny.inputs().items()}, labels=labels[rows]).loss
        assert loss == pytest.approx(alone, rel=1e-12)

    def test_nothing_labelled_is_no_loss_and_no_gradient(self):
        model = BertForMaskedLM(tiny.config()).eval()
        assert model(**tiny.inputs(), labels=np.full((5, 7), -100)).loss == 0
        model.backward()
        assert not any(parameter.grad.any() for parameter in model.parameters())

    def test_leaving_the_logits_out_changes_neither_loss_nor_gradient(self):
        results = []
        for return_logits in (True, False):
            model = BertForPreTraining(tiny.config(), dtype=np.float64).eval()
            out = model(**tiny.batch(), return_logits=return_logits)
            model.backward()
            results.append((out, np.concatenate([p.grad.ravel() for p in model.parameters()])))
        (full, full_grad), (short, short_grad) = results
        assert short.prediction_logits is None
        assert full.loss == short.loss
        assert np.array_equal(full_grad, short_grad)
        unlabelled = BertForPreTraining(tiny.config(), dtype=np.float64).eval()(**tiny.inputs())
        np.testing.assert_allclose(full.prediction_logits, unlabelled.prediction_logits, atol=1e-13)

    def test_inputs_embeds_take_the_place_of_ids(self):
        model = BertForPreTraining(tiny.config(), dtype=np.float64).eval()
        batch = tiny.batch()
        by_ids = model(**batch)
        g = model.backward()
        embeds = model.bert.embeddings.word_embeddings.weight.data[batch.pop("input_ids")]
        model.zero_grad()
        given = embeds.copy()
        by_embeds = model(inputs_embeds=embeds, **batch)
        assert by_ids.loss == by_embeds.loss
        assert np.array_equal(embeds, given)
        np.testing.assert_allclose(model.backward()["inputs_embeds"], g["inputs_embeds"], atol=1e-16)


BAD_INPUTS = [
    ({"input_ids": None}, "give input_ids or inputs_embeds, and not both"),
    ({"inputs_embeds": np.zeros((5, 7, 12))}, "give input_ids or inputs_embeds, and not both"),
    ({"input_ids": np.zeros(7, int)}, r"input_ids has shape \(7,\); it must be \[b,l\]"),
    ({"input_ids": np.zeros((5, 0), int)}, r"input_ids has shape \(5, 0\); it must hold at least one token"),
    ({"input_ids": np.zeros((5, 7))}, "input_ids must be integers, got an array of float64"),
    ({"input_ids": np.full((5, 7), 29)}, r"input_ids has 29 at \[0, 0\]; it can be 0 to 28"),
    ({"input_ids": np.full((5, 7), -1)}, r"input_ids has -1 at \[0, 0\]; it can be 0 to 28"),
    ({"token_type_ids": np.full((5, 7), 2)}, r"token_type_ids has 2 at \[0, 0\]; it can be 0 to 1"),
    ({"token_type_ids": np.zeros((5, 6), int)}, r"token_type_ids has shape \(5, 6\); .* must be \(5, 7\)"),
    ({"position_ids": np.full((5, 7), 11)}, r"position_ids has 11 at \[0, 0\]; it can be 0 to 10"),
    ({"attention_mask": np.full((5, 7), 2)}, r"attention_mask has 2 at \[0, 0\]; it must be 1 \(look\) or 0"),
    ({"attention_mask": np.full((5, 7), 0.5)}, r"attention_mask has 0.5 at \[0, 0\]"),
    ({"attention_mask": np.full((5, 7), np.nan)}, r"attention_mask has nan at \[0, 0\]"),
    ({"attention_mask": np.full((5, 7), -10000)}, r"attention_mask has -10000 at \[0, 0\]"),
    ({"attention_mask": np.ones((5, 8))}, r"attention_mask has shape \(5, 8\); .* \(5, 7\) or \(5, 7, 7\)"),
    ({"attention_mask": np.full((5, 7), "a")}, "attention_mask must be 0 and 1, got an array of <U1"),
    ({"labels": np.full((5, 7), 29)}, r"labels has 29 at \[0, 0\]; it can be 0 to 28, or -100 to ignore"),
    ({"labels": np.full((5, 7), -1)}, r"labels has -1 at \[0, 0\]"),
    ({"labels": np.zeros((5,), int)}, r"labels has shape \(5,\); for this batch it must be \(5, 7\)"),
    ({"labels": np.zeros((5, 7))}, "labels must be integers, got an array of float64"),
    ({"next_sentence_label": np.full(5, 2)}, r"next_sentence_label has 2 at \[0\]; it can be 0 to 1"),
    ({"next_sentence_label": np.zeros((5, 1), int)}, r"next_sentence_label has shape \(5, 1\)"),
    ({"head_mask": np.ones(4)}, r"head_mask has 4 heads; for this model it must be \[3\] or \[2,3\]"),
    ({"head_mask": np.ones((3, 3))}, r"head_mask has shape \(3, 3\); it must be \[h\] or \[2,h\]"),
    ({"head_mask": ["a", "b", "c"]}, "head_mask must be numbers, got an array of <U1"),
    ({"encoder_hidden_states": np.ones((5, 7, 12))}, "encoder_hidden_states is for a decoder"),
    ({"encoder_attention_mask": np.ones((5, 7))}, "encoder_attention_mask is for a decoder"),
    ({"past_key_values": ()}, "past_key_values is for a decoder"),
    ({"use_cache": True}, "use_cache is for a decoder; make the model with is_decoder=True"),
    ({"unpad": 1}, "unpad is 1; it must be True or False"),
]

# What is no array, and what of it the message names: rows of different lengths, and things that are no numbers.
RAGGED = [[1, 2], [3]]
NO_ARRAYS = [
    ({"input_ids": RAGGED}, r"input_ids is \[\[1, 2\], \[3\]\]; it must be an array, or rows of one length"),
    ({"attention_mask": RAGGED}, "attention_mask is .* rows of one length"),
    ({"token_type_ids": RAGGED}, "token_type_ids is .* rows of one length"),
    ({"position_ids": RAGGED}, "position_ids is .* rows of one length"),
    ({"labels": RAGGED}, "labels is .* rows of one length"),
    ({"next_sentence_label": [0, [1]]}, r"next_sentence_label is \[0, \[1\]\]; .* rows of one length"),
    ({"input_ids": None, "inputs_embeds": [[[1.0, 2.0], [3.0]]]}, "inputs_embeds is .* rows of one length"),
    ({"input_ids": [np.ones(2), np.ones(3)]}, "input_ids is .* rows of one length"),
    ({"input_ids": [["a"] * 7] * 5}, "input_ids must be integers, got an array of <U1"),
    ({"input_ids": [[None] * 7] * 5}, "input_ids must be integers, got an array of object"),
    ({"input_ids": [[2**70] * 7] * 5}, "input_ids must be integers, got an array of object"),
    ({"input_ids": "the cat"}, r"input_ids has shape \(\); it must be \[b,l\]"),
    ({"input_ids": {"a": 1}}, r"input_ids has shape \(\); it must be \[b,l\]"),
    ({"attention_mask": [[None] * 7] * 5}, "attention_mask must be 0 and 1, got an array of object"),
    ({"token_type_ids": [["0"] * 7] * 5}, "token_type_ids must be integers, got an array of <U1"),
    ({"labels": [[None] * 7] * 5}, "labels must be integers, got an array of object"),
    ({"input_ids": None, "inputs_embeds": [[["a"] * 12] * 7] * 5}, "inputs_embeds is <U1, the model is float32"),
]


class TestBadInput:
    @pytest.mark.parametrize(("change", "message"), BAD_INPUTS + NO_ARRAYS, ids=lambda value: str(value)[:50])
    def test_one_clear_error(self, change, message):
        model = BertForPreTraining(tiny.config())
        with pytest.raises(InputError, match=message) as error:
            model(**(tiny.batch() | change))
        assert "\n" not in str(error.value)

    def test_a_sequence_longer_than_the_position_table(self):
        with pytest.raises(InputError, match="a sequence of 12 tokens; the model has 11 positions"):
            BertModel(tiny.config())(np.ones((1, 12), int))

    @pytest.mark.parametrize(
        ("embeds", "message"),
        [
            (np.zeros((5, 7, 13)), r"inputs_embeds has shape \(5, 7, 13\); it must be \[b,l,12\]"),
            (np.zeros((5, 7, 12), int), "inputs_embeds is int64, the model is float32"),
            (np.zeros((5, 7, 12), complex), "inputs_embeds is complex128, the model is float32"),
        ],
    )
    def test_wrong_embeddings(self, embeds, message):
        with pytest.raises(InputError, match=message):
            BertModel(tiny.config())(inputs_embeds=embeds)

    def test_lists_are_arrays_too(self):
        model = BertModel(tiny.config()).eval()
        assert np.array_equal(
            model([[1, 2, 3]], [[1, 1, 0]])[0], model(np.array([[1, 2, 3]]), np.array([[1, 1, 0]]))[0]
        )

    def test_a_gradient_for_a_pooler_that_is_not_there(self):
        model = BertModel(tiny.config(), add_pooling_layer=False)
        model(**tiny.inputs())
        with pytest.raises(InputError, match="the model has no pooler"):
            model.backward(None, np.zeros((5, 12), np.float32))


class TestArguments:
    MODELS = (BertModel, BertForPreTraining, BertForMaskedLM, BertForNextSentencePrediction)

    @pytest.mark.parametrize("model_class", MODELS)
    def test_of_a_constructor_only_the_configuration_has_a_place(self, model_class):
        """A seed in second place would be taken for something else."""
        error = InputError if model_class is BertModel else TypeError
        with pytest.raises(error, match=r"add_pooling_layer is 3; it must be True or False|positional argument"):
            model_class(tiny.config(), 3)

    def test_whether_there_is_a_pooler_may_stand_second(self):
        assert BertModel(tiny.config(), False).pooler is None
        assert BertModel(tiny.config(), np.True_).pooler is not None
        with pytest.raises(TypeError, match="positional argument"):
            BertModel(tiny.config(), True, 3)

    @pytest.mark.parametrize("model_class", MODELS)
    def test_of_the_inputs_the_first_three_have_a_place(self, model_class):
        model, batch = model_class(tiny.config()).eval(), tiny.inputs()
        three = batch["input_ids"], batch["attention_mask"], batch["token_type_ids"]
        np.testing.assert_array_equal(model(*three)[0], model(**batch)[0])
        with pytest.raises(TypeError, match="positional argument"):
            model(*three, None)

    @pytest.mark.parametrize("dtype", [np.float16, np.int64, np.complex64, None, "words", bool])
    def test_a_model_is_converted_to_what_a_constructor_takes_and_nothing_else(self, dtype):
        """In float16 the sums overflow, and the model would answer NaN without a word."""
        model = BertModel(tiny.config())
        before = {name: array.copy() for name, array in model.state_dict().items()}
        for convert in (model.to, lambda dtype: BertModel(tiny.config(), dtype=dtype)):
            with pytest.raises(InputError, match=r"dtype is .*; a model can be float32, float64 or complex128"):
                convert(dtype)
        for name, array in model.state_dict().items():
            assert array.dtype == np.float32
            np.testing.assert_array_equal(array, before[name])

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (({"hidden_size": 12},), "config is a dict; it must be a BertConfig"),
            ((None,), "config is a NoneType; it must be a BertConfig"),
        ],
    )
    def test_what_is_no_configuration_is_named(self, arguments, message):
        with pytest.raises(InputError, match=message):
            BertModel(*arguments)

    @pytest.mark.parametrize("seed", [-1, "a", 1.5])
    def test_what_is_no_seed_is_named(self, seed):
        with pytest.raises(InputError, match=r"seed is .*; it must be an integer from 0 on, or a Generator"):
            BertModel(tiny.config(), seed=seed)

    def test_underflow_is_no_error_where_the_caller_makes_errors_of_everything(self):
        model, batch = BertForPreTraining(tiny.config(initializer_range=2.0)), tiny.batch()
        optimizer = numbert.AdamW(model.parameters())
        with np.errstate(all="raise"):
            model(**batch)
            model.backward(1e-38)
            numbert.clip_grad_norm(model.parameters(), 1.0)
            optimizer.step()


class TestSizes:
    """A configuration may name any size; a model must find the memory."""

    def test_the_encoders_parameters_are_counted_before_they_are_made(self):
        for config in (tiny.config(), tiny.config(num_hidden_layers=5, type_vocab_size=3)):
            model = BertModel(config, add_pooling_layer=False)
            assert encoder_parameters(config) == model.num_parameters()
            assert largest_parameter(config) == max(parameter.size for parameter in model.parameters())

    @pytest.mark.parametrize("context", [contextlib.nullcontext, uninitialized])
    @pytest.mark.parametrize(
        ("name", "size"),
        [
            ("vocab_size", 10**12),
            ("vocab_size", 10**19),
            ("max_position_embeddings", 10**15),
            ("type_vocab_size", 2**62),
            ("hidden_size", 3 * 10**9),
            ("intermediate_size", 10**30),
        ],
    )
    def test_what_no_memory_holds_is_one_line_with_the_sizes(self, name, size, context):
        for cls in (BertModel, BertForPreTraining):
            with context(), pytest.raises(InputError) as error:
                cls(tiny.config(**{name: size}))
            message = str(error.value)
            assert message.startswith(f"there is no memory for a {cls.__name__} with vocab_size ")
            assert f"{name} {size}" in message
            assert "\n" not in message

    def test_all_layers_count_together_where_they_are_drawn(self):
        sizes = {"hidden_size": 3 * 10**4, "num_hidden_layers": 10_000}  # 144 TB, of which no array has 4 GB
        with pytest.raises(InputError, match="num_hidden_layers 10000 in float32"):
            BertModel(tiny.config(**sizes))


class TestConfig:
    def test_defaults_are_the_published_ones(self):
        config = numbert.BertConfig()
        assert (config.vocab_size, config.hidden_size, config.num_hidden_layers) == (30522, 768, 12)
        assert (config.layer_norm_eps, config.initializer_range, config.hidden_act) == (1e-12, 0.02, "gelu")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"num_attention_heads": 5}, "hidden_size is 12, which num_attention_heads, 5, does not divide"),
            ({"hidden_act": "mish"}, "hidden_act is 'mish'; it must be one of gelu, gelu_new"),
            ({"vocab_size": 0}, "vocab_size is 0; it must be an integer of at least 1"),
            ({"vocab_size": "29"}, "vocab_size is '29'; it must be an integer"),
            ({"hidden_size": 12.0}, "hidden_size is 12.0; it must be an integer"),
            ({"num_hidden_layers": -1}, "num_hidden_layers is -1"),
            ({"hidden_dropout_prob": 1.5}, "hidden_dropout_prob is 1.5; it must be between 0 and 1"),
            ({"layer_norm_eps": -1}, "layer_norm_eps is -1"),
            ({"pad_token_id": 29}, "pad_token_id is 29; it must be null or an id from 0 to 28"),
            (
                {"position_embedding_type": "rotary"},
                "position_embedding_type is 'rotary'; it must be one of absolute",
            ),
        ],
    )
    def test_values_outside_their_limits(self, change, message):
        with pytest.raises(InputError, match=message):
            tiny.config(**change)

    def test_a_dictionary_comes_back_with_what_numbert_does_not_know(self):
        values = tiny.config().to_dict() | {"finetuning_task": {"0": "ham"}, "transformers_version": "4.6.0"}
        assert numbert.BertConfig.from_dict(values).to_dict() == values
