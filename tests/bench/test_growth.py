"""How a forward grows: slopes and fits of made-up costs are found again, what is counted is what the layers do."""

import contextlib
import json

import numpy as np
import pytest
from benches import TINY

from numbert import BertConfig, InputError
from numbert.bench import bench, format_result, growth
from numbert.bench.growth import Curve, Growth, doubled, forwards_elsewhere, operations
from numbert.bench.workloads import forward_gflop

LENGTHS = [32, 64, 128, 256, 512]
BY_LENGTH = {"every call": 0, "every token": 1, "every pair of tokens": 2}


def curve(cost, sizes=LENGTHS, parts=BY_LENGTH, **fields):
    """A curve whose cost at each size is what `cost` says."""
    return Curve("length", "l", "made up", sizes, [[cost(size)] for size in sizes], parts, **fields)


@pytest.fixture(scope="module")
def measured(config):
    """All curves; those that need other processes are made up: there memory is 1 MB and 64 bytes a pair."""

    @contextlib.contextmanager
    def elsewhere(its_config, batch, length, seed, environment=None):
        yield lambda: (10**6, 10**6 + 64 * length**2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(growth, "forwards_elsewhere", elsewhere)
        patch.setattr(growth, "LARGEST_BATCH", 2)
        return bench(["growth"], config=config, length=32, rounds=1)


class TestSlopesAndFits:
    @pytest.mark.parametrize("power", [-1.0, 0.0, 1.0, 1.5, 2.0])
    def test_the_exponent_is_that_of_a_power(self, power):
        made_up = curve(lambda size: 3.0 * size**power)
        assert made_up.exponent() == pytest.approx(power, abs=1e-9)
        assert made_up.exponents_between() == pytest.approx([power] * 4, abs=1e-9)

    def test_a_slope_is_that_of_the_medians(self):
        made_up = Curve("length", "l", "", [1, 2], [[1.0, 9.0, 1.1], [2.2, 0.1, 2.3]], {})
        assert made_up.exponent() == pytest.approx(1.0)

    @pytest.mark.parametrize("factors", [(3.0, 0.5, 0.002), (0.0, 1.0, 0.0), (1.0, 0.0, 1e-5)])
    def test_the_fit_finds_the_factors_of_a_sum_of_powers(self, factors):
        fixed, token, pair = factors
        made_up = curve(lambda size: fixed + token * size + pair * size**2)
        assert list(made_up.fit().values()) == pytest.approx(factors, rel=1e-6, abs=1e-9)
        assert [sum(parts) for parts in zip(*made_up.fitted().values(), strict=True)] == pytest.approx(
            made_up.medians()
        )

    def test_of_threads_the_fit_is_what_one_does_alone_and_what_all_share(self):
        parts = {"alone": 0, "shared": -1}
        made_up = curve(lambda threads: 2.0 + 8.0 / threads, [1, 2, 4], parts)
        assert made_up.fit() == pytest.approx({"alone": 2.0, "shared": 8.0})

    def test_no_part_of_a_cost_is_below_zero(self):
        falling = curve(lambda size: 600.0 - size)
        assert falling.exponent() < 0
        assert min(falling.fit().values()) >= 0

    def test_the_part_that_dominates_is_named_at_each_end(self):
        lines = curve(lambda size: 0.1 + 1e-5 * size + 1e-5 * size**2).in_words()
        assert "at l = 32 90% is for every call and stays the same" in lines[-1]
        assert "at l = 512 96% is for every pair of tokens and goes like l^2" in lines[-1]

    @pytest.mark.parametrize(
        ("power", "words"),
        [
            (0.5, "less than linear"),
            (1.0, "linear in l"),
            (1.5, "between linear and l^2"),
            (2.0, "l^2, not linear"),
        ],
    )
    def test_memory_is_said_to_be_linear_or_not(self, power, words):
        made_up = Curve(growth.MEMORY, "l", "", LENGTHS, [[size**power] for size in LENGTHS], BY_LENGTH)
        assert made_up.in_words()[0].endswith(f"l^{power:.2f} at the end: {words}.")
        assert "growth of memory with length" in made_up.table()

    def test_one_size_alone_and_a_cost_of_nothing_have_no_slope(self):
        alone = curve(lambda size: 1.0, [4])
        assert (alone.exponent(), alone.exponents_between(), alone.fit()) == (None, [], None)
        assert "Nothing was measured that grows from l = 4 to l = 4." in alone.table()
        nothing = curve(lambda size: 0.0)
        assert (nothing.exponent(), nothing.fit()) == (None, None)
        assert json.dumps(nothing.to_dict())


class TestWhatIsCounted:
    @pytest.mark.parametrize(("batch", "length"), [(1, 7), (3, 32)])
    def test_products_are_those_of_forward_gflop(self, config, batch, length):
        counts = operations(config, batch, length)
        products = counts[growth.LINEAR] + counts[growth.ATTENTION]
        assert products == pytest.approx(forward_gflop(config, np.full(batch, length)))

    def test_at_the_crossing_attention_has_as_many_operations_as_the_linear_layers(self, config):
        length = growth.crossing(config)
        counts, twice = operations(config, 1, length), operations(config, 1, 2 * length)
        assert counts[growth.ATTENTION] == pytest.approx(counts[growth.LINEAR], rel=0.02)  # but for the pooler
        assert twice[growth.ATTENTION] == pytest.approx(4 * counts[growth.ATTENTION])

    def test_element_wise_work_of_one_token_by_hand(self):
        one = BertConfig(**TINY | {"hidden_size": 2, "num_attention_heads": 1, "intermediate_size": 3})
        layer = 5 * 2 + 3 + 2 * 2 + 2 * 7 * 2 + 5 * 3 + 7  # biases, sums, two LayerNorms, GELU, softmax
        assert operations(one, 1, 1)[growth.ELEMENTWISE] == pytest.approx(1e-9 * (2 * layer + 2 * (2 + 7)))

    def test_sizes_are_doubled_up_to_the_last(self):
        assert doubled(32, 512) == LENGTHS
        assert doubled(1, 12) == [1, 2, 4, 8, 12]
        assert doubled(1, 1) == [1]


class TestWhatIsMeasured:
    def test_every_curve_has_a_cost_at_every_size(self, measured):
        curves = {one.name: one for one in measured.growth.curves}
        assert list(curves) == ["length", "batch", "layers", "threads", "memory"]
        assert curves["length"].sizes == curves["memory"].sizes == [8, 16, 32]
        assert (curves["batch"].sizes, curves["layers"].sizes) == ([1, 2], [1, 2])
        assert curves["threads"].sizes == doubled(1, measured.threads)
        for one in curves.values():
            assert len(one.costs) == len(one.sizes)
            assert all(cost > 0 for costs in one.costs for cost in costs)
        assert curves["memory"].costs == [
            [64 * 8**2],
            [64 * 16**2],
            [64 * 32**2],
        ]  # what was there before is not in it

    def test_the_table_names_what_dominates_by_the_counted_operations(self, measured):
        text = format_result(measured)
        assert "Up to l = 2e + f = 44 the products of the linear layers dominate" in text
        assert "at l = 8," in text
        for name in ("length", "batch", "layers", "threads"):
            assert f"growth with {name}" in text

    def test_it_is_json(self, measured):
        read = json.loads(json.dumps(measured.to_dict()))["growth"]
        length = read["curves"][0]
        assert (length["letter"], length["sizes"]) == ("l", [8, 16, 32])
        assert set(length["operations"]) == {growth.LINEAR, growth.ATTENTION, growth.ELEMENTWISE}
        assert len(length["exponents_between"]) == 2

    def test_a_system_that_cannot_tell_its_memory_has_the_other_curves(self, config, monkeypatch):
        def unknown(*sizes):
            return contextlib.nullcontext(lambda: (None, None))

        monkeypatch.setattr(growth, "forwards_elsewhere", unknown)
        result = Growth()
        growth._measure_memory(result, config, [2, 4], 0, False)
        assert result.curves == []
        assert "memory is absent" in result.table()

    def test_each_number_of_threads_is_told_to_a_process_of_its_own(self, config, monkeypatch):
        told = []

        @contextlib.contextmanager
        def elsewhere(its_config, batch, length, seed, environment):
            told.append(environment)
            yield lambda: None

        monkeypatch.setattr(growth, "forwards_elsewhere", elsewhere)
        growth._measure_threads(Growth(), config, 8, 3, 1, 0, False)
        assert told == [{"OMP_NUM_THREADS": "1"}, {"OMP_NUM_THREADS": "2"}, {"OMP_NUM_THREADS": "3"}]

    def test_a_fresh_process_does_a_forward_whenever_it_is_asked(self, config):
        with forwards_elsewhere(config, 1, 8, 0) as run:
            before, peak = run()
            again, later = run()
        assert 0 < before == again <= peak <= later

    def test_a_process_that_fails_says_why(self, config):
        with (
            pytest.raises(InputError, match=r"to do a forward failed: .*length is 33; it can be 1 to 32"),
            forwards_elsewhere(config, 1, 33, 0),
        ):
            pass

    @pytest.mark.parametrize("length", [1, 33])
    def test_a_longest_length_outside_the_models_is_named_with_its_limits(self, config, length):
        with pytest.raises(InputError, match=rf"length is {length}; .*it can be [12] to 32"):
            bench(["growth"], config=config, length=length)
