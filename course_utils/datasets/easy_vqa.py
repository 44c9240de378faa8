"""easy-VQA: 5,000 pictures of one shape each, and 48,248 questions with 13 possible answers.

By Victor Zhou (2019, MIT licence), https://github.com/vzhou842/easy-VQA. The official training set has 4,000 pictures
with 38,575 questions, the test set 1,000 with 9,673; here 400 of the 4,000 are held out for validation.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from course_utils import assets
from course_utils.datasets.vqa import VisualQuestion, read_picture
from course_utils.datasets.world import Question, World, WorldData

SHAPES = ("circle", "rectangle", "triangle")
COLOURS = {  # RGB, as in the pictures
    "black": (0, 0, 0),
    "blue": (0, 0, 255),
    "brown": (165, 42, 42),
    "gray": (128, 128, 128),
    "green": (0, 255, 0),
    "red": (255, 0, 0),
    "teal": (0, 128, 128),
    "yellow": (255, 255, 0),
}
# fmt: off
ANSWERS = (  # in the order of the data set's answers.txt
    "circle", "green", "red", "gray", "yes", "teal", "black", "rectangle", "yellow", "triangle", "brown", "blue", "no",
)
# fmt: on
TYPES = ("yes/no", "shape", "colour")
_TYPE_OF = {"yes": "yes/no", "no": "yes/no"} | dict.fromkeys(SHAPES, "shape") | dict.fromkeys(COLOURS, "colour")
SPLITS = ("train", "validation", "train+validation", "test")
_VALIDATION_PICTURES, _VALIDATION_SEED = 400, 2019


@dataclass(frozen=True)
class EasyVQA:
    """One split.

    Attributes:
        questions: ``picture`` is the row in ``pictures``, ``type`` is one of ``TYPES``, and ``question_id`` is the
            index in the official file, so "train" and "test" use the same ids.
        pictures: (pictures, 64, 64, 3) uint8.
    """

    questions: list[VisualQuestion]
    pictures: np.ndarray


def load(split: str) -> EasyVQA:
    """Load one of ``SPLITS``; "train" and "validation" share no picture and make up the official training set.

    Raises:
        ValueError: If there is no such split.
        course_utils.assets.AssetError: If the data set is not in the cache and cannot be fetched.
    """
    if split not in SPLITS:
        raise ValueError(f"There is no split {split!r}. The splits are: {', '.join(SPLITS)}.")
    folder = assets.path("easy-vqa") / "easy_vqa" / "data" / ("test" if split == "test" else "train")
    pictures = sorted(int(file.stem) for file in (folder / "images").glob("*.png"))
    if split in ("train", "validation"):
        held_out = set(random.Random(_VALIDATION_SEED).sample(pictures, _VALIDATION_PICTURES))
        pictures = [picture for picture in pictures if (picture in held_out) == (split == "validation")]
    row = {picture: row for row, picture in enumerate(pictures)}
    official = json.loads((folder / "questions.json").read_text(encoding="utf-8"))
    questions = [
        VisualQuestion(question_id, row[picture], question, answer, _TYPE_OF[answer])
        for question_id, (question, answer, picture) in enumerate(official)
        if picture in row
    ]
    return EasyVQA(questions, np.stack([read_picture(folder / "images" / f"{picture}.png") for picture in pictures]))


def draw(shape: str, colour: str, seed: int = 0) -> np.ndarray:
    """Draw a picture in the style of the data set, (64, 64, 3) uint8; size, position and background follow the seed.

    Raises:
        ValueError: If the shape is not in ``SHAPES`` or the colour not in ``COLOURS``.
    """
    if shape not in SHAPES or colour not in COLOURS:
        known = f"Shapes are {', '.join(SHAPES)}; colours {', '.join(COLOURS)}."
        raise ValueError(f"Cannot draw a {colour} {shape}. {known}")
    rng = random.Random(seed)
    background = tuple(rng.randint(230, 255) for _ in range(3))
    width = rng.randint(16, 64)
    height = {"circle": width, "rectangle": rng.randint(16, 64), "triangle": round(width * 3**0.5 / 2)}[shape]
    left, top = rng.randint(0, 127 - width), rng.randint(0, 127 - height)
    return _render(shape, COLOURS[colour], background, (left, top, left + width, top + height))


def _render(shape: str, colour: tuple, background: tuple, box: tuple[int, int, int, int]) -> np.ndarray:
    # The official pictures have the soft edges of a 128-pixel drawing halved with a bilinear filter.
    canvas = Image.new("RGB", (128, 128), background)
    brush = ImageDraw.Draw(canvas)
    left, top, right, bottom = box
    if shape == "circle":
        brush.ellipse(box, fill=colour)
    elif shape == "rectangle":
        brush.rectangle(box, fill=colour)
    else:
        brush.polygon([((left + right) / 2, top), (left, bottom), (right, bottom)], fill=colour)
    return np.array(canvas.resize((64, 64), Image.Resampling.BILINEAR))


def _load(split: str, pictures: int) -> WorldData:
    data = load(split)
    questions: list[list[Question]] = [[] for _ in data.pictures[:pictures]]
    for one in data.questions:
        if one.picture < pictures:
            questions[one.picture].append(Question(one.question, one.answer, one.type))
    return WorldData(data.pictures[:pictures], questions)


WORLD = World(name="easy-VQA", splits=SPLITS, types=TYPES, load=_load)
