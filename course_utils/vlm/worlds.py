"""Worlds as a vision-language model reads them: pictures as features, questions and captions as turns."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from course_utils.datasets import vqa_json
from course_utils.datasets.vqa import BadPicture
from course_utils.datasets.world import Question, World, world, worlds
from course_utils.vlm import PictureReader
from course_utils.vlm.conversations import CAPTION_PROMPT, Turn, caption_turn, question_turn
from course_utils.vlm.features import Features, encode_files
from course_utils.vlm.prepare import prepared_question


@dataclass(frozen=True)
class EncodedWorld:
    """Encoded pictures, each with its turns."""

    name: str  # of the datasets.world.World, or of a questions file
    features: torch.Tensor | Features  # (pictures, 16, 1536) float16
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


def read_vqa(
    questions: str | Path, annotations: str | Path, folder: str | Path, reader: PictureReader, *,
    on_bad_picture: str = "raise",
) -> EncodedWorld:  # fmt: skip
    """Read the pictures in a folder and the questions about them, laid out as in VQA v2.

    Features are memory-mapped: see :func:`course_utils.vlm.features.encode_files`.

    Args:
        questions: The questions file.
        annotations: The annotations file.
        folder: The folder with the pictures.
        reader: The frozen encoders.
        on_bad_picture: "raise", or "skip" to leave out, with a warning, the questions about missing or bad pictures.

    Raises:
        FileNotFoundError: If a file or a picture is missing.
        ValueError: If a file is not in the layout of :mod:`course_utils.datasets.vqa_json`, a picture is unreadable, or
            nothing is left to ask about.
        AssetError: If there is no room for the features.
    """
    asked, files = vqa_json.load(questions, annotations, pictures_folder=folder, on_bad_picture=on_bad_picture)
    turns, annotators = {key: [] for key in files}, {key: [] for key in files}
    for one in asked:
        try:
            text = prepared_question(one.question)
        except ValueError as error:
            raise ValueError(f"{questions}: question {one.question_id}: {error}") from error
        turns[one.picture].append(question_turn(text, one.answer, one.type))
        annotators[one.picture].append(one.answers)
    features, bad = encode_files(list(files.values()), reader)
    if bad and (on_bad_picture == "raise" or len(bad) == len(files)):
        advice = 'Replace them, or leave out their questions: on_bad_picture = "skip"'
        raise BadPicture(f"{len(bad)} of {len(files)} pictures cannot be used. {_some(bad.values())}. {advice}.")
    if bad:
        warnings.warn(f"{len(bad)} of {len(files)} pictures are left out. {_some(bad.values())}.", stacklevel=2)
    kept = [key for number, key in enumerate(files) if number not in bad]
    several = [annotators[key] for key in kept] if any(one.answers for one in asked) else []
    return EncodedWorld(Path(questions).stem, features, [turns[key] for key in kept], annotators=several)


def _some(reasons: Iterable[str], few: int = 3) -> str:
    first = list(islice(reasons, few + 1))
    return "; ".join(first[:few]) + ("; and so on" if len(first) > few else "")


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
