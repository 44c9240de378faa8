from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from course_utils.language import llm
from course_utils.training import IGNORE
from course_utils.vlm import conversations
from course_utils.vlm.conversations import NO_TURN, SEPARATOR, Conversations, Turn, caption_turn, question_turn


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(llm.folder(), local_files_only=True)


TURNS = [
    [caption_turn("a cat and a dog"), question_turn("is there a cat?", "yes", "exist")],
    [question_turn("what is left of the dog?", "polar bear", "relation")],
    [caption_turn("an owl")],
]


@pytest.fixture
def data(tokenizer):
    return Conversations(torch.arange(3.0)[:, None, None].expand(3, 16, 4), TURNS, tokenizer, pictures_per_batch=2)


def test_only_answers_are_asked_for_and_each_ends(data, tokenizer):
    batch = data.batch([0, 1, 2])
    assert tokenizer.decode(batch["answers"]) == (
        " a cat and a dog<|im_end|> yes<|im_end|> polar bear<|im_end|> an owl<|im_end|>"
    )
    assert batch["answer_mask"].sum() == len(batch["answers"])


def test_a_rationale_precedes_its_answer_and_is_no_part_of_it(tokenizer):
    turn = Turn("is it left?", "yes", "verify", "red star, blue star")
    one = conversations.row([turn], tokenizer)
    due = one.targets[one.targets != IGNORE]
    assert tokenizer.decode(due) == f" {turn.completion}<|im_end|>" == " red star, blue star: yes<|im_end|>"
    assert conversations.answer_in(turn.completion) == "yes" == conversations.answer_in("yes")


@given(st.text(), st.text().map(lambda text: text.replace(SEPARATOR, "")))
def test_an_answer_comes_back_out_of_its_completion(answer, rationale):
    turn = Turn("what?", answer, rationale=rationale)
    assert conversations.answer_in(turn.completion) == answer.strip()
    assert conversations.answer_in(f" {turn.completion} ".strip()) == answer.strip()  # as generation gives it


def test_a_rationale_with_the_separator_is_refused():
    with pytest.raises(ValueError, match="'10:30' has a ':', which would end it"):
        Turn("what?", "yes", rationale="10:30")


def test_what_is_asked_for_is_the_next_token_of_the_same_turn(tokenizer):
    one = conversations.row(TURNS[0], tokenizer)
    for here in range(len(one.input_ids) - 1):
        if one.targets[here] != IGNORE and one.turn_ids[here] == one.turn_ids[here + 1]:
            assert one.targets[here] == one.input_ids[here + 1]
    assert (one.targets == tokenizer.eos_token_id).sum() == 2  # at the last token of each turn
    assert one.position_ids.tolist() == [place for turn in (0, 1) for place in range((one.turn_ids == turn).sum())]


def test_the_prompt_is_read_and_not_learnt(tokenizer):
    one = conversations.row([question_turn("is there a cat?", "yes")], tokenizer)
    asked = tokenizer.decode(one.input_ids[one.targets == IGNORE])
    assert asked == "is there a cat"  # at the question mark the answer is due


def test_the_attention_mask_by_hand():
    turn_ids, position_ids = torch.tensor([[0, 0, 1, NO_TURN]]), torch.tensor([[0, 1, 0, 0]])
    expected = [
        [1, 0, 0, 0, 0, 0],  # the picture, from left to right
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],  # the first turn
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],  # the second: the picture and itself
        [1, 1, 0, 0, 0, 1],  # padding
    ]
    assert conversations.attention_mask(turn_ids, position_ids, prefix=2)[0].int().tolist() == expected


def test_batches_cover_all_pictures_and_carry_their_features(data):
    batches = list(data)
    assert [len(batch["input_ids"]) for batch in batches] == [2, 1] and len(data) == 2
    assert torch.cat([batch["features"][:, 0, 0] for batch in batches]).tolist() == [0, 1, 2]


