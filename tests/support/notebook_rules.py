"""The rules for notebooks that are committed: each is a function that lists the problems it finds."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import nbformat

from course_utils.lesson import LESSONS
from tools import authoring, homework

ROOT = authoring.ROOT
MAX_LINES = 30
MAX_OUTPUT_LINES = 60
MAX_BYTES = 3_000_000
SECTIONS = ("Recap", "Key terms", "Exercises", "Further reading")
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:home|root|tmp|Users|usr|opt|mnt|var|work)/\w|\b[A-Z]:\\|site-packages")
ALLOWED_METADATA = {"tags", "nbgrader"}
LOCKS = {"deletable", "editable"}  # nbgrader's, in the learner's copies
KINDS = ("recall", "build", "break and fix", "extend")


class Lesson:
    """A notebook file, and its cells by kind."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the rule `valid` reports what they warn about
            self.notebook = nbformat.read(path, as_version=4)
        self.cells = list(enumerate(self.notebook.cells))
        self.code = [(number, cell) for number, cell in self.cells if cell.cell_type == "code"]
        self.markdown = [(number, cell) for number, cell in self.cells if cell.cell_type == "markdown"]
        self.number = path.name[:2]

    def outputs(self) -> Iterator[tuple[int, nbformat.NotebookNode]]:
        """Every output with the number of its cell."""
        for number, cell in self.code:
            for output in cell.outputs:
                yield number, output

    @property
    def prose(self) -> str:
        """All Markdown in one text, code spans and blocks left out."""
        text = "\n\n".join(cell.source for _, cell in self.markdown)
        return re.sub(r"```.*?```|`[^`\n]*`", " ", text, flags=re.S)


# --- the file ---------------------------------------------------------------------------------------------------


def valid(lesson: Lesson) -> list[str]:
    """A valid notebook with unique cell ids."""
    raw = json.loads(lesson.path.read_text(encoding="utf-8"))  # nbformat.read would repair the defects
    ids = [cell.get("id") for cell in raw.get("cells", [])]
    try:
        nbformat.validate(raw)
    except nbformat.ValidationError as error:
        return [f"not a valid notebook: {error}"]
    return [f"cell ids repeat: {sorted({i for i in ids if ids.count(i) > 1})}"] if len(set(ids)) < len(ids) else []


def small(lesson: Lesson) -> list[str]:
    """Small enough for browsers and diffs."""
    size = lesson.path.stat().st_size
    return [f"{size / 1e6:.1f} MB: shrink its figures"] if size > MAX_BYTES else []


def tidy_metadata(lesson: Lesson) -> list[str]:
    """No metadata of an editor or a machine."""
    allowed = ALLOWED_METADATA | (LOCKS if lesson.path.parent.name == "homework" else set())
    problems = [
        f"cell {number} has metadata {sorted(set(cell.metadata) - allowed)}: run `make execute`"
        for number, cell in lesson.cells
        if set(cell.metadata) - allowed
    ]
    if dict(lesson.notebook.metadata) != authoring.METADATA:
        problems.append("the notebook's metadata are not the standard ones: run `make execute`")
    return problems


# --- its code ---------------------------------------------------------------------------------------------------


def run_in_order(lesson: Lesson) -> list[str]:
    """Every code cell was run, from top to bottom, in a fresh kernel."""
    counts = [cell.execution_count for _, cell in lesson.code]
    if counts == list(range(1, len(counts) + 1)):
        return []
    return [f"the cells were run in the order {counts}: run `make execute`"]


def no_empty_cells(lesson: Lesson) -> list[str]:
    """No cell without content."""
    return [f"cell {number} is empty" for number, cell in lesson.cells if not cell.source.strip()]


def short_cells(lesson: Lesson) -> list[str]:
    """A cell does one thing."""
    lengths = [(number, cell.source.count("\n") + 1) for number, cell in lesson.code]
    return [f"cell {number} has {n} lines, {MAX_LINES} at most: split it" for number, n in lengths if n > MAX_LINES]


def python_only(lesson: Lesson) -> list[str]:
    """No shell lines or magics, whose failures go unnoticed, and nothing that ends the kernel."""
    problems = []
    for number, cell in lesson.code:
        if re.search(r"^\s*(!|%)|=\s*!", cell.source, flags=re.M):
            problems.append(f"cell {number} has a shell line or a magic: use subprocess.run(..., check=True)")
        if re.search(r"^\s*(exit|quit)\s*\(|\bos\._exit\b|\bsys\.exit\b", cell.source, flags=re.M):
            problems.append(f"cell {number} ends the kernel")
    return problems


# --- its outputs ------------------------------------------------------------------------------------------------


