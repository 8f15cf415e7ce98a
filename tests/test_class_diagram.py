"""docs/class-diagram.md and its picture are what the code is, and what transformers has is in its tables."""

import importlib.util
import inspect
import xml.etree.ElementTree as ET
from importlib import metadata

import pytest
from places import ROOT

import numbert
from numbert.bert.tasks import registry

spec = importlib.util.spec_from_file_location("make_class_diagram", ROOT / "docs" / "make_class_diagram.py")
diagram = importlib.util.module_from_spec(spec)
spec.loader.exec_module(diagram)


try:
    TRANSFORMERS = metadata.version("transformers")
except metadata.PackageNotFoundError:
    TRANSFORMERS = ""


def is_method(value):
    return inspect.isroutine(value) or isinstance(value, property | classmethod | staticmethod)


def test_picture_and_page_are_as_the_code_is():
    again = "out of date: python docs/make_class_diagram.py"
    assert diagram.PICTURE.read_text(encoding="utf-8") == diagram.picture(diagram.models()), again
    page = diagram.PAGE.read_text(encoding="utf-8")
    assert page == diagram.page(page), again


def test_each_class_and_each_method_is_in_the_picture():
    drawn = ET.fromstring(diagram.picture(diagram.models()))  # which is XML
    text = " ".join(element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text"))
    for cls in (*registry.MODELS, *numbert.BertModel.__mro__[:-1]):
        assert cls.__name__ in text
    for name in ("num_parameters", "resize_token_embeddings", "_init_weights", "push_to_hub", "from_pretrained"):
        assert name in text


def test_no_text_is_wider_than_its_box():
    drawn = ET.fromstring(diagram.picture(diagram.models()))
    svg = "{http://www.w3.org/2000/svg}"
    right = 0.0
    for element in drawn.iter():
        if element.tag == f"{svg}rect":
            right = float(element.get("x")) + float(element.get("width"))
        elif element.tag == f"{svg}text" and element.get("class") != "file":
            assert float(element.get("x")) + 7.25 * len(element.text) < right, element.text


class PoemMixin:
    """A mixin that a model inherits beside what all inherit, as the published ones."""

    def rhyme(self):
        """Nothing."""


class Later(registry.BertForMaskedLM, PoemMixin):
    """A model that inherits another, and the mixin."""


def test_a_class_that_comes_later_is_drawn_by_itself(monkeypatch):
    for cls in (Later, PoemMixin):
        monkeypatch.setattr(cls, "__module__", "numbert.bert.tasks.later")
    monkeypatch.setattr(registry, "MODELS", [*registry.MODELS, Later])
    picture = diagram.picture(diagram.models())
    assert ">PoemMixin<" in picture
    assert ">Later<" in picture
    assert "in `Later`, [numbert/bert/tasks/later.py]" in diagram.place("rhyme", "no")


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("num_parameters", "in `Module`, [numbert/nn/module.py](../numbert/nn/module.py)"),
        ("tie_weights", "in `BertPreTrainedModel`, [numbert/bert/vocabulary.py](../numbert/bert/vocabulary.py)"),
        ("get_head_mask", "a function of `numbert`, [numbert/bert/inputs.py](../numbert/bert/inputs.py)"),
        ("heal_tokens", "no"),
    ],
)
def test_where_a_method_is(name, where):
    assert diagram.place(name, "no") == where


def test_the_class_with_the_published_name_comes_before_one_that_only_refuses():
    where = "in `BertLMHeadModel`, [numbert/bert/tasks/generation.py](../numbert/bert/tasks/generation.py)"
    assert diagram.place("generate", "no", "GenerationMixin") == where


if TRANSFORMERS == "4.46.3":  # whose classes the tables list; others have others

    @pytest.mark.live
    def test_nothing_that_the_published_classes_have_is_left_out():
        import transformers

        listed = set().union(*diagram.PUBLISHED.values())
        checked = [cls for cls in transformers.BertModel.__mro__ if cls.__name__ in diagram.PUBLISHED]
        assert len(checked) == len(diagram.PUBLISHED)
        for cls in checked:
            methods = {name for name, value in vars(cls).items() if is_method(value)}
            assert {name for name in methods if not name.startswith("_")} <= listed, cls.__name__
