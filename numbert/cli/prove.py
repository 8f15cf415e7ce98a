"""The commands that prove gradients and measure speed: gradcheck and bench."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from numbert.cli.command import Commands, gives_json, model_folder
from numbert.errors import InputError
from numbert.progress import to_terminal

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
        help="forward, train (default), table, texts, kernels, profile, memory, positions, decode",
    )
    p.add_argument("--batch", type=int, default=8, metavar="B", help="b (8)")
    p.add_argument("--length", type=int, metavar="L", help="l (128; for memory and decode 512)")
    p.add_argument("--padded", action="store_true", help="sequences of unequal lengths")
    p.add_argument("--texts", type=int, default=2000, metavar="N", help="how many texts of mixed length (2000)")
    p.add_argument("--busy", action="store_true", help="beside a busy process: forward, or two rows of table")
    p.add_argument("--rounds", type=int, default=7, metavar="N", help="how often each is timed (7; memory once)")
    p.add_argument("--cold-start", type=Path, metavar="DIR", help="time fresh processes that use a model folder")
    for option, letter, meaning in (
        ("--vocab-size", "V", "pieces (28996)"),
        ("--hidden-size", "E", "width (768)"),
        ("--layers", "N", "layers (12)"),
        ("--heads", "H", "attention heads (a 64th of the width)"),
        ("--intermediate-size", "F", "width within the feed-forward network (4 times the width)"),
    ):
        p.add_argument(option, type=int, metavar=letter, help=meaning)
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

    if options.cold_start:
        model_folder(options.cold_start)
    parts = options.part or (() if options.cold_start else ("forward", "train"))
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
    return 0


def _config(options: argparse.Namespace) -> BertConfig | None:
    """The configuration that the sizes make, or None if no size was given."""
    from numbert.config import BertConfig

    sizes = (options.vocab_size, options.hidden_size, options.layers, options.heads, options.intermediate_size)
    if all(size is None for size in sizes):
        return None
    vocab_size, e, layers, heads, f = sizes
    e = 768 if e is None else e
    return BertConfig(
        vocab_size=28996 if vocab_size is None else vocab_size,
        hidden_size=e,
        num_hidden_layers=12 if layers is None else layers,
        num_attention_heads=max(1, e // 64) if heads is None else heads,
        intermediate_size=4 * e if f is None else f,
    )
