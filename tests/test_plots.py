from __future__ import annotations

import io

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.text import Text
from PIL import Image

from course_utils import plots, widgets
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
def test_a_figure_has_alternative_text(draw, said):
    shown = draw()
    assert said in shown.alt
    width, height = Image.open(io.BytesIO(shown.png)).size
    assert width > 100 and height > 50
    bundle = shown._repr_mimebundle_()
    assert f'alt="{shown.alt.split(chr(34))[0]}' in bundle["text/html"]
    assert shown.alt in bundle["text/plain"]


PRICES, BROKEN = "is it $5 or $6?", r"pay $\frac{1$ <b>"  # mathematics to matplotlib, and mathematics that it refuses
PRICED = {
    "pictures": lambda: plots.pictures([PICTURE] * 2, [PRICES, BROKEN]),
    "attention": lambda: plots.attention(PICTURE, np.ones((2, 8, 8)), [PRICES, BROKEN]),
    "heatmap": lambda: plots.heatmap(np.eye(2), [PRICES, BROKEN], [PRICES, BROKEN], title=PRICES, unit=BROKEN),
    "curves": lambda: plots.curves(
        {PRICES: [2, 1], BROKEN: [1, 2]}, xlabel=PRICES, ylabel=BROKEN, reference={BROKEN: 1}
    ),
    "confusion": lambda: plots.confusion([PRICES], [BROKEN], [PRICES, BROKEN], title=BROKEN),
    "by type": lambda: plots.by_type({BROKEN: accuracy_by_type([True], [PRICES])}, title=PRICES),
    "ladder": lambda: plots.ladder(RUNGS.assign(method=[PRICES, BROKEN]), title=PRICES),
    "name map": lambda: plots.name_map(np.eye(2), [PRICES, BROKEN], [PRICES, BROKEN], title=PRICES),
    "answer": lambda: widgets.answer_card(PICTURE, PRICES, widgets.Reply({BROKEN: 0.6, PRICES: 0.4})),
    "gates": lambda: widgets.answer_card(PICTURE, BROKEN, widgets.Reply({PRICES: 1}, inside={BROKEN: np.ones(4)})),
    "search": lambda: widgets.search_card(BROKEN, [widgets.Found(PICTURE, PRICES, 0.5)]),
}


@pytest.mark.parametrize("name", PRICED)
def test_text_from_data_is_drawn_as_it_is(name, monkeypatch):
    drawn, finish = [], plots.Shown

    def look(figure, alt):
        drawn.extend(text for text in figure.findobj(Text) if "$" in text.get_text())
        return finish(figure, alt)

    monkeypatch.setattr(plots, "Shown", look)
    shown = PRICED[name]()
    assert drawn and not any(text.get_parse_math() for text in drawn)
    assert "$5 or $6" in shown.alt and "<b>" not in shown._repr_mimebundle_()["text/html"]
    assert plt.rcParams["text.parse_math"]  # a lesson's own figure may hold formulas


def test_a_long_question_leaves_room_for_the_picture(recwarn):
    long = "and what is to be seen there, " * 10
    cards = [widgets.answer_card(PICTURE, text, widgets.Reply({text: 0.9, "no": 0.1})) for text in ("short?", long)]
    heights, widths = zip(*(Image.open(io.BytesIO(card.png)).size[::-1] for card in cards), strict=True)
    assert widths[1] < 1.2 * widths[0] and not [one for one in recwarn if "constrained_layout" in str(one.message)]


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
        (lambda: plots.pictures([PICTURE] * 2, ["a", "b"], correct=[True]), "as many marks"),
        (lambda: plots.attention(PICTURE, np.full((8, 8), np.nan)), "weight is NaN"),
        (lambda: plots.curves({}, xlabel="x", ylabel="y"), "nothing to draw"),
        (lambda: plots.curves({"a": []}, xlabel="x", ylabel="y"), "nothing to draw"),
        (lambda: plots.by_type({}), "no table"),
        (lambda: plots.attention(PICTURE, np.ones((2, 8, 8)), ["one"]), "2 maps need as many words, not 1"),
        (lambda: plots.heatmap(np.eye(2), ["a"], ["b", "c"]), "do not fit"),
        (lambda: plots.name_map(np.eye(3), list("abc"), list("xyz")), "do not fit points"),
        (lambda: plots.course_map(["kitchen"]), "no kitchen"),
    ],
)
def test_bad_input_is_refused(draw, said):
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


@pytest.mark.parametrize("hole", [np.nan, np.inf])
def test_a_hole_in_the_values_is_a_hole_and_no_more(hole):
    values = np.arange(12.0)
    values[5] = hole
    assert np.flatnonzero(~np.isfinite(plots.running_mean(values, 3))).tolist() == [4, 5, 6]


def test_what_is_not_among_the_labels_counts_in_its_row():
    assert plots.confusion(["yes"] * 4, ["yes", "yes", "no", "maybe"], ["yes", "no"]).alt.endswith("yes 50%; no 0%.")


