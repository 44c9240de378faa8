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
    """A source of pictures and questions. All that is optional needs scenes."""

    name: str  # in configurations
    splits: Sequence[str]  # "train" and "validation" among them; without "test", the world is for training only
    types: Sequence[str]  # question types
    load: Callable[[str, int], WorldData]  # (split, n) -> at most n pictures with their questions and scenes
    caption: Callable[[Any], str] | None = None  # of a scene
    rationale: Callable[[str, Any], str] | None = None  # (question, scene) -> steps to the answer, "" if there are none
    # For the least-squares targets of a linear bridge: the objects of a scene; the names of all objects as (in the
    # training pictures, held out of them); and the pixels to a side of a scene.
    objects: Callable[[Any], Sequence[SceneObject]] | None = None
    names: Callable[[], tuple[Sequence[str], Sequence[str]]] | None = None
    side: int = 0
    # For training only: easier questions that replace those of some types; (scenes, type -> how many) -> more
    # questions, by default of the types that are learnt late; more questions in which an object other than the last
    # before the anchor fits; and more questions that offer two answers.
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
    """The world of that name; a ValueError lists those that there are."""
    known = worlds()
    if name not in known:
        raise ValueError(f"There is no world {name!r}. There are: {', '.join(known)}.")
    return known[name]


def load_split(split: Callable[..., Any], name: str, pictures: int) -> WorldData:
    """A ``load`` from a function ``split(name, pictures=…)`` whose data has pictures, scenes and numbered questions."""
    data = split(name, pictures=pictures)
    questions: list[list[Any]] = [[] for _ in data.scenes]
    for question in data.questions:
        questions[question.picture].append(question)
    return WorldData(data.pictures, questions, data.scenes)
