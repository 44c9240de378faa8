"""Every rule for notebooks catches its planted defect."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import nbformat
import notebook_rules as rules
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course_utils.lesson import LESSONS
from tools import authoring, homework

FIRST = "\n\n".join([
    "# 00 · A lesson",
    authoring.badge(authoring.slug(), "00_planted.ipynb"),
    "**You will**\n\n- see\n- build\n- measure",
    f"**Before this**: nothing. **Time**: about {LESSONS['00'].cpu_seconds} seconds.",
])  # fmt: skip
LAST = """\
## Recap

- Something.

## Key terms

| English | 中文 |
|---|---|
| attention | 注意力 |

## Exercises

1. Try.

## Further reading

- Somebody. *Something.* 2020.
"""


def lesson_with(tmp_path, *cells, change=None):
    """A lesson without a defect, apart from the cells added in its middle and what ``change`` does to it."""
    notebook = new_notebook(metadata=authoring.METADATA)
    setup = new_code_cell(authoring.setup_cell(authoring.slug(), "00"))
    notebook.cells = [new_markdown_cell(FIRST), setup, *cells, new_markdown_cell(LAST)]
    for count, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), start=1):
        cell.execution_count = count
    if change is not None:
        change(notebook)
    path = tmp_path / "00_planted.ipynb"
    path.write_text(json.dumps(notebook), encoding="utf-8")  # nbformat.write would mend some defects
    return rules.Lesson(path)


def problems(lesson):
    return {rule.__name__: found for rule in rules.RULES if (found := rule(lesson))}


def test_a_lesson_without_a_defect_passes_every_rule(tmp_path):
    assert problems(lesson_with(tmp_path, new_code_cell("1 + 1"))) == {}


def output_cell(source, *outputs):
    return new_code_cell(source, outputs=list(outputs))


def stream(text, name="stdout"):
    return new_output("stream", text=text, name=name)


def shown(**data):
    return new_output("display_data", data={key.replace("_", "/", 1): value for key, value in data.items()})


PLANTED_CELLS = {
    "shell line": ("python_only", new_code_cell("!false")),
    "captured shell line": ("python_only", new_code_cell("files = !ls")),
    "pip magic": ("python_only", new_code_cell("%pip install nothing")),
    "exit": ("python_only", new_code_cell("exit()")),
    "60-line cell": ("short_cells", new_code_cell("\n".join(["x = 1"] * 60))),
    "empty cell": ("no_empty_cells", new_code_cell(" ")),
    "absolute path": ("no_machine_paths", new_code_cell("open('/home/someone/data.json')")),
    "Windows path": ("no_machine_paths", new_markdown_cell("In C:\\Users it is.")),
    "path in an output": ("no_machine_paths", output_cell("x", stream("/tmp/cache/model"))),
    "stored error": ("no_errors", output_cell("1/0", new_output("error", ename="E", evalue="", traceback=[]))),
    "stored warning": ("no_errors", output_cell("x", stream("UserWarning", "stderr"))),
    "nothing to check": ("checked_output_is_stored", new_code_cell("# NBVAL_CHECK_OUTPUT\n1 + 1")),
    "long output": ("short_outputs", output_cell("x", stream("line\n" * 80))),
    "bare figure": ("figures_have_alt_text", output_cell("x", shown(image_png="aGk="))),
    "figure without alt": ("figures_have_alt_text", output_cell("x", shown(text_html='<img src="data:,">'))),
    "empty alt": ("figures_have_alt_text", output_cell("x", shown(text_html='<img alt="" src="data:,">'))),
    "Markdown image without alt": ("figures_have_alt_text", new_markdown_cell("![](https://example.net/a.png)")),
    "picture in Markdown": ("figures_have_alt_text", new_markdown_cell("![a](data:image/png;base64,aGk=)")),
    "stored widget": ("widgets_have_text", output_cell("x", shown(**{authoring.WIDGET.replace("/", "_", 1): {}}))),
    "second title": ("headings", new_markdown_cell("# Another title")),
    "level left out": ("headings", new_markdown_cell("### Too deep\n\n##### Deeper")),
    "broken link": ("links_resolve", new_markdown_cell("See [the next](99_nowhere.ipynb).")),
    "belittling word": ("plain_words", new_markdown_cell("This is obviously true.")),
    "code that drifted": (
        "kept_code_equals_package",
        new_code_cell(
            "# kept in course_utils/alignment/attention.py\ndef attend(query, key, value):\n    return value"
        ),
    ),
    "code kept nowhere": ("kept_code_equals_package", new_code_cell("# kept in course_utils/no.py\nx = 1")),
}


@pytest.mark.parametrize(("rule", "cell"), PLANTED_CELLS.values(), ids=PLANTED_CELLS)
def test_a_planted_cell_is_caught(tmp_path, rule, cell):
    assert rule in problems(lesson_with(tmp_path, cell))


WIDGET = "shown = []\n\n\ndef add():\n    shown.append(1)\n\n\ndef look(_change):\n    add()\n\n\nslider.observe(look)"


@pytest.mark.parametrize(
    ("later", "caught"),
    [
        ("for shown in range(3):\n    print(shown)", True),
        ("def add():\n    return 2", True),
        ("print(shown, [shown for shown in range(3)])", False),
        ("def another():\n    shown = 1\n    return shown", False),
    ],
)
def test_a_widget_must_outlive_the_lesson(tmp_path, later, caught):
    found = problems(lesson_with(tmp_path, new_code_cell(WIDGET), new_code_cell(later)))
    assert ("widgets_outlive_the_lesson" in found) == caught


def edit(old, new, cell=0):
    def change(notebook):
        assert old in notebook.cells[cell].source
        notebook.cells[cell].source = notebook.cells[cell].source.replace(old, new)

    return change


def repeat_an_id(notebook):
    notebook.cells[1]["id"] = notebook.cells[0]["id"]


def forget_to_run(notebook):
    notebook.cells[1].execution_count = None


def run_out_of_order(notebook):
    notebook.cells[1].execution_count = 7


def leave_metadata(notebook):
    notebook.cells[1].metadata["collapsed"] = True


def leave_a_kernel_name(notebook):
    notebook.metadata["kernelspec"] = {"display_name": "my env", "name": "my-env", "language": "python"}


PLANTED_CHANGES = {
    "wrong title": ("opening", edit("# 00 ·", "# Lesson 00:")),
    "badge of another repository": ("opening", edit(authoring.slug(), "someone/else")),
    "two objectives": ("opening", edit("\n- measure", "")),
    "no time": ("opening", edit("**Time**", "Time")),
    "another time": ("opening", edit("about ", "at most ")),
    "another set-up": ("setup", edit('start("00")', 'start("01")', cell=1)),
    "no recap": ("headings", edit("## Recap", "## The end", cell=-1)),
    "no Chinese": ("key_terms_in_chinese", edit("注意力", "attention", cell=-1)),
    "no year": ("references", edit("2020", "recently", cell=-1)),
    "repeated id": ("valid", repeat_an_id),
    "unrun cell": ("run_in_order", forget_to_run),
    "run out of order": ("run_in_order", run_out_of_order),
    "stray metadata": ("tidy_metadata", leave_metadata),
    "private kernel": ("tidy_metadata", leave_a_kernel_name),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("rule", "change"), PLANTED_CHANGES.values(), ids=PLANTED_CHANGES)
def test_a_planted_change_is_caught(tmp_path, rule, change):
    assert rule in problems(lesson_with(tmp_path, change=change))


# --- homework ---------------------------------------------------------------------------------------------------

TASK = "## {n}. A task *(build)*\n\n🔴⚪⚪ · 10 minutes\n\n<details><summary>Hint</summary>\n\nTry.\n\n</details>"


def homework_with(tmp_path, change=None, folder="solutions"):
    """A source of three exercises without a defect, or its learner's copy, apart from what ``change`` does to it."""
    first = new_markdown_cell("# Homework 00 · A lesson\n\nThree exercises, together about 30 minutes.")
    notebook = new_notebook(cells=[first, new_code_cell(authoring.setup_cell(authoring.slug(), "00"))])
    for n in (1, 2, 3):
        solution = new_code_cell("### BEGIN SOLUTION\nx = 1\n### END SOLUTION")
        solution.metadata = nbformat.from_dict({"nbgrader": homework._nbgrader(f"task-{n}", solution=True)})
        check = new_code_cell("assert x == 1")
        check.metadata = nbformat.from_dict({"nbgrader": homework._nbgrader(f"task-{n}-tests", grade=True, points=1)})
        notebook.cells += [new_markdown_cell(TASK.format(n=n)), solution, check]
    notebook.metadata = nbformat.from_dict(authoring.METADATA)
    if folder == "homework":
        notebook = homework.learners_copy(notebook, "00_planted.ipynb")
    else:
        for count, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), start=1):
            cell.execution_count = count
    if change is not None:
        change(notebook)
    path = tmp_path / folder / "00_planted.ipynb"
    path.parent.mkdir()
    nbformat.write(notebook, path)
    lesson, chosen = rules.Lesson(path), rules.COPY_RULES if folder == "homework" else rules.SOURCE_RULES
    return {rule.__name__: found for rule in chosen for found in [rule(lesson)] if found}


