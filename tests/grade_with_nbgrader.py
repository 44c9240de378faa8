"""Grade homework with nbgrader itself: what it releases, what it scores, and the mistakes it does not report.

``make grade-test`` runs this in an environment with the extra ``homework``; it is not part of ``make test``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbgrader.api import Gradebook

from tools import authoring, homework

ASSIGNMENT = "homework"
TAGS = {"import torch\n": "homework-needs", "# kept in course_utils/alignment/attention.py": "homework",
        "q, k, v = ": "homework-checks"}  # fmt: skip


def nbgrader(folder, *arguments):
    """Run an nbgrader command in a course folder, with PATH as in an activated environment."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "-m", "nbgrader", *arguments, "--ExecutePreprocessor.timeout=300"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def solved(release, source):
    """Finish a learner's notebook: put the solutions into its open cells."""
    answers = {
        cell.metadata["nbgrader"]["grade_id"]: cell.source for cell in source.cells if "nbgrader" in cell.metadata
    }
    for cell in release.cells:
        if homework.role(cell, "solution"):
            lines = answers[cell.metadata["nbgrader"]["grade_id"]].split("\n")
            cell.source = "\n".join(line for line in lines if not any(mark in line for mark in homework.MARKERS))
    return release


def read(path):
    return nbformat.read(path, as_version=4)


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course with all sources as one released assignment, and three learners' graded submissions."""
    folder = tmp_path_factory.mktemp("course")
    source_folder = folder / "source" / ASSIGNMENT
    source_folder.mkdir(parents=True)
    for path in homework.sources():
        shutil.copy(path, source_folder)
    lesson = read(authoring.lessons()[0])
    for cell in lesson.cells:
        cell.metadata["tags"] = [tag for begins, tag in TAGS.items() if cell.source.startswith(begins)]
    nbformat.write(homework.from_lesson(lesson, "00_start_here.ipynb"), source_folder / "00_start_here_cells.ipynb")
    released = nbgrader(folder, "generate_assignment", ASSIGNMENT, "--create")
    assert released.returncode == 0, released.stderr
    for learner in ("finished", "empty", "wrong"):
        submission = folder / "submitted" / learner / ASSIGNMENT
        submission.mkdir(parents=True)
        for path in source_folder.glob("*.ipynb"):
            copy = homework.folder() / path.name  # what learners get is ours, where there is one
            notebook = read(copy if copy.exists() else folder / "release" / ASSIGNMENT / path.name)
            if learner == "finished":
                notebook = solved(notebook, read(path))
            nbformat.write(notebook, submission / path.name)
    spoil(folder / "submitted" / "wrong" / ASSIGNMENT / "00_start_here.ipynb", source_folder / "00_start_here.ipynb")
    for learner in ("finished", "empty", "wrong"):
        graded = nbgrader(folder, "autograde", ASSIGNMENT, "--student", learner)
        assert graded.returncode == 0, graded.stderr
    return folder


def spoil(path, source):
    """Solve a submission, but edit one check so that it passes, and take the metadata from another."""
    notebook = solved(read(path), read(source))
    cells = {cell.metadata["nbgrader"]["grade_id"]: cell for cell in notebook.cells if "nbgrader" in cell.metadata}
    cells["softmax"].source = "def softmax(scores):\n    return scores"
    cells["softmax-tests"].source = "pass"
    cells["blind-tests"].metadata = {}
    nbformat.write(notebook, path)


def scores(course, learner):
    """The score and the maximum score of each notebook."""
    with Gradebook(f"sqlite:///{course}/gradebook.db") as gradebook:
        found = gradebook.find_submission(ASSIGNMENT, learner).notebooks
        return {notebook.name: (notebook.score, notebook.max_score) for notebook in found}


def test_our_copies_are_what_nbgrader_releases(course):
    for path in homework.sources():
        ours = read(homework.folder() / path.name)
        theirs = read(course / "release" / ASSIGNMENT / path.name)
        assert [cell.id for cell in ours.cells] == [cell.id for cell in theirs.cells]
        assert ours.metadata == theirs.metadata
        for one, other in zip(ours.cells, theirs.cells, strict=True):
            if one.cell_type == "code" or "nbgrader" in one.metadata:  # other texts differ in links, and in the badge
                assert json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def test_a_notebook_finished_by_hand_gets_full_marks(course):
    found = scores(course, "finished")
    print(found)
    assert set(found) == {path.stem for path in homework.sources()} | {"00_start_here_cells"}
    assert all(score == most > 0 for score, most in found.values()), found


def test_an_empty_notebook_gets_none(course):
    found = scores(course, "empty")
    print(found)
    assert found and all(score == 0 and most > 0 for score, most in found.values()), found


def test_points_are_those_of_the_sources(course):
    for path in homework.sources():
        points = sum(cell.metadata.get("nbgrader", {}).get("points", 0) for cell in read(path).cells)
        assert scores(course, "finished")[path.stem][1] == points


def test_an_edited_check_is_put_back_and_a_check_without_metadata_scores_nothing(course):
    with Gradebook(f"sqlite:///{course}/gradebook.db") as gradebook:
        (notebook,) = [n for n in gradebook.find_submission(ASSIGNMENT, "wrong").notebooks if n.name == "00_start_here"]
        graded = {grade.name: (grade.score, grade.max_score) for grade in notebook.grades}
    print(graded)
    assert graded["softmax-tests"][0] == 0 and graded["masked-attend-tests"][0] == 3
    assert graded["blind-tests"] == (0, 3)  # the trap: solved, and no error was reported


def test_our_look_before_grading_finds_the_trap_and_nothing_else(course):
    found = homework.check([course / "submitted"], course / "source")
    problems = {f"{file.parent.parent.name}/{file.stem}": said for file, said in found.items() if said}
    assert list(problems) == ["wrong/00_start_here"]
    assert len(problems["wrong/00_start_here"]) == 1 and "blind-tests has lost" in problems["wrong/00_start_here"][0]


def test_a_cell_that_is_there_twice_makes_nbgrader_fail_with_a_message_that_misleads(course):
    folder = course / "submitted" / "twice" / ASSIGNMENT
    folder.mkdir(parents=True)
    notebook = read(homework.folder() / "00_start_here.ipynb")
    notebook.cells.insert(5, notebook.cells[4].copy())
    nbformat.write(notebook, folder / "00_start_here.ipynb")
    graded = nbgrader(course, "autograde", ASSIGNMENT, "--student", "twice")
    assert graded.returncode != 0 and "nbgrader update" in graded.stderr  # nothing says that a cell occurs twice
    (problem,) = homework.check([folder], course / "source")[folder / "00_start_here.ipynb"]
    assert "occurs 2 times" in problem
