"""Workings: what may be said on the way to the answer of a question about a known scene.

"How many stars are left of the red circle?" is hard to answer in one word. Said aloud it is a walk through the picture
from its left edge, "blue star, pink square, green star, red circle: 2": each name is read off the picture by way of
the name before it, and the answer is read off the names. For language models this is the scratchpad of Nye and others
(Show Your Work, 2021).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from course_utils.datasets import emoji_scenes
from course_utils.datasets.emoji_scenes import KINDS, EmojiScene
from course_utils.datasets.shapes.questions import (
    DIRECTIONS,
    DISTANCES,
    Description,
    Program,
    distance,
    execute,
    parse,
    position,
)
from course_utils.datasets.shapes.scenes import Scene, Thing

NOTHING = "none"
FOUND = 3  # things that are named across a distance


def about_shapes(question: str, scene: Scene) -> str:
    """The steps to the answer of a question about a scene of shapes; "" where one look gives it.

    - Across a direction: all things from the edge that it points to, one after the other, up to the anchor.
    - Across a distance: the anchor, then what is found from it, and the two that are found next.
    - A number: the things that are counted, from left to right; of two numbers, each with its things.

    Names have a size where what is asked about has one.

    Raises:
        ValueError: If the question cannot be read, or does not suit the scene; see :mod:`shapes_questions`.
    """
    program = parse(question)
    execute(program, scene)
    if program.relation in DIRECTIONS:
        return _walk(program, scene)
    if program.relation in DISTANCES:
        return _ranked(program, scene)
    if program.query == "count":
        return _listed(_fitting(program.target, scene))
    if program.query in ("more", "fewer"):
        each = [_fitting(description, scene) for description in (program.target, program.anchor)]
        return ", ".join(f"{_listed(things)} = {len(things)}" for things in each)
    return ""


def _fitting(description: Description, scene: Scene) -> list[Thing]:
    """From left to right."""
    return sorted((thing for thing in scene.things if description.matches(thing)), key=lambda thing: thing.x)


def _walk(program: Program, scene: Scene) -> str:
    place = partial(position, direction=program.relation)
    (anchor,) = (thing for thing in scene.things if program.anchor.matches(thing))
    before = sorted((thing for thing in scene.things if place(thing) < place(anchor)), key=place)
    names = [_named(thing, with_size=program.target.size is not None) for thing in before]
    return ", ".join([*names, str(program.anchor)])


def _ranked(program: Program, scene: Scene) -> str:
    (anchor,) = (thing for thing in scene.things if program.anchor.matches(thing))
    others = [thing for thing in scene.things if thing is not anchor]
    others.sort(key=partial(distance, anchor), reverse=program.relation == "furthest from")
    return ", ".join([str(program.anchor), *map(_named, others[:FOUND])])


def _named(thing: Thing, with_size: bool = False) -> str:
    return str(Description(thing.size if with_size else None, thing.colour, thing.shape))


def _listed(things: Iterable[Thing]) -> str:
    return ", ".join(map(_named, things)) or NOTHING


def about_emoji(question: str, scene: EmojiScene) -> str:
    """The things that a question of the type "count" counts, row by row; "" for any other question."""
    asked = question.removeprefix("how many ").removesuffix(" are there?")
    counted = [kind for kind, plural in KINDS.items() if plural == asked]
    if not counted:
        return ""
    names = [emoji_scenes.name(one.emoji) for one in scene.things if emoji_scenes.kind_of(one.emoji) in counted]
    return ", ".join(names) or NOTHING
