"""Getting at the word embeddings and the decoder: reading, replacing, tying, resizing, drawing anew."""

import numpy as np
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import one_line

import numbert
from numbert import InputError, gradcheck

V, E = tiny.SIZES["vocab_size"], tiny.SIZES["hidden_size"]
MODELS = ["BertModel", "BertForPreTraining", "BertForMaskedLM", "BertForNextSentencePrediction"]


def pretraining(tied=True, seed=0, **options):
    return numbert.BertForPreTraining(tiny.config(tie_word_embeddings=tied), seed=seed, **options)


def random(model):
    """The same model with every parameter random, biases too."""
    rng = np.random.default_rng(7)
    for parameter in model.parameters():
        parameter.data = rng.normal(0, 0.5, parameter.shape).astype(parameter.dtype)
    return model


def batch(size):
    """A batch whose ids and labels stay below a size."""
    given = tiny.batch()
    given["input_ids"] %= size
    given["labels"] = np.where(given["labels"] >= size, 1, given["labels"])
    return given


def copies(model):
    return {name: parameter.data.copy() for name, parameter in model.named_parameters()}


class TestInitWeights:
    def test_draws_what_the_constructor_draws(self):
        """Layer by layer in the model's order, from a generator of the same seed."""
        constructed, drawn_anew = pretraining(tied=False, seed=3), random(pretraining(tied=False, seed=5))
        drawn_anew.rng = np.random.default_rng(3)
        for module in drawn_anew.modules():
            drawn_anew._init_weights(module)
        for name, array in copies(drawn_anew).items():
            assert np.array_equal(array, constructed.state_dict()[name]), name

    def test_as_published(self):
        model = numbert.BertModel(tiny.config(initializer_range=0.5))
        linear, embedding = numbert.Linear(100, 80), numbert.Embedding(100, 80, padding_idx=4)
        norm, no_bias = numbert.LayerNorm(9), numbert.Linear(3, 2, bias=False)
        relative = tiny.config(position_embedding_type="relative_key", max_position_embeddings=400)
        distances = numbert.DistanceEmbedding(relative)
        for layer in (linear, embedding, norm, no_bias, distances):
            for parameter in layer.parameters():
                parameter.data = np.full_like(parameter.data, 7)
                parameter.grad = np.ones_like(parameter.data)
            model._init_weights(layer)
            assert all(parameter.grad is None for parameter in layer.parameters())
        for weight in (linear.weight, embedding.weight, distances.weight):
            assert weight.data.std() == pytest.approx(0.5, abs=0.03)
            assert weight.data.mean() == pytest.approx(0, abs=0.03)
        assert not linear.bias.data.any()
        assert not embedding.weight.data[4].any()
        assert embedding.weight.data[[3, 5]].all()
        assert (norm.weight.data == 1).all()
        assert not norm.bias.data.any()

    def test_other_layers_and_those_inside_them_stay(self):
        model = random(pretraining())
        before = copies(model)
        model._init_weights(model.bert.encoder.layer[0])
        model._init_weights(model.bert.embeddings.dropout)
        for name, array in copies(model).items():
            assert np.array_equal(array, before[name]), name

    @pytest.mark.parametrize("dtype", [np.float64, np.complex128])
    def test_one_seed_gives_one_draw_whatever_the_type(self, dtype):
        single, other = (numbert.BertModel(tiny.config(), seed=2, dtype=t) for t in (np.float32, dtype))
        for model in (single, other):
            model._init_weights(model.pooler.dense)
        assert other.pooler.dense.weight.dtype == dtype
        assert np.array_equal(single.pooler.dense.weight.data, other.pooler.dense.weight.data)


