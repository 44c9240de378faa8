"""Homework: the learner's notebooks from the teacher's, exercises from a lesson's cells, and a look before grading.

``python -m tools.homework make`` writes ``notebooks/homework/NN_name.ipynb`` from the teacher's source of the
same name in ``notebooks/homework/solutions/``, and sources from the lessons' cells that a teacher has tagged.
``python -m tools.homework check submitted/`` names what would go wrong in grading, before it does.

Markers and metadata are those of nbgrader 0.9 (Jupyter Development Team, 2023): its own tools work on the same files.
nbgrader is not needed here.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import re
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from course_utils.lesson import LESSONS
from tools import authoring

CODE_STUB = "# YOUR CODE HERE\nraise NotImplementedError()"
TEXT_STUB = "YOUR ANSWER HERE"
BEGIN_SOLUTION, END_SOLUTION = "BEGIN SOLUTION", "END SOLUTION"
BEGIN_HIDDEN, END_HIDDEN = "BEGIN HIDDEN TESTS", "END HIDDEN TESTS"
MARKERS = (BEGIN_SOLUTION, END_SOLUTION, BEGIN_HIDDEN, END_HIDDEN)
EXERCISE, CHECKS, NEEDS = "homework", "homework-checks", "homework-needs"  # tags on a lesson's cells
FROM_LESSON = "_cells"  # ends the names of sources that are made from tagged cells
_FLAGS = ("grade", "solution", "locked")


class HomeworkError(RuntimeError):
    """A source, a lesson's tags or a learner's copy that cannot be used as they are."""


def folder() -> Path:
    """Where the learner's copies are; the sources are in ``solutions`` below it."""
    return authoring.ROOT / "notebooks" / "homework"


def sources() -> list[Path]:
    """All of the teacher's sources, in reading order."""
    return sorted((folder() / "solutions").glob("*.ipynb"))


# --- what nbgrader does to a cell -------------------------------------------------------------------------------


def role(cell: NotebookNode, name: str) -> bool:
    """Whether nbgrader's metadata give a cell the role "grade", "solution" or "locked"."""
    return bool(cell.metadata.get("nbgrader", {}).get(name, False))


def clear_solution(source: str, stub: str) -> tuple[str, int]:
    """A cell's text with the stub, indented, for each marked solution; and how many there were.

    Raises:
        HomeworkError: If a marker lacks its partner.
    """
    return _without_regions(source, BEGIN_SOLUTION, END_SOLUTION, stub.split("\n"))


def clear_hidden_tests(source: str) -> tuple[str, int]:
    """A cell's text without its hidden tests, and how many regions there were. Errors as for clear_solution."""
    return _without_regions(source, BEGIN_HIDDEN, END_HIDDEN, [])


def _without_regions(source: str, begin: str, end: str, instead: list[str]) -> tuple[str, int]:
    kept: list[str] = []
    regions, inside = 0, False
    for line in source.split("\n"):
        if begin in line or end in line:
            if (begin in line) == inside:
                raise HomeworkError(
                    f"'{begin if inside else end}' has no partner in the cell that begins: {source[:60]!r}"
                )
            inside = not inside
            if inside:
                regions += 1
                indent = re.match(r"\s*", line).group(0)
                kept += [indent + stub for stub in instead]
        elif not inside:
            kept.append(line)
    if inside:
        raise HomeworkError(f"'{begin}' has no '{end}' in the cell that begins: {source[:60]!r}")
    return "\n".join(kept), regions


def checksum(cell: NotebookNode) -> str:
    """nbgrader's checksum of a cell: of its text, type, roles, id and points."""
    meta = cell.metadata["nbgrader"]
    grade, solution = role(cell, "grade"), role(cell, "solution")
    locked = not solution and (grade or role(cell, "locked"))
    parts = [cell.source, cell.cell_type, str(grade), str(solution), str(locked), meta["grade_id"]]
    if grade:
        parts.append(str(float(meta["points"])))
    return hashlib.md5("".join(parts).encode(), usedforsecurity=False).hexdigest()


