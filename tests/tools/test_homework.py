from __future__ import annotations

import copy as copies
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from homework_trial import HEADER, WRONG_ANSWERS, wrong_answers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools import authoring, homework

SOURCES = homework.sources()
by_name = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


def meta(name, *, solution=False, grade=False, points=None):
    return {"nbgrader": homework._nbgrader(name, solution=solution, grade=grade, points=points)}


def exercise(name="double", points=2):
    """An exercise and its check."""
    text = "def double(x):\n    ### BEGIN SOLUTION\n    return 2 * x\n    ### END SOLUTION"
    tests = "assert double(1) == 2\n### BEGIN HIDDEN TESTS\nassert double(-7) == -14\n### END HIDDEN TESTS"
    shown = [new_output("stream", text="14\n")]
    return [
        new_code_cell(text.replace("double", name), metadata=meta(name, solution=True), execution_count=1),
        new_code_cell(
            tests.replace("double", name), metadata=meta(f"{name}-tests", grade=True, points=points), outputs=shown
        ),
    ]


def source(*cells):
    return new_notebook(cells=[new_markdown_cell("# Homework 01 · A title\n\nText."), *(cells or exercise())])


def copy_of(notebook):
    return homework.learners_copy(notebook, "01_x.ipynb")


# --- the files of the repository --------------------------------------------------------------------------------


@by_name
def test_the_learners_copy_is_what_the_generator_makes(source):
    made = homework._text(homework.learners_copy(nbformat.read(source, as_version=4), source.name))
    copy = homework.folder() / source.name
    assert copy.exists() and copy.read_text(encoding="utf-8") == made, "run `make homework`"


def test_the_record_knows_every_copy():
    record = json.loads((homework.folder() / "solutions" / homework.RECORD).read_text())
    made = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in homework.folder().glob("*.ipynb")}
    assert {name: digest for name, digest in record.items() if "/" not in name} == made, "run `make homework`"


def test_every_lesson_has_homework_and_every_copy_a_source():
    names = {path.name for path in SOURCES}
    assert {path.name for path in authoring.lessons()} <= names
    assert {path.name for path in homework.folder().glob("*.ipynb")} == names


def regions(text, begin, end):
    return re.findall(rf"^[^\n]*{begin}[^\n]*\n(.*?)^[^\n]*{end}", text, flags=re.M | re.S)


@by_name
def test_no_solution_and_no_hidden_test_leaks(source):
    cells = nbformat.read(source, as_version=4).cells
    copy = json.loads((homework.folder() / source.name).read_text(encoding="utf-8"))
    given = "\n".join("".join(cell["source"]) for cell in copy["cells"])
    everything = json.dumps(copy, ensure_ascii=False)
    for cell in cells:
        for marks in ((homework.BEGIN_SOLUTION, homework.END_SOLUTION), (homework.BEGIN_HIDDEN, homework.END_HIDDEN)):
            for region in regions(cell.source, *marks):
                lines = [line.strip() for line in region.strip().split("\n")]
                assert " ".join(lines) not in " ".join(line.strip() for line in given.split("\n")), region
                hidden = [line for line in lines if len(line) > 30 and line not in _visible(cells)]
                assert [line for line in hidden if json.dumps(line, ensure_ascii=False)[1:-1] in everything] == []


def _visible(cells):
    shown = [homework.clear_hidden_tests(homework.clear_solution(cell.source, "")[0])[0] for cell in cells]
    return "\n".join(shown)


