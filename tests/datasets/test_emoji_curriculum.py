"""Extra questions about emoji scenes: true, balanced, and about seen objects alone."""

from __future__ import annotations

from course_utils.datasets import emoji_scenes
from course_utils.datasets.emoji_scenes.curriculum import choice_questions, extra_questions

SCENES = emoji_scenes.split("train", pictures=100).scenes


def test_answers_are_those_of_the_scene():
    for picture, (scene, asked) in enumerate(zip(SCENES, extra_questions(SCENES), strict=True)):
        there = [thing.emoji for thing in scene.things]
        true = {emoji_scenes.asks_for(one) for one in there}
        kinds = [emoji_scenes.kind_of(one) for one in there]
        many = {f"how many {plural} are there?": str(kinds.count(kind)) for kind, plural in emoji_scenes.KINDS.items()}
        assert {question.picture for question in asked} == {picture}
        assert {question.text for question in asked if question.answer == "yes"} == true
        counted = [question for question in asked if question.type == "count"]
        assert len(counted) == 3 and all(many[question.text] == question.answer for question in counted)


def test_about_half_of_what_is_asked_for_is_there_and_all_of_it_is_seen_in_training():
    asked = [question for some in extra_questions(SCENES) for question in some if question.type == "exist"]
    assert 0.5 <= sum(question.answer == "yes" for question in asked) / len(asked) < 0.52
    unseen = {emoji_scenes.phrase(thing) for thing in emoji_scenes.vocabulary()[1]}
    assert unseen.isdisjoint(question.text.split(" there ", 1)[1].rstrip("?") for question in asked)


def test_it_is_deterministic_by_seed():
    assert extra_questions(SCENES[:9]) == extra_questions(SCENES[:9], seed=1) != extra_questions(SCENES[:9], seed=2)


def test_a_choice_is_between_a_thing_that_is_there_and_one_that_is_not():
    seen, _ = emoji_scenes.vocabulary()
    by_phrase = {emoji_scenes.phrase(one): one for one in seen}
    first = alike = many = 0
    for picture, (scene, asked) in enumerate(zip(SCENES, choice_questions(SCENES), strict=True)):
        there = [thing.emoji for thing in scene.things]
        assert [question.answer for question in asked] == [emoji_scenes.name(one) for one in there]
        for question, thing in zip(asked, there, strict=True):
            assert (question.picture, question.type) == (picture, "choice")
            one, two = (by_phrase[name] for name in question.text.split(" there ", 1)[1].rstrip("?").split(" or "))
            assert question.text == emoji_scenes.asks_for(one, two)
            assert [other in there for other in (one, two)].count(True) == 1 and thing in (one, two)
            first += one == thing
            alike += emoji_scenes.kind_of(one) == emoji_scenes.kind_of(two)
            many += 1
    assert 0.4 < first / many < 0.6
    assert 0.5 < alike / many < 0.7  # every second one, and by chance some of the others
    assert choice_questions(SCENES[:9]) == choice_questions(SCENES[:9], seed=1) != choice_questions(SCENES[:9], seed=2)
