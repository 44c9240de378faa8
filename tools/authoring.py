"""For authors of lessons: run notebooks for a commit, and write the repository's name into them.

``python -m tools.authoring execute notebooks/00_start_here.ipynb`` runs a notebook in place and tidies it.
``python -m tools.authoring slug owner/name`` writes the repository's name into badges and set-up cells.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError

ROOT = Path(__file__).resolve().parent.parent
SLUG = r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+"
WIDGET = "application/vnd.jupyter.widget-view+json"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
_COLAB = "https://colab.research.google.com"
_BADGE = f"[![Open in Colab]({_COLAB}/assets/colab-badge.svg)]({_COLAB}/github/{{slug}}/blob/main/notebooks/{{file}})"
_SETUP = """\
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("course_utils") is None:  # on Colab: install the course, keep Colab's own torch
    repository = "git+https://github.com/{slug}"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", repository], check=True)

from course_utils import start

lesson = start("{number}")"""


class AuthoringError(RuntimeError):
    """A notebook that cannot be committed as it is."""


def badge(slug: str, file: str) -> str:
    """The Markdown badge that opens a notebook in Colab."""
    return _BADGE.format(slug=slug, file=file)


def setup_cell(slug: str, number: str) -> str:
    """The first code cell of lesson ``number``."""
    return _SETUP.format(slug=slug, number=number)


def slug() -> str:
    """The repository's owner/name, as pyproject.toml has it."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    return urls["Repository"].removeprefix("https://github.com/")


def lessons() -> list[Path]:
    """All lessons, in reading order."""
    return sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


# --- running ----------------------------------------------------------------------------------------------------


def execute(path: Path, timeout: int = 600) -> None:
    """Run a notebook in place and tidy its outputs.

    Raises:
        AuthoringError: If a cell fails or writes to stderr; the file then stays unchanged.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=timeout, resources={"metadata": {"path": str(path.parent)}})
    try:
        client.execute()
    except CellExecutionError as error:
        raise AuthoringError(f"{path.name} is unchanged: a cell failed.\n{error}") from error
    except CellTimeoutError as error:
        raise AuthoringError(f"{path.name} is unchanged: a cell took more than {timeout} seconds.") from error
    tidy(notebook)
    refuse_stderr(notebook, path.name)
    nbformat.write(notebook, path)


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Remove from a notebook what differs from run to run or machine to machine."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k in ("tags", "nbgrader")})
        if cell.cell_type == "code":
            cell.outputs = [_without_widget(output) for output in _joined(cell.outputs)]


def refuse_stderr(notebook: nbformat.NotebookNode, name: str) -> None:
    """Raise AuthoringError if a cell wrote to stderr: the author should fix the warning that readers would see."""
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                raise AuthoringError(f"{name}, cell {number} writes to stderr: {output.text[:500]}")


def _joined(outputs: list) -> list:
    """Join consecutive stream outputs, and reduce progress bars to their last state."""
    joined: list = []
    for output in outputs:
        if joined and output.output_type == "stream" == joined[-1].output_type and output.name == joined[-1].name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    for output in joined:
        if output.output_type == "stream":
            output.text = "\n".join(line.rstrip("\r").split("\r")[-1] for line in output.text.split("\n"))
    return joined


def _without_widget(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Replace a widget, which shows nothing without its kernel, by a text."""
    if WIDGET in output.get("data", {}):
        del output.data[WIDGET]
        output.data["text/plain"] = "An interactive widget: run this cell to use it."
    return output


# --- stamping ---------------------------------------------------------------------------------------------------


def stamp(new: str | None) -> list[Path]:
    """Write the repository's name into all notebooks and the README, and a new one into pyproject.toml.

    Returns:
        The files that changed.
    """
    files = [*lessons(), *sorted((ROOT / "notebooks" / "homework").rglob("*.ipynb")), ROOT / "README.md"]
    if new is not None:
        if not re.fullmatch(SLUG, new):
            raise AuthoringError(f"{new!r} is not of the form owner/name.")
        files.append(ROOT / "pyproject.toml")
    old, new = slug(), new or slug()
    changed = []
    for file in files:
        before = file.read_text(encoding="utf-8")
        after = re.sub(rf"github(\.com)?/{re.escape(old)}\b", rf"github\1/{new}", before)
        if after != before:
            file.write_text(after, encoding="utf-8")
            changed.append(file)
    return changed


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("execute", help="run notebooks in place")
    run.add_argument("paths", nargs="+", type=Path, help="notebooks, or folders of lessons")
    name = commands.add_parser("slug", help="write owner/name into badges and set-up cells")
    name.add_argument("new", nargs="?")
    asked = parser.parse_args()
    if asked.command == "slug":
        for path in stamp(asked.new):
            print("stamped", path.relative_to(ROOT))
        return
    for path in asked.paths:
        for notebook in sorted(path.glob("*.ipynb")) if path.is_dir() else [path]:
            print("running", notebook, flush=True)
            execute(notebook)


if __name__ == "__main__":
    try:
        main()
    except AuthoringError as error:
        sys.exit(str(error))
