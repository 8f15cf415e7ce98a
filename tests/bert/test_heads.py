"""Head masks and pruned heads: what they compute, how pruned models are kept, and what is refused."""

import copy
import json

import numpy as np
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

import numbert
from numbert import BertForMaskedLM, BertForPreTraining, BertModel, InputError
from numbert.bert.attention import BertAttention
from numbert.bert.pretrained import encoder_parameters, largest_parameter
from numbert.bert.pruning import heads_to_prune
from numbert.inside.inspect import inspect
from numbert.inside.shapes import shapes
from numbert.inside.summary import summary
from numbert.nn.switches import uninitialized

DECODER = {"is_decoder": True, "add_cross_attention": True, "position_embedding_type": "relative_key_query"}
PRUNED = {0: [1], 1: [2, 0]}  # of two layers of three heads
KEPT = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])  # [n,h], the head mask that says the same


def model_of(cls=BertModel, **changes):
    """A model in float64 whose every parameter is random, far from zero."""
    model = cls(tiny.config(**changes), dtype=np.float64).eval()
    rng = np.random.default_rng(3)
    for parameter in model.parameters():
        parameter.data = rng.normal(0, 0.5, parameter.shape)
    return model


def decoder_inputs():
    rng = np.random.default_rng(4)
    return {**tiny.inputs(), "encoder_hidden_states": rng.standard_normal((tiny.BATCH, 4, 12))}


def upstream():
    return np.random.default_rng(5).standard_normal((tiny.BATCH, tiny.LENGTH, 12))


def same(one, other, tolerance=1e-12):
    return one.shape == other.shape and np.abs(one - other).max() <= tolerance * max(1.0, np.abs(other).max())


def rows_left(heads, d=4):
    """Which of the numbers of the joined heads [h*d] are left."""
    return np.array([head * d + i for head in range(3) if head not in heads for i in range(d)])


