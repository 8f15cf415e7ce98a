"""The decoder: who sees whom, the four cases of keys and values, caches, and the causal language model."""

import warnings

import numpy as np
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import one_line

import numbert
from numbert import BertForMaskedLM, BertLMHeadModel, BertModel, InputError, no_grad
from numbert.bert.cache import KeysAndValues

POSITIONS = ("absolute", "relative_key", "relative_key_query")
SPLITS = [(1,) * 7, (3, 4), (2, 1, 4), (6, 1)]
ENCODED = 4  # r, the tokens of the encoder's texts
LOWEST = np.finfo(np.float32).min


def decoder(model_class=BertModel, dtype=np.float64, cross=False, train=False, **changes):
    """A model in eval(), with weights far from 0, so that nothing is nearly linear."""
    config = tiny.config(is_decoder=True, add_cross_attention=cross, initializer_range=0.5, **changes)
    model = model_class(config, seed=3, dtype=dtype)
    return model if train else model.eval()


def encoded(mask="padding", seed=0):
    """What cross-attention looks at, with a mask [b,r] or [b,l,r]."""
    rng = np.random.default_rng(seed)
    masks = {
        "padding": (np.arange(ENCODED) < np.array([4, 2, 3, 1, 4])[:, None]).astype(int),
        "rows": rng.integers(0, 2, (tiny.BATCH, tiny.LENGTH, ENCODED)) | (np.arange(ENCODED) == 1),
    }
    states = rng.standard_normal((tiny.BATCH, ENCODED, tiny.SIZES["hidden_size"]))
    return {"encoder_hidden_states": states, "encoder_attention_mask": masks[mask]}


def padded(side):
    """Ids and a mask [b,l]; the padding stands behind the text, or before it."""
    batch = tiny.batch()
    ids, mask = batch["input_ids"], batch["attention_mask"]
    return (ids, mask) if side == "right" else (ids[:, ::-1].copy(), mask[:, ::-1].copy())


def in_steps(model, split, ids, mask, crossed=(), **wanted):
    """The outputs of a model that gets a sequence in steps, with the cache from each to the next."""
    outputs, past, start = [], None, 0
    for length in split:
        step = slice(start, start + length)
        start += length
        states = dict(crossed)
        if states and states["encoder_attention_mask"].ndim == 3:
            states["encoder_attention_mask"] = states["encoder_attention_mask"][:, step]
        seen = mask[:, step, :start] if mask.ndim == 3 else mask[:, :start]
        out = model(ids[:, step], seen, past_key_values=past, use_cache=True, **states, **wanted)
        past = out.past_key_values
        outputs.append(out)
    return outputs


def arrays_of(past_key_values):
    return [array for layer in past_key_values for array in layer]


class TestCausalMask:
    def test_a_mask_of_ones_becomes_a_triangle(self):
        x = LOWEST
        mask = numbert.get_extended_attention_mask(np.ones((1, 3)), (1, 3), is_decoder=True)
        assert mask.tolist() == [[[[0, x, x], [0, 0, x], [0, 0, 0]]]]  # [b,1,l,r]
        assert mask.dtype == np.float32

    def test_padding_is_hidden_besides_what_is_to_come(self):
        x = LOWEST
        mask = numbert.get_extended_attention_mask([[1, 1, 0], [0, 1, 1]], (2, 3), is_decoder=True)
        assert mask[0, 0].tolist() == [[0, x, x], [0, 0, x], [0, 0, x]]
        assert mask[1, 0].tolist() == [[x, x, x], [x, 0, x], [x, 0, 0]]

    def test_with_cached_tokens_the_queries_are_the_last_ones(self):
        x = LOWEST
        mask = numbert.get_extended_attention_mask([[0, 1, 1, 1, 1]], (1, 2), is_decoder=True)
        assert mask.tolist() == [[[[x, 0, 0, 0, x], [x, 0, 0, 0, 0]]]]
        of_one = numbert.get_extended_attention_mask([[1, 0, 1]], (1, 1), is_decoder=True)
        assert of_one.tolist() == [[[[0, x, 0]]]]

    def test_a_mask_of_each_query_is_taken_as_it_is(self):
        x = LOWEST
        rows = [[[1, 1, 0], [1, 0, 1]]]
        for is_decoder in (False, True):
            mask = numbert.get_extended_attention_mask(rows, (1, 2), is_decoder=is_decoder)
            assert mask.tolist() == [[[[0, 0, x], [0, x, 0]]]]

    def test_without_a_decoder_every_query_sees_the_same_keys(self):
        mask = numbert.get_extended_attention_mask([[1, 1, 0]], (1, 3))
        assert mask.tolist() == [[[[0, 0, LOWEST]]]]  # [b,1,1,r]

    def test_fewer_keys_than_queries_are_refused(self):
        with pytest.raises(InputError, match=r"\(1, 2\); for a batch \(1, 3\) .* an r of at least 3") as error:
            numbert.get_extended_attention_mask([[1, 1]], (1, 3), is_decoder=True)
        one_line(error)

    @pytest.mark.parametrize("positions", POSITIONS)
    def test_no_token_sees_one_that_follows(self, positions):
        model = decoder(position_embedding_type=positions)
        ids = np.arange(1, 8)[None]
        out = model(ids).last_hidden_state
        ids[0, 4] += 9
        changed = model(ids).last_hidden_state
        assert np.array_equal(out[0, :4], changed[0, :4])
        assert (out[0, 4:] != changed[0, 4:]).any(axis=-1).all()

    def test_it_is_the_encoder_with_a_mask_of_rows(self):
        """[b,r] in a decoder, and the same triangle as [b,l,r] in either."""
        ids, mask = padded("right")
        rows = mask[:, None, :] * np.tri(7, dtype=int)
        causal, encoder = decoder(), BertModel(tiny.config(), dtype=np.float64).eval()
        encoder.load_state_dict(causal.state_dict())
        out = causal(ids, mask).last_hidden_state
        assert np.array_equal(causal(ids, rows).last_hidden_state, out)
        assert np.array_equal(encoder(ids, rows).last_hidden_state, out)
        everything = np.ones((5, 7, 7), int)  # what a decoder may be told, too
        assert np.array_equal(causal(ids, everything)[0], encoder(ids)[0])