class TestEmbeddings:
    @pytest.mark.parametrize("name", MODELS)
    def test_input_embeddings_are_the_word_embeddings(self, name):
        model = getattr(numbert, name)(tiny.config())
        bert = model if name == "BertModel" else model.bert
        assert model.get_input_embeddings() is bert.embeddings.word_embeddings

    @pytest.mark.parametrize("name", MODELS)
    def test_output_embeddings_are_the_decoder_where_there_is_one(self, name):
        model = getattr(numbert, name)(tiny.config())
        decoder = model.cls.predictions.decoder if name in MODELS[1:3] else None
        assert model.get_output_embeddings() is decoder

    @pytest.mark.parametrize("tied", [True, False])
    def test_a_tied_decoder_follows_another_table(self, tied):
        model, table = pretraining(tied), numbert.Embedding(V, E, padding_idx=0, seed=9)
        own = model.cls.predictions.decoder.weight
        model.set_input_embeddings(table)
        assert model.bert.embeddings.word_embeddings is table
        assert model.cls.predictions.decoder.weight is (table.weight if tied else own)
        names = [name for name, parameter in model.named_parameters() if parameter is table.weight]
        assert names == ["bert.embeddings.word_embeddings.weight"]

    def test_what_no_table_can_be(self):
        model = pretraining()
        table = model.get_input_embeddings()
        for wrong, message in (
            (table.weight, "must be an Embedding"),
            (np.zeros((V, E)), "must be an Embedding"),
            (numbert.Linear(E, V), "must be an Embedding"),
            (numbert.Embedding(V + 1, E), r"are float32 \[30, 12\]; here they must be float32 \[29, 12\]"),
            (numbert.Embedding(V, E + 1), r"\[29, 13\]"),
            (numbert.Embedding(V, E, dtype=np.float64), "are float64"),
        ):
            with pytest.raises(InputError, match=message) as error:
                model.set_input_embeddings(wrong)
            one_line(error)
        assert model.get_input_embeddings() is table
        assert model.cls.predictions.decoder.weight is table.weight

    def test_another_decoder_comes_with_its_bias(self):
        model, decoder = pretraining(tied=False).eval(), numbert.Linear(E, V, seed=4)
        model.set_output_embeddings(decoder)
        assert model.get_output_embeddings() is decoder
        assert model.cls.predictions.bias is decoder.bias
        before = model(**tiny.inputs()).prediction_logits
        model.cls.predictions.bias.data += 1
        np.testing.assert_allclose(model(**tiny.inputs()).prediction_logits, before + 1, rtol=1e-6, atol=1e-6)

    def test_a_tied_models_decoder_has_the_tables_parameter(self):
        model = pretraining()
        shared = numbert.Linear(E, V, weight=model.get_input_embeddings().weight)
        model.set_output_embeddings(shared)
        assert model.get_output_embeddings() is shared
        with pytest.raises(InputError, match="ties the decoder to the word embeddings") as error:
            model.set_output_embeddings(numbert.Linear(E, V))
        one_line(error)
        assert model.get_output_embeddings() is shared

    def test_what_no_decoder_can_be(self):
        model = pretraining(tied=False)
        for wrong, message in (
            (numbert.Embedding(V, E), "must be a Linear with a bias"),
            (numbert.Linear(E, V, bias=False), "must be a Linear with a bias"),
            (numbert.Linear(E, V + 1), r"\[30, 12\]"),
        ):
            with pytest.raises(InputError, match=message) as error:
                model.set_output_embeddings(wrong)
            one_line(error)
        with pytest.raises(InputError, match=r"^a BertModel has no decoder$"):
            numbert.BertModel(tiny.config()).set_output_embeddings(numbert.Linear(E, V))


class TestTying:
    def test_what_was_not_tied_becomes_tied(self):
        model = pretraining(tied=False)
        assert model.num_parameters() == pretraining().num_parameters() + V * E
        model.config.tie_word_embeddings = True
        model.tie_weights()
        assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
        assert model.num_parameters() == pretraining().num_parameters()

    def test_what_is_not_tied_stays_so(self):
        model = pretraining(tied=False)
        before = model.cls.predictions.decoder.weight
        model.tie_weights()
        assert model.cls.predictions.decoder.weight is before

    @pytest.mark.parametrize("size", [V + 6, V - 6])
    def test_the_decoder_follows_an_encoder_that_was_resized_alone(self, size):
        model = random(pretraining())
        model.bert.resize_token_embeddings(size)
        model.tie_weights()
        assert model.cls.predictions.bias.shape == (size,)
        assert model.config is model.bert.config
        assert model.config.vocab_size == size
        assert model.eval()(**batch(size)).prediction_logits.shape[-1] == size