class TestHeadMask:
    def test_one_keeps_a_head_and_a_number_scales_its_context(self):
        model, inputs = model_of(), tiny.inputs()
        plain = model(**inputs, output_attentions=True)
        ones = model(**inputs, head_mask=np.ones((2, 3)), output_attentions=True)
        assert same(ones.last_hidden_state, plain.last_hidden_state)
        scaled = model(**inputs, head_mask=[[1, 0.25, 0], [1, 1, 1]], output_attentions=True)
        for head, factor in enumerate((1, 0.25, 0)):
            assert same(scaled.attentions[0][:, head], factor * plain.attentions[0][:, head])

    def test_one_mask_of_all_layers_is_that_mask_in_each_and_gets_the_sum_of_the_gradients(self):
        model, g = model_of(), upstream()
        mask = np.array([0.5, 1.0, -0.75])
        out = model(**tiny.inputs(), head_mask=mask).last_hidden_state
        d_mask = model.backward(g)["head_mask"]
        each = model(**tiny.inputs(), head_mask=np.stack([mask, mask])).last_hidden_state
        d_masks = model.backward(g)["head_mask"]
        assert same(out, each)
        assert d_mask.shape == (3,)
        assert d_masks.shape == (2, 3)
        assert same(d_mask, d_masks.sum(axis=0))

    @pytest.mark.parametrize("decoder", [False, True])
    def test_its_gradient_is_the_derivative(self, decoder):
        # A step of every entry, by central differences; numbert gradcheck does it by complex steps.
        model = model_of(**DECODER) if decoder else model_of()
        inputs, g = decoder_inputs() if decoder else tiny.inputs(), upstream()
        mask = np.random.default_rng(6).random((2, 3))
        model(**inputs, head_mask=mask)
        d_mask = model.backward(g)["head_mask"]
        for place in np.ndindex(2, 3):
            sums = []
            for step in (1e-5, -1e-5):
                moved = mask.copy()
                moved[place] += step
                with numbert.no_grad():
                    sums.append((g * model(**inputs, head_mask=moved).last_hidden_state).sum())
            assert d_mask[place] == pytest.approx((sums[0] - sums[1]) / 2e-5, rel=1e-6)

    def test_cross_attention_has_the_same_mask_and_its_gradient_is_added(self):
        model, inputs = model_of(**DECODER), decoder_inputs()
        out = model(**inputs, head_mask=KEPT, output_attentions=True)
        for layer in (0, 1):
            for probs in (out.attentions[layer], out.cross_attentions[layer]):
                assert (probs[:, KEPT[layer] == 0] == 0).all()
                assert (probs[:, KEPT[layer] == 1] != 0).any()
        d_head_mask = model.backward(upstream())["head_mask"]
        parts = []
        for layer in model.encoder.layer:
            for attention in (layer.attention, layer.crossattention):
                attention.self.head_mask.register_backward_hook(
                    lambda module, d_outputs, d_inputs: parts.append(d_inputs[1].reshape(-1))
                )
        model(**inputs, head_mask=KEPT)
        model.backward(upstream())
        assert len(parts) == 4  # the last layer's cross-attention comes first
        assert same(d_head_mask, np.array([parts[2] + parts[3], parts[0] + parts[1]]))

    def test_attentions_are_after_the_mask_and_before_dropout(self):
        model = model_of(attention_probs_dropout_prob=0.5).train()
        probs = model(**tiny.inputs(), head_mask=KEPT, output_attentions=True).attentions
        for layer in (0, 1):
            assert same(probs[layer].sum(axis=-1), np.broadcast_to(KEPT[layer][:, None], (5, 3, 7)))

    @pytest.mark.parametrize(
        ("mask", "message"),
        [
            (np.ones(4), r"head_mask has 4 heads; for this model it must be \[3\] or \[2,3\]"),
            ([], r"head_mask has 0 heads"),
            (np.ones((3, 3)), r"head_mask has shape \(3, 3\); it must be \[h\] or \[2,h\]"),
            (np.ones((2, 1, 3)), r"head_mask has shape \(2, 1, 3\)"),
            (1.0, r"head_mask has shape \(\)"),
            ([[1, 1, 1], [1, 1]], "head_mask is .*; it must be an array, or rows of one length"),
            (["1", "0", "1"], "head_mask must be numbers, got an array of <U1"),
            ([None, 1, 1], "head_mask must be numbers, got an array of object"),
            (np.ones(3) * 1j, "head_mask is complex128, the model is float32"),
            ([1, np.nan, 1], "head_mask has nan for a head; it must be a finite number"),
            ([1, 1, 1e300], "head_mask has inf for a head"),
        ],
    )
    def test_a_wrong_one_is_one_line(self, mask, message):
        with pytest.raises(InputError, match=message) as caught:
            BertModel(tiny.config())(**tiny.inputs(), head_mask=mask)
        assert "\n" not in str(caught.value)


