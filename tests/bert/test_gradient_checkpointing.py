"""Gradient checkpointing: the gradients to the last bit, from one [b,l,e] kept for each layer."""

import tracemalloc

import numpy as np
import pytest
import tiny

import numbert
from numbert.nn.switches import inferring

MODELS = [
    numbert.BertModel,
    numbert.BertForPreTraining,
    numbert.BertForMaskedLM,
    numbert.BertForNextSentencePrediction,
]


def pair(model_class=numbert.BertForPreTraining, seed=0, dtype=np.float32, **changes):
    """The same model twice, in train(): one that remembers all, one with gradient checkpointing."""
    changes = {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.2} | changes
    plain, checkpointed = (model_class(tiny.config(**changes), seed=seed, dtype=dtype) for _ in range(2))
    checkpointed.gradient_checkpointing_enable()
    return plain, checkpointed


def encoder_of(model):
    return model.encoder if isinstance(model, numbert.BertModel) else model.bert.encoder


def step(model, seed=0):
    """Forward and backward -> what forward gave, and the gradient of inputs_embeds."""
    given = tiny.batch(seed)
    if isinstance(model, numbert.BertModel):
        outputs = model(**tiny.inputs(seed))
        rng = np.random.default_rng(seed + 100)
        upstream = [rng.standard_normal(array.shape).astype(model.dtype) for array in outputs.to_tuple()]
        return outputs.to_tuple(), model.backward(*upstream)["inputs_embeds"]
    words, is_next = given.pop("labels"), given.pop("next_sentence_label")
    if isinstance(model, numbert.BertForPreTraining):
        given |= {"labels": words, "next_sentence_label": is_next}
    else:
        given["labels"] = words if isinstance(model, numbert.BertForMaskedLM) else is_next
    outputs = model(**given)
    return outputs.to_tuple(), model.backward()["inputs_embeds"]


def assert_same_bits(plain, checkpointed):
    for (name, ours), theirs in zip(checkpointed.named_parameters(), plain.parameters(), strict=True):
        np.testing.assert_array_equal(ours.grad, theirs.grad, err_msg=name, strict=True)
    assert checkpointed.rng.bit_generator.state == plain.rng.bit_generator.state


def remembered_bytes(layer):
    """Of all arrays that a layer and those below it remember; one that several remember counts once."""
    values = [value for module in layer.modules() if module.saved for value in vars(module.saved).values()]
    arrays = {id(value): value for value in values if isinstance(value, np.ndarray)}
    return sum(array.nbytes for array in arrays.values())