def _released(cell: NotebookNode) -> NotebookNode:
    """One cell as nbgrader releases it: without solution, hidden tests and outputs, locked, with its checksum."""
    code = cell.cell_type == "code"
    text, solutions = clear_solution(cell.source, CODE_STUB if code else TEXT_STUB)
    text, hidden = clear_hidden_tests(text)
    if solutions and not role(cell, "solution"):
        raise HomeworkError(
            f"A cell with a solution is not marked as one in its nbgrader metadata: {cell.source[:60]!r}"
        )
    if hidden and not role(cell, "grade"):
        raise HomeworkError(f"A cell with hidden tests is not marked as a test of nbgrader's: {cell.source[:60]!r}")
    if role(cell, "solution") and not solutions:
        text = CODE_STUB if code else TEXT_STUB
    metadata = {key: dict(value) if key == "nbgrader" else value for key, value in cell.metadata.items()}
    out = new_code_cell(text, metadata=metadata) if code else new_markdown_cell(text, metadata=metadata)
    out.id = cell.id
    if any(role(out, flag) for flag in _FLAGS):
        out.metadata["deletable"] = False
        if not role(out, "solution"):
            out.metadata["editable"] = False
        out.metadata["nbgrader"] |= {"checksum": checksum(out), "cell_type": out.cell_type}
    return out


# --- the learner's copy -----------------------------------------------------------------------------------------


def learners_copy(source: NotebookNode, file: str) -> NotebookNode:
    """What a learner gets of a teacher's source: the cells as nbgrader releases them, a badge, links that hold.

    Args:
        source: The teacher's notebook.
        file: Its file name, which the copy shares.

    Raises:
        HomeworkError: If an exercise is not complete, in words that say which and why.
    """
    if problems := source_problems(source):
        raise HomeworkError(f"{file} cannot be handed out: " + "; ".join(problems))
    copy = new_notebook(
        cells=[_released(cell) for cell in source.cells], metadata=nbformat.from_dict(authoring.METADATA)
    )
    for cell in copy.cells:
        if cell.cell_type == "markdown" and "nbgrader" not in cell.metadata:
            cell.source = re.sub(r"(\]\()([^)\s]+)", lambda link: link[1] + _one_folder_up(link[2], file), cell.source)
    title, *rest = copy.cells[0].source.split("\n", 1)
    badge = authoring.badge(authoring.slug(), f"homework/{file}")
    copy.cells[0].source = "\n".join([title, "", badge, *rest])
    return copy


def _one_folder_up(target: str, file: str) -> str:
    if re.match(r"[a-z]+:|#", target):
        return target
    if not target.startswith("../"):
        raise HomeworkError(f"{file} links to {target}, which learners do not have.")
    return target.removeprefix("../")


def source_problems(source: NotebookNode) -> list[str]:
    """What is missing in a teacher's source: a title, a check for each exercise, points, distinct ids."""
    problems: list[str] = []
    if not source.cells or not source.cells[0].source.startswith("# "):
        problems.append("its first cell is no title")
    open_exercise, ids = None, []
    for number, cell in enumerate(source.cells):
        meta = cell.metadata.get("nbgrader")
        if meta is None or not any(role(cell, flag) for flag in _FLAGS):
            continue
        ids.append(meta.get("grade_id", ""))
        problems += [f"cell {number} {problem}" for problem in _metadata_problems(cell)]
        by_hand = role(cell, "solution") and role(cell, "grade")
        if role(cell, "solution"):
            if open_exercise:
                problems.append(f"the exercise {open_exercise} has no check")
            open_exercise = None if by_hand else ids[-1]
        elif role(cell, "grade"):
            open_exercise = None
            if not clear_hidden_tests(cell.source)[0].strip():
                problems.append(f"the check {ids[-1]} is hidden altogether: learners need one that they can see")
    if open_exercise:
        problems.append(f"the exercise {open_exercise} has no check")
    problems += [f"the grade_id {name!r} is there twice" for name in sorted({n for n in ids if ids.count(n) > 1})]
    return problems


def _metadata_problems(cell: NotebookNode) -> list[str]:
    meta = cell.metadata["nbgrader"]
    problems = [f"lacks '{key}' in its nbgrader metadata" for key in (*_FLAGS, "schema_version") if key not in meta]
    if meta.get("schema_version", 3) != 3:
        problems.append(f"has nbgrader metadata of version {meta['schema_version']}, not 3")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", str(meta.get("grade_id", ""))):
        problems.append(f"has no grade_id of letters, digits, - and _ but {meta.get('grade_id')!r}")
    if role(cell, "grade") and not (isinstance(meta.get("points"), int | float) and meta["points"] > 0):
        problems.append("is a check without points")
    return problems


