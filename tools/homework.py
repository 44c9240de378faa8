"""Make learners' homework from the teacher's notebooks, and check submissions before grading.

``python -m tools.homework make`` writes ``notebooks/homework/NN_name.ipynb`` from the teacher's source of the same
name in ``notebooks/homework/solutions/``, after writing sources for the lesson cells that a teacher has tagged.
``python -m tools.homework check submitted/`` lists what nbgrader would grade wrongly or stop at.

Markers, metadata and checksums are those of nbgrader 0.9 (Jupyter Development Team, 2023), so nbgrader grades these
files. nbgrader itself is not imported: it needs a newer IPython than Colab has, where this module's tests run too.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import re
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from course_utils.checkpoints import CheckpointError, write_atomically
from course_utils.lesson import LESSONS
from tools import authoring

CODE_STUB = "# YOUR CODE HERE\nraise NotImplementedError()"
TEXT_STUB = "YOUR ANSWER HERE"
BEGIN_SOLUTION, END_SOLUTION = "BEGIN SOLUTION", "END SOLUTION"
BEGIN_HIDDEN, END_HIDDEN = "BEGIN HIDDEN TESTS", "END HIDDEN TESTS"
MARKERS = (BEGIN_SOLUTION, END_SOLUTION, BEGIN_HIDDEN, END_HIDDEN)
EXERCISE, CHECKS, NEEDS = "homework", "homework-checks", "homework-needs"  # tags on lesson cells
FROM_LESSON = "_cells"  # suffix of sources that are made from tagged cells
RECORD = "made.json"  # in solutions/: the SHA-256 of each file that make() wrote, by its path in folder()
_FLAGS = ("grade", "solution", "locked")


class HomeworkError(RuntimeError):
    """An unusable source, submission or set of tags; the message says what to change."""


def folder() -> Path:
    """Folder of the learners' copies; its subfolder ``solutions`` holds the sources."""
    return authoring.ROOT / "notebooks" / "homework"


def sources() -> list[Path]:
    """The teacher's sources, in reading order."""
    return sorted((folder() / "solutions").glob("*.ipynb"))


# --- one cell, as nbgrader releases it --------------------------------------------------------------------------


def role(cell: NotebookNode, name: str) -> bool:
    """Whether a cell's nbgrader metadata set the flag "grade", "solution" or "locked"."""
    return bool(cell.metadata.get("nbgrader", {}).get(name, False))


def clear_solution(source: str, stub: str) -> tuple[str, int]:
    """Replace each marked solution by the stub, indented alike; return the text and the number of solutions.

    Raises:
        HomeworkError: If a marker lacks its partner.
    """
    return _without_regions(source, BEGIN_SOLUTION, END_SOLUTION, stub.split("\n"))


def clear_hidden_tests(source: str) -> tuple[str, int]:
    """Remove the hidden tests; return the text and the number of regions. Raises as clear_solution does."""
    return _without_regions(source, BEGIN_HIDDEN, END_HIDDEN, [])


def _without_regions(source: str, begin: str, end: str, stub: list[str]) -> tuple[str, int]:
    kept: list[str] = []
    regions, inside = 0, False
    where = f"in the cell that begins: {source[:60]!r}"
    for line in source.split("\n"):
        if begin in line or end in line:
            if (begin in line) == inside:
                raise HomeworkError(f"'{begin if inside else end}' has no partner {where}")
            inside = not inside
            if inside:
                regions += 1
                kept += [re.match(r"\s*", line).group(0) + text for text in stub]
        elif not inside:
            kept.append(line)
    if inside:
        raise HomeworkError(f"'{begin}' has no '{end}' {where}")
    return "\n".join(kept), regions


def checksum(cell: NotebookNode) -> str:
    """nbgrader's checksum of a cell: over its text, type, flags, id and points."""
    meta = cell.metadata["nbgrader"]
    grade, solution = role(cell, "grade"), role(cell, "solution")
    locked = not solution and (grade or role(cell, "locked"))
    parts = [cell.source, cell.cell_type, str(grade), str(solution), str(locked), meta["grade_id"]]
    if grade:
        parts.append(str(float(meta["points"])))
    return hashlib.md5("".join(parts).encode(), usedforsecurity=False).hexdigest()


