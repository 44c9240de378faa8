"""Scenes of shapes: random draws, pictures, captions and cell labels.

No two objects share a row or a column of the 8x8 grid of cells, so "left of" and "above" are never a matter of a pixel
or two, and a cell holds the centre of at most one object.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter

import numpy as np

PICTURE = 64  # pixels to a side
GRID = 8  # cells to a side
CELL = PICTURE // GRID
FEWEST, MOST = 6, 8  # objects in a picture
MARGIN = 5  # pixels by which any two objects differ, in x and in y

SHAPES = ("circle", "square", "triangle", "star")
# Okabe and Ito's palette for all kinds of colour vision (2008), with light and dark further apart.
COLOURS = {
    "red": (190, 25, 30), "green": (0, 145, 95), "blue": (25, 75, 215), "yellow": (245, 220, 35),
    "orange": (240, 130, 20), "cyan": (60, 190, 240), "pink": (245, 155, 205), "black": (20, 20, 20),
}  # fmt: skip
SIZES = {"small": 3, "large": 5}  # pixels from the centre to the edge of the sprite
# Colour-shape pairs of the compositional split, as in CLEVR's CoGenT (Johnson et al., 2017). Each colour lacks one
# shape and each shape two colours, so no colour or shape is rarer than another.
HELD_OUT = frozenset((colour, SHAPES[i % len(SHAPES)]) for i, colour in enumerate(COLOURS))
PAIRS = ("all", "seen", "unseen")


@dataclass(frozen=True, slots=True)
class Thing:
    """An object; ``x`` and ``y`` are the pixel of its centre, counted from the top left corner."""

    size: str
    colour: str
    shape: str
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture's objects, from left to right, and the RGB of its background."""

    things: tuple[Thing, ...]
    background: tuple[int, int, int]


def render(scene: Scene) -> np.ndarray:
    """Draw one scene as a (64, 64, 3) uint8 picture."""
    return render_all([scene])[0]


def render_all(scenes: Sequence[Scene]) -> np.ndarray:
    """Draw scenes as (n, 64, 64, 3) uint8 pictures, in integer arithmetic: the same on every platform."""
    backgrounds = np.array([scene.background for scene in scenes], dtype=np.uint8).reshape(-1, 3)
    one_row = np.tile(backgrounds, PICTURE)  # (n, 64 * 3): copying rows is faster than copying pixels
    pictures = np.repeat(one_row[:, None], PICTURE, axis=1).reshape(-1, PICTURE, PICTURE, 3)
    cover = np.arange(17)[:, None]  # in sixteenths
    alike: dict[tuple[str, str], list[tuple[int, Thing]]] = {}
    for i, scene in enumerate(scenes):
        for thing in scene.things:
            alike.setdefault((thing.shape, thing.size), []).append((i, thing))
    for (shape, size), group in alike.items():
        index = np.array([i for i, _ in group])
        colours = np.array([COLOURS[thing.colour] for _, thing in group])
        # Rows of the flat (n * 64 * 64, 3) pixels.
        centres = (index * PICTURE + [thing.y for _, thing in group]) * PICTURE + [thing.x for _, thing in group]
        radius = SIZES[size]
        sprite = _sprite(shape, radius)
        dy, dx = np.nonzero(sprite)
        where = centres[:, None] + (dy - radius) * PICTURE + dx - radius  # (objects, sprite pixels)
        ramp = (backgrounds[index, None].astype(int) * (16 - cover) + colours[:, None] * cover + 8) // 16
        pictures.reshape(-1, 3)[where] = ramp.astype(np.uint8)[:, sprite[dy, dx]]
    return pictures


# A five-pointed star is where at least four of five half-planes meet; these are their directions times 1000.
_STAR_TIPS = ((0, -1000), (951, -309), (588, 809), (-588, 809), (-951, -309))


@cache
def _sprite(shape: str, radius: int) -> np.ndarray:
    """Sixteenths of each pixel that a shape covers: (2 * radius + 1, 2 * radius + 1)."""
    side = 2 * radius + 1
    points = 2 * np.arange(4 * side) + 1 - 4 * side  # four samples a pixel, in eighths of a pixel
    v, u = np.meshgrid(points, points, indexing="ij")  # down and to the right of the centre
    edge = 4 * side
    if shape == "circle":
        inside = u * u + v * v <= edge * edge
    elif shape == "square":
        inside = np.maximum(abs(u), abs(v)) * 10 <= edge * 9
    elif shape == "triangle":
        inside = 2 * abs(u) <= v + edge
    else:
        planes = [(u * a + v * b) * 100 <= edge * 1000 * 36 for a, b in _STAR_TIPS]
        inside = np.sum(planes, axis=0) >= 4
    return inside.reshape(side, 4, side, 4).sum(axis=(1, 3))


