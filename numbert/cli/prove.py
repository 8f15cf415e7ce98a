"""The commands that prove gradients and measure speed: gradcheck and bench."""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from numbert.cli.command import Commands, gives_json, model_folder, new_file
from numbert.errors import InputError
from numbert.progress import say, to_terminal

if TYPE_CHECKING:
    from numbert.config import BertConfig


def add_to(commands: Commands) -> None:
    """Adds the commands of this file."""
    p = commands.add("gradcheck", _gradcheck, "prove every layer's backward by complex-step derivatives")
    p.add_argument("layer", nargs="*", metavar="LAYER", help="only layers with this in their name")
    p.add_argument("--seed", type=int, default=0, metavar="S", help="seed of sizes and numbers (0)")
    p.add_argument("--verbose", action="store_true", help="every tensor of every layer")
    gives_json(p)

    p = commands.add(
        "bench", _bench, "time numbert beside torch, onnxruntime and openvino, at bert-base-cased's sizes"
    )
    p.add_argument(
        "part",
        nargs="*",
        metavar="PART",
        help="forward, train (default), table, texts, kernels, profile, memory, positions, decode, growth; or "
        "guard, alone: each workload beside its matrix products, compared with stored ratios",
    )
    p.add_argument("--batch", type=int, default=8, metavar="B", help="b (8)")
    p.add_argument(
        "--length", type=int, metavar="L", help="l (128; for memory and decode 512; for growth the longest, 512)"
    )
    p.add_argument("--padded", action="store_true", help="sequences of unequal lengths")
    p.add_argument("--texts", type=int, default=2000, metavar="N", help="how many texts of mixed length (2000)")
    p.add_argument("--busy", action="store_true", help="beside a busy process: forward, or two rows of table")
    p.add_argument("--rounds", type=int, default=7, metavar="N", help="how often each is timed (7; memory once)")
    p.add_argument("--cold-start", metavar="DIR", help="time fresh processes that use a model")
    for option, letter, meaning in (
        ("--vocab-size", "V", "pieces (28996)"),
        ("--hidden-size", "E", "width (768)"),
        ("--layers", "N", "layers (12)"),
        ("--heads", "H", "attention heads (a 64th of the width)"),
        ("--intermediate-size", "F", "width within the feed-forward network (4 times the width)"),
        ("--positions", "P", "the longest length that the position table allows (512)"),
    ):
        p.add_argument(option, type=int, metavar=letter, help=meaning)
    p.add_argument("--plot", type=Path, metavar="X.svg", help="draw it, too, as a new .svg or .png file")
    p.add_argument(
        "--from", dest="source", type=Path, metavar="X.json", help="draw a stored --json; measure nothing"
    )
    p.add_argument("--stored", type=Path, metavar="FILE", help="for guard: the ratios to compare with")
    p.add_argument("--store", action="store_true", help="for guard: write what is measured into FILE")
    gives_json(p)


def _gradcheck(options: argparse.Namespace) -> int:
    from numbert.proof import gradcheck_all

    failed = 0
    rows = []
    for name, report in gradcheck_all(options.seed, options.layer):
        failed += not report.ok
        rows.append({"layer": name, "ok": report.ok, "worst": report.worst, "tensors": len(report.rows)})
        if not options.json:
            verdict = "ok" if report.ok else "FAILED"
            print(f"{name:45} {len(report.rows):3} tensors  worst relative error {report.worst:8.1e}  {verdict}")
            if not report.ok or options.verbose:
                print(report)
    if not rows:
        raise InputError(f"no layer's name has {' or '.join(options.layer)} in it")
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        print(f"{len(rows) - failed} of {len(rows)} layers proved")
    return 1 if failed else 0


def _bench(options: argparse.Namespace) -> int:
    if "guard" in options.part:
        return _guard(options)
    if options.stored or options.store:
        raise InputError("--stored and --store go with guard: numbert bench guard --stored FILE")
    if options.source:
        return _draw_stored(options)
    from numbert.bench import bench, format_result

    if options.cold_start:
        options.cold_start = model_folder(options.cold_start)
    parts = options.part or (() if options.cold_start else ("forward", "train"))
    if options.plot:
        from numbert.views.speed import DRAWN, format_of, picture

        format_of(options.plot)
        if not options.cold_start and not set(parts) & {*DRAWN}:
            raise InputError(f"--plot draws {', '.join(DRAWN)} and cold starts; name one of them")
    out = new_file(options.plot) if options.plot else contextlib.nullcontext()
    with out as file:
        result = bench(
            parts,
            config=_config(options),
            batch=options.batch,
            length=options.length,
            padded=options.padded,
            texts=options.texts,
            cold_start=options.cold_start,
            busy=options.busy,
            rounds=options.rounds,
            progress=to_terminal(),
        )
        print(json.dumps(result.to_dict(), indent=2) if options.json else format_result(result))
        if file is not None:
            file.write(picture(result.to_dict(), format_of(options.plot)))
    return 0


def _draw_stored(options: argparse.Namespace) -> int:
    from numbert.views.speed import format_of, picture, read_result

    if options.part or options.cold_start or options.json or not options.plot:
        raise InputError("--from measures and prints nothing, it draws: numbert bench --from X.json --plot X.svg")
    drawn = picture(read_result(options.source), format_of(options.plot))
    with new_file(options.plot) as file:
        file.write(drawn)
    return 0


def _config(options: argparse.Namespace) -> BertConfig | None:
    """The configuration that the sizes make, or None if no size was given."""
    from numbert.config import BertConfig

    vocab_size, e, layers = options.vocab_size, options.hidden_size, options.layers
    heads, f, positions = options.heads, options.intermediate_size, options.positions
    if all(size is None for size in (vocab_size, e, layers, heads, f, positions)):
        return None
    e = 768 if e is None else e
    return BertConfig(
        vocab_size=28996 if vocab_size is None else vocab_size,
        hidden_size=e,
        num_hidden_layers=12 if layers is None else layers,
        num_attention_heads=max(1, e // 64) if heads is None else heads,
        intermediate_size=4 * e if f is None else f,
        max_position_embeddings=512 if positions is None else positions,
    )


def _guard(options: argparse.Namespace) -> int:
    from numbert.bench.guard import Stored, Verdict, kind_of_machine, measure, read_stored, store
    from numbert.nn.threads import get_num_threads

    if options.part != ["guard"]:
        raise InputError("guard is measured alone, without another part")
    if options.store and options.stored is None:
        raise InputError("--store writes into the file that --stored names; name one")
    verdict, threads = Verdict({}), get_num_threads()
    if options.stored is not None:
        kind = kind_of_machine()
        if kind is None:
            say("this kind of machine has neither AVX2 nor AVX-512: there is nothing to compare it with")
            return 0
        if not options.store:
            stored = read_stored(options.stored).get(kind)
            if stored is None:
                say(f"{options.stored} has no ratios of {kind}: there is nothing to compare this machine with")
                return 0
            if stored.threads != threads:
                raise InputError(
                    f"{options.stored} was measured with {stored.threads} threads, and here are {threads}; "
                    f"set OMP_NUM_THREADS={stored.threads}"
                )
            verdict.stored = stored.ratios
    verdict.ratios = measure(options.rounds, progress=to_terminal())
    if options.store:
        store(options.stored, str(kind), Stored(threads, verdict.ratios))
    if options.json:
        print(json.dumps(verdict.to_dict(), indent=2))
    else:
        print("\n".join([verdict.table(), *verdict.beyond()]))
    return 1 if verdict.beyond() else 0
