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
    """Encoded pictures, each with its turns."""

    name: str  # of the datasets.world.World, or of a questions file
    features: torch.Tensor  # (pictures, 16, 1536) float16
    turns: list[list[Turn]]  # the turns of each picture
    scenes: Sequence[Any] | None = None  # the scene of each picture; None where they are unknown
    annotators: list[list[tuple[str, ...]]] = field(default_factory=list)  # all answers to each turn, if several


def read_world(name: str, split: str, pictures: int, reader: PictureReader) -> EncodedWorld:
    """Read at most ``pictures`` pictures of a world with their captions, if it has any, and all their questions.

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


def read_vqa(questions: str | Path, annotations: str | Path, folder: str | Path, reader: PictureReader) -> EncodedWorld:
    """Read the pictures in a folder and the questions about them, laid out as in VQA v2.

    Raises:
        FileNotFoundError: If a file or a picture is missing.
        ValueError: If a file is not in the layout of :mod:`course_utils.datasets.vqa_json`, or a picture is unreadable.
    """
    asked, files = vqa_json.load(questions, annotations, pictures_folder=folder)
    row = {key: number for number, key in enumerate(files)}
    turns, annotators = [[] for _ in files], [[] for _ in files]
    for one in asked:
        turns[row[one.picture]].append(question_turn(one.question, one.answer, one.type))
        annotators[row[one.picture]].append(one.answers)
    paths = list(files.values())
    batches = [paths[at : at + 50] for at in range(0, len(paths), 50)]
    features = [reader.read(np.stack([squared(path, SIDE) for path in batch])) for batch in batches]
    return EncodedWorld(Path(questions).stem, torch.cat(features), turns, annotators=annotators)


def only_questions(encoded: EncodedWorld) -> EncodedWorld:
    """Drop the captions."""
    turns = [[turn for turn in some if turn.prompt != CAPTION_PROMPT] for some in encoded.turns]
    return replace(encoded, turns=turns)


def with_rationales(encoded: EncodedWorld) -> EncodedWorld:
    """Put rationales before the answers, where the world has them; the answers that count stay the same."""
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
    share = stepping_stone_share
    if not 0 <= share <= 1:
        raise ValueError(f"stepping_stone_share is {share}; it is a share, from 0 to 1.")
    source = _source(encoded)
    if source is None:
        return encoded
    scenes, turns, extra = encoded.scenes, encoded.turns, []
    if share and source.stepping_stones is not None:
        turns = list(turns)
        for number, stones in enumerate(source.stepping_stones(scenes)):
            if int((number + 1) * share) > int(number * share):
                kept = [turn for turn in turns[number] if turn.type not in source.replaced_types]
                turns[number] = kept + _question_turns(stones)
    if extra_late_questions and source.extra_questions is not None:
        wanted = extra_questions_by_type or {}
        times = {kind: number for kind, number in wanted.items() if kind in source.types}
        extra.append(source.extra_questions(scenes, times or dict.fromkeys(source.late_types, extra_late_questions)))
    if early_match_questions and source.early_match_questions is not None:
        extra.append(source.early_match_questions(scenes))
    if choice_questions and source.choice_questions is not None:
        extra.append(source.choice_questions(scenes))
    for questions in extra:  # dict.fromkeys drops repeated turns
        pairs = zip(turns, questions, strict=True)
        turns = [list(dict.fromkeys([*some, *_question_turns(more)])) for some, more in pairs]
    return encoded if turns is encoded.turns else replace(encoded, turns=turns)


def _source(encoded: EncodedWorld) -> World | None:
    """The world that the scenes are from."""
    return worlds().get(encoded.name) if encoded.scenes is not None else None


def _question_turns(questions: Sequence[Question]) -> list[Turn]:
    return [question_turn(one.text, one.answer, one.type) for one in questions]


def squared(picture: str | Path | Image.Image | np.ndarray, side: int | None = None) -> np.ndarray:
    """Scale a picture into a square with white borders, (side, side, 3) uint8.

    ``picture`` is a file, a PIL image or an array (height, width, 3) uint8. By default ``side`` is 64 if the picture is
    no larger, otherwise 128.

    Raises:
        course_utils.datasets.vqa.BadPicture: If it cannot be read.
    """
    pixels = read_picture(picture)
    if side is None:
        side = SMALL if max(pixels.shape[:2]) <= SMALL else SIDE
    return np.array(ImageOps.pad(Image.fromarray(pixels), (side, side), color="white"))
