"""More questions about emoji scenes: of the kinds that are learnt late, whether a thing is there and how many; and
choices, whose answer stands in the question.

A scene has one question of each type, and "yes" says little about what was seen. Asked about all the things of a
picture, and about as many that are not there, the same picture says it several times. For training alone.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from course_utils.datasets import emoji_scenes
from course_utils.datasets.emoji_scenes import KINDS, EmojiScene, Question


def ask_again(scenes: Sequence[EmojiScene], seed: int = 1) -> list[list[Question]]:
    """For each scene: is each thing there, are as many others, and how many are there of three kinds.

    The others are things of the training pictures, half of them of a kind that is in the picture. Of the three kinds,
    those that are in the picture come first, and the rest is drawn.

    Args:
        scenes: Those of emoji scenes.
        seed: The same gives the same questions.
    """
    rng = random.Random(seed)
    return [_ask(scene, picture, rng) for picture, scene in enumerate(scenes)]


def ask_choices(scenes: Sequence[EmojiScene], seed: int = 1) -> list[list[Question]]:
    """For each scene and each of its things: is it this or another, in either order?

    The other is a thing of the training pictures that is not there, every second time one of the same kind.

    Args:
        scenes: Those of emoji scenes.
        seed: The same gives the same questions.
    """
    rng = random.Random(seed)
    return [_choices(scene, picture, rng) for picture, scene in enumerate(scenes)]


def _choices(scene: EmojiScene, picture: int, rng: random.Random) -> list[Question]:
    there = [thing.emoji for thing in scene.things]
    absent = [one for one in emoji_scenes.vocabulary()[0] if one not in there]
    questions = []
    for thing in there:
        alike = [one for one in absent if emoji_scenes.kind_of(one) == emoji_scenes.kind_of(thing)]
        pair = [thing, rng.choice(alike if rng.random() < 0.5 else absent)]
        text = emoji_scenes.asks_for(*rng.sample(pair, 2))
        questions.append(Question(picture, "choice", text, emoji_scenes.name(thing)))
    return questions


def _ask(scene: EmojiScene, picture: int, rng: random.Random) -> list[Question]:
    there = [thing.emoji for thing in scene.things]
    kinds = [emoji_scenes.kind_of(one) for one in there]
    absent = [one for one in emoji_scenes.vocabulary()[0] if one not in there]
    alike = [one for one in absent if emoji_scenes.kind_of(one) in kinds]
    others = {one.code: one for one in rng.sample(alike, len(there) // 2) + rng.sample(absent, (len(there) + 1) // 2)}
    asked = [(one, "yes") for one in there] + [(one, "no") for one in others.values()]
    questions = [Question(picture, "exist", emoji_scenes.asks_for(one), answer) for one, answer in asked]
    order = sorted(rng.sample(list(KINDS), len(KINDS)), key=lambda kind: kind not in kinds)
    for kind in order[:3]:
        text = f"how many {KINDS[kind]} are there?"
        questions.append(Question(picture, "count", text, str(kinds.count(kind))))
    return questions
