"""Rationales: the answer can be read off the words, without the picture."""

from __future__ import annotations

import pytest

from course_utils.datasets import emoji_scenes, shapes
from course_utils.datasets.emoji_scenes.rationales import rationale as rationale_about_emoji
from course_utils.datasets.shapes.curriculum import stepping_stones
from course_utils.datasets.shapes.questions import DIRECTIONS, Program
from course_utils.datasets.shapes.rationales import NOTHING, rationale
from course_utils.datasets.shapes.scenes import Scene, Thing

THINGS = (
    Thing("large", "red", "circle", 10, 35),
    Thing("small", "blue", "star", 25, 10),
    Thing("small", "pink", "star", 40, 55),
    Thing("large", "blue", "square", 55, 25),
)
SCENE = Scene(THINGS, (255, 255, 255))


@pytest.mark.parametrize(
    ("question", "steps"),
    [
        ("is there a star left of the blue square?", "red circle, blue star, pink star, blue square"),
        ("is there a star left of the red circle?", "red circle"),
        ("is the blue star below the red circle?", "pink star, red circle"),
        ("how many large things are right of the pink star?", "large blue square, pink star"),
        ("what colour is the star above the red circle?", "blue star, blue square, red circle"),
        ("what shape is the thing nearest to the blue star?", "blue star, red circle, blue square, pink star"),
        ("what colour is the thing furthest from the blue star?", "blue star, pink star, blue square, red circle"),
        ("how many stars are there?", "blue star, pink star"),
        ("how many triangles are there?", "none"),
        ("are there more stars than triangles?", "blue star, pink star = 2, none = 0"),
        ("is there a blue star?", ""),
        ("what colour is the circle?", ""),
    ],
)  # fmt: skip
def test_the_steps_to_the_answer(question, steps):
    assert rationale(question, SCENE) == steps


def read_off(program: Program, words: str) -> str:
    """The answer by the words alone."""
    names = [name.split() for name in words.split(", ")]
    asked_for = -2 if program.query == "colour" else -1
    if program.relation in DIRECTIONS:
        wanted = str(program.target).removesuffix("thing").split()
        met = [name for name in names[:-1] if set(wanted) <= set(name)]
        count = len(met)
    elif program.relation:
        return names[1][asked_for]
    elif program.query in ("more", "fewer"):
        first, second = (int(name[-1]) for name in names if "=" in name)
        return "yes" if (first > second) == (program.query == "more") else "no"
    else:
        count = 0 if words == NOTHING else len(names)
    if program.query in ("colour", "shape"):
        return met[0][asked_for]
    return str(count) if program.query == "count" else "yes" if count else "no"


def test_the_answer_can_be_read_off_the_rationale():
    data = shapes.split("validation", pictures=300)
    told = 0
    for one in [*data.questions, *sum(stepping_stones(data.scenes), [])]:
        words = rationale(one.text, data.scenes[one.picture])
        if words:
            told += 1
            assert read_off(one.program, words) == one.answer, (one.text, words)
    assert told > 1500


def test_a_question_that_does_not_suit_the_scene_is_refused():
    with pytest.raises(ValueError, match="nothing fits"):
        rationale("is there a star left of the green circle?", SCENE)
    with pytest.raises(ValueError, match="unknown word"):
        rationale("is there a dog?", SCENE)


def test_counted_emoji_are_named_row_by_row():
    data = emoji_scenes.split("validation", pictures=100)
    counted = 0
    for one in data.questions:
        scene = data.scenes[one.picture]
        words = rationale_about_emoji(one.text, scene)
        assert bool(words) == (one.type == "count")
        if words:
            names = [] if words == NOTHING else words.split(", ")
            counted += 1
            assert len(names) == int(one.answer)
            places = [[emoji_scenes.name(thing.emoji) for thing in scene.things].index(name) for name in names]
            assert places == sorted(places)
    assert counted == 100
