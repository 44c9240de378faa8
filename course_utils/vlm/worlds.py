"""Worlds of pictures and what is said about them, read for a vision-language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from course_utils.datasets import easy_vqa, emoji_scenes, shapes, vqa_json, workings
from course_utils.datasets.emoji_scenes import curriculum as emoji_curriculum
from course_utils.datasets.emoji_scenes import wide as emoji_wide
from course_utils.datasets.shapes import curriculum as shapes_curriculum
from course_utils.datasets.vqa import read_picture
from course_utils.reasoning.grid import REPLACED
from course_utils.vlm import PictureReader
from course_utils.vlm.conversations import CAPTION_PROMPT, Turn, caption_turn, question_turn

NAMES = ("shapes", "easy-VQA", "emoji scenes", "more emoji")  # the last for training alone
_MADE = {"shapes": shapes, "emoji scenes": emoji_scenes, "more emoji": emoji_wide}
# Types of shapes whose answers are not names: "yes", "no" and numbers.
LEARNT_LATE = ("exist", "number", "exist-relation", "count-relation", "verify-relation")
SIDE, SMALL = 128, 64  # pixels to a side of a picture from a file, its borders white


@dataclass(frozen=True)
class World:
    """Pictures, read, and what is said about them.

    Attributes:
        name: One of ``NAMES``, or that of a file.
        features: (pictures, 16, 1536) float16.
        turns: Of each picture.
        scenes: Of each picture, where they are known: in "shapes" and "emoji scenes".
        annotators: What all annotators answered to a turn, where there are several.
    """

    name: str
    features: torch.Tensor
    turns: list[list[Turn]]
    scenes: Sequence | None = None
    annotators: list[list[tuple[str, ...]]] = field(default_factory=list)


def read_world(name: str, split: str, pictures: int, reader: PictureReader) -> World:
    """Some pictures of one of the course's worlds with all their questions, and captions of emoji.

    Args:
        name: One of ``NAMES``.
        split: One that the world has.
        pictures: At most so many.
        reader: Of the pictures.

    Raises:
        ValueError: If there is no such world or split.
    """
    if name not in NAMES:
        raise ValueError(f"There is no world {name!r}. There are: {', '.join(NAMES)}.")
    if name == "easy-VQA":
        data, scenes = easy_vqa.load(split), None
        asked = [(one.picture, one.question, one.answer, one.type) for one in data.questions]
        seen = data.pictures[:pictures]
    else:
        data = _MADE[name].split(split, pictures=pictures)
        asked = [(one.picture, one.text, one.answer, one.type) for one in data.questions]
        scenes, seen = data.scenes, data.pictures
    turns: list[list[Turn]] = [[] for _ in seen]
    if name in ("emoji scenes", "more emoji"):
        turns = [[caption_turn(emoji_scenes.caption(scene))] for scene in scenes]
    for picture, *said in asked:
        if picture < len(turns):
            turns[picture].append(question_turn(*said))
    known = name != "more emoji"  # what is asked more of scenes is about the things of the other worlds
    return World(name, reader.read(seen), turns, scenes if known else None)


def read_vqa(
    questions: str | Path, annotations: str | Path, folder: str | Path, reader: PictureReader,
    pictures: int | None = None,
) -> World:  # fmt: skip
    """Pictures and questions in the official layout of VQA v2, from files; see :mod:`course_utils.datasets.vqa_json`.

    Args:
        questions: The questions file.
        annotations: The annotations file.
        folder: Where the pictures are.
        reader: Of the pictures.
        pictures: At most so many; by default all.

    Raises:
        FileNotFoundError: If a file or a picture is missing.
        ValueError: If a file is not of the official layout, or a picture cannot be read.
    """
    asked, files = vqa_json.load(questions, annotations, pictures_folder=folder)
    keys = list(files)[:pictures]
    row = {key: number for number, key in enumerate(keys)}
    turns, annotators = [[] for _ in keys], [[] for _ in keys]
    for one in asked:
        if one.picture in row:
            turns[row[one.picture]].append(question_turn(one.question, one.answer, one.type))
            annotators[row[one.picture]].append(one.answers)
    features = [
        reader.read(np.stack([squared(files[key], SIDE) for key in keys[at : at + 50]]))
        for at in range(0, len(keys), 50)
    ]
    return World(Path(questions).stem, torch.cat(features), turns, annotators=annotators)


def only_questions(world: World) -> World:
    """A world without its captions."""
    return replace(world, turns=[[turn for turn in turns if turn.prompt != CAPTION_PROMPT] for turns in world.turns])


def with_stones(world: World, share: float) -> World:
    """Shapes, evenly for a share of its pictures, with stepping stones in place of yes/no questions across a direction.

    See :mod:`course_utils.datasets.shapes.curriculum`. For training alone.

    Raises:
        ValueError: If the share is not from 0 to 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"stones is {share}; it is a share of the pictures, from 0 to 1.")
    if not share:
        return world
    stones = shapes_curriculum.ask_across(world.scenes)
    turns = []
    for number, some in enumerate(world.turns):
        if int((number + 1) * share) > int(number * share):
            mine = stones[len(REPLACED) * number :][: len(REPLACED)]
            kept = [turn for turn in some if turn.type not in REPLACED]
            some = kept + [question_turn(one.text, one.answer, one.type) for one in mine]
        turns.append(some)
    return replace(world, turns=turns)


