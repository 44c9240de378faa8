"""Scenes of the synthetic world: what stands where, how it is drawn, and how a caption tells it.

No two things share a row or a column of the 8x8 grid of cells. So "left of" and "above" are never a matter of
a pixel or two, and a cell holds the centre of one thing at most.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

PICTURE = 64  # pixels to a side
GRID = 8  # cells to a side
CELL = PICTURE // GRID
FEWEST, MOST = 6, 8  # things in a picture
MARGIN = 5  # pixels by which any two things differ, in x and in y

SHAPES = ("circle", "square", "triangle", "star")
# After Okabe and Ito's palette for all kinds of colour vision (2008), with light and dark further apart.
COLOURS = {
    "red": (190, 25, 30),
    "green": (0, 145, 95),
    "blue": (25, 75, 215),
    "yellow": (245, 220, 35),
    "orange": (240, 130, 20),
    "cyan": (60, 190, 240),
    "pink": (245, 155, 205),
    "black": (20, 20, 20),
}
SIZES = {"small": 3, "large": 5}  # pixels from the centre to the edge of the sprite
# The colour-shape pairs of the compositional split, the idea of CLEVR's CoGenT (Johnson et al., 2017). Each
# colour lacks one shape and each shape two colours, so that neither is rarer than another.
HELD_OUT = frozenset((colour, SHAPES[i % len(SHAPES)]) for i, colour in enumerate(COLOURS))
PAIRS = ("all", "seen", "unseen")


@dataclass(frozen=True, slots=True)
class Thing:
    """One object. ``x`` and ``y`` are the pixel of its centre, counted from the top left corner."""

    size: str
    colour: str
    shape: str
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Scene:
    """All that there is to know about a picture: its things, from left to right, and the background's RGB."""

    things: tuple[Thing, ...]
    background: tuple[int, int, int]


def render(scene: Scene) -> np.ndarray:
    """Draw one scene as a (64, 64, 3) uint8 picture."""
    return render_all([scene])[0]


def render_all(scenes: Sequence[Scene]) -> np.ndarray:
    """Draw scenes as (n, 64, 64, 3) uint8 pictures. Integer arithmetic only: the same on every platform."""
    backgrounds = np.array([scene.background for scene in scenes], dtype=np.uint8).reshape(-1, 3)
    one_row = np.tile(backgrounds, PICTURE)  # (n, 64 * 3): whole rows are copied faster than pixels
    pictures = np.repeat(one_row[:, None], PICTURE, axis=1).reshape(-1, PICTURE, PICTURE, 3)
    alike: dict[tuple[str, str], list[tuple[int, Thing]]] = {}
    for i, scene in enumerate(scenes):
        for thing in scene.things:
            alike.setdefault((thing.shape, thing.size), []).append((i, thing))
    for (shape, size), group in alike.items():
        index = np.array([i for i, _ in group])
        colours = np.array([COLOURS[thing.colour] for _, thing in group])
        centres = (index * PICTURE + [thing.y for _, thing in group]) * PICTURE + [thing.x for _, thing in group]
        _paste(pictures.reshape(-1, 3), _sprite(shape, SIZES[size]), centres, colours, backgrounds[index])
    return pictures


def _paste(
    pixels: np.ndarray, sprite: np.ndarray, centres: np.ndarray, colours: np.ndarray, backgrounds: np.ndarray
) -> None:
    """Put one sprite in many places of ``pixels`` (n, 3); ``centres`` (k,) are pixel numbers."""
    dy, dx = np.nonzero(sprite)
    radius = len(sprite) // 2
    where = centres[:, None] + (dy - radius) * PICTURE + dx - radius  # (k, sprite pixels)
    cover = np.arange(17)[:, None]  # the colours from background to full, in sixteenths: (k, 17, 3)
    ramp = (backgrounds[:, None].astype(int) * (16 - cover) + colours[:, None] * cover + 8) // 16
    pixels[where] = ramp.astype(np.uint8)[:, sprite[dy, dx]]


# A five-pointed star is where at least four of these half-planes meet: 1000 times the direction of each tip.
_STAR_TIPS = ((0, -1000), (951, -309), (588, 809), (-588, 809), (-951, -309))


@cache
def _sprite(shape: str, radius: int) -> np.ndarray:
    """How much of each pixel a shape covers, in sixteenths: (2 * radius + 1, 2 * radius + 1)."""
    side = 2 * radius + 1
    points = 2 * np.arange(4 * side) + 1 - 4 * side  # four sample points to a pixel, in eighths of a pixel
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
    """Tell the scene from left to right: "a large red circle, a small blue star and a small green square"."""
    *names, last = (f"a {thing.size} {thing.colour} {thing.shape}" for thing in scene.things)
    return f"{', '.join(names)} and {last}" if names else last