class TestPruning:
    """A pruned head is one whose mask is 0."""

    @pytest.mark.parametrize("decoder", [False, True])
    def test_outputs_and_gradients_are_those_of_a_head_mask_of_0(self, decoder):
        changes = DECODER | {"add_cross_attention": False} if decoder else {}
        masked, g = model_of(**changes), upstream()
        pruned = model_of(**changes)
        pruned.prune_heads(PRUNED)
        given = {**tiny.inputs(), "output_attentions": True}
        theirs, ours = masked(**given, head_mask=KEPT), pruned(**given)
        assert same(ours.last_hidden_state, theirs.last_hidden_state)
        assert all(same(*pair) for pair in zip(ours.attentions, theirs.attentions, strict=True))
        d_embeds = masked.backward(g)["inputs_embeds"]
        assert same(pruned.backward(g)["inputs_embeds"], d_embeds)
        for (name, mine), other in zip(pruned.named_parameters(), masked.parameters(), strict=True):
            wanted = other.grad
            if ".attention." in name and other.shape != mine.shape:
                rows = rows_left(PRUNED[int(name.split(".")[2])])
                wanted = wanted[:, rows] if ".output." in name else wanted[rows]
            if wanted is None:
                assert mine.grad is None, name
            else:
                assert same(mine.grad, wanted), name

    def test_the_weights_that_are_left_are_those_of_the_heads_that_are_left(self):
        attention = model_of().encoder.layer[1].attention
        before = copy.deepcopy(attention)
        attention.prune_heads([2, 0])
        left = rows_left([2, 0])
        for name in ("query", "key", "value"):
            assert np.array_equal(
                getattr(attention.self, name).weight.data, getattr(before.self, name).weight.data[left]
            )
            assert np.array_equal(
                getattr(attention.self, name).bias.data, getattr(before.self, name).bias.data[left]
            )
        assert np.array_equal(attention.output.dense.weight.data, before.output.dense.weight.data[:, left])
        assert np.array_equal(attention.output.dense.bias.data, before.output.dense.bias.data)
        assert attention.pruned_heads == {0, 2}
        assert attention.self.num_attention_heads == 1
        assert "(query): Linear(in_features=12, out_features=4" in repr(attention)

    def test_heads_go_one_by_one_or_all_at_once_and_keep_their_numbers(self):
        one_by_one, at_once = model_of(), model_of()
        one_by_one.prune_heads({1: [2]})
        one_by_one.prune_heads({0: [1]})
        one_by_one.prune_heads({1: [0], 0: []})
        at_once.prune_heads(PRUNED)
        assert one_by_one.config.pruned_heads == at_once.config.pruned_heads == {0: [1], 1: [0, 2]}
        for name, array in at_once.state_dict().items():
            assert np.array_equal(one_by_one.state_dict()[name], array), name
        assert at_once.num_parameters() == model_of().num_parameters() - 3 * (4 * 12 * 4 + 3 * 4)

    def test_masks_and_results_count_pruned_heads(self):
        model = model_of()
        model.prune_heads(PRUNED)
        mask = np.random.default_rng(6).random((2, 3))
        out = model(**tiny.inputs(), head_mask=mask, output_attentions=True)
        d_head_mask = model.backward(upstream())["head_mask"]
        whole = model_of()
        theirs = whole(**tiny.inputs(), head_mask=mask * KEPT)
        d_whole = whole.backward(upstream())["head_mask"]
        assert same(out.last_hidden_state, theirs.last_hidden_state)
        assert [probs.shape for probs in out.attentions] == [(5, 3, 7, 7)] * 2
        for layer in (0, 1):
            assert (out.attentions[layer][:, KEPT[layer] == 0] == 0).all()
        assert same(d_head_mask, d_whole * KEPT)

    def test_a_decoder_caches_the_heads_that_are_left_and_cross_attention_keeps_all(self):
        model, inputs = model_of(**DECODER), decoder_inputs()
        model.prune_heads(PRUNED)
        whole = model(**inputs, output_attentions=True)
        assert [[array.shape[1] for array in layer] for layer in whole.past_key_values] == [
            [2, 2, 3, 3],
            [1, 1, 3, 3],
        ]
        for probs in whole.cross_attentions:
            assert (probs.max(axis=(0, 2, 3)) > 0).all()
        past, outputs = None, []
        for start, stop in ((0, 3), (3, 4), (4, 7)):
            step = model(
                inputs["input_ids"][:, start:stop],
                inputs["attention_mask"][:, :stop],
                inputs["token_type_ids"][:, start:stop],
                encoder_hidden_states=inputs["encoder_hidden_states"],
                past_key_values=past,
            )
            past = step.past_key_values
            outputs.append(step.last_hidden_state)
        assert same(np.concatenate(outputs, axis=1), whole.last_hidden_state)
        with pytest.raises(InputError, match="past_key_values"):
            model_of(**DECODER)(**decoder_inputs() | {"past_key_values": past})

    def test_with_gradient_checkpointing_and_unpad(self):
        undropped = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        plain, other, g = model_of(), model_of(**undropped, gradient_checkpointing=True), upstream()
        for model in (plain, other.train()):
            model.prune_heads(PRUNED)
        real = tiny.inputs()["attention_mask"][..., None]
        theirs = plain(**tiny.inputs()).last_hidden_state
        d_theirs = plain.backward(g * real)
        ours = other(**tiny.inputs(), unpad=True).last_hidden_state
        assert same(ours, theirs * real)
        assert same(other.backward(g)["inputs_embeds"], d_theirs["inputs_embeds"])

    def test_gradients_and_what_was_saved_before_are_gone(self):
        model = model_of(BertForMaskedLM, gradient_checkpointing=True).train()
        inputs = {**tiny.inputs(), "labels": tiny.batch()["labels"]}
        model(**inputs)
        model.backward()
        model(**inputs)
        model.prune_heads({1: [0]})
        layers = model.bert.encoder.layer
        assert layers[1].attention.self.query.weight.grad is None
        assert layers[0].attention.self.query.weight.grad is not None
        with pytest.raises(RuntimeError, match="no forward to undo"):
            model.backward()

    def test_an_optimizer_of_the_old_shapes_says_so_and_changes_nothing(self):
        model = model_of(BertForMaskedLM)
        optimizer = numbert.AdamW(model.parameters())
        inputs = {**tiny.inputs(), "labels": tiny.batch()["labels"]}

        def step(optimizer):
            model.zero_grad()
            model(**inputs)
            model.backward()
            optimizer.step()

        step(optimizer)
        model.prune_heads({1: [0]})
        before = {name: array.copy() for name, array in model.state_dict().items()}
        with pytest.raises(InputError, match=r"moments of shape \(12, 12\) for a parameter of shape \(8, 12\)"):
            step(optimizer)
        assert all(np.array_equal(array, before[name]) for name, array in model.state_dict().items())
        state = optimizer.state_dict()
        new = numbert.AdamW(model.parameters())
        with pytest.raises(
            InputError, match=r"m of parameter \d+ is float64 \[12, 12\]; it must be real numbers \[8, 12\]"
        ):
            new.load_state_dict(state)
        step(new)
        step(new)


