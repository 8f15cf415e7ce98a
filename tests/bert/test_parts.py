"""A batch in parts, packs without padding and attention in blocks give what the whole gives."""

import tracemalloc
from contextlib import nullcontext

import numpy as np
import pytest
from cores import num_threads
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import one_line

from numbert import BertConfig, BertEncoder, BertForMaskedLM, BertModel, InputError, no_grad
from numbert.bert import attention as attention_module
from numbert.bert import encoder as encoder_module
from numbert.bert.attention import SavedInBlocks
from numbert.bert.packing import packs
from numbert.nn.switches import to_run_again

B, L, R, E, H, N = 7, 12, 5, 24, 4, 3
SIZES = {
    "vocab_size": 50,
    "hidden_size": E,
    "num_hidden_layers": N,
    "num_attention_heads": H,
    "intermediate_size": 40,
    "max_position_embeddings": 16,
}
rng = np.random.default_rng(0)
IDS = rng.integers(1, 50, (B, L))
LENGTHS = np.array([12, 5, 3, 7, 5, 1, 12])
RIGHT = (np.arange(L) < LENGTHS[:, None]).astype(int)
HOLES = rng.integers(0, 2, (B, L)) | (np.arange(L) == 0)
OF_ROWS = rng.integers(0, 2, (B, L, L))
STATES = rng.standard_normal((B, R, E))
STATES_MASK = rng.integers(0, 2, (B, R)) | (np.arange(R) == 2)
HEAD_MASK = rng.random((N, H))
ALL = {"output_attentions": True, "output_hidden_states": True}
CROSS = {"encoder_hidden_states": STATES, "encoder_attention_mask": STATES_MASK, "use_cache": False}
OF_A_CROSSING_DECODER = {"is_decoder": True, "add_cross_attention": True}
# What a configuration and a call may have in them.
CASES = {
    "plain": ({}, {}),
    "padding": ({}, {"attention_mask": RIGHT}),
    "a mask for each query": ({}, {"attention_mask": OF_ROWS}),
    "all that can be seen": ({}, {"attention_mask": RIGHT, **ALL}),
    "as a tuple": ({}, {"return_dict": False, "output_hidden_states": True}),
    "decoder": ({"is_decoder": True}, {"use_cache": False}),
    "decoder, padding, a cache to come": ({"is_decoder": True}, {"attention_mask": RIGHT, "use_cache": True}),
    "cross-attention": (OF_A_CROSSING_DECODER, CROSS),
    "cross-attention, all, a cache to come": (
        OF_A_CROSSING_DECODER,
        {**CROSS, **ALL, "head_mask": HEAD_MASK, "use_cache": True},
    ),
    "relative_key": ({"position_embedding_type": "relative_key"}, {"attention_mask": RIGHT}),
    "relative_key_query": ({"position_embedding_type": "relative_key_query"}, {"attention_mask": RIGHT}),
    "head mask": ({}, {"head_mask": HEAD_MASK}),
    "head mask of all layers": ({}, {"head_mask": HEAD_MASK[0], "attention_mask": HOLES}),
    "pruned": ({"pruned_heads": {0: [1], 2: [0, 3]}}, {"head_mask": HEAD_MASK, "output_attentions": True}),
    "chunks": ({"chunk_size_feed_forward": 3}, {"attention_mask": RIGHT}),
}


def model_of(changes, dtype=np.float64, seed=1):
    """In eval(), with parameters of which none is 0 or 1."""
    model = BertModel(BertConfig(**SIZES | changes), seed=seed, dtype=dtype).eval()
    numbers = np.random.default_rng(seed)
    for parameter in model.parameters():
        parameter.data = numbers.normal(0, 0.3, parameter.shape).astype(dtype)
    return model


def same(ours, theirs, tolerance=1e-12):
    """Compares outputs, and tuples of such, array by array."""
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        ours, theirs = tuple(ours.values()), tuple(theirs.values())
    elif hasattr(theirs, "to_tuple"):
        assert ours.keys() == theirs.keys()
        ours, theirs = ours.to_tuple(), theirs.to_tuple()
    if isinstance(theirs, tuple):
        for our, their in zip(ours, theirs, strict=True):
            same(our, their, tolerance)
    else:
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * max(1, np.abs(theirs).max()))


@pytest.fixture(autouse=True)
def three_threads():
    with num_threads(3):
        yield