# --- exercises from a lesson's cells ----------------------------------------------------------------------------


def from_lesson(lesson: NotebookNode, file: str) -> NotebookNode | None:
    """A teacher's source from the cells of a lesson that carry tags, or None if none does.

    The tags: ``homework`` on a code cell makes it an exercise, with ``points-3`` beside it (1 point without);
    ``homework-checks`` on the cells that check the exercise before them; ``homework-needs`` on every other cell that
    an exercise needs (imports, data, text). What is to be written are the bodies of the cell's functions and of its
    classes' methods, except ``__init__``; or, where the cell has nbgrader's solution markers, what is between them.

    Raises:
        HomeworkError: If tags do not fit together, in words that say which cell and why.
    """
    number = file[:2]
    cells, exercises, checks = [], [], []
    for position, cell in enumerate(lesson.cells):
        where = f"{file}, cell {position}"
        tags = _homework_tags(cell, where)
        if EXERCISE in tags:
            _close(cells, exercises, checks, file)
            name = _name_of(cell.source, where, {exercise["id"] for exercise in exercises})
            exercises.append({"id": name, "points": _points(tags, where)})
            cells += _exercise_cells(cell, len(exercises), exercises[-1], where)
        elif CHECKS in tags:
            if not exercises:
                raise HomeworkError(f"{where}: '{CHECKS}' has no cell tagged '{EXERCISE}' before it.")
            checks.append(cell)
        elif NEEDS in tags:
            if checks:  # an exercise ends where something else begins
                _close(cells, exercises, checks, file)
            cells.append(_plain(cell))
    if not exercises:
        if cells:
            raise HomeworkError(f"{file} has cells tagged '{NEEDS}' and none tagged '{EXERCISE}'.")
        return None
    _close(cells, exercises, checks, file)
    title = LESSONS[number].title
    first = new_markdown_cell(
        f"# Homework {number} · {title}: cells of the lesson\n\n"
        f"From [lesson {number}](../../{file}): {len(exercises)} to write yourself. Write your code where it says so, "
        "run the cell after it, and read what the checks tell you."
    )
    setup = new_code_cell(authoring.setup_cell(authoring.slug(), number))
    first.id, setup.id = "title", "setup"
    return new_notebook(cells=[first, setup, *cells], metadata=nbformat.from_dict(authoring.METADATA))


def _homework_tags(cell: NotebookNode, where: str) -> list[str]:
    tags = [tag for tag in cell.metadata.get("tags", []) if re.match(r"homework|points", tag)]
    for tag in tags:
        if tag not in (EXERCISE, CHECKS, NEEDS) and not re.fullmatch(r"points-\d+", tag):
            raise HomeworkError(f"{where} has the unknown tag {tag!r}. Known: {EXERCISE}, {CHECKS}, {NEEDS}, points-3.")
    kinds = [tag for tag in tags if not tag.startswith("points")]
    if len(kinds) > 1:
        raise HomeworkError(f"{where} has the tags {kinds}: it can be only one of them.")
    if tags and EXERCISE not in kinds and len(tags) > len(kinds):
        raise HomeworkError(f"{where}: points belong on the cell tagged '{EXERCISE}'.")
    if kinds and kinds != [NEEDS] and cell.cell_type != "code":
        raise HomeworkError(f"{where}: '{kinds[0]}' belongs on a code cell.")
    return tags


def _points(tags: list[str], where: str) -> int:
    points = [int(tag.removeprefix("points-")) for tag in tags if tag.startswith("points-")] or [1]
    if len(points) > 1 or points[0] < 1:
        raise HomeworkError(f"{where}: give one number of points, 1 or more.")
    return points[0]


def _exercise_cells(cell: NotebookNode, number: int, exercise: dict, where: str) -> list[NotebookNode]:
    points = exercise["points"]
    heading = new_markdown_cell(f"## {number}. `{exercise['id']}`\n\n{points} point{'s' if points > 1 else ''}")
    heading.id = f"heading-{number}"
    code = _plain(cell)
    code.source = mark_solutions(re.sub(r"\A# kept in .*\n", "", cell.source), where)
    code.metadata["nbgrader"] = _nbgrader(exercise["id"], solution=True)
    return [heading, code]


