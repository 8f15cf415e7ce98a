"""Makes class-diagram.svg, and the blocks of class-diagram.md, from the code: python docs/make_class_diagram.py"""

from __future__ import annotations

import inspect
import textwrap
from pathlib import Path
from xml.sax.saxutils import escape

import numbert
from numbert.bert.tasks import registry
from numbert.nn.module import Module
from numbert.nn.switches import uninitialized

HERE = Path(__file__).parent
PICTURE, PAGE = HERE / "class-diagram.svg", HERE / "class-diagram.md"
START, END = "<!-- {}: made by make_class_diagram.py -->", "<!-- up to here -->"

# Whose part a class of numbert plays, where the name does not say it.
PLAYS = {
    "Module": "torch.nn.Module, ModuleUtilsMixin",
    "VocabularyMixin": "PreTrainedModel",
    "BertPreTrainedModel": "PreTrainedModel",
}

# What each published class has (transformers 4.46.3), and in plain words where numbert has it under no such name.
ALONE = "no: arrays are NumPy's, in the main memory"
OTHER = "no: for another program"
ADAPTERS = "no: adapters come later"
PUBLISHED = {
    "ModuleUtilsMixin": {
        "num_parameters": "",
        "dtype": "",
        "device": ALONE,
        "get_extended_attention_mask": "",
        "invert_attention_mask": "`get_extended_attention_mask` makes this mask, too",
        "create_extended_attention_mask_for_decoder": "`get_extended_attention_mask`, with `is_decoder`",
        "get_head_mask": "",
        "estimate_tokens": "no: the trainer counts the tokens that it reads",
        "floating_point_ops": "no: `numbert bench` measures time instead",
        "add_memory_hooks": "no: `numbert bench memory` measures it",
        "reset_memory_hooks_state": "no: `numbert bench memory` measures it",
    },
    "GenerationMixin": {
        "generate": "",
        "prepare_inputs_for_generation": "part of generating",
        "compute_transition_scores": "no",
        "heal_tokens": "no",
    },
    "PushToHubMixin": {"push_to_hub": ""},
    "PeftAdapterMixin": dict.fromkeys(
        (
            "load_adapter",
            "add_adapter",
            "set_adapter",
            "disable_adapters",
            "enable_adapters",
            "active_adapters",
            "active_adapter",
            "get_adapter_state_dict",
        ),
        ADAPTERS,
    ),
    "PreTrainedModel": {
        "from_pretrained": "",
        "save_pretrained": "",
        "get_input_embeddings": "",
        "set_input_embeddings": "",
        "get_output_embeddings": "",
        "set_output_embeddings": "",
        "resize_token_embeddings": "",
        "tie_weights": "",
        "_init_weights": "",
        "init_weights": "each layer's constructor draws its own",
        "post_init": "each layer's constructor draws its own",
        "prune_heads": "",
        "gradient_checkpointing_enable": "",
        "gradient_checkpointing_disable": "",
        "is_gradient_checkpointing": "`BertEncoder.gradient_checkpointing`",
        "to": "",
        "float": "`to(np.float32)`",
        "half": "no: NumPy computes in half precision, but slowly",
        "cuda": ALONE,
        "base_model": "`bert` of each model with a head",
        "can_generate": "a `BertLMHeadModel` can, if it is a decoder",
        "get_position_embeddings": "no: nor does the published BERT",
        "resize_position_embeddings": "no: nor does the published BERT",
        "get_memory_footprint": "`numbert bench memory`",
        "loss_function": "`CrossEntropyLoss` in each head",
        "warn_if_padding_and_no_attention_mask": "no",
        "dummy_inputs": OTHER,
        "framework": OTHER,
        "dequantize": OTHER,
        "enable_input_require_grads": OTHER,
        "disable_input_require_grads": OTHER,
        "add_model_tags": OTHER,
        "register_for_auto_class": OTHER,
        "retrieve_modules_from_names": OTHER,
        "to_bettertransformer": OTHER,
        "reverse_bettertransformer": OTHER,
    },
}


ATTRIBUTES = ("dtype", "device", "is_gradient_checkpointing", "base_model", "loss_function")


# --- the code ----------------------------------------------------------------------------------------------------


def models() -> list[type]:
    """The models, BertModel before those that hold it, then by their files."""
    return sorted(registry.MODELS, key=lambda cls: (cls is not registry.BertModel, cls.__module__, cls.__name__))


def file_of(cls: type) -> str:
    return cls.__module__.replace(".", "/") + ".py"


def own_methods(cls: type) -> list[str]:
    """The public methods and properties that a class itself defines, and `_init_weights`."""
    return [
        name
        for name, value in vars(cls).items()
        if (name == "_init_weights" or not name.startswith("_"))
        and (inspect.isroutine(value) or isinstance(value, property | classmethod))
    ]