def _released(cell: NotebookNode) -> NotebookNode:
    """A copy of a cell without solution, hidden tests and outputs, locked and with its checksum."""
    code = cell.cell_type == "code"
    stub = CODE_STUB if code else TEXT_STUB
    text, solutions = clear_solution(cell.source, stub)
    text, hidden = clear_hidden_tests(text)
    for found, flag in ((solutions, "solution"), (hidden, "grade")):
        if found and not role(cell, flag):
            raise HomeworkError(
                f"nbgrader's metadata need '{flag}': true for the cell that begins {cell.source[:60]!r}"
            )
    if role(cell, "solution") and not solutions:
        text = stub
    metadata = {key: dict(value) if key == "nbgrader" else value for key, value in cell.metadata.items()}
    out = (new_code_cell if code else new_markdown_cell)(text, metadata=metadata)
    out.id = cell.get("id", out.id)
    if any(role(out, flag) for flag in _FLAGS):
        out.metadata["deletable"] = False
        if not role(out, "solution"):
            out.metadata["editable"] = False
        out.metadata["nbgrader"] |= {"checksum": checksum(out), "cell_type": out.cell_type}
    return out


# --- the learner's copy -----------------------------------------------------------------------------------------


def learners_copy(source: NotebookNode, file: str) -> NotebookNode:
    """Make the learner's copy of a source: released cells, a Colab badge, and links adjusted to its folder.

    Args:
        source: The teacher's notebook.
        file: Its file name; the copy has the same.

    Raises:
        HomeworkError: If an exercise is incomplete.
    """
    if problems := source_problems(source):
        raise HomeworkError(f"{file} cannot be handed out: " + "; ".join(problems))
    cells = [_released(cell) for cell in source.cells]
    copy = new_notebook(cells=cells, metadata=nbformat.from_dict(authoring.METADATA))
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
    """List what a source lacks: a title, a check for each exercise, points, distinct ids."""
    problems: list[str] = []
    if not source.cells or not source.cells[0].source.startswith("# "):
        problems.append("its first cell is not a title")
    open_exercise, ids = None, []
    for number, cell in enumerate(source.cells):
        if not cell.get("id"):
            problems.append(f"cell {number} has no id (open and save it in JupyterLab)")
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
                problems.append(f"the check {ids[-1]} is all hidden: learners need one that they can see")
    if open_exercise:
        problems.append(f"the exercise {open_exercise} has no check")
    return problems + [f"the grade_id {name!r} occurs twice" for name in sorted({n for n in ids if ids.count(n) > 1})]


def _metadata_problems(cell: NotebookNode) -> list[str]:
    meta = cell.metadata["nbgrader"]
    problems = [f"lacks '{key}' in its nbgrader metadata" for key in (*_FLAGS, "schema_version") if key not in meta]
    if meta.get("schema_version", 3) != 3:
        problems.append(f"has nbgrader metadata of version {meta['schema_version']!r:.40}, not 3")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", str(meta.get("grade_id", ""))):
        problems.append(f"needs a grade_id of letters, digits, - and _, and has {meta.get('grade_id')!r:.40}")
    if role(cell, "grade") and not (isinstance(meta.get("points"), int | float) and meta["points"] > 0):
        problems.append("is a check without points")
    return problems


# --- exercises from a lesson's cells ----------------------------------------------------------------------------


