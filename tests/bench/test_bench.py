"""`numbert bench`: nobody times a wrong answer, all take their turns, and the counted work is the work done.

No time is asserted anywhere: a clock on a busy machine proves nothing.
"""

import dataclasses
import json

import numpy as np
import pytest
from benches import TINY, leave_out_peers

from numbert import BertConfig, BertForPreTraining, BertLMHeadModel, BertModel, InputError, no_grad
from numbert.bench import PARTS, BenchResult, bench, format_result, memory, peers
from numbert.bench import profile as profiling
from numbert.bench.kernels import time_kernels
from numbert.bench.race import Contestant, Race, compare, hold, in_turn
from numbert.bench.workloads import forward_gflop, make_workload, numbert_forward, numbert_train, train_gflop
from numbert.cli import main
from numbert.nn import layers
from numbert.nn.attention import AttentionScores

B, L = 3, 16


@pytest.fixture(scope="module")
def everything(config):
    """The result of all parts but the table and growth, which have their own files, without peers."""
    with pytest.MonkeyPatch.context() as patch:
        leave_out_peers(patch)
        parts = [part for part in PARTS if part not in ("table", "growth")]
        return bench(parts, config=config, batch=B, length=L, padded=True, texts=4, rounds=1)


# --- a race ------------------------------------------------------------------------------------------------------


def contestant(name, answer, log=None):
    log = [] if log is None else log
    return Contestant(name, lambda: answer, lambda: log.append(name))


def test_all_take_their_turns_and_the_first_round_does_not_count():
    log = []
    seconds = in_turn("letters", {"a": lambda: log.append("a"), "b": lambda: log.append("b")}, rounds=2)
    assert log == ["a", "b"] * 3
    assert {name: len(times) for name, times in seconds.items()} == {"a": 2, "b": 2}


def test_ratios_pair_the_times_of_one_round():
    race = Race("race", "about", amount=6.0, seconds={"numbert": [1.0, 3.0], "torch": [2.0, 1.5]})
    assert race.ratios("torch") == [0.5, 2.0]
    assert race.speed(race.seconds["numbert"]) == 3.0  # 6 in the median of 2 seconds


def test_the_faster_form_of_a_peer_has_the_smaller_median_over_all_rounds():
    seconds = {"numbert": [2.0, 2.0, 6.0], "torch, sdpa": [4.0, 4.0, 4.0], "torch, eager": [2.0, 1.0, 8.0]}
    race = Race("race", "", None, seconds=seconds, forms={"torch": ["torch, sdpa", "torch, eager"]})
    assert race.faster("torch") == "torch, eager"
    assert race.to_dict()["faster"]["torch"] == {
        "contestant": "torch, eager",
        "numbert_by_this": 1.0,
        "numbert_by_this_in_each_round": [1.0, 2.0, 0.75],
    }
    assert "numbert / the faster torch (torch, eager, by its median): 1.00 (0.75 - 2.00)" in race.table()
    assert race.faster("openvino") is None


def test_numbert_is_shown_beside_the_products_alone():
    race = Race("race", "", 6.0, seconds={"numbert": [4.0, 6.0]}, products=[2.0, 2.0])
    assert race.by_products() == [2.0, 3.0]
    assert race.to_dict()["products"] == {
        "seconds": [2.0, 2.0],
        "median_seconds": 2.0,
        "gflops": 3.0,
        "numbert_by_this": 2.5,
        "numbert_by_this_in_each_round": [2.0, 3.0],
    }
    assert (
        "np.matmul, products alone        2      (2 - 2)      3.0            2.50  (2.00 - 3.00)" in race.table()
    )


def test_nobody_is_timed_when_an_answer_is_wrong():
    log = []
    right, wrong = {"x": np.array([1.0, -3.0])}, {"x": np.array([1.0, -3.001])}
    with pytest.raises(RuntimeError, match=r"x differs by 1.0e-03 between numbert and torch"):
        hold(
            Race("race", "", None), [contestant("numbert", right, log), contestant("torch", wrong, log)], 1, False
        )
    assert log == []


@pytest.mark.parametrize("wrong", [np.array([1.0, np.nan]), np.array([1.0, np.inf])])
def test_numbers_that_are_none_are_wrong_answers(wrong):
    with pytest.raises(RuntimeError, match="differs"):
        compare("torch", {"x": np.array([1.0, 2.0])}, {"x": wrong})


def test_answers_may_differ_by_float32_rounding_and_must_have_the_same_names():
    ours = {"x": np.array([100.0, 1.0]), "zero": np.array([0.0])}
    assert compare("torch", ours, {"x": np.array([100.001, 1.0]), "zero": np.array([1e-7])}) == pytest.approx(1e-3)
    with pytest.raises(RuntimeError, match="zero"):
        compare("torch", ours, {"x": ours["x"]})


