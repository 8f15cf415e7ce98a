"""What every layer promises: remember and recall, the two switches, dtypes, names, randomness."""

import threading

import numpy as np
import pytest
import tiny

import numbert
from numbert.nn.layers import Dropout, Embedding, LayerNorm, Linear
from numbert.nn.module import Module


def all_saved(model):
    return [name for name, module in model.named_modules() if module.saved is not None]


class TestRememberAndRecall:
    def test_forward_keeps_by_name_what_backward_needs(self):
        model = numbert.BertModel(tiny.config())
        model(**tiny.inputs())
        saved = model.encoder.layer[0].attention.self.saved
        b, h, length, d = tiny.BATCH, 3, tiny.LENGTH, 4
        assert saved.query_layer.shape == (b, h, length, d)
        assert saved.attention_probs.shape == (b, h, length, length)
        np.testing.assert_allclose(saved.attention_probs.sum(-1), 1, rtol=1e-6)

    def test_backward_uses_it_up_everywhere(self):
        model = numbert.BertForPreTraining(tiny.config())
        model(**tiny.batch())
        assert all_saved(model)
        model.backward()
        assert all_saved(model) == []

    @pytest.mark.parametrize("given", [["labels"], ["next_sentence_label"]])
    def test_backward_of_one_loss_alone_leaves_nothing_behind(self, given):
        model = numbert.BertForPreTraining(tiny.config())
        batch = tiny.batch()
        model(**tiny.inputs(), **{name: batch[name] for name in given})
        model.backward()
        assert all_saved(model) == []

    def test_backward_without_a_forward_says_so(self):
        layer = Linear(3, 4)
        with pytest.raises(RuntimeError, match=r"Linear\.backward has no forward to undo"):
            layer.backward(np.ones((2, 4), np.float32))
        layer(np.ones((2, 3), np.float32))
        layer.backward(np.ones((2, 4), np.float32))
        with pytest.raises(RuntimeError, match="once for each forward"):
            layer.backward(np.ones((2, 4), np.float32))

    def test_backward_of_a_model_without_labels_says_so(self):
        for model_class in (
            numbert.BertForPreTraining,
            numbert.BertForMaskedLM,
            numbert.BertForNextSentencePrediction,
        ):
            model = model_class(tiny.config())
            model(**tiny.inputs())
            with pytest.raises(RuntimeError, match="the latest forward had no labels"):
                model.backward()

    def test_only_the_latest_forward_is_remembered(self):
        layer = Linear(3, 4, dtype=np.float64)
        rng = np.random.default_rng(0)
        first, second, d = rng.standard_normal((2, 3)), rng.standard_normal((2, 3)), rng.standard_normal((2, 4))
        layer(first)
        layer(second)
        layer.backward(d)
        np.testing.assert_allclose(layer.weight.grad, d.T @ second, rtol=1e-12)

    def test_gradients_add_up_over_backwards(self):
        model = numbert.BertForPreTraining(tiny.config(), dtype=np.float64).eval()
        model(**tiny.batch())
        model.backward()
        once = {name: p.grad.copy() for name, p in model.named_parameters()}
        model(**tiny.batch())
        model.backward()
        for name, parameter in model.named_parameters():
            np.testing.assert_allclose(parameter.grad, 2 * once[name], rtol=1e-12, atol=1e-15, err_msg=name)
        model.zero_grad()
        assert all(parameter.grad is None for parameter in model.parameters())

    def test_d_loss_scales_every_gradient(self):
        grads = []
        for d_loss in (1.0, 0.25):
            model = numbert.BertForPreTraining(tiny.config(), dtype=np.float64).eval()
            model(**tiny.batch())
            model.backward(d_loss)
            grads.append(np.concatenate([p.grad.ravel() for p in model.parameters()]))
        np.testing.assert_allclose(grads[1], grads[0] / 4, rtol=1e-12, atol=1e-16)


