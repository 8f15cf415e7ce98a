"""What the documentation says is so: its code runs, what it quotes is there, its links and names lead somewhere.

In docs/*.md a fenced block marked `python` whose first line is `# path/of/file.py: name` quotes lines of that
function; every other one, and each in README.md, is run, in order, as one session for each file.
"""

from __future__ import annotations

import ast
import collections
import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from places import ROOT

import numbert

DOCS = sorted((ROOT / "docs").glob("*.md"))
TOP = [ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG")]
PAGES = [*DOCS, *TOP, *sorted((ROOT / "weights").rglob("*.md"))]
SOURCE = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "numbert").rglob("*.py")
}


def by_name(paths):
    return pytest.mark.parametrize("page", paths, ids=lambda path: path.relative_to(ROOT).as_posix())


# --- reading Markdown --------------------------------------------------------------------------------------------


class Block(NamedTuple):
    language: str
    line: int  # of the first line of code, counted from 1
    code: str


def split(page: Path) -> tuple[str, list[Block]]:
    """The prose, with fenced blocks blanked out, and the blocks."""
    prose, blocks, fence = [], [], None
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        if line.startswith("```"):
            if fence is None:
                fence = (line[3:].strip(), number + 1, [])
            else:
                blocks.append(Block(fence[0], fence[1], "\n".join(fence[2])))
                fence = None
            line = ""
        elif fence is not None:
            fence[2].append(line)
            line = ""
        prose.append(line)
    assert fence is None, f"{page.name}: the block at line {fence and fence[1]} is not closed"
    return "\n".join(prose), blocks


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings."""
    found: list[str] = []
    for heading in re.findall(r"^#+ (.*)$", split(page)[0], re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        found.append(slug if slug not in found else f"{slug}-{found.count(slug)}")
    return set(found)


def quotation(block: Block) -> tuple[str, str] | None:
    """(file, name) of a block that quotes."""
    match = re.match(r"# (numbert/[\w/]+\.py): ([\w.]+)\n", block.code)
    return (match[1], match[2]) if match else None


def python_blocks(page: Path) -> list[Block]:
    return [block for block in split(page)[1] if block.language == "python"]


# --- code --------------------------------------------------------------------------------------------------------


@by_name([*DOCS, ROOT / "README.md"])
def test_every_python_block_runs(page, tmp_path, monkeypatch):
    # README.md's blocks write a model; those in docs/ read what the tests have.
    monkeypatch.chdir(tmp_path if page.name == "README.md" else ROOT)
    session = {"__name__": "docs"}
    for block in python_blocks(page):
        if not quotation(block):
            # Blank lines in front, so that a traceback has the line numbers of the page.
            exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), session)


@by_name(DOCS)
def test_every_quoted_line_is_in_the_function_it_names_in_this_order(page):
    for block in python_blocks(page):
        if not (quoted := quotation(block)):
            continue
        path, name = quoted
        module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
        lines = [line.strip() for line in inspect.getsource(resolve(module, name)).splitlines()]
        at = 0
        for offset, line in enumerate(block.code.splitlines()[1:], start=1):
            assert line.strip() in lines[at:], (
                f"{page.name}:{block.line + offset} is not in {path}: {line.strip()}"
            )
            at = lines.index(line.strip(), at) + 1


def resolve(thing, dotted):
    for name in dotted.split("."):
        thing = getattr(thing, name)
    return thing


# --- links -------------------------------------------------------------------------------------------------------


@by_name(PAGES)
def test_every_relative_link_leads_to_a_file_and_a_heading(page):
    prose = split(page)[0]
    links = re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r"(?:src|srcset|href)=\"([^\"]+)\"", prose)
    for link in links:
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}, which does not exist"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {link}, which is no heading there"


def test_every_reference_to_docs_in_the_source_leads_to_a_file_and_a_heading():
    references = [
        (where, path, anchor)
        for where, text in SOURCE.items()
        for path, anchor in re.findall(r"\b(docs/[\w-]+\.\w+)(?:#([\w-]*\w))?", text)
    ]
    assert references
    for where, path, anchor in references:
        assert (ROOT / path).exists(), f"{where} refers to {path}, which does not exist"
        assert not anchor or anchor in anchors(ROOT / path), f"{where} refers to {path}#{anchor}, no heading there"


# --- names -------------------------------------------------------------------------------------------------------


def modules(*packages):
    for package in map(importlib.import_module, packages):
        yield package
        for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            yield importlib.import_module(found.name)


# A class or function of numbert by its name, as prose refers to it.
PUBLIC = {
    name: value
    for module in [numbert, *modules("numbert.nn", "numbert.bert", "numbert.bert.tasks", "numbert.files")]
    for name, value in vars(module).items()
    if getattr(value, "__module__", "").startswith("numbert") or name.isupper()
}
WORDS = set(re.findall(r"\w+", " ".join(SOURCE.values())))


def has_attribute(cls, name):
    """On the class, in its annotations, or set on self."""
    return any(
        name in vars(base)
        or name in getattr(base, "__annotations__", {})
        or re.search(rf"self\.{name}\b", source(base))
        for base in cls.__mro__
    )


def source(cls):
    return inspect.getsource(cls) if cls.__module__.startswith("numbert") else ""


def problem_with(name, words):
    """Why a name in backticks leads nowhere, or None."""
    if "/" in name:
        is_path = re.fullmatch(r"(\.\./)?(numbert|tests|docs|notebooks|weights)/[\w./*-]*", name)
        return "there is no such file" if is_path and not list(ROOT.glob(name)) else None
    if not re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*(\(\))?", name):
        return None  # an expression, a command
    first, *rest = name.removesuffix("()").split(".")
    if first in ("bert", "cls") and rest:
        return None if name in published_names() else "a model has no such parameter or layer"
    if first == "np":
        return None if hasattr(np, rest[0]) else "NumPy has no such name"
    if inspect.isclass(PUBLIC.get(first)):
        missing = rest and not has_attribute(PUBLIC[first], rest[0])
        return f"{first} has no {rest[0]}" if missing else None
    strange = [word for word in (first, *rest) if word not in words]
    return f"numbert has no {strange[0]}" if strange else None


def published_names():
    """Every parameter, layer and their prefixes in a model of two layers."""
    model = numbert.BertForPreTraining(
        numbert.BertConfig(
            vocab_size=9, hidden_size=4, num_hidden_layers=2, num_attention_heads=2, intermediate_size=4
        )
    )
    return {name for name, _ in [*model.all_named_parameters(), *model.named_modules()]}


@by_name(DOCS)
def test_every_name_in_backticks_is_a_name_in_numbert(page):
    prose, blocks = split(page)
    words = WORDS | {word for block in blocks for word in re.findall(r"\w+", block.code)}
    names = {name.strip() for name in re.findall(r"`([^`\n]+)`", prose)}
    problems = {name: problem for name in sorted(names) if (problem := problem_with(name, words))}
    assert not problems


# --- terms -------------------------------------------------------------------------------------------------------

TERMS, _, RETIRED = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").partition("\n## Retired\n")


class Retired(NamedTuple):
    terms: list[str]
    instead: str
    patterns: list[str]


def retired():
    """The rows of the table; what stands in parentheses behind a term explains it."""
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| (`[^|]+`) \|$", RETIRED, re.MULTILINE)
    return [
        Retired(re.sub(r" \(.*?\)", "", terms).split(", "), instead, re.findall(r"`([^`]+)`", patterns))
        for terms, instead, patterns in rows
    ]


def docstrings_and_names():
    """(where, text) of every docstring of numbert, and of every name of a class or function."""
    for path, text in SOURCE.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{path}:{node.lineno}", node.name
            elif not isinstance(node, ast.Module):
                continue
            if docstring := ast.get_docstring(node):
                yield f"{path}:{getattr(node, 'lineno', 1)}", " ".join(docstring.split())


def prose_of_pages():
    for page in PAGES:
        if page.name != "CHANGELOG.md":  # which tells what was before
            text = TERMS if page.name == "glossary.md" else page.read_text(encoding="utf-8")
            yield page.name, " ".join(text.split())


def test_the_glossary_has_each_term_once_in_alphabetical_order():
    terms = [re.sub(r"[^a-z ]", "", term.lower()) for term in re.findall(r"^### (.+)$", TERMS, re.MULTILINE)]
    assert len(terms) > 30
    assert terms == sorted(set(terms))


def test_each_retired_term_is_found_by_its_patterns():
    assert len(retired()) > 10
    for row in retired():
        for term in row.terms:
            assert any(re.search(pattern, term) for pattern in row.patterns), term
        for pattern in row.patterns:
            assert any(re.search(pattern, term) for term in row.terms), pattern


def test_no_docstring_no_name_and_no_page_uses_a_retired_term():
    found = {
        f"{where}: {match[0]!r}, say {row.instead}"
        for where, text in [*docstrings_and_names(), *prose_of_pages()]
        for row in retired()
        for pattern in row.patterns
        if (match := re.search(pattern, text))
    }
    assert sorted(found) == []


def test_no_two_classes_have_one_name():
    classes = collections.defaultdict(list)
    for path, text in SOURCE.items():
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef):
                classes[node.name].append(path)
    assert {name: paths for name, paths in classes.items() if len(paths) > 1} == {}


# --- completeness ------------------------------------------------------------------------------------------------


def test_every_backward_has_its_derivation():
    backwards = {name for name in numbert.nn.functional.__all__ if name.endswith("_backward")}
    for module in modules("numbert.nn", "numbert.bert", "numbert.bert.tasks"):
        for name, value in vars(module).items():
            own = getattr(value, "__module__", None) == module.__name__ and not name.startswith("_")
            if own and inspect.isclass(value) and "backward" in vars(value):
                backwards.add(f"{name}.backward")
    table = split(ROOT / "docs" / "derivations.md")[0].partition("## Every backward")[2]
    listed = set(re.findall(r"`([\w.]+)`", table))
    assert listed == backwards - {"Module.backward"}


def import_table():
    """What each part of numbert may import, by docs/architecture.md."""
    table = split(ROOT / "docs" / "architecture.md")[0].partition("## Layout")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `numbert/([\w]+)(?:/|\.py)` \|.*\| ([^|]*) \|$", table, re.MULTILINE)
    return {part: {part, *re.findall(r"`(\w+)`", imports)} for part, imports in rows}


def imported_from_numbert(path, text):
    """Every module of numbert that a file imports: at its head, in a function, or for type checkers alone."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} has a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        yield from (name for name in names if name.split(".")[0] == "numbert")


