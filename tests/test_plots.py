from __future__ import annotations

import io

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from course_utils import plots
from course_utils.metrics import accuracy_by_type

TABLE = accuracy_by_type([True, False, True], ["shape", "shape", "colour"])
RUNGS = pd.DataFrame({"method": ["blind", "seeing"], "accuracy": [0.67, 0.99], "spread": [0.0, 0.002]})
PICTURE = np.full((64, 64, 3), 200, dtype=np.uint8)


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    yield
    assert plt.get_fignums() == []  # else the inline backend would show it twice


DRAWN = {
    "pictures": (lambda: plots.pictures([PICTURE] * 3, ["a?\nyes", "b", "c"], correct=[True, False, True]), "a? yes"),
    "tensor picture": (lambda: plots.pictures([torch.rand(3, 8, 8)], alt="noise"), "noise"),
    "attention": (lambda: plots.attention(PICTURE, torch.eye(8)[None] / 8, ["red"]), "red: strongest at row 1"),
    "heatmap": (lambda: plots.heatmap(np.eye(2), ["cat", "dog"], ["Katze", "Hund"], title="Names"), "dog: Hund"),
    "curves": (lambda: plots.curves({"loss": [2.0, 1.0]}, xlabel="step", ylabel="loss", smooth=2), "from 2 to 1"),
    "confusion": (lambda: plots.confusion(["yes", "no", "no"], ["yes", "yes", "no"], ["yes", "no"]), "no 50%"),
    "by type": (lambda: plots.by_type({"blind": TABLE}, reference={"guessing": 0.1}), "shape 50.0%"),
    "ladder": (lambda: plots.ladder(RUNGS, highlight="seeing"), "blind 67.0%; seeing 99.0%"),
    "name map": (lambda: plots.name_map(np.eye(3)[:, :2], list("abc"), ["x", "y", "x"]), "3 names in 2 groups: x, y"),
    "map": (lambda: plots.course_map(["alignment"]), "alignment, lessons 04"),
}


@pytest.mark.parametrize(("draw", "said"), DRAWN.values(), ids=DRAWN)
def test_a_figure_is_a_picture_that_says_what_it_shows(draw, said):
    shown = draw()
    assert said in shown.alt
    width, height = Image.open(io.BytesIO(shown.png)).size
    assert width > 100 and height > 50
    bundle = shown._repr_mimebundle_()
    assert f'alt="{shown.alt.split(chr(34))[0]}' in bundle["text/html"]
    assert shown.alt in bundle["text/plain"]


def test_alt_text_is_escaped_and_never_empty():
    tag = plots.image_tag(b"png", 'He asked "why?" <b>')
    assert 'alt="He asked &quot;why?&quot; &lt;b&gt;"' in tag
    figure, _ = plt.subplots()
    with pytest.raises(ValueError, match="alternative text"):
        plots.show(figure, " ")
    plt.close(figure)


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda: plots.pictures([]), "no picture"),
        (lambda: plots.pictures([PICTURE], ["a", "b"]), "1 pictures need as many titles, not 2"),
        (lambda: plots.attention(PICTURE, np.ones((2, 8, 8)), ["one"]), "2 maps need as many words, not 1"),
        (lambda: plots.heatmap(np.eye(2), ["a"], ["b", "c"]), "do not fit"),
        (lambda: plots.name_map(np.eye(3), list("abc"), list("xyz")), "do not fit points"),
        (lambda: plots.course_map(["kitchen"]), "no kitchen"),
    ],
)
def test_what_cannot_be_drawn_is_named(draw, said):
    with pytest.raises(ValueError, match=said):
        draw()
    plt.close("all")


def test_a_grey_picture_is_refused():
    figure, axis = plt.subplots()
    with pytest.raises(ValueError, match=r"not \(8, 8\)"):
        plots.overlay(axis, np.zeros((8, 8)), None)
    plt.close(figure)


@pytest.mark.parametrize("width", [1, 2, 3, 10])
def test_running_mean_equals_a_slow_loop(width):
    values = np.random.default_rng(0).normal(size=7)
    around = [[j for j in range(i - width // 2, i - width // 2 + width) if 0 <= j < 7] for i in range(7)]
    slow = [np.mean([values[j] for j in places]) for places in around]
    np.testing.assert_allclose(plots.running_mean(values, width), slow)


def test_a_running_mean_does_not_lag():
    step = np.repeat([1.0, 0.0], 10)
    assert plots.running_mean(step, 5)[[9, 10]].mean() == 0.5  # halfway down where the values fall
    np.testing.assert_allclose(plots.running_mean(np.arange(9.0), 3)[1:-1], np.arange(9.0)[1:-1])


def test_labels_of_close_points_do_not_cover_each_other():
    figure, axis = plt.subplots()
    places = np.array([[0.5, 0.5], [0.51, 0.5], [0.5, 0.51], [0.0, 0.0], [1.0, 1.0]])
    axis.scatter(*places.T)
    plots._label(axis, places, ["mermaid", "zombie", "volcano", "a", "b"])
    boxes = [text.get_window_extent() for text in axis.texts]
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    plt.close(figure)