@pytest.mark.parametrize("folder", ["solutions", "homework"])
def test_homework_without_a_defect_passes_every_rule(tmp_path, folder):
    assert homework_with(tmp_path, folder=folder) == {}


def run_a_cell(notebook):
    notebook.cells[1].execution_count = 1


def solve(notebook):
    for cell in notebook.cells[2:]:
        cell.source = cell.source.replace("# YOUR CODE HERE", "x = 1")


def drop_an_exercise(notebook):
    del notebook.cells[-3:]


HOMEWORK_DEFECTS = {
    "another title": ("homework_opening", "solutions", edit("# Homework 00 ·", "# Homework 01 ·")),
    "another set-up": ("homework_opening", "solutions", edit('start("00")', 'start("01")', cell=1)),
    "two exercises": ("exercises", "solutions", drop_an_exercise),
    "no kind": ("exercises", "solutions", edit("*(build)*", "", cell=2)),
    "unknown kind": ("exercises", "solutions", edit("(build)", "(ponder)", cell=2)),
    "no difficulty": ("exercises", "solutions", edit("🔴⚪⚪", "easy", cell=2)),
    "no hint": ("exercises", "solutions", edit("Hint", "Answer", cell=2)),
    "a wrong sum of minutes": ("exercises", "solutions", edit("30 minutes", "25 minutes")),
    "misnumbered": ("exercises", "solutions", edit("## 1.", "## 2.", cell=2)),
    "copy that was run": ("a_copy_is_unsolved", "homework", run_a_cell),
    "copy without a stub": ("a_copy_is_unsolved", "homework", solve),
    "copy with a marker": ("a_copy_is_unsolved", "homework", edit("assert", "### BEGIN HIDDEN TESTS\nassert", cell=4)),
    "copy without a badge": ("a_copy_is_unsolved", "homework", edit(authoring.slug(), "someone/else")),
}


