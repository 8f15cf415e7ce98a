"""The commands that prove gradients and measure speed: gradcheck and bench."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from numbert.cli.command import Commands, gives_json, model_folder
from numbert.errors import InputError
from numbert.progress import to_terminal


def add_to(commands: Commands) -> None:
    """Adds the commands of this file."""
    p = commands.add("gradcheck", _gradcheck, "prove every layer's backward by complex-step derivatives")
    p.add_argument("layer", nargs="*", metavar="LAYER", help="only layers with this in their name")
    p.add_argument("--seed", type=int, default=0, metavar="S", help="seed of sizes and numbers (0)")
    p.add_argument("--verbose", action="store_true", help="every tensor of every layer")
    gives_json(p)

    p = commands.add("bench", _bench, "time numbert beside torch and onnxruntime, at bert-base-cased's sizes")
    p.add_argument(
        "part",
        nargs="*",
        metavar="PART",
        help="forward, train (default), kernels, profile, memory, positions, decode",
    )
    p.add_argument("--batch", type=int, default=8, metavar="B", help="b (8)")
    p.add_argument("--length", type=int, metavar="L", help="l (128; for memory and decode 512)")
    p.add_argument("--padded", action="store_true", help="sequences of unequal lengths")
    p.add_argument("--rounds", type=int, default=7, metavar="N", help="how often each is timed (7; memory once)")
    p.add_argument("--cold-start", type=Path, metavar="DIR", help="time fresh processes that embed a sentence")
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
    from numbert.bench import bench, format_result

    text = "The river rose in the night, and by morning the road was gone."
    if options.cold_start:
        model_folder(options.cold_start)
    parts = options.part or (() if options.cold_start else ("forward", "train"))
    result = bench(
        parts,
        batch=options.batch,
        length=options.length,
        padded=options.padded,
        cold_start=(options.cold_start, text) if options.cold_start else None,
        rounds=options.rounds,
        progress=to_terminal(),
    )
    print(json.dumps(result.to_dict(), indent=2) if options.json else format_result(result))
    return 0
