"""Scenes of many more emoji, for training alone: faces, people, weather, and whatever else has a short name.

The things of :mod:`course_utils.datasets.emoji_scenes` are few, and a model can learn each of their names by heart.
Here are 427 others, so that a name is more often one that it has hardly met: it has to be told by what it has in
common with other names. Nothing here is akin to a thing that :mod:`emoji_scenes` holds out, in family or in name.

    data = generate(pictures=1000, seed=1)
    data.pictures[0], data.questions[0].text, data.questions[0].answer
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache

from course_utils.datasets import emoji, emoji_scenes
from course_utils.datasets.emoji import Emoji
from course_utils.datasets.emoji_scenes import FEWEST, MOST, SIDES, EmojiScene, EmojiScenes, Question

SPLITS = {"train": 1, "validation": 2}  # name -> seed; both show the same things
LEFT_OUT = ("Symbols", "Flags")  # groups: signs rather than things
MOST_WORDS = 2  # of a name
# No "a" goes before these, or nothing is shown.
_NO_THING = frozenset(" ".join(name.split()) for name in """
    salt, ice, fire, wood, sake, coral, fog, foggy, mate, lacrosse, tennis, badminton, bowling, camping, cooking,
    wedding, family, candy, construction, selfie, sunset, breast-feeding, dizzy, locked, unlocked, star-struck,
    collision, dna, ZZZ, x-ray, ping pong, field hockey, ice hockey, milky way, performing arts, face exhaling, face
    vomiting, high voltage, low battery, dashing away, thumbs up, thumbs down, hourglass done
    """.split(","))  # fmt: skip


@cache
def vocabulary() -> tuple[Emoji, ...]:
    """The things, by group and code point: one of each family, none of a family or a word of an unseen thing's.

    Raises:
        course_utils.assets.AssetError: If the pictures are not in the cache and cannot be fetched.
    """
    seen, unseen = emoji_scenes.vocabulary()
    taken = {emoji.family(one.character) for one in (*seen, *unseen)}
    akin = {word for one in unseen for name in (one.names["en"], emoji_scenes.name(one)) for word in _words(name)}
    found = []
    for one in emoji.load():
        family = emoji.family(one.character)
        if family not in taken and _is_named_shortly(one) and akin.isdisjoint(_words(one.names["en"])):
            found.append(one)
            taken.add(family)
    return tuple(found)


def _words(name: str) -> list[str]:
    return name.replace("-", " ").split()


def _is_named_shortly(one: Emoji) -> bool:
    """Whether "a" or "an" goes before its name, which is one or two plain words."""
    name = one.names["en"]
    plain = name.isascii() and name.replace(" ", "").replace("-", "").isalpha() and not name.endswith("s")
    return one.group not in LEFT_OUT and plain and len(name.split()) <= MOST_WORDS and name not in _NO_THING


def generate(pictures: int, seed: int) -> EmojiScenes:
    """Make scenes of things of :func:`vocabulary`, and ask about each of them.

    Of each thing: is it there; is it this or one that is not there, in either order; and, where just one thing stands
    on a side of another, what that is. Of as many things that are not there: is it there. What is not there is of the
    vocabulary, or a seen thing of :mod:`emoji_scenes`, and shares no word with what is: no dog beside a dog's face.

    Args:
        pictures: How many.
        seed: The same gives the same, and more pictures begin with the same pictures.

    Raises:
        ValueError: ``pictures`` is less than 1.
    """
    if pictures < 1:
        raise ValueError(f"pictures is {pictures}; it must be at least 1")
    rng = random.Random(seed)
    words = {one: set(_words(emoji_scenes.name(one))) for one in (*vocabulary(), *emoji_scenes.vocabulary()[0])}
    scenes, questions = [], []
    for picture in range(pictures):
        chosen = rng.sample(vocabulary(), rng.randint(FEWEST, MOST))
        scene = emoji_scenes.place(chosen, rng)
        said = set().union(*(words[one] for one in chosen))
        absent = rng.sample([one for one in words if said.isdisjoint(words[one])], 2 * len(chosen))
        scenes.append(scene)
        questions += _ask(scene, absent, picture, rng)
    return EmojiScenes(tuple(scenes), tuple(questions))


def split(name: str, *, pictures: int) -> EmojiScenes:
    """One of ``SPLITS``.

    Raises:
        ValueError: There is no split of that name, or ``pictures`` is less than 1.
    """
    if name not in SPLITS:
        raise ValueError(f"there is no split {name!r}; the splits are {', '.join(SPLITS)}")
    return generate(pictures, SPLITS[name])


def _ask(scene: EmojiScene, absent: Sequence[Emoji], picture: int, rng: random.Random) -> list[Question]:
    there = [thing.emoji for thing in scene.things]
    asked = [("exist", emoji_scenes.asks_for(one), "yes") for one in there]
    asked += [("exist", emoji_scenes.asks_for(one), "no") for one in absent[: len(there)]]
    for one, other in zip(there, absent[len(there) :], strict=True):
        asked.append(("choice", emoji_scenes.asks_for(*rng.sample([one, other], 2)), emoji_scenes.name(one)))
    for anchor in scene.things:
        for side in SIDES:
            if len(found := emoji_scenes.beside(scene, anchor, side)) == 1:
                text = f"what is {side} the {emoji_scenes.name(anchor.emoji)}?"
                asked.append(("relation", text, emoji_scenes.name(found[0].emoji)))
    return [Question(picture, *one) for one in asked]