@pytest.fixture(scope="module")
def trial():
    """Try all sources in one process: see homework_trial.py."""
    command = [sys.executable, str(Path(__file__).parent.parent / "support" / "homework_trial.py"), *map(str, SOURCES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@by_name
def test_checks_tell_right_from_wrong(trial, source):
    assert trial[source.name]["problems"] == []


def test_trying_them_out_is_cheap(trial):
    seconds = {name: result["cpu_seconds"] for name, result in trial.items()}
    assert sum(seconds.values()) < 10 * len(seconds), seconds


def test_wrong_answers_belong_to_sources_and_are_all_read():
    for file in WRONG_ANSWERS.glob("*.py"):
        assert (homework.folder() / "solutions" / f"{file.stem}.ipynb").exists(), f"{file.name} has no source"
        text = file.read_text(encoding="utf-8")
        assert len(re.findall(HEADER, text, flags=re.M)) == len(re.findall(r"^# ?%%", text, flags=re.M))
        compile(text, file.name, "exec")


# --- the trial bites --------------------------------------------------------------------------------------------

DEFECTS = {  # name: (solution cell, visible check, wrong answer, what the trial says; None for no defect)
    "good": ("", "assert double(3) == 6", "def double(x):\n    return x", None),
    "no wrong answer": ("", "assert double(3) == 6", None, "has no wrong answer"),
    "passes the stub": ("", "assert callable(double)", "def double(x):\n    raise AssertionError", "stub.* passes"),
    "passes the wrong": ("", "assert double(2) == 4", "def double(x):\n    return x + 2", "planted.* passes"),
    "crash": ("", "assert double(3) == 6", "def double(x):\n    return x / 0", "ends in ZeroDivision"),
    "misspelt": ("", "assert double(3) == 6", "def double(x):\n    return y", "reason of its own.*NameError"),
    "wrong solution": ("", "assert double(3) == 7", "def double(x):\n    return x", "does not run"),
    "changes things": ("numbers.append(x)\n    ", "assert double(3) == 6\nassert numbers == [1, 3]",
                       "def double(x):\n    numbers.append(99)\n    return x", None),
}  # fmt: skip


@pytest.mark.parametrize("name", DEFECTS)
def test_the_trial_finds(tmp_path, monkeypatch, name):
    import homework_trial

    first, check, wrong, said = DEFECTS[name]
    solution, tests = exercise()
    solution.source = solution.source.replace("return 2", first + "return 2")
    tests.source = check
    path = tmp_path / "01_planted.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("numbers = [1]"), solution, tests]), path)
    monkeypatch.setattr(homework_trial, "WRONG_ANSWERS", tmp_path)
    if wrong is not None:
        (tmp_path / "01_planted.py").write_text(f"# %% double: planted\n{wrong}\n")
    try:
        problems = homework_trial.try_out(path)
    except AssertionError:
        problems = ["the source itself does not run"]
    assert (problems == []) if said is None else re.search(said, " ".join(problems)), problems


def test_wrong_answers_are_read_with_their_marks(tmp_path, monkeypatch):
    monkeypatch.setattr("homework_trial.WRONG_ANSWERS", tmp_path)
    (tmp_path / "01_x.py").write_text("# %% a-b: one\nx = 1\n\n# %% a-b (hidden): two\nx = 2\n")
    found = wrong_answers(tmp_path / "01_x.ipynb")
    assert [(w.what, w.code, w.hidden) for w in found["a-b"]] == [("one", "x = 1", False), ("two", "x = 2", True)]


# --- one cell as nbgrader releases it ---------------------------------------------------------------------------


def test_a_solution_becomes_nbgraders_stub_with_its_indent():
    solution, check = copy_of(source()).cells[1:]
    assert solution.source == "def double(x):\n    # YOUR CODE HERE\n    raise NotImplementedError()"
    assert check.source == "assert double(1) == 2"
    assert solution.execution_count is None and check.outputs == []


def test_released_cells_are_locked_and_signed_as_nbgrader_does():
    solution, check = copy_of(source()).cells[1:]
    assert solution.metadata["deletable"] is False and "editable" not in solution.metadata
    assert check.metadata["deletable"] is False and check.metadata["editable"] is False
    # computed once with nbgrader 0.9.6 on this very cell; grade_with_nbgrader.py compares all files
    assert check.metadata["nbgrader"]["checksum"] == "b252581cf71ce7dd7a95d0732b00ca3d"
    assert check.metadata["nbgrader"]["cell_type"] == "code"


def test_cell_ids_stay_and_the_copy_is_the_same_each_time():
    teacher = source()
    one, other = copy_of(teacher), copy_of(teacher)
    assert nbformat.writes(one) == nbformat.writes(other)
    assert [cell.id for cell in one.cells] == [cell.id for cell in teacher.cells]
    assert homework.role(teacher.cells[1], "solution") and "BEGIN" in teacher.cells[1].source  # and it was not touched


def test_a_solution_without_markers_is_removed_as_a_whole():
    solution, check = exercise()
    solution.source = "x = 1"
    assert copy_of(source(solution, check)).cells[1].source == homework.CODE_STUB
    by_hand = new_markdown_cell("Because.", metadata=meta("why", solution=True, grade=True, points=1))
    assert copy_of(source(by_hand)).cells[1].source == homework.TEXT_STUB


def test_links_and_badge_fit_the_folder_of_the_copy():
    text = new_markdown_cell("[a](../../01_x.ipynb) [b](https://example.net) [c](#part) [d](../README.md)")
    copy = copy_of(source(text, *exercise()))
    assert copy.cells[1].source == "[a](../01_x.ipynb) [b](https://example.net) [c](#part) [d](README.md)"
    assert authoring.badge(authoring.slug(), "homework/01_x.ipynb") in copy.cells[0].source
    with pytest.raises(homework.HomeworkError, match="links to answers.md, which learners do not have"):
        copy_of(source(new_markdown_cell("[x](answers.md)"), *exercise()))


def change_meta(cells, place, **values):
    cells[place].metadata["nbgrader"] |= values
    return cells


def change_text(cells, place, old, new):
    cells[place].source = cells[place].source.replace(old, new)
    return cells


INCOMPLETE = {
    "no end": (change_text(exercise(), 0, "    ### END SOLUTION", ""), "'BEGIN SOLUTION' has no 'END SOLUTION'"),
    "no begin": (change_text(exercise(), 0, "    ### BEGIN SOLUTION\n", ""), "'END SOLUTION' has no partner"),
    "nested": (change_text(exercise(), 0, "END", "BEGIN"), "'BEGIN SOLUTION' has no"),
    "unmarked solution": (change_meta(exercise(), 0, solution=False), "need 'solution': true"),
    "unmarked tests": ([*exercise(), new_code_cell(exercise()[1].source)], "need 'grade': true"),
    "no check": (exercise()[:1], "the exercise double has no check"),
    "two in a row": ([exercise()[0], *exercise("triple")], "the exercise double has no check"),
    "no points": (change_meta(exercise(), 1, points=0), "without points"),
    "no id": (change_meta(exercise(), 0, grade_id=""), "needs a grade_id"),
    "a space": (change_meta(exercise(), 0, grade_id="a b"), "needs a grade_id of letters"),
    "old version": (change_meta(exercise(), 0, schema_version=1), "version 1, not 3"),
    "twice": ([*exercise(), *exercise()], "'double' occurs twice"),
    "all hidden": (change_text(exercise(), 1, "assert double(1) == 2\n", ""), "is all hidden"),
}


@pytest.mark.parametrize(("cells", "said"), INCOMPLETE.values(), ids=INCOMPLETE)
def test_an_incomplete_source_is_refused(cells, said):
    with pytest.raises(homework.HomeworkError, match=said):
        copy_of(source(*cells))


def test_a_source_needs_a_title():
    with pytest.raises(homework.HomeworkError, match="not a title"):
        copy_of(new_notebook(cells=exercise()))


# --- exercises from a lesson's cells ----------------------------------------------------------------------------


def tagged(text, *tags, kind=new_code_cell):
    return kind(text, metadata={"tags": list(tags)} if tags else {})


FUNCTION = '''\
# kept in course_utils/somewhere.py
def area(width: float, height: float) -> float:
    """Width times height."""
    # both in pixels
    product = width * height
    return product'''


def lesson(*cells):
    cells = cells or (
        tagged("import math", "homework-needs"),
        tagged("See [part 2](02_image_encoders.ipynb).", "homework-needs", kind=new_markdown_cell),
        tagged("shown = 1"),
        tagged(FUNCTION, "homework", "points-3"),
        tagged("assert area(2, 3) == 6", "homework-checks"),
        tagged("assert area(0, 3) == 0", "homework-checks"),
    )
    return new_notebook(cells=list(cells))


def test_a_tagged_function_becomes_an_exercise():
    tagged_lesson = lesson()
    made = homework.from_lesson(tagged_lesson, "01_text_encoders.ipynb")
    assert [cell.source.split("\n")[0] for cell in made.cells] == [
        "# Homework 01 · Text encoders: cells of the lesson", "import importlib.util", "import math",
        "See [part 2](../../02_image_encoders.ipynb).", "## 1. `area`",
        "def area(width: float, height: float) -> float:", "assert area(2, 3) == 6",
    ]  # fmt: skip
    solution, check = made.cells[-2:]
    assert solution.source.endswith(
        "    ### BEGIN SOLUTION\n    # both in pixels\n    product = width * height\n    return product\n"
        "    ### END SOLUTION"
    )
    assert check.source == "assert area(2, 3) == 6\nassert area(0, 3) == 0"
    assert check.metadata["nbgrader"]["points"] == 3 and check.metadata["nbgrader"]["grade_id"] == "area-tests"
    assert homework.source_problems(made) == []
    copy = homework.learners_copy(made, "01_text_encoders_cells.ipynb")
    assert "product" not in nbformat.writes(copy) and "kept in" not in nbformat.writes(copy)
    assert '"""Width times height."""' in copy.cells[-2].source
    assert nbformat.writes(made) == nbformat.writes(homework.from_lesson(tagged_lesson, "01_text_encoders.ipynb"))


def test_the_methods_of_a_class_are_left_open_except_its_constructor():
    text = "class A:\n    def __init__(self):\n        self.x = 1\n\n    def get(self):\n        return self.x"
    assert homework.mark_solutions(text).count("BEGIN SOLUTION") == 1
    assert "        self.x = 1\n\n" in homework.mark_solutions(text)


def test_markers_in_a_lesson_are_used_as_they_are():
    text = "x = 2\n### BEGIN SOLUTION\ny = x\n### END SOLUTION"
    cells = [tagged(text, "homework"), tagged("assert y == 2", "homework-checks")]
    made = homework.from_lesson(lesson(*cells), "01_x.ipynb")
    assert made.cells[-2].source == text and made.cells[-2].metadata["nbgrader"]["grade_id"] == "exercise-1"
    assert made.cells[-1].metadata["nbgrader"]["points"] == 1


def test_a_lesson_without_tags_gives_no_homework():
    assert homework.from_lesson(lesson(tagged("x = 1", "raises-exception")), "01_x.ipynb") is None


TANGLED = {
    "unknown tag": ([tagged("x", "homework-check")], "unknown tag 'homework-check'"),
    "two tags": ([tagged("x", "homework", "homework-needs")], "only one of them"),
    "points elsewhere": ([tagged("x", "points-2")], "points belong on"),
    "points 0": ([tagged(FUNCTION, "homework", "points-0")], "1 or more"),
    "on text": ([tagged("x", "homework", kind=new_markdown_cell)], "belongs on a code cell"),
    "no check": ([tagged(FUNCTION, "homework")], "area has no cell tagged 'homework-checks'"),
    "check first": ([tagged("x", "homework-checks")], "has no open exercise, tagged 'homework'"),
    "needs alone": ([tagged("x", "homework-needs")], "none tagged 'homework'"),
    "nothing to write": ([tagged("x = 1", "homework")], "no function to leave open.*BEGIN SOLUTION"),
    "one line": ([tagged("def f(): return 1", "homework")], "lines of its own"),
    "no Python": ([tagged("def", "homework")], "not plain Python"),
}


@pytest.mark.parametrize(("cells", "said"), TANGLED.values(), ids=TANGLED)
def test_tags_that_do_not_fit_are_explained(cells, said):
    with pytest.raises(homework.HomeworkError, match=said):
        homework.from_lesson(lesson(*cells), "01_x.ipynb")


def test_a_cell_of_a_real_lesson_becomes_homework_that_works(tmp_path):
    """Three tags in lesson 00, as a teacher would set them, and the exercise tells right from wrong."""
    from homework_trial import try_out

    notebook = nbformat.read(authoring.lessons()[0], as_version=4)
    for begins, tag in {
        "import torch\n": "homework-needs", "# kept in course_utils/alignment/attention.py": "homework",
        "q, k, v = ": "homework-checks",
    }.items():  # fmt: skip
        (cell,) = [cell for cell in notebook.cells if cell.source.startswith(begins)]
        cell.metadata["tags"] = [tag]
    path = tmp_path / "00_start_here_cells.ipynb"
    nbformat.write(homework.from_lesson(notebook, "00_start_here.ipynb"), path)
    assert try_out(path) == []
    copy = homework.learners_copy(nbformat.read(path, as_version=4), path.name)
    assert "einsum" not in nbformat.writes(copy) and "def attend(" in nbformat.writes(copy)


# --- writing them all -------------------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A course of one lesson and one source."""
    (tmp_path / "notebooks" / "homework" / "solutions").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[project.urls]\nRepository = "https://github.com/owner/name"\n')
    monkeypatch.setattr(authoring, "ROOT", tmp_path)
    ending = new_markdown_cell("## Recap\n\n## Exercises\n\n1. Try.")
    nbformat.write(new_notebook(cells=[new_markdown_cell("# 01 · T"), ending]), tmp_path / "notebooks" / "01_x.ipynb")
    nbformat.write(source(), tmp_path / "notebooks" / "homework" / "solutions" / "01_x.ipynb")
    return tmp_path / "notebooks"


def test_make_writes_copies_and_links_once(repository):
    assert [path.name for path in homework.make()[0]] == ["01_x.ipynb"] * 2  # the lesson, then the copy
    assert "[homework 01](homework/01_x.ipynb)" in (repository / "01_x.ipynb").read_text()
    assert homework.make() == ([], [], False)


def test_tagging_a_lessons_cell_is_enough(repository):
    path = repository / "01_x.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1:1] = lesson().cells
    nbformat.write(notebook, path)
    made = {path.relative_to(repository).as_posix() for path in homework.make()[0]}
    assert {"homework/solutions/01_x_cells.ipynb", "homework/01_x_cells.ipynb"} <= made
    for cell in notebook.cells:
        cell.metadata = {}
    nbformat.write(notebook, path)  # the tags are gone, and so is what they made
    homework.make()
    assert sorted(path.name for path in (repository / "homework").rglob("*.ipynb")) == ["01_x.ipynb"] * 2


def edited(change):
    """Bytes of a notebook in which a learner changed something."""

    def write(path):
        notebook = nbformat.read(path, as_version=4)
        change(notebook)
        nbformat.write(notebook, path)

    return write


WORK = {  # name: what somebody does to the copy
    "exercise written": edited(lambda n: n.cells[1].update(source="def double(x):\n    return x + x")),
    "cell added, not run": edited(lambda n: n.cells.append(new_code_cell("mine = 1"))),
    "empty cell added": edited(lambda n: n.cells.append(new_code_cell(""))),
    "text edited": edited(lambda n: n.cells[0].update(source=n.cells[0].source + "\n\nMy notes.")),
    "cell deleted": edited(lambda n: n.cells.pop()),
    "cells moved": edited(lambda n: n.cells.reverse()),
    "cell's metadata": edited(lambda n: n.cells[0].metadata.update(tags=["mine"])),
    "notebook's metadata": edited(lambda n: n.metadata.update(authors=["Ada"])),
    "run": edited(lambda n: n.cells[1].update(execution_count=1)),
    "one space": lambda path: path.write_text(path.read_text() + " "),
    "no notebook": lambda path: path.write_text("my notes"),
    "binary": lambda path: path.write_bytes(b"\xff\x00"),
    "empty": lambda path: path.write_text(""),
    "folder": lambda path: (path.unlink(), path.mkdir(), (path / "mine.txt").write_text("x")),
    "link": lambda path: path.rename(path.with_suffix(".bak")).exists() and path.symlink_to(path.with_suffix(".bak")),
    "broken link": lambda path: (path.unlink(), path.symlink_to("nowhere")),
}


def everything(folder):
    """Each file below a folder, by its bytes or where it links to."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_symlink() or path.is_file()]
    return {path: path.readlink() if path.is_symlink() else path.read_bytes() for path in files}


def run_make(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["homework", "make"])
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        homework.main()
    return stopped.value.code, capsys.readouterr().out


@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
def test_nobodys_work_is_overwritten(repository, monkeypatch, capsys, work):
    assert run_make(monkeypatch, capsys)[0] == 0
    copy, teacher = repository / "homework" / "01_x.ipynb", repository / "homework" / "solutions" / "01_x.ipynb"
    work(copy)
    before = everything(repository)
    code, said = run_make(monkeypatch, capsys)  # nothing has changed at the teacher's side
    assert code == 0 and "left 01_x.ipynb: it has changes of its own, and is not out of date" in said
    assert everything(repository) == before
    nbformat.write(source(*exercise(points=5)), teacher)
    before = everything(repository)
    for _ in range(2):  # and it stays so
        code, said = run_make(monkeypatch, capsys)
        assert code == 1 and len(re.findall(r"^left 01_x.ipynb.* is out of date.*move it away", said, flags=re.M)) == 1
        assert everything(repository) == before
    copy.rename(repository / "moved")  # the remedy
    assert run_make(monkeypatch, capsys)[0] == 0
    assert nbformat.read(copy, as_version=4).cells[2].metadata["nbgrader"]["points"] == 5
    assert "homework/01_x.ipynb" not in str(homework.make())


def test_work_on_one_copy_does_not_keep_the_others_from_being_written(repository, monkeypatch, capsys):
    solutions = repository / "homework" / "solutions"
    nbformat.write(source(), solutions / "02_y.ipynb")
    homework.make()
    WORK["one space"](repository / "homework" / "01_x.ipynb")
    for path in solutions.glob("*.ipynb"):
        nbformat.write(source(*exercise(points=5)), path)
    code, said = run_make(monkeypatch, capsys)
    assert code == 1 and "wrote notebooks/homework/02_y.ipynb" in said and "2 sources, 1 files changed" in said


def test_a_copy_without_a_source_goes_and_other_files_stay(repository, monkeypatch, capsys):
    folder = repository / "homework"
    nbformat.write(source(), folder / "solutions" / "02_y.ipynb")
    nbformat.write(source(), folder / "solutions" / "03_z.ipynb")
    homework.make()
    (folder / "solutions" / "02_y.ipynb").unlink()
    (folder / "solutions" / "03_z.ipynb").unlink()
    WORK["cell added, not run"](folder / "03_z.ipynb")
    (folder / "01_x-Copy1.ipynb").write_bytes((folder / "01_x.ipynb").read_bytes())  # as Jupyter duplicates it
    nbformat.write(new_notebook(cells=[new_code_cell("mine = 1")]), folder / "mine.ipynb")
    (folder / "Untitled.ipynb").write_text("")
    (folder / "notes.txt").write_text("mine")
    before = everything(folder)
    code, said = run_make(monkeypatch, capsys)
    assert code == 0 and "removed notebooks/homework/02_y.ipynb" in said
    for name in ("01_x-Copy1.ipynb", "03_z.ipynb", "Untitled.ipynb", "mine.ipynb", "notes.txt"):
        assert f"left {name}: this command did not write it. Move it elsewhere." in said.splitlines()
    after, record = everything(folder), folder / "solutions" / homework.RECORD
    assert set(before) - set(after) == {folder / "02_y.ipynb"}
    assert {path: text for path, text in after.items() if path != record} == {
        path: text for path, text in before.items() if path in after and path != record
    }


def test_a_teachers_own_source_is_kept_even_under_the_name_of_a_made_one(repository, monkeypatch, capsys):
    solutions = repository / "homework" / "solutions"
    nbformat.write(source(), solutions / "02_week3_cells.ipynb")  # written by hand
    path = repository / "01_x.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1:1] = lesson().cells
    nbformat.write(notebook, path)
    homework.make()
    assert (solutions / "02_week3_cells.ipynb").exists() and (repository / "homework" / "01_x_cells.ipynb").exists()
    mine = solutions / "01_x_cells.ipynb"
    edited(lambda made: made.cells[-1].metadata["nbgrader"].update(points=7))(mine)
    before = mine.read_bytes()
    code, said = run_make(monkeypatch, capsys)
    assert code == 0 and "left solutions/01_x_cells.ipynb" in said and mine.read_bytes() == before
    made = nbformat.read(repository / "homework" / mine.name, as_version=4)
    assert made.cells[-1].metadata["nbgrader"]["points"] == 7  # the copy follows the source that is there
    nbformat.write(new_notebook(cells=notebook.cells[:1] + notebook.cells[-1:]), path)  # without tags
    assert run_make(monkeypatch, capsys)[0] == 0 and mine.read_bytes() == before


def test_make_goes_on_without_its_record_and_after_windows_line_ends(repository, monkeypatch, capsys):
    homework.make()
    copy, record = repository / "homework" / "01_x.ipynb", repository / "homework" / "solutions" / homework.RECORD
    record.unlink()
    assert homework.make() == ([], [], False)
    copy.write_bytes(copy.read_bytes().replace(b"\n", b"\r\n"))
    nbformat.write(source(*exercise(points=5)), repository / "homework" / "solutions" / "01_x.ipynb")
    assert run_make(monkeypatch, capsys)[0] == 0 and b"\r" not in copy.read_bytes()
    record.write_text("<<<<<<< HEAD")
    with pytest.raises(homework.HomeworkError, match=r"made.json is damaged. Delete it"):
        homework.make()
    for path in (repository / "homework").rglob("*.ipynb"):
        path.unlink()
    record.unlink()
    with pytest.raises(homework.HomeworkError, match="There is no source in"):
        homework.make()


def test_a_full_disk_leaves_the_old_copy(repository, monkeypatch):
    homework.make()
    copy = repository / "homework" / "01_x.ipynb"
    before = copy.read_bytes()
    nbformat.write(source(*exercise(points=5)), repository / "homework" / "solutions" / "01_x.ipynb")

    def half(path, text, encoding):
        path.write_bytes(text.encode(encoding)[:100])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", half)
        with pytest.raises(homework.CheckpointError, match=r"01_x.ipynb could not be written.*No space"):
            homework.make()
    assert copy.read_bytes() == before and len(list(copy.parent.iterdir())) == 2


def test_a_damaged_source_stops_before_anything_is_written(repository):
    (repository / "homework" / "solutions" / "02_y.ipynb").write_text("{")
    before = everything(repository)
    with pytest.raises(homework.HomeworkError, match=r"^02_y.ipynb is not a notebook .*move it away$"):
        homework.make()
    assert everything(repository) == before


# --- before grading ---------------------------------------------------------------------------------------------


def submitted(change):
    teacher = source(*exercise(), *exercise("triple"))
    copy = copy_of(teacher)
    change(copy)
    return homework.submission_problems(copy, teacher)


def lose_metadata(copy):
    copy.cells[2].metadata = {}


def delete(copy):
    del copy.cells[2]


def duplicate(copy):
    copy.cells.insert(2, copy.cells[1])


def damage(copy):
    del copy.cells[2].metadata["nbgrader"]["schema_version"]


def change_type(copy):
    copy.cells[1] = new_markdown_cell("text", metadata=copy.cells[1].metadata)


def change_role(copy):
    copy.cells[2].metadata["nbgrader"]["grade"] = False


def move(copy):
    copy.cells[1], copy.cells[2] = copy.cells[2], copy.cells[1]


TRAPS = {
    "lost": (lose_metadata, r"double-tests has lost its nbgrader metadata \(cell 2\): the check would score 0 of 2"),
    "deleted": (delete, "double-tests is missing"),
    "twice": (duplicate, r"double occurs 2 times \(cells 1, 2\).*Delete all but the one"),
    "damaged": (damage, r"double-tests \(cell 2\) lacks 'schema_version'"),
    "another type": (change_type, r"double \(cell 1\) has become a markdown cell"),
    "another role": (change_role, r"double-tests \(cell 2\): 'grade' in its metadata differs"),
    "moved": (move, "its cells were moved"),
}


@pytest.mark.parametrize(("change", "said"), TRAPS.values(), ids=TRAPS)
def test_a_trap_is_named_before_grading(change, said):
    problems = submitted(change)
    assert len(problems) == 1 and re.search(said, problems[0]), problems


def test_honest_work_raises_no_problem():
    def work(copy):
        copy.cells[1].source = "def double(x):\n    return x + x"
        copy.cells[2].outputs = [new_output("stream", text="fine")]
        copy.cells.insert(3, new_code_cell("my_scratch = 1"))

    assert submitted(work) == []
    assert submitted(lambda copy: None) == []


def test_what_nbgrader_handles_is_a_note():
    teacher = source()
    copy = copy_of(teacher)
    copy.cells[2].source = "pass"
    notes = homework.submission_notes(copy, teacher)
    assert notes == ["double was not attempted", "double-tests, a check, was edited: nbgrader puts it back"]


def test_the_command_names_file_and_remedy_and_fails(tmp_path, repository, capsys, monkeypatch):
    homework.make()
    good, bad = (tmp_path / "submitted" / name / "week1" for name in ("ada", "bob"))
    good.mkdir(parents=True), bad.mkdir(parents=True)
    copy = copy_of(source())
    nbformat.write(copy, good / "01_x.ipynb")
    nbformat.write(copy, bad / "01_x (1).ipynb")
    (bad / "01_x.ipynb").write_text("<html>")
    monkeypatch.setattr(sys, "argv", ["homework", "check", str(tmp_path / "submitted")])
    with pytest.raises(SystemExit) as stopped:
        homework.main()
    said = capsys.readouterr().out
    assert stopped.value.code == 1 and "3 notebooks, 2 problems" in said
    assert re.search(r"bob/week1/01_x \(1\).ipynb: no source has this name.*Rename it to one of: 01_x.ipynb", said)
    assert "bob/week1/01_x.ipynb: 01_x.ipynb is not a notebook" in said
    assert "ada/week1/01_x.ipynb: note: double was not attempted" in said


def damaged(change):
    """Text of a submission whose JSON was changed."""
    content = json.loads(nbformat.writes(copy_of(source())))
    change(content)
    return json.dumps(content).encode()


ODD = {  # name: (bytes of the submission, or None for none, what is said)
    "nbgrader is null": (damaged(lambda n: n["cells"][2]["metadata"].update(nbgrader=None)),
                         "damaged nbgrader metadata in cell 2"),
    "nbgrader is a list": (damaged(lambda n: n["cells"][1]["metadata"].update(nbgrader=[1])),
                           "damaged nbgrader metadata in cell 1"),
    "grade_id is a list": (damaged(lambda n: n["cells"][1]["metadata"]["nbgrader"].update(grade_id=[1])),
                           "damaged nbgrader metadata"),
    "empty nbgrader": (damaged(lambda n: n["cells"][0]["metadata"].update(nbgrader={})), "cell 0 lacks 'grade'"),
    "no JSON": (b"<html>\n<body>", "is not a notebook"),
    "truncated": (damaged(len)[:300], "is not a notebook"),
    "empty": (b"", "the file is empty"),
    "Latin-1": ('{"é": 1}'.encode("latin-1"), "is not a notebook .*utf-8"),
    "UTF-16": (damaged(len).decode().encode("utf-16"), "is not a notebook .*utf-8"),
    "byte-order mark": (b"\xef\xbb\xbf" + damaged(len), "is not a notebook .*BOM"),
    "a list": (b"[]", "not a notebook of format 4"),
    "a number": (b"1", "not a notebook of format 4"),
    "null": (b"null", "not a notebook of format 4"),
    "other JSON": (b"{}", "not a notebook of format 4"),
    "format 3": (damaged(lambda n: n.update(nbformat=3)), "not a notebook of format 4"),
    "deep": (b"[" * 100_000, "not a notebook"),
    "no metadata": (damaged(lambda n: n.pop("metadata")), "lacks metadata"),
    "no cells": (damaged(lambda n: n.update(cells=[])), "is missing"),
    "cell without metadata": (damaged(lambda n: n["cells"][1].pop("metadata")), "lacks metadata"),
    "cell without text": (damaged(lambda n: n["cells"][1].pop("source")), "no text or no type in cell 1"),
    "cell is null": (damaged(lambda n: n["cells"].insert(0, None)), "not a notebook of format 4"),
    "missing": (None, "cannot be read .No such file"),
    "folder": ("folder", "is not a file"),
}  # fmt: skip


def check_two(folder, content):
    """Check an odd submission, then an honest one; return what is said about the first."""
    sources, odd, good = (folder / name / "week1" / "01_x.ipynb" for name in ("source", "ada", "bob"))
    for path in (sources, odd, good):
        path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(source(), sources)
    nbformat.write(copy_of(source()), good)
    if content == "folder":
        odd.mkdir()
    elif content is not None:
        odd.write_bytes(content)
    paths = [odd if content is None else odd.parent, good]
    found = homework.check(paths, folder / "source")
    assert list(found) == [odd, good] and found[good] == []
    assert all("\n" not in problem for problem in found[odd])
    return found[odd]


@pytest.mark.parametrize(("content", "said"), ODD.values(), ids=ODD)
def test_an_odd_submission_is_named_in_one_line_and_the_next_is_looked_at(tmp_path, capfd, content, said):
    problems = check_two(tmp_path, content)
    assert re.search(said, problems[0]), problems
    assert re.search(r"\. \w+", problems[0])  # a remedy
    assert capfd.readouterr().err == ""


def test_what_is_no_file_is_named_and_not_waited_for(tmp_path):
    nbformat.write(source(*exercise()), tmp_path / "01_x.ipynb")
    odd = {name: tmp_path / "submitted" / name / "01_x.ipynb" for name in ("pipe", "folder", "device", "lost link")}
    for path in odd.values():
        path.parent.mkdir(parents=True)
    os.mkfifo(odd["pipe"])
    odd["folder"].mkdir()
    odd["device"].symlink_to("/dev/zero")
    odd["lost link"].symlink_to("nowhere")
    command = [sys.executable, *"-m tools.homework check --sources 01_x.ipynb submitted".split()]
    env = {**os.environ, "PYTHONPATH": str(authoring.ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    for name, path in odd.items():
        said = "cannot be read (No such file or directory). " if name == "lost link" else "is not a file. "
        assert any(line.startswith(f"{path.relative_to(tmp_path)}: 01_x.ipynb {said}") for line in lines), name


def test_what_nbgrader_reads_is_not_called_odd(tmp_path):
    def change(notebook):
        notebook.update(nbformat_minor=4)
        for cell in notebook["cells"]:
            cell.pop("id")
            cell["metadata"]["colab"] = {"base_uri": None}
            cell["source"] = "".join(cell["source"])

    assert check_two(tmp_path, damaged(change)) == []


def places(node, path=()):
    """The path of each value in a JSON tree."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


VALID = json.loads(nbformat.writes(copy_of(source())))
PLACES = list(places(VALID))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
DROP = object()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return tmp_path_factory.mktemp("mutated")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES), st.just(DROP) | VALUES), min_size=1, max_size=3))
@example([(("cells", 1, "metadata", "nbgrader"), None)])
def test_no_change_of_a_submission_stops_the_check(shared, changes):
    content = copies.deepcopy(VALID)
    for place, value in changes:
        try:
            node = content
            for key in place[:-1]:
                node = node[key]
            if value is DROP:
                del node[place[-1]]
            else:
                node[place[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took this place away
    problems = check_two(shared, json.dumps(content).encode())
    if len(changes) == 1 and "nbgrader" in changes[0][0] and (changes[0][1] is DROP or changes[0][0][-1] == "nbgrader"):
        harmless = changes[0][0][-1] in ("checksum", "cell_type", "points", "task")
        assert harmless or problems


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(json.dumps(VALID)) - 1), st.binary(max_size=4))
def test_no_truncated_or_overwritten_submission_stops_the_check(shared, at, noise):
    text = json.dumps(VALID).encode()
    assert check_two(shared, text[:at])
    check_two(shared, text[:at] + noise + text[at + len(noise) :])