def _close(cells: list, exercises: list, checks: list, file: str) -> None:
    """End the open exercise, if there is one: its checks become one locked cell."""
    if exercises and not exercises[-1].get("closed"):
        exercise = exercises[-1]
        if not checks:
            raise HomeworkError(f"{file}: the exercise {exercise['id']} has no cell tagged '{CHECKS}' after it.")
        cell = _plain(checks[0])
        cell.source = "\n".join(check.source for check in checks)
        cell.metadata["nbgrader"] = _nbgrader(f"{exercise['id']}-tests", grade=True, points=exercise["points"])
        cells.append(cell)
        exercise["closed"] = True
    elif checks:
        raise HomeworkError(f"{file}: '{CHECKS}' comes after the exercise before it has ended.")
    checks.clear()


def _plain(cell: NotebookNode) -> NotebookNode:
    """A cell with its text and id, and nothing else."""
    new = new_code_cell(cell.source) if cell.cell_type == "code" else new_markdown_cell(_deeper_links(cell.source))
    new.id = cell.id
    return new


def _deeper_links(text: str) -> str:
    return re.sub(r"(\]\()(?![a-z]+:|#)([^)\s]+)", r"\1../../\2", text)


def _nbgrader(name: str, *, solution: bool = False, grade: bool = False, points: int | None = None) -> dict:
    meta = {"grade": grade, "grade_id": name, "locked": grade, "schema_version": 3, "solution": solution, "task": False}
    return meta if points is None else meta | {"points": points}


def _name_of(source: str, where: str, taken: set[str]) -> str:
    tree = _parsed(source, where)
    named = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    name = named[0].replace("_", "-") if named else f"exercise-{len(taken) + 1}"
    return name if name not in taken else f"{name}-{len(taken) + 1}"


def _parsed(source: str, where: str) -> ast.Module:
    try:
        return ast.parse(source)
    except SyntaxError as error:
        raise HomeworkError(f"{where} is not plain Python: {error}") from error


def mark_solutions(source: str, where: str = "the cell") -> str:
    """A cell's code with nbgrader's solution markers around each function's body; as it is, if it has markers.

    Raises:
        HomeworkError: If there is no function whose body could be left out.
    """
    if BEGIN_SOLUTION in source:
        clear_solution(source, CODE_STUB)  # complains of a marker without its partner
        return source
    lines = source.split("\n")
    bodies = [_body(function, lines, where) for function in _functions(_parsed(source, where))]
    if not bodies:
        remedy = f"put '### {BEGIN_SOLUTION}' and '### {END_SOLUTION}' around what learners are to write"
        raise HomeworkError(f"{where} has no function to leave open: {remedy}.")
    for first, last in reversed(bodies):
        indent = re.match(r"\s*", lines[last - 1]).group(0) if first == last else _indent(lines[first - 1 : last])
        lines[first - 1 : last] = [
            f"{indent}### {BEGIN_SOLUTION}", *lines[first - 1 : last], f"{indent}### {END_SOLUTION}",
        ]  # fmt: skip
    return "\n".join(lines)


def _functions(tree: ast.Module | ast.ClassDef) -> list[ast.FunctionDef]:
    found = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            found += _functions(node)
        elif isinstance(node, ast.FunctionDef) and not (isinstance(tree, ast.ClassDef) and node.name == "__init__"):
            found.append(node)
    return found


def _body(function: ast.FunctionDef, lines: list[str], where: str) -> tuple[int, int]:
    """First and last line, counted from 1, of a function's body without its docstring."""
    statements = function.body[1:] if ast.get_docstring(function) is not None else function.body
    if not statements or statements[0].lineno == function.lineno:
        raise HomeworkError(f"{where}: the body of {function.name} must stand on lines of its own.")
    first = statements[0].lineno
    while lines[first - 2].lstrip().startswith("#"):  # comments above the first statement belong to it
        first -= 1
    return first, statements[-1].end_lineno


def _indent(lines: list[str]) -> str:
    return min((re.match(r"\s*", line).group(0) for line in lines if line.strip()), key=len)


# --- writing them all -------------------------------------------------------------------------------------------


