from __future__ import annotations

import re
import subprocess
import sys

import pytest
from notebook_rules import COPY_RULES, HOMEWORK_RULES, RULES, SOURCE_RULES, Lesson

from course_utils.lesson import LESSONS
from tools import authoring, homework

LESSON_FILES = authoring.lessons()
COPIES = sorted(homework.folder().glob("*.ipynb"))


def test_every_lesson_that_is_announced_has_a_notebook():
    assert [path.name[:2] for path in LESSON_FILES] == list(LESSONS)


@pytest.mark.parametrize("path", LESSON_FILES, ids=lambda path: path.stem)
def test_lesson(path):
    lesson = Lesson(path)
    assert [f"{rule.__name__}: {problem}" for rule in RULES for problem in rule(lesson)] == []


@pytest.mark.parametrize("path", homework.sources(), ids=lambda path: path.stem)
def test_homework_source(path):
    made_from_lesson = path.stem.endswith(homework.FROM_LESSON)  # these are written, not run, by `make homework`
    chosen = HOMEWORK_RULES if made_from_lesson else SOURCE_RULES
    assert [f"{rule.__name__}: {problem}" for rule in chosen for problem in rule(Lesson(path))] == []


@pytest.mark.parametrize("path", COPIES, ids=lambda path: path.stem)
def test_learners_copy(path):
    assert [f"{rule.__name__}: {problem}" for rule in COPY_RULES for problem in rule(Lesson(path))] == []


def test_what_is_run_are_the_lessons_and_the_sources_and_nothing_else():
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "--nbval-lax", "--nbval-current-env"]
    where = ["-p", "no:cacheprovider", "--rootdir", str(authoring.ROOT), str(authoring.ROOT / "notebooks")]
    said = subprocess.run(command + where, capture_output=True, text=True, check=False, cwd=authoring.ROOT).stdout
    collected = {authoring.ROOT / name for name in re.findall(r"^(\S+\.ipynb): \d+$", said, flags=re.M)}
    assert collected == {*LESSON_FILES, *homework.sources()}, said[-2000:]
