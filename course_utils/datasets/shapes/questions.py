"""Questions about a scene: small programs, their wording in both directions, and balanced sampling."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, permutations
from math import sqrt
from typing import NamedTuple, TypeVar

import numpy as np

from course_utils.datasets.shapes.scenes import COLOURS, HELD_OUT, MOST, SHAPES, SIZES, Scene, Thing

T = TypeVar("T")

DIRECTIONS = ("left of", "right of", "above", "below")
DISTANCES = ("nearest to", "furthest from")
DISTANCE_MARGIN = 3  # pixels between the nearest (or furthest) thing asked about and the next
ANSWERS = ("yes", "no", *(str(n) for n in range(MOST + 1)), *COLOURS, *SHAPES)


class Description(NamedTuple):
    """What is said of a thing; None leaves an attribute open, and all three open is just "thing"."""

    size: str | None = None
    colour: str | None = None
    shape: str | None = None

    def __str__(self) -> str:
        return " ".join(word for word in (self.size, self.colour, self.shape or "thing") if word)

    def matches(self, thing: Thing) -> bool:
        """Whether the thing has every attribute that is named."""
        return (
            (self.shape is None or self.shape == thing.shape)
            and (self.colour is None or self.colour == thing.colour)
            and (self.size is None or self.size == thing.size)
        )


THING = Description()


@dataclass(frozen=True, slots=True)
class Program:
    """A question as steps: find the anchor, go along the relation, keep what fits the target, then query.

    Attributes:
        query: "exist", "count", "colour" or "shape" of the target; "more" or "fewer" of the target than of the
            anchor; or "verify" that the target stands in the relation to the anchor.
        target: What is asked about.
        relation: One of ``DIRECTIONS`` or ``DISTANCES``, or None.
        anchor: The one thing that the relation starts from, or None.
    """

    query: str
    target: Description
    relation: str | None = None
    anchor: Description | None = None

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
    """A question, its answer (one of ``ANSWERS``), where it comes from, and the index of its picture."""

    text: str
    answer: str
    type: str
    template: str
    program: Program
    picture: int


def execute(program: Program, scene: Scene) -> str:
    """Answer a program on a scene.

    Raises:
        ValueError: The question speaks of "the red circle" where the scene has none, or more than one.
    """
    query, target, anchor = program.query, program.target, program.anchor
    if query in ("more", "fewer"):
        difference = len(_matching(target, scene.things)) - len(_matching(anchor, scene.things))
        return _yes(difference > 0 if query == "more" else difference < 0)
    things = scene.things if query == "verify" else _matching(target, scene.things)
    if program.relation:
        things = _related(things, program.relation, _only(anchor, scene.things))
    if query == "exist":
        return _yes(len(things) > 0)
    if query == "count":
        return str(len(things))
    if query == "verify":
        return _yes(_only(target, scene.things) in things)
    return getattr(_only(target, things), query)


def _yes(truth: bool) -> str:
    return "yes" if truth else "no"


def _matching(description: Description, things: tuple[Thing, ...]) -> tuple[Thing, ...]:
    return tuple(thing for thing in things if description.matches(thing))


def _only(description: Description, things: tuple[Thing, ...]) -> Thing:
    found = _matching(description, things)
    if len(found) != 1:
        fit = f"{len(found)} things fit" if found else "nothing fits"
        raise ValueError(f"the question speaks of 'the {description}', but {fit}; name exactly one")
    return found[0]


def position(thing: Thing, direction: str) -> int:
    """A number that is smaller the further a thing lies in the direction."""
    if direction == "left of":
        return thing.x
    if direction == "right of":
        return -thing.x
    return thing.y if direction == "above" else -thing.y


def distance(a: Thing, b: Thing) -> float:
    """Pixels between two centres."""
    return sqrt((a.x - b.x) ** 2 + (a.y - b.y) ** 2)


def _related(things: tuple[Thing, ...], relation: str, anchor: Thing) -> tuple[Thing, ...]:
    """Those of the things that stand in the relation to the anchor; equally near ones are all nearest."""
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
    "is there a star left of the red circle",
    "how many things are above the red circle",
    "is the red circle below the star",
    "are there more circles than stars",
    "what colour is the thing nearest to the red circle",
)
_WORDS = {word for words in (*_EXAMPLES, *DIRECTIONS, *DISTANCES) for word in words.split()}
_WORDS |= {"an", "how", "there", "fewer", "shape", *SIZES, *COLOURS, *SHAPES}


def parse(text: str) -> Program:
    """Read a question in the words of this world: the inverse of ``str(program)``.

    Raises:
        ValueError: A word is unknown, or the words do not make one of the known forms of question.
    """
    words = text.lower().replace("?", " ").replace("color", "colour").split()
    unknown = [word for word in words if not {word, word.removesuffix("s")} & _WORDS]
    if unknown:
        raise ValueError(f"unknown word {unknown[0]!r}; the words are: {', '.join(sorted(_WORDS))}")
    for form, pattern in _FORMS.items():
        if found := re.fullmatch(pattern, " ".join(words)):
            parts = found.groupdict()
            anchor = _describe(parts["anchor"]) if parts["anchor"] else None
            return Program(parts.get("query", form), _describe(parts["target"]), parts.get("relation"), anchor)
    raise ValueError(f"cannot read {text!r}; questions look like: {'; '.join(_EXAMPLES)}")


def _describe(name: str) -> Description:
    """The description in a name such as "large red circle"."""
    words = set(name.split())
    return Description(*(next(iter(words & set(values)), None) for values in (SIZES, COLOURS, SHAPES)))


class Chance:
    """Fast small choices from a numpy generator, by way of uniform numbers drawn in advance."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._numbers = chain.from_iterable(iter(lambda: rng.random(4096).tolist(), None))

    def one(self, options: Sequence[T]) -> T:
        """One of the options, each equally likely."""
        return options[int(next(self._numbers) * len(options))]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """The options in random order."""
        return sorted(options, key=lambda _: next(self._numbers))