def caption(scene: Scene) -> str:
    """Describe the scene from left to right: "a large red circle, a small blue star and a small green square"."""
    *names, last = (f"a {thing.size} {thing.colour} {thing.shape}" for thing in scene.things)
    return f"{', '.join(names)} and {last}" if names else last


def cell_labels(scene: Scene) -> dict[str, np.ndarray]:
    """Class of the object centred in each cell: {"shape", "colour", "size"} -> (8, 8) int64.

    0 is an empty cell; i + 1 is the i-th of ``SHAPES``, ``COLOURS`` or ``SIZES``. Rows run from top to bottom.
    """
    names = {"shape": SHAPES, "colour": tuple(COLOURS), "size": tuple(SIZES)}
    labels = {attribute: np.zeros((GRID, GRID), dtype=np.int64) for attribute in names}
    for thing in scene.things:
        for attribute, values in names.items():
            labels[attribute][thing.y // CELL, thing.x // CELL] = 1 + values.index(getattr(thing, attribute))
    return labels


def draw_scenes(rng: np.random.Generator, pairs: str) -> Iterator[Scene]:
    """Random scenes without end; no two objects of a scene share size, colour and shape. ``pairs`` as in `generate`."""
    palette = _palette(pairs)
    sizes, colours, reach = tuple(SIZES), tuple(COLOURS), max(SIZES.values())
    block = 1024  # fixed, so that more pictures from the same seed begin with the same pictures
    while True:
        # Cells share no row or column, like peaceful rooks; scenes with objects in diagonally adjacent cells, which
        # could still touch, are dropped.
        places = [np.argsort(rng.random((block, GRID)), axis=1)[:, :MOST] for _ in "xy"]  # (block, MOST) each
        close = [abs(cells[:, :, None] - cells[:, None, :]) == 1 for cells in places]
        apart = ~(close[0] & close[1]).any(axis=(1, 2))
        count = rng.integers(FEWEST, MOST + 1, block)
        centres = [cells * CELL + rng.integers(2, 6, cells.shape) for cells in places]
        x, y = np.clip(centres, reach, PICTURE - 1 - reach)  # the largest sprite stays within the picture
        shape = rng.integers(0, len(SHAPES), (block, MOST))
        colour = palette[shape, rng.integers(0, palette.shape[1], (block, MOST))]
        # Each picture has its own share of large objects, so that every count of them is equally frequent.
        size = (rng.random((block, MOST)) < rng.random((block, 1))).astype(np.int64)
        background = (rng.integers(205, 231, (block, 1)) + rng.integers(0, 13, (block, 3))).tolist()  # nearly grey
        looks = np.stack([size, colour, shape, x, y], axis=2)  # (block, MOST, 5)
        for i in np.flatnonzero(apart):
            drawn = looks[i, : count[i]].tolist()
            things = [Thing(sizes[s], colours[c], SHAPES[k], x, y) for s, c, k, x, y in drawn]
            distinct = len({(t.size, t.colour, t.shape) for t in things}) == len(things)
            if distinct and (pairs != "unseen" or any((t.colour, t.shape) in HELD_OUT for t in things)):
                yield Scene(tuple(sorted(things, key=attrgetter("x"))), tuple(background[i]))


def _palette(pairs: str) -> np.ndarray:
    """Numbers of the colours that each shape is drawn from, (shapes, choices); a repeated one is more frequent."""
    if pairs not in PAIRS:
        raise ValueError(f"pairs is {pairs!r}; it must be one of {', '.join(PAIRS)}")
    seen, held_out = (
        [[i for i, c in enumerate(COLOURS) if ((c, shape) in HELD_OUT) == out] for shape in SHAPES]
        for out in (False, True)
    )
    repeats = {"all": 1, "seen": 0, "unseen": 3}[pairs]  # six colours seen, two held out: 3 makes half
    return np.array([a + repeats * b for a, b in zip(seen, held_out, strict=True)])