@pytest.mark.parametrize("size", [V + 11, V - 11])
@pytest.mark.parametrize("tied", [True, False])
class TestResizing:
    def test_what_remains_keeps_its_numbers_and_new_rows_are_drawn(self, tied, size):
        model = random(pretraining(tied))
        table, decoder = model.get_input_embeddings(), model.get_output_embeddings()
        held = {id(parameter) for parameter in model.parameters()}
        before, state = copies(model), model.rng.bit_generator.state
        assert model.resize_token_embeddings(size) is table
        assert {id(parameter) for parameter in model.parameters()} == held, "each Parameter is the same object"
        assert (decoder.weight is table.weight) == tied
        assert table.num_embeddings == decoder.out_features == size
        assert model.config.vocab_size == model.bert.config.vocab_size == size

        new = numbert.Embedding(max(0, size - V), E)
        model.rng.bit_generator.state = state
        for name, array in copies(model).items():
            if name in (
                "bert.embeddings.word_embeddings.weight",
                "cls.predictions.bias",
                "cls.predictions.decoder.weight",
            ):
                kept = min(size, V)
                assert len(array) == size
                assert np.array_equal(array[:kept], before[name][:kept]), name
                if name == "cls.predictions.bias":
                    assert not array[kept:].any()
                else:
                    model._init_weights(new)
                    assert np.array_equal(array[kept:], new.weight.data), name
            else:
                assert np.array_equal(array, before[name]), name

    def test_the_scores_of_the_tokens_that_remain_stay(self, tied, size):
        model, inputs, kept = random(pretraining(tied)).eval(), tiny.inputs(), min(size, V)
        inputs["input_ids"] %= kept
        before = model(**inputs).prediction_logits[..., :kept]
        model.resize_token_embeddings(size)
        after = model(**inputs).prediction_logits
        assert after.shape[-1] == size
        np.testing.assert_allclose(after[..., :kept], before, rtol=1e-6, atol=1e-6)

    def test_it_is_saved_and_read_back(self, tied, size, tmp_path):
        model = random(pretraining(tied))
        model.resize_token_embeddings(size)
        model.save_pretrained(tmp_path)
        read = numbert.BertForPreTraining.from_pretrained(tmp_path)
        assert read.config.vocab_size == size
        for name, array in copies(read).items():
            assert np.array_equal(array, model.state_dict()[name]), name
        read.resize_token_embeddings(V)  # what is read from a file can be resized, too
        assert read.get_input_embeddings().weight.shape == (V, E)

    def test_its_loss_and_gradients_are_those_of_a_model_of_that_size(self, tied, size):
        model = random(pretraining(tied))
        model.resize_token_embeddings(size)
        made = numbert.BertForPreTraining(tiny.config(tie_word_embeddings=tied, vocab_size=size))
        made.load_state_dict(model.state_dict())
        losses = [one.eval()(**batch(size)).loss for one in (model, made)]
        assert losses[0] == losses[1]
        for one in (model, made):
            one.backward()
        for (name, one), other in zip(model.named_parameters(), made.parameters(), strict=True):
            assert np.array_equal(one.grad, other.grad), name

    def test_all_of_it_is_trained(self, tied, size):
        model = pretraining(tied)
        model.resize_token_embeddings(size)
        before, optimizer = copies(model), numbert.AdamW(model.parameters(), weight_decay=0.0)
        model(**batch(size))
        model.backward()
        optimizer.step()
        assert all((array != before[name]).any() for name, array in copies(model).items())
        assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == tied


