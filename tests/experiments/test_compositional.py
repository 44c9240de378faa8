"""What the attribute-wise encoder does for pairs that no training showed."""

from __future__ import annotations

import pandas as pd
import pytest

from course_utils import training
from course_utils.datasets import shapes
from course_utils.encoders.image import trained_attribute_cnn
from course_utils.reasoning import grid, ladder
from experiments import compositional


def test_every_method_was_measured():
    counts = compositional.load().groupby("method")["seed"].nunique()
    assert set(counts.index) == set(compositional.METHODS) and counts.min() >= 1


@pytest.mark.parametrize("method", ["dot-product attention", "Transformer reasoner"])
def test_the_gap_closes_where_the_regions_know_attributes_apart(method):
    with_pairs, apart = (table.groupby("method").mean(numeric_only=True).loc[method] for table in
                         (ladder.load(), compositional.load()))  # fmt: skip
    gap, left = (row["test"] - row["compositional"] for row in (with_pairs, apart))
    assert gap > 0.02 and left < gap / 2


def test_pooling_mixes_up_again_what_the_regions_keep_apart():
    row = compositional.load().groupby("method").mean(numeric_only=True).loc["MLB"]
    assert row["test"] - row["compositional"] > 0.05


def test_the_shipped_reasoner_is_the_measured_one():
    data = grid.load("compositional", 100, encoder=trained_attribute_cnn())
    result = training.evaluate(compositional.trained(), grid.Batches(data, 100), shapes.ANSWERS)
    table: pd.DataFrame = compositional.load().query("method == @compositional.REASONER and seed == 0")
    assert result.accuracy == pytest.approx(table["compositional"].item(), abs=0.05)
