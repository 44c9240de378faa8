"""Models for Sort-of-CLEVR: regions, batches, and accuracies that equal a slow count."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from course_utils import results
from course_utils.datasets import sort_of_clevr as soc
from course_utils.reasoning import clevr_models
from course_utils.reasoning.clevr_models import CodedVQA, FourConvolutions
from course_utils.reasoning.relations import RelationNetwork


def test_four_convolutions_make_twenty_five_regions_in_order():
    encoder = FourConvolutions(dim=8).eval()
    empty = torch.ones(1, 3, 75, 75)
    spot = empty.clone()
    spot[:, :, 20, 67] = -1.0  # the second row of regions of 15 pixels, the fifth column
    pooled, unpooled, mask = encoder(empty)
    assert unpooled.shape == (1, 25, 8) and mask.all()
    torch.testing.assert_close(pooled, unpooled.mean(dim=1))
    changed = (encoder(spot).unpooled - unpooled).abs().sum(dim=-1).view(5, 5)
    assert changed[1, 4] > 0 and changed[:, :3].max() == 0 and changed[3:].max() == 0


def test_coded_vqa_takes_a_batch_of_sort_of_clevr():
    data = soc.split("train", pictures=3)
    batch = data.batch(torch.arange(3))
    model = CodedVQA(RelationNetwork(16, hidden=8), 8, dim=16)
    logits = model(batch)
    assert logits.shape == (60, len(soc.ANSWERS))
    model.eval()
    alone = model(data.batch(torch.tensor([1])))
    torch.testing.assert_close(model(batch)[20:40], alone, rtol=1e-4, atol=1e-5)


def test_accuracies_are_those_of_a_slow_count():
    few = soc.split("test", pictures=4)
    model = clevr_models.anchored_network().eval()
    guesses = model(few.batch(torch.arange(4))).argmax(dim=-1).view(4, 20).numpy()
    right = guesses == few.answers
    measured = clevr_models.accuracies(model, few)
    assert measured["relational"] == pytest.approx(np.mean([right[i, j] for i in range(4) for j in range(10, 20)]))
    assert measured["non_relational"] == pytest.approx(np.mean([right[i, j] for i in range(4) for j in range(10)]))
    for number, name in enumerate(soc.TYPES):
        assert measured[name] == pytest.approx(right[few.types == number].mean())


def test_the_stored_results_say_what_the_shipped_network_does():
    """On fewer pictures than the table's, so within four standard errors of it."""
    table = results.read("sort_of_clevr")
    row = table[(table["method"] == "anchored relation network") & (table["seed"] == 0)].iloc[0]
    model = clevr_models.shipped()
    assert sum(weight.numel() for weight in model.parameters()) == row["parameters"]
    assert not any(weight.requires_grad for weight in model.parameters())
    measured = clevr_models.accuracies(model, soc.split("test", pictures=200))
    for name in ("relational", "non_relational"):
        error = (row[name] * (1 - row[name]) / 2000) ** 0.5
        assert abs(measured[name] - row[name]) < 4 * error + 0.002