def from_lesson(lesson: NotebookNode, file: str) -> NotebookNode | None:
    """Make a teacher's source from the tagged cells of a lesson; None if no cell is tagged.

    ``homework`` makes a code cell an exercise, worth 1 point, or 3 with the tag ``points-3``; ``homework-checks``
    marks the cells that check the exercise before them; ``homework-needs`` marks whatever else an exercise needs.
    Learners write what stands between nbgrader's solution markers, or without markers the bodies of the cell's
    functions and methods, except ``__init__``.

    Raises:
        HomeworkError: If the tags do not fit together.
    """
    number = file[:2]
    cells: list[NotebookNode] = []
    names: list[str] = []  # of the exercises so far
    checks: list[NotebookNode] | None = None  # of the open exercise
    points = 1

    def close() -> None:
        """End the open exercise: merge its checks into one locked cell."""
        nonlocal checks
        if checks is not None:
            if not checks:
                raise HomeworkError(f"{file}: the exercise {names[-1]} has no cell tagged '{CHECKS}' after it.")
            cells.append(_plain(checks[0]))
            cells[-1].source = "\n".join(check.source for check in checks)
            cells[-1].metadata["nbgrader"] = _nbgrader(f"{names[-1]}-tests", grade=True, points=points)
        checks = None

    for position, cell in enumerate(lesson.cells):
        where = f"{file}, cell {position}"
        kind, worth = _homework_tags(cell, where)
        if kind == EXERCISE:
            close()
            names.append(_name_of(cell.source, where, names))
            checks, points = [], worth
            cells += _exercise_cells(cell, len(names), names[-1], points, where)
        elif kind == CHECKS:
            if checks is None:
                raise HomeworkError(f"{where}: '{CHECKS}' has no open exercise, tagged '{EXERCISE}', before it.")
            checks.append(cell)
        elif kind == NEEDS:
            if checks:
                close()
            cells.append(_plain(cell))
    if not names:
        if cells:
            raise HomeworkError(f"{file} has cells tagged '{NEEDS}' but none tagged '{EXERCISE}'.")
        return None
    close()
    first = new_markdown_cell(
        f"# Homework {number} · {LESSONS[number].title}: cells of the lesson\n\n"
        f"From [lesson {number}](../../{file}): {len(names)} to write yourself. Write your code where it says so, "
        "run the cell after it, and read what the checks tell you."
    )
    setup = new_code_cell(authoring.setup_cell(authoring.slug(), number))
    first.id, setup.id = "title", "setup"
    return new_notebook(cells=[first, setup, *cells], metadata=nbformat.from_dict(authoring.METADATA))


def _homework_tags(cell: NotebookNode, where: str) -> tuple[str, int]:
    """The one homework tag of a cell, or "", and its points."""
    tags = [tag for tag in cell.metadata.get("tags", []) if re.match(r"homework|points", tag)]
    kinds = [tag for tag in tags if tag in (EXERCISE, CHECKS, NEEDS)]
    points = [int(tag.removeprefix("points-")) for tag in tags if re.fullmatch(r"points-\d+", tag)]
    if unknown := [tag for tag in tags if tag not in kinds and not re.fullmatch(r"points-\d+", tag)]:
        known = f"{EXERCISE}, {CHECKS}, {NEEDS}, points-3"
        raise HomeworkError(f"{where} has the unknown tag {unknown[0]!r}. Known: {known}.")
    if len(kinds) > 1:
        raise HomeworkError(f"{where} has the tags {kinds}: it can have only one of them.")
    if points and kinds != [EXERCISE]:
        raise HomeworkError(f"{where}: points belong on the cell tagged '{EXERCISE}'.")
    if len(points) > 1 or points == [0]:
        raise HomeworkError(f"{where}: give one number of points, 1 or more.")
    if kinds and kinds != [NEEDS] and cell.cell_type != "code":
        raise HomeworkError(f"{where}: '{kinds[0]}' belongs on a code cell.")
    return (kinds or [""])[0], (points or [1])[0]


def _exercise_cells(cell: NotebookNode, number: int, name: str, points: int, where: str) -> list[NotebookNode]:
    heading = new_markdown_cell(f"## {number}. `{name}`\n\n{points} point{'s' if points > 1 else ''}")
    heading.id = f"heading-{number}"
    code = _plain(cell)
    code.source = mark_solutions(re.sub(r"\A# kept in .*\n", "", cell.source), where)
    code.metadata["nbgrader"] = _nbgrader(name, solution=True)
    return [heading, code]


