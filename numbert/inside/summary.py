"""A model as a table of its parameters, as torchinfo counts them."""

from __future__ import annotations

from collections.abc import Iterator

from numbert.errors import InputError
from numbert.nn.module import Module


def summary(model: Module, depth: int = 3) -> str:
    """The table of layers and their parameters, down to a depth: seeds' table for bert-base-cased.

    Like that table it counts a parameter in every layer that uses it, so a tied decoder counts again; a last
    line counts each once.

    Raises:
        InputError: depth is below 1.
    """
    if depth < 1:
        raise InputError(f"depth is {depth}; it must be at least 1")
    rows = [(type(model).__name__, None), *_summary_rows(model, 1, depth, {})]
    total = sum(count for _, count in rows if count is not None)
    width = max(61, *(len(name) + 4 for name, _ in rows))
    bar = "=" * (width + 24)
    lines = [bar, f"{'Layer (type:depth-idx)':{width}}Param #", bar]
    lines += [f"{name:{width}}{'--' if not count else format(count, ',')}" for name, count in rows]
    lines += [bar, f"Total params: {total:,}", f"Trainable params: {total:,}", "Non-trainable params: 0", bar]
    once = model.num_parameters()
    if once != total:
        lines += [f"Tied parameters counted once: {once:,}", bar]
    return "\n".join(lines)


def _summary_rows(
    module: Module, level: int, depth: int, indices: dict[int, int]
) -> Iterator[tuple[str, int | None]]:
    for _, child in module.named_children():
        indices[level] = indices.get(level, 0) + 1
        branch = "├─" if level == 1 else "│    " * (level - 1) + "└─"
        name = f"{branch}{type(child).__name__}: {level}-{indices[level]}"
        if level == depth or not list(child.named_children()):
            yield name, child.num_parameters()
        else:
            yield name, None
            yield from _summary_rows(child, level + 1, depth, indices)