class TestSteps:
    """A sequence in steps with the cache has the outputs of the whole at once."""

    @pytest.mark.parametrize("cross", [None, "padding", "rows"])
    @pytest.mark.parametrize("positions", POSITIONS)
    @pytest.mark.parametrize("side", ["right", "left"])
    def test_every_split_gives_the_whole(self, side, positions, cross):
        model = decoder(BertLMHeadModel, cross=cross is not None, position_embedding_type=positions)
        self.compare(model, *padded(side), {} if cross is None else encoded(cross), 1e-12)

    def test_with_a_mask_of_each_query(self):
        ids, mask = padded("right")
        rows = mask[:, None, :] * np.tri(7, dtype=int)
        rows[:, 4, 1] = 0  # what no mask [b,r] can say: one query alone does not see token 1
        self.compare(decoder(BertLMHeadModel), ids, rows, {}, 1e-12)

    def test_in_float32(self):
        relative = {"position_embedding_type": "relative_key_query"}
        model = decoder(BertLMHeadModel, np.float32, cross=True, **relative)
        self.compare(model, *padded("left"), encoded(), 1e-4)

    def test_after_pruning(self):
        model = decoder(BertLMHeadModel, cross=True, position_embedding_type="relative_key")
        model.prune_heads({0: [1], 1: [0, 2]})
        self.compare(model, *padded("right"), encoded(), 1e-12)

    def test_with_the_same_head_mask_in_every_step(self):
        head_mask = np.random.default_rng(0).random((2, 3))
        self.compare(decoder(BertLMHeadModel), *padded("right"), {}, 1e-12, head_mask=head_mask)

    def compare(self, model, ids, mask, crossed, tolerance, **inputs):
        """Logits, hidden states, rows of attentions and the last cache, for every split."""
        # A row whose mask is 0 everywhere (left padding) looks at all keys alike: in a step at those that are
        # written, in the whole at those to come, too. Other rows do not see it, so only they are compared.
        sees = mask if mask.ndim == 3 else mask[:, None, :] * np.tri(7, dtype=int)
        real = sees.any(axis=-1)  # [b,l]
        wanted = {"output_hidden_states": True, "output_attentions": True, **inputs}

        def same(ours, theirs):
            assert ours.dtype == model.dtype
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)

        with no_grad():
            whole = model(ids, mask, use_cache=True, **crossed, **wanted)
            for split in SPLITS:
                steps = in_steps(model, split, ids, mask, crossed, **wanted)
                same(np.concatenate([step.logits for step in steps], axis=1)[real], whole.logits[real])
                for layer, hidden_states in enumerate(whole.hidden_states):
                    joined = np.concatenate([step.hidden_states[layer] for step in steps], axis=1)
                    same(joined[real], hidden_states[real])
                assert ("cross_attentions" in whole) == bool(crossed)
                for field in ("attentions", "cross_attentions") if crossed else ("attentions",):
                    for layer, probs in enumerate(whole[field]):
                        rows = rows_of([step[field][layer] for step in steps], probs.shape[-1])
                        same(rows[real], probs.swapaxes(1, 2)[real])
                last = steps[-1].past_key_values
                assert [len(layer) for layer in last] == [4 if crossed else 2] * 2
                for ours, theirs in zip(arrays_of(last), arrays_of(whole.past_key_values), strict=True):
                    seen = real if ours.shape[2] == 7 else np.ones((5, ENCODED), bool)
                    same(ours.swapaxes(1, 2)[seen], theirs.swapaxes(1, 2)[seen])


