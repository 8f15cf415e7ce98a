"""`numbert bench table`: which workloads it has, whom each ratio is with, and that all of it is data, too."""

import json
import subprocess
import sys

import numpy as np
import pytest
from benches import TINY

from numbert import BertConfig, BertForPreTraining, BertModel, InputError
from numbert.bench import bench, cold_start, format_result, processes, table
from numbert.bench import race as racing
from numbert.bench.race import Race
from numbert.bench.table import Table, TableRow, peak_of
from numbert.bench.workloads import make_workload, numbert_forward, ragged_lengths, workload_of

LONG = BertConfig(**TINY | {"max_position_embeddings": 512})


@pytest.fixture
def model_folder(tmp_path):
    """Of a model with a head for masked tokens, and its tokenizer."""
    from numbert.files.tokenizer import save_tokenizer
    from numbert.text.vocabulary import train_tokenizer

    tokenizer = train_tokenizer(list(cold_start.TEXTS.values()), 60)
    save_tokenizer(tokenizer, tmp_path)
    sizes = {"vocab_size": tokenizer.get_vocab_size(), "max_position_embeddings": 64}
    BertForPreTraining(BertConfig(**TINY | sizes)).save_pretrained(tmp_path)
    return tmp_path


@pytest.fixture
def raced(monkeypatch):
    """The kind of work, lengths, width and busyness of each row of a table; nothing is raced."""
    noted = []

    def race(kind, config, workload, busy=False):
        noted.append((kind, workload.lengths.tolist(), config.hidden_size, busy))
        return Race(kind, "", None, seconds={"numbert": [1.0]}, absent={"torch": "not here"})

    monkeypatch.setattr(
        table,
        "forward_race",
        lambda config, workload, rounds, seed, progress, busy: race("forward", config, workload, busy),
    )
    monkeypatch.setattr(table, "train_race", lambda config, workload, *rest: race("train", config, workload))
    monkeypatch.setattr(
        table,
        "cold_start_race",
        lambda command, *rest: Race(f"cold start, {command}", "", None, seconds={"numbert": [0.5]}),
    )
    monkeypatch.setattr(table, "in_a_fresh_process", lambda *rest: 1_000_000)
    return noted


# --- which workloads ---------------------------------------------------------------------------------------------


def test_the_table_has_forwards_a_ragged_one_training_steps_and_cold_starts(raced):
    result = bench(["table"], rounds=1)
    ragged = ragged_lengths(8, 128).tolist()
    assert raced == [
        ("forward", [16], 768, False),
        ("forward", [128], 768, False),
        ("forward", [128] * 8, 768, False),
        ("forward", [512] * 2, 768, False),
        ("forward", ragged, 768, False),
        ("train", [128] * 4, 768, False),
        ("train", [64] * 32, 128, False),
        ("train", [128] * 32, 128, False),
    ]
    works = [row.work for row in result.workloads.rows]
    assert works[2] == "forward 8 x 128 tokens"
    assert works[-3:] == [
        "train 32 x 128 tokens, 2 layers, 128 wide",
        "cold start, embed",
        "cold start, fill-mask",
    ]


def test_all_rows_have_the_sizes_that_a_user_gives_and_end_at_the_models_positions(raced):
    bench(["table"], config=BertConfig(**TINY), length=16, rounds=1)
    assert {width for _, _, width, _ in raced} == {12}
    assert max(max(lengths) for _, lengths, _, _ in raced) == 32


def test_beside_a_busy_process_there_are_two_forwards_and_the_title_says_so(raced):
    result = bench(["table"], busy=True, rounds=1)
    assert raced == [("forward", [16], 768, True), ("forward", [128] * 2, 768, True)]
    assert "table: 12 layers, 768 wide, float32, beside another process that keeps one core busy" in format_result(
        result
    )
    assert result.to_dict()["busy"] is True


