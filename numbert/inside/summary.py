"""A model as a table of its parameters, as torchinfo counts them."""

from __future__ import annotations

from collections.abc import Iterator

from numbert.errors import InputError
from numbert.nn.module import Module


def summary(model: Module, depth: int = 3) -> str:
    """Returns the table of layers and their numbers of parameters, down to a depth.

    Like torchinfo's table it counts a parameter in every layer that uses it, so the weight of a tied decoder
    counts twice; a last line counts each parameter once.

    Raises:
        InputError: depth is below 1.
    """
    if depth < 1:
        raise InputError(f"depth is {depth}; it must be at least 1")
    rows = [(type(model).__name__, 0, 0), *_summary_rows(model, 1, depth, {})]
    total = sum(count for _, count, _ in rows)
    trainable = sum(count for _, _, count in rows)
    width = max(61, *(len(name) + 4 for name, _, _ in rows))
    bar = "=" * (width + 24)
    lines = [bar, f"{'Layer (type:depth-idx)':{width}}Param #", bar]
    lines += [f"{name:{width}}{format(count, ',') if count else '--'}" for name, count, _ in rows]
    lines += [bar, f"Total params: {total:,}", f"Trainable params: {trainable:,}"]
    lines += [f"Non-trainable params: {total - trainable:,}", bar]
    once = model.num_parameters()
    if once != total:
        lines += [f"Tied parameters counted once: {once:,}", bar]
    return "\n".join(lines)


def _summary_rows(
    module: Module, level: int, depth: int, indices: dict[int, int]
) -> Iterator[tuple[str, int, int]]:
    """Yields the line of each layer, with its parameters, all and trainable, unless its own layers show them."""
    for _, child in module.named_children():
        if not child.listed:
            continue
        indices[level] = indices.get(level, 0) + 1
        branch = "├─" if level == 1 else "│    " * (level - 1) + "└─"
        name = f"{branch}{type(child).__name__}: {level}-{indices[level]}"
        if level == depth or not any(part.listed for _, part in child.named_children()):
            yield name, child.num_parameters(), child.num_parameters(only_trainable=True)
        else:
            yield name, 0, 0
            yield from _summary_rows(child, level + 1, depth, indices)
