"""The commands that look at models: models, summary, shapes, inspect."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from numbert.cli.command import Commands, gives_json, model_folder
from numbert.errors import InputError

_WHOSE = "(bert-base-cased's, unless told otherwise)"


def add_to(commands: Commands) -> None:
    """Adds the commands of this file."""
    p = commands.add(
        "models", _models, "the models that come with numbert, and those in folders, with their sizes"
    )
    p.add_argument("folder", nargs="*", type=Path, metavar="FOLDER", help="where to look (here)")
    gives_json(p)

    p = commands.add("summary", _summary, f"the table of a model's parameters {_WHOSE}")
    _takes_configuration(p, "BertForMaskedLM")
    p.add_argument("--depth", type=int, default=3, metavar="N", help="how deep to list (3)")
    p.add_argument("--listing", action="store_true", help="the nested listing, as print(model)")
    gives_json(p)

    p = commands.add("shapes", _shapes, f"the shape that every layer puts out, in letters and numbers {_WHOSE}")
    _takes_configuration(p, "BertModel")
    p.add_argument("--batch", type=int, default=1, metavar="B", help="b (1)")
    p.add_argument("--length", type=int, default=13, metavar="L", help="l (13)")
    p.add_argument("--saved", action="store_true", help="also what each layer remembers for backward")
    gives_json(p)

    p = commands.add("inspect", _inspect, "how each name in a model folder's weights is used")
    p.add_argument("folder", metavar="FOLDER", help="a model folder, or one of `numbert models`")
    p.add_argument(
        "--class", dest="model_class", metavar="CLASS", help="of the model (config.json's, or BertModel)"
    )
    gives_json(p)


def _models(options: argparse.Namespace) -> int:
    from numbert.inside.models import models, models_table

    rows = models(options.folder or [Path()])
    print(json.dumps([row.to_dict() for row in rows], indent=2) if options.json else models_table(rows))
    return 0


def _summary(options: argparse.Namespace) -> int:
    from numbert.inside.summary import summary
    from numbert.nn.switches import uninitialized

    config, model_class = _described(options)
    with uninitialized():
        model = model_class(config)
    if options.json:
        print(json.dumps({name: list(parameter.shape) for name, parameter in model.named_parameters()}, indent=2))
    else:
        print(model if options.listing else summary(model, options.depth))
    return 0


def _shapes(options: argparse.Namespace) -> int:
    from numbert.inside.shapes import shapes, shapes_table

    config, model_class = _described(options)
    rows = shapes(config, model_class, options.batch, options.length, options.saved)
    print(json.dumps([row.to_dict() for row in rows], indent=2) if options.json else shapes_table(rows))
    return 0


def _inspect(options: argparse.Namespace) -> int:
    from numbert.bert.tasks.registry import model_class_named
    from numbert.inside.inspect import inspect

    named = options.model_class
    inspection = inspect(model_folder(options.folder), None if named is None else model_class_named(named))
    print(json.dumps(inspection.to_dict(), indent=2) if options.json else inspection)
    return 0


def _takes_configuration(p: argparse.ArgumentParser, model_class: str) -> None:
    p.add_argument("--model", metavar="DIR", help="a model folder, one of `numbert models`, or a config.json")
    p.add_argument(
        "--class", dest="model_class", default=model_class, metavar="CLASS", help=f"of the model ({model_class})"
    )


def _described(options: argparse.Namespace) -> tuple[Any, Any]:
    """The configuration and class that `summary` and `shapes` describe; by default bert-base-cased's."""
    from numbert.bert.tasks.registry import model_class_named
    from numbert.config import BertConfig

    config = BertConfig(vocab_size=28996)
    if options.model is not None:
        path = Path(options.model)
        if path.is_file() and path.suffix != ".json":
            raise InputError(f"{path} is no config.json; give one, or the folder that it is in, {path.parent}")
        config = BertConfig.from_file(path if path.is_file() else model_folder(options.model) / "config.json")
    return config, model_class_named(options.model_class)
