"""appended: what np.concatenate gives, without a copy for each token; a cache that was given never changes."""

import numpy as np
import pytest
import tiny

import numbert
from numbert.bert.cache import appended, room_of

B, H, D = 2, 3, 4


def drawn(length, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal((B, H, length, D)).astype(dtype)


def test_step_by_step_it_is_the_concatenation_and_seldom_copies():
    steps = [drawn(length, seed) for seed, length in enumerate((5, 1, 1, 3, 1, 1, 1, 7, 1, 1))]
    cache, rooms = steps[0], []
    for number, new in enumerate(steps[1:], start=2):
        cache = appended(cache, new)
        np.testing.assert_array_equal(cache, np.concatenate(steps[:number], axis=2))
        assert type(cache) is np.ndarray
        rooms.append(room_of(cache).shape[2])
    assert rooms == [12] * 5 + [26] * 4  # room for twice the 6 tokens of the first step, then for twice 13


def test_a_cache_never_changes_though_several_texts_go_on_from_it():
    cache = appended(drawn(3), drawn(1, 1))
    before = cache.copy()
    one, other = appended(cache, drawn(2, 2)), appended(cache, drawn(1, 3))
    longer, again = appended(one, drawn(1, 4)), appended(one, drawn(1, 5))
    np.testing.assert_array_equal(cache, before)
    for ours, parts in (
        (one, [cache, drawn(2, 2)]),
        (other, [cache, drawn(1, 3)]),
        (longer, [cache, drawn(2, 2), drawn(1, 4)]),
        (again, [cache, drawn(2, 2), drawn(1, 5)]),
    ):
        np.testing.assert_array_equal(ours, np.concatenate(parts, axis=2))


@pytest.mark.parametrize(
    "changed",
    [
        lambda cache: cache[:1],  # one text of the batch
        lambda cache: cache[::-1],  # in another order
        lambda cache: cache[[1, 0]],
        lambda cache: cache[:, :2],  # some of the heads
        lambda cache: cache[:, :, :3],  # the first tokens
        lambda cache: cache[:, :, 1:],  # the last ones
        lambda cache: cache[..., ::-1],
        lambda cache: cache.astype(np.complex128),
    ],
)
def test_a_part_of_a_cache_is_a_cache(changed):
    cache = appended(drawn(3), drawn(2, 1))
    before, part = cache.copy(), changed(cache)
    new = np.ones((*part.shape[:2], 1, D), part.dtype)
    np.testing.assert_array_equal(appended(part, new), np.concatenate([part, new], axis=2), strict=True)
    np.testing.assert_array_equal(cache, before)
    np.testing.assert_array_equal(appended(cache, drawn(1, 2)), np.concatenate([cache, drawn(1, 2)], axis=2))


def test_a_model_goes_on_twice_from_one_cache():
    config = tiny.config(is_decoder=True)
    model = numbert.BertLMHeadModel(config, dtype=np.float64).eval()
    ids = np.arange(1, 9)[None]
    with numbert.no_grad():
        past = model(ids[:, :4]).past_key_values
        past = model(ids[:, 4:6], past_key_values=past).past_key_values
        for last in (ids[:, 6:], ids[:, 5:7], ids[:, 6:]):
            ours = model(last, past_key_values=past).logits
            whole = model(np.concatenate([ids[:, :6], last], axis=1)).logits
            np.testing.assert_allclose(ours, whole[:, 6:], rtol=0, atol=1e-12)
