"""Scenes of many more emoji, for training only: faces, people, weather, and whatever else has a short name.

:mod:`course_utils.datasets.emoji_scenes` has few objects, and a model can learn their names by heart. With 427 others a
name is more often one that it has hardly met, and must be recognised by what it has in common with other names. None
of them shares a family or a word with an unseen object of :mod:`emoji_scenes`.

    data = split("train", pictures=1000)
    data.pictures[0], data.questions[0].text, data.questions[0].answer
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache, partial

from course_utils.datasets import emoji, emoji_scenes
from course_utils.datasets.emoji import Emoji
from course_utils.datasets.emoji_scenes import EmojiScenes, Question
from course_utils.datasets.emoji_scenes.scenes import FEWEST, MOST, SIDES, EmojiScene, asks_for, beside, name, place
from course_utils.datasets.world import World, load_split

SPLITS = {"train": 1, "validation": 2}  # split -> seed; both show the same objects
TYPES = ("exist", "choice", "relation")
LEFT_OUT = ("Symbols", "Flags")  # groups of signs, not objects
MOST_WORDS = 2  # of a name
# Names that take no "a", or whose picture shows no object.
_NO_THING = frozenset(" ".join(name.split()) for name in """
    salt, ice, fire, wood, sake, coral, fog, foggy, mate, lacrosse, tennis, badminton, bowling, camping, cooking,
    wedding, family, candy, construction, selfie, sunset, breast-feeding, dizzy, locked, unlocked, star-struck,
    collision, dna, ZZZ, x-ray, ping pong, field hockey, ice hockey, milky way, performing arts, face exhaling, face
    vomiting, high voltage, low battery, dashing away, thumbs up, thumbs down, hourglass done
    """.split(","))  # fmt: skip


@cache
def vocabulary() -> tuple[Emoji, ...]:
    """The objects, by group and code point: one of each family, none that shares a family or word with an unseen one.

    Raises:
        course_utils.assets.AssetError: If the pictures are not in the cache and cannot be fetched.
    """
    seen, unseen = emoji_scenes.vocabulary()
    taken = {emoji.family(one.character) for one in (*seen, *unseen)}
    akin = {word for one in unseen for english in (one.names["en"], name(one)) for word in _words(english)}
    found = []
    for one in emoji.load():
        family = emoji.family(one.character)
        if family not in taken and _has_short_name(one) and akin.isdisjoint(_words(one.names["en"])):
            found.append(one)
            taken.add(family)
    return tuple(found)


def _words(english: str) -> list[str]:
    return english.replace("-", " ").split()


def _has_short_name(one: Emoji) -> bool:
    """Whether its name is one or two plain words that take "a" or "an"."""
    english = one.names["en"]
    plain = english.isascii() and english.replace(" ", "").replace("-", "").isalpha() and not english.endswith("s")
    return one.group not in LEFT_OUT and plain and len(english.split()) <= MOST_WORDS and english not in _NO_THING


def generate(pictures: int, seed: int) -> EmojiScenes:
    """Scenes of objects of :func:`vocabulary`, with several questions about each object.

    Is it there; is it this or an absent one, in either order; and, where just one object stands on a side of another,
    which one. As many absent objects: is it there. Absent objects are of the vocabulary or seen in :mod:`emoji_scenes`,
    and share no word with those in the scene: no dog beside a dog's face. More pictures begin with the same pictures.

    Raises:
        ValueError: If ``pictures`` is less than 1.
    """
    if pictures < 1:
        raise ValueError(f"pictures is {pictures}; it must be at least 1")
    rng = random.Random(seed)
    words = {one: set(_words(name(one))) for one in (*vocabulary(), *emoji_scenes.vocabulary()[0])}
    scenes, questions = [], []
    for picture in range(pictures):
        chosen = rng.sample(vocabulary(), rng.randint(FEWEST, MOST))
        scene = place(chosen, rng)
        said = set().union(*(words[one] for one in chosen))
        absent = rng.sample([one for one in words if said.isdisjoint(words[one])], 2 * len(chosen))
        scenes.append(scene)
        questions += _ask(scene, absent, picture, rng)
    return EmojiScenes(tuple(scenes), tuple(questions))


def split(name: str, *, pictures: int) -> EmojiScenes:
    """One of ``SPLITS``; ValueError if there is no such split, or ``pictures`` is less than 1."""
    if name not in SPLITS:
        raise ValueError(f"there is no split {name!r}; the splits are {', '.join(SPLITS)}")
    return generate(pictures, SPLITS[name])


def _ask(scene: EmojiScene, absent: Sequence[Emoji], picture: int, rng: random.Random) -> list[Question]:
    there = [thing.emoji for thing in scene.things]
    asked = [("exist", asks_for(one), "yes") for one in there]
    asked += [("exist", asks_for(one), "no") for one in absent[: len(there)]]
    for one, other in zip(there, absent[len(there) :], strict=True):
        asked.append(("choice", asks_for(*rng.sample([one, other], 2)), name(one)))
    for anchor in scene.things:
        for side in SIDES:
            if len(found := beside(scene, anchor, side)) == 1:
                asked.append(("relation", f"what is {side} the {name(anchor.emoji)}?", name(found[0].emoji)))
    return [Question(picture, *one) for one in asked]


WORLD = World("more emoji", tuple(SPLITS), TYPES, partial(load_split, split), caption=emoji_scenes.caption)
