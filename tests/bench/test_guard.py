"""The guard: its verdict on given ratios, what its file may hold, and that it measures each workload."""

import json
from pathlib import Path

import numpy as np
import pytest
from benches import TINY

from numbert import BertConfig
from numbert.bench import guard
from numbert.bench.guard import LIMIT, WORKS, Stored, Verdict, kind_of_machine, measure, read_stored, store
from numbert.cli import main
from numbert.nn import threads

STORED = Path(__file__).parent / "speed.json"
RATIOS = {"forward 1 x 16": 1.2, "train 4 x 128": 1.0}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "speed.json"
    store(path, "avx2", Stored(1, RATIOS))
    return path


@pytest.fixture
def bench(capsys):
    """Runs `numbert bench`, and returns its exit code, stdout and stderr."""

    def bench(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["bench", *map(str, arguments)])
        return ended.value.code, *capsys.readouterr()

    return bench


@pytest.fixture
def run(monkeypatch, bench):
    """Runs the guard on a machine with AVX2 on which the given ratios would be measured."""

    def run(ratios, *arguments):
        monkeypatch.setattr(guard, "kind_of_machine", lambda: "avx2")
        monkeypatch.setattr(threads, "get_num_threads", lambda: 1)
        monkeypatch.setattr(guard, "measure", lambda rounds, progress: dict(ratios))
        return bench("guard", *arguments)

    return run


class TestTheVerdict:
    def test_up_to_the_limit_all_is_well(self):
        assert Verdict({name: LIMIT * ratio for name, ratio in RATIOS.items()}, RATIOS).beyond() == []

    def test_beyond_it_there_is_a_line_for_each_workload(self):
        slower = {"forward 1 x 16": 2.4, "train 4 x 128": 1.4}
        (line,) = Verdict(slower, RATIOS).beyond()
        assert line == (
            "forward 1 x 16: 2.40 times its products, stored is 1.20; that is 2.00 times as much, the limit is 1.5"
        )

    def test_a_ratio_that_is_no_number_is_beyond(self):
        assert len(Verdict({"train 4 x 128": float("nan")}, RATIOS).beyond()) == 1

    def test_a_workload_that_nobody_stored_is_no_silent_success(self):
        (line,) = Verdict({"a new one": 1.0}, RATIOS).beyond()
        assert line == "a new one: no ratio is stored; --store adds it"

    def test_with_nothing_to_compare_with_there_is_no_complaint(self):
        assert Verdict({"train 4 x 128": 9.0}).beyond() == []


