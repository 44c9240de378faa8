"""The last rungs: the shipped language model that sees, beside a classifier and a guess."""

from __future__ import annotations

import pytest
import small_llm

from course_utils import vlm
from course_utils.checkpoints import read_weights
from course_utils.datasets import easy_vqa, emoji_scenes
from course_utils.encoders.text import MiniLM
from course_utils.vlm import finetune
from course_utils.vlm.ask import SHIPPED
from course_utils.vlm.conversations import caption_turn, question_turn
from course_utils.vlm.worlds import World, read_world
from experiments import finetuning, seeing


@pytest.fixture(scope="module")
def reader():
    return vlm.PictureReader()


@pytest.fixture(scope="module")
def shipped():
    return finetune.load(seeing.MODEL)[0]


# --- a baseline that never looks ---------------------------------------------------------------------------------


def test_the_commonest_answer_goes_by_the_question_then_by_its_first_word():
    asked = [question_turn("is it red?", answer) for answer in ("yes", "yes", "no")]
    asked += [question_turn("is it new?", "no") for _ in range(5)]
    guess = seeing.Commonest(asked)
    assert guess.answer("is it red?") == "yes"
    assert guess.answer("is it old?") == "no"
    assert guess.answer("why?") == ""


# --- the table ---------------------------------------------------------------------------------------------------


def test_captions_are_no_questions():
    world = small_llm.world(3)
    told = World(world.name, world.features, [[caption_turn("a thing"), *turns] for turns in world.turns])
    assert seeing.questions(told) == seeing.questions(world)
    assert seeing.only_questions(told).turns == world.turns


def test_rows_say_how_each_type_was_answered():
    world = small_llm.world(4)
    right = [turn.type == "colour" for turn in seeing.questions(world)]
    rows = {row["type"]: row for row in seeing.rows_of(seeing.BLIND, world, "test", right)}
    assert (rows["all"]["questions"], rows["all"]["accuracy"]) == (8, 0.5)
    assert (rows["colour"]["accuracy"], rows["yes/no"]["accuracy"]) == (1.0, 0.0)


def test_a_choice_among_new_things_is_told_from_one_with_a_seen_thing():
    seen, unseen = ([emoji_scenes.phrase(thing) for thing in some] for some in emoji_scenes.vocabulary())
    pairs = {"choice of two new": unseen[:2], "choice of new and seen": (seen[0], unseen[0])}
    for kind, (one, two) in pairs.items():
        turn = question_turn(f"is there {one} or {two}?", "", "choice")
        assert seeing.type_of(turn, "unseen") == kind and seeing.type_of(turn, "test") == "choice"
    assert seeing.type_of(question_turn("is there a cat?", "no", "exist"), "unseen") == "exist"


def test_every_method_was_asked_everything():
    table = seeing.load().query("type == 'all'")
    asked = {(row.method, row.world, row.split) for row in table.itertuples()}
    assert asked == {(method, world, split) for method in seeing.METHODS for world, split, _ in seeing.TESTS}


def test_a_classifier_is_trained_and_asked():
    world = small_llm.world(48)
    held, bert = small_llm.world(8, seed=2), MiniLM()
    model, answers = seeing.train_classifier([([world], [held])] * 2, bert, passes=(2, 2), progress=False)
    assert answers == ["blue", "green", "no", "red", "yes"]
    right = seeing.right_answers(seeing.CLASSIC, (model, answers, bert), small_llm.world(40, seed=1))
    assert len(right) == 80 and sum(right) > 60


# --- what is shipped ---------------------------------------------------------------------------------------------


def test_the_shipped_model_is_the_configured_one_and_small():
    notes = read_weights(seeing.MODEL)[1]
    assert finetune.Config(**notes["config"]) == finetune.read_config(seeing.PARTS[-1])
    for path, part in zip(seeing.PARTS, seeing.parts_of(notes), strict=True):
        assert f"--config data/{path.name}" in part["command"]
    assert seeing.MODEL == SHIPPED and SHIPPED.stat().st_size < 15e6


@pytest.mark.parametrize(
    ("world", "split", "pictures"), [("easy-VQA", "test", 60), ("shapes", "test", 40), ("emoji scenes", "test", 40)]
)
def test_the_shipped_model_answers_as_the_table_says(reader, shipped, world, split, pictures):
    right = seeing.right_answers(seeing.SEEING, shipped, read_world(world, split, pictures, reader))
    row = seeing.load().query("method == @seeing.SEEING and world == @world and split == @split and type == 'all'")
    assert sum(right) / len(right) == pytest.approx(row["accuracy"].item(), abs=0.1)


def test_the_shipped_classifier_answers_as_the_table_says(reader):
    world = read_world("easy-VQA", "test", 60, reader)
    right = seeing.right_answers(seeing.CLASSIC, (*seeing.trained_classifier(), MiniLM()), world)
    row = seeing.load().query("method == @seeing.CLASSIC and world == 'easy-VQA' and type == 'all'")
    assert sum(right) / len(right) == pytest.approx(row["accuracy"].item(), abs=0.05)


# --- how much to train -------------------------------------------------------------------------------------------


def test_every_amount_was_measured_with_every_seed():
    counts = finetuning.load().groupby("method")["seed"].nunique()
    assert dict(counts) == dict.fromkeys(finetuning.METHODS, len(finetuning.SEEDS))


def test_more_weights_learn_from_frozen_to_full():
    weights = finetuning.load().groupby("method")["weights"].first()
    order = [weights[name] for name in (finetuning.FROZEN, "projector", "LoRA", "full")]
    assert order == sorted(order) and order[0] == 0 < order[1]


def test_seeing_pays():
    answered = finetuning.load().groupby("method")["answered"].min()
    assert answered["LoRA"] > finetuning.load().query("method == 'blind, LoRA'")["answered"].max()


def test_the_training_questions_are_read_without_pictures():
    config = finetune.Config(worlds={"shapes": 3, "emoji scenes": 2}, stones=0.5)
    asked = seeing.training_questions([config, finetune.Config(worlds={"easy-VQA": 1})])
    easy = [one for one in easy_vqa.load("train").questions if one.picture == 0]
    assert len(asked) == 3 * 8 + 2 * 5 + len(easy) and {"shape-relation", "relation", "colour"} <= {
        turn.type for turn in asked
    }