def _plain(cell: NotebookNode) -> NotebookNode:
    """A cell with its text and id alone; links lead one folder deeper."""
    deeper = re.sub(r"(\]\()(?![a-z]+:|#)([^)\s]+)", r"\1../../\2", cell.source)
    new = new_code_cell(cell.source) if cell.cell_type == "code" else new_markdown_cell(deeper)
    new.id = cell.id
    return new


def _nbgrader(name: str, *, solution: bool = False, grade: bool = False, points: int | None = None) -> dict:
    meta = {"grade": grade, "grade_id": name, "locked": grade, "schema_version": 3, "solution": solution, "task": False}
    return meta if points is None else meta | {"points": points}


def _name_of(source: str, where: str, taken: list[str]) -> str:
    named = [n.name for n in _parsed(source, where).body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    name = named[0].replace("_", "-") if named else f"exercise-{len(taken) + 1}"
    return name if name not in taken else f"{name}-{len(taken) + 1}"


def _parsed(source: str, where: str) -> ast.Module:
    try:
        return ast.parse(source)
    except SyntaxError as error:
        raise HomeworkError(f"{where} is not plain Python: {error}") from error


def mark_solutions(source: str, where: str = "the cell") -> str:
    """Put nbgrader's solution markers around the body of each function; code that has markers is returned as it is.

    Raises:
        HomeworkError: If the code has no function whose body could be left out.
    """
    if BEGIN_SOLUTION in source:
        clear_solution(source, CODE_STUB)  # raises if a marker lacks its partner
        return source
    lines = source.split("\n")
    bodies = [_body(function, lines, where) for function in _functions(_parsed(source, where))]
    if not bodies:
        raise HomeworkError(
            f"{where} has no function to leave open: put '### {BEGIN_SOLUTION}' and '### {END_SOLUTION}' around what "
            "learners are to write."
        )
    for first, last in reversed(bodies):
        body = lines[first - 1 : last]
        indent = min((re.match(r"\s*", line).group(0) for line in body if line.strip()), key=len)
        lines[first - 1 : last] = [f"{indent}### {BEGIN_SOLUTION}", *body, f"{indent}### {END_SOLUTION}"]
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
    """First and last line, counted from 1, of a function's body after its docstring."""
    statements = function.body[1:] if ast.get_docstring(function) is not None else function.body
    if not statements or statements[0].lineno == function.lineno:
        raise HomeworkError(f"{where}: the body of {function.name} must stand on lines of its own.")
    first = statements[0].lineno
    while lines[first - 2].lstrip().startswith("#"):  # comments above the first statement belong to it
        first -= 1
    return first, statements[-1].end_lineno


# --- writing all of them ----------------------------------------------------------------------------------------


def make() -> tuple[list[Path], list[str], bool]:
    """Write the sources of tagged lessons, the learners' copies of all sources, and the lessons' links to them.

    A file is overwritten or removed only if it is, byte for byte, what an earlier call wrote there (see RECORD).

    Returns:
        The files that changed, a line about each file left because it was not, and whether one of these is out of date.

    Raises:
        HomeworkError: If a source is unusable or incomplete; nothing is then written.
    """
    home, solutions = folder(), folder() / "solutions"
    try:
        record = dict(json.loads((solutions / RECORD).read_text(encoding="utf-8")))
    except FileNotFoundError:
        record = {}
    except (ValueError, TypeError) as error:
        raise HomeworkError(f"{solutions / RECORD} is damaged. Delete it, then repeat.") from error

    def written(path: Path) -> str | None:
        return record.get(path.relative_to(home).as_posix())

    texts: dict[Path, str] = {}
    for lesson in authoring.lessons():
        if (source := from_lesson(_read(lesson), lesson.name)) is not None:
            texts[solutions / f"{lesson.stem}{FROM_LESSON}.ipynb"] = _text(source)
    removed = [p for p in sources() if p.stem.endswith(FROM_LESSON) and p not in texts and _digest(p) == written(p)]
    for path in sorted({*sources(), *texts}.difference(removed)):
        made = path in texts and _digest(path) in (None, written(path))
        source = nbformat.v4.reads(texts[path]) if made else _read(path)
        texts[home / path.name] = _text(learners_copy(source, path.name))
    if not texts:
        raise HomeworkError(f"There is no source in {solutions}.")
    others = [p for p in sorted(home.glob("[!.]*")) if p not in (*texts, home / "README.md") and not p.is_dir()]
    removed += [path for path in others if _digest(path) == written(path)]
    left = [f"{path.name}: this command did not write it. Move it elsewhere" for path in others if path not in removed]

    changed, now, out_of_date = [], {}, False
    for path, text in texts.items():
        key, new = path.relative_to(home).as_posix(), hashlib.sha256(text.encode()).hexdigest()
        now[key], found = new, _digest(path)
        if found in (None, written(path)) and found != new:
            _write(path, text)
            changed.append(path)
        elif found != new:
            now[key] = written(path)
            out_of_date |= now[key] != new
            age = "out of date" if now[key] != new else "not out of date"
            left.append(f"{key}: it has changes of its own, and is {age}. For a new one, move it away, then repeat")
    for path in removed:
        path.unlink()
    if now != record:
        _write(solutions / RECORD, json.dumps(now, indent=1, sort_keys=True) + "\n")
    linked = [lesson for lesson in authoring.lessons() if home / lesson.name in texts and link(lesson)]
    return sorted([*changed, *removed, *linked]), left, out_of_date


def _digest(path: Path) -> str | None:
    """SHA-256 of a file, whatever its line ends; None if there is none, and "" for a folder or a link."""
    if path.is_symlink() or not path.is_file():
        return "" if path.is_symlink() or path.exists() else None
    return hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda place: place.write_text(text, encoding="utf-8"))


