"""Shapes: a synthetic world of pictures and questions, the benchmark of the course's ladder of methods.

Pictures of 64x64 pixels hold six to eight objects of four shapes, eight colours and two sizes. Every picture has one
question of each of eight types: four read objects, four need a relation between objects. As in CLEVR (Johnson et al.,
2017), scenes are known and questions are programs, so answers are exact. Answers are balanced, so that a model that
ignores the picture, or the relation, can only guess.

    data = split("train", pictures=2000)
    data.pictures[0], data.questions[0].text, data.questions[0].answer
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product

import numpy as np

from course_utils.datasets.shapes import curriculum
from course_utils.datasets.shapes.questions import (
    ANSWERS,
    RELATIONAL_TYPES,
    TYPES,
    Balance,
    Chance,
    Description,
    Program,
    Question,
    execute,
    parse,
)
from course_utils.datasets.shapes.rationales import rationale
from course_utils.datasets.shapes.scenes import (
    COLOURS,
    HELD_OUT,
    PICTURE,
    SHAPES,
    SIZES,
    Scene,
    Thing,
    caption,
    cell_labels,
    draw_scenes,
    render,
    render_all,
)
from course_utils.datasets.world import SceneObject, World, load_split

__all__ = [
    "ANSWERS", "COLOURS", "HELD_OUT", "PICTURE", "RELATIONAL_TYPES", "SHAPES", "SIZES", "SPLITS", "TYPES", "WORLD",
    "Description", "Program", "Question", "Scene", "ShapesData", "Thing", "caption", "cell_labels", "execute",
    "generate", "parse", "render", "render_all", "split",
]  # fmt: skip

# Split -> (seed, colour-shape pairs). Only "compositional" shows pairs that the others hold out.
SPLITS = {"train": (1, "seen"), "validation": (2, "seen"), "test": (3, "seen"), "compositional": (4, "unseen")}


@dataclass(frozen=True)
class ShapesData:
    """Scenes and questions: those about picture i are ``questions[8 * i : 8 * i + 8]``, in the order of ``TYPES``."""

    scenes: tuple[Scene, ...]
    questions: tuple[Question, ...]

    @cached_property
    def pictures(self) -> np.ndarray:
        """The scenes drawn, (n, 64, 64, 3) uint8."""
        return render_all(self.scenes)


def generate(pictures: int, seed: int, *, pairs: str = "all") -> ShapesData:
    """A data set, the same for the same seed on every platform; more pictures begin with the same pictures.

    Args:
        pictures: Number of pictures, with eight questions each.
        seed: Any whole number from 0 up.
        pairs: Colour-shape pairs in the pictures: "all"; "seen", those not in ``HELD_OUT``; or "unseen", with about
            half of the objects, and at least one in a picture, of a pair in ``HELD_OUT``.

    Raises:
        ValueError: If ``pictures`` is less than 1, or ``pairs`` is none of the three.
    """
    if pictures < 1:
        raise ValueError(f"pictures is {pictures}; it must be at least 1")
    scenes: list[Scene] = []
    questions: list[Question] = []
    candidates = draw_scenes(np.random.Generator(np.random.PCG64([seed, 0])), pairs)
    balance = Balance(Chance(np.random.Generator(np.random.PCG64([seed, 1]))))
    was_on = gc.isenabled()
    gc.disable()  # with so many new objects it would traverse all of torch again and again
    try:
        while len(scenes) < pictures:
            scene = next(candidates)
            if asked := balance.ask(scene, len(scenes)):
                scenes.append(scene)
                questions += asked
    finally:
        if was_on:
            gc.enable()
    return ShapesData(tuple(scenes), tuple(questions))


def split(name: str, *, pictures: int) -> ShapesData:
    """An official split: "train", "validation", "test", or "compositional" with the held-out pairs.

    Raises:
        ValueError: If there is no such split, or ``pictures`` is less than 1.
    """
    if name not in SPLITS:
        raise ValueError(f"there is no split {name!r}; the splits are {', '.join(SPLITS)}")
    seed, pairs = SPLITS[name]
    return generate(pictures, seed, pairs=pairs)


def _objects(scene: Scene) -> list[SceneObject]:
    return [SceneObject(f"{t.size} {t.colour} {t.shape}", t.x, t.y, 2 * SIZES[t.size] + 1) for t in scene.things]


WORLD = World(
    name="shapes",
    splits=tuple(SPLITS),
    types=TYPES,
    load=partial(load_split, split),
    rationale=rationale,
    objects=_objects,
    names=lambda: ([" ".join(words) for words in product(SIZES, COLOURS, SHAPES)], []),
    side=PICTURE,
    stepping_stones=curriculum.stepping_stones,
    replaced_types=curriculum.REPLACED_TYPES,
    extra_questions=curriculum.extra_questions,
    late_types=curriculum.LATE_TYPES,
    early_match_questions=curriculum.early_match_questions,
)
