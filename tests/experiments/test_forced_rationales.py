"""Forced rationales: what is named where, and the table of answers after them."""

from __future__ import annotations

import pytest
import torch

from course_utils import results
from course_utils.vlm import evaluate, finetune
from course_utils.vlm.conversations import Turn
from course_utils.vlm.worlds import EncodedWorld
from experiments import forced_rationales
from experiments.forced_rationales import KIND

TURN = Turn("is there a star left of the red circle?", "yes", KIND, "blue star, pink square, red circle")
SHORT = Turn("is there a blue thing left of the red circle?", "yes", KIND, "blue star, red circle")


@pytest.mark.parametrize(
    ("where", "rationale"),
    [
        ("nowhere", "pink square, red circle"),
        ("first", "blue star, pink square, red circle"),
        ("last", "pink square, blue star, red circle"),
    ],
)
def test_a_matching_object_stands_where_it_is_put(where, rationale):
    assert evaluate.with_forced_rationale(TURN, where) == f"{TURN.prompt} {rationale}:"


def test_a_rationale_without_another_object_cannot_tell_first_from_last():
    assert evaluate.with_forced_rationale(SHORT, "first") is None


class Reader:
    """Says yes if the last name before the anchor fits."""

    def answer(self, features, prompts):
        assert len(features) == len(prompts) and all(prompt.endswith(":") for prompt in prompts)
        return ["yes" if "star" in prompt.partition("? ")[2].split(", ")[-2] else "no" for prompt in prompts]


def test_the_table_tells_a_reader_of_the_last_name_alone():
    other = Turn("how many stars are there?", "1", "number", "blue star")
    no = Turn(TURN.prompt, "no", KIND, "pink square, red circle")
    world = EncodedWorld("shapes", torch.zeros(2, 16, 4), [[TURN, other], [no, SHORT]])
    table = forced_rationales.measure(Reader(), world).set_index(["where", "picture"])
    assert table["questions"].eq(1).all() and len(table) == 6
    assert table["yes"].groupby("where").mean().to_dict() == {"nowhere": 0.0, "first": 0.0, "last": 1.0}


def test_the_stored_table_has_the_models_before_and_after_the_early_finds_and_the_shipped_one():
    table = results.read("forced_rationales")
    with_early = [finetune.read_config(path).early_match_questions for path in evaluate.PARTS].index(True) + 1
    assert sorted(set(table["part"])) == [with_early - 1, with_early, len(evaluate.PARTS)]
    assert set(table["where"]) == set(evaluate.WHERE) and table["questions"].min() > 100