def cell_labels(scene: Scene) -> dict[str, np.ndarray]:
    """What the centre in each cell belongs to, as {"shape", "colour", "size"} -> (8, 8) int64.

    0 is an empty cell; i + 1 is the i-th of ``SHAPES``, ``COLOURS`` or ``SIZES``. Rows run from top to bottom.
    """
    names = {"shape": SHAPES, "colour": tuple(COLOURS), "size": tuple(SIZES)}
    labels = {attribute: np.zeros((GRID, GRID), dtype=np.int64) for attribute in names}
    for thing in scene.things:
        for attribute, values in names.items():
            labels[attribute][thing.y // CELL, thing.x // CELL] = 1 + values.index(getattr(thing, attribute))
    return labels


def draw_scenes(rng: np.random.Generator, pairs: str) -> Iterator[Scene]:
    """Random scenes without end. No two things of a scene are alike in size, colour and shape.

    Args:
        rng: Where the randomness comes from.
        pairs: "all" colour-shape pairs, only the "seen" ones that are not held out, or "unseen": about half of
            the things, and at least one in a picture, are of a held-out pair.
    """
    palette = _palette(pairs)
    block = 1024  # a fixed number, so that more pictures from the same seed begin with the same pictures
    while True:
        columns, rows, apart = _places(rng, block)
        count = rng.integers(FEWEST, MOST + 1, block)
        x, y = (_jitter(rng, cells) for cells in (columns, rows))
        shape = rng.integers(0, len(SHAPES), (block, MOST))
        colour = palette[shape, rng.integers(0, palette.shape[1], (block, MOST))]
        # Each picture has its own share of large things, so that every count of them is equally frequent.
        size = (rng.random((block, MOST)) < rng.random((block, 1))).astype(np.int64)
        background = (rng.integers(205, 231, (block, 1)) + rng.integers(0, 13, (block, 3))).tolist()  # nearly grey
        looks = np.stack([size, colour, shape, x, y], axis=2)  # (block, MOST, 5)
        for i in np.flatnonzero(apart):
            scene = _scene(looks[i, : count[i]].tolist(), background[i])
            if _admissible(scene, pairs):
                yield scene


def _scene(looks: list[list[int]], background: list[int]) -> Scene:
    """A scene from rows of size, colour and shape numbers and a place."""
    sizes, colours = tuple(SIZES), tuple(COLOURS)
    things = [Thing(sizes[s], colours[c], SHAPES[k], x, y) for s, c, k, x, y in looks]
    return Scene(tuple(sorted(things, key=lambda thing: thing.x)), tuple(background))


def _admissible(scene: Scene, pairs: str) -> bool:
    """Whether no two things look alike and the picture has the held-out pair it needs."""
    if len({(t.size, t.colour, t.shape) for t in scene.things}) < len(scene.things):
        return False
    return pairs != "unseen" or any((t.colour, t.shape) in HELD_OUT for t in scene.things)


def _palette(pairs: str) -> np.ndarray:
    """The colours that each shape is drawn from, as (shapes, choices) numbers; a repeated one comes oftener."""
    if pairs not in PAIRS:
        raise ValueError(f"pairs is {pairs!r}; it must be one of {', '.join(PAIRS)}")
    held_out = [[i for i, c in enumerate(COLOURS) if (c, shape) in HELD_OUT] for shape in SHAPES]
    seen = [[i for i, c in enumerate(COLOURS) if (c, shape) not in HELD_OUT] for shape in SHAPES]
    held_out_share = {"all": 1, "seen": 0, "unseen": 3}[pairs]  # six colours seen, two held out: 3 makes half
    return np.array([a + held_out_share * b for a, b in zip(seen, held_out, strict=True)])


def _places(rng: np.random.Generator, block: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns and rows of cells, both (block, MOST), and which of the block leave room between all things.

    As rooks that cannot take each other. Things in corner-to-corner cells could touch, so those are ruled out.
    """
    columns, rows = (np.argsort(rng.random((block, GRID)), axis=1)[:, :MOST] for _ in range(2))
    corner = [abs(cells[:, :, None] - cells[:, None, :]) == 1 for cells in (columns, rows)]
    return columns, rows, ~(corner[0] & corner[1]).any(axis=(1, 2))


def _jitter(rng: np.random.Generator, cells: np.ndarray) -> np.ndarray:
    """A pixel within each cell, so far from the border that the largest sprite fits in the picture."""
    largest = max(SIZES.values())
    return np.clip(cells * CELL + rng.integers(2, 6, cells.shape), largest, PICTURE - 1 - largest)