def rows_of(attentions, r):
    """The probabilities of several steps, with 0 for keys that were still to come: [b,l,h,r]."""
    widened = [np.pad(probs, [(0, 0)] * 3 + [(0, r - probs.shape[-1])]) for probs in attentions]
    return np.concatenate(widened, axis=2).swapaxes(1, 2)


class TestCaches:
    @pytest.mark.parametrize("positions", ["absolute", "relative_key_query"])
    def test_a_cache_is_never_written_to(self, positions):
        """Further steps and their backwards leave its arrays as they were, and never try to write there."""
        model = decoder(cross=True, position_embedding_type=positions)
        ids, mask = padded("right")
        past, kept = None, []
        for at in range(7):
            out = model(ids[:, at : at + 1], mask[:, : at + 1], past_key_values=past, use_cache=True, **encoded())
            past = out.past_key_values
            kept += [(array, array.copy()) for array in arrays_of(past)]
            for array in arrays_of(past):
                array.flags.writeable = False
            model.backward(np.ones_like(out.last_hidden_state))
        assert len(kept) == 7 * 2 * 4
        assert all(np.array_equal(array, copy) for array, copy in kept)

    def test_one_cache_has_two_continuations(self):
        model = decoder()
        past = model(np.array([[5, 6, 7]])).past_key_values  # use_cache is the configuration's default, True
        first, second = np.array([[8, 9]]), np.array([[10, 11, 12]])
        for ids in (first, second, first):
            out = model(ids, past_key_values=past)
            whole = model(np.concatenate([[[5, 6, 7]], ids], axis=1))
            np.testing.assert_allclose(out.last_hidden_state, whole.last_hidden_state[:, 3:], atol=1e-12)

    def test_lists_serve_as_well_and_an_empty_cache_is_none(self):
        model = decoder(cross=True)
        ids = padded("right")[0]
        past = model(ids[:, :3], **encoded()).past_key_values
        as_lists = [[array.copy(order="F") for array in layer] for layer in past]
        out = model(ids[:, 3:], past_key_values=past, **encoded())
        # Equal but for rounding: BLAS adds up in another order where memory has another one.
        listed = model(ids[:, 3:], past_key_values=as_lists, **encoded())
        np.testing.assert_allclose(listed[0], out[0], rtol=1e-11, atol=1e-12)
        plain = decoder()
        nothing = [[np.zeros((5, 3, 0, 4))] * 2] * 2
        np.testing.assert_allclose(plain(ids, past_key_values=nothing)[0], plain(ids)[0], rtol=1e-11, atol=1e-12)

    def test_a_cache_is_returned_on_request_only(self):
        ids = padded("right")[0]
        assert decoder()(ids).past_key_values is not None
        assert decoder()(ids, use_cache=False).past_key_values is None
        assert decoder(use_cache=False)(ids).past_key_values is None
        past = decoder(use_cache=False)(ids[:, :2], use_cache=True).past_key_values
        assert decoder()(ids[:, 2:], past_key_values=past, use_cache=False).past_key_values is None
        assert BertModel(tiny.config())(ids, use_cache=False).past_key_values is None
        out = decoder(cross=True)(ids, **encoded(), output_hidden_states=True, output_attentions=True)
        names = ["last_hidden_state", "pooler_output", "past_key_values", "hidden_states", "attentions"]
        assert out.keys() == [*names, "cross_attentions"]

    def test_positions_go_on_behind_the_cache_or_are_given(self):
        model = decoder()
        ids = np.arange(1, 8)[None]
        past = model(ids[:, :4]).past_key_values
        out = model(ids[:, 4:], past_key_values=past)
        assert np.array_equal(model(ids[:, 4:], past_key_values=past, position_ids=[[4, 5, 6]])[0], out[0])
        assert not np.allclose(model(ids[:, 4:], past_key_values=past, position_ids=[[0, 1, 2]])[0], out[0])