class TestTheCommand:
    def test_it_succeeds_within_the_limit(self, run, file):
        code, out, err = run(RATIOS, "--stored", file)
        assert (code, err) == (0, "")
        assert out.splitlines()[1].split() == ["forward", "1", "x", "16", "1.20", "1.20", "1.00"]

    def test_it_fails_beyond_the_limit_and_says_where(self, run, file):
        code, out, _ = run({**RATIOS, "train 4 x 128": 1.6}, "--stored", file)
        assert code == 1
        assert out.splitlines()[-1].startswith("train 4 x 128: 1.60 times its products, stored is 1.00")

    def test_as_json(self, run, file):
        code, out, _ = run({**RATIOS, "train 4 x 128": 1.6}, "--stored", file, "--json")
        read = json.loads(out)
        assert (code, read["limit"], read["stored"]) == (1, 1.5, RATIOS)
        assert len(read["beyond"]) == 1

    def test_a_kind_of_machine_that_nobody_measured_is_a_line_and_no_failure(self, run, file):
        file.write_text(json.dumps({"avx512": {"threads": 1, "ratios": RATIOS}}))
        code, out, err = run({}, "--stored", file)
        assert (code, out) == (0, "")
        assert err == f"{file} has no ratios of avx2: there is nothing to compare this machine with\n"

    def test_so_is_one_without_a_name(self, monkeypatch, bench, file):
        monkeypatch.setattr(guard, "kind_of_machine", lambda: None)
        code, out, err = bench("guard", "--stored", file)
        assert (code, out) == (0, "")
        assert err == "this kind of machine has neither AVX2 nor AVX-512: there is nothing to compare it with\n"

    def test_store_keeps_the_other_kinds(self, run, file):
        store(file, "avx512", Stored(4, RATIOS))
        code, _, _ = run({"forward 1 x 16": 3.00049}, "--stored", file, "--store")
        assert code == 0
        assert read_stored(file) == {"avx2": Stored(1, {"forward 1 x 16": 3.0}), "avx512": Stored(4, RATIOS)}

    def test_ratios_of_another_number_of_threads_are_not_compared(self, run, file):
        store(file, "avx2", Stored(4, RATIOS))
        code, out, err = run(RATIOS, "--stored", file)
        assert (code, out) == (2, "")
        assert err.endswith("was measured with 4 threads, and here are 1; set OMP_NUM_THREADS=4\n")

    def test_store_makes_a_new_file(self, run, tmp_path):
        assert run(RATIOS, "--stored", tmp_path / "new.json", "--store")[0] == 0
        assert read_stored(tmp_path / "new.json") == {"avx2": Stored(1, RATIOS)}

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["guard", "forward"], "guard is measured alone"),
            (["guard", "--store"], "--store writes into the file that --stored names"),
            (["forward", "--store"], "--stored and --store go with guard"),
            (["guard", "--rounds", "0"], "rounds is 0; it must be at least 1"),
        ],
    )
    def test_wrong_options_are_one_line(self, arguments, message, bench):
        code, out, err = bench(*arguments)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert message in err

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (b"{", "is no JSON"),
            (b"\xff\xfe", "is no JSON"),
            (b"[" * 100_000, "is no JSON"),
            (b"[1]", "holds no ratios"),
            (b'{"avx2": 1}', "there must be threads, and ratios"),
            (b'{"avx2": {"ratios": {}}}', "there must be threads, and ratios"),
            (b'{"avx2": {"threads": 1, "ratios": []}}', "there must be threads, and ratios"),
            (b'{"avx2": {"threads": 1.5, "ratios": {}}}', "it must be an integer"),
            (b'{"avx2": {"threads": 1, "ratios": {"a": "1"}}}', "it must be a number"),
            (b'{"avx2": {"threads": 1, "ratios": {"a": true}}}', "it must be a number"),
            (b'{"avx2": {"threads": 1, "ratios": {"a": 0}}}', "it must be above 0"),
            (b'{"avx2": {"threads": 1, "ratios": {"a": NaN}}}', "it must be above 0"),
            (b'{"avx2": {"threads": 1, "ratios": {"a": Infinity}}}', "it must be above 0"),
            (b'{"avx2": {"threads": 1, "ratios": {"a": 1%s}}}' % (b"0" * 400), "too large"),
        ],
    )
    @pytest.mark.parametrize("option", [[], ["--store"]], ids=["compare", "store"])
    def test_a_file_with_something_else_in_it_is_named_and_kept(self, text, message, option, run, tmp_path):
        path = tmp_path / "speed.json"
        path.write_bytes(text)
        code, out, err = run(RATIOS, "--stored", path, *option)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert message in err
        assert path.read_bytes() == text

    def test_a_file_that_is_not_there_is_named(self, run, tmp_path):
        code, _, err = run(RATIOS, "--stored", tmp_path / "nothing.json")
        assert code == 2
        assert "nothing.json cannot be read: No such file or directory" in err


class TestWhatIsMeasured:
    def test_every_workload_is_measured_beside_its_products(self):
        config = BertConfig(**TINY)
        ratios = measure(rounds=1, configs={"base": config, "small": config})
        assert list(ratios) == [str(work) for work in WORKS]
        assert all(0 < ratio < np.inf for ratio in ratios.values())

    def test_padding_is_left_out_of_the_ragged_workload_and_of_its_products(self, monkeypatch):
        config, seen = BertConfig(**TINY), []
        products_run = guard.products_run
        monkeypatch.setattr(
            guard,
            "products_run",
            lambda config, lengths: seen.append(lengths.tolist()) or products_run(config, lengths),
        )
        measure(rounds=1, configs={"base": config, "small": config})
        (ragged,) = [lengths for lengths in seen if len(set(lengths)) > 1]
        assert ragged[0] == 32
        assert max(ragged[1:]) < 16

    @pytest.mark.parametrize(
        ("found", "kind"),
        [
            ({"baseline": ["SSE"], "found": ["AVX", "FMA3", "AVX2"]}, "avx2"),  # as NumPy 2.0 says it
            ({"baseline": ["SSE"], "found": ["AVX2", "AVX512F", "AVX512_SKX"]}, "avx512"),
            ({"baseline": ["X86_V2"], "found": ["X86_V3"], "not found": ["X86_V4"]}, "avx2"),  # as NumPy 2.4
            ({"baseline": ["X86_V3"], "found": ["X86_V4"]}, "avx512"),
            ({"baseline": ["X86_V3"]}, "avx2"),
            ({"baseline": ["NEON"], "found": ["ASIMDHP"]}, None),
            ({}, None),
        ],
    )
    def test_the_kind_of_machine_is_told_by_numpy(self, found, kind, monkeypatch):
        monkeypatch.setattr(np, "show_config", lambda mode: {"SIMD Extensions": found})
        assert kind_of_machine() == kind

    def test_this_numpy_says_what_it_has_found(self):
        config = np.show_config("dicts")["SIMD Extensions"]
        assert config["baseline"]

    def test_the_stored_file_has_every_workload_of_each_kind(self):
        kinds = read_stored(STORED)
        assert kinds
        assert set(kinds) <= {"avx2", "avx512"}
        assert all(list(stored.ratios) == [str(work) for work in WORKS] for stored in kinds.values())
