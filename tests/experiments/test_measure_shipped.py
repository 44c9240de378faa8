"""The shipped vision-language model beside a classifier and the most frequent answer."""

from __future__ import annotations

import pytest
import small_llm

from course_utils import results, vlm
from course_utils.checkpoints import read_weights
from course_utils.datasets import easy_vqa, emoji_scenes
from course_utils.encoders.text import MiniLM
from course_utils.vlm import evaluate, finetune
from course_utils.vlm.ask import SHIPPED
from course_utils.vlm.conversations import caption_turn, question_turn
from course_utils.vlm.worlds import EncodedWorld, only_questions, read_world
from experiments import measure_shipped, trainable_parts


@pytest.fixture(scope="module")
def reader():
    return vlm.PictureReader()


@pytest.fixture(scope="module")
def shipped():
    return finetune.load(SHIPPED)[0]


# --- a baseline that never looks ---------------------------------------------------------------------------------


def test_the_most_frequent_answer_goes_by_the_question_then_by_its_first_word():
    asked = [question_turn("is it red?", answer) for answer in ("yes", "yes", "no")]
    asked += [question_turn("is it new?", "no") for _ in range(5)]
    guess = evaluate.MostFrequentAnswer(asked)
    assert guess.answer("is it red?") == "yes"
    assert guess.answer("is it old?") == "no"
    assert guess.answer("why?") == ""


# --- the table ---------------------------------------------------------------------------------------------------


def test_captions_are_no_questions():
    world = small_llm.world(3)
    told = EncodedWorld(world.name, world.features, [[caption_turn("a thing"), *turns] for turns in world.turns])
    assert evaluate.questions(told) == evaluate.questions(world)
    assert only_questions(told).turns == world.turns


def test_rows_say_how_each_type_was_answered():
    world = small_llm.world(4)
    right = [turn.type == "colour" for turn in evaluate.questions(world)]
    rows = {row["type"]: row for row in measure_shipped.rows_of(evaluate.MOST_FREQUENT, world, "test", right)}
    assert (rows["all"]["questions"], rows["all"]["accuracy"]) == (8, 0.5)
    assert (rows["colour"]["accuracy"], rows["yes/no"]["accuracy"]) == (1.0, 0.0)


def test_a_choice_among_new_things_is_told_from_one_with_a_seen_thing():
    seen, unseen = ([emoji_scenes.phrase(thing) for thing in some] for some in emoji_scenes.vocabulary())
    pairs = {"choice of two new": unseen[:2], "choice of new and seen": (seen[0], unseen[0])}
    for kind, (one, two) in pairs.items():
        turn = question_turn(f"is there {one} or {two}?", "", "choice")
        assert evaluate.type_of(turn, "unseen") == kind and evaluate.type_of(turn, "test") == "choice"
    assert evaluate.type_of(question_turn("is there a cat?", "no", "exist"), "unseen") == "exist"


def test_every_method_was_asked_everything():
    table = results.read("seeing").query("type == 'all'")
    asked = {(row.method, row.world, row.split) for row in table.itertuples()}
    assert asked == {(method, world, split) for method in evaluate.METHODS for world, split, _ in evaluate.TESTS}


def test_a_classifier_is_trained_and_asked():
    world = small_llm.world(48)
    held, bert = small_llm.world(8, seed=2), MiniLM()
    model, answers = measure_shipped.train_classifier([([world], [held])] * 2, bert, epochs=(2, 2), progress=False)
    assert answers == ["blue", "green", "no", "red", "yes"]
    right = evaluate.correct_answers(evaluate.CLASSIFIER, (model, answers, bert), small_llm.world(40, seed=1))
    assert len(right) == 80 and sum(right) > 60


# --- what is shipped ---------------------------------------------------------------------------------------------


def test_the_shipped_model_is_the_configured_one_and_small():
    notes = read_weights(SHIPPED)[1]
    for path, part in zip(evaluate.PARTS, evaluate.parts_of(notes), strict=True):
        assert part["command"].startswith(f"python -m course_utils.vlm.finetune --config data/{path.name}")
    assert SHIPPED.stat().st_size < 15e6


def test_the_notes_say_which_parts_the_program_does_not_make_again():
    remarks = {
        n: part["remark"] for n, part in enumerate(evaluate.parts_of(read_weights(SHIPPED)[1]), 1) if "remark" in part
    }
    assert set(remarks) == {3, 5, 6}
    assert "named only the object found" in remarks[3] and "script, not in the project" in remarks[5]
    assert "last 17 of 3,912 steps were left out" in remarks[6]
    for number, said in ((3, "named only the object found"), (5, "separate script"), (6, "last 17 of the 3,912")):
        assert said in evaluate.PARTS[number - 1].read_text(encoding="utf-8").replace("\n# ", " ")


@pytest.mark.parametrize(
    ("world", "split", "pictures"), [("easy-VQA", "test", 60), ("shapes", "test", 40), ("emoji scenes", "test", 40)]
)
def test_the_shipped_model_answers_as_the_table_says(reader, shipped, world, split, pictures):
    right = evaluate.correct_answers(evaluate.LANGUAGE_MODEL, shipped, read_world(world, split, pictures, reader))
    row = results.read("seeing").query(
        "method == @evaluate.LANGUAGE_MODEL and world == @world and split == @split and type == 'all'"
    )
    assert sum(right) / len(right) == pytest.approx(row["accuracy"].item(), abs=0.1)


def test_the_shipped_classifier_answers_as_the_table_says(reader):
    world = read_world("easy-VQA", "test", 60, reader)
    right = evaluate.correct_answers(evaluate.CLASSIFIER, (*evaluate.shipped_classifier(), MiniLM()), world)
    row = results.read("seeing").query("method == @evaluate.CLASSIFIER and world == 'easy-VQA' and type == 'all'")
    assert sum(right) / len(right) == pytest.approx(row["accuracy"].item(), abs=0.05)


# --- how much to train -------------------------------------------------------------------------------------------


def test_every_amount_was_measured_with_every_seed():
    counts = results.read("finetuning").groupby("method")["seed"].nunique()
    assert dict(counts) == dict.fromkeys(trainable_parts.METHODS, len(trainable_parts.SEEDS))


def test_more_weights_learn_from_frozen_to_full():
    weights = results.read("finetuning").groupby("method")["weights"].first()
    order = [weights[name] for name in (trainable_parts.FROZEN, "projector", "LoRA", "full")]
    assert order == sorted(order) and order[0] == 0 < order[1]


def test_seeing_pays():
    answered = results.read("finetuning").groupby("method")["answered"].min()
    assert answered["LoRA"] > results.read("finetuning").query("method == 'blind, LoRA'")["answered"].max()


def test_the_training_questions_are_read_without_pictures():
    config = finetune.Config(worlds={"shapes": 3, "emoji scenes": 2}, stepping_stone_share=0.5)
    asked = measure_shipped.training_questions([config, finetune.Config(worlds={"easy-VQA": 1})])
    easy = [one for one in easy_vqa.load("train").questions if one.picture == 0]
    assert len(asked) == 3 * 8 + 2 * 5 + len(easy) and {"shape-relation", "relation", "colour"} <= {
        turn.type for turn in asked
    }
