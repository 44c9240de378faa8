"""Picture encoders: patches and the ViT, the two halves of AttributeCNN, the pretrained EfficientNet."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import nn
from torch.nn import functional as F

from course_utils.datasets import shapes
from course_utils.datasets.vqa import to_tensor
from course_utils.encoders import EfficientNetLite, GridCNN, SmallViT
from course_utils.encoders.image import (
    CELL_CLASSES,
    AttributeCNN,
    imagenet_names,
    mix_colours,
    patchify,
    trained_attribute_cnn,
)


@pytest.fixture(scope="module")
def few():
    """A hundred scenes that no training saw."""
    return shapes.split("test", pictures=100)


@pytest.fixture(scope="module")
def efficient():
    return EfficientNetLite()


# --- patches and the ViT ------------------------------------------------------------------------------------------


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_patches_equal_cutting_with_slices(batch, channels, rows, columns, side):
    pictures = torch.randn(batch, channels, rows * side, columns * side)
    cut = patchify(pictures, side)
    assert cut.shape == (batch, rows * columns, channels * side * side)
    for number in range(rows * columns):
        y, x = number // columns * side, number % columns * side
        assert torch.equal(cut[:, number], pictures[:, :, y : y + side, x : x + side].reshape(batch, -1))


@pytest.mark.parametrize("size", [(60, 64), (64, 63)])
def test_patches_that_do_not_fit_are_refused(size):
    with pytest.raises(ValueError, match=f"{size[0]}×{size[1]} pixels do not divide into patches of 8×8"):
        patchify(torch.zeros(1, 3, *size))


@pytest.mark.parametrize("make", [GridCNN, SmallViT])
def test_a_picture_becomes_sixty_four_regions(make):
    model = make(dim=32).eval()
    pooled, unpooled, mask = model(torch.randn(2, 3, 64, 64))
    assert pooled.shape == (2, 32) and unpooled.shape == (2, 64, 32)
    assert mask.dtype == torch.bool and mask.shape == (2, 64) and mask.all()
    torch.testing.assert_close(pooled, unpooled.mean(dim=1))
    sizes = {name: part.shape for name, part in model.cell_logits(unpooled).items()}
    assert sizes == {name: (2, 64, classes) for name, classes in CELL_CLASSES.items()}


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (1, 1, 64, 64), (1, 3, 128, 64)])
def test_the_vit_refuses_other_pictures(shape):
    with pytest.raises(ValueError, match=r"SmallViT reads \(batch, 3, 64, 64\)"):
        SmallViT()(torch.zeros(shape))


def test_the_vit_knows_places_by_its_position_vectors_alone():
    torch.manual_seed(0)
    model, pictures = SmallViT(dim=32).eval(), torch.randn(2, 3, 64, 64)
    moved, order = pictures.roll(24, dims=2), torch.arange(64).view(8, 8).roll(3, dims=0).flatten()
    with torch.no_grad():
        assert not torch.allclose(model(moved).unpooled, model(pictures).unpooled[:, order], atol=1e-3)
        model.positions.zero_()
        torch.testing.assert_close(model(moved).unpooled, model(pictures).unpooled[:, order], rtol=1e-4, atol=1e-4)


def test_a_region_of_the_grid_sees_forty_one_pixels():
    torch.manual_seed(0)
    pictures = torch.randn(8, 3, 64, 64, requires_grad=True)
    GridCNN().eval()(pictures).unpooled[:, 36].square().sum().backward()
    rows, columns = torch.nonzero(pictures.grad.abs().sum(dim=(0, 1)), as_tuple=True)
    assert [rows.min(), rows.max(), columns.min(), columns.max()] == [12, 52, 12, 52]


# --- attribute by attribute ---------------------------------------------------------------------------------------


def test_the_colour_half_cannot_know_form(few):
    encoder, rng = trained_attribute_cnn(), np.random.default_rng(0)
    pictures = few.pictures[:2]
    blocks = pictures.reshape(2, 8, 8, 8, 8, 3).transpose(0, 1, 3, 2, 4, 5).reshape(2, 64, 64, 3)
    shuffled = blocks[:, :, rng.permutation(64)]  # the pixels of each cell in another order
    shuffled = shuffled.reshape(2, 8, 8, 8, 8, 3).transpose(0, 1, 3, 2, 4, 5).reshape(2, 64, 64, 3)
    before, after = (encoder(to_tensor(each)).unpooled for each in (pictures, shuffled))
    form = AttributeCNN.FORM
    torch.testing.assert_close(before[..., form:], after[..., form:], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(before[..., :form], after[..., :form], atol=0.1)


def test_mixed_colours_are_rotated_or_mirrored_pixels():
    pictures = torch.rand(3, 3, 4, 5)
    mixed = mix_colours(pictures)
    torch.testing.assert_close(mixed.norm(dim=1), pictures.norm(dim=1))
    assert not torch.allclose(mixed, pictures, atol=0.05)


def test_colours_are_mixed_for_form_in_training_alone(few):
    model, pictures = AttributeCNN(), to_tensor(few.pictures[:4])
    for mode, same in ((False, True), (True, False)):
        first, again = (model.train(mode)(pictures).unpooled for _ in range(2))
        assert torch.allclose(first[..., : model.FORM], again[..., : model.FORM], atol=1e-4) == same
        torch.testing.assert_close(first[..., model.FORM :], again[..., model.FORM :])


# --- EfficientNet -------------------------------------------------------------------------------------------------


def test_a_photograph_is_named_and_its_layout_matters(efficient):
    photograph = Image.fromarray(load_sample_image("flower.jpg")).crop((106, 0, 533, 427)).resize((224, 224))
    right = to_tensor(np.array(photograph))
    wrong = right.permute(1, 2, 0).reshape(3, 224, 224)
    names = imagenet_names()
    probabilities = efficient.classify(efficient(torch.stack([right, wrong])).pooled)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(2))
    best = [names[index] for index in probabilities.argmax(dim=1).tolist()]
    assert best[0] == "daisy" and best[1] != "daisy" and len(names) == 1000


def test_efficientnet_gives_a_grid_and_equals_its_own_classifier(efficient):
    torch.manual_seed(0)
    pictures = torch.rand(2, 3, 96, 64) * 2 - 1
    pooled, unpooled, mask = efficient(pictures)
    assert pooled.shape == (2, 1280) and unpooled.shape == (2, 6, 1280) and mask.shape == (2, 6) and mask.all()
    with torch.no_grad():
        theirs = efficient.network(pictures).softmax(dim=-1)
    torch.testing.assert_close(efficient.classify(pooled), theirs, rtol=1e-4, atol=1e-6)


def test_efficientnet_stays_as_it_is(efficient):
    whole = nn.Sequential(efficient, nn.Linear(2, 2)).train()
    assert whole.training and not any(module.training for module in efficient.modules())
    assert not any(weight.requires_grad for weight in efficient.parameters())


def test_embeddings_are_of_length_one_whatever_the_batch(efficient, few):
    pictures = [few.pictures[0], few.pictures[1][:40], few.pictures[2]]
    together, alone = (efficient.embed(pictures, size=64, batch_size=size) for size in (3, 1))
    assert together.shape == (3, 1280)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-5)
    assert F.cosine_similarity(together[0], together[2], dim=0) < 0.999


@pytest.mark.parametrize("shape", [(1, 5000, 3), (5000, 1, 3), (1, 1, 3)])
def test_a_strip_of_a_picture_is_embedded(efficient, shape):
    found = efficient.embed([np.zeros(shape, np.uint8)], size=64)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(1))
