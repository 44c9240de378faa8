from __future__ import annotations

import pytest
import torch

from course_utils.datasets import emoji_scenes, shapes
from course_utils.datasets.emoji_scenes import wide as emoji_wide
from course_utils.datasets.emoji_scenes.curriculum import choice_questions
from course_utils.datasets.shapes.curriculum import (
    LATE_TYPES,
    REPLACED_TYPES,
    early_match_questions,
    stepping_stones,
)
from course_utils.datasets.shapes.rationales import rationale
from course_utils.vlm import PictureReader, worlds
from course_utils.vlm.conversations import caption_turn
from course_utils.vlm.worlds import with_rationales, with_training_mix


class Reader:
    """Stands in for a :class:`PictureReader`: each feature is the mean of the picture."""

    def read(self, pictures):
        means = torch.from_numpy(pictures.reshape(len(pictures), -1).mean(axis=1))
        return means[:, None, None].expand(-1, 16, PictureReader.DIM).half()


def test_each_picture_has_its_own_questions():
    world = worlds.read_world("shapes", "test", 5, Reader())
    data = shapes.split("test", pictures=5)
    assert world.features.shape == (5, 16, PictureReader.DIM) and len(world.scenes) == 5
    assert [(t.prompt, t.answer, t.type) for t in world.turns[3]] == [
        (q.text, q.answer, q.type) for q in data.questions if q.picture == 3
    ]


def test_emoji_scenes_are_described_first():
    world = worlds.read_world("emoji scenes", "unseen", 3, Reader())
    scenes = emoji_scenes.split("unseen", pictures=3).scenes
    assert [turns[0].answer for turns in world.turns] == [emoji_scenes.caption(scene) for scene in scenes]
    assert {len(turns) for turns in world.turns} == {6}


def test_easy_vqa_tells_no_scenes_and_no_more_pictures_than_asked_for():
    world = worlds.read_world("easy-VQA", "test", 4, Reader())
    assert len(world.turns) == len(world.features) == 4 and world.scenes is None
    assert all(turns for turns in world.turns)


def test_a_world_or_split_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="no world 'Mars'"):
        worlds.read_world("Mars", "train", 3, Reader())
    with pytest.raises(ValueError, match="more emoji has no split 'test'; its splits are train, validation"):
        worlds.read_world("more emoji", "test", 3, Reader())


def test_stepping_stones_replace_the_yes_no_questions_across_a_direction_in_a_share_of_the_pictures():
    world = worlds.read_world("shapes", "train", 6, Reader())
    found = with_training_mix(world, stepping_stone_share=0.5)
    kinds = [{turn.type for turn in turns} for turns in found.turns]
    assert [set(REPLACED_TYPES).isdisjoint(some) for some in kinds] == [False, True] * 3
    assert kinds[1] >= {"colour-relation", "shape-relation"} and all(len(turns) == 8 for turns in found.turns)
    assert found.turns[0] == world.turns[0]
    answers = {one.text: one.answer for one in stepping_stones(world.scenes)[3]}
    assert {turn.prompt: turn.answer for turn in found.turns[3] if turn.type.endswith("-relation")}.items() >= (
        answers.items()
    )
    assert with_training_mix(world, stepping_stone_share=0.0).turns == world.turns
    with pytest.raises(ValueError, match="stepping_stone_share is 1.5; it is a share"):
        with_training_mix(world, stepping_stone_share=1.5)


def test_extra_questions_are_of_the_late_types_and_none_comes_twice():
    world = worlds.read_world("shapes", "train", 4, Reader())
    found = with_training_mix(world, extra_late_questions=2)
    for before, after in zip(world.turns, found.turns, strict=True):
        assert after[: len(before)] == before and len(set(after)) == len(after)
        assert {turn.type for turn in after[len(before) :]} == set(LATE_TYPES)
        assert len(after) <= len(before) + 2 * len(LATE_TYPES)
    assert with_training_mix(world, extra_late_questions=0) is world


def test_extra_questions_are_of_the_types_that_are_named():
    world = worlds.read_world("shapes", "train", 4, Reader())
    wanted = {"distance": 3, "number": 1}
    found = with_training_mix(world, extra_late_questions=1, extra_questions_by_type=wanted)
    for before, after in zip(world.turns, found.turns, strict=True):
        kinds = [turn.type for turn in after[len(before) :]]
        assert set(kinds) <= {"distance", "number"} and kinds.count("number") <= 1 < kinds.count("distance") <= 3


def test_early_matches_are_asked_about_shapes_and_choices_about_emoji_scenes():
    easy = worlds.read_world("easy-VQA", "test", 3, Reader())
    for name, option, questions in (
        ("shapes", "early_match_questions", early_match_questions),
        ("emoji scenes", "choice_questions", choice_questions),
    ):
        world = worlds.read_world(name, "train", 4, Reader())
        asked = [[one.text for one in some] for some in questions(world.scenes)]
        found = with_training_mix(world, **{option: True})
        assert [[turn.prompt for turn in turns] for turns in found.turns] == [
            list(dict.fromkeys([*(turn.prompt for turn in turns), *texts]))
            for turns, texts in zip(world.turns, asked, strict=True)
        ]
        assert with_training_mix(easy, **{option: True}) is easy


def test_extra_questions_of_emoji_scenes_come_after_theirs_and_easy_vqa_has_none():
    world = worlds.read_world("emoji scenes", "train", 3, Reader())
    found = with_training_mix(world, extra_late_questions=1)
    for before, after in zip(world.turns, found.turns, strict=True):
        assert after[: len(before)] == before
        assert {turn.type for turn in after[len(before) :]} == {"exist", "count"}
    elsewhere = with_training_mix(world, extra_late_questions=1, extra_questions_by_type={"distance": 3})
    assert elsewhere.turns == found.turns  # a world without the named types asks its late ones
    easy = worlds.read_world("easy-VQA", "test", 3, Reader())
    assert with_training_mix(easy, extra_late_questions=1) is easy


def test_more_emoji_have_captions_and_questions_and_no_training_mix():
    world = worlds.read_world("more emoji", "train", 3, Reader())
    data = emoji_wide.split("train", pictures=3)
    assert [turns[0] for turns in world.turns] == [caption_turn(emoji_scenes.caption(scene)) for scene in data.scenes]
    for picture, turns in enumerate(world.turns):
        assert [(turn.prompt, turn.answer, turn.type) for turn in turns[1:]] == [
            (one.text, one.answer, one.type) for one in data.questions if one.picture == picture
        ]
    every = {
        "stepping_stone_share": 1.0, "extra_late_questions": 1, "early_match_questions": True, "choice_questions": True,
    }  # fmt: skip
    assert with_training_mix(world, **every) is world and with_rationales(world) is world


def test_rationales_come_before_answers_that_need_several_steps():
    world = worlds.read_world("shapes", "train", 3, Reader())
    for before, after, scene in zip(world.turns, with_rationales(world).turns, world.scenes, strict=True):
        assert [(turn.prompt, turn.answer, turn.type) for turn in after] == [
            (turn.prompt, turn.answer, turn.type) for turn in before
        ]
        assert [turn.rationale for turn in after] == [rationale(turn.prompt, scene) for turn in before]
        assert {turn.type for turn in after if not turn.rationale} == {"exist", "colour", "shape"}
    emoji = with_rationales(worlds.read_world("emoji scenes", "train", 3, Reader()))
    assert {turn.type for turns in emoji.turns for turn in turns if turn.rationale} == {"count"}
    easy = worlds.read_world("easy-VQA", "test", 3, Reader())
    assert with_rationales(easy) is easy