@pytest.mark.parametrize(("rule", "folder", "change"), HOMEWORK_DEFECTS.values(), ids=HOMEWORK_DEFECTS)
def test_a_defect_of_homework_is_caught(tmp_path, rule, folder, change):
    assert rule in homework_with(tmp_path, change, folder)


def test_a_lesson_must_lead_to_its_homework(tmp_path, monkeypatch):
    lesson = lesson_with(tmp_path, new_code_cell("1 + 1"))
    monkeypatch.setattr(homework, "folder", lambda: tmp_path)
    (tmp_path / "solutions").mkdir()
    assert rules.homework_is_linked(lesson) == []
    (tmp_path / "solutions" / "00_planted.ipynb").touch()
    assert "run `make homework`" in rules.homework_is_linked(lesson)[0]


# --- what only running shows ------------------------------------------------------------------------------------

RUN = {  # name: (cells, what the report must say; None for a notebook without a defect)
    "good": (["1 + 1", "# NBVAL_RAISES_EXCEPTION\n1 / 0"], None),
    "exception": (["raise ValueError('planted')", "1"], "planted"),
    "later_cells": (["1 / 0", "print('after')"], "Not run: cell 0 of this notebook failed before"),
    "dead_kernel": (["import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"], "kernel died"),
    "raises_nothing": (["# NBVAL_RAISES_EXCEPTION\n1 + 1"], "raised nothing"),
    "unchecked": (["# NBVAL_CHECK_OUTPUT\nprint(1)"], "Unexpected output|no stored output"),
    "thread": (
        ["import threading\nt = threading.Thread(target=lambda: 1 / 0)\nt.start()\nt.join()"],
        "wrote to stderr.*ZeroDivisionError",
    ),
    "misspelt_magic": (["%matplotlob inline\nx = 1"], "wrote to stderr.*matplotlob"),
    "warning": (["import warnings\nwarnings.warn('planted warning')"], "wrote to stderr.*planted warning"),
}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """One pytest run over all planted notebooks."""
    folder = tmp_path_factory.mktemp("planted")
    shutil.copy(authoring.ROOT / "notebooks" / "conftest.py", folder)
    for name, (sources, _) in RUN.items():
        cells = [new_code_cell(source, execution_count=n) for n, source in enumerate(sources, start=1)]
        for cell in cells:
            if "NBVAL_RAISES_EXCEPTION" in cell.source:
                cell.metadata["tags"] = ["raises-exception"]
        nbformat.write(new_notebook(cells=cells, metadata=authoring.METADATA), folder / f"{name}.ipynb")
    (folder / "homework" / "solutions").mkdir(parents=True)
    shutil.copy(folder / "good.ipynb", folder / "homework" / "learners_copy.ipynb")
    shutil.copy(folder / "good.ipynb", folder / "homework" / "solutions" / "teachers_source.ipynb")
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=60"]
    options = ["-p", "no:cacheprovider", "--rootdir", str(folder), "-rA", "--color=no", str(folder)]
    return subprocess.run(command + options, capture_output=True, text=True, timeout=280, check=False).stdout


@pytest.mark.parametrize("name", RUN)
def test_running_catches_it(report, name):
    said = RUN[name][1]
    failed = re.findall(rf"^FAILED .*{name}\.ipynb.*$", report, flags=re.M)
    passed = re.findall(rf"^PASSED .*{name}\.ipynb.*$", report, flags=re.M)
    if said is None:
        assert len(passed) == len(RUN[name][0]) and not failed, report
    else:
        assert failed, report
        sections = re.split(r"^_{3,} (.*) _{3,}$|^={3,} .*$", report, flags=re.M)
        own = [
            text for title, text in zip(sections[1::2], sections[2::2], strict=True) if f"{name}.ipynb" in str(title)
        ]
        assert re.search(said, "\n".join(own), flags=re.S), "\n".join(own) or report


def test_homework_sources_are_run_and_learners_copies_are_not(report):
    assert "teachers_source.ipynb" in report
    assert "learners_copy.ipynb" not in report


def test_colours_are_taken_out_of_the_report(report):
    assert "\x1b[" not in report