def test_the_order_depends_on_the_epoch_alone(tokenizer):
    features = torch.arange(20.0)[:, None, None].expand(20, 16, 4)
    shuffled = Conversations(features, [TURNS[2]] * 20, tokenizer, pictures_per_batch=6, shuffle=True)
    orders = []
    for epoch in (0, 1, 0):
        shuffled.set_epoch(epoch)
        orders.append(torch.cat([batch["features"][:, 0, 0] for batch in shuffled]).tolist())
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[1]) == list(range(20))


def test_padding_belongs_to_no_turn(data, tokenizer):
    batch = data.batch([0, 2])
    padded = batch["turn_ids"][1] == NO_TURN
    assert padded.any() and not batch["answer_mask"][1][padded].any()
    assert (batch["input_ids"][1][padded] == tokenizer.pad_token_id).all()


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([], "at least one"),
        ([Turn(" ", "yes")], "prompt and an answer"),
        ([Turn("Is it?", "")], "prompt and an answer"),
    ],
)
def test_empty_turns_are_refused(turns, message, tokenizer):
    with pytest.raises(ValueError, match=message):
        conversations.row(turns, tokenizer)


def test_pictures_and_turns_must_match(tokenizer):
    with pytest.raises(ValueError, match="2 pictures and 3 lists"):
        Conversations(torch.zeros(2, 16, 4), TURNS, tokenizer)


def test_precomputed_states_come_with_the_batch(tokenizer):
    features = torch.zeros(3, 16, 4)
    length = {turn: len(conversations.row([turn], tokenizer).input_ids) for some in TURNS for turn in some}
    states = {turn: torch.full((many, 5), float(number)) for number, (turn, many) in enumerate(length.items())}
    batch = Conversations(features, TURNS, tokenizer, text_states=states).batch([0, 1])
    first, second = TURNS[0]
    expected = [0.0] * length[first] + [1.0] * length[second]
    assert batch["text_states"].shape == (2, len(expected), 5)
    assert batch["text_states"][0, :, 0].tolist() == expected
    assert batch["text_states"].shape[1] == batch["input_ids"].shape[1]


def test_processes_share_every_batch(tokenizer):
    features = torch.arange(11.0)[:, None, None].expand(11, 16, 4)
    options = {"pictures_per_batch": 4, "shuffle": True, "seed": 3}
    turns = [TURNS[2]] * 11
    whole = [batch["features"][:, 0, 0].tolist() for batch in Conversations(features, turns, tokenizer, **options)]
    parts = [Conversations(features, turns, tokenizer, share=(number, 2), **options) for number in (0, 1)]
    for all_of_it, *some in zip(whole, *parts, strict=True):
        given = [batch["features"][:, 0, 0].tolist() for batch in some]
        assert sorted(given[0] + given[1]) == sorted(all_of_it) and given[0]
    with pytest.raises(ValueError, match="do not divide among 3"):
        Conversations(features, turns, tokenizer, share=(0, 3), **options)


def test_a_pass_is_split_evenly_among_its_evaluations(tokenizer):
    features = torch.arange(11.0)[:, None, None].expand(11, 16, 4)
    options = {"pictures_per_batch": 2, "shuffle": True, "seed": 3}
    whole = Conversations(features, [TURNS[2]] * 11, tokenizer, **options)
    split = Conversations(features, [TURNS[2]] * 11, tokenizer, evaluations_per_epoch=4, **options)
    assert (len(whole), len(split)) == (6, 1)
    for epoch in (0, 1):
        whole.set_epoch(epoch)
        given = []
        for part in range(4):
            split.set_epoch(4 * epoch + part)
            given += [batch["features"][:, 0, 0].tolist() for batch in split]
        assert given == [batch["features"][:, 0, 0].tolist() for batch in whole][:4]
    with pytest.raises(ValueError, match="fewer batches than evaluations_per_epoch = 7"):
        Conversations(features, [TURNS[2]] * 11, tokenizer, evaluations_per_epoch=7, **options)