def no_errors(lesson: Lesson) -> list[str]:
    """No stored error that is not tagged, and nothing on stderr."""
    wanted = {number for number, cell in lesson.code if "raises-exception" in cell.metadata.get("tags", [])}
    problems = []
    for number, output in lesson.outputs():
        if output.output_type == "error" and number not in wanted:
            problems.append(f"cell {number} stores an error")
        if output.get("name") == "stderr":
            problems.append(f"cell {number} stores a warning on stderr")
    return problems


def checked_output_is_stored(lesson: Lesson) -> list[str]:
    """A cell whose output nbval compares stores one."""
    return [
        f"cell {number} has NBVAL_CHECK_OUTPUT and no stored output"
        for number, cell in lesson.code
        if "NBVAL_CHECK_OUTPUT" in cell.source and not cell.outputs
    ]


def short_outputs(lesson: Lesson) -> list[str]:
    """No overlong text output."""
    problems = []
    for number, output in lesson.outputs():
        text = output.get("text") or output.get("data", {}).get("text/plain", "")
        if text.count("\n") > MAX_OUTPUT_LINES:
            problems.append(f"cell {number} prints {text.count(chr(10))} lines, {MAX_OUTPUT_LINES} at most")
    return problems


def no_machine_paths(lesson: Lesson) -> list[str]:
    """No path of the author's machine."""
    problems = []
    for number, cell in lesson.cells:
        texts = [cell.source, *(_text_of(output) for output in cell.get("outputs", []))]
        if found := MACHINE_PATHS.search("\n".join(texts)):
            problems.append(f"cell {number} holds a path of a machine: {found.group(0)}")
    return problems


def figures_have_alt_text(lesson: Lesson) -> list[str]:
    """Every figure has alternative text."""
    problems = []
    for number, output in lesson.outputs():
        data = output.get("data", {})
        if "image/png" in data or "image/svg+xml" in data:
            problems.append(f"cell {number} shows a bare figure: use plots.show(figure, alt=...)")
        problems += _images_without_alt(number, data.get("text/html", ""))
    for number, cell in lesson.markdown:
        problems += _images_without_alt(number, cell.source)
        if re.search(r"!\[\s*\]\(", cell.source):
            problems.append(f"cell {number} has a Markdown image without alt text")
        if "base64," in cell.source:
            problems.append(f"cell {number} embeds a picture in Markdown: draw it in a cell")
    return problems


def _images_without_alt(number: int, html: str) -> list[str]:
    tags = re.findall(r"<img\b[^>]*>", html)
    return [f"cell {number} has an image without alt text" for tag in tags if not re.search(r'\balt="[^"]+"', tag)]


def widgets_have_text(lesson: Lesson) -> list[str]:
    """No stored widget, which would show nothing on the web."""
    return [
        f"cell {number} stores a widget: run `make execute`"
        for number, output in lesson.outputs()
        if authoring.WIDGET in output.get("data", {})
    ]