def test_an_assignment_is_held_against_its_own_source(tmp_path):
    def submit(*folders):
        path = tmp_path.joinpath("submitted", "ada", *folders, "homework.ipynb")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    weeks = {"week1": source(*exercise()), "week2": source(*exercise("triple"))}
    for week, teacher in weeks.items():
        (tmp_path / "source" / week).mkdir(parents=True)
        nbformat.write(teacher, tmp_path / "source" / week / "homework.ipynb")
        nbformat.write(copy_of(teacher), submit(week))
    one, two = submit("week1"), submit("week2")
    assert homework.check([tmp_path / "submitted"], tmp_path / "source") == {one: [], two: []}
    nbformat.write(copy_of(weeks["week1"]), two)  # handed in for the wrong week
    (problem, _) = homework.check([two], tmp_path / "source")[two]
    assert "triple is missing" in problem
    found = homework.check([tmp_path / "submitted"], tmp_path / "source" / "week1")  # one assignment alone
    assert found[one] == [] and "in the folder week2, and sources of this name are in: week1" in found[two][0]
    for lost in (submit(), submit("week3")):
        nbformat.write(copy_of(weeks["week1"]), lost)
        (problem,) = homework.check([lost], tmp_path / "source")[lost]
        assert re.search(r"sources of this name are in: week1, week2. Move it to <learner>/<assignment>/", problem)