class TestCases:
    """The four ways to keys and values."""

    def test_each_is_reached_and_saved(self):
        model = decoder(cross=True)
        layer = model.encoder.layer[1]
        ids = padded("right")[0]

        def cases(**inputs):
            past = model(**inputs).past_key_values
            saved = [attention.self.saved for attention in (layer.attention, layer.crossattention)]
            return past, [None if each is None else each.case for each in saved]

        past, first = cases(input_ids=ids[:, :3], **encoded())
        assert first == [KeysAndValues.SELF, KeysAndValues.CROSS]
        _, second = cases(input_ids=ids[:, 3:], past_key_values=past, **encoded())
        assert second == [KeysAndValues.SELF_WITH_CACHE, KeysAndValues.CROSS_WITH_CACHE]
        past, third = cases(input_ids=ids[:, :3])
        assert third == [KeysAndValues.SELF, None]
        _, fourth = cases(input_ids=ids[:, 3:], past_key_values=past)
        assert fourth == [KeysAndValues.SELF_WITH_CACHE, None]

    def test_cross_attention_uses_a_cache_as_it_is(self):
        """With it the states themselves no longer count, only how many they are."""
        model = decoder(cross=True)
        ids = padded("right")[0]
        past = model(ids[:, :3], **encoded()).past_key_values
        out = model(ids[:, 3:], past_key_values=past, **encoded())
        other = model(ids[:, 3:], past_key_values=past, **encoded(seed=1))
        assert np.array_equal(out.last_hidden_state, other.last_hidden_state)
        assert out.past_key_values[0][2] is past[0][2]
        assert model(ids[:, :3], **encoded(seed=1))[0].ravel()[0] != model(ids[:, :3], **encoded())[0].ravel()[0]

    def test_without_states_the_layer_has_self_attention_alone(self):
        ids, mask = padded("right")
        crossed, plain = decoder(cross=True), decoder()
        plain.load_state_dict(crossed.state_dict(), strict=False)
        assert np.array_equal(crossed(ids, mask).last_hidden_state, plain(ids, mask).last_hidden_state)

    def test_masked_states_cannot_be_seen(self):
        model = decoder(cross=True)
        ids, mask = padded("right")
        given = encoded()
        out = model(ids, mask, **given, output_attentions=True)
        hidden = given["encoder_attention_mask"] == 0
        assert [probs.shape for probs in out.cross_attentions] == [(5, 3, 7, ENCODED)] * 2
        for probs in out.cross_attentions:
            np.testing.assert_allclose(probs.sum(axis=-1), 1, rtol=1e-12)
            assert not probs.transpose(0, 3, 1, 2)[hidden].any()
        given["encoder_hidden_states"][hidden] = 99
        assert np.array_equal(model(ids, mask, **given).last_hidden_state, out.last_hidden_state)
        del given["encoder_attention_mask"]  # then all may be seen
        assert not np.array_equal(model(ids, mask, **given).last_hidden_state, out.last_hidden_state)

    def test_nothing_is_left_of_a_forward_that_used_more(self):
        """A head mask, a padding mask and cross-attention leave nothing behind for the next forward."""

        def remembered(model):
            return {
                name: set(vars(module.saved)) for name, module in model.named_modules() if module.saved is not None
            }

        ids, mask = padded("right")
        model, fresh = decoder(cross=True), decoder(cross=True)
        past = model(ids[:, :3], mask[:, :3], **encoded(), head_mask=np.ones(3)).past_key_values
        model(ids[:, 3:], mask, past_key_values=past, **encoded(), head_mask=np.ones(3))
        unused = "crossattention.self.key", "crossattention.self.value"  # these come from the cache
        assert not any(name.endswith(unused) for name in remembered(model))
        model(ids[:, :1])
        fresh(ids[:, :1])
        assert remembered(model) == remembered(fresh)
        d = np.ones((5, 1, 12))
        g = model.backward(d)
        assert set(g) == {"inputs_embeds"}
        assert np.array_equal(g["inputs_embeds"], fresh.backward(d)["inputs_embeds"])
        assert remembered(model) == {}