class Look(NamedTuple):
    """What a template sees: the things, for each a name that fits no other, and its place in each direction."""

    things: tuple[Thing, ...]
    names: list[Description]
    places: dict[str, list[int]]
    chance: Chance


# A template offers questions on a scene as {answer: programs that have it}, a program still as a plain tuple of
# its fields. It draws everything else first, so that the answer can then be chosen by what was rare so far, and
# the anchor by the answer. In questions across a direction every answer is on offer, whatever the scene and the
# wording: so nothing but the anchor tells the answer, and another anchor would change it. A template that does
# not suit the scene offers nothing.
Offer = dict[str, list[tuple]]
TRIES = 20  # draws before a template gives up on a scene
ONE_WORD = {size: Description(size=size) for size in SIZES}
ONE_WORD |= {colour: Description(colour=colour) for colour in COLOURS}
ONE_WORD |= {shape: Description(shape=shape) for shape in SHAPES}


def _exist(look: Look, first: str, second: str) -> Offer:
    """Is there a thing with these two attributes? For "no", each attribute is there, but on two things."""
    pairs = [(getattr(thing, first), getattr(thing, second)) for thing in look.things]
    real = look.chance.one(pairs)
    for _ in range(TRIES):
        mixed = look.chance.one(pairs)[0], look.chance.one(pairs)[1]
        # Both or neither held out: else a pair that was never seen would tell the answer.
        if mixed not in pairs and (mixed in HELD_OUT) == (real in HELD_OUT):
            return {"yes": [("exist", _both(*real))], "no": [("exist", _both(*mixed))]}
    return {}


def _attribute(look: Look, query: str) -> Offer:
    """What colour (or shape) is the one thing of a shape (or colour), with its size where needed?"""
    offer: Offer = defaultdict(list)
    names = distinct_names(look.things, colour=query != "colour", shape=query != "shape")
    for thing, name in zip(look.things, names, strict=True):
        if name:
            offer[getattr(thing, query)].append((query, name))
    return offer