def test_an_odd_source_is_blamed_on_the_teacher(tmp_path, capfd):
    for content, said in [("<html>", "is not a notebook"), (damaged(lambda n: n["cells"][2]["metadata"]["nbgrader"]
                          .pop("points")).decode(), "cell 2 is a check without points")]:  # fmt: skip
        (tmp_path / "01_x.ipynb").write_text(content)
        path = tmp_path / "ada" / "01_x.ipynb"
        path.parent.mkdir(exist_ok=True)
        nbformat.write(copy_of(source()), path)
        (problem,) = homework.check([path], tmp_path / "01_x.ipynb")[path]
        assert problem.startswith(f"its source {tmp_path.resolve() / '01_x.ipynb'} cannot be used") and said in problem


def test_what_a_browser_or_a_zip_file_adds(tmp_path, repository, capsys, monkeypatch):
    week = tmp_path / "submitted" / "ada" / "week1"
    week.mkdir(parents=True)
    nbformat.write(copy_of(source()), week / "01_x.ipynb.txt")
    (week / "._01_x.ipynb").write_bytes(b"\x00\x05\x16\x07")
    (week / ".ipynb_checkpoints").mkdir()
    nbformat.write(copy_of(source()), week / ".ipynb_checkpoints" / "01_x-checkpoint.ipynb")
    strange = tmp_path / "submitted" / "M\udcfcller"  # a name that is not UTF-8
    strange.mkdir()
    nbformat.write(copy_of(source()), strange / "01_x (1).ipynb")
    (tmp_path / "nobody").mkdir()
    monkeypatch.setattr(sys, "argv", ["homework", "check", str(tmp_path / "submitted"), str(tmp_path / "nobody")])
    with pytest.raises(SystemExit) as stopped:
        homework.main()
    said = capsys.readouterr().out
    assert stopped.value.code == 1 and "3 notebooks, 3 problems" in said
    assert "01_x.ipynb.txt: no source has this name" in said and "ller/01_x (1).ipynb: no source" in said
    assert "nobody: there is no notebook in this folder" in said


def test_checking_nothing_is_an_error(tmp_path):
    assert "there is no notebook" in homework.check([tmp_path], homework.folder() / "solutions")[tmp_path][0]
    for missing in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(homework.HomeworkError, match="There is no notebook in"):
            homework.check([homework.folder()], missing)
