"""Functions and classes that a lesson defines itself, for their unit tests."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace

import nbformat

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


def lesson_code(number: str, *names: str) -> SimpleNamespace:
    """Run the imports of a lesson and its definitions of ``names``, and nothing else.

    Raises:
        ValueError: If the lesson does not define one of the names.
    """
    (path,) = NOTEBOOKS.glob(f"{number}_*.ipynb")
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    nodes = [node for source in cells for node in ast.parse(source).body]
    wanted = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) or _name(node) in names]
    if missing := set(names) - {_name(node) for node in wanted}:
        raise ValueError(f"{path.name} does not define {', '.join(sorted(missing))}.")
    namespace = {"__name__": path.stem}
    exec(compile(ast.Module(wanted, type_ignores=[]), str(path), "exec"), namespace)
    return SimpleNamespace(**{name: namespace[name] for name in names})


def _name(node: ast.stmt) -> str:
    """What a definition or an assignment to one name defines, else an empty string."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return node.name
    simple = isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)
    return node.targets[0].id if simple else ""