class TestGradients:
    @pytest.mark.parametrize("seed", [0, 1, 2])
    @pytest.mark.parametrize("layers", [0, 1, 2, 5])
    def test_every_gradient_is_the_same_to_the_last_bit_with_dropout(self, layers, seed):
        plain, checkpointed = pair(seed=seed, num_hidden_layers=layers)
        outputs, d_embeds = step(plain, seed)
        our_outputs, our_d_embeds = step(checkpointed, seed)
        for ours, theirs in zip(our_outputs, outputs, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(our_d_embeds, d_embeds)
        assert_same_bits(plain, checkpointed)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("model_class", MODELS)
    def test_in_every_model(self, model_class, dtype):
        plain, checkpointed = pair(model_class, dtype=dtype)
        np.testing.assert_array_equal(step(checkpointed)[1], step(plain)[1])
        assert_same_bits(plain, checkpointed)

    def test_steps_in_a_row_draw_other_numbers_and_add_up_alike(self):
        plain, checkpointed = pair()
        losses = []
        for seed in range(3):
            outputs, d_embeds = step(plain)
            our_outputs, our_d_embeds = step(checkpointed)
            assert our_outputs[0] == outputs[0]
            np.testing.assert_array_equal(our_d_embeds, d_embeds, err_msg=str(seed))
            losses.append(float(outputs[0]))
        assert len(set(losses)) == 3, "the generator has stood still"
        assert_same_bits(plain, checkpointed)

    def test_the_generator_comes_back_to_where_it_was_before_backward(self):
        model = pair()[1]
        model(**tiny.batch())
        model.rng.random(5)  # someone else draws in between
        before = model.rng.bit_generator.state
        model.backward()
        assert model.rng.bit_generator.state == before

    def test_what_is_returned_on_request_is_the_same(self):
        plain, checkpointed = pair(numbert.BertModel)
        wanted = {"output_hidden_states": True, "output_attentions": True}
        theirs, ours = (model(**tiny.inputs(), **wanted) for model in (plain, checkpointed))
        assert (len(ours.hidden_states), len(ours.attentions)) == (3, 2)
        asked_for = [(*outputs.hidden_states, *outputs.attentions) for outputs in (ours, theirs)]
        for a, b in zip(*asked_for, strict=True):
            np.testing.assert_array_equal(a, b)
        d = np.random.default_rng(0).standard_normal(ours[0].shape).astype(np.float32)
        np.testing.assert_array_equal(
            checkpointed.backward(d)["inputs_embeds"], plain.backward(d)["inputs_embeds"]
        )

    def test_the_complex_step_proves_it(self):
        for model_class in (numbert.BertForPreTraining, numbert.BertModel):
            model = pair(model_class, initializer_range=0.5)[1]
            given = tiny.batch() if model_class is numbert.BertForPreTraining else tiny.inputs()
            report = numbert.gradcheck(model, max_entries=2, **given)
            assert report.ok
            assert "complex" in str(report)


class TestWhatIsKept:
    def test_one_input_for_each_layer_and_nothing_below_it(self):
        model = pair(num_hidden_layers=4)[1]
        outputs = model(**tiny.batch(), output_hidden_states=True)
        encoder = encoder_of(model)
        kept = encoder.saved
        assert set(vars(kept)) == {"reruns", "head_mask", "encoder_hidden_states"}
        assert [rerun.module for rerun in kept.reruns] == list(encoder.layer)
        for rerun, hidden_states in zip(kept.reruns, outputs.hidden_states, strict=False):
            layer_input, attention_mask, *_ = rerun.inputs
            assert layer_input is hidden_states
            assert layer_input.shape == (tiny.BATCH, tiny.LENGTH, 12)
            assert attention_mask.size == tiny.BATCH * tiny.LENGTH
        assert [name for name, module in encoder.named_modules() if module.saved is not None] == [""]

    def test_backward_uses_it_up(self):
        model = pair()[1]
        step(model)
        assert all(module.saved is None for module in model.modules())
        with pytest.raises(RuntimeError, match="backward has no forward to undo"):
            encoder_of(model).backward(np.ones((tiny.BATCH, tiny.LENGTH, 12), np.float32))

    def test_backward_lets_each_layer_go_before_it_runs_the_next(self):
        model = pair(num_hidden_layers=4)[1]
        encoder = encoder_of(model)
        remembering = []

        def watch(layer, d_outputs):
            full = [any(module.saved is not None for module in layer.modules()) for layer in encoder.layer]
            remembering.append(full)

        for layer in encoder.layer:
            layer.register_backward_pre_hook(watch)
        step(model)
        assert remembering == [[i == at for i in range(4)] for at in (3, 2, 1, 0)]

    def test_within_keep_saved_one_forward_serves_several_backwards(self):
        plain, model = pair()
        for _ in range(2):
            plain.rng.bit_generator.state = model.rng.bit_generator.state
            plain(**tiny.batch())
            plain.backward()
        model(**tiny.batch())
        with numbert.nn.keep_saved():
            model.backward()
            assert not any(module.saved for layer in encoder_of(model).layer for module in layer.modules())
        model.backward()
        assert_same_bits(plain, model)
        assert all(module.saved is None for module in model.modules())

    def test_peak_memory(self):
        """With it: n inputs and one layer's activations. Without: n layers' activations."""
        sizes = {"num_hidden_layers": 8, "hidden_size": 24, "intermediate_size": 96, "max_position_embeddings": 64}
        ids = np.random.default_rng(0).integers(1, 29, (4, 64))
        d = np.ones((4, 64, 24), np.float32)  # [b,l,e]
        peaks = []
        for model in pair(numbert.BertModel, **sizes):
            for parameter in model.parameters():
                parameter.grad = np.zeros_like(parameter.data)  # so that only activations come and go
            tracemalloc.start()
            model(input_ids=ids)
            model.backward(d)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        plain, checkpointed = peaks
        model = numbert.BertModel(tiny.config(**sizes))
        model(input_ids=ids)
        one_layer = remembered_bytes(model.encoder.layer[0])
        assert plain > 8 * one_layer
        # On the way, backward of one layer holds about as much as it remembers.
        assert checkpointed < 8 * d.nbytes + 2 * one_layer
        assert checkpointed < 0.4 * plain


class TestSwitches:
    def test_the_configuration_says_how_a_model_starts(self, tmp_path):
        for value in (False, True):
            model = numbert.BertForMaskedLM(tiny.config(gradient_checkpointing=value))
            assert encoder_of(model).gradient_checkpointing is value
            model.save_pretrained(tmp_path)
            again = numbert.BertForMaskedLM.from_pretrained(tmp_path)
            assert again.config.gradient_checkpointing is value
            assert encoder_of(again).gradient_checkpointing is value

    @pytest.mark.parametrize("model_class", MODELS)
    def test_it_is_switched_on_and_off_and_the_configuration_stays(self, model_class):
        model = model_class(tiny.config())
        model.gradient_checkpointing_enable()
        assert encoder_of(model).gradient_checkpointing
        model.gradient_checkpointing_disable()
        assert not encoder_of(model).gradient_checkpointing
        assert not model.config.gradient_checkpointing

    def test_in_eval_all_is_remembered_as_without_it(self):
        plain, checkpointed = pair(numbert.BertModel)
        for model in (plain.eval(), checkpointed.eval()):
            model(**tiny.inputs())
        assert encoder_of(checkpointed).saved.reruns is None
        assert encoder_of(checkpointed).layer[0].attention.self.saved is not None
        d = np.random.default_rng(0).standard_normal((tiny.BATCH, tiny.LENGTH, 12)).astype(np.float32)
        np.testing.assert_array_equal(
            checkpointed.backward(d)["inputs_embeds"], plain.backward(d)["inputs_embeds"]
        )

    def test_under_no_grad_nothing_is_written_and_dropout_draws_the_same(self):
        plain, checkpointed = pair(numbert.BertModel)
        with numbert.no_grad():
            theirs, ours = (model(**tiny.inputs()).last_hidden_state for model in (plain, checkpointed))
        np.testing.assert_array_equal(ours, theirs)
        assert all(module.saved is None for module in checkpointed.modules())

    def test_what_runs_again_is_computed_in_one_form_both_times(self):
        """Under no_grad() alone another form may be faster, and round otherwise."""
        for checkpointing, wanted in ((True, [False, False]), (False, [False])):
            model, seen = pair(numbert.BertModel)[checkpointing], []
            dense = model.encoder.layer[0].output.dense
            dense.register_forward_hook(lambda *_, seen=seen: seen.append(inferring()))
            step(model)
            assert seen == wanted
            with numbert.no_grad():
                model(**tiny.inputs())
            assert seen == [*wanted, True]

    def test_a_forward_is_undone_as_it_was_made(self):
        """The switch may move between forward and backward, and from one forward to the next."""
        for first, second in ((True, False), (False, True)):
            plain, model = pair()
            for on in (first, second):
                (model.gradient_checkpointing_enable if on else model.gradient_checkpointing_disable)()
                plain(**tiny.batch())
                model(**tiny.batch())  # the first is replaced by the second
            (model.gradient_checkpointing_enable if first else model.gradient_checkpointing_disable)()
            plain.backward(), model.backward()
            assert_same_bits(plain, model)
            assert all(module.saved is None for module in model.modules())

    def test_to_leave_train_before_backward_is_refused(self):
        """Dropout would be off when the layers run again, and the gradients those of another forward."""
        model = pair()[1]
        model(**tiny.batch())
        model.eval()
        with pytest.raises(RuntimeError, match=r"stay in train\(\) between forward and backward"):
            model.backward()
