"""A measured row of the ladder."""

from __future__ import annotations

import pytest

from course_utils import results
from course_utils.datasets import shapes
from course_utils.reasoning import grid
from experiments import climb_ladder


def test_a_row_has_all_columns_of_the_table():
    data = grid.load("validation", pictures=48)
    row, _ = climb_ladder.measure("question only", 0, {"train": data, "test": data, "compositional": data})
    assert row["test"] == pytest.approx(sum(row[kind] for kind in shapes.TYPES) / 8)
    assert set(row) == set(results.read("ladder").columns)