def link(lesson: Path) -> bool:
    """Link a lesson's exercises to its homework; return whether the lesson had to be changed."""
    notebook = _read(lesson)
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and re.search(r"^## Exercises$", cell.source, flags=re.M):
            if f"(homework/{lesson.name})" in cell.source:
                return False
            text = "More of them, with checks that tell you how far you are: [homework "
            text += f"{lesson.name[:2]}](homework/{lesson.name})."
            cell.source = re.sub(r"^## Exercises$", f"## Exercises\n\n{text}", cell.source, count=1, flags=re.M)
            _write(lesson, _text(notebook))
            return True
    raise HomeworkError(f"{lesson.name} has no section '## Exercises' that could lead to its homework.")


def _read(path: Path, remedy: str = "Take an earlier version of it, or move it away") -> NotebookNode:
    """Read a notebook; raise a HomeworkError of one line if it lacks a part that this module or nbgrader uses."""
    try:
        if path.exists() and not path.is_file():  # a pipe named like a notebook would never end
            raise HomeworkError(f"{path.name} is not a file. {remedy}")
        notebook = nbformat.v4.reads(path.read_text(encoding="utf-8"))  # nbformat.read would log at length
        problem = "" if notebook.nbformat == 4 else "is not a notebook of format 4"
        for number, cell in reversed([*enumerate(notebook.cells)]):
            meta = cell.metadata.get("nbgrader", {})
            if not isinstance(meta, dict) or not isinstance(meta.get("grade_id", ""), str):
                problem = f"has damaged nbgrader metadata in cell {number}"
            elif not isinstance(cell.get("source"), str) or not isinstance(cell.get("cell_type"), str):
                problem = f"has no text or no type in cell {number}"
    except OSError as error:
        raise HomeworkError(f"{path.name} cannot be read ({error.strerror}). Check its name and place") from error
    except ValueError as error:
        problem = "is not a notebook " + (f"({error!s:.100})" if path.stat().st_size else "(the file is empty)")
    except (AttributeError, KeyError, TypeError, RecursionError):
        problem = "is not a notebook of format 4, or lacks metadata"
    if problem:
        raise HomeworkError(f"{path.name} {problem}. {remedy}")
    return notebook