class TestGradients:
    """Each class is proved by the complex step (proof/every_layer.py); here is what steps and caches do."""

    def test_a_cache_is_a_constant(self):
        """The gradient of a step is the derivative with the cache held fixed: by the complex step, and in a model
        that has not made the cache."""
        model, stranger = decoder(cross=True), decoder(cross=True)
        ids, mask = padded("right")
        upstream = np.random.default_rng(1).standard_normal((5, 4, 12))
        past = model(ids[:, :3], mask[:, :3], **encoded()).past_key_values
        for each in (model, stranger):
            each(ids[:, 3:], mask, past_key_values=past, **encoded())
            g = each.backward(upstream)
        for (name, ours), theirs in zip(model.named_parameters(), stranger.parameters(), strict=True):
            if theirs.grad is None:  # cross-attention's keys and values came from the cache
                assert (
                    ".crossattention.self.key." in name
                    or ".crossattention.self.value." in name
                    or "pooler" in name
                )
                assert ours.grad is None
            else:
                np.testing.assert_array_equal(ours.grad, theirs.grad, err_msg=name)
        assert set(g) == {"inputs_embeds", "encoder_hidden_states"}
        assert g["encoder_hidden_states"].shape == (5, ENCODED, 12)
        assert not g["encoder_hidden_states"].any()

        by_complex_step = decoder(cross=True, dtype=np.complex128)
        as_complex = [[array.astype(complex) for array in layer] for layer in past]
        for name in ("0.attention.self.key", "1.attention.self.value", "0.crossattention.self.query"):
            weight, twin = (
                dict(m.named_parameters())[f"encoder.layer.{name}.weight"] for m in (model, by_complex_step)
            )
            twin.data[2, 5] += 1e-30j
            out = by_complex_step(ids[:, 3:], mask, past_key_values=as_complex, **encoded()).last_hidden_state
            twin.data[2, 5] = twin.data[2, 5].real
            assert weight.grad[2, 5] == pytest.approx((out * upstream).sum().imag / 1e-30, rel=1e-10)

    def test_of_the_gradient_of_the_whole_a_step_has_what_is_its_own(self):
        """No token's output depends on a later token, so a step's own tokens get all that is theirs. What the
        earlier ones would get, by way of their keys and values, is left out."""
        ids = padded("right")[0]
        upstream = np.random.default_rng(1).standard_normal((5, 7, 12))
        upstream[:, :3] = 0  # the loss is that of the last four tokens
        model, whole = decoder(), decoder()
        past = model(ids[:, :3]).past_key_values
        model(ids[:, 3:], past_key_values=past)
        of_step = model.backward(upstream[:, 3:])["inputs_embeds"]
        whole(ids)
        of_whole = whole.backward(upstream)["inputs_embeds"]
        np.testing.assert_allclose(of_step, of_whole[:, 3:], atol=1e-12)
        assert np.abs(of_whole[:, :3]).max() > 1e-2
        key = "encoder.layer.0.attention.self.key.weight"
        grads = [dict(m.named_parameters())[key].grad for m in (model, whole)]
        assert np.abs(grads[0] - grads[1]).max() > 1e-3

    def test_every_layer_gives_the_encoder_a_gradient(self):
        model = decoder(cross=True)
        ids, mask = padded("right")
        given = encoded()
        upstream = np.random.default_rng(1).standard_normal((5, 7, 12))
        model(ids, mask, **given)
        g = model.backward(upstream)["encoder_hidden_states"]
        assert g.shape == given["encoder_hidden_states"].shape
        assert not g[given["encoder_attention_mask"] == 0].any()  # nobody looked at these

        twin = decoder(cross=True, dtype=np.complex128)
        for place in ((0, 1, 3), (2, 0, 11)):
            states = given["encoder_hidden_states"].astype(complex)
            states[place] += 1e-30j
            out = twin(ids, mask, **(given | {"encoder_hidden_states": states})).last_hidden_state
            assert g[place] == pytest.approx((out * upstream).sum().imag / 1e-30, rel=1e-10)


class TestCheckpointing:
    def test_with_the_cache_it_warns_and_returns_none(self):
        model = decoder(train=True, gradient_checkpointing=True)
        ids = padded("right")[0]
        with pytest.warns(UserWarning, match="use_cache=True does not go with gradient checkpointing; no cache"):
            out = model(ids, use_cache=True)
        assert out.past_key_values is None
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert model(ids, use_cache=False).past_key_values is None
            assert model.eval()(ids, use_cache=True).past_key_values is not None
            with no_grad():
                assert model.train()(ids, use_cache=True).past_key_values is not None

    def test_the_gradients_are_the_same_bits(self):
        """With dropout, cross-attention, a head mask and a cache that was given."""
        rates = {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.2}
        plain, again = (
            decoder(cross=True, train=True, gradient_checkpointing=on, **rates) for on in (False, True)
        )
        ids, mask = padded("right")
        with no_grad():
            past = decoder(cross=True)(ids[:, :3], mask[:, :3], **encoded()).past_key_values
        for first, inputs in ((3, {"past_key_values": past}), (0, {})):
            gradients = []
            for model in (plain, again):
                inputs = {**inputs, **encoded(), "head_mask": np.full((2, 3), 0.7), "use_cache": False}
                out = model(ids[:, first:], mask, **inputs)
                gradients.append((out.last_hidden_state, model.backward(np.ones_like(out.last_hidden_state))))
            (ours, g), (theirs, reference) = gradients
            assert np.array_equal(ours, theirs)
            assert set(g) == {"inputs_embeds", "head_mask", "encoder_hidden_states"}
            for name in g:
                assert np.array_equal(g[name], reference[name]), name
        for (name, ours), theirs in zip(again.named_parameters(), plain.parameters(), strict=True):
            if theirs.grad is not None:
                np.testing.assert_array_equal(ours.grad, theirs.grad, err_msg=name)


