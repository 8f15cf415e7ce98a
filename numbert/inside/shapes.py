"""The shape of every layer's output, in letters and in numbers."""

from __future__ import annotations

import dataclasses
import re
from functools import partial
from typing import Any

import numpy as np

from numbert.bert.model import BertModel
from numbert.bert.outputs import ModelOutput
from numbert.bert.pretrained import BertPreTrainedModel
from numbert.bert.tasks.classification import BertForMultipleChoice
from numbert.config import BertConfig
from numbert.errors import InputError
from numbert.nn.module import Module
from numbert.nn.switches import no_grad


@dataclasses.dataclass
class LayerShape:
    """The output of one layer.

    Attributes:
        name: the layer's dotted name; "NAME/FIELD" or "NAME/INDEX" for one of several outputs, and
            "NAME.saved.KEY" for what the layer remembers.
        letters: the shape in letters, such as ("b", "l", "e"). In a layer with pruned heads "h" counts those that
            are left, and "h*d" their joined sizes.
        numbers: the shape in numbers.
    """

    name: str
    letters: tuple[str, ...]
    numbers: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as a dict that JSON can hold."""
        return {"name": self.name, "letters": list(self.letters), "numbers": list(self.numbers)}


# All sizes of the twin differ, so that a size tells its letter.
TWIN = {"b": 5, "l": 7, "h": 3, "d": 11, "e": 33, "f": 13, "v": 17}
# Where a question has several choices: c of them, which make b·c texts.
CHOICES = 19
TWIN_OF_CHOICES = TWIN | {"c": CHOICES, "b·c": TWIN["b"] * CHOICES}
# A number of labels that is no other size; 1 and 2 are none anyway.
LABELS = 23


def shapes(
    config: BertConfig,
    model_class: type[BertPreTrainedModel] = BertModel,
    batch: int = 1,
    length: int = 13,
    saved: bool = False,
) -> list[LayerShape]:
    """Finds the shape of every layer's output, in the order in which the layers finish.

    Nothing of the real size is computed. A tiny twin of the model, whose sizes all differ, runs and shows the
    letters, and the letters give the numbers. For `BertForMultipleChoice` each question has two choices.

    Args:
        batch, length: b and l.
        saved: whether to include what each layer remembers for backward, such as query_layer.

    Raises:
        InputError: batch or length is below 1.
    """
    for name, size in (("batch", batch), ("length", length)):
        if size < 1:
            raise InputError(f"{name} is {size}; it must be at least 1")
    twin_config = dataclasses.replace(
        config,
        vocab_size=TWIN["v"],
        hidden_size=TWIN["e"],
        num_attention_heads=TWIN["h"],
        intermediate_size=TWIN["f"],
        max_position_embeddings=TWIN["l"],
        pad_token_id=None,
        pruned_heads={layer: [0] for layer, heads in config.pruned_heads.items() if heads},
        output_attentions=False,
        output_hidden_states=False,
        return_dict=True,
    )
    if config.num_labels > 2:
        twin_config.num_labels = LABELS
    twin = model_class(twin_config, seed=0, dtype=np.float32).eval()
    rows: list[tuple[str, tuple[int, ...]]] = []
    for name, module in twin.named_modules():
        module.register_forward_hook(partial(_record, rows, name, saved))
    choices = issubclass(model_class, BertForMultipleChoice)
    twin_sizes = TWIN_OF_CHOICES if choices else TWIN
    ids = np.zeros([twin_sizes[letter] for letter in ("bcl" if choices else "bl")], dtype=np.int64)
    if saved:
        twin(ids, token_type_ids=ids)
    else:
        with no_grad():
            twin(ids, token_type_ids=ids)

    of_whole = {size: letter for letter, size in twin_sizes.items()} | {LABELS: str(config.num_labels)}
    left = TWIN["h"] - 1  # heads in the twin's pruned layers
    of_pruned = {**of_whole, left: "h", left * TWIN["d"]: "h*d"}
    number_of = {
        "b": batch,
        "c": 2,
        "b·c": batch * 2,
        "l": length,
        "r": length,
        "d": config.attention_head_size,
        "e": config.hidden_size,
        "f": config.intermediate_size,
        "v": config.vocab_size,
    }
    table = []
    for name, shape in rows:
        pruned = re.search(r"encoder\.layer\.(\d+)\.attention\.", name)
        gone = len(config.pruned_heads.get(int(pruned[1]), ())) if pruned else 0
        letter_of = of_pruned if gone else of_whole
        number_of["h"] = config.num_attention_heads - gone
        number_of["h*d"] = number_of["h"] * config.attention_head_size
        letters = [letter_of.get(size, str(size)) for size in shape]
        if letters.count("l") == 2:  # queries against keys
            letters[-1] = "r"
        if len(letters) == 4 and letters[2] == "l" and name.endswith(("key_layer", "value_layer")):
            letters[2] = "r"
        numbers = tuple(number_of[letter] if letter in number_of else int(letter) for letter in letters)
        table.append(LayerShape(name, tuple(letters), numbers))
    return table


def _record(
    rows: list[tuple[str, tuple[int, ...]]], name: str, saved: bool, module: Module, inputs: Any, output: Any
) -> None:
    """A forward hook that notes the shapes of a module's output, and of what it remembers."""
    if saved and module.saved is not None:
        for key, value in vars(module.saved).items():
            if isinstance(value, np.ndarray):
                rows.append((f"{name}.saved.{key}", value.shape))
    if isinstance(output, ModelOutput):
        rows.extend((f"{name}/{key}", value.shape) for key, value in output.items())
    elif isinstance(output, tuple):
        rows.extend((f"{name}/{index}", value.shape) for index, value in enumerate(output))
    else:
        rows.append((name, output.shape))


def shapes_table(rows: list[LayerShape]) -> str:
    """Formats the rows as aligned text, a line for each."""
    names = max(len(row.name) for row in rows)
    letters = max(len(",".join(row.letters)) for row in rows) + 2
    return "\n".join(
        f"{row.name:{names}}  {'[' + ','.join(row.letters) + ']':{letters}}  {list(row.numbers)}" for row in rows
    )
