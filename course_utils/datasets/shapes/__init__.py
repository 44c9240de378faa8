"""Shapes: a synthetic world of pictures and questions, made for the ladder of this course.

Pictures of 64x64 pixels hold several things of four shapes, eight colours and two sizes. Every picture has one
question of each of eight types: four read things, four need a relation between things. The idea is CLEVR's
(Johnson et al., 2017): scenes are known, questions are programs, so answers are exact. Answers are balanced,
so that a model which does not look, or looks past the relation, can only guess.

    data = split("train", pictures=2000)
    data.pictures[0], data.questions[0].text, data.questions[0].answer
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np

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
from course_utils.datasets.shapes.scenes import (
    COLOURS,
    GRID,
    HELD_OUT,
    PAIRS,
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
from course_utils.datasets.vqa import VisualQuestion

__all__ = [
    "ANSWERS",
    "COLOURS",
    "GRID",
    "HELD_OUT",
    "PAIRS",
    "PICTURE",
    "RELATIONAL_TYPES",
    "SHAPES",
    "SIZES",
    "SPLITS",
    "TYPES",
    "Description",
    "Program",
    "Question",
    "Scene",
    "ShapesData",
    "Thing",
    "caption",
    "cell_labels",
    "execute",
    "generate",
    "parse",
    "render",
    "render_all",
    "split",
]

# Name of a split -> (seed, colour-shape pairs). Only "compositional" shows pairs that the others hold out.
SPLITS = {"train": (1, "seen"), "validation": (2, "seen"), "test": (3, "seen"), "compositional": (4, "unseen")}


@dataclass(frozen=True)
class ShapesData:
    """Scenes and their questions: those of picture i are ``questions[8 * i : 8 * i + 8]``, in order of ``TYPES``."""

    scenes: tuple[Scene, ...]
    questions: tuple[Question, ...]

    @cached_property
    def pictures(self) -> np.ndarray:
        """The scenes drawn, (n, 64, 64, 3) uint8; drawn at the first use and then kept."""
        return render_all(self.scenes)

    @property
    def visual_questions(self) -> list[VisualQuestion]:
        """The questions as :class:`course_utils.datasets.vqa.VisualQADataset` takes them."""
        return [VisualQuestion(i, q.picture, q.text, q.answer, q.type) for i, q in enumerate(self.questions)]


def generate(pictures: int, seed: int, *, pairs: str = "all") -> ShapesData:
    """Make a data set; the same seed gives the same on every platform, and more pictures begin with the same.

    Args:
        pictures: How many, each with eight questions.
        seed: Any whole number from 0 up.
        pairs: The colour-shape pairs in the pictures: "all"; "seen", only those not in ``HELD_OUT``; or "unseen",
            about half of the things, and at least one in a picture, of a pair in ``HELD_OUT``.

    Raises:
        ValueError: ``pictures`` is less than 1, or ``pairs`` is none of the three.
    """
    if pictures < 1:
        raise ValueError(f"pictures is {pictures}; it must be at least 1")
    scenes: list[Scene] = []
    questions: list[Question] = []
    candidates = draw_scenes(np.random.Generator(np.random.PCG64([seed, 0])), pairs)
    balance = Balance(Chance(np.random.Generator(np.random.PCG64([seed, 1]))))
    with _collector_paused():
        while len(scenes) < pictures:
            scene = next(candidates)
            if asked := balance.ask(scene, len(scenes)):
                scenes.append(scene)
                questions += asked
    return ShapesData(tuple(scenes), tuple(questions))


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Spare the garbage collector a useless look at all of torch for each batch of new questions."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def split(name: str, *, pictures: int) -> ShapesData:
    """An official split: "train", "validation", "test", or "compositional" with the held-out pairs.

    Raises:
        ValueError: There is no split of that name, or ``pictures`` is less than 1.
    """
    if name not in SPLITS:
        raise ValueError(f"there is no split {name!r}; the splits are {', '.join(SPLITS)}")
    seed, pairs = SPLITS[name]
    return generate(pictures, seed, pairs=pairs)


if __name__ == "__main__":
    start = time.process_time()
    data = split("train", pictures=2000)
    made = time.process_time()
    shape = data.pictures.shape
    print(f"{len(data.questions)} questions in {made - start:.2f} s, {shape} in {time.process_time() - made:.2f} s")