def make() -> list[Path]:
    """Write the sources of tagged lessons, then the learner's copies of all sources, and the lessons' links to them.

    Returns:
        The files that changed.

    Raises:
        HomeworkError: If a source is not complete, or somebody has worked in a copy that would be overwritten.
    """
    wanted: dict[Path, NotebookNode] = {}
    for lesson in authoring.lessons():
        if (source := from_lesson(_read(lesson), lesson.name)) is not None:
            wanted[folder() / "solutions" / f"{lesson.stem}{FROM_LESSON}.ipynb"] = source
    stale = [path for path in sources() if path.stem.endswith(FROM_LESSON) and path not in wanted]
    for path in sources():
        if path not in stale:
            wanted.setdefault(path, _read(path))
    texts = {folder() / path.name: _text(learners_copy(source, path.name)) for path, source in wanted.items()}
    texts |= {path: _text(wanted[path]) for path in wanted if path.stem.endswith(FROM_LESSON)}
    orphans = [path for path in folder().glob("*.ipynb") if path not in texts and _made_here(_read(path))]
    changed = [path for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in changed:
        if path.parent == folder() and path.exists() and (sign := _worked_in(_read(path))):
            name = path.relative_to(authoring.ROOT)
            raise HomeworkError(f"{name} holds somebody's work ({sign}). Move it away, then repeat.")
    for path in changed:
        path.write_text(texts[path], encoding="utf-8")
    for path in [*stale, *orphans]:
        path.unlink()
    linked = [
        lesson for lesson in authoring.lessons() if lesson.name in {path.name for path in wanted} and link(lesson)
    ]
    return sorted([*changed, *stale, *orphans, *linked])


def link(lesson: Path) -> bool:
    """Let a lesson's exercises lead to its homework; whether the lesson had to be changed for that."""
    notebook = _read(lesson)
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and re.search(r"^## Exercises$", cell.source, flags=re.M):
            if f"(homework/{lesson.name})" in cell.source:
                return False
            text = (
                f"## Exercises\n\nMore of them, with checks that tell you how far you are: [homework {lesson.name[:2]}]"
            )
            cell.source = re.sub(
                r"^## Exercises$", f"{text}(homework/{lesson.name}).", cell.source, count=1, flags=re.M
            )
            lesson.write_text(_text(notebook), encoding="utf-8")
            return True
    raise HomeworkError(f"{lesson.name} has no section '## Exercises' that could lead to its homework.")


def _read(path: Path) -> NotebookNode:
    try:
        return nbformat.read(path, as_version=4)
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, UnicodeDecodeError, AttributeError) as error:
        raise HomeworkError(f"{path.name} is not a notebook: {str(error)[:100]}") from error


def _text(notebook: NotebookNode) -> str:
    return nbformat.writes(notebook) + "\n"


def _made_here(copy: NotebookNode) -> bool:
    """An untouched learner's copy, and nobody's own notebook."""
    return not _worked_in(copy) and any("checksum" in cell.metadata.get("nbgrader", {}) for cell in copy.cells)


def _worked_in(copy: NotebookNode) -> str:
    """A sign that somebody has worked in a learner's copy, or an empty text."""
    for number, cell in enumerate(copy.cells):
        if cell.get("execution_count") or cell.get("outputs"):
            return f"cell {number} was run"
        meta = cell.metadata.get("nbgrader", {})
        if role(cell, "solution") and meta.get("checksum") not in (None, checksum(cell)):
            return f"cell {number}, {meta['grade_id']}, was edited"
    return ""


# --- before grading ---------------------------------------------------------------------------------------------


def submission_problems(submission: NotebookNode, source: NotebookNode) -> list[str]:
    """What would make nbgrader grade a submission wrongly or fail, in words that say what to do.

    nbgrader scores a check whose metadata are gone as 0, and says nothing; of a cell that is there twice it keeps the
    last, then fails with a message about versions; checks that moved above their exercise fail.
    """
    places: dict[str, list[int]] = {}
    for number, cell in enumerate(submission.cells):
        if name := cell.metadata.get("nbgrader", {}).get("grade_id"):
            places.setdefault(name, []).append(number)
    problems = []
    wanted = {cell.metadata["nbgrader"]["grade_id"]: cell for cell in source.cells if "nbgrader" in cell.metadata}
    for name, cell in wanted.items():
        found = places.get(name, [])
        if not found:
            problems.append(_lost(name, cell, submission))
        elif len(found) > 1:
            problems.append(
                f"{name} is there {len(found)} times (cells {', '.join(map(str, found))}): nbgrader keeps the last, "
                "then fail with a message about metadata versions. Delete all but the one to be graded"
            )
        else:
            problems += _changed(name, cell, submission.cells[found[0]], found[0])
    order = [name for name in wanted if len(places.get(name, [])) == 1]
    if not problems and order != sorted(order, key=lambda name: places[name][0]):
        problems.append("its cells were moved: put each check back below its exercise")
    return problems


