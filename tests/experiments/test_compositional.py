"""What the attribute-wise encoder does for pairs that no training showed."""

from __future__ import annotations

import pytest

from course_utils import results, training
from course_utils.datasets import shapes
from course_utils.encoders.image import trained_attribute_cnn
from course_utils.reasoning import grid, ladder
from experiments import compositional


def test_every_method_was_measured():
    counts = results.read("compositional").groupby("method")["seed"].nunique()
    assert set(counts.index) == set(compositional.METHODS) and counts.min() >= 1


@pytest.mark.parametrize("method", ["dot-product attention", "Transformer reasoner"])
def test_the_gap_closes_where_the_regions_know_attributes_apart(method):
    with_pairs, apart = (
        results.read(name).groupby("method").mean(numeric_only=True).loc[method] for name in ("ladder", "compositional")
    )
    gap, left = (row["test"] - row["compositional"] for row in (with_pairs, apart))
    assert gap > 0.02 and left < gap / 2


def test_pooling_mixes_up_again_what_the_regions_keep_apart():
    row = results.read("compositional").groupby("method").mean(numeric_only=True).loc["MLB"]
    assert row["test"] - row["compositional"] > 0.05


def test_the_shipped_reasoner_is_the_measured_one():
    data = grid.load("compositional", 100, encoder=trained_attribute_cnn())
    result = training.evaluate(
        ladder.shipped("Transformer reasoner", "AttributeCNN"), grid.Batches(data, 100), shapes.ANSWERS
    )
    table = results.read("compositional").query("method == 'Transformer reasoner' and seed == 0")
    assert result.accuracy == pytest.approx(table["compositional"].item(), abs=0.05)
