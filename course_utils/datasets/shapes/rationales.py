"""Rationales: the steps to the answer of a question about shapes.

"How many stars are left of the red circle?" is hard to answer in one word. As a scan from the left edge, "blue star,
pink square, green star, red circle: 2", each name is read off the picture with the help of the name before it, and the
answer is read off the names. For language models this is the scratchpad of Nye et al. (2021), "Show Your Work".
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from course_utils.datasets.shapes.questions import DISTANCES, Description, distance, execute, parse, position
from course_utils.datasets.shapes.scenes import Scene, Thing

NOTHING = "none"
RANKED = 3  # objects that are named across a distance


def rationale(question: str, scene: Scene) -> str:
    """The steps to the answer, "" where none are needed.

    - Across a direction: all objects from the edge it points to, in order, up to the anchor.
    - Across a distance: the anchor, then the nearest (or furthest) object and the next two.
    - A number: the objects that are counted, from left to right; for a comparison both lists, each with its number.

    Names include the size where the target of a direction has one.

    Raises:
        ValueError: If the question cannot be parsed, or does not suit the scene.
    """
    program = parse(question)
    execute(program, scene)
    if program.query == "count" and not program.relation:
        return _listed(_matching(program.target, scene))
    if program.query in ("more", "fewer"):
        both = [_matching(description, scene) for description in (program.target, program.anchor)]
        return ", ".join(f"{_listed(things)} = {len(things)}" for things in both)
    if not program.relation:
        return ""
    (anchor,) = _matching(program.anchor, scene)
    if program.relation in DISTANCES:
        others = [thing for thing in scene.things if thing is not anchor]
        others.sort(key=partial(distance, anchor), reverse=program.relation == "furthest from")
        return ", ".join([str(program.anchor), *map(_named, others[:RANKED])])
    place = partial(position, direction=program.relation)
    before = sorted((thing for thing in scene.things if place(thing) < place(anchor)), key=place)
    names = [_named(thing, with_size=program.target.size is not None) for thing in before]
    return ", ".join([*names, str(program.anchor)])


def _matching(description: Description, scene: Scene) -> list[Thing]:
    """Matching objects from left to right."""
    return sorted((thing for thing in scene.things if description.matches(thing)), key=lambda thing: thing.x)


def _named(thing: Thing, with_size: bool = False) -> str:
    return str(Description(thing.size if with_size else None, thing.colour, thing.shape))


def _listed(things: Iterable[Thing]) -> str:
    return ", ".join(map(_named, things)) or NOTHING