def test_a_cell_without_a_value_is_not_the_largest(monkeypatch):
    inks, finish = [], plots.Shown
    monkeypatch.setattr(plots, "Shown", lambda figure, alt: (inks.extend(figure.axes[0].texts), finish(figure, alt))[1])
    shown = plots.heatmap(np.array([[np.nan, 0.0, 1.0]]), ["a"], ["x", "y", "z"])
    assert shown.alt.endswith("a: z.") and [(t.get_text(), t.get_color()) for t in inks] == [
        ("0.00", "white"),
        ("1.00", "black"),
    ]


def test_marks_need_no_titles():
    marked, plain = (plots.pictures([PICTURE], correct=correct, alt="a") for correct in ([True], None))
    assert marked.png != plain.png


def test_a_running_mean_does_not_lag():
    step = np.repeat([1.0, 0.0], 10)
    assert plots.running_mean(step, 5)[[9, 10]].mean() == 0.5  # half of the step at the step
    np.testing.assert_allclose(plots.running_mean(np.arange(9.0), 3)[1:-1], np.arange(9.0)[1:-1])


def test_labels_of_close_points_do_not_cover_each_other():
    figure, axis = plt.subplots()
    places = np.array([[0.5, 0.5], [0.51, 0.5], [0.5, 0.51], [0.0, 0.0], [1.0, 1.0]])
    axis.scatter(*places.T)
    plots._label(axis, places, ["mermaid", "zombie", "volcano", "a", "b"])
    boxes = [text.get_window_extent() for text in axis.texts]
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    plt.close(figure)


# --- accessibility ----------------------------------------------------------------------------------------------

COLOUR_BLIND = {  # dichromacy on linear RGB (Machado, Oliveira and Fernandes, 2009, severity 1)
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
TO_XYZ = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]


def nearest_pair(colours, seen):
    """The smallest CIE 1976 L*a*b* distance between two of the colours, after a matrix on linear RGB."""
    channels = np.array(colours)
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    xyz = np.clip(linear @ np.transpose(seen), 0, 1) @ np.transpose(TO_XYZ) / (0.95047, 1, 1.08883)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    lab = np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)
    distances = np.linalg.norm(lab[:, None] - lab, axis=-1)
    return distances[np.triu_indices(len(lab), 1)].min()


@pytest.mark.parametrize(
    ("one", "other", "ratio"),
    [("white", "black", 21), ("#777777", "white", 4.478), ("#0000ff", "white", 8.592), ("red", "red", 1)],
)
def test_contrast_is_what_wcag_computes(one, other, ratio):
    assert plots.contrast(one, other) == pytest.approx(ratio, abs=0.001)
    assert plots.contrast(other, one) == plots.contrast(one, other)


def test_every_colour_contrasts_with_white():
    assert [colour for colour in plots.PALETTE if plots.contrast(colour) < 3] == []
    assert min(map(plots.contrast, (plots.RIGHT, plots.WRONG, plots.NEUTRAL))) >= 4.5  # also used for text


@pytest.mark.parametrize("kind", COLOUR_BLIND)
def test_colours_are_distinct_with_colour_blindness(kind):
    assert nearest_pair(plots.PALETTE[:6], COLOUR_BLIND[kind]) > 15
    assert nearest_pair(plots.PALETTE, COLOUR_BLIND[kind]) > 9
    assert nearest_pair([plots.RIGHT, plots.WRONG], COLOUR_BLIND[kind]) > 15


@pytest.mark.parametrize("grey", np.linspace(0, 1, 21))
def test_ink_contrasts_with_any_background(grey):
    assert plots.contrast(plots.ink_on((grey, grey, grey)), (grey, grey, grey)) >= 4.5


@pytest.mark.parametrize("name", DRAWN)
def test_text_in_figures_is_large_and_dark_enough(name, monkeypatch):
    drawn = []
    finish = plots.Shown

    def look(figure, alt):
        shown = finish(figure, alt)  # drawing sets the final colour of every text
        drawn.extend(text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip())
        return shown

    monkeypatch.setattr(plots, "Shown", look)
    plots.set_style()
    DRAWN[name][0]()
    assert [text for text in drawn if text.get_fontsize() < 7.5] == []
    on_white = [text for text in drawn if background(text) is None]
    assert [text for text in on_white if plots.contrast(text.get_color()) < 4.5] == []
    on_colour = [text for text in drawn if background(text) is not None]
    assert [text for text in on_colour if plots.contrast(text.get_color(), background(text)) < 4.5] == []


def background(text):
    """The colour behind a text: its box or its heat map cell; None for the white page."""
    if box := text.get_bbox_patch():
        return box.get_facecolor()[:3]
    cells = text.axes.collections[0] if text.axes and text in text.axes.texts and text.axes.collections else None
    if cells is None or len(cells.get_facecolors()) != len(text.axes.texts):
        return None
    return tuple(cells.get_facecolors()[list(text.axes.texts).index(text)][:3])
