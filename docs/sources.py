"""Gather the site's pages from the course: ``python docs/sources.py build/site-source``.

The landing page comes from README.md and the course's figures, the glossary from the lessons' key terms; lessons and
the guides, docs/*.md, are copied. A new lesson, guide or result needs no change here.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HAN = re.compile(r"[\u3400-\u9fff]+(?:[、，（）·]?[\u3400-\u9fff]+)*")
BADGE = re.compile(r"\[!\[([^\]]*)\]\(https?:[^)]*\)\]\(([^)]*)\)")  # its image would come from another host
HEAD = '| English | <span lang="zh">中文</span> | in one line | lesson |\n|---|---|---|---|'
LINK = re.compile(r"(\]\()([^)\s]+)(\))")


@dataclass(frozen=True)
class Term:
    """A row of a lesson's key terms; ``lesson`` is the lesson's file name without its suffix."""

    english: str
    chinese: str
    meaning: str
    lesson: str


def gather(folder: Path, root: Path = ROOT) -> list[Path]:
    """Write every page into ``folder``, which is emptied first; return the lessons' files."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    lessons = sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    repository = repository_of(root)
    terms = []
    for path in lessons:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        terms += key_terms(notebook, path.stem)
        (folder / path.name).write_text(json.dumps(for_the_web(notebook, repository)), encoding="utf-8")
    guides = sorted((root / "docs").glob("*.md"))
    for path in guides:
        text = web_links(path.read_text(encoding="utf-8"), "docs", repository)
        (folder / path.name).write_text(text, encoding="utf-8")
    (folder / "glossary.md").write_text(glossary(terms), encoding="utf-8")
    figures = draw_figures(folder)
    readme = (root / "README.md").read_text(encoding="utf-8")
    (folder / "index.md").write_text(landing_page(readme, lessons, guides, figures, repository), encoding="utf-8")
    return lessons


def repository_of(root: Path) -> str:
    """URL of the repository's files, from pyproject.toml."""
    found = re.search(r'^Repository = "(.+)"$', (root / "pyproject.toml").read_text(encoding="utf-8"), flags=re.M)
    if not found:
        raise ValueError("pyproject.toml names no Repository under [project.urls].")
    return f"{found.group(1)}/blob/main/"


# --- the lessons ------------------------------------------------------------------------------------------------


def source_of(cell: dict) -> str:
    """A cell's text, which the file may store as a string or as lines."""
    return "".join(cell["source"])


def for_the_web(notebook: dict, repository: str) -> dict:
    """A copy of a lesson with links for the web and its Chinese marked as such."""
    cells = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            text = BADGE.sub(r"[\1](\2)", source_of(cell))
            cell = {**cell, "source": mark_chinese(web_links(text, "notebooks", repository))}
        cells.append(cell)
    return {**notebook, "cells": cells}


def web_links(text: str, folder: str, repository: str) -> str:
    """Point relative links to lessons and guides at the site, others at the repository's web address.

    Args:
        text: Markdown.
        folder: Folder of the text, relative to the repository's root.
        repository: URL of the repository's files.
    """

    def moved(match: re.Match) -> str:
        before, target, after = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match.group(0)
        parts: list[str] = []
        for part in f"{folder}/{target}".split("/"):
            parts = parts[:-1] if part == ".." else parts + [part] * (part not in ("", "."))
        path = "/".join(parts)
        page = re.fullmatch(r"(?:notebooks/(?=\d\d_)|docs/)(\w+\.(?:ipynb|md)(#.*)?)", path)
        return before + (page.group(1) if page else repository + path) + after

    return LINK.sub(moved, text)


def mark_chinese(text: str) -> str:
    """Wrap Chinese in ``<span lang="zh">``, so that screen readers pronounce it; code stays as it is."""
    parts = re.split(r"(```.*?```|`[^`\n]*`)", text, flags=re.S)
    return "".join(p if p.startswith("`") else HAN.sub(r'<span lang="zh">\g<0></span>', p) for p in parts)


# --- the glossary -----------------------------------------------------------------------------------------------


