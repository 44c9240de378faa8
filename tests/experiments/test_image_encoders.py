"""The experiments that train picture encoders: grid_cnn, attribute_cnn, compare_encoders."""

from __future__ import annotations

import pytest
import safetensors
import torch
from torch.nn import functional as F

from course_utils.datasets import shapes
from course_utils.datasets.vqa import to_tensor
from course_utils.encoders import GridCNN, SmallViT, cells
from course_utils.encoders.image import AttributeCNN
from course_utils.paths import CHECKPOINTS
from course_utils.training import IGNORE
from experiments import attribute_cnn, compare_encoders


@pytest.fixture(scope="module")
def few():
    """A hundred scenes that no training saw."""
    return shapes.split("test", pictures=100)


def test_the_checkpoint_says_how_it_was_made_and_what_it_reaches():
    with safetensors.safe_open(CHECKPOINTS / "grid_cnn.safetensors", framework="pt") as opened:
        notes = opened.metadata()
    assert notes["command"] == '"python -m experiments.grid_cnn"'
    assert float(notes["test"]) > 0.999 and 0.6 < float(notes["compositional"]) < 0.8


def test_the_comparison_has_a_row_for_each_run(few, monkeypatch):
    runs = (("short", "GridCNN", GridCNN, 1, 6e-3), ("short", "SmallViT", SmallViT, 2, 2e-3))
    monkeypatch.setattr(compare_encoders, "RUNS", runs)
    table = compare_encoders.compare(few, few, range(2))
    assert table["encoder"].tolist() == ["GridCNN"] * 2 + ["SmallViT"] * 2 and table["seed"].tolist() == [0, 1] * 2
    assert table["epochs"].tolist() == [1, 1, 2, 2] and (table["cpu_seconds"] > 0).all()
    assert table["objects_right"].between(0, 1).all()


def test_the_loss_leaves_out_the_colour_of_empty_cells(few):
    targets, plain = (module.labels(few.scenes[:2]) for module in (attribute_cnn, cells))
    empty = plain[:, 0] == 0
    assert (targets[:, 1][empty] == IGNORE).all()
    assert torch.equal(targets[:, 1][~empty], plain[:, 1][~empty]) and torch.equal(targets[:, [0, 2]], plain[:, [0, 2]])
    model, pictures = AttributeCNN().eval(), to_tensor(few.pictures[:2])
    parts = model.cell_logits(model(pictures).unpooled)
    asked = [torch.ones_like(empty), ~empty, torch.ones_like(empty)]
    expected = sum(
        F.cross_entropy(part[use], plain[:, n][use])
        for n, (part, use) in enumerate(zip(parts.values(), asked, strict=True))
    )
    torch.testing.assert_close(cells.cell_loss(model, pictures, targets), expected)
