from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from course_utils.vlm import bridges

DIM, WIDTH = 12, 20


@pytest.fixture
def features():
    torch.manual_seed(0)
    return 3 + 2 * torch.randn(5, 16, DIM)


def small(kind: str) -> bridges.Bridge:
    torch.manual_seed(1)
    return {
        "linear": lambda: bridges.LinearProjector(DIM, WIDTH),
        "placed": lambda: bridges.PlacedProjector(DIM, WIDTH),
        "mlp": lambda: bridges.MLPProjector(DIM, WIDTH),
        "resampler": lambda: bridges.Resampler(DIM, WIDTH, queries=7, inner=16, heads=2),
        "gated": lambda: bridges.GatedCrossAttention(DIM, WIDTH, before=(0, 2)),
        "blind": lambda: bridges.Blind(DIM, WIDTH, tokens=3),
    }[kind]()


def test_pixel_shuffle_is_that_of_torch():
    torch.manual_seed(0)
    grid = torch.randn(2, 4, 6, 5)
    ours = bridges.pixel_shuffle(grid)  # (2, 2, 3, 20): cells, then features
    theirs = F.pixel_unshuffle(grid.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)  # features, then cells
    torch.testing.assert_close(ours.unflatten(3, (4, 5)).transpose(3, 4).flatten(3), theirs)


def test_a_shuffled_cell_holds_its_square_row_by_row():
    grid = torch.arange(16.0).view(1, 4, 4, 1)
    assert bridges.pixel_shuffle(grid)[0, 0, 1].tolist() == [2, 3, 6, 7]


def test_a_grid_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="3 × 4 cells"):
        bridges.pixel_shuffle(torch.zeros(1, 3, 4, 2))


@pytest.mark.parametrize(
    ("kind", "tokens"), [("linear", 16), ("placed", 16), ("mlp", 16), ("resampler", 7), ("gated", 0), ("blind", 3)]
)
def test_picture_tokens_have_the_width_of_words(kind, tokens, features):
    assert small(kind)(features).shape == (5, tokens, WIDTH)


def test_a_placed_projector_begins_as_the_linear_one_and_can_tell_cells_apart(features):
    linear, placed = small("linear"), small("placed")
    torch.testing.assert_close(placed(features), linear(features))
    alike = features[:, :1].expand(-1, 16, -1)
    assert placed(alike).std(dim=1).max() < 1e-5  # the same content says the same in every cell ...
    nn.init.normal_(placed.places)
    torch.testing.assert_close(placed(alike) - linear(alike), placed.voice.loudness * placed.places.expand(5, -1, -1))


@pytest.mark.parametrize("kind", ["linear", "mlp", "resampler", "blind"])
def test_picture_tokens_begin_where_words_are_and_as_loud(kind):
    torch.manual_seed(0)
    features = 3 + 2 * torch.randn(50, 16, 400)
    words = 7 + 0.1 * torch.randn(90, 300)
    bridge = {
        "linear": bridges.LinearProjector, "mlp": bridges.MLPProjector, "resampler": bridges.Resampler,
        "blind": bridges.Blind,
    }[kind](400, 300)  # fmt: skip
    bridge.measure(features, words)
    found = bridge(features)
    assert found.mean().item() == pytest.approx(7, abs=0.05)
    assert 0.07 < (found - 7).std() < 0.14


def test_standardised_features_have_mean_zero_and_deviation_one(features):
    standardise = bridges.Standardise(DIM)
    standardise.measure(features.half())
    found = standardise(features.half()).flatten(0, 1)
    torch.testing.assert_close(found.mean(dim=0), torch.zeros(DIM), atol=1e-2, rtol=0)
    torch.testing.assert_close(found.std(dim=0), torch.ones(DIM), atol=1e-2, rtol=0)


def test_a_solved_projector_is_the_least_squares_map(features):
    torch.manual_seed(2)
    words = features.flatten(0, 1) @ torch.randn(DIM, WIDTH) + torch.randn(WIDTH)
    bridge = small("linear")
    bridge.measure(features, words)
    bridge.solve(features.flatten(0, 1), words, penalty=1e-6)
    torch.testing.assert_close(bridge(features).flatten(0, 1), words, atol=1e-3, rtol=1e-3)


def test_the_order_of_the_cells_matters_to_the_resampler(features):
    bridge = small("resampler")
    assert not torch.allclose(bridge(features), bridge(features.flip(1)), atol=1e-3)


def test_blind_tokens_know_nothing_of_the_picture(features):
    bridge = small("blind")
    torch.testing.assert_close(bridge(features), bridge(torch.zeros_like(features)))


# --- attention inside the language model-------------------------------------------------------------------------


@pytest.fixture
def layers():
    torch.manual_seed(3)
    return nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))


def through(layers, states):
    for layer in layers:
        states = layer(states)
    return states


def test_a_shut_gate_changes_nothing_at_all(layers, features):
    bridge, states = small("gated"), torch.randn(5, 4, WIDTH)
    with bridge.inside(layers, features):
        assert torch.equal(through(layers, states), through(layers, states))
        within = through(layers, states)
    assert torch.equal(within, through(layers, states))


def test_an_open_gate_sees_each_picture_in_its_own_row(layers, features):
    bridge, states = small("gated"), torch.randn(5, 4, WIDTH)
    nn.init.ones_(bridge.looks[1].gate)
    other = features.clone()
    other[2] += 1 + torch.randn(16, DIM)
    with bridge.inside(layers, features):
        before = through(layers, states)
    with bridge.inside(layers, other):
        after = through(layers, states)
    changed = (before - after).abs().amax(dim=(1, 2)) > 1e-6
    assert changed.tolist() == [False, False, True, False, False]


def test_the_gates_learn_though_they_begin_shut(layers, features):
    bridge = small("gated")
    with bridge.inside(layers, features):
        through(layers, torch.randn(5, 4, WIDTH)).square().sum().backward()
    assert all(look.gate.grad.abs() > 0 for look in bridge.looks)


def test_the_looks_are_gone_after_an_error(layers, features):
    bridge, states = small("gated"), torch.randn(5, 4, WIDTH)
    nn.init.ones_(bridge.looks[0].gate)
    plain = through(layers, states)
    with pytest.raises(KeyError), bridge.inside(layers, features):
        raise KeyError("stopped")
    assert torch.equal(through(layers, states), plain)
