from __future__ import annotations

import pytest
from notebook_rules import FILE_RULES, RULES, Lesson

from course_utils import authoring
from course_utils.lesson import LESSONS

LESSON_FILES = authoring.lessons()
HOMEWORK_FILES = sorted((authoring.ROOT / "notebooks" / "homework").rglob("*.ipynb"))


def test_every_lesson_that_is_announced_has_a_notebook():
    assert [path.name[:2] for path in LESSON_FILES] == list(LESSONS)


@pytest.mark.parametrize("path", LESSON_FILES, ids=lambda path: path.stem)
def test_lesson(path):
    lesson = Lesson(path)
    assert [f"{rule.__name__}: {problem}" for rule in RULES for problem in rule(lesson)] == []


def test_homework_files():
    found = [
        f"{path.name}, {rule.__name__}: {problem}"
        for path in HOMEWORK_FILES
        for rule in FILE_RULES
        for problem in rule(Lesson(path))
    ]
    assert found == []
