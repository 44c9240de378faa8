"""Figures of the course: pictures, attention maps, curves, heat maps, bar charts.

Functions return a :class:`Shown`: leave it on the last line of a cell, or pass it to ``display``. It puts its
alternative text into HTML, because JupyterLab, nbconvert and Sphinx drop alternative text stored in metadata. Text is
drawn as it is: "$5 or $6" is no formula. Figures of your own that end in :func:`show` may hold formulas.
"""

from __future__ import annotations

import base64
import html
import io
import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

# Seaborn's colour-blind palette, darkened so that every colour has a contrast of 3 to 1 with white (WCAG 2.2 for
# graphics) and colours stay distinguishable with colour blindness, the first six best.
PALETTE = [
    to_rgb(colour) for colour in (
        "#0173b2", "#ca8000", "#02a076", "#b24d05", "#c879af", "#9c7a45", "#e05cd1", "#939393", "#a1953d", "#319cd2",
    )
]  # fmt: skip
RIGHT, WRONG = to_rgb("#017354"), PALETTE[3]  # for text, which needs 4.5 to 1
NEUTRAL = "0.45"
DOTS_PER_INCH = 110
LITERAL_TEXT = plt.rc_context({"text.parse_math": False})  # decorates functions that draw text from data


class Shown:
    """A finished figure as ``png`` bytes, with its alternative text ``alt``."""

    def __init__(self, figure: Figure, alt: str) -> None:
        if not alt.strip():
            raise ValueError("A figure needs an alternative text: say in a sentence what it shows.")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, bbox_inches="tight", facecolor="white")
        plt.close(figure)  # else the inline backend would draw it a second time
        self.alt, self.png = alt, buffer.getvalue()

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return {"text/html": image_tag(self.png, self.alt), "text/plain": f"[figure: {self.alt}]"}


def image_tag(png: bytes, alt: str) -> str:
    """An HTML image with its alternative text, on white so that it is readable in a dark theme."""
    data = base64.b64encode(png).decode()
    style = "max-width:100%;height:auto;background:white"
    return f'<img alt="{html.escape(alt, quote=True)}" style="{style}" src="data:image/png;base64,{data}">'


def set_style() -> None:
    """Set the course's defaults: Seaborn's white grid, the palette, sizes for a notebook."""
    sns.set_theme(context="notebook", style="whitegrid", palette=PALETTE, font_scale=0.9)
    plt.rcParams.update({"figure.figsize": (7, 3.6), "axes.titlesize": "medium", "axes.titleweight": "bold"})


def show(figure: Figure, alt: str) -> Shown:
    """Close a figure of your own and attach its alternative text."""
    return Shown(figure, alt)