# --- the work ----------------------------------------------------------------------------------------------------


@pytest.fixture
def multiply_adds(monkeypatch):
    """Counts what linear layers and attention multiply and add in forward, from the shapes of their inputs."""
    counted = []
    linear, scores = layers.Linear.forward, AttentionScores.forward

    def counting_linear(self, x):
        counted.append(x.size * self.out_features)
        return linear(self, x)

    def counting_scores(self, query_layer, key_layer):
        b, h, length, d = query_layer.shape
        counted.append(2 * b * h * length * key_layer.shape[2] * d)  # and as many for the context
        return scores(self, query_layer, key_layer)

    monkeypatch.setattr(layers.Linear, "forward", counting_linear)
    monkeypatch.setattr(AttentionScores, "forward", counting_scores)
    return counted


def test_the_counted_work_of_forward_is_what_the_layers_do(config, multiply_adds):
    workload = make_workload(config, B, L, padded=False, seed=0)
    numbert_forward(BertModel(config), workload).run()
    assert forward_gflop(config, workload.lengths) == pytest.approx(2e-9 * sum(multiply_adds))


def test_the_counted_work_of_training_is_three_times_its_forward(config, multiply_adds):
    workload = make_workload(config, B, L, padded=False, seed=0)
    numbert_train(BertForPreTraining(config), workload).run()
    assert train_gflop(config, workload.lengths, workload.masked) == pytest.approx(3 * 2e-9 * sum(multiply_adds))


def test_padding_counts_as_no_work(config):
    whole, padded = (make_workload(config, 1, 8, False, 0), make_workload(config, 1, 16, False, 0))
    both = forward_gflop(config, np.array([8, 16]))
    assert both == pytest.approx(forward_gflop(config, whole.lengths) + forward_gflop(config, padded.lengths))


def test_a_batch_has_15_percent_of_its_tokens_masked_and_unequal_lengths_on_request(config):
    workload = make_workload(config, 8, 32, padded=True, seed=0)
    assert (workload.lengths[0], workload.lengths[-1]) == (32, 4)
    assert (np.diff(workload.lengths) < 0).all()
    assert (workload.inputs["attention_mask"].sum(axis=1) == workload.lengths).all()
    assert workload.masked == round(0.15 * workload.lengths.sum())
    assert (workload.labels[~workload.there] == -100).all()
    assert set(make_workload(config, 8, 32, padded=False, seed=0).inputs) == {"input_ids"}


def test_the_answer_in_training_is_without_dropout_and_moves_no_weight(config):
    model = BertForPreTraining(config)
    before = {name: array.copy() for name, array in model.state_dict().items()}
    ours = numbert_train(model, make_workload(config, B, L, False, 0))
    assert compare("itself", ours.answer(), ours.answer()) == 0
    assert all((array == before[name]).all() for name, array in model.state_dict().items())
    assert model.training


