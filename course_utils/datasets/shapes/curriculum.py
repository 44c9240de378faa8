"""Questions about shapes for training alone: stepping stones, more of what is asked too seldom, and early finds.

A stepping stone is a question whose answer names what stands where a relation points.
"Is there a star left of the green circle?" has two answers, so balanced that only a model which finds the circle, and
looks left of it, and knows a star can tell them apart: until all three work, none of them pays. "What colour is the
star left of the green circle?" has eight answers, and each step on the way there pays at once. No split of shapes asks
such questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from course_utils.datasets.shapes.questions import (
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
from course_utils.datasets.shapes.scenes import Scene, Thing

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


def ask_again(scenes: Sequence[Scene], times: Mapping[str, int], seed: int = 1) -> list[list[Question]]:
    """For each scene, more questions of some types, each text once.

    Args:
        scenes: Those of shapes.
        times: Some of ``shapes_questions.TYPES`` to how often each is asked at most.
        seed: The same gives the same questions.
    """
    rounds = range(max(times.values(), default=0))
    balance = Balance(Chance(np.random.Generator(np.random.PCG64([seed, 3]))))
    again = []
    for picture, scene in enumerate(scenes):
        asked = [one for past in rounds for one in balance.ask(scene, picture) if past < times.get(one.type, 0)]
        again.append(list({one.text: one for one in asked}.values()))
    return again


def ask_early(scenes: Sequence[Scene], seed: int = 1) -> list[Question | None]:
    """For each scene a question of the type "exist-relation" to which the things next to the anchor are no help.

    In the splits the answer "yes" always has a fitting thing next to the anchor, so that whoever walks up to the
    anchor may forget all but the last step. Here something fits, but not the last before the anchor. None for a scene
    that has no such question; 24,000 pictures take about 2 s.

    Args:
        scenes: Those of shapes.
        seed: The same gives the same questions.
    """
    chance = Chance(np.random.Generator(np.random.PCG64([seed, 4])))
    return [_ask_early(scene, picture, chance) for picture, scene in enumerate(scenes)]


def _ask_early(scene: Scene, picture: int, chance: Chance) -> Question | None:
    names = distinct_names(scene.things, colour=True, shape=True)
    kinds = dict.fromkeys(word for thing in scene.things for word in (thing.colour, thing.shape))
    offers = []
    for direction in DIRECTIONS:
        walk = sorted(zip(scene.things, names, strict=True), key=lambda step: position(step[0], direction))
        for at, (anchor, name) in enumerate(walk):
            for target in (ONE_WORD[word] for word in kinds) if name else ():
                fitting = [target.matches(thing) for thing, _ in walk[:at]]
                if any(fitting) and not fitting[-1] and not target.matches(anchor):
                    offers.append(Program("exist", target, direction, name))
    if not offers:
        return None
    program = chance.one(offers)
    return Question(str(program), "yes", "exist-relation", "exist-relation early", program, picture)


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