def test_imports_point_one_way_as_the_table_in_architecture_says():
    allowed = import_table()
    above: set[str] = set()
    for part, imports in allowed.items():
        assert imports <= above | {part}, f"numbert/{part} may import what stands above it in the table"
        above.add(part)
    for path, text in SOURCE.items():
        part = path.split("/")[1].removesuffix(".py")
        if part in ("__init__", "__main__"):
            continue
        assert part in allowed, f"docs/architecture.md has no row for numbert/{part}"
        for name in imported_from_numbert(path, text):
            if name == "numbert.__version__":
                continue
            assert name.split(".")[1] in allowed[part], f"{path} imports {name}"


def test_the_table_of_imports_promises_nothing_that_is_not_so():
    used = {part: {part} for part in import_table()}
    for path, text in SOURCE.items():
        part = path.split("/")[1].removesuffix(".py")
        if part in used:
            used[part] |= {name.split(".")[1] for name in imported_from_numbert(path, text)}
    for part, imports in import_table().items():
        assert imports <= used[part], f"numbert/{part} does not import {imports - used[part]}"


def test_no_file_is_in_a_circle_of_imports():
    names = {path.removesuffix(".py").replace("/", ".").removesuffix(".__init__"): path for path in SOURCE}
    imports = {
        name: {
            target
            for imported in imported_from_numbert(path, SOURCE[path])
            if (target := imported if imported in names else imported.rpartition(".")[0]) in names
        }
        for name, path in names.items()
        if name not in ("numbert", "numbert.__main__")
    }
    done: set[str] = set()

    def visit(name, way):
        assert name not in way, " -> ".join([*way[way.index(name) :], name])
        if name not in done:
            for target in sorted(imports.get(name, ())):
                visit(target, [*way, name])
            done.add(name)

    for name in imports:
        visit(name, [])
