"""The ladder: that a run trains and repeats, and that the stored results meet what the course promises."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest
import torch

from course_utils import checkpoints, results
from course_utils.datasets import shapes
from course_utils.paths import CHECKPOINTS
from course_utils.reasoning import grid, ladder

OBJECTS = [kind for kind in shapes.TYPES if kind not in shapes.RELATIONAL_TYPES]


@pytest.fixture(scope="module")
def data():
    return grid.load("validation", pictures=48)


def test_the_same_seed_gives_the_same_run(data):
    rung = ladder.RUNGS["dot-product attention"]
    (one, first), (other, second) = (ladder.train_rung(rung, data, seed=3, epochs=2) for _ in range(2))
    assert first.loss == second.loss
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert ladder.train_rung(rung, data, seed=4, epochs=1)[1].loss[0] != first.loss[0]


def test_no_epochs_are_not_the_rungs_own(data):
    with pytest.raises(ValueError, match="epochs is 0"):
        ladder.train_rung(ladder.RUNGS["question only"], data, seed=0, epochs=0)


def test_summary_gives_mean_and_largest_distance():
    table = pd.DataFrame({"method": ["a", "a", "b", "b"], "test": [0.5, 0.7, 0.1, 0.1]})
    rows = ladder.summary(table).round(6).to_dict("records")
    assert rows == [{"method": "b", "accuracy": 0.1, "spread": 0.0}, {"method": "a", "accuracy": 0.6, "spread": 0.1}]


WITH_STEPPING_STONES = [name for name, rung in ladder.RUNGS.items() if rung.stepping_stone_epochs]  # may take longer


# --- the stored results -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def means():
    return results.read("ladder").groupby("method").mean(numeric_only=True)


def test_every_rung_was_climbed_three_times():
    counts = results.read("ladder").groupby("method")["seed"].nunique()
    assert counts.to_dict() == dict.fromkeys(ladder.RUNGS, 3)


def test_no_run_took_more_than_its_budget():
    seconds = results.read("ladder").groupby("method")["cpu_seconds"].max()
    assert seconds.drop(WITH_STEPPING_STONES).max() <= 90
    assert seconds[WITH_STEPPING_STONES].max() <= 600


def test_blind_methods_stay_near_chance(means):
    assert means.loc["question only", "test"] < 0.40 and means.loc["picture only", "test"] < 0.40


def test_a_product_beats_standing_side_by_side(means):
    best = max(means.loc[name, "test"] for name in ("full bilinear", "MLB", "MUTAN", "MFB"))
    assert best > means.loc["mean pool + concatenation", "test"] + 0.05


@pytest.mark.parametrize("name", ["additive attention", "dot-product attention"])
def test_one_look_reads_objects(means, name):
    assert means.loc[name, OBJECTS].mean() > 0.97


def test_the_transformer_reasoner_reaches_the_top(means):
    top = means.loc["Transformer reasoner"]
    assert top["test"] >= 0.985 and top[list(shapes.RELATIONAL_TYPES)].min() >= 0.97


def test_the_control_differs_from_the_reasoner_in_its_alignment_alone():
    control, reasoner = ladder.RUNGS["two-hop attention, reasoner's training mix"], ladder.RUNGS["Transformer reasoner"]
    assert dataclasses.replace(control, align=reasoner.align) == reasoner
    assert str(control.build()) == str(ladder.RUNGS["two-hop attention"].build())


def test_the_training_mix_alone_does_not_make_a_reasoner(means):
    hops, mixed, reasoner = (
        means.loc[name, "test"]
        for name in ("two-hop attention", "two-hop attention, reasoner's training mix", "Transformer reasoner")
    )
    assert hops < mixed < reasoner - 0.1


# --- the shipped models -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [method for method, encoder in ladder.SHIPPED if encoder == "GridCNN"])
def test_the_shipped_models_are_runs_of_the_ladder(method):
    model = ladder.shipped(method)
    assert not model.training and not any(weight.requires_grad for weight in model.parameters())
    path = CHECKPOINTS / f"{ladder.SHIPPED[method, 'GridCNN']}.safetensors"
    notes = checkpoints.load_checkpoint(ladder.RUNGS[method].build(), path)
    runs = results.read("ladder").set_index(["method", "seed"])
    assert notes["method"] == method
    assert notes["test"] == pytest.approx(runs.loc[(method, notes["seed"]), "test"], abs=0.01)


@pytest.mark.parametrize("asked", [("additive attention",), ("LSTM reasoner", "AttributeCNN")])
def test_a_model_that_is_not_shipped_is_named(asked):
    with pytest.raises(ValueError, match="only of: dot-product attention over GridCNN, two-hop attention over GridCNN"):
        ladder.shipped(*asked)
