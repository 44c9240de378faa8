"""Training on the labels of grid cells, and what the shipped encoders reach."""

from __future__ import annotations

import pytest
import torch

from course_utils.datasets import shapes
from course_utils.datasets.vqa import to_tensor
from course_utils.encoders import GridCNN, SmallViT, cells
from course_utils.encoders.image import trained_attribute_cnn, trained_grid_cnn


@pytest.fixture(scope="module")
def few():
    """A hundred scenes that no training saw."""
    return shapes.split("test", pictures=100)


@pytest.mark.parametrize("make", [GridCNN, SmallViT])
def test_every_weight_learns(make, few):
    torch.manual_seed(0)
    model = make()
    cells.cell_loss(model, to_tensor(few.pictures[:16]), cells.labels(few.scenes[:16])).backward()
    assert {name for name, weight in model.named_parameters() if weight.grad.abs().max() == 0} == set()


def test_labels_and_loss_equal_a_loop(few):
    targets = cells.labels(few.scenes[:4])
    for scene, rows in zip(few.scenes, targets, strict=False):
        expected = torch.zeros(3, 64, dtype=torch.long)
        for thing in scene.things:
            cell = thing.y // 8 * 8 + thing.x // 8
            numbers = (shapes.SHAPES.index(thing.shape), list(shapes.COLOURS).index(thing.colour))
            expected[:, cell] = torch.tensor([*numbers, list(shapes.SIZES).index(thing.size)]) + 1
        assert torch.equal(rows, expected)
    torch.manual_seed(0)
    model, pictures = GridCNN().eval(), to_tensor(few.pictures[:4])
    logits = model.head(model(pictures).unpooled)
    parts = zip((0, 5, 14), (5, 14, 17), targets.unbind(dim=1), strict=True)
    slow = sum(-logits[..., a:b].log_softmax(-1).gather(-1, t[..., None]).mean() for a, b, t in parts)
    torch.testing.assert_close(cells.cell_loss(model, pictures, targets), slow)


def test_training_repeats_from_its_seed_and_learns(few):
    targets, runs = cells.labels(few.scenes), []
    for seed in (1, 1, 2):
        torch.manual_seed(0)
        model = GridCNN(dim=16)
        runs.append(cells.train_cells(model, few.pictures, targets, epochs=4, seed=seed))
        assert not model.training
    assert runs[0] == runs[1] != runs[2]
    assert len(runs[0]) == 8 and runs[0][-1] < 0.8 * runs[0][0]


def test_the_shipped_grid_cnn_gets_nearly_all_objects_right_and_is_frozen(few):
    model = trained_grid_cnn()
    assert cells.objects_right(model, few.pictures, cells.labels(few.scenes)) >= 0.995
    assert not model.training and not any(weight.requires_grad for weight in model.parameters())
    torch.manual_seed(0)
    assert cells.objects_right(GridCNN().eval(), few.pictures, cells.labels(few.scenes)) < 0.1


def test_the_shipped_attribute_cnn_knows_pairs_it_never_saw():
    encoder, data = trained_attribute_cnn(), shapes.split("compositional", pictures=100)
    assert cells.objects_right(encoder, data.pictures, cells.labels(data.scenes)) > 0.95
    assert cells.objects_right(trained_grid_cnn(), data.pictures, cells.labels(data.scenes)) < 0.8
