from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from course_utils.datasets import emoji_scenes, shapes
from course_utils.language import llm
from course_utils.vlm import bridges, targets


@pytest.fixture(scope="module")
def language():
    return llm.load(llm.fast_dtype())


def test_shares_are_those_of_pixels():
    pixels = np.zeros((2, 128, 128))
    pixels[0, 10:50, 40:80] = 1
    pixels[1, 100:120, 3:23] = 1
    cells = pixels.reshape(2, 4, 32, 4, 32).sum(axis=(2, 4)).reshape(2, 16)
    found = targets.shares([(60, 30), (13, 110)], [40, 20], 128)
    np.testing.assert_allclose(found, cells / cells.sum(axis=1, keepdims=True))


def test_an_object_across_the_edge_is_shared_among_the_cells_that_show_it():
    assert targets.shares([(0, 64)], [20], 128).sum() == pytest.approx(1)


def test_cells_name_what_they_show(language):
    model, tokenizer = language
    scene = emoji_scenes.split("train", pictures=1).scenes[0]
    names = targets.CellTargets(emoji_scenes.WORLD, model, tokenizer, join_layer=2)
    words = names.cells(scene)
    shown = targets.shares([(t.x, t.y) for t in scene.things], [t.size for t in scene.things], 128)
    for cell in range(16):
        here = [thing for thing, share in zip(scene.things, shown[:, cell], strict=True) if share >= targets.MIN_SHARE]
        if not here:
            torch.testing.assert_close(words[cell], names.states[: names.seen].mean(dim=0))
        if len(here) == 1:
            row = names.words.index(emoji_scenes.name(here[0].emoji))
            torch.testing.assert_close(words[cell], names.states[row])


def test_a_shape_is_named_by_the_cell_that_shows_it(language):
    names = targets.CellTargets(shapes.WORLD, *language, join_layer=1)
    thing = shapes.Thing("large", "red", "star", 24, 40)  # within the cell of column 1 and row 2
    words = names.cells(shapes.Scene((thing,), (200, 200, 200)))
    torch.testing.assert_close(words[2 * 4 + 1], names.states[names.words.index("large red star")])
    torch.testing.assert_close(words[0], names.states.mean(dim=0))


def test_a_solved_bridge_is_ridge_regression_over_all_parts():
    torch.manual_seed(0)
    bridge = bridges.LinearProjector(40, 6)
    features, words = torch.randn(30, 16, 40), torch.randn(30, 16, 6)
    bridge.measure(features, words.flatten(0, 1))

    class Known:
        def cells(self, scene):
            return words[scene]

    targets.solve(bridge, [(features[:20], range(20), Known()), (features[20:], range(20, 30), Known())])
    standard = bridge.standardise(features).flatten(0, 1).numpy()
    theirs = Ridge(alpha=targets.PENALTY).fit(standard, words.flatten(0, 1))
    with torch.no_grad():
        found = bridge(features).flatten(0, 1).numpy()
    np.testing.assert_allclose(found, theirs.predict(standard), atol=1e-4)
