from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from course_utils import results
from course_utils.applications.diagnosis import AttentionLSTM, Concat
from course_utils.datasets import phantom
from course_utils.encoders.text import MiniLM
from course_utils.encoders.x_ray import XRayEncoder
from experiments import medical


def test_a_row_replaces_its_older_self(tmp_path, monkeypatch):
    monkeypatch.setattr(medical, "TABLE", tmp_path / "medical.csv")
    for share in (0.25, 0.75):
        medical.store("diagnosis", "late", 0, np.arange(100) < 100 * share, steps=3)
    medical.store("diagnosis", "late", 1, np.ones(10))
    table = pd.read_csv(medical.TABLE)
    assert table[["method", "seed", "score"]].values.tolist() == [["late", 0, 0.75], ["late", 1, 1.0]]
    assert table["low"][0] < 0.75 < table["high"][0] and table["low"][1] == 1 and table["steps"][0] == 3


def test_the_interval_covers_the_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(5)
    covered = []
    for _ in range(60):
        some = rng.random(200) < 0.3
        low, high = medical.interval(lambda rows, s=some: s[rows].mean(), 200)
        covered.append(low <= 0.3 <= high)
    assert np.mean(covered) > 0.85


@pytest.fixture(scope="module")
def parts():
    torch.manual_seed(0)
    return medical.sides(
        phantom.new_or_scar, lambda one: int(one.new is not None), (60, 30, 40), MiniLM(), XRayEncoder().eval()
    )


def test_sides_are_other_patients(parts):
    train, choose, test = (set(side.patients.records) for side in parts)
    assert not train & test and not choose & test and not train & choose
    assert [len(side.targets) for side in parts] == [60, 30, 40]
    none = parts[0].without("X-ray", "record").inputs
    assert none[0].abs().sum() == 0 and not none[2].any()


def test_every_way_trains_and_is_stored(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(medical, "TABLE", tmp_path / "medical.csv")
    monkeypatch.setattr(medical, "SCAR_STEPS", 3)
    monkeypatch.setattr(medical, "RATES", (1e-3, 3e-3))
    medical.Way(AttentionLSTM, parts, 3, learn_scar=True).store("new or scar", "frozen", 0)
    encoder = XRayEncoder()
    before = encoder.layers[0].weight.clone()
    raw = [medical.dataclasses.replace(s, inputs=(torch.tensor(s.patients.x_rays), *s.inputs[1:])) for s in parts]
    medical.Way(Concat, raw, 3, encoder=encoder).store("new or scar", "trained on", 0)
    assert torch.equal(encoder.layers[0].weight, before)  # each run trains a copy
    table = pd.read_csv(medical.TABLE)
    assert table["method"].tolist() == ["frozen", "trained on"]
    assert table["learning_rate"].isin((1e-3, 3e-3)).all()
    assert table[["no_x_ray", "no_record", "ece"]].notna().to_numpy().all()


def test_the_calibration_error_by_hand():
    scores = torch.tensor([[0.91, 0.09], [0.91, 0.09], [0.6, 0.4], [0.4, 0.6]]).log()
    assert medical.calibration_error(scores, torch.tensor([0, 0, 0, 0])) == pytest.approx(
        0.5 * 0.09 + 0.5 * 0.1, abs=1e-6
    )


def test_the_stored_table_has_what_the_lesson_quotes():
    table = results.read("medical")
    of = table.groupby("task")["method"].agg(set)
    assert of["diagnosis"] >= {"most frequent", "record, bag of words", "late", "concat", "attention + LSTM"}
    assert of["new or scar"] >= {"record alone", "late, both learned where", "attention + LSTM, both learned where"}
    for task in ("diagnosis", "new or scar", "Open-I, effusion"):
        rows = table[(table["task"] == task)]
        assert set(rows["seed"]) == {0, 1, 2}
        assert ((rows["low"] <= rows["score"]) & (rows["score"] <= rows["high"])).all()