def _text(notebook: NotebookNode) -> str:
    return nbformat.writes(notebook) + "\n"


# --- before grading ---------------------------------------------------------------------------------------------


def submission_problems(submission: NotebookNode, source: NotebookNode) -> list[str]:
    """List what makes nbgrader fail or grade a submission wrongly, each with its remedy.

    nbgrader scores a check without metadata as 0 and reports nothing. Given a cell twice, it keeps the last copy, then
    fails with a message about metadata versions. A check that was moved above its exercise fails.
    """
    places: dict[str, list[int]] = {}
    for number, cell in enumerate(submission.cells):
        if name := cell.metadata.get("nbgrader", {}).get("grade_id"):
            places.setdefault(name, []).append(number)
    problems = []
    wanted = _named(source)
    for name, cell in wanted.items():
        found = places.get(name, [])
        if not found:
            problems.append(_lost(name, cell, submission))
        elif len(found) > 1:
            problems.append(
                f"{name} occurs {len(found)} times (cells {', '.join(map(str, found))}): nbgrader would keep the last, "
                "then fail with a message about metadata versions. Delete all but the one to be graded"
            )
        else:
            problems += _changed(name, cell, submission.cells[found[0]], found[0])
    for number, cell in enumerate(submission.cells):
        if "nbgrader" in cell.metadata and cell.metadata["nbgrader"].get("grade_id") not in wanted:
            remedy = "nbgrader would stop there. Delete the cell's nbgrader metadata"
            problems += [f"cell {number} {problem}: {remedy}" for problem in _metadata_problems(cell)]
    order = [name for name in wanted if len(places.get(name, [])) == 1]
    if not problems and order != sorted(order, key=lambda name: places[name][0]):
        problems.append("its cells were moved: put each check back below its exercise")
    return problems


def _named(notebook: NotebookNode) -> dict[str, NotebookNode]:
    """The cells that have a grade_id, by it."""
    named = ((cell.metadata.get("nbgrader", {}).get("grade_id"), cell) for cell in notebook.cells)
    return {name: cell for name, cell in named if name}


def _lost(name: str, cell: NotebookNode, submission: NotebookNode) -> str:
    points = cell.metadata["nbgrader"].get("points")
    loss = f"the check would score 0 of {points} points" if points else "its answer would be lost"
    text = _released(cell).source
    bare = [(n, other) for n, other in enumerate(submission.cells) if "nbgrader" not in other.metadata]
    alike = [n for n, other in bare if other.source == text or other.get("id", "") == cell.get("id")]
    what = f"has lost its nbgrader metadata (cell {alike[0]})" if alike else "is missing, or has lost its metadata"
    return f"{name} {what}: {loss}, without an error. Paste the learner's code into a fresh copy, and grade that"


def _changed(name: str, cell: NotebookNode, other: NotebookNode, number: int) -> list[str]:
    if damage := _metadata_problems(other):
        return [f"{name} (cell {number}) {problem}. Paste the code into a fresh copy" for problem in damage]
    if other.cell_type != cell.cell_type:
        return [f"{name} (cell {number}) has become a {other.cell_type} cell: make it a {cell.cell_type} cell again"]
    changed = [flag for flag in ("grade", "solution") if role(other, flag) != role(cell, flag)]
    return [f"{name} (cell {number}): '{flag}' in its metadata differs from the source" for flag in changed]


def submission_notes(submission: NotebookNode, source: NotebookNode) -> list[str]:
    """List what nbgrader handles and a teacher may want to know: edited checks, exercises not attempted."""
    released = {name: _released(cell) for name, cell in _named(source).items()}
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