@pytest.fixture
def counted(monkeypatch):
    """The names of the roads that encoders take: in_parts, unpadded; parts and packs are small."""
    taken = []
    for name in ("in_parts", "unpadded"):
        own = getattr(BertEncoder, name)

        def road(self, *arguments, own=own, name=name):
            taken.append(name)
            return own(self, *arguments)

        monkeypatch.setattr(BertEncoder, name, road)
    monkeypatch.setattr(encoder_module, "FEWEST_ROWS", 1)
    monkeypatch.setattr(encoder_module.BertEncoder, "most_rows", lambda self: 8)
    return taken


class TestParts:
    """Under no_grad() and eval() threads compute parts of a batch."""

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("case", CASES)
    def test_they_are_the_whole(self, counted, case, dtype):
        changes, inputs = CASES[case]
        model = model_of(changes, dtype)
        if "encoder_hidden_states" in inputs:
            inputs = {**inputs, "encoder_hidden_states": STATES.astype(dtype)}
        whole = model(IDS, **inputs)
        assert counted == []
        with no_grad():
            same(model(IDS, **inputs), whole, 1e-12 if dtype == np.float64 else 2e-5)
        assert counted == ["in_parts"]

    def test_going_on_from_a_cache_is_whole(self, counted):
        model = model_of(OF_A_CROSSING_DECODER)
        inputs = {"encoder_hidden_states": STATES, "encoder_attention_mask": STATES_MASK}
        whole = model(IDS, use_cache=False, **inputs)
        with no_grad():
            first = model(IDS[:, :5], use_cache=True, **inputs)
            second = model(IDS[:, 5:], past_key_values=first.past_key_values, **inputs)
        assert counted == ["in_parts"]  # the first
        joined = np.concatenate([first.last_hidden_state, second.last_hidden_state], axis=1)
        same(joined, whole.last_hidden_state)

    @pytest.mark.parametrize(
        "shape", [(L,), (L, L), (1, 1, L), (H, L, L), (1, 1, L, L), (B, 1, 1, L), (B, H, L, L)]
    )
    def test_an_encoder_takes_every_mask_that_can_be_broadcast(self, counted, shape):
        encoder = model_of({}).encoder
        states, mask = rng.standard_normal((B, L, E)), rng.standard_normal(shape)
        whole = encoder(states, mask)
        with no_grad():
            same(encoder(states, mask), whole)
        assert counted == ["in_parts"]

    def test_one_encoders_text_for_all_sequences(self, counted):
        encoder = model_of(OF_A_CROSSING_DECODER).encoder
        states = rng.standard_normal((B, L, E))
        whole = encoder(states, None, None, STATES, np.where(STATES_MASK, 0, -1e9)[:1, None, None])
        with no_grad():
            parts = encoder(states, None, None, STATES, np.where(STATES_MASK, 0, -1e9)[:1, None, None])
        same(parts, whole)

    @pytest.mark.parametrize("name", ["", "layer.1", "layer.0.attention.self.probs", "layer.2.output.dropout"])
    def test_a_hook_sees_the_whole(self, counted, name):
        model, seen = model_of({}), []
        part = dict(model.encoder.named_modules())[name]
        with no_grad():
            handle = part.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
            model(IDS)
            assert (counted, seen) == ([], [B])
            handle.remove()
            model(IDS)
            assert (counted, seen) == (["in_parts"], [B])

    def test_a_backward_hook_too(self, counted):
        model = model_of({})
        with no_grad(), model.encoder.layer[0].register_backward_hook(lambda *_: None):
            model(IDS)
        assert counted == []

    def test_what_is_remembered_or_drawn_is_the_whole(self, counted):
        model = model_of({})
        model(IDS)
        assert model.encoder.layer[0].saved is not None
        model.train()
        with no_grad():
            model(IDS)
        model.eval().encoder.layer[2].output.dropout.train()
        with no_grad():
            model(IDS)
        assert counted == []

    def test_one_sequence_one_thread_and_few_tokens_are_whole(self, counted, monkeypatch):
        model = model_of({})
        with no_grad():
            model(IDS[:1])
            with num_threads(1):
                model(IDS)
            monkeypatch.setattr(encoder_module, "FEWEST_ROWS", B * L // 2 + 1)
            model(IDS)
            assert counted == []
            monkeypatch.setattr(encoder_module, "FEWEST_ROWS", B * L // 2)
            model(IDS)
        assert counted == ["in_parts"]

    @given(st.integers(1, 600), st.integers(1, 600), st.integers(1, 9))
    @settings(deadline=None)
    def test_every_sequence_is_in_one_part(self, b, length, n):
        with num_threads(n), no_grad():
            parts = PLAIN.encoder.parts(b, length)
        if len(parts) > 1:
            assert [row for part in parts for row in range(b)[part]] == list(range(b))
            sizes = [part.stop - part.start for part in parts]
            assert min(sizes) >= 1
            assert max(sizes) - min(sizes) <= 1
            assert min(sizes) * length >= encoder_module.FEWEST_ROWS / 2
            assert min(sizes) == 1 or max(sizes) * length <= PLAIN.encoder.most_rows() + length
        else:
            assert parts == [slice(None)]
            assert n == 1 or b == 1 or b * length < 2 * encoder_module.FEWEST_ROWS

    def test_an_error_in_a_part_is_the_wholes(self, counted):
        model = model_of({"chunk_size_feed_forward": 5})
        message = "12 tokens cannot be cut into chunks of chunk_size_feed_forward=5"
        for switch in (nullcontext, no_grad):
            with pytest.raises(InputError, match=message) as error, switch():
                model(IDS)
            one_line(error)
        assert counted == ["in_parts"]

    def test_nothing_is_written_into_a_layer(self, counted):
        model = model_of({})
        with no_grad():
            model(IDS, RIGHT, output_attentions=True)
            model(IDS, RIGHT, unpad=True)
        assert all(module.saved is None for module in model.modules())


PLAIN = model_of({})
PATTERNS = {
    "right": RIGHT,
    "left": RIGHT[:, ::-1].copy(),
    "holes": HOLES,
    "empty rows": RIGHT * (np.arange(B) % 3 > 0)[:, None],
    "one row": RIGHT * (np.arange(B) == 3)[:, None],
    "no token": RIGHT * 0,
    "one token each": (np.arange(L) == 0) * np.ones((B, 1), int),
}
OF_TOKENS = ["plain", "relative_key", "relative_key_query", "head mask", "pruned", "chunks", "decoder"]


class TestPacks:
    """Under no_grad() and eval() unpad=True computes tokens alone."""

    @pytest.mark.parametrize("pattern", PATTERNS)
    @pytest.mark.parametrize("case", OF_TOKENS)
    def test_they_are_the_padded_batch_with_zeros(self, counted, case, pattern):
        changes, inputs = CASES[case]
        mask = PATTERNS[pattern]
        given = {key: value for key, value in inputs.items() if key not in ("attention_mask", *ALL)}
        given |= {"use_cache": False} if changes.get("is_decoder") else {}
        model = model_of(changes)
        model.pooler = None
        padded = model(IDS, mask, **given, output_hidden_states=True)
        wanted = tuple(state * mask[..., None] for state in padded.hidden_states)
        with no_grad():
            out = model(IDS, mask, **given, unpad=True, output_hidden_states=True)
            last = model(IDS, mask, **given, unpad=True)
        # Between tokens of a relative model nothing may be left out.
        packed = not (case.startswith("relative") and pattern == "holes")
        assert counted == ["unpadded" if packed else "in_parts"] * 2
        assert out.keys() == padded.keys()
        same(out.hidden_states, wanted)
        same(out.last_hidden_state, wanted[-1])
        assert last.keys() == ["last_hidden_state"]
        same(last.last_hidden_state, wanted[-1])
        assert not out.last_hidden_state[mask == 0].any()

    def test_in_float32_and_complex_numbers(self, counted):
        for dtype, tolerance in ((np.float32, 2e-5), (np.complex128, 1e-12)):
            model = model_of({}, dtype)
            padded = model(IDS, RIGHT)
            with no_grad():
                out = model(IDS, RIGHT, unpad=True)
            same(out.last_hidden_state, padded.last_hidden_state * RIGHT[..., None].astype(dtype), tolerance)
            same(out.pooler_output, padded.pooler_output, tolerance)
        assert counted == ["unpadded"] * 2

    def test_the_pooler_needs_the_first_position(self, counted):
        """It sees that as it is without unpad, also where its mask is 0."""
        model, mask = model_of({}), PATTERNS["left"]
        padded = model(IDS, mask)
        with no_grad():
            out = model(IDS, mask, unpad=True)
        assert counted == ["in_parts"]
        same(out.pooler_output, padded.pooler_output)
        same(out.last_hidden_state, padded.last_hidden_state * mask[..., None])

    @pytest.mark.parametrize(
        "why", ["hook", "output_attentions", "train", "remembering", "cross-attention", "full"]
    )
    def test_who_is_to_see_padding_sees_it(self, counted, why):
        model = model_of(OF_A_CROSSING_DECODER if why == "cross-attention" else {})
        inputs = {"output_attentions": {"output_attentions": True}, "cross-attention": CROSS}.get(why, {})
        mask = np.ones_like(RIGHT) if why == "full" else RIGHT
        wanted = model(IDS, mask, **inputs).last_hidden_state * mask[..., None]
        if why == "train":
            model.train()
            for module in model.modules():
                if type(module).__name__ == "Dropout":
                    module.p = 0.0
        if why == "hook":
            model.encoder.layer[1].intermediate.register_forward_hook(lambda *_: None)
        with nullcontext() if why == "remembering" else no_grad():
            out = model(IDS, mask, **inputs, unpad=True)
        assert "unpadded" not in counted
        same(out.last_hidden_state, wanted)

    def test_chunks_fit_the_padded_length(self, counted):
        model = model_of({"chunk_size_feed_forward": 5})
        for switch in (nullcontext, no_grad):
            with pytest.raises(InputError, match="12 tokens cannot be cut into chunks of") as error, switch():
                model(IDS, RIGHT, unpad=True)
            one_line(error)
        assert counted == ["unpadded"]

    def test_a_head_for_a_task(self, counted):
        model = BertForMaskedLM(BertConfig(**SIZES), dtype=np.float64).eval()
        padded = model(IDS, RIGHT)
        with no_grad():
            out = model(IDS, RIGHT, unpad=True)
        assert counted == ["unpadded"]
        np.testing.assert_allclose(out.logits[RIGHT == 1], padded.logits[RIGHT == 1], atol=1e-12)

    @given(
        st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=12),
        st.integers(1, 40),
        st.integers(1, 5),
    )
    def test_every_token_is_in_one_pack_beside_those_of_its_sequence(self, rows, most, at_least):
        tokens = np.array(rows)
        lengths = tokens.sum(axis=-1)
        made = packs(tokens, most, at_least, lambda length: length)
        places = np.concatenate([[], *(pack.places for pack in made)])
        assert sorted(places) == np.flatnonzero(tokens).tolist()
        filled = int((lengths > 0).sum())
        assert len(made) == min(filled, max(at_least, -(-int(lengths.sum()) // most)))
        sizes = [len(pack.places) for pack in made]
        assert not made or max(sizes) - min(sizes) <= lengths.max()
        for pack in made:
            start = 0
            for group in pack.groups:
                assert (group.start, group.attention_mask) == (start, group.length)
                for _ in range(group.b):
                    of_one = pack.places[start : start + group.length]
                    row = of_one[0] // 6
                    assert of_one.tolist() == (row * 6 + np.flatnonzero(tokens[row])).tolist()
                    start += group.length
            assert start == len(pack.places)
            assert sorted((group.length for group in pack.groups), reverse=True) == [g.length for g in pack.groups]


def in_blocks(model, size=5):
    """The model with small blocks."""
    for module in model.modules():
        if type(module).__name__ == "AttentionInBlocks":
            module.size = size
    return model


@pytest.fixture
def short_is_long(monkeypatch):
    """Sequences of four tokens are long."""
    monkeypatch.setattr(attention_module, "MOST_SCORES", 15)
    monkeypatch.setattr(attention_module, "MOST_SCORES_TO_INFER", 8)


BLOCKED = [name for name, (_, inputs) in CASES.items() if not inputs.get("output_attentions")]


class TestBlocks:
    """Long sequences never have [b,h,l,r]."""

    def gradients(self, model, out, d_last):
        model.zero_grad()
        inputs = model.backward(d_last)
        return inputs, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    @pytest.mark.parametrize("case", [*BLOCKED, "pruned"])
    def test_they_are_the_whole_forward_and_backward(self, monkeypatch, case):
        changes, inputs = CASES[case]
        inputs = {key: value for key, value in inputs.items() if key != "output_attentions"}
        model, d_last = in_blocks(model_of(changes)), rng.standard_normal((B, L, E))
        whole = model(IDS, **inputs)
        assert not any(isinstance(module.saved, SavedInBlocks) for module in model.modules())
        d_whole = self.gradients(model, whole, d_last)
        monkeypatch.setattr(attention_module, "MOST_SCORES", 15)
        out = model(IDS, **inputs)
        saved = [m.saved for m in model.modules() if type(m).__name__ == "BertSelfAttention"]
        assert all(isinstance(one, SavedInBlocks) for one in saved)
        same(out, whole)
        ours = self.gradients(model, out, d_last)
        for mine, theirs in zip(ours, d_whole, strict=True):
            same(mine, theirs, 1e-11)
        assert all(module.saved is None for module in model.modules() if type(module).__name__.startswith("Att"))

    @pytest.mark.parametrize("case", ["padding", "decoder", "relative_key_query", "pruned"])
    def test_with_packs_and_parts(self, short_is_long, counted, case):
        changes, inputs = CASES[case]
        inputs = {key: value for key, value in inputs.items() if key not in ("output_attentions", "use_cache")}
        model = in_blocks(model_of(changes), 3)
        given = {"attention_mask": RIGHT, **({"use_cache": False} if case == "decoder" else {})} | inputs
        whole = model(IDS, **given, output_attentions=True).last_hidden_state
        with no_grad():
            same(model(IDS, **given).last_hidden_state, whole)
            same(model(IDS, **given, unpad=True).last_hidden_state, whole * RIGHT[..., None])
        assert counted == ["in_parts", "unpadded"]

    def test_a_step_with_a_cache(self, short_is_long):
        model = in_blocks(model_of({"is_decoder": True, "position_embedding_type": "relative_key_query"}))
        whole = model(IDS, use_cache=False, output_attentions=True).last_hidden_state
        first = model(IDS[:, :4], use_cache=True)
        second = model(IDS[:, 4:], past_key_values=first.past_key_values)
        assert isinstance(model.encoder.layer[0].attention.self.saved, SavedInBlocks)
        same(second.last_hidden_state, whole[:, 4:])

    def test_what_was_not_made_is_said_in_one_clear_line(self, short_is_long):
        model = model_of({})
        model(IDS)
        attention = model.encoder.layer[0].attention.self
        with pytest.raises(
            AttributeError, match=r"attention_probs \[b,h,l,r\] was not made.*output_attentions=True"
        ) as e:
            _ = attention.saved.attention_probs
        one_line(e)
        with pytest.raises(AttributeError, match=r"^nonsense$"):
            _ = attention.saved.nonsense
        assert attention.saved.query_layer.shape == attention.saved.context_layer.shape == (B, H, L, E // H)
        assert attention.saved.row_max.shape == attention.saved.log_sum.shape == (B, H, L, 1)

    @pytest.mark.parametrize("step", ["scores", "mask", "probs", "dropout", "context", "distance_embedding"])
    def test_a_hook_on_a_step_makes_it_whole(self, short_is_long, step):
        model, seen = model_of({"position_embedding_type": "relative_key"}), []
        attention = model.encoder.layer[1].attention.self
        with getattr(attention, step).register_forward_hook(lambda *_: seen.append(step)):
            model(IDS, RIGHT)
            assert attention.saved.attention_probs.shape == (B, H, L, L)
        assert seen == [step]
        assert isinstance(model.encoder.layer[0].attention.self.saved, SavedInBlocks)
        model.backward(np.ones((B, L, E)))

    def test_who_asks_for_attentions_gets_them(self, short_is_long):
        model = model_of({})
        attentions = model(IDS, output_attentions=True).attentions
        assert np.allclose(attentions[0].sum(axis=-1), 1)
        assert model.encoder.layer[0].attention.self.saved.attention_probs is attentions[0]

    def test_one_forward_after_the_other_leaves_nothing_behind(self, short_is_long):
        """The steps hold nothing after blocks, and the blocks nothing after the steps."""
        model = model_of({})
        attention = model.encoder.layer[0].attention.self
        for long in (False, True, False, True):
            model(IDS[:, : 4 if long else 3])
            assert (attention.in_blocks.saved is not None) == long
            assert all((step.saved is None) == long for step in (attention.scores, attention.probs))
        model.backward(np.ones((B, 4, E)))

    def test_a_mask_that_is_not_one_number_a_head_is_whole(self, short_is_long):
        attention = model_of({}).encoder.layer[0].attention.self
        states, mask = rng.standard_normal((B, L, E)), rng.random((1, H, L, 1))
        (whole, _) = attention(states, None, mask, output_attentions=True)
        (context,) = attention(states, None, mask)
        assert np.array_equal(context, whole)

    def test_from_where_on(self, monkeypatch):
        """It depends on l * r, and on whether there will be a backward: one may run forward again."""
        monkeypatch.setattr(attention_module, "MOST_SCORES", 16)
        monkeypatch.setattr(attention_module, "MOST_SCORES_TO_INFER", 9)
        attention = model_of({}).encoder.layer[0].attention.self
        for switch, wanted in ((nullcontext, 17), (no_grad, 10), (to_run_again, 17)):
            with switch():
                assert next(n for n in range(99) if attention.runs_in_blocks(n, None, False)) == wanted


class TestDropoutInBlocks:
    def model(self, checkpointing=False, seed=3, hidden=0.2):
        config = BertConfig(**SIZES, attention_probs_dropout_prob=0.4, hidden_dropout_prob=hidden)
        model = in_blocks(BertModel(config, seed=seed, dtype=np.float32)).train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        return model

    def step(self, model):
        out = model(IDS[:2], RIGHT[:2])
        model.zero_grad()
        g = model.backward(np.ones((2, L, E), np.float32))
        return [
            out.last_hidden_state,
            g["inputs_embeds"],
            *(p.grad for p in model.parameters() if p.grad is not None),
        ]

    def test_the_same_seed_draws_the_same_and_the_next_step_something_else(self, short_is_long):
        first, second = self.model(), self.model()
        for _ in range(2):
            for ours, theirs in zip(self.step(first), self.step(second), strict=True):
                assert np.array_equal(ours, theirs)
        attention_alone = self.model(hidden=0.0)
        assert not np.array_equal(self.step(attention_alone)[0], self.step(attention_alone)[0])
        assert not np.array_equal(self.step(self.model(seed=4))[0], self.step(self.model())[0])

    def test_checkpointed_and_not_to_the_last_bit(self, short_is_long):
        kept, again = self.model(), self.model(checkpointing=True)
        for _ in range(2):
            for ours, theirs in zip(self.step(again), self.step(kept), strict=True):
                assert np.array_equal(ours, theirs)

    @pytest.mark.parametrize("n", [1, 2])
    def test_any_number_of_threads_draws_the_same(self, short_is_long, n):
        expected = self.step(self.model())
        with num_threads(n):
            for ours, theirs in zip(self.step(self.model()), expected, strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)

    def test_about_p_of_the_probabilities_are_dropped(self, short_is_long):
        """With values of ones the context is the sum of what is kept, over 1 - p: 1 on the average."""
        attention = self.model().encoder.layer[0].attention.self
        attention.value.weight.data[...] = 0
        attention.value.bias.data[...] = 1
        (context,) = attention(rng.standard_normal((40, L, E)).astype(np.float32))
        assert context.mean() == pytest.approx(1, abs=0.03)
        assert context.std() > 0.1


class TestMemory:
    """Of long inputs it grows with l and not with its square."""

    def peak(self, length, work):
        config = BertConfig(
            **{
                **SIZES,
                "hidden_size": 8,
                "num_attention_heads": 1,
                "intermediate_size": 8,
                "num_hidden_layers": 1,
                "max_position_embeddings": 4096,
            }
        )
        model = BertModel(config, add_pooling_layer=False)
        ids = np.ones((1, length), int)
        mask = np.arange(length)[None] < length - 3
        tracemalloc.start()
        work(model, ids, mask)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    def infer(self, model, ids, mask):
        with no_grad():
            model.eval()(ids, mask)

    def train(self, model, ids, mask):
        model.gradient_checkpointing_enable()
        out = model.train()(ids, mask)
        model.backward(np.ones_like(out.last_hidden_state))

    @pytest.mark.parametrize("what", ["infer", "train"])
    def test_twice_the_length_takes_at_most_twice_the_memory(self, what):
        work = getattr(self, what)
        with num_threads(1):
            self.peak(600, work)  # what is imported and kept for later
            short, long = self.peak(1024, work), self.peak(2048, work)
        assert long < 2.2 * short
        assert long < 2048 * 2048 * 4  # the whole [l,r] of one head
