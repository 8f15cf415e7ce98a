"""The one list of classes: what is in numbert/bert is on it, and what is on it has all that a class needs.

The gradient check's case is held to it by proof/test_gradcheck.py, the derivation by test_docs.py.
"""

import importlib
import pkgutil
import re

import pytest
from mutants import MUTANTS
from mutants.machinery import GRADCHECK
from parity_cases import CASES
from places import ROOT

import numbert
from numbert import bert
from numbert.bert.tasks import registry
from numbert.nn.module import Module

CLASSES = [getattr(registry, name) for name in registry.__all__]


def file_of(cls):
    """Where a class is, as `bert/pooler.py`."""
    return cls.__module__.removeprefix("numbert.").replace(".", "/") + ".py"


def test_it_has_each_layer_and_model_of_numbert_bert():
    found = set()
    for file in pkgutil.walk_packages(bert.__path__, "numbert.bert."):
        for name, value in vars(importlib.import_module(file.name)).items():
            if isinstance(value, type) and issubclass(value, Module) and value.__module__ == file.name:
                found.add(name)
    found = {name for name in found if not name.endswith("Mixin")}  # which is only a part of a class
    assert set(registry.__all__) | {"BertWithOneHead"} == found
    assert [cls for cls in CLASSES if cls not in registry.LAYERS + registry.MODELS] == [
        registry.BertPreTrainedModel
    ]


def test_each_class_is_a_name_of_numbert():
    assert set(registry.__all__) <= set(numbert.__all__)
    assert [getattr(numbert, name) for name in registry.__all__] == CLASSES


def test_each_model_is_compared_with_pytorch():
    assert {case.model for case in CASES.values()} == {cls.__name__ for cls in registry.MODELS}


@pytest.mark.parametrize("file", sorted({file_of(cls) for cls in CLASSES if "backward" in vars(cls)}))
def test_each_file_with_a_backward_has_a_planted_bug_that_the_gradient_check_must_catch(file):
    assert [mutant.name for mutant in MUTANTS if mutant.file == file and GRADCHECK in mutant.must_catch]


def test_the_table_in_architecture_names_the_file_of_each_class():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \(([\w/]+\.py)\) \|", page, re.MULTILINE))
    assert len(rows) >= 10
    for name, file in rows.items():
        assert file_of(getattr(bert, name)) == f"bert/{file}"
