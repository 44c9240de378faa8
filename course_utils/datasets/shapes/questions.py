"""Questions about scenes of shapes: programs, their wording, parsing, execution and balanced sampling."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, permutations
from math import sqrt
from typing import NamedTuple, TypeVar

import numpy as np

from course_utils.datasets.shapes.scenes import COLOURS, HELD_OUT, MOST, SHAPES, SIZES, Scene, Thing

T = TypeVar("T")

DIRECTIONS = ("left of", "right of", "above", "below")
DISTANCES = ("nearest to", "furthest from")
DISTANCE_MARGIN = 3  # pixels between the nearest (or furthest) object asked about and the next
ANSWERS = ("yes", "no", *(str(n) for n in range(MOST + 1)), *COLOURS, *SHAPES)


class Description(NamedTuple):
    """Attributes of an object; None leaves one open, and with all three open it reads "thing"."""

    size: str | None = None
    colour: str | None = None
    shape: str | None = None

    def __str__(self) -> str:
        return " ".join(word for word in (self.size, self.colour, self.shape or "thing") if word)

    def matches(self, thing: Thing) -> bool:
        """Whether the object has every attribute that is given."""
        size, colour, shape = self
        return shape in (None, thing.shape) and colour in (None, thing.colour) and size in (None, thing.size)


THING = Description()


@dataclass(frozen=True, slots=True)
class Program:
    """A question as a program: find the anchor, follow the relation, keep what matches the target, then query.

    The query is "exist", "count", "colour" or "shape" of the target; "more" or "fewer" of the target than of the
    anchor; or "verify" that the target stands in the relation to the anchor.
    """

    query: str
    target: Description
    relation: str | None = None  # one of ``DIRECTIONS`` or ``DISTANCES``
    anchor: Description | None = None  # the one object that the relation starts from

    def __str__(self) -> str:
        where = f" {self.relation} the {self.anchor}" if self.relation else ""
        if self.query == "exist":
            return f"is there {'an' if str(self.target)[0] in 'aeiou' else 'a'} {self.target}{where}?"
        if self.query == "count":
            return f"how many {self.target}s are{where or ' there'}?"
        if self.query == "verify":
            return f"is the {self.target}{where}?"
        if self.query in ("more", "fewer"):
            return f"are there {self.query} {self.target}s than {self.anchor}s?"
        return f"what {self.query} is the {self.target}{where}?"


@dataclass(frozen=True, slots=True)
class Question:
    """A question, its answer (one of ``ANSWERS``), its type and template in ``TEMPLATES``, and its picture's index."""

    text: str
    answer: str
    type: str
    template: str
    program: Program
    picture: int


def execute(program: Program, scene: Scene) -> str:
    """The program's answer about a scene.

    Raises:
        ValueError: If the question speaks of "the red circle" where the scene has none or several.
    """
    query, target, anchor = program.query, program.target, program.anchor
    if query in ("more", "fewer"):
        difference = len(_matching(target, scene.things)) - len(_matching(anchor, scene.things))
        return "yes" if (difference > 0 if query == "more" else difference < 0) else "no"
    things = scene.things if query == "verify" else _matching(target, scene.things)
    if program.relation:
        things = _related(things, program.relation, _only(anchor, scene.things))
    if query == "exist":
        return "yes" if things else "no"
    if query == "count":
        return str(len(things))
    if query == "verify":
        return "yes" if _only(target, scene.things) in things else "no"
    return getattr(_only(target, things), query)


def _matching(description: Description, things: tuple[Thing, ...]) -> tuple[Thing, ...]:
    return tuple(thing for thing in things if description.matches(thing))


def _only(description: Description, things: tuple[Thing, ...]) -> Thing:
    found = _matching(description, things)
    if len(found) != 1:
        fit = f"{len(found)} things fit" if found else "nothing fits"
        raise ValueError(f"the question speaks of 'the {description}', but {fit}; name exactly one")
    return found[0]


def position(thing: Thing, direction: str) -> int:
    """A coordinate of the object that is smaller the further it lies in the direction."""
    coordinate = thing.x if direction in ("left of", "right of") else thing.y
    return coordinate if direction in ("left of", "above") else -coordinate


