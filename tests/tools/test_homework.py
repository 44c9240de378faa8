from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from homework_trial import HEADER, WRONG_ANSWERS, wrong_answers
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
    assert [path.name for path in homework.make()] == ["01_x.ipynb"] * 2  # the lesson, then the copy
    assert "[homework 01](homework/01_x.ipynb)" in (repository / "01_x.ipynb").read_text()
    assert homework.make() == []


def test_tagging_a_lessons_cell_is_enough(repository):
    path = repository / "01_x.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1:1] = lesson().cells
    nbformat.write(notebook, path)
    made = {path.relative_to(repository).as_posix() for path in homework.make()}
    assert {"homework/solutions/01_x_cells.ipynb", "homework/01_x_cells.ipynb"} <= made
    for cell in notebook.cells:
        cell.metadata = {}
    nbformat.write(notebook, path)  # the tags are gone, and so is what they made
    homework.make()
    assert sorted(path.name for path in (repository / "homework").rglob("*.ipynb")) == ["01_x.ipynb"] * 2


def test_nobodys_work_is_overwritten(repository):
    homework.make()
    copy, teacher = repository / "homework" / "01_x.ipynb", repository / "homework" / "solutions" / "01_x.ipynb"
    nbformat.write(source(*exercise(points=5)), teacher)
    notebook = nbformat.read(copy, as_version=4)
    notebook.cells[1].source = "def double(x):\n    return x + x"
    nbformat.write(notebook, copy)
    before = copy.read_bytes()
    with pytest.raises(
        homework.HomeworkError, match=r"01_x.ipynb holds somebody's work \(cell 1, double, was edited\)"
    ):
        homework.make()
    assert copy.read_bytes() == before


def test_a_copy_without_a_source_goes_and_other_notebooks_stay(repository):
    homework.make()
    folder = repository / "homework"
    (folder / "01_x.ipynb").rename(folder / "09_gone.ipynb")
    nbformat.write(new_notebook(cells=[new_code_cell("mine = 1")]), folder / "mine.ipynb")
    homework.make()
    assert sorted(path.name for path in folder.glob("*.ipynb")) == ["01_x.ipynb", "mine.ipynb"]


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


def test_checking_nothing_is_an_error(tmp_path):
    with pytest.raises(homework.HomeworkError, match="There is no notebook in"):
        homework.check([tmp_path], homework.folder() / "solutions")