def _count(look: Look, attribute: str, values: Iterable[str], allowed: range) -> Offer:
    """How many things have this value of an attribute?"""
    offer: Offer = defaultdict(list)
    there = [getattr(thing, attribute) for thing in look.things]
    for value in values:
        if (count := there.count(value)) in allowed:
            offer[str(count)].append(("count", ONE_WORD[value]))
    return offer


def _compare(look: Look) -> Offer:
    """Are there more (or fewer) of one shape than of another? Never as many."""
    there = [thing.shape for thing in look.things]
    uneven = [(a, b) for a, b in permutations(SHAPES, 2) if there.count(a) > there.count(b)]
    if not uneven:
        return {}
    many, few = (ONE_WORD[shape] for shape in look.chance.one(uneven))
    more, fewer = ("more", many, None, few), ("fewer", few, None, many)
    not_more, not_fewer = ("more", few, None, many), ("fewer", many, None, few)
    return {"yes": [more, fewer], "no": [not_more, not_fewer]}


def _across(look: Look, query: str, targets: list[Description]) -> Offer:
    """Does a target stand in a direction from the anchor? "no" just before the first target, "yes" just after it.

    The anchors closest to that change are asked about, so that an anchor's place in the picture, which could be
    looked up without finding a target, tells as little as it can. An anchor that is itself a target would mostly
    mean "no", so there is none.
    """
    for _ in range(TRIES):
        target, direction = look.chance.one(targets), look.chance.one(DIRECTIONS)
        places = look.places[direction]
        is_target = [target.matches(thing) for thing in look.things]
        first = min([place for place, hit in zip(places, is_target, strict=True) if hit])
        anchors = [(p, name) for p, name, hit in zip(places, look.names, is_target, strict=True) if not hit]
        before = [anchor for anchor in anchors if anchor[0] < first]
        after = [anchor for anchor in anchors if anchor[0] > first]
        if before and after:
            no, yes = max(before)[1], min(after)[1]
            return {"yes": [(query, target, direction, yes)], "no": [(query, target, direction, no)]}
    return {}


def _count_across(look: Look, targets: list[Description], most: int) -> Offer:
    """How many targets, 0 to ``most``, stand in a direction from the anchor?"""
    for _ in range(TRIES if targets else 0):
        target, direction = look.chance.one(targets), look.chance.one(DIRECTIONS)
        places = look.places[direction]
        found = sorted([p for p, thing in zip(places, look.things, strict=True) if target.matches(thing)])
        offer: Offer = {str(count): [] for count in range(most + 1)}
        for place, name in zip(places, look.names, strict=True):
            count = bisect_left(found, place)
            if count <= most:
                offer[str(count)].append(("count", target, direction, name))
        if all(offer.values()):
            return offer
    return {}


def _nearest(look: Look, query: str) -> Offer:
    """What colour (or shape) is the thing nearest to (or furthest from) an anchor? Two answers or, better, more."""
    spots = [(thing.x, thing.y, getattr(thing, query)) for thing in look.things]
    ranked = [sorted([((x - u) ** 2 + (y - v) ** 2, value) for u, v, value in spots]) for x, y, _ in spots]
    offers = []
    for relation, first, second in look.chance.shuffled([("nearest to", 1, 2), ("furthest from", -1, -2)]):
        offer: Offer = defaultdict(list)
        for name, others in zip(look.names, ranked, strict=True):
            if abs(sqrt(others[first][0]) - sqrt(others[second][0])) >= DISTANCE_MARGIN:
                offer[others[first][1]].append((query, THING, relation, name))
        if len(offer) > 2:
            return offer
        offers.append(offer)
    return max(offers, key=len) if max(map(len, offers)) == 2 else {}


def _both(first: str, second: str) -> Description:
    """The description by two words, in the order of their attributes."""
    return Description(*(a or b for a, b in zip(ONE_WORD[first], ONE_WORD[second], strict=True)))