def parts_of(cls: type[Module]) -> str:
    """The layers that an instance has, as attribute: class."""
    sizes = {"vocab_size": 4, "hidden_size": 2, "num_attention_heads": 1, "intermediate_size": 2}
    with uninitialized():
        model = cls(numbert.BertConfig(**sizes, num_hidden_layers=1))
    return ", ".join(f"{name}: {type(child).__name__}" for name, child in model.named_children() if child.listed)


def ancestors(models: list[type]) -> list[list[type]]:
    """The classes of numbert above the models: rows from top to bottom, each class just above its first heir."""
    above: dict[type, int] = {}  # rows above the models'

    def climb(cls: type, height: int) -> None:
        for base in cls.__bases__:
            if base.__module__.startswith("numbert."):
                above[base] = max(above.get(base, 0), height)
                climb(base, height + 1)

    for model in models:
        climb(model, 1)
    rows = range(max(above.values()), 0, -1)
    return [[cls for cls in above if above[cls] == row] for row in rows]


def place(name: str, otherwise: str, published: str = "") -> str:
    """Where numbert has what a published class calls `name`, in Markdown; a class of the same name comes first."""
    classes = (registry.BertPreTrainedModel, *registry.MODELS)
    for only in (published, None):
        for cls, owner in [(model, base) for model in classes for base in model.__mro__]:
            if only not in (None, owner.__name__):
                continue
            if name in vars(owner) and owner.__module__.startswith("numbert."):
                shown = owner if owner.__name__ in registry.__all__ or owner is Module else cls
                return f"in `{shown.__name__}`, [{file_of(owner)}](../{file_of(owner)})"
    if name in numbert.__all__:
        file = file_of(getattr(numbert, name))
        return f"a function of `numbert`, [{file}](../{file})"
    return otherwise or "not yet"


# --- the page ----------------------------------------------------------------------------------------------------


def published() -> str:
    """The published classes, as Mermaid draws them."""
    lines = ["```mermaid", "classDiagram", '  class Module["torch.nn.Module"]']
    for name, methods in PUBLISHED.items():
        shown = [method for method, otherwise in methods.items() if otherwise != OTHER]
        lines += [
            f"  class {name} {{",
            *(f"    +{method}{'()' * (method not in ATTRIBUTES)}" for method in shown),
            "  }",
        ]
    lines += [f"  {base} <|-- PreTrainedModel" for base in ("Module", *PUBLISHED) if base != "PreTrainedModel"]
    lines += ["  PreTrainedModel <|-- BertPreTrainedModel", "  BertPreTrainedModel <|-- BertModel", "```"]
    return "\n".join(lines)


def tables() -> str:
    """A table for each published class: its methods and where numbert has them."""
    lines: list[str] = []
    for published, methods in PUBLISHED.items():
        lines += [f"### {published}", "", "| published | in numbert |", "|---|---|"]
        places: dict[str, list[str]] = {}
        for name, otherwise in methods.items():
            where = place(name, otherwise, published)
            places.setdefault(where, []).append(name if where == OTHER else f"`{name}`")
        lines += [f"| {', '.join(names)} | {where} |" for where, names in places.items()]
        lines.append("")
    return "\n".join(lines[:-1])


def page(text: str) -> str:
    """The page's text with its blocks as they are now."""
    for name, block in (("diagram", published()), ("tables", tables())):
        before, start, rest = text.partition(START.format(name))
        text = f"{before}{start}\n\n{block}\n\n{END}{rest.partition(END)[2]}"
    return text


# --- the picture -------------------------------------------------------------------------------------------------

WIDTH, MARGIN, GAP, LINE = 980, 20, 24, 19
STYLE = """
  <!-- Middle tones that are legible on white and on black. -->
  <style>
    text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
    .box { fill: #2b3f57; stroke: #6e7f94; }
    .mixin { fill: #4a3a63; stroke: #8b6cc9; }
    .name { fill: #fff; font-weight: bold; font-size: 14px; }
    .what { fill: #aebccb; font-size: 12px; }
    .methods { fill: #d5dee9; font-size: 12px; }
    .file { fill: #aebccb; font-size: 12px; text-anchor: end; }
    .heir { fill: none; stroke: #6e7f94; stroke-width: 1.5; }
    .base { marker-end: url(#base); }
  </style>
  <defs>
    <marker id="base" viewBox="0 0 12 12" refX="11" refY="6" markerWidth="12" markerHeight="12" orient="auto">
      <path d="M1 1 11 6 1 11z" fill="#fff" stroke="#6e7f94"/>
    </marker>
  </defs>"""