class TestConfiguration:
    def test_a_models_configuration_is_its_own(self):
        config = tiny.config()
        one, other = BertModel(config), BertModel(config)
        one.prune_heads({0: [1]})
        assert one.config.pruned_heads == {0: [1]}
        assert config.pruned_heads == other.config.pruned_heads == {}
        third = BertModel(one.config)
        third.prune_heads({0: [2]})
        assert one.config.pruned_heads == {0: [1]}
        assert third.config.pruned_heads == {0: [1, 2]}

    @pytest.mark.parametrize("through", ["model", "inner"])
    def test_a_model_shares_it_with_the_model_inside(self, through):
        model = BertForPreTraining(tiny.config())
        (model if through == "model" else model.bert).prune_heads({1: [0]})
        assert model.config is model.bert.config
        assert model.config.pruned_heads == {1: [0]}

    def test_a_model_is_made_pruned_and_draws_the_weights_that_it_would_have_had(self):
        made = BertModel(tiny.config(pruned_heads=PRUNED), seed=5)
        pruned = BertModel(tiny.config(), seed=5)
        pruned.prune_heads(PRUNED)
        for name, array in pruned.state_dict().items():
            assert np.array_equal(made.state_dict()[name], array), name
        with uninitialized():
            reserved = BertModel(tiny.config(pruned_heads=PRUNED))
        assert [p.shape for p in reserved.parameters()] == [p.shape for p in made.parameters()]

    def test_the_parameters_of_any_encoder_are_counted_before_they_are_made(self):
        for changes in (DECODER, {"position_embedding_type": "relative_key", "num_attention_heads": 1}):
            config = tiny.config(**changes, max_position_embeddings=50)
            model = BertModel(config, add_pooling_layer=False)
            assert encoder_parameters(config) == model.num_parameters()
            assert largest_parameter(config) == max(parameter.size for parameter in model.parameters())

    @pytest.mark.parametrize(
        "pruned",
        [
            {"0": [1], 0: [2]},
            {"00": [1], "0": [2]},
            {"9" * 5000: [1]},
            {2: [0]},
            {0: [0, 1, 2]},
            {0: [3]},
            {0: 1},
            [0],
        ],
    )
    def test_a_wrong_one_in_config_json_is_one_line(self, pruned):
        with pytest.raises(
            InputError, match=r"^pruned_heads is .*; it must be a dict from layers, 0 to 1, to"
        ) as caught:
            tiny.config(pruned_heads=pruned)
        assert "\n" not in str(caught.value)


