"""Worlds as a vision-language model reads them: pictures as features, questions and captions as turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from course_utils.datasets import vqa_json
from course_utils.datasets.vqa import read_picture
from course_utils.datasets.world import Question, World, world, worlds
from course_utils.vlm import PictureReader
from course_utils.vlm.conversations import CAPTION_PROMPT, Turn, caption_turn, question_turn

SIDE, SMALL = 128, 64  # pixels to a side of a picture from a file, after padding with white


@dataclass(frozen=True)
class EncodedWorld:
    """Encoded pictures, each with its turns.

    Attributes:
        name: Name of the :class:`course_utils.datasets.world.World`, or of a questions file.
        features: (pictures, 16, 1536) float16.
        turns: The turns of each picture.
        scenes: The scene of each picture; None where they are unknown.
        annotators: The answers of all annotators to each turn, where there are several.
    """

    name: str
    features: torch.Tensor
    turns: list[list[Turn]]
    scenes: Sequence[Any] | None = None
    annotators: list[list[tuple[str, ...]]] = field(default_factory=list)


def read_world(name: str, split: str, pictures: int, reader: PictureReader) -> EncodedWorld:
    """Read pictures of a world with their captions, if it has any, and all their questions.

    Args:
        name: Name of a world in :func:`course_utils.datasets.world.worlds`.
        split: One of its splits.
        pictures: At most how many.
        reader: The picture encoder.

    Raises:
        ValueError: If there is no such world or split.
    """
    source = world(name)
    if split not in source.splits:
        raise ValueError(f"{name} has no split {split!r}; its splits are {', '.join(source.splits)}.")
    data = source.load(split, pictures)
    turns = [_question_turns(questions) for questions in data.questions]
    if source.caption is not None:
        turns = [[caption_turn(source.caption(scene)), *some] for scene, some in zip(data.scenes, turns, strict=True)]
    return EncodedWorld(name, reader.read(data.pictures), turns, data.scenes)


def read_vqa(
    questions: str | Path, annotations: str | Path, folder: str | Path, reader: PictureReader,
    pictures: int | None = None,
) -> EncodedWorld:  # fmt: skip
    """Read pictures and questions in the official layout of VQA v2; see :mod:`course_utils.datasets.vqa_json`.

    Args:
        questions: The questions file.
        annotations: The annotations file.
        folder: The folder of the pictures.
        reader: The picture encoder.
        pictures: At most how many; by default all.

    Raises:
        FileNotFoundError: If a file or a picture is missing.
        ValueError: If a file is not in the official layout, or a picture cannot be read.
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
    return EncodedWorld(Path(questions).stem, torch.cat(features), turns, annotators=annotators)


def only_questions(encoded: EncodedWorld) -> EncodedWorld:
    """Drop the captions."""
    return replace(
        encoded, turns=[[turn for turn in turns if turn.prompt != CAPTION_PROMPT] for turns in encoded.turns]
    )


def with_rationales(encoded: EncodedWorld) -> EncodedWorld:
    """Prefix answers with rationales, where the world has them; the answers that count stay the same."""
    source = _source(encoded)
    if source is None or source.rationale is None:
        return encoded
    turns = [
        [replace(turn, rationale=source.rationale(turn.prompt, scene)) for turn in some]
        for some, scene in zip(encoded.turns, encoded.scenes, strict=True)
    ]
    return replace(encoded, turns=turns)


def with_training_mix(
    encoded: EncodedWorld, *, stepping_stone_share: float = 0.0, extra_late_questions: int = 0,
    extra_questions_by_type: Mapping[str, int] | None = None, early_match_questions: bool = False,
    choice_questions: bool = False,
) -> EncodedWorld:  # fmt: skip
    """Change the questions for training, where the world has such questions; see :class:`datasets.world.World`.

    Args:
        encoded: A world to train on.
        stepping_stone_share: Share of the pictures, evenly spaced, in which stepping stones replace other questions.
        extra_late_questions: How many more questions of each type that is learnt late; 0 for no extra questions.
        extra_questions_by_type: Question type -> how many more questions, in place of the types learnt late.
        early_match_questions: Whether to add early-match questions.
        choice_questions: Whether to add choice questions.

    Raises:
        ValueError: If ``stepping_stone_share`` is not from 0 to 1.
    """
    if not 0 <= stepping_stone_share <= 1:
        raise ValueError(f"stepping_stone_share is {stepping_stone_share}; it is a share, from 0 to 1.")
    source = _source(encoded)
    if source is None:
        return encoded
    scenes = encoded.scenes
    if stepping_stone_share and source.stepping_stones is not None:
        turns = []
        for number, (some, stones) in enumerate(zip(encoded.turns, source.stepping_stones(scenes), strict=True)):
            if int((number + 1) * stepping_stone_share) > int(number * stepping_stone_share):
                some = [turn for turn in some if turn.type not in source.replaced_types] + _question_turns(stones)
            turns.append(some)
        encoded = replace(encoded, turns=turns)
    if extra_late_questions and source.extra_questions is not None:
        wanted = extra_questions_by_type or {}
        times = {kind: number for kind, number in wanted.items() if kind in source.types}
        times = times or dict.fromkeys(source.late_types, extra_late_questions)
        encoded = _with_extra(encoded, source.extra_questions(scenes, times))
    if early_match_questions and source.early_match_questions is not None:
        encoded = _with_extra(encoded, source.early_match_questions(scenes))
    if choice_questions and source.choice_questions is not None:
        encoded = _with_extra(encoded, source.choice_questions(scenes))
    return encoded


def _source(encoded: EncodedWorld) -> World | None:
    """The world that the scenes are from."""
    return worlds().get(encoded.name) if encoded.scenes is not None else None


def _question_turns(questions: Sequence[Question]) -> list[Turn]:
    return [question_turn(one.text, one.answer, one.type) for one in questions]


def _with_extra(encoded: EncodedWorld, extra: Sequence[Sequence[Question]]) -> EncodedWorld:
    """Append questions about each picture, without repetition."""
    return replace(
        encoded,
        turns=[
            list(dict.fromkeys([*some, *_question_turns(more)]))
            for some, more in zip(encoded.turns, extra, strict=True)
        ],
    )


def squared(picture: str | Path | Image.Image | np.ndarray, side: int | None = None) -> np.ndarray:
    """Scale a picture into a square with white borders: (side, side, 3) uint8.

    Args:
        picture: A file, a PIL image or an array (height, width, 3) uint8.
        side: Pixels; by default 64 for a picture no larger than that, such as those of shapes, and 128 for any other.

    Raises:
        course_utils.datasets.vqa.BadPicture: If it cannot be read.
    """
    pixels = read_picture(picture)
    if side is None:
        side = SMALL if max(pixels.shape[:2]) <= SMALL else SIDE
    return np.array(ImageOps.pad(Image.fromarray(pixels), (side, side), color="white"))
