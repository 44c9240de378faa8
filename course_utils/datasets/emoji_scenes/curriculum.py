"""Extra questions about emoji scenes, for training only: more of what is learnt late, and choices.

A scene has one question of each type, and "yes" says little about what was seen. Asked about all objects of a picture,
and about as many that are not there, the same picture says it several times.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

from course_utils.datasets.emoji import Emoji
from course_utils.datasets.emoji_scenes.questions import Question
from course_utils.datasets.emoji_scenes.scenes import KINDS, EmojiScene, asks_for, kind_of, name, vocabulary

LATE_TYPES = ("exist", "count")


def extra_questions(
    scenes: Sequence[EmojiScene], types: Collection[str] = LATE_TYPES, seed: int = 1
) -> list[list[Question]]:
    """For each scene: is each object there, are as many others, and how many are there of three kinds.

    The others are seen objects, half of them of a kind that is in the picture. Of the three kinds, those in the picture
    come first. Only ``types`` are asked; a mapping from types serves as well, however often it asks for them.
    """
    rng = random.Random(seed)
    extra = []
    for picture, scene in enumerate(scenes):
        there, absent = _there_and_absent(scene)
        kinds = [kind_of(one) for one in there]
        alike = [one for one in absent if kind_of(one) in kinds]
        others = rng.sample(alike, len(there) // 2) + rng.sample(absent, (len(there) + 1) // 2)
        asked = [(one, "yes") for one in there] + [(one, "no") for one in {one.code: one for one in others}.values()]
        order = sorted(rng.sample(list(KINDS), len(KINDS)), key=lambda kind: kind not in kinds)
        questions = [Question(picture, "exist", asks_for(one), answer) for one, answer in asked]
        for kind in order[:3]:
            questions.append(Question(picture, "count", f"how many {KINDS[kind]} are there?", str(kinds.count(kind))))
        extra.append([one for one in questions if one.type in types])
    return extra


def choice_questions(scenes: Sequence[EmojiScene], seed: int = 1) -> list[list[Question]]:
    """For each object of each scene: is it this or another, in either order?

    The other is a seen object that is not there, half the time of the same kind.
    """
    rng = random.Random(seed)
    choices = []
    for picture, scene in enumerate(scenes):
        there, absent = _there_and_absent(scene)
        questions = []
        for thing in there:
            alike = [one for one in absent if kind_of(one) == kind_of(thing)]
            pair = [thing, rng.choice(alike if rng.random() < 0.5 else absent)]
            questions.append(Question(picture, "choice", asks_for(*rng.sample(pair, 2)), name(thing)))
        choices.append(questions)
    return choices


def _there_and_absent(scene: EmojiScene) -> tuple[list[Emoji], list[Emoji]]:
    """The emoji of a scene, and the seen ones that it lacks."""
    there = [thing.emoji for thing in scene.things]
    return there, [one for one in vocabulary()[0] if one not in there]
