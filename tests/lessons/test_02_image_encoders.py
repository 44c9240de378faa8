"""The execution of questions on told cells, as lesson 02 defines it, against the scenes that the cells tell of."""

from __future__ import annotations

import pytest
import torch
from lesson_code import lesson_code

from course_utils.datasets import shapes
from course_utils.encoders.cells import labels

lesson = lesson_code("02", "as_scene", "executed")


@pytest.fixture(scope="module")
def data():
    return shapes.split("test", pictures=40)


def test_right_labels_give_right_answers_where_eight_pixels_do_not_matter(data):
    answers = lesson.executed(data, labels(data.scenes))
    exact = [(answer, q.answer) for answer, q in zip(answers, data.questions, strict=True) if q.type != "distance"]
    assert [answer for answer, _ in exact] == [truth for _, truth in exact]


def test_a_program_that_speaks_of_what_is_not_told_has_no_answer(data):
    answers = lesson.executed(data, torch.zeros(len(data.scenes), 3, 64, dtype=torch.int64))
    by_type = {kind: set() for kind in shapes.TYPES}
    for answer, question in zip(answers, data.questions, strict=True):
        by_type[question.type].add(answer)
    assert by_type["exist"] == {"no"} and None not in by_type["number"]
    assert all(by_type[kind] == {None} for kind in ("colour", "shape", "verify-relation", "distance"))