def _lost(name: str, cell: NotebookNode, submission: NotebookNode) -> str:
    points = cell.metadata["nbgrader"].get("points")
    loss = f"the check would score 0 of {points} points" if points else "its answer would be lost"
    text = _released(cell).source
    bare = [n for n, other in enumerate(submission.cells) if "nbgrader" not in other.metadata]
    alike = [n for n in bare if submission.cells[n].get("id") == cell.get("id") or submission.cells[n].source == text]
    what = f"has lost its nbgrader metadata (cell {alike[0]})" if alike else "is not there, or has lost its metadata"
    remedy = "Paste the learner's code into a fresh copy, and grade that"
    return f"{name} {what}: {loss}, without an error. {remedy}"


def _changed(name: str, cell: NotebookNode, other: NotebookNode, number: int) -> list[str]:
    if damage := _metadata_problems(other):
        return [f"{name} (cell {number}) {problem}. Paste the code into a fresh copy" for problem in damage]
    if other.cell_type != cell.cell_type:
        return [f"{name} (cell {number}) has become a {other.cell_type} cell: make it a {cell.cell_type} cell again"]
    changed = [flag for flag in ("grade", "solution") if role(other, flag) != role(cell, flag)]
    return [f"{name} (cell {number}) has another '{flag}' in its metadata than its source" for flag in changed]


def submission_notes(submission: NotebookNode, source: NotebookNode) -> list[str]:
    """What a teacher may want to know of a submission, and nbgrader deals with: checks edited, stubs left."""
    released = {c.metadata["nbgrader"]["grade_id"]: _released(c) for c in source.cells if "nbgrader" in c.metadata}
    notes = []
    for cell in submission.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        if name in released:
            same = cell.source.strip() == released[name].source.strip()
            if role(released[name], "solution") and same:
                notes.append(f"{name} was not attempted")
            elif not role(released[name], "solution") and not same:
                notes.append(f"{name}, a check, was edited: nbgrader puts it back")
    return notes


def check(paths: list[Path], source_folder: Path) -> dict[Path, list[str]]:
    """Problems of each submitted notebook, in files or below folders. What nbgrader deals with is printed only.

    Raises:
        HomeworkError: If there is no notebook, or no source to hold it against.
    """
    by_name = {path.name: path for path in source_folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts}
    files = [file for path in paths for file in (sorted(path.rglob("*.ipynb")) if path.is_dir() else [path])]
    files = [file for file in files if ".ipynb_checkpoints" not in file.parts]
    if not files or not by_name:
        raise HomeworkError(f"There is no notebook in {source_folder if files else ', '.join(map(str, paths))}.")
    found: dict[Path, list[str]] = {}
    for file in files:
        if file.name not in by_name:
            known = ", ".join(sorted(by_name))
            found[file] = [f"no source has this name, so nbgrader would leave it out. Rename it to one of: {known}"]
            continue
        try:
            submission = _read(file)
        except HomeworkError as error:
            found[file] = [str(error)]
            continue
        source = _read(by_name[file.name])
        found[file] = submission_problems(submission, source)
        for note in submission_notes(submission, source):
            print(f"{file}: note: {note}.")
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("make", help="write the learner's copies")
    look = commands.add_parser("check", help="look through submissions before grading")
    look.add_argument("paths", nargs="+", type=Path, help="notebooks, or folders of them such as submitted/")
    look.add_argument("--sources", type=Path, default=folder() / "solutions", help="the teacher's notebooks")
    asked = parser.parse_args()
    if asked.command == "make":
        changed = make()
        for path in changed:
            print("wrote" if path.exists() else "removed", path.relative_to(authoring.ROOT))
        print(f"{len(sources())} sources, {len(changed)} files changed")
        return
    found = check(asked.paths, asked.sources)
    lines = [f"{file}: {problem}." for file, problems in found.items() for problem in problems]
    print("\n".join([*lines, f"{len(found)} notebooks, {len(lines)} problems"]))
    if lines:
        sys.exit(1)


if __name__ == "__main__":
    try:
        main()
    except HomeworkError as error:
        sys.exit(str(error))