class TestLanguageModel:
    def test_the_loss_is_that_of_the_next_token(self):
        model = decoder(BertLMHeadModel)
        ids, mask = padded("right")
        labels = np.where(mask == 1, ids, -100)
        out = model(ids, mask, labels=labels)
        losses = []
        for row, length in enumerate(mask.sum(axis=1)):
            for at in range(length - 1):
                scores = out.logits[row, at]
                losses.append(np.log(np.exp(scores).sum()) - scores[ids[row, at + 1]])
        assert out.loss == pytest.approx(np.mean(losses), rel=1e-12)
        assert out.keys() == ["loss", "logits"]

    def test_the_first_label_is_of_no_account_and_the_last_position_predicts_nothing(self):
        model = decoder(BertLMHeadModel)
        ids = padded("right")[0]
        labels = ids.copy()
        loss = model(ids, labels=labels).loss
        g = model.backward()["inputs_embeds"]
        assert not g[:, -1].any()
        labels[:, 0] = 3
        assert model(ids, labels=labels).loss == loss
        only_first = np.full_like(ids, -100)
        only_first[:, 0] = 3
        assert model(ids, labels=only_first).loss == 0

    def test_labels_of_any_integer_type(self):
        model = decoder(BertLMHeadModel)
        ids = padded("right")[0]
        losses = {float(model(ids, labels=ids.astype(dtype)).loss) for dtype in (np.uint8, np.int16, np.int64)}
        assert len(losses) == 1

    def test_with_labels_there_is_no_cache_unless_it_is_asked_for(self):
        model = decoder(BertLMHeadModel)
        ids = padded("right")[0]
        assert model(ids).past_key_values is not None
        assert model(ids, labels=ids).past_key_values is None
        out = model(ids, labels=ids, use_cache=True)
        assert len(out.past_key_values) == 2
        assert out.keys() == ["loss", "logits", "past_key_values"]
        assert model(ids, return_dict=False)[0].shape == (5, 7, 29)

    def test_leaving_the_logits_out_changes_neither_loss_nor_gradient(self):
        ids, mask = padded("right")
        labels = np.where(mask == 1, ids, -100)
        (full, d_full), (short, d_short) = (
            (model(ids, mask, labels=labels, return_logits=return_logits), model.backward()["inputs_embeds"])
            for return_logits in (True, False)
            for model in [decoder(BertLMHeadModel)]
        )
        assert short.logits is None
        assert full.loss == short.loss
        assert np.array_equal(d_full, d_short)

    def test_backward_gives_the_encoder_its_gradient(self):
        model = decoder(BertLMHeadModel, cross=True)
        ids, mask = padded("right")
        model(ids, mask, labels=np.where(mask == 1, ids, -100), **encoded())
        g = model.backward(0.5)
        assert set(g) == {"inputs_embeds", "encoder_hidden_states"}
        assert np.abs(g["encoder_hidden_states"]).max() > 1e-4

    def test_backward_without_a_loss_says_so(self):
        model = decoder(BertLMHeadModel)
        model(padded("right")[0])
        with pytest.raises(RuntimeError, match=r"BertLMHeadModel\.backward: the latest forward had no labels"):
            model.backward()

    def test_it_comes_back_from_a_folder(self, tmp_path):
        model = decoder(BertLMHeadModel, cross=True)
        model.save_pretrained(tmp_path)
        again = BertLMHeadModel.from_pretrained(tmp_path, dtype=np.float64)
        assert again.config.is_decoder
        assert again.config.add_cross_attention
        ids = padded("right")[0]
        np.testing.assert_array_equal(again(ids, **encoded()).logits, model(ids, **encoded()).logits)


def cache(heads=3, past=2, batch=5, dtype=np.float64, layers=2, arrays=2, d=4):
    """A made-up cache."""
    return tuple(tuple(np.zeros((batch, heads, past, d), dtype) for _ in range(arrays)) for _ in range(layers))