def contrast(one, other="white") -> float:
    """Contrast ratio of two colours (WCAG 2.2), from 1 (the same) to 21 (black on white)."""
    channels = np.array([to_rgb(one), to_rgb(other)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    dark, light = sorted(linear @ (0.2126, 0.7152, 0.0722))  # relative luminance
    return float((light + 0.05) / (dark + 0.05))


def ink_on(background) -> str:
    """Black or white, whichever contrasts more with a background colour: at least 4.5 to 1."""
    return max(("black", "white"), key=lambda ink: contrast(ink, background))


# --- pictures ---------------------------------------------------------------------------------------------------


def wrapped(text: str, width: int, most: int | None = None) -> str:
    """The text with each of its lines broken into lines of ``width`` characters, ``most`` at most."""
    return "\n".join(textwrap.fill(line, width, max_lines=most, placeholder=" …") for line in text.split("\n"))


@LITERAL_TEXT
def pictures(
    images: Sequence, titles: Sequence[str] = (), *, columns: int = 6, size: float = 1.5,
    correct: Sequence[bool] | None = None, alt: str | None = None,
) -> Shown:  # fmt: skip
    """A grid of pictures, each with a title below.

    Args:
        images: Arrays (H, W, 3), uint8 or float in [0, 1], or tensors (3, H, W).
        titles: One per picture, or none.
        columns: Pictures per row.
        size: Width of a picture in inches.
        correct: Marks and colours each title as right or wrong.
        alt: Alternative text; by default the titles.
    """
    if len(images) == 0:
        raise ValueError("There is no picture to show.")
    marks = [""] * len(images) if correct is None else ["✓ " if right else "✗ " for right in correct]
    if (titles and len(titles) != len(images)) or len(marks) != len(images):
        raise ValueError(f"{len(images)} pictures need as many titles, not {len(titles)}, and as many marks, if any.")
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    width = max(10, int(15 * size))  # characters that fit
    named = titles or [""] * (0 if correct is None else len(images))
    captions = [wrapped(mark + title, width) for mark, title in zip(marks, named, strict=False)]
    lines = max((caption.count("\n") + 1 for caption in captions), default=0)
    shape = (columns * size, rows * (size + 0.16 * lines + 0.1))
    figure, axes = plt.subplots(rows, columns, figsize=shape, squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.axis("off")
    for number, (axis, image) in enumerate(zip(axes.flat, images, strict=False)):
        overlay(axis, image, None)
        if captions:
            colour = "black" if correct is None else RIGHT if correct[number] else WRONG
            axis.set_title(captions[number], fontsize=7.5, color=colour, fontweight="normal", y=0, pad=-3, va="top")
    return Shown(figure, alt or f"{len(images)} pictures: " + "; ".join(t.replace("\n", " ") for t in titles))


@LITERAL_TEXT
def attention(image, weights, words: Sequence[str] = (), *, alt: str | None = None) -> Shown:
    """Attention maps over a picture: one, or one per word.

    Args:
        image: (H, W, 3) or (3, H, W).
        weights: (rows, columns) for one map, or (words, rows, columns).
        words: Titles of the maps.
        alt: Alternative text; by default where each map is largest.
    """
    maps = _array(weights)
    maps = maps[None] if maps.ndim == 2 else maps
    words = list(words) or [""] * len(maps)
    if len(words) != len(maps):
        raise ValueError(f"{len(maps)} maps need as many words, not {len(words)}.")
    figure, axes = plt.subplots(1, len(maps), figsize=(1.7 * len(maps), 1.9), squeeze=False, layout="constrained")
    said = "Attention over the picture."
    for axis, weight, word in zip(axes.flat, maps, words, strict=True):
        overlay(axis, image, weight)
        axis.set_title(wrapped(word, 24, most=3), fontsize="small")
        (row, column), (rows, columns) = np.unravel_index(weight.argmax(), weight.shape), weight.shape
        said += f" {word}{': ' if word else ''}strongest at row {row + 1}, column {column + 1} of {rows} by {columns}."
    return Shown(figure, alt or said)


def overlay(axis, image, weight) -> None:
    """Draw a picture and over it attention weights (rows, columns), or None for the picture alone."""
    array = _array(image)
    if array.ndim == 3 and array.shape[0] == 3 and array.shape[-1] != 3:
        array = array.transpose(1, 2, 0)
    if array.ndim != 3 or array.shape[-1] != 3:
        raise ValueError(f"A picture is (height, width, 3) or (3, height, width), not {array.shape}.")
    axis.imshow(array if array.dtype == np.uint8 else array.clip(0, 1), interpolation="nearest")
    axis.axis("off")
    if weight is not None:
        weight, (height, width, _) = _array(weight), array.shape
        if np.isnan(weight).any():
            raise ValueError("An attention weight is NaN: there is no largest one to show.")
        axis.imshow(
            weight, cmap="magma", alpha=0.6, vmin=0, vmax=max(float(weight.max()), 1e-9),
            extent=(-0.5, width - 0.5, height - 0.5, -0.5), interpolation="nearest",
        )  # fmt: skip


# --- numbers ----------------------------------------------------------------------------------------------------


@LITERAL_TEXT
def heatmap(
    values, rows: Sequence[str], columns: Sequence[str], *, title: str = "", unit: str = "", alt: str | None = None
) -> Shown:
    """A heat map of values (rows, columns), with the numbers written in up to 100 cells.

    The alternative text defaults to the column of the largest value in each row.
    """
    table = _array(values)
    if table.shape != (len(rows), len(columns)):
        raise ValueError(f"{len(rows)} rows and {len(columns)} columns do not fit values of shape {table.shape}.")
    labels = 0.085 * max(len(name) for name in rows)  # inches
    size = (1.5 + labels + 0.55 * len(columns), 1.2 + 0.38 * len(rows))
    figure, axis = _colour_table(table, rows, columns, unit, size, table.size <= 100, 8, cmap="viridis")
    axis.set_title(title)
    axis.tick_params(axis="y", rotation=0)
    filled = np.where(np.isnan(table), -np.inf, table)  # a cell without a value is left white
    best = "; ".join(f"{name}: {columns[int(row.argmax())]}" for name, row in zip(rows[:12], filled, strict=False))
    return Shown(figure, alt or f"{title or 'Heat map'}. Largest in each row: {best}.")


@LITERAL_TEXT
def confusion(targets: Sequence[str], predictions: Sequence[str], labels: Sequence[str], *, title: str = "") -> Shown:
    """Confusion matrix: true answers in rows, predicted ones in columns, as shares of each row.

    Predictions that are not among the labels have no column, but count in their row.
    """
    from sklearn.metrics import confusion_matrix

    counts = confusion_matrix(targets, predictions, labels=list(labels)).astype(float)
    totals = [[max(1, sum(target == name for target in targets))] for name in labels]
    shares = counts / totals
    size = (1.6 + 0.5 * len(labels), 1.2 + 0.42 * len(labels))
    look = {"cmap": "cividis", "vmin": 0, "vmax": 1}
    figure, axis = _colour_table(shares, labels, labels, "share of the row", size, len(labels) <= 15, 7.5, **look)
    axis.set(xlabel="predicted answer", ylabel="true answer", title=title)
    worst = "; ".join(f"{name} {share:.0%}" for name, share in zip(labels, shares.diagonal(), strict=True))
    return Shown(figure, f"{title or 'Confusion matrix'}. Answered rightly: {worst}.")


def _colour_table(table, rows, columns, unit, size, numbers, font_size, **look):
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    sns.heatmap(
        table, ax=axis, annot=numbers, fmt=".2f", annot_kws={"fontsize": font_size}, xticklabels=columns,
        yticklabels=rows, cbar_kws={"label": unit}, **look,
    )  # fmt: skip
    filled = axis.collections[0].get_facecolors()[~np.isnan(table).ravel()]
    for text, colour in zip(axis.texts, filled, strict=False):
        text.set_color(ink_on(colour[:3]))  # seaborn's own choice has too little contrast
    return figure, axis


@LITERAL_TEXT
def curves(
    series: Mapping[str, Sequence[float]], *, xlabel: str, ylabel: str,
    x: Mapping[str, Sequence[float]] | Sequence[float] | None = None, smooth: int = 1,
    reference: Mapping[str, float] | None = None, title: str = "", alt: str | None = None,
) -> Shown:  # fmt: skip
    """Line plot of named series.

    Args:
        series: Values by name.
        x: Positions, for all series or by name; by default 1, 2, 3, …
        smooth: Width of a centred running mean, in values; the raw values stay visible behind it.
        reference: Horizontal lines, height by name.
        alt: Alternative text; by default the first and last value of each series.
    """
    if not series or not all(map(len, series.values())):
        raise ValueError("There is nothing to draw: give at least one series, and each at least one value.")
    figure, axis = plt.subplots(layout="constrained")
    for number, (name, values) in enumerate(series.items()):
        colour = PALETTE[number % len(PALETTE)]
        values = _array(values).astype(float)
        at = x.get(name) if isinstance(x, Mapping) else x
        at = np.arange(1, len(values) + 1) if at is None else np.asarray(at, dtype=float)
        if smooth > 1:
            axis.plot(at, values, color=colour, alpha=0.25, linewidth=0.8)
        marker = "o" if len(values) <= 30 else None
        axis.plot(at, running_mean(values, smooth), color=colour, label=name, marker=marker, markersize=4)
    for number, (name, height) in enumerate((reference or {}).items()):
        axis.axhline(height, color=NEUTRAL, linestyle=("--", ":", "-.")[number % 3], linewidth=1.2, label=name)
    axis.set(xlabel=xlabel, ylabel=ylabel, title=title)
    lines = len(series) + len(reference or {})
    if lines > 1:  # beside the axes if a legend inside would cover lines
        axis.legend(fontsize="small", **({"loc": "upper left", "bbox_to_anchor": (1, 1)} if lines > 4 else {}))
    ends = "; ".join(f"{name} from {values[0]:.3g} to {values[-1]:.3g}" for name, values in series.items())
    return Shown(figure, alt or f"{title or ylabel} against {xlabel}: {ends}.")


@LITERAL_TEXT
def name_map(points, names: Sequence[str], groups: Sequence[str], *, title: str = "", alt: str | None = None) -> Shown:
    """Scatter plot of points (n, 2) labelled with their names, one colour and marker per group."""
    places, kinds = _array(points), list(dict.fromkeys(groups))
    if places.shape != (len(names), 2) or len(groups) != len(names):
        raise ValueError(f"{len(names)} names and {len(groups)} groups do not fit points of shape {places.shape}.")
    figure, axis = plt.subplots(figsize=(9, 6.2), layout="constrained")
    for number, kind in enumerate(kinds):
        rows = [i for i, group in enumerate(groups) if group == kind]
        axis.scatter(*places[rows].T, color=PALETTE[number % 10], marker="os^DvPX*<>"[number % 10], s=28, label=kind)
    axis.margins(0.09)
    axis.set(xticks=[], yticks=[], title=title)
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    _label(axis, places, names)
    return Shown(figure, alt or f"{title}. {len(names)} names in {len(kinds)} groups: {', '.join(kinds)}.")


_SIDES = [  # label positions: offset from the point in points (1/72 inch), and alignment
    {"position": (x, y), "ha": horizontal, "va": vertical} for x, y, horizontal, vertical in (
        (3, 3, "left", "bottom"), (3, -3, "left", "top"), (-3, 3, "right", "bottom"), (-3, -3, "right", "top"),
        (6, 0, "left", "center"), (-6, 0, "right", "center"), (0, 6, "center", "bottom"), (0, -6, "center", "top"),
    )
]  # fmt: skip


def _label(axis, places: np.ndarray, names: Sequence[str]) -> None:
    """Write each name beside its point, on the side where it overlaps other labels and markers least."""
    axis.figure.canvas.draw()  # pixel positions are unknown before
    x, y = axis.transData.transform(places).T
    marker = 3 * axis.figure.dpi / 72  # radius in pixels
    taken = np.stack([x - marker, y - marker, x + marker, y + marker], axis=1)  # (n, 4): left, bottom, right, top
    for name, place in zip(names, places, strict=True):
        label = axis.annotate(name, place, (0, 0), textcoords="offset points", fontsize=7.5)
        covered = []
        for side in _SIDES:
            label.set(**side)
            box = label.get_window_extent().extents
            sides = np.minimum(box[2:], taken[:, 2:]) - np.maximum(box[:2], taken[:, :2])  # (taken, 2) of each overlap
            covered.append(sides.clip(min=0).prod(axis=1).sum())
        label.set(**_SIDES[int(np.argmin(covered))])
        taken = np.vstack([taken, label.get_window_extent().extents])


def running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Centred running mean over ``width`` values (fewer at the ends), of the same length."""
    if width <= 1:
        return values
    here = slice(width - 1 - width // 2, width - 1 - width // 2 + len(values))
    sums, counts = (np.convolve(some, np.ones(width))[here] for some in (values, np.ones(len(values))))
    return sums / counts


@LITERAL_TEXT
def by_type(tables: Mapping[str, object], *, title: str = "", reference: Mapping[str, float] | None = None) -> Shown:
    """Bars of accuracy by question type with 95 % intervals.

    Args:
        tables: Tables of :func:`course_utils.metrics.accuracy_by_type`, by name.
        reference: Horizontal lines, accuracy by name.
    """
    if not tables:
        raise ValueError("There is no table to show.")
    types = list(next(iter(tables.values()))["type"])
    figure, axis = plt.subplots(figsize=(max(7, len(types) + 2), 3.6), layout="constrained")
    width = 0.8 / len(tables)
    for number, (name, table) in enumerate(tables.items()):
        table = table.set_index("type").loc[types]
        at = np.arange(len(types)) + (number - (len(tables) - 1) / 2) * width
        error = np.clip([table["accuracy"] - table["low"], table["high"] - table["accuracy"]], 0, None)
        bars = axis.bar(at, table["accuracy"], width * 0.92, yerr=error, label=name, capsize=2, error_kw={"lw": 1})
        axis.bar_label(bars, labels=[f"{share:.0%}" for share in table["accuracy"]], fontsize=7.5, padding=2)
    for name, height in (reference or {}).items():
        axis.axhline(height, color=NEUTRAL, linestyle="--", linewidth=1.2, label=name)
    axis.set(ylim=(0, 1.12), ylabel="accuracy", title=title)
    axis.set_xticks(range(len(types)), types)
    axis.grid(axis="x", visible=False)
    axis.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    said = "; ".join(
        f"{name}: " + ", ".join(f"{row.type} {row.accuracy:.1%}" for row in table.itertuples())
        for name, table in tables.items()
    ).replace("\n", " ")
    return Shown(figure, f"{title or 'Accuracy by question type'}. {said}.")


@LITERAL_TEXT
def ladder(table, *, highlight: str | None = None, title: str = "The ladder") -> Shown:
    """Bars of the methods' accuracies, lowest first.

    Args:
        table: Columns ``method``, ``accuracy`` (mean over seeds), ``spread`` (largest deviation of a seed from it).
        highlight: A method to draw in another colour.
    """
    rows = table.sort_values("accuracy").reset_index(drop=True)
    figure, axis = plt.subplots(figsize=(7, 0.6 + 0.36 * len(rows)), layout="constrained")
    colours = [PALETTE[1] if method == highlight else PALETTE[0] for method in rows["method"]]
    bars = axis.barh(rows["method"], rows["accuracy"], xerr=rows["spread"], color=colours, capsize=2)
    axis.bar_label(bars, labels=[f"{share:.1%}" for share in rows["accuracy"]], fontsize=8, padding=3)
    axis.set(xlim=(0, 1.15), xticks=np.linspace(0, 1, 6), xlabel="accuracy", title=title)
    axis.grid(axis="y", visible=False)
    said = "; ".join(f"{row.method} {row.accuracy:.1%}" for row in rows.itertuples())
    return Shown(figure, f"{title}. From the lowest rung: {said}.")


def _array(values) -> np.ndarray:
    return values.detach().cpu().float().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


# --- the map of the course --------------------------------------------------------------------------------------

_BOXES = {  # name: (x, y, text, lessons)
    "picture": (0.0, 2.0, "picture", ""), "image encoder": (1.6, 2.0, "image encoder", "02"),
    "text": (0.0, 1.0, "question", ""), "text encoder": (1.6, 1.0, "text encoder", "01"),
    "speech": (0.0, 0.0, "speech", ""), "speech encoder": (1.6, 0.0, "speech encoder", "03"),
    "alignment": (3.4, 1.0, "alignment", "04 embedding · 05 factorised\n06 contrastive · 07 attention"),
    "reasoner": (5.4, 1.0, "reasoner", "08 LSTM\n09 Transformer\n10–12 LLM"),
    "answer": (6.95, 1.0, "answer", "13 medicine\n14 speech"),
}  # fmt: skip
_ARROWS = (
    ("picture", "image encoder"), ("text", "text encoder"), ("speech", "speech encoder"),
    ("image encoder", "alignment"), ("text encoder", "alignment"), ("speech encoder", "alignment"),
    ("alignment", "reasoner"), ("reasoner", "answer"),
)  # fmt: skip


def course_map(highlight: Sequence[str] = ()) -> Shown:
    """The course's pipeline with the lessons on each part; ``highlight`` names parts to colour."""
    if unknown := set(highlight) - set(_BOXES):
        raise ValueError(f"The map has no {', '.join(sorted(unknown))}. It has: {', '.join(_BOXES)}.")
    figure, axis = plt.subplots(figsize=(9.5, 3.4), layout="constrained")
    patches = {}
    for name, (x, y, text, lessons) in _BOXES.items():
        colour = PALETTE[1] if name in highlight else "#dfe7f2" if lessons else "white"
        box = {"boxstyle": "round,pad=0.45", "facecolor": colour, "edgecolor": NEUTRAL}
        label = f"{text}\n{lessons}" if lessons else text
        patches[name] = axis.text(x, y, label, ha="center", va="center", fontsize=9, bbox=box).get_bbox_patch()
    for start, end in _ARROWS:  # from box edge to box edge
        ends = {"patchA": patches[start], "patchB": patches[end], "shrinkA": 0, "shrinkB": 2}
        arrow = {"arrowstyle": "-|>", "color": NEUTRAL, **ends}
        axis.annotate("", _BOXES[end][:2], _BOXES[start][:2], arrowprops=arrow)
    axis.set(xlim=(-0.5, 7.6), ylim=(-0.5, 2.5))
    axis.axis("off")
    said = "; ".join(
        f"{text}, lessons {lessons.replace(chr(10), ' · ')}" for *_, text, lessons in _BOXES.values() if lessons
    )
    return Shown(figure, f"The pipeline of the course, from pictures, questions and speech to an answer: {said}.")
