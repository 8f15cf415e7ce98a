"""English that every installation has: the documentation of Python, NumPy, SciPy and Matplotlib.

The docstrings are read from the source files, which are parsed and never run. One document is the prose of one
class, of one module's other docstrings, or of one topic of Python's help().
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sysconfig
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from numbert.progress import bar
from numbert.text.sentences import split_sentences

PACKAGES = ("numpy", "scipy", "matplotlib", "mpl_toolkits")  # which numbert needs, so every installation has them
_SKIPPED = {"test", "tests", "site-packages", "dist-packages", "idlelib", "lib2to3"}


def documentation(roots: Sequence[Path] | None = None, progress: bool = False) -> list[list[str]]:
    """Collects the documentation on this machine: a list of documents in a fixed order, each a list of sentences.

    A paragraph that came before is left out, as many classes inherit or repeat each other's text.

    Args:
        roots: folders to search in place of those of the standard library and of `PACKAGES`.
        progress: whether to show a bar on stderr.
    """
    seen: set[str] = set()
    documents = []
    for docstrings in _docstrings(default_roots() if roots is None else roots, progress):
        document: list[str] = []
        for docstring in docstrings:
            for sentences in prose(docstring):
                # Compared without digits, quotes and white space, so that near copies count as copies.
                key = re.sub(r"[\W\d_]+", "", " ".join(sentences)).lower()
                if key not in seen:
                    seen.add(key)
                    document += sentences
        documents.append(document)
    return documents


# --- finding docstrings ------------------------------------------------------------------------------------------


def default_roots() -> list[Path]:
    """The folders of the standard library and of `PACKAGES`, found without importing them."""
    specs = (importlib.util.find_spec(name) for name in PACKAGES)
    packages = [Path(folder) for spec in specs if spec for folder in spec.submodule_search_locations or ()]
    return [Path(sysconfig.get_path("stdlib")), *packages]


def all_roots() -> list[Path]:
    """The folders of the standard library and of every package installed for this Python."""
    places = dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
    return [Path(sysconfig.get_path("stdlib")), *map(Path, places)]


def _docstrings(roots: Sequence[Path], progress: bool) -> Iterator[list[str]]:
    """The docstrings of each document, by root and then by path."""
    paths = [
        path
        for root in roots
        for path in sorted(root.rglob("*.py"))
        if _SKIPPED.isdisjoint(path.relative_to(root).parts[:-1])
    ]
    with bar(progress, len(paths), " files", desc="Reading", delay=1.0) as advance:
        for path in paths:
            yield from _docstrings_of_file(path)
            advance(1)


def _docstrings_of_file(path: Path) -> Iterator[list[str]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other people's invalid escapes
        try:
            tree = ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError):
            return  # templates and files for other versions of Python
    if path.parts[-2:] == ("pydoc_data", "topics.py"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Dict):
                yield from ([_string(value)] for value in node.values)
        return
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    yield list(_docstrings_in(tree, leave_out=classes))
    for node in classes:
        yield list(_docstrings_in(node))


def _docstrings_in(node: ast.AST, leave_out: list[ast.ClassDef] | None = None) -> Iterator[str]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        yield ast.get_docstring(node) or ""
        for child in node.body:
            if child not in (leave_out or ()):
                yield from _docstrings_in(child)
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        # add_newdoc("numpy", "name", """docstring"""): how what is written in C gets its documentation.
        function = node.value.func
        if getattr(function, "id", getattr(function, "attr", "")) == "add_newdoc":
            yield from (_string(argument) for argument in node.value.args)


def _string(node: ast.AST) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


# --- from a docstring to its prose -------------------------------------------------------------------------------

_UNDERLINE = re.compile(r"([-=~^*#\"])\1{2,}$")
_SECTIONS_WITHOUT_PROSE = {"References", "See Also", "See also"}
_DIRECTIVES_WITH_PROSE = re.compile(r"\.\. (note|warning|caution|important|tip|hint|admonition)::")
_LIST_ITEM = re.compile(r"([-*+•]|\(?\d+[.)])\s+")

_MARKUP = [
    (re.compile(r":[\w:+-]+:`~[\w.]*?\.?(\w+)`"), r"\1"),  # :class:`~a.b.C` -> C
    (re.compile(r":[\w:+-]+:`([^`<]+?)(\s*<[^`]*>)?`"), r"\1"),  # :func:`x`, :ref:`x <y>` -> x
    (re.compile(r"``(.+?)``"), r"\1"),
    (re.compile(r"`([^`<]+?)(\s*<[^`]*>)?`_{0,2}"), r"\1"),  # `x`, `x <address>`_ -> x
    (re.compile(r"(?<![\w*])\*\*?(\w[^*]*?)\*\*?(?![\w*])"), r"\1"),  # *x*, **x** -> x
    (re.compile(r"\s*\[[\w#*-]+\]_"), ""),  # a citation
]
# Words and their punctuation; a formula, a path or a table has more of other things.
_SENTENCE = re.compile(r"""["'(]?[A-Z][^\W\d_]*[ ,'].*[.!?]['")]?""")
_NOT_IN_PROSE = re.compile(r"""[^\w\s.,;:!?'"()\-–—/]|[\w.]*__|\w\(|--""")


def prose(docstring: str) -> list[list[str]]:
    """Takes the prose from a docstring in reStructuredText (plain, numpydoc or Google's).

    Headings, doctests, code, tables, directives, citations, the names in lists of parameters, and whatever is not
    a sentence of at least four words are left out.

    Returns:
        the paragraphs, each a list of sentences.
    """
    paragraphs = []
    for paragraph in _paragraphs(docstring):
        if "`" in paragraph or "*" in paragraph or "]_" in paragraph:
            for pattern, replacement in _MARKUP:
                paragraph = pattern.sub(replacement, paragraph)
        sentences = [sentence for sentence in split_sentences(paragraph) if _is_prose(sentence)]
        if sentences:
            paragraphs.append(sentences)
    return paragraphs


def _is_prose(sentence: str) -> bool:
    return (
        sentence.count(" ") >= 3
        and _SENTENCE.fullmatch(sentence) is not None
        and _NOT_IN_PROSE.search(sentence) is None
    )


def _paragraphs(docstring: str) -> Iterator[str]:
    """Runs of lines with one indentation, joined; without doctests, literal blocks, directives and headings."""
    lines = [line.rstrip() for line in docstring.expandtabs().splitlines()]
    lines.append("")
    paragraph: list[str] = []
    indent = 0  # of the paragraph
    literal: int | None = None  # lines further in than this belong to a literal block or a directive
    doctest = section_left_out = False
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        text = line.lstrip()
        depth = len(line) - len(text)
        if text and literal is not None and depth <= literal:
            literal = None
        heading = bool(text) and _UNDERLINE.match(following.strip()) is not None
        if heading:
            section_left_out = text in _SECTIONS_WITHOUT_PROSE
        doctest = bool(text) and (doctest or text.startswith((">>>", "In [")))
        if paragraph and (not text or heading or doctest or depth != indent or _LIST_ITEM.match(text)):
            if paragraph[-1].endswith("::"):
                literal = indent
            if not section_left_out:
                yield " ".join(paragraph)
            paragraph = []
        if text.startswith(".. ") and literal is None and not _DIRECTIVES_WITH_PROSE.match(text):
            literal = depth
        if not text or heading or doctest or section_left_out or _UNDERLINE.match(text) or text.startswith(".. "):
            continue
        if literal is not None and depth > literal:
            continue
        if not paragraph:
            indent = depth
            item = _LIST_ITEM.match(text)
            if item:
                text = text[item.end() :]
                indent += item.end()
        paragraph.append(text)
