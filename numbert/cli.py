"""The command `numbert`: a thin shell over the functions of the package.

Results go to stdout, progress and messages to stderr. What the user got wrong is one line on stderr and exit
code 2. Each command imports what it needs, so that the light ones start at once.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from numbert.errors import InputError

NEW_MODEL = Path("numbert-model")  # where `numbert pretrain` writes unless told otherwise


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and exits: 0 done, 1 a check failed, 2 the user's mistake, 130 Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        sys.exit(options.run(options))
    except (InputError, OSError) as error:
        if isinstance(error, BrokenPipeError):  # `numbert ... | head` has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        _say(f"numbert {options.command}: {error}")
        sys.exit(2)
    except KeyboardInterrupt:
        _say(f"numbert {options.command}: stopped")
        sys.exit(130)


# --- learning ----------------------------------------------------------------------------------------------------


def _pretrain(options: argparse.Namespace) -> int:
    from numbert.pretrain.entry import pretrain
    from numbert.pretrain.parallel import Processes

    given = vars(options).copy()
    for name in ("command", "run", "json"):
        given.pop(name)
    result = pretrain(given.pop("text"), **given)
    if Processes.found().first:
        print(json.dumps(result.to_dict(), indent=2) if options.json else result.report())
    return 0


def _documentation(options: argparse.Namespace) -> int:
    from numbert.pretrain.documentation import all_roots, default_roots, documentation

    roots = all_roots() if options.all else default_roots()
    documents = [document for document in documentation(roots, sys.stderr.isatty()) if document]
    text = "".join("\n".join(document) + "\n\n" for document in documents)
    if options.output is None:
        print(text, end="")
        return 0
    with _new_file(options.output) as file:
        file.write(text.encode())
    _say(f"{options.output}: {len(documents):,} documents, {len(text.encode()) / 1e6:.2f} MB")
    return 0


def _plot(options: argparse.Namespace) -> int:
    from numbert.plot import plot_run

    print(plot_run(options.run_folder, options.output))
    return 0


def _publish(options: argparse.Namespace) -> int:
    from numbert.publish import publish

    print(publish(options.run_folder, options.output))
    return 0


def _download(options: argparse.Namespace) -> int:
    from numbert.download import download

    print(download(options.name, options.output, options.revision, progress=sys.stderr.isatty()))
    return 0


def _export_optimizer(options: argparse.Namespace) -> int:
    from numbert.pretrain.export import export_optimizer

    print(export_optimizer(options.run_folder, options.output))
    return 0


# --- using a model -----------------------------------------------------------------------------------------------


def _fill_mask(options: argparse.Namespace) -> int:
    from numbert.bert.pretraining import BertForMaskedLM
    from numbert.checkpoint.tokenizer import load_tokenizer
    from numbert.inference import fill_mask

    folder = _model_folder(options)
    texts = _texts(options)
    tokenizer, model = load_tokenizer(folder), BertForMaskedLM.from_pretrained(folder)
    filled = fill_mask(model, tokenizer, texts, options.top_k, progress=_shows_progress(texts))
    if options.json:
        print(json.dumps([one.to_dict() for one in filled], indent=2))
        return 0
    for one in filled:
        print(one.text)
        for number, guesses in enumerate(one.masks, start=1):
            title = f"  mask {number}:" if len(one.masks) > 1 else "  "
            print(title + "  ".join(f"{guess.token} {guess.probability:.1%}" for guess in guesses))
    return 0


def _next_sentence(options: argparse.Namespace) -> int:
    from numbert.bert.pretraining import BertForNextSentencePrediction
    from numbert.checkpoint.tokenizer import load_tokenizer
    from numbert.inference import next_sentence

    folder = _model_folder(options)
    tokenizer = load_tokenizer(folder)
    model = BertForNextSentencePrediction.from_pretrained(folder)
    probability = next_sentence(model, tokenizer, options.first, options.second)
    if options.json:
        print(json.dumps({"first": options.first, "second": options.second, "is_next": probability}))
    else:
        print(f"{probability:.1%} that the second text follows the first")
    return 0


def _embed(options: argparse.Namespace) -> int:
    import numpy as np

    from numbert.bert.model import BertModel
    from numbert.checkpoint.tokenizer import load_tokenizer
    from numbert.inference import embed, overlong

    folder = _model_folder(options)
    texts = _texts(options)
    if options.output is not None:
        _refuse_existing(options.output)
    tokenizer, model = load_tokenizer(folder), BertModel.from_pretrained(folder, add_pooling_layer=False)
    if cut := len(overlong(model, tokenizer, texts)):
        _say(f"{cut} of {len(texts)} texts cut to {model.config.max_position_embeddings} tokens")
    vectors = embed(model, tokenizer, texts, options.batch_size, progress=_shows_progress(texts))
    if options.output is not None:
        with _new_file(options.output) as file:
            np.save(file, vectors)
        _say(f"{options.output}: {vectors.shape[0]} x {vectors.shape[1]}, {vectors.dtype}")
    elif options.json:
        print(json.dumps(vectors.tolist()))
    else:
        for vector in vectors:
            print(" ".join(f"{number:.6g}" for number in vector))
    return 0


# --- looking into a model ----------------------------------------------------------------------------------------


def _summary(options: argparse.Namespace) -> int:
    from numbert.describe import summary
    from numbert.nn.module import uninitialized

    config, model_class = _described(options)
    with uninitialized():
        model = model_class(config)
    if options.json:
        print(json.dumps({name: list(parameter.shape) for name, parameter in model.named_parameters()}, indent=2))
    else:
        print(model if options.listing else summary(model, options.depth))
    return 0


def _shapes(options: argparse.Namespace) -> int:
    from numbert.describe import shapes, shapes_table

    config, model_class = _described(options)
    rows = shapes(config, model_class, options.batch, options.length, options.saved)
    print(json.dumps([row.to_dict() for row in rows], indent=2) if options.json else shapes_table(rows))
    return 0


def _inspect(options: argparse.Namespace) -> int:
    from numbert.checkpoint.inspect import inspect

    inspection = inspect(options.folder)
    print(json.dumps(inspection.to_dict(), indent=2) if options.json else inspection)
    return 0


# --- proving and measuring ---------------------------------------------------------------------------------------


def _gradcheck(options: argparse.Namespace) -> int:
    from numbert.gradcheck import gradcheck_all

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
    parts = options.part or (() if options.cold_start else ("forward", "train"))
    result = bench(
        parts,
        batch=options.batch,
        length=options.length,
        padded=options.padded,
        cold_start=(options.cold_start, text) if options.cold_start else None,
        rounds=options.rounds,
        progress=sys.stderr.isatty(),
    )
    print(json.dumps(result.to_dict(), indent=2) if options.json else format_result(result))
    return 0


# --- shared ------------------------------------------------------------------------------------------------------


def _say(message: str) -> None:
    print(message, file=sys.stderr)


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise InputError(f"{path} exists; name a file that does not")


def _new_file(path: Path) -> IO[bytes]:
    """Opened for writing; nothing that was there is overwritten."""
    _refuse_existing(path)
    return path.open("xb")


def _model_folder(options: argparse.Namespace) -> Path:
    """The one that was named, or the weights that come with numbert."""
    from numbert.shipped import shipped_model

    folder: Path | None = options.model
    return shipped_model() if folder is None else folder


def _texts(options: argparse.Namespace) -> list[str]:
    """The texts of the command line; '-' is standard input, a text a line."""
    texts: list[str] = []
    for text in options.text:
        texts += [line for line in sys.stdin.read().splitlines() if line.strip()] if text == "-" else [text]
    if not texts or not all(text.strip() for text in texts):
        raise InputError("a text is empty")
    return texts


def _shows_progress(texts: Sequence[str]) -> bool:
    return len(texts) > 64 and sys.stderr.isatty()


def _described(options: argparse.Namespace) -> tuple[Any, Any]:
    """The configuration and class that `summary` and `shapes` describe; by default bert-base-cased's."""
    from numbert.config import BertConfig
    from numbert.describe import model_class_named

    config = BertConfig(vocab_size=28996)
    if options.model is not None:
        path: Path = options.model
        config = BertConfig.from_file(path / "config.json" if path.is_dir() else path)
    return config, model_class_named(options.model_class)


