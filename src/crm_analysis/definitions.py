"""The definition of a notebook's figures, as a digest that changes when the code that computes them does.

That is the code of its cells, and of the package's modules that its imports lead to, without what computes nothing:
comments, docstrings, formatting. The values of its parameters are no part of it; the manifest tells them beside it. Nor
are the versions of libraries, which are not meant to change a figure.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import nbformat

PACKAGE = Path(__file__).parent
# What notebooks lead to that computes no figure.
SHOWING = ("archive", "charts", "errors", "lists", "numerals", "page", "privacy", "settings")


def digests(
    notebooks: dict[str, Path], parameters: dict[str, dict[str, Any]], closing: Collection[str]
) -> dict[str, str]:
    """Return the digest of each notebook; that of one that sums up the others (`closing`) changes with theirs."""
    own = {name: _digest(_code(path)) for name, path in notebooks.items()}
    others = {name: [own[name], parameters[name]] for name in own if name not in closing}
    return {name: _digest([digest, others]) if name in closing else digest for name, digest in own.items()}


def _code(notebook: Path) -> list[str]:
    """Return the code that computes a notebook's figures: that of its cells and of the modules they lead to."""
    cells = [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]
    found: set[str] = set()
    sources = ["\n".join(cell.source for cell in cells if "parameters" not in cell.metadata.get("tags", []))]
    while sources:
        code, modules = _read(sources.pop())
        if code not in found:
            found.add(code)
            sources += [module.read_text("utf-8") for module in modules]
    return sorted(found)


@functools.cache
def _read(source: str) -> tuple[str, list[Path]]:
    """Return code without what computes nothing, and the package's modules that it imports."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return source, []
    modules = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("crm_analysis."):
            base = PACKAGE.parent / str(node.module).replace(".", "/")
            paths = [base, *(base / name.name for name in node.names)]
            modules += [file for path in paths for file in (path.with_suffix(".py"), path / "__init__.py")]
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [part for part in node.body if not _is_text(part)]
    shown = [PACKAGE / name for name in SHOWING]
    return ast.unparse(tree), [
        file for file in modules if file.exists() and not {file.with_suffix(""), file.parent} & {*shown}
    ]


def _is_text(part: ast.stmt) -> bool:
    """Whether a statement only tells something: a docstring, `__version__`, `__all__`."""
    if isinstance(part, ast.Assign):
        return isinstance(part.targets[0], ast.Name) and part.targets[0].id.startswith("__")
    return isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