def test_a_timed_step_moves_every_weight_and_leaves_no_gradient(config):
    model = BertForPreTraining(config)
    before = {name: array.copy() for name, array in model.state_dict().items()}
    numbert_train(model, make_workload(config, B, L, False, 0)).run()
    assert all((array != before[name]).any() for name, array in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


# --- kernels and profile -----------------------------------------------------------------------------------------


def test_the_kernels_equal_their_plain_forms(config):
    timings = time_kernels(config, B, L, rounds=1, seed=0)  # raises where they differ
    differences = {one.name: one.difference for one in timings}
    assert {"gelu", "softmax", "layer_norm", "layer_norm_backward"} <= set(differences)
    assert differences.pop("relative_scores_backward") < 1e-5  # sums over the whole batch, of about 10
    assert all(difference < 2e-6 for difference in differences.values())


def test_a_profile_counts_each_span_of_time_once(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(profiling.time, "perf_counter", lambda: now[0])
    clock = profiling.Clock()
    for seconds, kind in ((1, "linear"), (2, "softmax"), (4, "linear")):
        now[0] += seconds
        clock.count(kind)
    assert clock.seconds == {"linear": 5, "softmax": 2}


def test_a_profile_times_every_kind_of_layer(everything):
    forward, train = everything.profiles
    kinds = {*profiling.KINDS.values(), profiling.REST}
    both = {f"{kind}, {way}" for kind in kinds for way in ("forward", "backward")}
    assert set(train.seconds()) == both | {profiling.BETWEEN}
    without_labels = kinds - {"cross-entropy"}
    assert set(forward.seconds()) == {f"{kind}, forward" for kind in without_labels} | {profiling.BETWEEN}
    assert all(seconds >= 0 for seconds in train.seconds().values())


def test_a_profile_takes_its_hooks_off_after_an_error(config):
    def fail():
        raise KeyboardInterrupt

    model = BertModel(config)
    with pytest.raises(KeyboardInterrupt):
        profiling.profile("forward", "", 1.0, model, fail, products=fail, rounds=1)
    assert all(module.hooks is None for module in model.modules())


# --- memory ------------------------------------------------------------------------------------------------------


@pytest.fixture
def some_layers():
    """Such that the activations of training count beside Python and the weights."""
    sizes = {"hidden_size": 48, "num_hidden_layers": 8, "num_attention_heads": 4, "intermediate_size": 192}
    return BertConfig(**TINY | sizes | {"max_position_embeddings": 128})


def test_checkpointing_and_chunks_take_less_memory_for_the_same_gradients(some_layers):
    result = bench(["memory"], config=some_layers, batch=16, length=128)
    plain = result.memory.plain
    steps = (plain, result.memory.checkpointed, result.memory.chunked)
    used, used_with_checkpoints, used_with_chunks = (step.peak - step.before for step in steps)
    assert 0 < used_with_checkpoints < used / 2
    assert used_with_checkpoints < used_with_chunks < 0.85 * used
    assert result.memory.difference < 1e-6
    assert set(plain.answer) == {"loss", *dict(BertForPreTraining(some_layers).named_parameters())}
    assert plain.gradients == BertForPreTraining(some_layers).num_parameters() * 4
    text = format_result(result)
    assert f"{plain.peak / 1e6:.0f}" in text
    assert "gradient checkpointing" in text
    assert "chunk_size_feed_forward=64" in text


def test_the_peak_is_the_fresh_processs_own_and_not_its_parents(config):
    size = 200_000_000
    block = np.ones(size, np.uint8)  # the parent is large
    step = memory.Step.in_a_fresh_process(config, B, L, False, 0)
    assert block.nbytes == size
    assert memory.peak_memory() > size
    assert step.before <= step.peak < memory.peak_memory()


def test_a_process_that_fails_says_why(config):
    with pytest.raises(InputError, match=r"training step failed: .*length is 33; it can be 1 to 32"):
        memory.Step.in_a_fresh_process(config, B, 33, False, 0)


# --- positions and decoding --------------------------------------------------------------------------------------


def test_relative_positions_are_timed_beside_absolute_ones(config):
    positions = bench(["positions"], config=config, batch=B, length=L, rounds=2).positions
    assert list(positions.seconds) == ["absolute", "relative_key", "relative_key_query"]
    positions.seconds = {"absolute": [1.0, 2.0], "relative_key": [1.5, 2.0], "relative_key_query": [3.0, 3.0]}
    assert positions.ratios("relative_key_query") == [3.0, 1.5]
    assert positions.to_dict()["kinds"]["relative_key"]["by_absolute"] == 1.25
    assert "2.25  (1.50 - 3.00)" in positions.table()


def test_one_more_token_is_timed_after_few_tokens_and_after_all_with_the_same_scores(config):
    result = bench(["decode"], config=config, batch=B, length=L + 2, rounds=2)
    few, all_but_one = result.decoding.costs
    assert (few.written, all_but_one.written) == (16, 17)
    for cost in (few, all_but_one):
        assert len(cost.cached) == len(cost.attention) == len(cost.again) == 2
        assert all(0 < attention < whole for attention, whole in zip(cost.attention, cost.cached, strict=True))
        assert cost.difference < 1e-5
    assert "tokens written" in format_result(result)


def test_a_step_with_the_cache_does_the_same_work_after_few_tokens_and_many_but_for_attention(
    config, multiply_adds
):
    """Counted, as a clock proves nothing: the linear layers see one token, however many are written."""
    model = BertLMHeadModel(dataclasses.replace(config, is_decoder=True)).eval()
    ids = np.ones((1, 32), np.int64)
    work = {}
    with no_grad():
        for written in (4, 31):
            past = model(ids[:, :written]).past_key_values
            multiply_adds.clear()
            model(ids[:, written : written + 1], past_key_values=past)
            work[written] = sum(multiply_adds)
    a_key = 2 * config.num_hidden_layers * config.hidden_size  # of each layer a score and a share of the context
    assert work[31] - work[4] == (31 - 4) * a_key


# --- the whole ---------------------------------------------------------------------------------------------------


def test_without_peers_numbert_is_measured_and_each_is_named_with_how_to_install_it(config, without_peers):
    result = bench(config=config, batch=B, length=L, rounds=2)
    forward, train = result.races
    assert list(forward.seconds) == list(train.seconds) == ["numbert"]
    assert len(forward.seconds["numbert"]) == len(forward.products) == 2
    assert set(forward.absent) == {"torch", "onnxruntime", "openvino"}
    assert "pip install torch" in forward.absent["torch"]
    text = format_result(result)
    assert "torch is absent" in text
    assert "numbert" in text


def test_the_result_is_json(everything):
    read = json.loads(json.dumps(everything.to_dict()))
    names = ["forward", "train", "texts, embed", "texts, fill-mask", "decode"]
    assert [race["name"] for race in read["races"]] == names
    assert read["races"][0]["contestants"]["numbert"]["gflops"] > 0
    assert read["races"][0]["products"]["gflops"] > 0
    assert read["busy"] is False
    assert len(read["kernels"]) == 12
    assert [one["name"] for one in read["profiles"]] == ["forward", "train"]
    assert read["positions"]["kinds"]["relative_key"]["by_absolute"] > 0
    assert [one["written"] for one in read["decode"]["costs"]] == [15]
    assert read["memory"]["checkpointed"]["peak"] > 0
    assert read["memory"]["chunked"]["chunk_size_feed_forward"] == 16


def test_the_command_takes_the_models_sizes_and_what_is_not_said_follows_from_the_width(monkeypatch, capsys):
    configs = []

    def noting(parts, *, config, **options):
        configs.append(config)
        return BenchResult(1, 1, {})

    monkeypatch.setattr("numbert.bench.bench", noting)
    for options in ("", "--hidden-size 128", "--heads 6 --intermediate-size 9 --vocab-size 7 --positions 640"):
        with pytest.raises(SystemExit, match="0"):
            main(["bench", *options.split(), "--json"])
        assert json.loads(capsys.readouterr().out)["races"] == []
    nothing, narrow, named = configs
    assert nothing is None
    sizes = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "vocab_size")
    assert [getattr(narrow, size) for size in sizes] == [12, 128, 2, 512, 28996]
    assert [getattr(named, size) for size in sizes] == [12, 768, 6, 9, 7]
    assert (narrow.max_position_embeddings, named.max_position_embeddings) == (512, 640)


@pytest.mark.live
@pytest.mark.parametrize("padded", [False, True])
def test_peers_give_the_same_answers(config, padded):
    for name in ("torch", "transformers", "onnxruntime", "onnx"):
        pytest.importorskip(name, reason=f"needs {name}")
    forward, train = bench(config=config, batch=B, length=L, padded=padded, rounds=1).races
    forms = ["torch, sdpa", "torch, eager"]
    others = [name for name in ("onnxruntime", "openvino") if name not in forward.absent]
    assert list(forward.differences) == [*forms, *others]
    assert forward.absent.get("openvino", "pip install openvino").endswith("pip install openvino")
    masked_only = [f"{form}, masked only" for form in forms]
    assert list(train.differences) == [*forms, *masked_only]
    assert train.forms == {"torch": forms, "torch, masked only": masked_only}
    assert all(0 < difference < 1e-5 for race in (forward, train) for difference in race.differences.values())


@pytest.mark.live
def test_the_two_attentions_of_torch_have_one_set_of_weights(config):
    for name in ("torch", "transformers"):
        pytest.importorskip(name, reason=f"needs {name}")
    models = peers.torch_models(BertForPreTraining(config))
    sdpa, eager = (dict(models[attention].named_parameters()) for attention in ("sdpa", "eager"))
    assert {name: id(one) for name, one in sdpa.items()} == {name: id(one) for name, one in eager.items()}
    assert [model.config._attn_implementation for model in models.values()] == ["sdpa", "eager"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"parts": ["forwards"]},
            "no part 'forwards'; it can be forward, train, table, texts, kernels, profile, memory, positions, "
            "decode, growth",
        ),
        ({"parts": ["decode"], "busy": True}, "busy goes with forward and table, not with decode"),
        ({"parts": ["texts"], "texts": 0}, "texts is 0; it must be at least 1"),
        ({"rounds": 0}, "rounds is 0; it must be at least 1"),
        ({"batch": 0}, "batch is 0; it must be at least 1"),
        ({"length": 33}, "length is 33; it can be 1 to 32"),
    ],
)
def test_a_wrong_option_is_named_with_its_limit(config, options, message):
    with pytest.raises(InputError, match=message):
        bench(**{"parts": [], "config": config, "length": L, **options})