def widgets_outlive_the_lesson(lesson: Lesson) -> list[str]:
    """No widget callback reads a name that a later cell rebinds: widgets are used after the last cell has run."""
    if python_only(lesson):
        return []  # reported by that rule
    trees = [(number, ast.parse(cell.source)) for number, cell in lesson.code]
    functions = {node.name: node for _, tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    problems = []
    for number, tree in trees:
        later = {name for place, other in trees if place > number for name in _bound(other)}
        again = _read(_called_by_widgets(tree), functions) & later
        problems += [f"cell {number} has a widget that reads {name}, which a later cell rebinds" for name in again]
    return sorted(problems)


def _called_by_widgets(tree: ast.AST) -> set[str]:
    """The names handed to ``observe`` and ``on_click``."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute))
    handed = (call.args[0] for call in calls if call.func.attr in ("observe", "on_click") and call.args)
    return {argument.id for argument in handed if isinstance(argument, ast.Name)}


def _read(names: set[str], functions: dict[str, ast.FunctionDef]) -> set[str]:
    """The notebook's names that these functions read, directly or through functions that they call."""
    found, waiting = set(), list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        if name in functions:
            inside = [node for node in ast.walk(functions[name]) if isinstance(node, ast.Name)]
            own = {node.id for node in inside if isinstance(node.ctx, ast.Store)}
            own |= {argument.arg for argument in ast.walk(functions[name]) if isinstance(argument, ast.arg)}
            waiting += [node.id for node in inside if node.id not in own]
    return found


def _bound(tree: ast.AST) -> set[str]:
    """The names that a cell binds at the top level."""
    names, waiting = set(), [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif not isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            waiting += ast.iter_child_nodes(node)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
    return names


def _text_of(output: nbformat.NotebookNode) -> str:
    data = output.get("data", {})
    html = re.sub(r'src="data:[^"]*"', "", data.get("text/html", ""))
    return "\n".join([output.get("text", ""), data.get("text/plain", ""), html])


# --- the anatomy of a lesson ------------------------------------------------------------------------------------


def opening(lesson: Lesson) -> list[str]:
    """The first cell has a title, the badge, objectives, prerequisites and the time."""
    first = lesson.notebook.cells[0].source if lesson.cells else ""
    problems = []
    if not re.match(rf"# {lesson.number} · \S", first):
        problems.append(f"the first cell must begin with the title '# {lesson.number} · …'")
    if authoring.badge(authoring.slug(), lesson.path.name) not in first:
        problems.append("the first cell lacks the Colab badge of this repository: run `make slug`")
    objectives = re.search(r"\*\*You will\*\*\n\n((?:- .*\n?)+)", first)
    if not objectives or not 3 <= objectives.group(1).count("- ") <= 5:
        problems.append("the first cell needs **You will** with three to five points")
    problems += [f"the first cell lacks **{part}**" for part in ("Before this", "Time") if f"**{part}**" not in first]
    if lesson.number in LESSONS and f"about {LESSONS[lesson.number].cpu_seconds} seconds" not in first:
        problems.append("the time in the first cell is not the one that course_utils/lesson.py states")
    return problems


def setup(lesson: Lesson) -> list[str]:
    """The first code cell is the standard one, for this lesson."""
    if lesson.number not in LESSONS:
        return [f"course_utils/lesson.py does not know lesson {lesson.number}"]
    expected = authoring.setup_cell(authoring.slug(), lesson.number)
    if lesson.code and lesson.code[0][1].source == expected:
        return []
    return ["the first code cell is not authoring.setup_cell(...) for this lesson"]


def headings(lesson: Lesson) -> list[str]:
    """One title, no skipped level, and the sections that end every lesson."""
    text = re.sub(r"```.*?```", "", "\n\n".join(cell.source for _, cell in lesson.markdown), flags=re.S)
    found = [(len(marks), title.strip()) for marks, title in re.findall(r"^(#+) (.*)$", text, flags=re.M)]
    problems = []
    if [level for level, _ in found].count(1) != 1:
        problems.append("a lesson has one heading of the first level")
    for (before, _), (level, title) in zip(found, found[1:], strict=False):
        if level > before + 1:
            problems.append(f"heading '{title}' skips a level")
    titles = [title for level, title in found if level == 2]
    return problems + [f"the section '## {section}' is missing" for section in SECTIONS if section not in titles]


def key_terms_in_chinese(lesson: Lesson) -> list[str]:
    """Key terms are given in English and in Chinese."""
    rows = re.findall(r"^\|(?!\s*-)(.*)\|$", _section(lesson, "Key terms"), flags=re.M)[1:]
    if not rows:
        return ["the key terms are not a table"]
    return [f"key term without 中文: {row.strip()}" for row in rows if not re.search(r"[\u4e00-\u9fff]", row)]


def references(lesson: Lesson) -> list[str]:
    """Further reading gives the year of each work."""
    items = re.findall(r"^- (.*)$", _section(lesson, "Further reading"), flags=re.M)
    if not items:
        return ["further reading lists nothing"]
    return [f"a reference without its year: {item[:60]}" for item in items if not re.search(r"\b(19|20)\d\d\b", item)]


def links_resolve(lesson: Lesson) -> list[str]:
    """Relative links lead to files of this repository."""
    targets = re.findall(r"\]\(([^)\s]+)\)", "\n".join(cell.source for _, cell in lesson.markdown))
    local = [target for target in targets if not re.match(r"[a-z]+:|#", target)]
    return [f"broken link: {t}" for t in local if not (lesson.path.parent / t.split("#")[0]).exists()]


def plain_words(lesson: Lesson) -> list[str]:
    """No belittling words: nothing is simple or obvious to a learner."""
    return [f"'{word}' in the prose" for word in re.findall(r"\b(?:simply|obviously)\b", lesson.prose, flags=re.I)]


def _section(lesson: Lesson, title: str) -> str:
    text = "\n\n".join(cell.source for _, cell in lesson.markdown)
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, flags=re.M | re.S)
    return found.group(1) if found else ""


def homework_is_linked(lesson: Lesson) -> list[str]:
    """A lesson's exercises link to its homework, if there is one."""
    there = (homework.folder() / "solutions" / lesson.path.name).exists()
    if not there or f"(homework/{lesson.path.name})" in _section(lesson, "Exercises"):
        return []
    return ["the exercises do not link to the homework: run `make homework`"]


# --- homework ---------------------------------------------------------------------------------------------------


def homework_opening(lesson: Lesson) -> list[str]:
    """Homework begins with its title and the set-up cell of its lesson."""
    problems = []
    if not lesson.cells or not re.match(rf"# Homework {lesson.number} · \S", lesson.notebook.cells[0].source):
        problems.append(f"the first cell must begin with the title '# Homework {lesson.number} · …'")
    return problems + setup(lesson)


def exercises(lesson: Lesson) -> list[str]:
    """Three to five exercises, each with its kind, its difficulty, its minutes and a hint; the minutes add up."""
    count = sum(homework.role(cell, "solution") for _, cell in lesson.cells)
    problems = [] if 3 <= count <= 5 else [f"{count} exercises: three to five are wanted"]
    headings = [cell.source for _, cell in lesson.markdown if re.match(r"## \d", cell.source)]
    if len(headings) != count:
        problems.append(f"{len(headings)} headings '## 1. …' for {count} exercises")
    minutes = 0
    for number, text in enumerate(headings, start=1):
        if not re.match(rf"## {number}\. .+ \*\(({'|'.join(KINDS)})\)\*\n", text):
            problems.append(f"heading {number} is not '## {number}. Title *(kind)*', of the kinds {', '.join(KINDS)}")
        if found := re.search(r"^(?=.{3} )🔴+⚪* · (\d+) minutes$", text, flags=re.M):
            minutes += int(found[1])
        else:
            problems.append(f"exercise {number} lacks a line like '🔴🔴⚪ · 15 minutes'")
        if "<details><summary>Hint</summary>" not in text:
            problems.append(f"exercise {number} has no hint in <details>")
    if f"about {minutes} minutes" not in lesson.prose:
        problems.append(f"the first cell does not say that all takes about {minutes} minutes")
    return problems


def a_copy_is_unsolved(lesson: Lesson) -> list[str]:
    """A learner's copy has a badge, was not run, and has no marker of a solution or hidden test."""
    problems = [f"cell {number} was run" for number, cell in lesson.code if cell.outputs or cell.execution_count]
    text = lesson.path.read_text(encoding="utf-8")
    problems += [f"it holds the marker '{marker}'" for marker in homework.MARKERS if marker in text]
    if not any(homework.CODE_STUB.split("\n")[0] in cell.source for _, cell in lesson.code):
        problems.append("it has nothing to write")
    if authoring.badge(authoring.slug(), f"homework/{lesson.path.name}") not in lesson.notebook.cells[0].source:
        problems.append("the first cell lacks the Colab badge of this repository: run `make homework`")
    return problems


# --- code that the package keeps --------------------------------------------------------------------------------


def kept_code_equals_package(lesson: Lesson) -> list[str]:
    """A definition kept in the package is the same there, docstrings aside."""
    problems = []
    for number, cell in lesson.code:
        if not (kept := re.match(r"# kept in (course_utils/\S+\.py)\n", cell.source)):
            continue
        file = ROOT / kept.group(1)
        if not file.exists():
            problems.append(f"cell {number} is kept in {kept.group(1)}, which does not exist")
            continue
        ours, theirs = definitions(cell.source), definitions(file.read_text(encoding="utf-8"))
        if not ours:
            problems.append(f"cell {number} defines nothing that {kept.group(1)} could keep")
        for name, tree in ours.items():
            if theirs.get(name) != tree:
                problems.append(f"cell {number}: {name} differs from the one in {kept.group(1)}")
    return problems


def definitions(source: str) -> dict[str, str]:
    """Functions, classes and constants at the top level of a source, as syntax trees without docstrings."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = ast.dump(_without_docstrings(node))
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = ast.dump(node.value)
    return found


def _without_docstrings(tree: ast.AST) -> ast.AST:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree


FILE_RULES = (valid, small, tidy_metadata, no_empty_cells, short_cells, python_only, no_machine_paths)
OUTPUT_RULES = (
    run_in_order, no_errors, checked_output_is_stored, short_outputs, figures_have_alt_text, widgets_have_text,
)  # fmt: skip
LESSON_RULES = (
    opening, setup, headings, key_terms_in_chinese, widgets_outlive_the_lesson, references, links_resolve, plain_words,
    kept_code_equals_package, homework_is_linked,
)  # fmt: skip
RULES = FILE_RULES + OUTPUT_RULES + LESSON_RULES

HOMEWORK_RULES = (*FILE_RULES, homework_opening, links_resolve, plain_words)
SOURCE_RULES = (*HOMEWORK_RULES, *OUTPUT_RULES, exercises)
COPY_RULES = (*HOMEWORK_RULES, a_copy_is_unsolved)
