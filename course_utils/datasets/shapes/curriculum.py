"""Extra questions about shapes, for training only: stepping stones, more of what is learnt late, and early matches.

A stepping stone asks for the colour or shape of an object across a direction. "Is there a star left of the green
circle?" has two answers, balanced so that only a model that finds the circle, looks left and knows a star beats
chance: until all three work, none is rewarded. "What colour is the star left of the green circle?" has eight answers
and rewards each step. No split of shapes asks such questions.
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
REPLACED_TYPES = ("exist-relation", "verify-relation")  # by stepping stones, one of each query
# The types whose answers are "yes", "no" or a number, not a name.
LATE_TYPES = ("exist", "number", "exist-relation", "count-relation", "verify-relation")


def stepping_stones(scenes: Sequence[Scene], seed: int = 1) -> list[list[Question]]:
    """Two questions about each scene: the colour, then the shape, of an object in a direction from an anchor.

    The target matches one object in that direction and at least one elsewhere, so the answer depends on the direction.
    24,000 scenes take about 3 s.

    Raises:
        ValueError: If a scene has no such question.
    """
    chance = Chance(np.random.Generator(np.random.PCG64([seed, 2])))
    return [[_stone(scene, query, picture, chance) for query in QUERIES] for picture, scene in enumerate(scenes)]


def extra_questions(scenes: Sequence[Scene], times: Mapping[str, int], seed: int = 1) -> list[list[Question]]:
    """More questions about each scene without repetition, at most ``times[type]`` of each type."""
    rounds = range(max(times.values(), default=0))
    balance = Balance(Chance(np.random.Generator(np.random.PCG64([seed, 3]))))
    extra = []
    for picture, scene in enumerate(scenes):
        asked = [one for past in rounds for one in balance.ask(scene, picture) if past < times.get(one.type, 0)]
        extra.append(list({one.text: one for one in asked}.values()))
    return extra


def early_match_questions(scenes: Sequence[Scene], seed: int = 1) -> list[list[Question]]:
    """One "exist-relation" question about each scene, none where there is none, whose match is not next to the anchor.

    In the splits the answer "yes" always has a match next to the anchor, so a model may scan towards the anchor and
    remember only the last step. Here an earlier object matches and the last one does not. 24,000 scenes take about 2 s.
    """
    chance = Chance(np.random.Generator(np.random.PCG64([seed, 4])))
    return [_early_match(scene, picture, chance) for picture, scene in enumerate(scenes)]


def _early_match(scene: Scene, picture: int, chance: Chance) -> list[Question]:
    names = distinct_names(scene.things, colour=True, shape=True)
    kinds = dict.fromkeys(word for thing in scene.things for word in (thing.colour, thing.shape))
    programs = []
    for direction in DIRECTIONS:
        scan = sorted(zip(scene.things, names, strict=True), key=lambda step: position(step[0], direction))
        for at, (anchor, name) in enumerate(scan):
            for target in (ONE_WORD[word] for word in kinds) if name else ():
                matching = [target.matches(thing) for thing, _ in scan[:at]]
                if any(matching) and not matching[-1] and not target.matches(anchor):
                    programs.append(Program("exist", target, direction, name))
    if not programs:
        return []
    program = chance.one(programs)
    return [Question(str(program), "yes", "exist-relation", "exist-relation early", program, picture)]


def _stone(scene: Scene, query: str, picture: int, chance: Chance) -> Question:
    """A stepping stone from the first anchor and direction, in random order, that allow one."""
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
    """One-word descriptions that match one object in the direction and another elsewhere, with the former."""
    others = [thing for thing in things if thing is not anchor]
    limit = position(anchor, direction)
    words = [getattr(thing, part) for thing in others for part in ("size", "colour", "shape") if part != query]
    targets = []
    for description in (THING, *(ONE_WORD[word] for word in dict.fromkeys(words))):
        matching = [thing for thing in others if description.matches(thing)]
        there = [thing for thing in matching if position(thing, direction) < limit]
        if len(there) == 1 and len(matching) > 1:
            targets.append((description, there[0]))
    return targets
