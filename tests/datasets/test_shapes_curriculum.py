"""Questions about shapes for training alone: stepping stones, late types, early matches."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_utils.datasets import shapes
from course_utils.datasets.shapes.curriculum import QUERIES, early_match_questions, extra_questions, stepping_stones
from course_utils.datasets.shapes.questions import position


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 100))
def test_answers_are_those_of_the_scene(scenes_seed, seed):
    data = shapes.generate(5, scenes_seed)
    questions = sum(stepping_stones(data.scenes, seed), [])
    assert [q.picture for q in questions] == [picture for picture in range(5) for _ in QUERIES]
    for question in questions:
        scene = data.scenes[question.picture]
        assert question.answer == shapes.execute(question.program, scene)
        assert shapes.parse(question.text) == question.program
        assert question.answer in (shapes.COLOURS if question.program.query == "colour" else shapes.SHAPES)


def test_without_the_direction_there_is_more_than_one_candidate():
    data = shapes.split("train", pictures=200)
    for question in sum(stepping_stones(data.scenes), []):
        things = data.scenes[question.picture].things
        target, anchor = question.program.target, question.program.anchor
        assert sum(target.matches(thing) for thing in things if not anchor.matches(thing)) > 1
        assert getattr(target, question.program.query) is None  # the question does not name its answer


def test_it_is_deterministic_by_seed():
    scenes = shapes.split("train", pictures=50).scenes
    assert stepping_stones(scenes) == stepping_stones(scenes, seed=1) != stepping_stones(scenes, seed=2)


def test_the_words_are_those_of_the_training_questions():
    known = {word for q in shapes.split("train", pictures=500).questions for word in q.text.rstrip("?").split()}
    stones = stepping_stones(shapes.split("train", pictures=200).scenes)
    asked = {word for some in stones for q in some for word in q.text.rstrip("?").split()}
    assert asked <= known


def test_a_scene_of_one_thing_is_named():
    (scene,) = shapes.generate(1, 0).scenes
    with pytest.raises(ValueError, match="Scene 0 has no thing whose colour"):
        stepping_stones([shapes.Scene(scene.things[:1], scene.background)])


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 100))
def test_what_is_asked_again_is_answered_by_the_scene_and_asked_once(scenes_seed, seed):
    data = shapes.generate(4, scenes_seed)
    again = extra_questions(data.scenes, {"exist": 1, "number": 3}, seed)
    for picture, (scene, asked) in enumerate(zip(data.scenes, again, strict=True)):
        assert len({question.text for question in asked}) == len(asked) <= 4
        kinds = [question.type for question in asked]
        assert set(kinds) <= {"exist", "number"} and kinds.count("exist") <= 1 and kinds.count("number") <= 3
        for question in asked:
            assert question.picture == picture and question.answer == shapes.execute(question.program, scene)


def test_yes_and_no_are_as_frequent_when_asked_again():
    extra = extra_questions(shapes.split("train", pictures=300).scenes, {"exist": 3})
    assert extra.count([]) < 3  # hardly any scene allows none
    asked = sum(extra, [])
    assert sum(one.answer == "yes" for one in asked) / len(asked) == pytest.approx(0.5, abs=0.05)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 100))
def test_what_fits_early_is_not_the_last_before_the_anchor(scenes_seed, seed):
    data = shapes.generate(5, scenes_seed)
    for picture, (scene, asked) in enumerate(zip(data.scenes, early_match_questions(data.scenes, seed), strict=True)):
        assert len(asked) <= 1  # a scene has no such question now and then
        if not asked:
            continue
        (question,) = asked
        program = question.program
        (anchor,) = (thing for thing in scene.things if program.anchor.matches(thing))
        place = partial(position, direction=program.relation)
        before = sorted((thing for thing in scene.things if place(thing) < place(anchor)), key=place)
        assert question.picture == picture and question.type == "exist-relation"
        assert question.answer == shapes.execute(program, scene) == "yes"
        assert not program.target.matches(before[-1]) and not program.target.matches(anchor)
        assert shapes.parse(question.text) == program


def test_nearly_every_scene_has_an_early_find_and_a_scene_of_one_thing_has_none():
    scenes = shapes.split("train", pictures=200).scenes
    asked = early_match_questions(scenes)
    assert sum(not some for some in asked) < 10
    assert asked == early_match_questions(scenes, seed=1) != early_match_questions(scenes, seed=2)
    assert early_match_questions([shapes.Scene(scenes[0].things[:1], scenes[0].background)]) == [[]]