def test_one_sequence_is_whole_and_the_others_lie_below_half():
    lengths = ragged_lengths(8, 128)
    assert lengths[0] == 128
    assert (lengths[1:] < 64).all()
    assert (np.diff(lengths) < 0).all()
    assert ragged_lengths(1, 128).tolist() == [128]
    assert ragged_lengths(4, 1).tolist() == [1, 1, 1, 1]


def test_numbert_leaves_padding_out_where_there_is_any(monkeypatch):
    given = []
    model = BertModel(LONG)
    monkeypatch.setattr(BertModel, "forward", lambda self, **inputs: given.append(inputs["unpad"]))
    numbert_forward(model, workload_of(LONG, ragged_lengths(3, 16), 0)).run()
    numbert_forward(model, make_workload(LONG, 3, 16, False, 0)).run()
    assert given == [True, False]


# --- what a row says ---------------------------------------------------------------------------------------------


def test_a_row_divides_by_the_faster_torch_and_by_each_other_peer():
    seconds = {
        "numbert": [0.1, 0.2, 0.3],
        "torch, sdpa": [0.4, 0.4, 0.4],
        "torch, eager": [0.2, 0.2, 0.2],
        "onnxruntime": [0.1, 0.1, 0.1],
    }
    race = Race("forward", "", 1.0, seconds=seconds, forms={"torch": ["torch, sdpa", "torch, eager"]})
    race.products = [0.1, 0.1, 0.1]
    race.absent["openvino"] = "not here"
    row = TableRow("forward 1 x 2", race, "torch", {"numbert": 30, "torch": 40})
    assert row.cells() == ["forward 1 x 2", "200", "200", "1.00", "2.00", "", "2.00", "0.75"]
    shown = Table("about", [row, row]).table()
    assert shown.count("openvino is absent: not here") == 1
    values = row.to_dict()
    assert values["peer"] == "torch, eager"
    assert [values[f"numbert_by_{one}"] for one in ("peer", "onnxruntime", "openvino", "products")] == [
        1,
        2,
        None,
        2,
    ]
    assert values["peak_numbert_by_torch"] == 0.75
    assert json.loads(json.dumps(values))["race"]["contestants"]["numbert"]["seconds"] == [0.1, 0.2, 0.3]


def test_the_step_that_decodes_only_the_masked_has_a_line_of_its_own(raced, monkeypatch):
    def race(config, workload, *rest):
        seconds = {name: [1.0] for name in ("numbert", "torch, sdpa", "torch, sdpa, masked only")}
        forms = {"torch": ["torch, sdpa"], "torch, masked only": ["torch, sdpa, masked only"]}
        return Race("train", "", None, seconds=seconds, forms=forms)

    monkeypatch.setattr(table, "train_race", race)
    rows = bench(["table"], rounds=1).workloads.rows
    trained = [(row.work[:14], row.peer) for row in rows if row.race.name == "train"]
    assert trained[:2] == [("train 4 x 128 ", "torch"), ("  the same, to", "torch, masked only")]
    assert rows[5].peaks == {"numbert": 1_000_000, "torch": 1_000_000}


def test_a_system_that_cannot_tell_memory_is_put_down_and_the_times_stay(raced, monkeypatch):
    def cannot(*rest):
        raise InputError("memory cannot be measured on this system")

    monkeypatch.setattr(table, "in_a_fresh_process", cannot)
    result = bench(["table"], rounds=1)
    assert "peak memory is absent: memory cannot be measured on this system" in format_result(result)
    assert result.workloads.rows[0].cells()[1] == "1000"


def test_without_the_model_that_comes_with_numbert_the_table_ends_before_the_cold_starts(raced, monkeypatch):
    def nowhere():
        raise InputError("numbert's own model is not installed here")

    monkeypatch.setattr(table, "shipped_model", nowhere)
    result = bench(["table"], rounds=1)
    assert result.workloads.rows[-1].race.name == "train"
    assert "cold starts are absent: numbert's own model is not installed here" in format_result(result)


