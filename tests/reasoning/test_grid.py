"""The ladder's data: regions and questions in the right order, in batches that can be reproduced."""

from __future__ import annotations

import pytest
import torch

from course_utils.datasets import shapes
from course_utils.datasets.shapes.curriculum import REPLACED_TYPES
from course_utils.datasets.vqa import PAD, to_tensor
from course_utils.encoders.image import trained_grid_cnn
from course_utils.reasoning import grid


@pytest.fixture(scope="module")
def data():
    return grid.load("test", pictures=6)


@pytest.fixture(scope="module")
def plain():
    return shapes.split("test", pictures=6)


def test_regions_are_those_of_the_shipped_encoder(data, plain):
    expected = trained_grid_cnn()(to_tensor(plain.pictures)).unpooled
    torch.testing.assert_close(data.regions, expected, rtol=1e-5, atol=1e-5)


def test_words_and_answers_belong_to_their_pictures(data, plain):
    for number, question in enumerate(plain.questions):
        place = question.picture, number % grid.QUESTIONS
        assert data.vocabulary.decode(data.words[place]) == question.text.removesuffix("?")
        assert shapes.ANSWERS[data.answers[place]] == question.answer
        assert data.types[place[1]] == question.type


def test_the_vocabulary_knows_every_word_of_every_split():
    for name in shapes.SPLITS:
        texts = [question.text for question in shapes.split(name, pictures=300).questions]
        assert [text for text in texts if grid.vocabulary().unknown_words(text)] == []


def test_a_batch_holds_what_its_rows_say(data):
    batch = data.batch(torch.tensor([4, 1]))
    assert batch["regions"].shape == (2, 64, 64) and batch["words"].shape[:2] == (2, 8)
    torch.testing.assert_close(batch["regions"], data.regions[[4, 1]])
    assert torch.equal(batch["answers"], data.answers[[4, 1]].flatten())
    assert batch["question_ids"] == [*range(32, 40), *range(8, 16)]
    assert (batch["word_mask"].any(dim=-2).any(dim=0)).all()  # no column of padding alone
    assert torch.equal(batch["word_mask"], batch["words"] != PAD)
    assert batch["types"] == list(shapes.TYPES) * 2


def test_batches_come_in_an_order_that_the_epoch_decides(data):
    batches = grid.Batches(data, batch_size=4, shuffle=True, seed=1)
    assert len(batches) == 2
    first, again = ([batch["question_ids"] for batch in batches] for _ in range(2))
    batches.set_epoch(1)
    other = [batch["question_ids"] for batch in batches]
    assert first == again != other
    assert sorted(sum(other, [])) == list(range(48))


def test_impossible_batches_are_refused(data):
    with pytest.raises(ValueError, match="at least 1"):
        grid.Batches(data, batch_size=0)


@pytest.mark.parametrize("pictures", [0, -1])
def test_no_pictures_are_not_all_pictures(data, pictures):
    for ask in (lambda: grid.load("train", pictures=pictures), lambda: data.first(pictures)):
        with pytest.raises(ValueError, match=f"pictures is {pictures}; it must be at least 1"):
            ask()


# --- a curriculum -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def training():
    return grid.load("train", pictures=6)


def test_the_first_pictures_are_the_first(training):
    few = training.first(2)
    assert len(few) == 2 and len(training.first(100)) == 6
    assert torch.equal(few.regions, training.regions[:2]) and torch.equal(few.words, training.words[:2])


def test_stepping_stones_replace_two_types_and_no_other(training):
    stones = grid.stepping_stones(training)
    longest = training.words.shape[-1]
    for number, kind in enumerate(training.types):
        same = torch.equal(stones.answers[:, number], training.answers[:, number])
        same_words = torch.equal(stones.words[:, number, :longest], training.words[:, number])
        assert (same and same_words) == (kind not in REPLACED_TYPES)
    scenes = shapes.split("train", pictures=6).scenes
    for kind in REPLACED_TYPES:
        place = training.types.index(kind)
        for picture, scene in enumerate(scenes):
            program = shapes.parse(stones.vocabulary.decode(stones.words[picture, place]) + "?")
            assert shapes.execute(program, scene) == shapes.ANSWERS[stones.answers[picture, place]]


def test_a_curriculum_begins_with_its_stepping_stones(training):
    stones = grid.stepping_stones(training)
    batches = grid.Curriculum(stones, training, epochs=2, batch_size=6, seed=1)
    answers = []
    for epoch in range(3):
        batches.set_epoch(epoch)
        (batch,) = batches
        order = torch.tensor(batch["question_ids"]).argsort()
        answers.append(batch["answers"][order])
    assert torch.equal(answers[0], answers[1]) and torch.equal(answers[0], stones.answers.flatten())
    assert torch.equal(answers[2], training.answers.flatten())
    with pytest.raises(ValueError, match="6 pictures before and 5 after"):
        grid.Curriculum(stones, training.first(5), epochs=1)