class Box:
    """A class with its name, its file and lines of text; a model's file is on the right, beside its name."""

    def __init__(self, cls: type, x: float, y: float, width: float, text: str) -> None:
        self.cls, self.x, self.y, self.width = cls, x, y, width
        self.is_model = cls in registry.MODELS
        self.lines = textwrap.wrap(text, int((width - 28) / 7.25), break_long_words=False)
        self.first_line = 42 if self.is_model else 66
        self.height = self.first_line + LINE * len(self.lines) - 6

    @property
    def middle(self) -> float:
        return self.x + self.width / 2

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def bottom(self) -> float:
        return self.y + self.height

    def svg(self) -> list[str]:
        name, left = self.cls.__name__, self.x + 14
        plays = f" · as {PLAYS[name]}" if name in PLAYS else ""
        texts = [(left, 22, "name", name)]
        if self.is_model:
            texts.append((self.right - 14, 22, "file", file_of(self.cls)))
        else:
            texts.append((left, 41, "what", file_of(self.cls) + plays))
        texts += [(left, self.first_line + LINE * i, "methods", line) for i, line in enumerate(self.lines)]
        kind = "mixin" if name.endswith("Mixin") else "box"
        return [
            f'<rect class="{kind}" x="{self.x:.0f}" y="{self.y:.0f}" width="{self.width:.0f}" '
            f'height="{self.height:.0f}" rx="6"/>',
            *(
                f'<text class="{style}" x="{x:.0f}" y="{self.y + down:.0f}">{escape(text)}</text>'
                for x, down, style, text in texts
            ),
        ]


def row_of_boxes(classes: list[type], y: float) -> list[Box]:
    """Boxes beside each other; who has more methods gets more room."""
    texts = [" · ".join(own_methods(cls)) for cls in classes]
    room = WIDTH - 2 * MARGIN - GAP * (len(classes) - 1)
    needed = [300 + len(text) for text in texts]
    boxes, x = [], float(MARGIN)
    for cls, text, share in zip(classes, texts, needed, strict=True):
        boxes.append(Box(cls, x, y, room * share / sum(needed), text))
        x += boxes[-1].width + GAP
    for box in boxes:
        box.height = max(other.height for other in boxes)
    return boxes


def picture(models: list[type]) -> str:
    """The diagram: on top what all models inherit, below the models, each with the layers that it has."""
    boxes: dict[type, Box] = {}
    lines: list[str] = []
    y = float(MARGIN)
    above: list[Box] = []  # the row before
    published_names = set().union(*PUBLISHED.values())
    for row in ancestors(models):
        for box in row_of_boxes(row, y):
            boxes[box.cls] = box
        for i, cls in enumerate(row):
            heir, bend = boxes[cls], 12 + 9 * i
            for base in (boxes[base] for base in cls.__bases__ if base in boxes):
                # A base further up is reached through the gap between the boxes of the row before.
                up = base.middle if base in above else above[0].right + GAP / 2
                x = min(max(up, heir.x + 30), heir.right - 30)
                way = f"M{x:.0f} {heir.y:.0f}V{heir.y - bend:.0f}H{up:.0f}V{base.bottom:.0f}"
                lines.append(f'<path class="heir base" d="{way}"/>')
        above = [boxes[cls] for cls in row]
        y = max(box.bottom for box in boxes.values()) + 44

    left, right = MARGIN + 14, WIDTH - MARGIN - 14
    trunks: dict[type, float] = {}  # down to where each base has heirs among the models
    for model in models:
        text = " · ".join([parts_of(model), *(name for name in own_methods(model) if name in published_names)])
        box = Box(model, MARGIN + 40, y, WIDTH - 2 * MARGIN - 80, text)
        boxes[model] = box
        for base in (base for base in model.__bases__ if base in boxes):
            trunks[base] = height = y + 25
            start, end = (left, box.x) if base is registry.BertPreTrainedModel else (right, box.right)
            lines.append(f'<path class="heir" d="M{start} {height:.0f}H{end:.0f}"/>')
        y = box.bottom + 12
    for base, down in trunks.items():
        x = left if base is registry.BertPreTrainedModel else right
        lines.append(f'<path class="heir base" d="M{x} {down:.0f}V{boxes[base].bottom:.0f}"/>')

    drawn = [line for box in boxes.values() for line in box.svg()]
    names = ", ".join(cls.__name__ for cls in models)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 8:.0f}" role="img" '
            'aria-labelledby="title description">',
            '  <title id="title">What the models of numbert inherit, and from which file</title>',
            f'  <desc id="description">{names}: each inherits what stands above it.</desc>{STYLE}',
            *(f"  {line}" for line in lines + drawn),
            "</svg>",
            "",
        ]
    )


if __name__ == "__main__":
    PICTURE.write_text(picture(models()), encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