def with_more(world: World, times: int, of: Mapping[str, int] | None = None) -> World:
    """A world with more questions of the types that are learnt late, where its scenes are known. For training alone.

    See the curricula beside the data sets. About shapes, what is answered by yes, no or a number is asked ``times``
    times more; about emoji scenes, whether each of its things is there, as many others, and how many there are of
    three kinds.

    Args:
        world: Any.
        times: How often more; 0 for never.
        of: Of shapes, the types to ask more, each with how often, in place of those that are learnt late.
    """
    if not times or world.scenes is None:
        return world
    if world.name == "shapes":
        again = shapes_curriculum.ask_again(world.scenes, of or dict.fromkeys(LEARNT_LATE, times))
    else:
        again = emoji_curriculum.ask_again(world.scenes)
    return _asked_too(world, again)


def with_early(world: World) -> World:
    """Shapes with one question more about each picture, in which what fits stands early in the walk to the anchor.

    See :func:`course_utils.datasets.shapes.curriculum.ask_early`. For training alone.
    """
    if world.name != "shapes":
        return world
    return _asked_too(world, [[one] if one else [] for one in shapes_curriculum.ask_early(world.scenes)])


def with_choices(world: World) -> World:
    """Emoji scenes with a choice about each of their things.

    See :func:`course_utils.datasets.emoji_scenes.curriculum.ask_choices`. For training alone.
    """
    if world.name != "emoji scenes":
        return world
    return _asked_too(world, emoji_curriculum.ask_choices(world.scenes))


def _asked_too(world: World, again: Sequence[Sequence]) -> World:
    """The world with more questions about each of its pictures, none of them twice."""
    turns = []
    for some, more in zip(world.turns, again, strict=True):
        new = [question_turn(one.text, one.answer, one.type) for one in more]
        turns.append(list(dict.fromkeys([*some, *new])))
    return replace(world, turns=turns)


def with_workings(world: World) -> World:
    """A world whose answers come behind their workings, where its scenes are known and more than one look is needed.

    See :mod:`course_utils.datasets.workings`. What counts as the answer stays the same.
    """
    if world.scenes is None:
        return world
    say = {"shapes": workings.about_shapes, "emoji scenes": workings.about_emoji}[world.name]
    turns = [
        [replace(turn, working=say(turn.prompt, scene)) for turn in some]
        for some, scene in zip(world.turns, world.scenes, strict=True)
    ]
    return replace(world, turns=turns)


def squared(picture: str | Path | Image.Image | np.ndarray, side: int | None = None) -> np.ndarray:
    """Any picture, fitted into a square with white borders: (side, side, 3) uint8.

    Args:
        picture: A file, a PIL image or an array (height, width, 3) uint8.
        side: Pixels; by default 64 for a picture not larger than that, as shapes' are, and 128 for any other.

    Raises:
        course_utils.datasets.vqa.BadPicture: If it cannot be read.
    """
    pixels = read_picture(picture)
    if side is None:
        side = SMALL if max(pixels.shape[:2]) <= SMALL else SIDE
    return np.array(ImageOps.pad(Image.fromarray(pixels), (side, side), color="white"))
