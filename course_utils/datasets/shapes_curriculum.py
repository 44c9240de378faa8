"""Questions about shapes for training alone: stepping stones, and more of what is asked too seldom.

A stepping stone is a question whose answer names what stands where a relation points.
"Is there a star left of the green circle?" has two answers, so balanced that only a model which finds the circle, and
looks left of it, and knows a star can tell them apart: until all three work, none of them pays. "What colour is the
star left of the green circle?" has eight answers, and each step on the way there pays at once. No split of shapes asks
such questions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from course_utils.datasets.shapes_questions import (
    DIRECTIONS,
    ONE_WORD,
    THING,
    Balance,
    Chance,
    Description,
    Program,
    Question,
    distinct_names,
    position,
)
from course_utils.datasets.shapes_scenes import Scene, Thing

QUERIES = ("colour", "shape")


def ask_across(scenes: Sequence[Scene], seed: int = 1) -> list[Question]:
    """Two questions about each scene: the colour, then the shape, of what stands in a direction from an anchor.

    What is asked about fits one thing in that direction and at least one elsewhere, so that without the direction the
    answer could only be guessed. Questions about picture i are those at 2 · i; 24,000 pictures take about 3 s.

    Args:
        scenes: Those of shapes.
        seed: The same gives the same questions.

    Raises:
        ValueError: A scene has no such question.
    """
    chance = Chance(np.random.Generator(np.random.PCG64([seed, 2])))
    return [_ask(scene, query, picture, chance) for picture, scene in enumerate(scenes) for query in QUERIES]


def ask_again(scenes: Sequence[Scene], types: Sequence[str], times: int, seed: int = 1) -> list[list[Question]]:
    """For each scene, more questions of some types, each text once; at most ``times`` of a type.

    Args:
        scenes: Those of shapes.
        types: Of ``shapes_questions.TYPES``.
        times: How often each type is asked.
        seed: The same gives the same questions.
    """
    balance = Balance(Chance(np.random.Generator(np.random.PCG64([seed, 3]))))
    again = []
    for picture, scene in enumerate(scenes):
        asked = [one for _ in range(times) for one in balance.ask(scene, picture) if one.type in types]
        again.append(list({one.text: one for one in asked}.values()))
    return again


def _ask(scene: Scene, query: str, picture: int, chance: Chance) -> Question:
    """One question; its anchor and its direction are the first, in random order, that offer one."""
    names = distinct_names(scene.things, colour=True, shape=True)
    anchors = [(thing, name) for thing, name in zip(scene.things, names, strict=True) if name]
    starts = [(anchor, direction) for anchor in anchors for direction in DIRECTIONS]
    for (anchor, name), direction in chance.shuffled(starts):
        if targets := _targets(scene.things, anchor, direction, query):
            target, found = chance.one(targets)
            program = Program(query, target, direction, name)
            kind = f"{query}-relation"
            return Question(str(program), getattr(found, query), kind, kind, program, picture)
    raise ValueError(f"Scene {picture} has no thing whose {query} could be asked across a direction.")


def _targets(things: Sequence[Thing], anchor: Thing, direction: str, query: str) -> list[tuple[Description, Thing]]:
    """Descriptions in one word, or none, that fit one thing in the direction and another elsewhere; and that thing."""
    others = [thing for thing in things if thing is not anchor]
    limit = position(anchor, direction)
    words = [getattr(thing, part) for thing in others for part in ("size", "colour", "shape") if part != query]
    targets = []
    for description in (THING, *(ONE_WORD[word] for word in dict.fromkeys(words))):
        fitting = [thing for thing in others if description.matches(thing)]
        there = [thing for thing in fitting if position(thing, direction) < limit]
        if len(there) == 1 and len(fitting) > 1:
            targets.append((description, there[0]))
    return targets
