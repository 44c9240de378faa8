"""Tables of results: rows that replace older ones, in order, and nothing lost when a write fails."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from course_utils import checkpoints, results

METHODS = ("plain", "fancy")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results.csv"


def test_rows_replace_older_ones_and_stand_in_the_order_of_the_methods(path):
    for method, seed, value in (("fancy", 1, 0.1), ("plain", 0, 0.2), ("fancy", 0, 0.3), ("fancy", 1, 0.4)):
        results.store(path, {"method": method, "seed": seed, "test": value}, METHODS)
    stored = pd.read_csv(path)
    assert stored.values.tolist() == [["plain", 0, 0.2], ["fancy", 0, 0.3], ["fancy", 1, 0.4]]


def test_a_failed_write_leaves_the_old_table(path, monkeypatch):
    results.store(path, {"method": "plain", "seed": 0, "test": 0.2}, METHODS)
    before = path.read_bytes()

    def full(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    with pytest.raises(checkpoints.CheckpointError, match=r"results.csv could not be written \(No space left"):
        results.store(path, {"method": "plain", "seed": 1, "test": 0.3}, METHODS)
    assert path.read_bytes() == before


def test_a_row_says_where_it_was_measured():
    where = results.where_measured()
    assert "cpu" in where["machine"] and torch.__version__.startswith(where["torch"])