IDS = tiny.batch()["input_ids"]
STATES = encoded()["encoder_hidden_states"]
UNEVEN = (cache(past=2)[0], cache(past=3)[0])
WITH_STATES = {"cross": True, "encoder_hidden_states": STATES}
BAD_INPUTS = [
    ({"encoder": True, "encoder_hidden_states": STATES}, "encoder_hidden_states is for a decoder; make the model"),
    ({"encoder": True, "encoder_attention_mask": np.ones((5, 4))}, "encoder_attention_mask is for a decoder"),
    ({"encoder": True, "past_key_values": cache()}, "past_key_values is for a decoder; make the model with"),
    ({"encoder": True, "use_cache": True}, "use_cache is for a decoder; make the model with is_decoder=True"),
    ({"use_cache": "yes"}, "use_cache is 'yes'; it must be True or False"),
    ({"encoder_hidden_states": STATES}, "encoder_hidden_states are given, but the layers have no cross-attention"),
    (
        {"encoder_hidden_states": STATES, "past_key_values": cache(arrays=4)},
        "encoder_hidden_states are given, but the layers have no cross-attention",
    ),
    ({"encoder_attention_mask": np.ones((5, 4))}, "encoder_attention_mask is given without encoder_hidden_states"),
    (
        {"cross": True, "encoder_hidden_states": STATES[:4]},
        r"encoder_hidden_states has shape \(4, 4, 12\); for this batch it must be \[5,r,12\]",
    ),
    ({"cross": True, "encoder_hidden_states": STATES[0]}, r"has shape \(4, 12\); for this batch"),
    ({"cross": True, "encoder_hidden_states": STATES[..., :8]}, r"has shape \(5, 4, 8\); for this batch"),
    ({"cross": True, "encoder_hidden_states": STATES[:, :0]}, r"\(5, 0, 12\); it must hold at least one token"),
    ({"cross": True, "encoder_hidden_states": STATES.astype(int)}, "encoder_hidden_states is int64, the model is"),
    ({"cross": True, "encoder_hidden_states": [[1.0], [1.0, 2.0]]}, "it must be an array, or rows of one length"),
    (
        {**WITH_STATES, "encoder_attention_mask": np.ones((5, 7))},
        r"encoder_attention_mask has shape \(5, 7\); for this batch it must be \(5, 4\) or \(5, 7, 4\)$",
    ),
    ({**WITH_STATES, "encoder_attention_mask": np.ones((5, 4, 7))}, r"must be \(5, 4\) or \(5, 7, 4\)$"),
    (
        {**WITH_STATES, "encoder_attention_mask": np.ones(4)},
        r"encoder_attention_mask has shape \(4,\); it must be",
    ),
    ({**WITH_STATES, "encoder_attention_mask": np.full((5, 4), 2)}, r"encoder_attention_mask has 2 at \[0, 0\]"),
    (
        {"past_key_values": cache(layers=3)},
        "past_key_values is 3 layers; the model has 2 layers, with a tuple for",
    ),
    ({"past_key_values": ()}, "past_key_values is 0 layers; the model has 2 layers"),
    ({"past_key_values": np.zeros((2, 2, 5, 3, 2, 4))}, "past_key_values is no tuple; the model has 2 layers"),
    (
        {"past_key_values": (None, None)},
        r"past_key_values\[0\] is a NoneType; without encoder_hidden_states it must",
    ),
    (
        {"past_key_values": cache(arrays=4)},
        r"past_key_values\[0\] is 4 arrays; without encoder_hidden_states it must be a tuple of 2 arrays",
    ),
    (
        {**WITH_STATES, "past_key_values": cache()},
        r"past_key_values\[0\] is 2 arrays; with encoder_hidden_states it must be a tuple of 4 arrays",
    ),
    (
        {**WITH_STATES, "past_key_values": cache(arrays=4)},
        r"past_key_values\[0\]\[2\] has shape \(5, 3, 2, 4\); for this batch it must be \(5, 3, 4, 4\)",
    ),
    ({"past_key_values": cache(batch=4)}, r"\[0\]\[0\] has shape \(4, 3, 2, 4\); .* must be \(5, 3, 2, 4\)"),
    ({"past_key_values": cache(heads=2)}, r"\[0\]\[0\] has shape \(5, 2, 2, 4\); .* must be \(5, 3, 2, 4\)"),
    ({"past_key_values": cache(d=5)}, r"\[0\]\[0\] has shape \(5, 3, 2, 5\); .* must be \(5, 3, 2, 4\)"),
    ({"past_key_values": cache(dtype=np.float32)}, r"\[0\]\[0\] is float32, the model is float64"),
    (
        {"past_key_values": UNEVEN},
        r"past_key_values\[1\]\[0\] has shape \(5, 3, 3, 4\); .* must be \(5, 3, 2, 4\)",
    ),
    ({"past_key_values": (("a", "b"),) * 2}, r"past_key_values\[0\]\[0\] is str; it must be an array \[b,h,r,d\]"),
    (
        {"past_key_values": cache(), "attention_mask": np.ones((5, 7))},
        r"attention_mask has shape \(5, 7\); .* \(5, 9\) or \(5, 7, 9\), with the 2 cached tokens",
    ),
    (
        {"past_key_values": cache(), "attention_mask": np.ones((5, 7, 7))},
        r"attention_mask has shape \(5, 7, 7\); .* \(5, 9\) or \(5, 7, 9\), with the 2 cached tokens",
    ),
    ({"past_key_values": cache(past=5)}, "a sequence of 12 tokens; the model has 11 positions"),
    (
        {"past_key_values": cache(past=5), "position_ids": np.arange(7)[None], "relative": True},
        "a sequence of 12 tokens; the model has 11 positions",
    ),
    (
        {"past_key_values": cache(), "position_ids": np.arange(9)[None]},
        r"position_ids has shape \(1, 9\); for this batch it must be \(5, 7\)",
    ),
]