def _kinds(look: Look, attribute: str, *, least: int = 1) -> list[Description]:
    """The descriptions by one attribute that fit so many things at least."""
    values = [getattr(thing, attribute) for thing in look.things]
    return [ONE_WORD[value] for value in dict.fromkeys(values) if values.count(value) >= least]


def distinct_names(things: tuple[Thing, ...], colour: bool, shape: bool) -> list[Description | None]:
    """A name for each thing by colour and shape, or one of them; with its size where needed, None where in vain."""
    plain = [Description(None, t.colour if colour else None, t.shape if shape else None) for t in things]
    names = [
        name if plain.count(name) == 1 else Description(thing.size, name.colour, name.shape)
        for name, thing in zip(plain, things, strict=True)
    ]
    return [name if names.count(name) == 1 else None for name in names]


TEMPLATES: dict[str, dict[str, Callable[[Look], Offer]]] = {  # type -> name -> template
    "exist": {
        "exist colour shape": lambda look: _exist(look, "colour", "shape"),
        "exist size shape": lambda look: _exist(look, "size", "shape"),
        "exist size colour": lambda look: _exist(look, "size", "colour"),
    },
    "colour": {"colour": lambda look: _attribute(look, "colour")},
    "shape": {"shape": lambda look: _attribute(look, "shape")},
    "number": {
        "count shape": lambda look: _count(look, "shape", SHAPES, range(4)),
        "count colour": lambda look: _count(look, "colour", COLOURS, range(3)),
        "count size": lambda look: _count(look, "size", SIZES, range(1, 6)),
        "compare": _compare,
    },
    "exist-relation": {
        "exist-relation shape": lambda look: _across(look, "exist", _kinds(look, "shape")),
        "exist-relation colour": lambda look: _across(look, "exist", _kinds(look, "colour")),
    },
    "count-relation": {
        "count-relation size": lambda look: _count_across(look, _kinds(look, "size", least=3), most=3),
        "count-relation shape": lambda look: _count_across(look, _kinds(look, "shape", least=2), most=2),
    },
    "verify-relation": {"verify-relation": lambda look: _across(look, "verify", look.names)},
    "distance": {
        "distance colour": lambda look: _nearest(look, "colour"),
        "distance shape": lambda look: _nearest(look, "shape"),
    },
}
TYPES = tuple(TEMPLATES)
RELATIONAL_TYPES = TYPES[4:]


class Balance:
    """Asks one question of each type about each scene, always with the answer that was rarest so far."""

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self._asked = {template: 0 for templates in TEMPLATES.values() for template in templates}
        self._given = {template: dict.fromkeys(ANSWERS, 0) for template in self._asked}

    def ask(self, scene: Scene, picture: int) -> list[Question]:
        """A question of each type; none at all where the scene does not suit one of the types."""
        names = distinct_names(scene.things, colour=True, shape=True)
        places = {direction: [position(thing, direction) for thing in scene.things] for direction in DIRECTIONS}
        look = Look(scene.things, names, places, self._chance)
        questions = []
        for kind, templates in TEMPLATES.items():
            template, offer = self._choose_template(look, templates)
            if not offer:
                return []
            answer = self._choose_answer(template, offer)
            program = Program(*self._chance.one(offer[answer]))
            questions.append(Question(str(program), answer, kind, template, program, picture))
        for question in questions:
            self._asked[question.template] += 1
            self._given[question.template][question.answer] += 1
        return questions

    def _choose_template(self, look: Look, templates: dict[str, Callable[[Look], Offer]]) -> tuple[str, Offer]:
        """The rarest template so far that suits the scene, and what it offers."""
        for template in sorted(templates, key=self._asked.__getitem__):
            if offer := templates[template](look):
                return template, offer
        return "", {}

    def _choose_answer(self, template: str, offer: Offer) -> str:
        """The rarest answer so far of those on offer."""
        given = self._given[template]
        least = min([given[answer] for answer in offer])
        return self._chance.one([answer for answer in offer if given[answer] == least])
