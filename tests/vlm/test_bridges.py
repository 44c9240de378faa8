from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from course_utils import checkpoints, vlm
from course_utils.datasets import emoji_scenes
from course_utils.language import llm
from course_utils.vlm import bridges
from experiments import bridges as recipe

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


# --- looks inside the language model ----------------------------------------------------------------------------


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


# --- the recipe that trains them on emoji scenes -----------------------------------------------------------------


@pytest.fixture(scope="module")
def described():
    torch.manual_seed(0)
    scenes = emoji_scenes.split("train", pictures=6)
    return recipe.Described(scenes, torch.randn(6, 16, vlm.PictureReader.DIM).half())


@pytest.fixture(scope="module")
def language():
    return llm.load(llm.fast_dtype())


def test_cells_that_say_the_names_of_what_they_show_are_heard(language):
    """An oracle names what stands alone in its cells; one that says the mean of all names does not."""
    names = cell_names.EmojiNames(*language, enter=0)
    data = {
        split: recipe.Described(scenes, torch.arange(len(scenes.scenes)).view(-1, 1, 1))
        for split in ("test", "unseen")
        for scenes in [emoji_scenes.split(split, pictures=20)]
    }
    for split, side in (("test", "seen"), ("unseen", "unseen")):
        said = torch.stack([names.cells(scene) for scene in data[split].scenes.scenes])
        assert recipe.named_by_cells(lambda _, said=said: said, names, data[split])[side] > 0.95
        mute = names.states.mean(dim=0).expand_as(said) + 1e-6 * torch.randn_like(said)
        assert recipe.named_by_cells(lambda _, said=mute: said, names, data[split])[side] < 0.2


def test_named_counts_exact_names_alone(described):
    scenes = described.scenes.scenes[:2]
    said = [emoji_scenes.caption(scenes[0]), "a thing and another"]
    things = [len(scene.things) for scene in scenes]
    assert recipe.named(said, scenes)["seen"] == pytest.approx(things[0] / sum(things))
    assert np.isnan(recipe.named(said, scenes)["unseen"])


def test_a_limited_run_goes_round_as_often_as_it_must(described, language):
    seeing = vlm.VisionLanguageModel(*language, bridges.Blind(vlm.PictureReader.DIM, 576), 1)
    batches = described.batches(seeing, pictures=4, shuffle=True)
    limited = recipe.Limited(batches, 5)
    assert [len(batch["ids"]) for batch in limited] == [4, 2, 4, 2, 4] and len(limited) == 5


@pytest.mark.parametrize("name", ["linear, solved first", "gated cross-attention"])
def test_two_steps_of_the_recipe(name, described, tmp_path, monkeypatch):
    model, history = recipe.train(recipe.METHODS[name], described, seed=0, steps=2, pictures=2)
    again, repeated = recipe.train(recipe.METHODS[name], described, seed=0, steps=2, pictures=2)
    assert len(history.loss) == 2 and np.isfinite(history.loss).all()
    np.testing.assert_allclose(history.loss, repeated.loss, rtol=1e-3)
    assert np.isfinite(recipe.caption_loss(model, described))
    monkeypatch.setattr(recipe, "CHECKPOINTS", tmp_path)
    checkpoints.save_weights(vlm.compact(model), recipe.checkpoint(name))
    loaded = recipe.trained(name)
    for key, value in model.bridge.state_dict().items():
        torch.testing.assert_close(loaded.bridge.state_dict()[key], value, rtol=1e-2, atol=1e-3)


def test_a_gate_that_is_shut_begins_at_the_language_model_itself(described, language):
    model, tokenizer = language
    bridge = bridges.GatedCrossAttention(vlm.PictureReader.DIM, model.config.hidden_size)
    seeing = vlm.VisionLanguageModel(model, tokenizer, bridge, recipe.ENTER)
    batch = described.batches(seeing, pictures=2).batch([0, 1])
    with torch.no_grad():
        plain = model(batch["ids"], attention_mask=(batch["turn"] >= 0).long()).logits[batch["asks"]].float()
        found = seeing(batch)  # after texts that were read ahead and kept in float16
    assert (found.argmax(dim=-1) == plain.argmax(dim=-1)).float().mean() > 0.9
    assert (found - plain).abs().mean() < 0.1