class TestSwitches:
    @pytest.mark.parametrize(("dtype", "rounding"), [(np.float32, 1e-5), (np.float64, 1e-13)])
    def test_no_grad_remembers_nothing_and_changes_nothing_but_rounding(self, dtype, rounding):
        model = numbert.BertModel(tiny.config(), dtype=dtype).eval()
        remembered = model(**tiny.inputs()).last_hidden_state
        fresh = numbert.BertModel(tiny.config(), dtype=dtype).eval()
        with numbert.no_grad():
            out = fresh(**tiny.inputs()).last_hidden_state
        np.testing.assert_allclose(out, remembered, rtol=0, atol=rounding)
        assert all_saved(fresh) == []

    def test_no_grad_leaves_dropout_to_train_and_eval(self):
        model = numbert.BertModel(tiny.config()).train()
        with numbert.no_grad():
            first, second = (model(**tiny.inputs()).last_hidden_state for _ in range(2))
        assert not np.array_equal(first, second)

    def test_eval_is_deterministic_and_train_drops(self):
        model = numbert.BertModel(tiny.config())
        assert model.training  # as in the field: a fresh model is one to train
        model.eval()
        first, second = (model(**tiny.inputs()).last_hidden_state for _ in range(2))
        assert np.array_equal(first, second)
        assert not np.array_equal(model.train()(**tiny.inputs()).last_hidden_state, first)

    def test_one_model_serves_many_threads(self):
        model = numbert.BertModel(tiny.config()).eval()
        batches = [tiny.inputs(seed) for seed in range(8)]
        with numbert.no_grad():
            expected = [model(**batch).last_hidden_state for batch in batches]
        wrong = []

        def serve(worker):
            with numbert.no_grad():
                for turn in range(40):
                    i = (worker + turn) % len(batches)
                    if not np.array_equal(model(**batches[i]).last_hidden_state, expected[i]):
                        wrong.append(i)

        threads = [threading.Thread(target=serve, args=(worker,)) for worker in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert not wrong

    def test_memory_does_not_grow_with_calls(self):
        import gc
        import tracemalloc

        model = numbert.BertModel(tiny.config())
        model(**tiny.inputs())
        gc.collect()
        tracemalloc.start()
        for _ in range(60):  # until NumPy has its own small caches
            model(**tiny.inputs())
        gc.collect()
        sizes = [tracemalloc.get_traced_memory()[0]]
        for _ in range(3):
            for _ in range(50):
                model(**tiny.inputs())
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        grown = min(np.diff(sizes))  # a leak grows each time, what other tests have left behind may settle once
        assert grown < 2_000, f"{grown} bytes more after 50 calls"


class TestTypes:
    @pytest.mark.parametrize("act", ["gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu", "swish", "tanh"])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_one_dtype_all_the_way(self, act, dtype):
        """Every output, every remembered array and every gradient has the model's dtype."""
        model = numbert.BertForPreTraining(tiny.config(hidden_act=act), dtype=dtype).train()
        outputs = model(**tiny.batch(), output_hidden_states=True, output_attentions=True)
        arrays = [outputs.loss, outputs.prediction_logits, outputs.seq_relationship_logits]
        arrays += [*outputs.hidden_states, *outputs.attentions]
        for module in model.modules():
            saved = vars(module.saved).values() if module.saved else ()
            arrays += [a for a in saved if isinstance(a, np.ndarray) and a.dtype.kind in "fc"]
        assert {array.dtype for array in arrays} == {np.dtype(dtype)}
        assert {array.dtype for array in model.backward().values()} == {np.dtype(dtype)}
        assert {parameter.grad.dtype for parameter in model.parameters()} == {np.dtype(dtype)}

    def test_one_seed_is_one_model_in_every_dtype(self):
        states = [
            numbert.BertModel(tiny.config(), seed=5, dtype=dtype).state_dict()
            for dtype in (np.float32, np.float64, np.complex128)
        ]
        for name in states[0]:
            assert np.array_equal(states[0][name], states[1][name]), name
            assert np.array_equal(states[0][name], states[2][name]), name

    def test_other_dtypes_are_refused(self):
        with pytest.raises(numbert.InputError, match="dtype is float16; a model can be float32, float64"):
            numbert.BertModel(tiny.config(), dtype=np.float16)


class TestNames:
    def test_named_parameters_have_the_published_names(self):
        names = [name for name, _ in numbert.BertForPreTraining(tiny.config()).named_parameters()]
        assert "bert.encoder.layer.0.attention.self.query.weight" in names
        assert "bert.embeddings.LayerNorm.weight" in names
        assert "cls.predictions.transform.LayerNorm.bias" in names
        assert "cls.seq_relationship.weight" in names
        assert "cls.predictions.bias" in names
        assert len(names) == len(set(names))

    def test_a_tied_weight_is_one_parameter_under_one_name(self):
        model = numbert.BertForPreTraining(tiny.config())
        assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
        assert not any("decoder" in name for name, _ in model.named_parameters())
        untied = numbert.BertForPreTraining(tiny.config(tie_word_embeddings=False))
        assert "cls.predictions.decoder.weight" in dict(untied.named_parameters())

    def test_state_comes_back(self):
        source = numbert.BertForPreTraining(tiny.config(), seed=1)
        target = numbert.BertForPreTraining(tiny.config(), seed=2)
        target.load_state_dict(source.state_dict())
        for name, array in source.state_dict().items():
            assert np.array_equal(array, target.state_dict()[name]), name
            assert not np.shares_memory(array, target.state_dict()[name]), name

    def test_a_state_that_does_not_fit_changes_nothing(self):
        model = numbert.BertModel(tiny.config())
        before = {name: array.copy() for name, array in model.state_dict().items()}
        wrong = {name: array + 1 for name, array in before.items()}
        wrong["pooler.dense.bias"] = np.zeros(13, np.float32)
        with pytest.raises(
            numbert.InputError, match=r"pooler.dense.bias has shape \(13,\), the model needs \(12,\)"
        ):
            model.load_state_dict(wrong)
        del wrong["pooler.dense.bias"]
        with pytest.raises(numbert.InputError, match=r"missing pooler\.dense\.bias; unexpected nothing"):
            model.load_state_dict(wrong)
        wrong["pooler.dense.bias"], wrong["extra"] = np.zeros(12), np.zeros(1)
        with pytest.raises(numbert.InputError, match="unexpected extra"):
            model.load_state_dict(wrong)
        for name, array in model.state_dict().items():
            assert np.array_equal(array, before[name]), name

    def test_the_listing_is_as_published(self):
        text = str(numbert.BertForMaskedLM(tiny.config(num_hidden_layers=12)))
        assert "      (word_embeddings): Embedding(29, 12, padding_idx=0)\n" in text
        assert "        (0-11): 12 x BertLayer(\n" in text
        assert "            (intermediate_act_fn): GELUActivation()\n" in text
        assert "      (decoder): Linear(in_features=12, out_features=29, bias=True)\n" in text
        assert "LayerNorm((12,), eps=1e-12, elementwise_affine=True)" in text
        assert text.count("BertLayer(") == 1


class TestRandomness:
    def test_initial_weights_are_as_published(self):
        sizes = {"vocab_size": 3000, "hidden_size": 120, "num_attention_heads": 4, "initializer_range": 0.02}
        model = numbert.BertForPreTraining(numbert.BertConfig(**sizes, num_hidden_layers=1))
        for name, parameter in model.named_parameters():
            if "LayerNorm.weight" in name:
                assert (parameter.data == 1).all(), name
            elif name.endswith("bias"):
                assert (parameter.data == 0).all(), name
            else:
                # Six standard errors of the mean and of the standard deviation.
                values = parameter.data[1:] if "word_embeddings" in name else parameter.data
                assert abs(values.mean()) < 6 * 0.02 / np.sqrt(values.size), name
                assert abs(values.std() - 0.02) < 6 * 0.02 / np.sqrt(2 * values.size), name
        assert not model.bert.embeddings.word_embeddings.weight.data[0].any(), "the [PAD] row"

    def test_no_two_layers_draw_the_same_numbers(self):
        model = numbert.BertModel(tiny.config())
        weights = [
            m.weight.data.ravel()[:12].tobytes() for m in model.modules() if isinstance(m, Linear | Embedding)
        ]
        weights.remove(model.embeddings.word_embeddings.weight.data.ravel()[:12].tobytes())
        assert len(set(weights)) == len(weights)

    def test_a_model_draws_from_the_generator_it_is_given_and_from_no_other(self):
        np.random.seed(0)  # noqa: NPY002 (the global state that must not matter)
        first = numbert.BertModel(tiny.config(), seed=np.random.default_rng(7))
        np.random.seed(1)  # noqa: NPY002
        second = numbert.BertModel(tiny.config(), seed=7)
        for name, array in first.state_dict().items():
            assert np.array_equal(array, second.state_dict()[name]), name
        out = [model.train()(**tiny.inputs()).last_hidden_state for model in (first, second)]
        assert np.array_equal(*out)

    def test_dropout_keeps_the_expectation(self):
        p = 0.3
        layer = Dropout(p, seed=1)
        x = np.ones((400, 500), np.float32)
        y = layer(x)
        assert np.unique(y).tolist() == [0, np.float32(1 / (1 - p))]
        # Six standard errors of a binomial share.
        assert abs((y == 0).mean() - p) < 6 * np.sqrt(p * (1 - p) / y.size)
        d = np.random.default_rng(0).standard_normal(x.shape).astype(np.float32)
        np.testing.assert_array_equal(layer.backward(d), d * y)

    def test_dropout_of_everything_and_of_nothing(self):
        x = np.ones((3, 4), np.float32)
        assert not Dropout(1.0)(x).any()
        assert Dropout(0.0)(x) is x
        with pytest.raises(numbert.InputError, match=r"between 0 and 1, got 1\.5"):
            Dropout(1.5)


class TestLayersAlone:
    def test_wrong_shapes_are_named(self):
        with pytest.raises(numbert.InputError, match=r"Linear takes \[..., 3\], got an array of shape \(2, 4\)"):
            Linear(3, 5)(np.ones((2, 4)))
        with pytest.raises(numbert.InputError, match=r"LayerNorm takes \[..., 3\], got .*\(2, 4\)"):
            LayerNorm(3)(np.ones((2, 4)))

    def test_layer_norm_adds_eps_to_the_variance_inside_the_root(self):
        layer = LayerNorm(3, eps=2.0, dtype=np.float64)
        expected = np.array([[-2, -1, 3]]) / np.sqrt((4 + 1 + 9) / 3 + 2.0)
        np.testing.assert_allclose(layer(np.array([[1.0, 2.0, 6.0]])), expected, rtol=1e-14)

    def test_the_configuration_reaches_every_layer(self):
        rates = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.3, "layer_norm_eps": 1e-3}
        for name, module in numbert.BertForPreTraining(tiny.config(**rates)).named_modules():
            if isinstance(module, Dropout):
                assert module.p == (0.3 if name.endswith("attention.self.dropout") else 0.2), name
            if isinstance(module, LayerNorm):
                assert module.eps == 1e-3, name

    @pytest.mark.parametrize(
        ("ids", "message"),
        [
            ([[1, 5]], r"ids has 5 at \[0, 1\]; it can be 0 to 4"),
            ([[-1]], r"ids has -1 at \[0, 0\]; it can be 0 to 4"),
            ([[1.0]], "ids must be integers, got an array of float64"),
        ],
    )
    def test_wrong_ids_are_named(self, ids, message):
        with pytest.raises(numbert.InputError, match=message):
            Embedding(5, 2)(np.array(ids))

    def test_the_pad_row_gets_no_lookup_gradient(self):
        layer = Embedding(5, 2, padding_idx=0)
        layer(np.array([[0, 3, 3]]))
        layer.backward(np.ones((1, 3, 2), np.float32))
        assert layer.weight.grad.tolist() == [[0, 0], [0, 0], [0, 0], [2, 2], [0, 0]]

    def test_a_layer_of_ones_own(self):
        """A student's Module needs nothing but forward, backward, remember and recall."""

        class Square(Module):
            def forward(self, x):
                self.remember(x=x)
                return x * x

            def backward(self, d_output):
                return d_output * 2 * self.recall().x

        square = Square()
        assert square(np.array([3.0])) == 9
        assert square.backward(np.array([1.0])) == 6
