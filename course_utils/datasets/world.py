"""Worlds: where pictures and questions for a vision-language model come from.

A new world is one new module or package beside this one that exports a ``WORLD``; no other file names it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from course_utils import datasets


class Question(NamedTuple):
    """A question about a picture. Any class with these three attributes serves as well."""

    text: str
    answer: str
    type: str


class SceneObject(NamedTuple):
    """An object of a scene: its name, its centre and its side in pixels."""

    name: str
    x: float
    y: float
    size: float


class WorldData(NamedTuple):
    """Pictures (n, side, side, 3) uint8, the questions about each, and the scenes, None where they are unknown."""

    pictures: np.ndarray
    questions: Sequence[Sequence[Question]]
    scenes: Sequence[Any] | None = None


Questions = Callable[[Sequence[Any]], Sequence[Sequence[Question]]]  # scenes -> questions about each


@dataclass(frozen=True)
class World:
    """A source of pictures and questions; all that is optional needs scenes.

    Attributes:
        name: What configurations call it.
        splits: Names of its splits, "train" and "validation" among them. A world without "test" is for training only.
        types: Question types.
        load: (split, pictures) -> at most that many pictures with their questions and scenes.
        caption: Scene -> caption.
        rationale: (question, scene) -> the steps to the answer, "" where there is none.
        objects: Scene -> its objects, whose names are among ``names``. With ``names`` and ``side`` it gives the
            least-squares targets of a linear bridge.
        names: () -> names of the objects as (in the training pictures, held out of them).
        side: Pixels to a side of a scene, the unit of ``objects``.
        stepping_stones: Easier questions, for training only, that replace those of ``replaced_types``.
        replaced_types: Question types that stepping stones replace.
        extra_questions: (scenes, question type -> how many) -> more questions about each scene, for training only.
        late_types: Question types that are learnt late, the default of ``extra_questions``.
        early_match_questions: More questions in which an object other than the last before the anchor fits.
        choice_questions: More questions that offer two answers.
    """

    name: str
    splits: Sequence[str]
    types: Sequence[str]
    load: Callable[[str, int], WorldData]
    caption: Callable[[Any], str] | None = None
    rationale: Callable[[str, Any], str] | None = None
    objects: Callable[[Any], Sequence[SceneObject]] | None = None
    names: Callable[[], tuple[Sequence[str], Sequence[str]]] | None = None
    side: int = 0
    stepping_stones: Questions | None = None
    replaced_types: Sequence[str] = ()
    extra_questions: Callable[[Sequence[Any], Mapping[str, int]], Sequence[Sequence[Question]]] | None = None
    late_types: Sequence[str] = ()
    early_match_questions: Questions | None = None
    choice_questions: Questions | None = None


def worlds() -> dict[str, World]:
    """Name -> world, of every module and package under :mod:`course_utils.datasets` that exports a ``WORLD``.

    Raises:
        ValueError: If two worlds have the same name.
    """
    found: dict[str, World] = {}
    for module in pkgutil.walk_packages(datasets.__path__, f"{datasets.__name__}."):
        one = getattr(importlib.import_module(module.name), "WORLD", None)
        if isinstance(one, World) and found.setdefault(one.name, one) is not one:
            raise ValueError(f"Two worlds are called {one.name!r}; {module.name} exports the second.")
    return found


def world(name: str) -> World:
    """The world of that name.

    Raises:
        ValueError: If there is none; the message lists those that there are.
    """
    known = worlds()
    if name not in known:
        raise ValueError(f"There is no world {name!r}. There are: {', '.join(known)}.")
    return known[name]


def by_picture(questions: Sequence[Any], pictures: int) -> list[list[Any]]:
    """Questions that have a ``picture`` number, grouped by it; those about later pictures are dropped."""
    grouped: list[list[Any]] = [[] for _ in range(pictures)]
    for question in questions:
        if question.picture < pictures:
            grouped[question.picture].append(question)
    return grouped
