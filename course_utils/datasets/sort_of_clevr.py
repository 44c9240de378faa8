"""Sort-of-CLEVR: the data set on which relation networks were shown to do what a CNN with an MLP does not.

Made from its description (Santoro et al., "A simple neural network module for relational reasoning", NeurIPS 2017,
section 3.2 and supplement D): a picture of 75x75 pixels has six objects, one of each colour, each a square or a circle
at random. Of each picture ten questions are non-relational (an object's shape, its side, its half) and ten are
relational (the shape of the closest and of the furthest object, how many have its shape). A question is eleven bits:
six for the colour, two for the class, three for the type within the class.

The description leaves open how objects are placed. Here no two touch, none straddles a midline, and the closest and the
furthest object are closer and further than any other by a pixel at least, so that every answer is exact. The ten
questions of a class are ten different ones of its eighteen.

    data = split("train", pictures=9800)
    data.pictures[0], data.text(0, 13), ANSWERS[data.answers[0, 13]]
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import torch

from course_utils.datasets.vqa import VisualQuestion, to_tensor

PICTURE = 75  # pixels to a side
RADIUS = 5  # pixels from an object's centre to its edge
OBJECTS = 6  # in every picture, one of each colour
APART = 2 * RADIUS + 2  # least distance of two centres, in x or in y: a pixel stays free between any two objects
MARGIN = 1.0  # pixels by which the closest is closer, and the furthest further, than any other object
MIDDLE = PICTURE // 2  # the middle column and row; centres lie to one side of both
TRAIN_PICTURES, TEST_PICTURES = 9800, 200  # as published

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
TYPES = ("shape", "side", "half", "closest", "furthest", "count")
RELATIONAL_TYPES = TYPES[3:]
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
SPLITS = {"train": 1, "validation": 2, "test": 3}  # name -> seed

_BLOCK = 4096  # scenes drawn at a time: a fixed number, so that more pictures begin with the same pictures


@dataclass(frozen=True)
class SortOfClevr:
    """Pictures, their scenes and their questions, as arrays. Row i of each is about picture i.

    Attributes:
        centres: Column and row of each object's middle pixel, in the order of ``COLOURS``: (pictures, 6, 2) int16.
        shapes: Number in ``SHAPES`` of each object's shape, (pictures, 6) int8.
        colours: Number in ``COLOURS`` of the object that a question names, (pictures, 20) int8; 20, or 10 of a class.
        types: Number in ``TYPES`` of each question's type, (pictures, 20) int8: ten non-relational, ten relational.
        answers: Number in ``ANSWERS`` of each question's answer, (pictures, 20) int8.
    """

    centres: np.ndarray
    shapes: np.ndarray
    colours: np.ndarray
    types: np.ndarray
    answers: np.ndarray

    def __len__(self) -> int:
        """How many pictures."""
        return len(self.shapes)

    @cached_property
    def pictures(self) -> np.ndarray:
        """The scenes drawn, (pictures, 75, 75, 3) uint8; drawn at the first use and then kept."""
        return render(self.centres, self.shapes)

    @property
    def codes(self) -> np.ndarray:
        """The questions as bits, (pictures, 20, 11) uint8."""
        return encode(self.colours, self.types)

    def text(self, picture: int, question: int) -> str:
        """A question in English."""
        return wording(int(self.colours[picture, question]), int(self.types[picture, question]))

    @property
    def non_relational(self) -> SortOfClevr:
        """The same pictures with their ten non-relational questions alone."""
        parts = (part[:, :EACH] for part in (self.colours, self.types, self.answers))
        easy = SortOfClevr(self.centres, self.shapes, *parts)
        easy.__dict__["pictures"] = self.pictures  # shared, not drawn again
        return easy

    @property
    def visual_questions(self) -> list[VisualQuestion]:
        """The questions as :class:`course_utils.datasets.vqa.VisualQADataset` takes them."""
        return [
            VisualQuestion(
                QUESTIONS * i + j, i, self.text(i, j), ANSWERS[self.answers[i, j]], TYPES[self.types[i, j]]
            )
            for i in range(len(self))
            for j in range(self.types.shape[1])
        ]  # fmt: skip

    def batch(self, rows: torch.Tensor, device: torch.device | str = "cpu") -> dict:
        """The batch of these pictures and all their questions, as :class:`course_utils.reasoning.grid.Batches` takes it.

        Returns:
            ``pictures`` (pictures, 3, 75, 75) float32 from -1 to 1; ``codes`` (pictures, 20, 11) float32; ``answers``
            (pictures · 20,) and as many ``types`` and ``question_ids``. Ten in place of 20 where there are ten.
        """
        chosen = rows.numpy()
        return {
            "pictures": to_tensor(self.pictures[chosen]).to(device),
            "codes": torch.from_numpy(encode(self.colours[chosen], self.types[chosen])).float().to(device),
            "answers": torch.from_numpy(self.answers[chosen].astype(np.int64)).flatten().to(device),
            "types": [TYPES[number] for number in self.types[chosen].flat],
            "question_ids": (chosen[:, None] * QUESTIONS + np.arange(self.types.shape[1])).flatten().tolist(),
        }


def split(name: str, *, pictures: int | None = None) -> SortOfClevr:
    """An official split: "train", "validation" or "test".

    Args:
        name: Of the split.
        pictures: How many; by default as published, 9,800 for training and 200 for the others.

    Raises:
        ValueError: There is no split of that name, or ``pictures`` is less than 1.
    """
    if name not in SPLITS:
        raise ValueError(f"there is no split {name!r}; the splits are {', '.join(SPLITS)}")
    if pictures is None:
        pictures = TRAIN_PICTURES if name == "train" else TEST_PICTURES
    return generate(pictures, SPLITS[name])


def generate(pictures: int, seed: int) -> SortOfClevr:
    """Make a data set; the same seed gives the same on every platform, and more pictures begin with the same.

    Scenes are drawn at random and those that break a rule (objects that touch, a close call) are thrown away, so every
    scene that keeps the rules is as likely as any other.

    Args:
        pictures: How many, each with twenty questions.
        seed: Any whole number from 0 up.

    Raises:
        ValueError: ``pictures`` is less than 1, or ``seed`` is less than 0.
    """
    if pictures < 1:
        raise ValueError(f"pictures is {pictures}; it must be at least 1")
    if seed < 0:
        raise ValueError(f"seed is {seed}; it must be a whole number from 0 up")
    rng = np.random.Generator(np.random.PCG64([seed, 0]))
    blocks: list[np.ndarray] = []
    while sum(map(len, blocks)) < pictures:
        centres = rng.integers(RADIUS, PICTURE - RADIUS, (_BLOCK, OBJECTS, 2))
        blocks.append(centres[_keeps_the_rules(centres)])
    centres = np.concatenate(blocks)[:pictures].astype(np.int16)
    rng = np.random.Generator(np.random.PCG64([seed, 1]))
    looks = rng.random((pictures, OBJECTS + 2 * 18))  # one row a picture, so that more begin with the same
    shapes = (looks[:, :OBJECTS] < 0.5).astype(np.int8)
    asked = np.concatenate(
        [
            np.argsort(looks[:, OBJECTS : OBJECTS + 18], axis=1)[:, :EACH],
            18 + np.argsort(looks[:, OBJECTS + 18 :], axis=1)[:, :EACH],
        ],
        axis=1,
    )  # (pictures, 20), each a number below 36: 6 · type + colour
    types, colours = (part.astype(np.int8) for part in np.divmod(asked, OBJECTS))
    every = _answers(centres, shapes)  # (pictures, 6 types, 6 colours)
    answers = every[np.arange(pictures)[:, None], types, colours]
    return SortOfClevr(centres, shapes, colours, types, answers)


def encode(colours: np.ndarray, types: np.ndarray) -> np.ndarray:
    """Questions as bits: six name the colour, two the class, three the type within it.

    Args:
        colours: Numbers in ``COLOURS``, any shape.
        types: Numbers in ``TYPES``, the same shape.

    Returns:
        (..., 11) uint8, with three ones in each row.

    Raises:
        ValueError: A number is none of a colour or none of a type.
    """
    colours, types = np.asarray(colours), np.asarray(types)
    for name, numbers, known in (("colours", colours, len(COLOURS)), ("types", types, len(TYPES))):
        if numbers.size and not (numbers.min() >= 0 and numbers.max() < known):
            raise ValueError(f"{name} must be numbers from 0 to {known - 1}, not {numbers.min()} to {numbers.max()}")
    parts = (np.eye(len(COLOURS))[colours], np.eye(2)[types // 3], np.eye(3)[types % 3])
    return np.concatenate(parts, axis=-1).astype(np.uint8)


def decode(code: Sequence[int] | np.ndarray) -> tuple[int, int]:
    """The colour's number and the type's number of one question's eleven bits.

    Raises:
        ValueError: These are not eleven bits with one of six, one of two and one of three set.
    """
    bits = np.asarray(code).astype(int).reshape(-1)
    parts = (bits[:6], bits[6:8], bits[8:])
    if len(bits) != CODE or any(set(part) - {0, 1} or part.sum() != 1 for part in parts):
        raise ValueError(f"{bits.tolist()} is no question: eleven bits, one of the first 6, next 2 and last 3 set")
    colour, relational, within = (int(part.argmax()) for part in parts)
    return colour, 3 * relational + within


def wording(colour: int, type: int) -> str:
    """The English wording of a question, from its numbers in ``COLOURS`` and ``TYPES``."""
    return WORDINGS[type].format(tuple(COLOURS)[colour])


def render(centres: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """Draw scenes: centres (n, 6, 2) and shapes (n, 6) to (n, 75, 75, 3) uint8. Integers only, on every platform."""
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


def question_only_ceiling(train: SortOfClevr, test: SortOfClevr) -> dict[str, float]:
    """What can be had without looking: each question code's most frequent answer in training, measured on the test.

    Returns:
        The accuracy of each type, then "non-relational" and "relational" over all questions of the class.
    """
    votes = np.zeros((len(TYPES), OBJECTS, len(ANSWERS)), dtype=np.int64)
    np.add.at(votes, (train.types, train.colours, train.answers), 1)
    right = votes.argmax(axis=-1)[test.types, test.colours] == test.answers
    shares = {name: float(right[test.types == number].mean()) for number, name in enumerate(TYPES)}
    return {**shares, "non-relational": float(right[:, :EACH].mean()), "relational": float(right[:, EACH:].mean())}


def colourless_ceiling(test: SortOfClevr) -> dict[str, float]:
    """What can be had without the question's colour: of each type the answer that is right for the most of the six.

    A model that sees everything in a picture and hears the type, but not which object is asked about, does no better.

    Returns:
        The accuracy of each type over all six colours, then "non-relational" and "relational": the means over theirs.
    """
    answers = _answers(test.centres, test.shapes)  # (pictures, types, colours)
    votes = (answers[..., None] == np.arange(len(ANSWERS))).sum(axis=2)  # (pictures, types, answers)
    shares = votes.max(axis=-1).mean(axis=0) / OBJECTS
    return {
        **dict(zip(TYPES, shares.tolist(), strict=True)),
        "non-relational": float(shares[:3].mean()), "relational": float(shares[3:].mean()),
    }  # fmt: skip


def _distances(centres: np.ndarray) -> np.ndarray:
    """Squared distances of all objects, (n, 6, 6), in whole pixels."""
    gaps = centres[:, :, None].astype(np.int64) - centres[:, None]
    return (gaps**2).sum(axis=-1)


def _keeps_the_rules(centres: np.ndarray) -> np.ndarray:
    """Which scenes, (n, 6, 2), have no objects that touch, none on a midline, and no close call: (n,) bool."""
    kept = (centres != MIDDLE).all(axis=(1, 2))
    gaps = abs(centres[:, :, None] - centres[:, None]).max(axis=-1)  # (n, 6, 6)
    first, second = np.triu_indices(OBJECTS, 1)
    kept &= (gaps[:, first, second] >= APART).all(axis=1)
    distances = np.sort(np.sqrt(_distances(centres[kept])), axis=2)  # from each object; the first is itself, 0
    clear = (distances[..., 2] - distances[..., 1] >= MARGIN) & (distances[..., 5] - distances[..., 4] >= MARGIN)
    kept[kept] = clear.all(axis=1)
    return kept


def _answers(centres: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """The answer to every question that can be asked, (n, 6 types, 6 colours) int8 of numbers in ``ANSWERS``."""
    distances = _distances(centres)
    itself = np.eye(OBJECTS, dtype=bool)
    closest = np.where(itself, distances.max() + 1, distances).argmin(axis=2)  # never the object itself
    furthest = distances.argmax(axis=2)
    rows = np.arange(len(shapes))[:, None]
    alike = (shapes[:, :, None] == shapes[:, None]).sum(axis=2)  # itself among them: from 1 to 6
    left, top, one = (ANSWERS.index(answer) for answer in ("left", "top", "1"))
    answers = (
        shapes, left + (centres[..., 0] > MIDDLE), top + (centres[..., 1] > MIDDLE),
        shapes[rows, closest], shapes[rows, furthest], one - 1 + alike,
    )  # fmt: skip
    return np.stack(answers, axis=1).astype(np.int8)


def _circle() -> np.ndarray:
    """How much of each pixel a circle covers, in sixteenths: (11, 11)."""
    side = 2 * RADIUS + 1
    points = 2 * np.arange(4 * side) + 1 - 4 * side  # four sample points to a pixel, in eighths of a pixel
    inside = points**2 + points[:, None] ** 2 <= (4 * side) ** 2
    return inside.reshape(side, 4, side, 4).sum(axis=(1, 3))


if __name__ == "__main__":
    start = time.process_time()
    train, test = split("train"), split("test")
    made = time.process_time()
    size = sum(getattr(train, part.name).nbytes for part in fields(train)) / 1e6
    shape = train.pictures.shape
    print(f"{train.answers.size:,} questions in {made - start:.2f} s ({size:.1f} MB), {shape} in", end=" ")
    print(f"{time.process_time() - made:.2f} s ({train.pictures.nbytes / 1e6:.0f} MB)")
    for name, share in question_only_ceiling(train, test).items():
        print(f"{name}: {share:.1%} without looking")
    for name, share in colourless_ceiling(test).items():
        print(f"{name}: {share:.1%} without knowing which object")
