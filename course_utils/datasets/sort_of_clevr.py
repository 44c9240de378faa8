"""Sort-of-CLEVR, the data set on which relation networks beat a CNN with an MLP.

Generated from its description (Santoro et al., "A simple neural network module for relational reasoning", NeurIPS 2017,
section 3.2 and supplement D). A picture of 75x75 pixels has six objects, one of each colour, each a random square or
circle. Ten of its questions are non-relational (an object's shape, its side, its half) and ten relational (the shape of
the closest and of the furthest object, the number of objects with its shape). A question is coded in eleven bits: six
for the colour, two for the class, three for the type within the class.

The description leaves the placement open. Here no two objects touch, none straddles a midline, and the closest and
furthest objects win by at least a pixel, so every answer is exact. The ten questions of a class are distinct.

    data = split("train", pictures=9800)
    data.pictures[0], data.text(0, 13), ANSWERS[data.answers[0, 13]]
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from course_utils.datasets.vqa import to_tensor

PICTURE = 75  # pixels per side
RADIUS = 5  # pixels from an object's centre to its edge
OBJECTS = 6  # per picture, one of each colour
APART = 2 * RADIUS + 2  # least distance between two centres, in x or in y: leaves a pixel free between objects
MARGIN = 1.0  # pixels by which the closest object is closer, and the furthest further, than any other
MIDDLE = PICTURE // 2  # middle column and row; no centre lies on either

# The six colours of the paper, in shades that also differ for colour-blind eyes (after Okabe and Ito, 2008).
COLOURS = {
    "red": (190, 25, 30),
    "blue": (25, 75, 215),
    "green": (0, 145, 95),
    "orange": (240, 130, 20),
    "yellow": (245, 220, 35),
    "grey": (125, 125, 125),
}
BACKGROUND = 255
SHAPES = ("square", "circle")
ANSWERS = (*SHAPES, "left", "right", "top", "bottom", "1", "2", "3", "4", "5", "6")
TYPES = ("shape", "side", "half", "closest", "furthest", "count")  # the last three are relational
WORDINGS = (
    "what shape is the {} object?",
    "is the {} object on the left or on the right?",
    "is the {} object at the top or at the bottom?",
    "what shape is the object closest to the {} object?",
    "what shape is the object furthest from the {} object?",
    "how many objects have the shape of the {} object?",
)
CODE = len(COLOURS) + 2 + 3  # bits of a question
EACH = 10  # questions of each class about a picture
QUESTIONS = 2 * EACH  # about a picture: the non-relational ones come first
SPLITS = {"train": (1, 9800), "validation": (2, 200), "test": (3, 200)}  # name -> seed, number of pictures as published

_BLOCK = 4096  # scenes drawn at a time; fixed, so that a larger data set begins with the pictures of a smaller one


@dataclass(frozen=True)
class SortOfClevr:
    """Scenes and questions as index arrays; row i of each array is about picture i.

    Attributes:
        centres: Column and row of each object's middle pixel, in the order of ``COLOURS``: (pictures, 6, 2) int16.
        shapes: Index into ``SHAPES`` for each object, (pictures, 6) int8.
        colours: Index into ``COLOURS`` of the object each question names, (pictures, 20) int8.
        types: Index into ``TYPES`` for each question, (pictures, 20) int8: ten non-relational, then ten relational.
        answers: Index into ``ANSWERS`` for each question, (pictures, 20) int8.
    """

    centres: np.ndarray
    shapes: np.ndarray
    colours: np.ndarray
    types: np.ndarray
    answers: np.ndarray

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.shapes)

    @cached_property
    def pictures(self) -> np.ndarray:
        """Rendered scenes, (pictures, 75, 75, 3) uint8; rendered on first use, then cached."""
        return render(self.centres, self.shapes)

    def text(self, picture: int, question: int) -> str:
        """A question in English."""
        return WORDINGS[self.types[picture, question]].format(tuple(COLOURS)[self.colours[picture, question]])

    @property
    def non_relational(self) -> SortOfClevr:
        """The same pictures with only their ten non-relational questions."""
        part = replace(self, colours=self.colours[:, :EACH], types=self.types[:, :EACH], answers=self.answers[:, :EACH])
        vars(part)["pictures"] = self.pictures  # share the rendered pictures
        return part

    def batch(self, rows: torch.Tensor) -> dict:
        """Batch of these pictures with all their questions, for :class:`course_utils.reasoning.grid.Batches`.

        Returns:
            ``pictures`` (pictures, 3, 75, 75) float32 in [-1, 1]; ``codes`` (pictures, questions, 11) float32;
            ``answers``, ``types`` and ``question_ids``, one for each question (pictures · questions).
        """
        chosen = rows.numpy()
        return {
            "pictures": to_tensor(self.pictures[chosen]),
            "codes": torch.from_numpy(encode(self.colours[chosen], self.types[chosen])).float(),
            "answers": torch.from_numpy(self.answers[chosen].astype(np.int64)).flatten(),
            "types": [TYPES[index] for index in self.types[chosen].flat],
            "question_ids": (chosen[:, None] * QUESTIONS + np.arange(self.types.shape[1])).flatten().tolist(),
        }


def split(name: str, *, pictures: int | None = None) -> SortOfClevr:
    """Generate a split.

    Args:
        name: "train", "validation" or "test".
        pictures: Number of pictures; by default as published: 9,800 for training, 200 for the others.

    Raises:
        ValueError: If there is no such split, or ``pictures`` is less than 1.
    """
    if name not in SPLITS:
        raise ValueError(f"There is no split {name!r}. The splits are: {', '.join(SPLITS)}.")
    seed, published = SPLITS[name]
    return generate(published if pictures is None else pictures, seed)


def generate(pictures: int, seed: int) -> SortOfClevr:
    """Generate pictures and questions, identical on every platform; a larger set begins with the smaller one.

    Scenes that break a placement rule are rejected, so all valid scenes are equally likely.

    Args:
        pictures: Number of pictures, each with twenty questions.
        seed: A whole number from 0 up.

    Raises:
        ValueError: If ``pictures`` is less than 1 or ``seed`` less than 0.
    """
    if pictures < 1:
        raise ValueError(f"pictures is {pictures}; it must be at least 1.")
    if seed < 0:
        raise ValueError(f"seed is {seed}; it must be a whole number from 0 up.")
    rng = np.random.Generator(np.random.PCG64([seed, 0]))
    blocks: list[np.ndarray] = []
    while sum(map(len, blocks)) < pictures:
        centres = rng.integers(RADIUS, PICTURE - RADIUS, (_BLOCK, OBJECTS, 2))
        blocks.append(centres[_is_valid(centres)])
    centres = np.concatenate(blocks)[:pictures].astype(np.int16)
    rng = np.random.Generator(np.random.PCG64([seed, 1]))
    draws = rng.random((pictures, OBJECTS + 2 * 18))  # one row per picture, for the shapes and the two classes
    shapes = (draws[:, :OBJECTS] < 0.5).astype(np.int8)
    shuffled = np.argsort(draws[:, OBJECTS:].reshape(pictures, 2, 18), axis=2)[..., :EACH]  # (pictures, classes, 10)
    asked = (shuffled + [[0], [18]]).reshape(pictures, QUESTIONS)  # 6 · type + colour
    types, colours = (part.astype(np.int8) for part in np.divmod(asked, OBJECTS))
    answers = all_answers(centres, shapes)[np.arange(pictures)[:, None], types, colours]
    return SortOfClevr(centres, shapes, colours, types, answers)


def encode(colours: np.ndarray, types: np.ndarray) -> np.ndarray:
    """Encode questions in eleven bits: one-hot colour (6), class (2) and type within the class (3).

    Args:
        colours: Indices into ``COLOURS``, any shape.
        types: Indices into ``TYPES``, the same shape.

    Returns:
        (..., 11) uint8.

    Raises:
        ValueError: If an index is out of range.
    """
    colours, types = np.asarray(colours), np.asarray(types)
    for name, indices, known in (("colours", colours, len(COLOURS)), ("types", types, len(TYPES))):
        if indices.size and not (indices.min() >= 0 and indices.max() < known):
            raise ValueError(f"{name} must be from 0 to {known - 1}, not {indices.min()} to {indices.max()}.")
    parts = (np.eye(len(COLOURS))[colours], np.eye(2)[types // 3], np.eye(3)[types % 3])
    return np.concatenate(parts, axis=-1).astype(np.uint8)


def render(centres: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """Render scenes, (scenes, 75, 75, 3) uint8, in integer arithmetic: identical on every platform."""
    pictures = np.full((len(shapes), PICTURE, PICTURE, 3), BACKGROUND, dtype=np.uint8)
    pixels = pictures.reshape(-1, 3)
    step = np.arange(-RADIUS, RADIUS + 1)
    dy, dx = (offsets.ravel() for offsets in np.meshgrid(step, step, indexing="ij"))
    cover = np.stack([np.full(dy.shape, 16), _circle().ravel()])  # (shapes, sprite pixels), in sixteenths
    centres = centres.astype(np.int64)
    for number, colour in enumerate(COLOURS.values()):
        x, y = centres[:, number, 0], centres[:, number, 1]
        middle = (np.arange(len(shapes)) * PICTURE + y) * PICTURE + x
        mixed = (BACKGROUND * (16 - cover[..., None]) + cover[..., None] * np.array(colour) + 8) // 16
        pixels[middle[:, None] + dy * PICTURE + dx] = mixed.astype(np.uint8)[shapes[:, number]]
    return pictures


def all_answers(centres: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """Answer every possible question: indices into ``ANSWERS``, (scenes, 6 types, 6 colours) int8."""
    distances = _squared_distances(centres)
    itself = np.eye(OBJECTS, dtype=bool)
    closest = np.where(itself, distances.max() + 1, distances).argmin(axis=2)  # never the object itself
    furthest = distances.argmax(axis=2)
    rows = np.arange(len(shapes))[:, None]
    alike = (shapes[:, :, None] == shapes[:, None]).sum(axis=2)  # counts the object itself: 1 to 6
    left, top, one = (ANSWERS.index(answer) for answer in ("left", "top", "1"))
    answers = (
        shapes, left + (centres[..., 0] > MIDDLE), top + (centres[..., 1] > MIDDLE),
        shapes[rows, closest], shapes[rows, furthest], one - 1 + alike,
    )  # fmt: skip
    return np.stack(answers, axis=1).astype(np.int8)


def _squared_distances(centres: np.ndarray) -> np.ndarray:
    """Between all objects of a scene, (scenes, 6, 6), in pixels squared."""
    gaps = centres[:, :, None].astype(np.int64) - centres[:, None]
    return (gaps**2).sum(axis=-1)


def _is_valid(centres: np.ndarray) -> np.ndarray:
    """Which scenes, (scenes, 6, 2), obey the placement rules: (scenes,) bool."""
    valid = (centres != MIDDLE).all(axis=(1, 2))
    gaps = abs(centres[:, :, None] - centres[:, None]).max(axis=-1)  # (scenes, 6, 6)
    first, second = np.triu_indices(OBJECTS, 1)
    valid &= (gaps[:, first, second] >= APART).all(axis=1)
    distances = np.sort(np.sqrt(_squared_distances(centres[valid])), axis=2)  # from each object; the first is 0, itself
    clear = (distances[..., 2] - distances[..., 1] >= MARGIN) & (distances[..., 5] - distances[..., 4] >= MARGIN)
    valid[valid] = clear.all(axis=1)
    return valid


def _circle() -> np.ndarray:
    """Coverage of each pixel by a circle, in sixteenths: (11, 11)."""
    side = 2 * RADIUS + 1
    points = 2 * np.arange(4 * side) + 1 - 4 * side  # four sample points per pixel and axis, in eighths of a pixel
    inside = points**2 + points[:, None] ** 2 <= (4 * side) ** 2
    return inside.reshape(side, 4, side, 4).sum(axis=(1, 3))