def distance(a: Thing, b: Thing) -> float:
    """Pixels between the centres of two objects."""
    return sqrt((a.x - b.x) ** 2 + (a.y - b.y) ** 2)


def _related(things: tuple[Thing, ...], relation: str, anchor: Thing) -> tuple[Thing, ...]:
    """The objects that stand in the relation to the anchor; all that are equally near are nearest."""
    if relation in DIRECTIONS:
        limit = position(anchor, relation)
        return tuple(thing for thing in things if position(thing, relation) < limit)
    others = tuple(thing for thing in things if thing != anchor)
    best = (min if relation == "nearest to" else max)((distance(t, anchor) for t in others), default=0)
    return tuple(thing for thing in others if distance(thing, anchor) == best)


_NAME = rf"(?:(?:{'|'.join(SIZES)}) )?(?:(?:{'|'.join(COLOURS)}) )?(?:thing|{'|'.join(SHAPES)})"
_TARGET, _ANCHOR = rf"(?P<target>{_NAME})", rf"(?P<anchor>{_NAME})"
_DIRECTION = rf"(?P<relation>{'|'.join(DIRECTIONS)}) the {_ANCHOR}"
_RELATION = rf"(?P<relation>{'|'.join(DIRECTIONS + DISTANCES)}) the {_ANCHOR}"
_FORMS = {
    "exist": rf"is there an? {_TARGET}(?: {_DIRECTION})?",
    "count": rf"how many {_TARGET}s are (?:there|{_DIRECTION})",
    "verify": rf"is the {_TARGET} {_DIRECTION}",
    "compare": rf"are there (?P<query>more|fewer) {_TARGET}s than {_ANCHOR}s",
    "attribute": rf"what (?P<query>colour|shape) is the {_TARGET}(?: {_RELATION})?",
}
_EXAMPLES = (
    "is there a star left of the red circle", "how many things are above the red circle",
    "is the red circle below the star", "are there more circles than stars",
    "what colour is the thing nearest to the red circle",
)  # fmt: skip
_WORDS = {word for words in (*_EXAMPLES, *DIRECTIONS, *DISTANCES) for word in words.split()}
_WORDS |= {"an", "how", "there", "fewer", "shape", *SIZES, *COLOURS, *SHAPES}


def parse(text: str) -> Program:
    """The program of a question: the inverse of ``str(program)``.

    Raises:
        ValueError: If a word is unknown, or the words make none of the known forms of question.
    """
    words = text.lower().replace("?", " ").replace("color", "colour").split()
    unknown = [word for word in words if not {word, word.removesuffix("s")} & _WORDS]
    if unknown:
        raise ValueError(f"unknown word {unknown[0]!r}; the words are: {', '.join(sorted(_WORDS))}")
    for form, pattern in _FORMS.items():
        if found := re.fullmatch(pattern, " ".join(words)):
            parts = found.groupdict()
            target, anchor = (_describe(parts[part].split()) if parts[part] else None for part in ("target", "anchor"))
            return Program(parts.get("query", form), target, parts.get("relation"), anchor)
    raise ValueError(f"cannot read {text!r}; questions look like: {'; '.join(_EXAMPLES)}")


def _describe(words: Sequence[str]) -> Description:
    """The description in words such as "large", "red" and "circle"."""
    return Description(*(next((word for word in words if word in values), None) for values in (SIZES, COLOURS, SHAPES)))


