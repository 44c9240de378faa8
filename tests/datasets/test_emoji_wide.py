"""Scenes of many more emoji: true, varied, and nothing akin to what is held out."""

from __future__ import annotations

import pytest

from course_utils.datasets import emoji, emoji_scenes
from course_utils.datasets.emoji_scenes import wide as emoji_wide
from course_utils.datasets.emoji_scenes.scenes import beside

DATA = emoji_wide.generate(200, seed=1)
ASKED = [[question for question in DATA.questions if question.picture == picture] for picture in range(200)]


def words(name: str) -> set[str]:
    return set(name.replace("-", " ").split())


def test_no_thing_is_akin_to_one_of_the_scenes_or_has_a_word_of_an_unseen_one():
    seen, unseen = emoji_scenes.vocabulary()
    wide = emoji_wide.vocabulary()
    families = [emoji.family(one.character) for one in (*wide, *seen, *unseen)]
    assert len(families) == len(set(families)) and len(wide) == 427
    held_out = set().union(*(words(name) for one in unseen for name in (one.names["en"], emoji_scenes.name(one))))
    assert all(held_out.isdisjoint(words(one.names["en"])) for one in wide)
    assert all(len(emoji_scenes.name(one).split()) <= 2 for one in wide)


def test_answers_are_those_of_the_scene():
    for scene, asked in zip(DATA.scenes, ASKED, strict=True):
        there = {emoji_scenes.phrase(thing.emoji) for thing in scene.things}
        names = {emoji_scenes.name(thing.emoji): thing for thing in scene.things}
        for question in asked:
            named = question.text.partition(" there ")[2].rstrip("?").split(" or ")
            if question.type == "exist":
                assert question.answer == ("yes" if named[0] in there else "no")
            elif question.type == "choice":
                (fits,) = there.intersection(named)
                assert question.answer == fits.removeprefix("a ").removeprefix("an ") and len(named) == 2
            else:
                side, _, anchor = question.text.removeprefix("what is ").rstrip("?").partition(" the ")
                (found,) = beside(scene, names[anchor], side)
                assert question.answer == emoji_scenes.name(found.emoji)


def test_each_thing_is_asked_for_and_as_many_that_are_not_there_and_share_no_word():
    unseen = {emoji_scenes.phrase(one) for one in emoji_scenes.vocabulary()[1]}
    for scene, asked in zip(DATA.scenes, ASKED, strict=True):
        kinds = [question.type for question in asked]
        assert kinds.count("exist") == 2 * len(scene.things) == 2 * kinds.count("choice")
        said = set().union(*(words(emoji_scenes.name(thing.emoji)) for thing in scene.things))
        for question in asked:
            named = question.text.partition(" there ")[2].rstrip("?").split(" or ")
            assert unseen.isdisjoint(named)
            if question.answer == "no":
                assert said.isdisjoint(words(named[0].split(" ", 1)[-1]))


def test_either_name_comes_first_and_most_things_are_met():
    choices = [question for question in DATA.questions if question.type == "choice"]
    first = sum(question.answer in question.text.partition(" or ")[0] for question in choices)
    assert 0.4 < first / len(choices) < 0.6
    met = {thing.emoji.code for scene in DATA.scenes for thing in scene.things}
    assert len(met) > 0.6 * len(emoji_wide.vocabulary())
    assert DATA.pictures.shape == (200, emoji_scenes.SIZE, emoji_scenes.SIZE, 3)


def test_it_is_deterministic_and_more_pictures_begin_with_the_same():
    few = emoji_wide.generate(9, seed=1)
    assert list(few.questions) == sum(ASKED[:9], [])
    assert emoji_wide.split("train", pictures=9).scenes == DATA.scenes[:9]
    assert emoji_wide.split("validation", pictures=9).scenes != DATA.scenes[:9]
    with pytest.raises(ValueError, match="no split 'test'"):
        emoji_wide.split("test", pictures=9)
    with pytest.raises(ValueError, match="at least 1"):
        emoji_wide.generate(0, seed=1)