def _notebooks_in(path: Path) -> list[Path]:
    """The notebooks in a folder, also those that a browser saved as .ipynb.txt; without hidden files."""
    found = sorted(path.rglob("*.ipynb*")) if path.is_dir() else [path]
    return [file for file in found if not any(part.startswith(".") for part in file.relative_to(path).parts)]


def _source_of(file: Path, known: list[Path], top: Path) -> NotebookNode:
    """The source with a submission's file name and, where ``top`` has a folder for each assignment, in its folder."""
    alike = [source for source in known if source.name == file.name]
    if not alike:
        names = ", ".join(sorted({source.name for source in known}))
        raise HomeworkError(f"no source has this name, so nbgrader would ignore it. Rename it to one of: {names}")
    assignment = file.resolve().parent.name
    beside = top.parent / assignment / file.name  # the source of another assignment, or the submission itself
    foreign = assignment != top.name and beside.exists() and not beside.samefile(file)
    fitting = [s for s in alike if s.parent.name == assignment or (s.parent == top and not foreign)]
    if len(fitting) != 1:
        places = ", ".join(sorted(source.parent.name for source in alike))
        remedy = "Move it to <learner>/<assignment>/, or name its source's folder with --sources"
        raise HomeworkError(f"it is in the folder {assignment}, and sources of this name are in: {places}. {remedy}")
    try:
        source = _read(fitting[0])
        for number, cell in enumerate(source.cells):
            if any(role(cell, flag) for flag in _FLAGS) and (problems := _metadata_problems(cell)):
                raise HomeworkError(f"cell {number} {problems[0]}")
            _released(cell)  # raises if its markers do not match
    except HomeworkError as error:
        raise HomeworkError(f"its source {fitting[0]} cannot be used: {error}") from error
    return source


def check(paths: list[Path], source_folder: Path) -> dict[Path, list[str]]:
    """Find the problems of submitted notebooks, given as files or folders; notes are only printed.

    Raises:
        HomeworkError: If there is no source to compare them with.
    """
    top = (source_folder if source_folder.is_dir() else source_folder.parent).resolve()
    known = [path for path in _notebooks_in(source_folder.resolve()) if path.is_file()]
    if not known:
        raise HomeworkError(f"There is no notebook in {source_folder}.")
    found: dict[Path, list[str]] = {}
    for path in paths:
        files = _notebooks_in(path)
        if not files:
            found[path] = ["there is no notebook in this folder. Check its name and place"]
        for file in files:
            try:
                submission = _read(file, "Paste the learner's code into a fresh copy, or ask for the file again")
                source = _source_of(file, known, top)
                found[file] = submission_problems(submission, source)
                print("".join(f"{file}: note: {note}.\n" for note in submission_notes(submission, source)), end="")
            except HomeworkError as error:
                found[file] = [str(error)]
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("make", help="write the learners' copies")
    look = commands.add_parser("check", help="find what would go wrong in grading")
    look.add_argument("paths", nargs="+", type=Path, help="notebooks, or folders such as submitted/")
    look.add_argument("--sources", type=Path, default=folder() / "solutions", help="folder of the teacher's notebooks")
    asked = parser.parse_args()
    sys.stdout.reconfigure(errors="backslashreplace")  # names that the terminal cannot show
    if asked.command == "make":
        changed, left, out_of_date = make()
        for path in changed:
            print("wrote" if path.exists() else "removed", path.relative_to(authoring.ROOT))
        print("".join(f"left {line}.\n" for line in left), end="")
        print(f"{len(sources())} sources, {len(changed)} files changed")
        sys.exit(int(out_of_date))
    found = check(asked.paths, asked.sources)
    lines = [f"{file}: {problem}." for file, problems in found.items() for problem in problems]
    print("\n".join([*lines, f"{len(found)} notebooks, {len(lines)} problems"]))
    if lines:
        sys.exit(1)


if __name__ == "__main__":
    try:
        main()
    except (HomeworkError, CheckpointError, OSError) as error:
        sys.exit(str(error))