# For the property test: arrays that fit, nearly fit or do not; nests of them; and caches with one thing exchanged.
MODELS = {cross: decoder(cross=cross) for cross in (False, True)}
ARRAYS = st.tuples(st.sampled_from([5, 4, 0]), st.sampled_from([3, 1]), st.integers(0, 5), st.just(4)).map(
    np.zeros
)
LEAVES = st.one_of(
    st.none(),
    st.integers(),
    st.text(max_size=3),
    ARRAYS,
    st.sampled_from(["f4", ">f8", complex, object, int, "M8[s]", "U3"]).map(lambda t: np.zeros((5, 3, 2, 4), t)),
    st.sampled_from([np.float64(1), np.zeros(()), np.zeros((5, 3, 2)), np.full((5, 3, 2, 4), np.nan)]),
)
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        inner.map(lambda x: (x, x)),
        st.dictionaries(st.integers(0, 1), inner, max_size=2),
    ),
    max_leaves=8,
)


@st.composite
def almost_a_cache(draw):
    past = [list(layer) for layer in cache(past=draw(st.integers(0, 5)), arrays=draw(st.sampled_from([2, 4])))]
    for layer in past:
        layer[2:] = [np.zeros((5, 3, ENCODED, 4))] * len(layer[2:])
    layer = past[draw(st.integers(0, 1))]
    if draw(st.booleans()):
        layer[draw(st.integers(0, len(layer) - 1))] = draw(LEAVES)
    return past


class TestBadInput:
    @pytest.mark.parametrize(("inputs", "message"), BAD_INPUTS, ids=[message[:50] for _, message in BAD_INPUTS])
    def test_one_clear_error(self, inputs, message):
        inputs = dict(inputs)
        positions = "relative_key" if inputs.pop("relative", False) else "absolute"
        if inputs.pop("encoder", False):
            model = BertModel(tiny.config(), dtype=np.float64).eval()
        else:
            model = decoder(cross=inputs.pop("cross", False), position_embedding_type=positions)
        with pytest.raises(InputError, match=message) as error:
            model(IDS, **inputs)
        one_line(error)

    def test_cross_attention_is_for_a_decoder(self):
        for model_class in (BertModel, BertLMHeadModel, BertForMaskedLM):
            with pytest.raises(
                InputError, match="add_cross_attention=True needs a decoder: is_decoder=True"
            ) as error:
                model_class(tiny.config(add_cross_attention=True))
            one_line(error)

    def test_a_layer_alone_says_the_same_of_states_that_it_cannot_look_at(self):
        layer = decoder().encoder.layer[0]
        with pytest.raises(
            InputError, match="encoder_hidden_states are given, but the layers have no cross-attention"
        ):
            layer(np.zeros((5, 7, 12)), encoder_hidden_states=STATES)

    def test_the_cache_of_a_pruned_model_has_its_heads(self):
        model = decoder()
        model.prune_heads({1: [0]})
        past = (cache()[0], cache(heads=2)[0])
        assert model(IDS, past_key_values=past).past_key_values[1][0].shape == (5, 2, 9, 4)
        with pytest.raises(InputError, match=r"past_key_values\[1\]\[0\] has shape .* must be \(5, 2, 2, 4\)"):
            model(IDS, past_key_values=cache())

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            (IDS[:, 1:], r"labels has shape \(5, 6\); for this batch it must be \(5, 7\)"),
            (IDS[:, 0], r"labels has shape \(5,\); for this batch it must be \(5, 7\)"),
            (IDS + 0.0, "labels must be integers, got an array of float64"),
            (np.full((5, 7), 29), r"labels has 29 at \[0, 0\]; it can be 0 to 28, or -100 to ignore"),
        ],
    )
    def test_labels(self, labels, message):
        with pytest.raises(InputError, match=message) as error:
            decoder(BertLMHeadModel)(IDS, labels=labels)
        one_line(error)


@settings(max_examples=120, deadline=None)
@given(past=st.one_of(ANYTHING, almost_a_cache()), cross=st.booleans())
def test_whatever_is_given_as_a_cache_works_or_is_one_line(past, cross):
    message = ""
    try:
        with no_grad():
            out = MODELS[cross](IDS, past_key_values=past, **({"encoder_hidden_states": STATES} if cross else {}))
    except InputError as error:
        message = str(error)
    else:
        assert out.last_hidden_state.shape == (5, 7, 12)
    assert len(message.splitlines()) <= 1
    assert len(message) < 400
