"""Emoji scenes: pictures of a few emoji on a plain background, with a caption and five questions each.

Two to four different objects stand in the nine slots of a picture of 128x128 pixels. As in CLEVR (Johnson et al., 2017)
the scene is known, so every answer is exact; unlike there, the objects have everyday names, which a language model
knows before it has seen a picture. A fifth of the objects are in no picture of the training set.

Answers are balanced, so that a model that ignores the picture can only guess: "yes" is as frequent as "no", all counts
are equally frequent, and an object that a question names is there about half the time. Pictures are Twemoji, see
:mod:`course_utils.datasets.emoji`.

    data = split("train", pictures=2000)
    caption(data.scenes[0]), data.pictures[0], data.questions[0].text, data.questions[0].answer
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from course_utils.datasets.emoji_scenes import curriculum
from course_utils.datasets.emoji_scenes.questions import TYPES, Maker, Question
from course_utils.datasets.emoji_scenes.rationales import rationale
from course_utils.datasets.emoji_scenes.scenes import (
    KINDS,
    SIZE,
    EmojiScene,
    Placed,
    asks_for,
    caption,
    kind_of,
    name,
    phrase,
    render,
    render_all,
    vocabulary,
)
from course_utils.datasets.world import SceneObject, World, load_split

__all__ = [
    "KINDS", "SIZE", "SPLITS", "TYPES", "WORLD", "EmojiScene", "EmojiScenes", "Placed", "Question", "asks_for",
    "caption", "generate", "kind_of", "name", "phrase", "render", "render_all", "split", "vocabulary",
]  # fmt: skip

# Split -> (seed, whether at least half of the objects are held out of the other splits).
SPLITS = {"train": (1, False), "validation": (2, False), "test": (3, False), "unseen": (4, True)}


@dataclass(frozen=True)
class EmojiScenes:
    """Scenes and questions; in the splits, those about picture i are ``questions[5 * i : 5 * i + 5]``."""

    scenes: tuple[EmojiScene, ...]
    questions: tuple[Question, ...]

    @cached_property
    def pictures(self) -> np.ndarray:
        """The scenes drawn, (n, 128, 128, 3) uint8."""
        return render_all(self.scenes)


def generate(pictures: int, seed: int, *, unseen: bool = False) -> EmojiScenes:
    """A data set, the same for the same seed; more pictures begin with the same pictures.

    Args:
        pictures: Number of pictures, with one question of each of ``TYPES``.
        seed: Any whole number.
        unseen: Whether at least half of the objects of each picture are unseen ones, and questions are about these:
            "exist" names one; "what", "choice" and "relation" have one as their answer. The other object of a "choice"
            is unseen half of the time. Measure the halves separately: in the other a preference for new names would
            pass for knowledge.

    Raises:
        ValueError: If ``pictures`` is less than 1.
    """
    if pictures < 1:
        raise ValueError(f"pictures is {pictures}; it must be at least 1")
    maker = Maker(seed, unseen)
    scenes, questions = [], []
    for number in range(pictures):
        scene, asked = maker.make(number)
        scenes.append(scene)
        questions += asked
    return EmojiScenes(tuple(scenes), tuple(questions))


def split(name: str, *, pictures: int) -> EmojiScenes:
    """An official split: "train", "validation", "test", or "unseen" with objects that the others never show or name.

    Raises:
        ValueError: If there is no such split, or ``pictures`` is less than 1.
    """
    if name not in SPLITS:
        raise ValueError(f"there is no split {name!r}; the splits are {', '.join(SPLITS)}")
    seed, unseen = SPLITS[name]
    return generate(pictures, seed, unseen=unseen)


WORLD = World(
    name="emoji scenes",
    splits=tuple(SPLITS),
    types=TYPES,
    load=partial(load_split, split),
    caption=caption,
    rationale=rationale,
    objects=lambda scene: [SceneObject(name(t.emoji), t.x, t.y, t.size) for t in scene.things],
    names=lambda: tuple([name(one) for one in side] for side in vocabulary()),
    side=SIZE,
    extra_questions=curriculum.extra_questions,
    late_types=curriculum.LATE_TYPES,
    choice_questions=curriculum.choice_questions,
)