def key_terms(notebook: dict, lesson: str) -> list[Term]:
    """The rows of the table under "## Key terms"."""
    text = "\n\n".join(source_of(cell) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    section = re.search(r"^## Key terms\n(.*?)(?=^## |\Z)", text, flags=re.M | re.S)
    rows = re.findall(r"^\|(?!\s*:?-)(.*)\|\s*$", section.group(1) if section else "", flags=re.M)[1:]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)] for row in rows]
    return [Term(row[0], row[1], row[2] if len(row) > 2 else "", lesson) for row in cells if len(row) > 1]


def glossary(terms: Iterable[Term]) -> str:
    """The glossary as Markdown, by letter; a term that several lessons define lists them all."""
    entries: dict[str, list[Term]] = defaultdict(list)
    for term in terms:
        entries[_key(term.english)].append(term)
    lines = ["# Glossary", 'Every key term of the lessons, in English and Chinese (<span lang="zh">术语表</span>).']
    letter = ""
    for key in sorted(entries):
        initial = key[0].upper() if key[0].isalpha() else "0–9"
        if initial != letter:
            letter = initial
            lines += [f"## {letter}", HEAD]
        lines[-1] += "\n" + _row(entries[key])
    return "\n\n".join(lines) + "\n"


def _key(english: str) -> str:
    return re.sub(r"[*_`]", "", english).strip().casefold()


def _row(terms: list[Term]) -> str:
    chinese = " · ".join(dict.fromkeys(term.chinese for term in terms))
    meanings = list(dict.fromkeys(term.meaning for term in terms))
    lessons = " · ".join(f"[{term.lesson[:2]}]({term.lesson}.ipynb)" for term in terms)
    return f"| {terms[0].english} | {mark_chinese(chinese)} | {mark_chinese('<br>'.join(meanings))} | {lessons} |"


# --- the landing page -------------------------------------------------------------------------------------------


def draw_figures(folder: Path) -> dict[str, str]:
    """Draw the course's map and, if it was measured, the ladder; return file names with alternative texts."""
    from course_utils import plots, results  # here, because the rest of this module needs no torch
    from course_utils.paths import DATA

    plots.set_style()
    shown = {"map.png": plots.course_map()}
    if (DATA / "ladder.csv").exists():
        from course_utils.reasoning import ladder

        shown["ladder.png"] = plots.ladder(ladder.summary(results.read("ladder")))
    for name, figure in shown.items():
        (folder / name).write_bytes(figure.png)
    return {name: figure.alt for name, figure in shown.items()}


def landing_page(
    readme: str, lessons: list[Path], guides: list[Path], figures: dict[str, str], repository: str
) -> str:  # fmt: skip
    """The landing page: the README's opening, the map, the lessons, the ladder, and how to start."""
    sections = dict(re.findall(r"^##? ([^\n]*)\n(.*?)(?=^## |\Z)", readme, flags=re.M | re.S))
    title, opening = next(iter(sections.items()))
    parts = [f"# {title}", BADGE.sub(r"[\1](\2)", opening).strip()]
    parts += [_image("map.png", figures), "## Lessons", sections["Lessons"].strip()]
    if "ladder.png" in figures:
        parts += ["## What each idea adds", _image("ladder.png", figures)]
    parts += ["## Start", sections["Start"].strip(), "The terms of all lessons: [glossary](glossary.md)."]
    page = web_links("\n\n".join(parts), ".", repository).replace(f"({repository}glossary.md)", "(glossary.md)")
    for name in figures:
        page = page.replace(f"({repository}{name})", f"({name})")
    names = [f"{_title(path)} <{path.stem}>" for path in lessons]
    contents = ["```{toctree}", ":hidden:", ":caption: Lessons", "", *names, "```"]
    more = ["```{toctree}", ":hidden:", ":caption: More", "", *(path.stem for path in guides), "glossary", "```"]
    return "\n".join([page, "", *contents, "", *more, ""])


def _image(name: str, figures: dict[str, str]) -> str:
    alt = re.sub(r"([\[\]\\])", r"\\\1", figures[name].replace("\n", " "))
    return f"![{alt}]({name})"


def _title(path: Path) -> str:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return source_of(notebook["cells"][0]).split("\n", 1)[0].removeprefix("# ").split(":")[0]


if __name__ == "__main__":
    print(f"{len(gather(Path(sys.argv[1])))} lessons gathered in {sys.argv[1]}")