class TestFolders:
    @pytest.fixture(scope="class")
    @classmethod
    def saved(cls, tmp_path_factory):
        model = model_of(BertForPreTraining, **DECODER)
        model.prune_heads({1: [2]})
        model.prune_heads({0: [1], 1: [0]})
        folder = tmp_path_factory.mktemp("pruned")
        model.save_pretrained(folder)
        return model, folder

    def test_a_pruned_model_is_read_back(self, saved):
        model, folder = saved
        assert json.loads((folder / "config.json").read_text())["pruned_heads"] == {"0": [1], "1": [0, 2]}
        back = BertForPreTraining.from_pretrained(folder)
        assert back.config.pruned_heads == {0: [1], 1: [0, 2]}
        inputs = decoder_inputs()
        assert np.array_equal(back(**inputs)[0], model(**inputs)[0])
        inner = BertModel.from_pretrained(folder)
        assert np.array_equal(inner(**inputs)[0], model.bert(**inputs)[0])
        back.prune_heads({0: [0]})
        assert back.config.pruned_heads == {0: [0, 1], 1: [0, 2]}

    def test_in_another_number_type_and_once_more(self, saved, tmp_path):
        model, folder = saved
        BertForPreTraining.from_pretrained(folder, dtype=np.float32).save_pretrained(tmp_path, dtype=np.float16)
        back = BertForPreTraining.from_pretrained(tmp_path)
        assert back.dtype == np.float32
        for name, array in model.state_dict().items():
            assert same(back.state_dict()[name], array, tolerance=1e-3), name

    def test_weights_of_all_heads_do_not_fit(self, saved, tmp_path):
        model, folder = saved
        whole = model_of(BertForPreTraining, **DECODER)
        with pytest.raises(InputError, match=r"query.weight has shape \(8, 12\), the model needs \(12, 12\)"):
            whole.load_state_dict(model.state_dict())
        whole.save_pretrained(tmp_path)
        (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
        with pytest.raises(InputError, match=r"query.weight in .* has shape \[12, 12\]; .* needs \[8, 12\]"):
            BertForPreTraining.from_pretrained(tmp_path)
        assert inspect(tmp_path).counts["mismatched"] == 14

    def test_inspect_and_summary_count_what_is_there(self, saved):
        model, folder = saved
        found = inspect(folder)
        assert found.parameters == model.num_parameters()
        assert found.counts["mismatched"] == found.counts["missing"] == 0
        assert f"Tied parameters counted once: {model.num_parameters():,}" in summary(model)

    def test_shapes_are_those_of_the_heads_that_are_left(self):
        config = tiny.config(pruned_heads=PRUNED)
        rows = {row.name: row for row in shapes(config, batch=5, length=7, saved=True)}
        model = BertModel(config)
        model(**tiny.inputs())
        for number, h in ((0, 2), (1, 1)):
            name = f"encoder.layer.{number}.attention"
            saved = model.encoder.layer[number].attention.self.saved
            for key in ("query_layer", "key_layer", "attention_probs"):
                assert rows[f"{name}.self.saved.{key}"].numbers == getattr(saved, key).shape
            assert rows[f"{name}.self.saved.key_layer"].letters == ("b", "h", "r", "d")
            assert rows[f"{name}.self/0"].letters == ("b", "l", "h*d")
            assert rows[f"{name}.self/0"].numbers == (5, 7, 4 * h)
            assert rows[f"{name}.output.dense"].numbers == (5, 7, 12)


WRONG = [
    ({2: [0]}, "heads_to_prune has layer 2; there are 2, counted from 0"),
    ({-1: [0]}, "heads_to_prune has layer -1"),
    ({True: [0]}, "a layer in heads_to_prune is True; it must be an integer"),
    ({"0": [0]}, "a layer in heads_to_prune is '0'"),
    ({0.0: [0]}, "a layer in heads_to_prune is 0.0"),
    ({10**5000: [0]}, "heads_to_prune has layer a int that cannot be shown"),
    ([0], r"heads_to_prune is \[0\]; it must be a dict of lists, one a layer"),
    (None, "heads_to_prune is None"),
    ({0: 1}, "layer 0: the heads to prune are 1; they must be a list of integers"),
    ({0: None}, "layer 0: the heads to prune are None"),
    ({0: "1"}, "layer 0: the heads to prune are '1'"),
    ({0: b"\x01"}, "layer 0: the heads to prune are b"),
    ({0: {1: True}}, "layer 0: the heads to prune are {1: True}"),
    ({0: np.array(1)}, r"layer 0: the heads to prune are array\(1\)"),
    ({0: [3]}, "layer 0: there is no head 3; there are heads 0 to 2"),
    ({0: [-1]}, "layer 0: there is no head -1"),
    ({0: [10**5000]}, "layer 0: there is no head a int that cannot be shown"),
    ({0: [1.0]}, "layer 0: a head to prune is 1.0; it must be an integer"),
    ({0: [True]}, "layer 0: a head to prune is True"),
    ({0: [np.True_]}, "layer 0: a head to prune is "),
    ({0: ["1"]}, "layer 0: a head to prune is '1'"),
    ({0: [[1]]}, r"layer 0: a head to prune is \[1\]"),
    ({0: [0, 0]}, "layer 0: head 0 is named twice"),
    ({1: [2]}, "layer 1: head 2 is pruned already"),
    ({1: [0, 1]}, "layer 1: all 3 heads of a layer cannot be pruned; one must be left"),
    ({0: range(3)}, "layer 0: all 3 heads of a layer cannot be pruned"),
]


class TestWhatIsRefused:
    @pytest.mark.parametrize(("heads", "message"), WRONG)
    def test_it_is_one_line_and_nothing_is_pruned(self, heads, message):
        model = BertModel(tiny.config(pruned_heads={1: [2]}))
        # What comes before the wrong part is right, and must not be pruned either.
        if isinstance(heads, dict) and 0 not in heads:
            heads = {0: [1], **heads}
        before = [p.data for p in model.parameters()]
        with pytest.raises(InputError, match=message) as caught:
            model.prune_heads(heads)
        assert "\n" not in str(caught.value)
        assert model.config.pruned_heads == {1: [2]}
        assert all(p.data is array for p, array in zip(model.parameters(), before, strict=True))

    def test_a_layer_refuses_the_same(self):
        attention = BertAttention(tiny.config())
        attention.prune_heads([1])
        for heads, message in (
            ([1], "head 1 is pruned already"),
            ([0, 2], "all 3 heads"),
            (7, "the heads to prune are 7"),
        ):
            with pytest.raises(InputError, match=message):
                attention.prune_heads(heads)
        assert attention.pruned_heads == {1}

    anything = st.one_of(
        st.integers(-4, 4),
        st.integers(),
        st.none(),
        st.booleans(),
        st.floats(),
        st.text(max_size=3),
        st.binary(max_size=3),
    )

    @settings(max_examples=60)
    @given(
        heads=st.one_of(
            anything,
            st.lists(st.integers(-1, 4)),
            st.lists(anything),
            st.sets(st.integers(0, 3)),
            st.dictionaries(st.integers(0, 3), anything),
            st.lists(st.integers(0, 3)).map(np.array),
            st.integers(0, 3).map(np.array),
            st.lists(st.integers(0, 3)).map(iter),
        )
    )
    def test_whatever_is_given_is_a_set_of_heads_or_an_input_error(self, heads):
        try:
            those = heads_to_prune(heads, pruned={1}, h=4)
        except InputError:
            return
        assert those < {0, 2, 3}