def _parser() -> argparse.ArgumentParser:
    from numbert import __version__

    parser = argparse.ArgumentParser(
        prog="numbert",
        description="BERT in plain NumPy: train it, use it, look into it, prove its gradients.",
    )
    parser.add_argument("--version", action="version", version=f"numbert {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help, description=help)
        added.set_defaults(run=run)
        return added

    def takes_model(added: argparse.ArgumentParser) -> None:
        added.add_argument(
            "--model", type=Path, metavar="DIR", help="model folder (the small model that comes with numbert)"
        )

    def gives_json(added: argparse.ArgumentParser) -> None:
        added.add_argument("--json", action="store_true", help="print JSON")

    p = command("pretrain", _pretrain, "train a BERT on raw text (MLM and NSP)")
    _add_pretrain_options(p)
    gives_json(p)

    p = command("documentation", _documentation, "the text that pretrain learns from unless told otherwise")
    p.add_argument("--all", action="store_true", help="of every installed package, not just those numbert needs")
    p.add_argument("--output", type=Path, metavar="X.txt", help="write a new file (stdout)")

    p = command("plot", _plot, "draw a run's losses, accuracies, learning rate and gradient norms")
    p.add_argument("run_folder", type=Path, metavar="RUN", help="the folder that pretrain wrote")
    p.add_argument("--output", type=Path, metavar="X.png", help="the picture (RUN/curves.png)")

    p = command("export-optimizer", _export_optimizer, "AdamW's moments for torch, to go on with a run there")
    p.add_argument(
        "run_folder", type=Path, metavar="RUN", help="the folder that pretrain wrote, or a checkpoint in it"
    )
    p.add_argument("--output", type=Path, metavar="DIR", help="a new folder (RUN-torch)")

    p = command("publish", _publish, "a run's model at half precision, with its curves and a model card")
    p.add_argument("run_folder", type=Path, metavar="RUN", help="the folder that pretrain wrote")
    p.add_argument("--output", type=Path, required=True, metavar="DIR", help="the folder to write into")

    p = command("download", _download, "fetch a published BERT from a Hugging Face hub")
    p.add_argument("name", metavar="NAME", help="such as bert-base-cased")
    p.add_argument("--output", type=Path, metavar="DIR", help="a new folder (the last part of NAME)")
    p.add_argument("--revision", default="main", metavar="REV", help="branch, tag or commit (main)")

    p = command("fill-mask", _fill_mask, "the most probable words for each [MASK]")
    p.add_argument("text", nargs="+", metavar="TEXT", help="a text with [MASK] in it; - reads lines from stdin")
    p.add_argument("--top-k", type=int, default=5, metavar="K", help="how many words (5)")
    takes_model(p)
    gives_json(p)

    p = command("next-sentence", _next_sentence, "how probably a text follows another")
    p.add_argument("first", metavar="FIRST")
    p.add_argument("second", metavar="SECOND")
    takes_model(p)
    gives_json(p)

    p = command("embed", _embed, "a vector for each text, the mean of its tokens' last hidden states")
    p.add_argument("text", nargs="+", metavar="TEXT", help="a text; - reads lines from stdin")
    p.add_argument("--output", type=Path, metavar="X.npy", help="write a new .npy file and print no numbers")
    p.add_argument("--batch-size", type=int, default=32, metavar="B", help="texts at a time (32)")
    takes_model(p)
    gives_json(p)

    for name, run, help in (
        ("summary", _summary, "the table of a model's parameters"),
        ("shapes", _shapes, "the shape that every layer puts out, in letters and numbers"),
    ):
        p = command(name, run, help + " (bert-base-cased's, unless told otherwise)")
        p.add_argument("--model", type=Path, metavar="DIR", help="a model folder or a config.json")
        p.add_argument(
            "--class", dest="model_class", default="BertForMaskedLM" if name == "summary" else "BertModel"
        )
        gives_json(p)
        if name == "summary":
            p.add_argument("--depth", type=int, default=3, metavar="N", help="how deep to list (3)")
            p.add_argument("--listing", action="store_true", help="the nested listing, as print(model)")
        else:
            p.add_argument("--batch", type=int, default=1, metavar="B", help="b (1)")
            p.add_argument("--length", type=int, default=13, metavar="L", help="l (13)")
            p.add_argument("--saved", action="store_true", help="also what each layer remembers for backward")

    p = command("inspect", _inspect, "how each name in a checkpoint is used")
    p.add_argument("folder", type=Path, metavar="FOLDER")
    gives_json(p)

    p = command("gradcheck", _gradcheck, "prove every layer's backward by complex-step derivatives")
    p.add_argument("layer", nargs="*", metavar="LAYER", help="only layers with this in their name")
    p.add_argument("--seed", type=int, default=0, metavar="S", help="seed of sizes and numbers (0)")
    p.add_argument("--verbose", action="store_true", help="every tensor of every layer")
    gives_json(p)

    p = command("bench", _bench, "time numbert beside torch and onnxruntime, at bert-base-cased's sizes")
    p.add_argument("part", nargs="*", metavar="PART", help="forward, train (default), kernels, profile, memory")
    p.add_argument("--batch", type=int, default=8, metavar="B", help="b (8)")
    p.add_argument("--length", type=int, metavar="L", help="l (128; for memory 512)")
    p.add_argument("--padded", action="store_true", help="sequences of unequal lengths")
    p.add_argument("--rounds", type=int, default=7, metavar="N", help="how often each is timed (7; memory once)")
    p.add_argument("--cold-start", type=Path, metavar="DIR", help="time fresh processes that embed a sentence")
    gives_json(p)
    return parser


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
    p.add_argument("--output", type=Path, default=NEW_MODEL, metavar="DIR", help=f"the run's folder ({NEW_MODEL})")
    p.add_argument("--resume", action="store_true", help="go on with the run in DIR, if there is one")
    p.add_argument("--init", type=Path, metavar="DIR", help="begin from the weights and vocabulary of a model")
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