@pytest.mark.parametrize("kind", ["forward", "train"])
def test_the_peak_of_a_workload_is_that_of_a_process_that_has_done_it_twice(kind, monkeypatch):
    runs = []
    monkeypatch.setattr(table, "_run", lambda name, kind, *rest: lambda: runs.append((name, kind)))
    assert peak_of(["numbert", kind, TINY, [4, 2], 0]) > 1_000_000
    assert runs == [("numbert", kind)] * 2


def test_a_fresh_process_measures_a_real_workload():
    question = ["numbert", "train", TINY, [4, 2], 0]
    assert processes.in_a_fresh_process("numbert.bench.table:peak_of", question, "measure") > 10_000_000


# --- other processes ---------------------------------------------------------------------------------------------


@pytest.fixture
def started(monkeypatch):
    """The processes that were started."""
    found = []
    popen = subprocess.Popen

    def noting(*arguments, **options):
        found.append(popen(*arguments, **options))
        return found[-1]

    monkeypatch.setattr(processes.subprocess, "Popen", noting)
    return found


def test_the_busy_process_runs_within_and_is_gone_after_an_error(started):
    def fail():
        with processes.busy_core():
            assert started[0].poll() is None
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert started[0].returncode is not None


def test_the_busy_process_ends_when_the_one_that_started_it_is_killed():
    program = "from numbert.bench.processes import busy_core; import os\nwith busy_core(): os._exit(1)"
    # Its stderr is also the busy one's: communicate() returns when both have closed it.
    parent = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE)
    parent.communicate(timeout=30)
    assert parent.returncode == 1


def test_a_race_is_held_beside_a_busy_process_only_while_it_is_timed(config, without_peers, started):
    (race,) = bench(["forward"], config=config, batch=1, length=4, rounds=1, busy=True).races
    assert len(started) == 1
    assert started[0].returncode is not None
    assert race.about.endswith(", beside another process that keeps one core busy")


# --- cold starts -------------------------------------------------------------------------------------------------


def test_fresh_processes_are_raced_on_a_folder(model_folder, without_peers):
    races = bench([], cold_start=model_folder, rounds=1).races
    assert [race.name for race in races] == ["cold start, embed", "cold start, fill-mask"]
    for race in races:
        assert list(race.seconds) == ["numbert"]
        assert "transformers" in race.absent
        assert race.to_dict()["gflop"] is None


def test_a_model_without_a_head_for_masked_tokens_fills_no_masks(tmp_path):
    BertModel(BertConfig(**TINY)).save_pretrained(tmp_path)
    assert cold_start.commands_of(tmp_path) == ("embed",)


def test_a_model_that_cannot_be_embedded_with_is_the_users_mistake(tmp_path, without_peers):
    with pytest.raises(InputError, match="nowhere"):
        bench([], cold_start=tmp_path / "nowhere", rounds=1)


@pytest.mark.live
def test_cold_starts_give_the_answers_of_transformers(model_folder, monkeypatch):
    """Only compared, as a process of transformers takes seconds."""
    for name in ("torch", "transformers"):
        pytest.importorskip(name, reason=f"needs {name}")
    monkeypatch.setattr(racing, "in_turn", lambda name, runs, *rest: {contestant: [1.0] for contestant in runs})
    for race in bench([], cold_start=model_folder, rounds=1).races:
        assert 0 <= race.differences["transformers"] < 1e-5


@pytest.mark.live
@pytest.mark.parametrize("kind", ["forward", "train"])
def test_torch_does_a_workload_in_a_fresh_process_too(kind):
    for name in ("torch", "transformers"):
        pytest.importorskip(name, reason=f"needs {name}")
    question = ["torch", kind, TINY, [4, 2], 0]
    assert processes.in_a_fresh_process("numbert.bench.table:peak_of", question, "measure") > 100_000_000
