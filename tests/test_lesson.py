from __future__ import annotations

import random

import numpy as np
import pandas as pd
import pytest
import torch

from course_utils import lesson


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setenv("COURSE_DEVICE", "cpu")


def draw():
    return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002 - what start() is to seed


def test_start_seeds_everything(capsys):
    first = lesson.start("00")
    numbers = (*draw(), first.rng.random())
    second = lesson.start("00")
    assert (*draw(), second.rng.random()) == numbers
    third = lesson.start("00", seed=8)
    assert (*draw(), third.rng.random()) != numbers
    capsys.readouterr()


def test_start_prints_one_line_with_lesson_device_version_and_seconds(capsys):
    lesson.start("00")
    out, err = capsys.readouterr()
    assert out.count("\n") == 1 and err == ""
    for part in ("Lesson 00", "cpu", torch.__version__, "s to run"):
        assert part in out


def test_money_in_a_table_is_no_formula():
    pd.set_option("display.html.use_mathjax", True)
    lesson.start("00")
    assert "mathjax_ignore" in pd.DataFrame({"price": ["$5 or $6"]})._repr_html_()


def test_budget_chooses_by_device():
    rng = np.random.default_rng(0)
    assert lesson.Lesson("00", torch.device("cpu"), 0, rng).budget(cpu=1, gpu=9) == 1
    assert lesson.Lesson("00", torch.device("cuda"), 0, rng).budget(cpu=1, gpu=9) == 9


def test_an_unknown_lesson_is_refused():
    with pytest.raises(ValueError, match="no lesson '77'. The lessons are: 00"):
        lesson.start("77")


@pytest.mark.parametrize("name", ["nonsense", "cuda:99", "xpu"])
def test_a_device_that_does_not_work_is_named(monkeypatch, name):
    monkeypatch.setenv("COURSE_DEVICE", name)
    with pytest.raises(ValueError, match=f"COURSE_DEVICE='{name}' does not work.*Unset it"):
        lesson.choose_device()


@pytest.mark.parametrize(("has_cuda", "expected"), [(True, "cuda"), (False, "cpu")])
def test_cuda_is_taken_where_there_is_one_and_mps_never_by_itself(monkeypatch, has_cuda, expected):
    monkeypatch.delenv("COURSE_DEVICE")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert lesson.choose_device().type == expected
