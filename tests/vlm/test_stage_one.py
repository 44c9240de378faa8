from __future__ import annotations

import numpy as np
import pytest
import torch

from course_utils import checkpoints, results, vlm
from course_utils.datasets import emoji_scenes
from course_utils.language import llm
from course_utils.vlm import bridges, stage_one
from course_utils.vlm.targets import CellTargets


@pytest.fixture(scope="module")
def described():
    torch.manual_seed(0)
    scenes = emoji_scenes.split("train", pictures=6)
    return stage_one.Described(scenes, torch.randn(6, 16, vlm.PictureReader.DIM).half())


@pytest.fixture(scope="module")
def language():
    return llm.load(llm.fast_dtype())


def test_cells_that_say_the_names_of_what_they_show_are_heard(language):
    """An oracle names what stands alone in its cells; one that says the mean of all names does not."""
    names = CellTargets(emoji_scenes.WORLD, *language, 0)
    data = {
        split: stage_one.Described(scenes, torch.arange(len(scenes.scenes)).view(-1, 1, 1))
        for split in ("test", "unseen")
        for scenes in [emoji_scenes.split(split, pictures=20)]
    }
    for split, side in (("test", "seen"), ("unseen", "unseen")):
        said = torch.stack([names.cells(scene) for scene in data[split].scenes.scenes])
        assert stage_one.named_by_cells(lambda _, said=said: said, names, data[split])[side] > 0.95
        mute = names.states.mean(dim=0).expand_as(said) + 1e-6 * torch.randn_like(said)
        assert stage_one.named_by_cells(lambda _, said=mute: said, names, data[split])[side] < 0.2


def test_named_counts_exact_names_alone(described):
    scenes = described.scenes.scenes[:2]
    said = [emoji_scenes.caption(scenes[0]), "a thing and another"]
    things = [len(scene.things) for scene in scenes]
    assert stage_one.named(said, scenes)["seen"] == pytest.approx(things[0] / sum(things))
    assert np.isnan(stage_one.named(said, scenes)["unseen"])


def test_a_limited_run_goes_round_as_often_as_it_must(described, language):
    seeing = vlm.VisionLanguageModel(*language, bridges.Blind(vlm.PictureReader.DIM, 576), 1)
    batches = described.batches(seeing, pictures_per_batch=4, shuffle=True)
    limited = stage_one.StepLimit(batches, 5)
    assert [len(batch["input_ids"]) for batch in limited] == [4, 2, 4, 2, 4] and len(limited) == 5


@pytest.mark.parametrize("name", ["linear, solved first", "gated cross-attention"])
def test_two_steps_of_training(name, described, tmp_path, monkeypatch):
    model, history = stage_one.train(stage_one.METHODS[name], described, seed=0, steps=2, pictures_per_batch=2)
    again, repeated = stage_one.train(stage_one.METHODS[name], described, seed=0, steps=2, pictures_per_batch=2)
    assert len(history.loss) == 2 and np.isfinite(history.loss).all()
    np.testing.assert_allclose(history.loss, repeated.loss, rtol=1e-3)
    assert np.isfinite(stage_one.caption_loss(model, described))
    monkeypatch.setattr(stage_one, "CHECKPOINTS", tmp_path)
    checkpoints.save_weights(vlm.compact(model), stage_one.checkpoint(name))
    loaded = stage_one.shipped(name)
    for key, value in model.bridge.state_dict().items():
        torch.testing.assert_close(loaded.bridge.state_dict()[key], value, rtol=1e-2, atol=1e-3)


def test_a_gate_that_is_shut_begins_at_the_language_model_itself(described):
    model, tokenizer = llm.load(torch.float32)  # in bfloat16, near ties turn round
    bridge = bridges.GatedCrossAttention(vlm.PictureReader.DIM, model.config.hidden_size)
    seeing = vlm.VisionLanguageModel(model, tokenizer, bridge, stage_one.JOIN_LAYER)
    batch = described.batches(seeing, pictures_per_batch=2).batch([0, 1])
    with torch.no_grad():
        logits = model(batch["input_ids"], attention_mask=(batch["turn_ids"] >= 0).long()).logits
        found = seeing(batch)  # from precomputed states, which are kept in float16
    plain = logits[batch["answer_mask"]]
    assert (found.argmax(dim=-1) == plain.argmax(dim=-1)).float().mean() > 0.9
    assert (found - plain).abs().mean() < 0.1


def test_every_method_was_measured():
    assert set(results.read("bridges")["method"]) == set(stage_one.METHODS)
    assert results.read("bridge_layers")["layer"].is_monotonic_increasing