def test_the_gradients_of_a_resized_tied_model_are_right():
    model = random(numbert.BertForMaskedLM(tiny.config(num_hidden_layers=1), dtype=np.float64))
    model.resize_token_embeddings(V + 3)
    model.get_output_embeddings().bias.data += 0.1
    given = {key: value for key, value in batch(V + 3).items() if key != "next_sentence_label"}
    gradcheck(model, **given, max_entries=6)  # which raises where one is wrong


class TestWhatResizingLeaves:
    def test_the_row_of_pad_stays_0(self):
        model = pretraining()
        model.resize_token_embeddings(V + 5)
        table = model.get_input_embeddings()
        assert table.padding_idx == 0
        assert not table.weight.data[0].any()
        assert table.weight.data[1:].any(axis=-1).all()

    def test_nothing_asked_for_is_nothing_done(self):
        model = pretraining()
        model(**tiny.batch())
        model.backward()
        config, grad = model.config, model.get_input_embeddings().weight.grad
        assert model.resize_token_embeddings() is model.get_input_embeddings()
        assert model.config is config
        assert model.get_input_embeddings().weight.grad is grad

    def test_gradients_and_what_forward_remembered_are_dropped(self):
        model = pretraining()
        model(**tiny.batch())
        model.backward()
        model(**tiny.batch())
        model.resize_token_embeddings(V + 1)
        assert all(parameter.grad is None for parameter in model.parameters())
        with pytest.raises(RuntimeError, match="has no forward to undo"):
            model.backward()

    def test_a_configuration_that_models_share_stays(self):
        config = tiny.config()
        one, other = numbert.BertForMaskedLM(config), numbert.BertForMaskedLM(config)
        one.resize_token_embeddings(V + 1)
        assert config.vocab_size == other.config.vocab_size == V
        assert other(**tiny.inputs()).logits.shape[-1] == V

    @pytest.mark.parametrize("size", [V + 1, V - 1])
    def test_an_optimizer_that_has_made_a_step_says_so(self, size):
        model = pretraining()
        optimizer = numbert.AdamW(model.parameters())
        model(**batch(V - 1))
        model.backward()
        optimizer.step()
        model.resize_token_embeddings(size)
        model(**batch(V - 1))
        model.backward()
        with pytest.raises(InputError, match=r"was resized since; make a new AdamW$") as error:
            optimizer.step()
        one_line(error)

    @pytest.mark.parametrize("name", MODELS)
    def test_each_class_can_be_resized(self, name, tmp_path):
        model = getattr(numbert, name)(tiny.config())
        model.resize_token_embeddings(V + 2)
        model.save_pretrained(tmp_path)
        assert getattr(numbert, name).from_pretrained(tmp_path).config.vocab_size == V + 2


class TestWrongSizes:
    MODEL = pretraining()

    @given(
        st.integers(max_value=0)
        | st.integers(min_value=2**40)
        | st.floats()
        | st.booleans()
        | st.text(max_size=5)
        | st.lists(st.integers(), max_size=2)
    )
    @settings(max_examples=30, deadline=None)
    def test_one_line_and_the_model_is_as_it_was(self, size):
        before = copies(self.MODEL)
        with pytest.raises(InputError) as error:
            self.MODEL.resize_token_embeddings(size)
        one_line(error)
        assert self.MODEL.config.vocab_size == V
        for name, array in copies(self.MODEL).items():
            assert np.array_equal(array, before[name]), name

    @pytest.mark.parametrize("size", [5, 1])
    def test_the_row_of_pad_must_remain(self, size):
        model = numbert.BertForMaskedLM(tiny.config(pad_token_id=5))
        with pytest.raises(
            InputError, match=rf"^new_num_tokens is {size}; it must be above 5, the row of \[PAD\]$"
        ):
            model.resize_token_embeddings(size)
        model.resize_token_embeddings(6)
        assert model.get_input_embeddings().padding_idx == 5

    def test_without_pad_one_row_is_enough(self):
        model = numbert.BertModel(tiny.config(pad_token_id=None))
        assert model.resize_token_embeddings(1).weight.shape == (1, E)
