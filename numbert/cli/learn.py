"""The commands around training: pretrain and corpus, and of a run plot, export-optimizer and publish."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numbert.cli.command import Commands, gives_json, model_folder, new_file, no_file
from numbert.progress import say, to_terminal

NEW_MODEL = Path("numbert-model")  # where `numbert pretrain` writes unless told otherwise


def add_to(commands: Commands) -> None:
    """Adds the commands of this file."""
    p = commands.add("pretrain", _pretrain, "train a BERT on raw text (MLM and NSP)")
    _add_pretrain_options(p)
    gives_json(p)

    p = commands.add("corpus", _corpus, "the text that pretrain learns from unless told otherwise")
    p.add_argument("--all", action="store_true", help="of every installed package, not just those numbert needs")
    p.add_argument("--output", type=Path, metavar="X.txt", help="write a new file (stdout)")

    p = commands.add("plot", _plot, "draw a run's losses, accuracies, learning rate and gradient norms")
    p.add_argument("run_folder", type=Path, metavar="RUN", help="the folder that pretrain wrote")
    p.add_argument("--output", type=Path, metavar="X.png", help="the picture (RUN/curves.png)")

    p = commands.add("export-optimizer", _export_optimizer, "AdamW's moments for torch, to go on with a run there")
    p.add_argument(
        "run_folder", type=Path, metavar="RUN", help="the folder that pretrain wrote, or a checkpoint in it"
    )
    p.add_argument("--output", type=Path, metavar="DIR", help="a new folder (RUN-torch)")

    p = commands.add("publish", _publish, "a run's model at half precision, with its curves and a model card")
    p.add_argument("run_folder", type=Path, metavar="RUN", help="the folder that pretrain wrote")
    p.add_argument("--output", type=Path, required=True, metavar="DIR", help="the folder to write into")


def _pretrain(options: argparse.Namespace) -> int:
    from numbert.pretrain.entry import pretrain
    from numbert.train.processes import Processes

    if options.init is not None:
        options.init = model_folder(options.init)
    given = vars(options).copy()
    for name in ("command", "run", "json"):
        given.pop(name)
    result = pretrain(given.pop("text"), **given)
    if Processes.found().first:
        print(json.dumps(result.to_dict(), indent=2) if options.json else result.report())
    return 0


def _corpus(options: argparse.Namespace) -> int:
    from numbert.text.documentation import all_roots, default_roots, documentation

    out = contextlib.nullcontext() if options.output is None else new_file(options.output)
    with out as file:
        roots = all_roots() if options.all else default_roots()
        documents = [document for document in documentation(roots, to_terminal()) if document]
        text = "".join("\n".join(document) + "\n\n" for document in documents)
        if file is not None:
            file.write(text.encode("utf-8"))
            say(f"{options.output}: {len(documents):,} documents, {len(text.encode()) / 1e6:.2f} MB")
            return 0
    if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty():
        sys.stdout.reconfigure(encoding="utf-8")  # what is kept is for pretrain, which reads nothing else
    print(text, end="")
    return 0


def _plot(options: argparse.Namespace) -> int:
    from numbert.views.curves import plot_run

    print(plot_run(no_file(options.run_folder), options.output))
    return 0


def _publish(options: argparse.Namespace) -> int:
    from numbert.pretrain.publish import publish

    print(publish(no_file(options.run_folder), options.output))
    return 0


def _export_optimizer(options: argparse.Namespace) -> int:
    from numbert.pretrain.export import export_optimizer

    print(export_optimizer(no_file(options.run_folder), options.output))
    return 0


def _add_pretrain_options(p: argparse.ArgumentParser) -> None:
    """Options without a default are as in `Settings`, or on --resume as in the run."""
    from dataclasses import fields

    from numbert.pretrain.settings import Settings

    defaults = {field.name: field.default for field in fields(Settings)}

    def setting(name: str, kind: Callable[[str], Any], metavar: str, help: str) -> None:
        p.add_argument(
            f"--{name.replace('_', '-')}", type=kind, metavar=metavar, help=f"{help} ({defaults[name]})"
        )

    p.add_argument("text", nargs="*", type=Path, metavar="TEXT", help="text files (default: docs on this machine)")
    p.add_argument(
        "--held-out",
        nargs="+",
        type=Path,
        default=(),
        metavar="FILE",
        help="text files to hold out whole (default: a twentieth of all documents)",
    )
    p.add_argument("--output", type=Path, default=NEW_MODEL, metavar="DIR", help=f"the run's folder ({NEW_MODEL})")
    p.add_argument("--resume", action="store_true", help="go on with the run in DIR, if there is one")
    p.add_argument("--init", metavar="DIR", help="begin from the weights and vocabulary of a model")
    p.add_argument("--save-every", type=int, metavar="K", help="steps between checkpoints (a tenth, at most 500)")
    p.add_argument("--eval-every", type=int, metavar="K", help="steps between evaluations (as --save-every)")
    p.add_argument(
        "--keep", type=int, default=2, metavar="K", help="latest checkpoints to keep besides the best (2)"
    )
    p.add_argument("--gradient-checkpointing", action="store_true", help="less memory, more time, same result")
    setting("steps", int, "N", "updates; the default takes about two minutes")
    setting("seed", int, "S", "of everything random")
    setting("vocab_size", int, "V", "pieces, at most")
    setting("hidden_size", int, "E", "width")
    setting("layers", int, "N", "layers")
    setting("heads", int, "H", "attention heads")
    setting("length", int, "L", "tokens in a pair, at most")
    setting("positions", int, "L", "max_position_embeddings, 0: as --length")
    setting("batch_size", int, "B", "pairs in an update, of all processes together")
    setting("accumulate", int, "K", "parts that a batch is computed in")
    setting("learning_rate", float, "R", "the highest")
    setting("warmup", float, "P", "part of the steps in which it rises")
    setting("weight_decay", float, "R", "of matrices and tables")
    setting("max_grad_norm", float, "R", "gradients are clipped to")
    setting("dropout", float, "P", "of hidden states and attention")
    p.add_argument(
        "--no-bias-correction", dest="bias_correction", action="store_const", const=False, help="Adam as in 2018"
    )
    p.add_argument("--whole-words", action="store_const", const=True, help="mask all pieces of a word or none")
    setting("near", int, "K", "B that does not follow is from K documents away at most, 0: from any")