class Chance:
    """Fast random choices, from uniform numbers that a numpy generator draws in blocks."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._numbers = chain.from_iterable(iter(lambda: rng.random(4096).tolist(), None))

    def one(self, options: Sequence[T]) -> T:
        """One of the options, each equally likely."""
        return options[int(next(self._numbers) * len(options))]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """The options in random order."""
        return sorted(options, key=lambda _: next(self._numbers))


class View(NamedTuple):
    """What a template sees: the objects, for each a unique name and its position in each direction."""

    things: tuple[Thing, ...]
    names: list[Description]
    positions: dict[str, list[int]]
    chance: Chance


# A template offers questions about a scene as {answer: programs}, a program as a tuple of its fields. All else is drawn
# before the answer, so that the answer can be the rarest so far, and the anchor follows from the answer. Questions
# across a direction offer every answer, whatever the scene and the wording: only the anchor decides, and another
# anchor would change the answer. A template that does not suit the scene offers nothing.
Offer = dict[str, list[tuple]]
Template = Callable[[View], Offer]
TRIES = 20  # draws before a template gives up on a scene
ONE_WORD = {word: _describe([word]) for word in (*SIZES, *COLOURS, *SHAPES)}


def _exist(view: View, first: str, second: str) -> Offer:
    """Is there an object with these two attributes? For "no", both attributes are there, but on different objects."""
    pairs = [(getattr(thing, first), getattr(thing, second)) for thing in view.things]
    real = view.chance.one(pairs)
    for _ in range(TRIES):
        mixed = view.chance.one(pairs)[0], view.chance.one(pairs)[1]
        # Both or neither are held out: otherwise an unseen pair would give the answer away.
        if mixed not in pairs and (mixed in HELD_OUT) == (real in HELD_OUT):
            return {"yes": [("exist", _describe(real))], "no": [("exist", _describe(mixed))]}
    return {}


def _attribute(view: View, query: str) -> Offer:
    """What colour (or shape) is the only object of a shape (or colour), with its size where needed?"""
    offer: Offer = defaultdict(list)
    names = distinct_names(view.things, colour=query != "colour", shape=query != "shape")
    for thing, name in zip(view.things, names, strict=True):
        if name:
            offer[getattr(thing, query)].append((query, name))
    return offer


def _count(view: View, attribute: str, values: Iterable[str], allowed: range) -> Offer:
    """How many objects have this value of an attribute?"""
    offer: Offer = defaultdict(list)
    there = [getattr(thing, attribute) for thing in view.things]
    for value in values:
        if (count := there.count(value)) in allowed:
            offer[str(count)].append(("count", ONE_WORD[value]))
    return offer


def _compare(view: View) -> Offer:
    """Are there more (or fewer) of one shape than of another? The numbers always differ."""
    there = [thing.shape for thing in view.things]
    uneven = [(a, b) for a, b in permutations(SHAPES, 2) if there.count(a) > there.count(b)]
    if not uneven:
        return {}
    many, few = (ONE_WORD[shape] for shape in view.chance.one(uneven))
    return {
        "yes": [("more", many, None, few), ("fewer", few, None, many)],
        "no": [("more", few, None, many), ("fewer", many, None, few)],
    }


def _across(view: View, query: str, targets: list[Description]) -> Offer:
    """Does a target stand in a direction from the anchor?

    The anchor is the last object before the first target ("no") or the first object after it ("yes"), so that an
    anchor's position, which could be looked up without finding a target, says as little as it can. An anchor that is
    itself a target would mostly mean "no", so there is none.
    """
    for _ in range(TRIES):
        target, direction = view.chance.one(targets), view.chance.one(DIRECTIONS)
        positions = view.positions[direction]
        is_target = [target.matches(thing) for thing in view.things]
        first = min([place for place, hit in zip(positions, is_target, strict=True) if hit])
        anchors = [(p, name) for p, name, hit in zip(positions, view.names, is_target, strict=True) if not hit]
        before = [anchor for anchor in anchors if anchor[0] < first]
        after = [anchor for anchor in anchors if anchor[0] > first]
        if before and after:
            no, yes = max(before)[1], min(after)[1]
            return {"yes": [(query, target, direction, yes)], "no": [(query, target, direction, no)]}
    return {}


def _count_across(view: View, targets: list[Description], most: int) -> Offer:
    """How many targets, 0 to ``most``, stand in a direction from the anchor?"""
    for _ in range(TRIES if targets else 0):
        target, direction = view.chance.one(targets), view.chance.one(DIRECTIONS)
        positions = view.positions[direction]
        found = sorted([p for p, thing in zip(positions, view.things, strict=True) if target.matches(thing)])
        offer: Offer = {str(count): [] for count in range(most + 1)}
        for place, name in zip(positions, view.names, strict=True):
            count = bisect_left(found, place)
            if count <= most:
                offer[str(count)].append(("count", target, direction, name))
        if all(offer.values()):
            return offer
    return {}


def _nearest(view: View, query: str) -> Offer:
    """What colour (or shape) is the object nearest to (or furthest from) an anchor? Preferably with many answers."""
    spots = [(thing.x, thing.y, getattr(thing, query)) for thing in view.things]
    ranked = [sorted([((x - u) ** 2 + (y - v) ** 2, value) for u, v, value in spots]) for x, y, _ in spots]
    offers = []
    for relation, first, second in view.chance.shuffled([("nearest to", 1, 2), ("furthest from", -1, -2)]):
        offer: Offer = defaultdict(list)
        for name, others in zip(view.names, ranked, strict=True):
            if abs(sqrt(others[first][0]) - sqrt(others[second][0])) >= DISTANCE_MARGIN:
                offer[others[first][1]].append((query, THING, relation, name))
        if len(offer) > 2:
            return offer
        offers.append(offer)
    return max(offers, key=len) if max(map(len, offers)) == 2 else {}


def _kinds(view: View, attribute: str, *, least: int = 1) -> list[Description]:
    """Descriptions by one attribute that fit at least ``least`` objects."""
    values = [getattr(thing, attribute) for thing in view.things]
    return [ONE_WORD[value] for value in dict.fromkeys(values) if values.count(value) >= least]


def distinct_names(things: tuple[Thing, ...], colour: bool, shape: bool) -> list[Description | None]:
    """For each object a unique name by colour, shape or both, with its size where needed; None where there is none."""
    plain = [Description(None, t.colour if colour else None, t.shape if shape else None) for t in things]
    names = [
        name if plain.count(name) == 1 else Description(thing.size, name.colour, name.shape)
        for name, thing in zip(plain, things, strict=True)
    ]
    return [name if names.count(name) == 1 else None for name in names]


TEMPLATES: dict[str, dict[str, Template]] = {  # type -> name -> template
    "exist": {
        f"exist {first} {second}": partial(_exist, first=first, second=second)
        for first, second in (("colour", "shape"), ("size", "shape"), ("size", "colour"))
    },
    "colour": {"colour": partial(_attribute, query="colour")},
    "shape": {"shape": partial(_attribute, query="shape")},
    "number": {
        "count shape": lambda view: _count(view, "shape", SHAPES, range(4)),
        "count colour": lambda view: _count(view, "colour", COLOURS, range(3)),
        "count size": lambda view: _count(view, "size", SIZES, range(1, 6)),
        "compare": _compare,
    },
    "exist-relation": {
        "exist-relation shape": lambda view: _across(view, "exist", _kinds(view, "shape")),
        "exist-relation colour": lambda view: _across(view, "exist", _kinds(view, "colour")),
    },
    "count-relation": {
        "count-relation size": lambda view: _count_across(view, _kinds(view, "size", least=3), most=3),
        "count-relation shape": lambda view: _count_across(view, _kinds(view, "shape", least=2), most=2),
    },
    "verify-relation": {"verify-relation": lambda view: _across(view, "verify", view.names)},
    "distance": {f"distance {query}": partial(_nearest, query=query) for query in ("colour", "shape")},
}
TYPES = tuple(TEMPLATES)
RELATIONAL_TYPES = TYPES[4:]


class Balance:
    """Asks one question of each type about each scene, always with the answer that has been rarest so far."""

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self._asked = {template: 0 for templates in TEMPLATES.values() for template in templates}
        self._given = {template: dict.fromkeys(ANSWERS, 0) for template in self._asked}

    def ask(self, scene: Scene, picture: int) -> list[Question]:
        """A question of each type; none at all where the scene does not suit one of the types."""
        names = distinct_names(scene.things, colour=True, shape=True)
        positions = {direction: [position(thing, direction) for thing in scene.things] for direction in DIRECTIONS}
        view = View(scene.things, names, positions, self._chance)
        questions = []
        for kind, templates in TEMPLATES.items():
            for template in sorted(templates, key=self._asked.__getitem__):  # the rarest that suits the scene
                if offer := templates[template](view):
                    break
            else:
                return []
            given = self._given[template]
            least = min([given[answer] for answer in offer])
            answer = self._chance.one([answer for answer in offer if given[answer] == least])
            program = Program(*self._chance.one(offer[answer]))
            questions.append(Question(str(program), answer, kind, template, program, picture))
        for question in questions:
            self._asked[question.template] += 1
            self._given[question.template][question.answer] += 1
        return questions
