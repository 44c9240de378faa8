from __future__ import annotations

import pytest
import torch
from transformers import AutoTokenizer

from course_utils.language import llm
from course_utils.vlm import conversations
from course_utils.vlm.conversations import IGNORE, NO_TURN, Conversations, Turn, caption_turn, question_turn


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
    return Conversations(torch.arange(3.0)[:, None, None].expand(3, 16, 4), TURNS, tokenizer, pictures=2)


def test_only_answers_are_asked_for_and_each_ends(data, tokenizer):
    batch = data.batch([0, 1, 2])
    assert tokenizer.decode(batch["answers"]) == (
        " a cat and a dog<|im_end|> yes<|im_end|> polar bear<|im_end|> an owl<|im_end|>"
    )
    assert batch["asks"].sum() == len(batch["answers"])


def test_a_working_is_said_before_its_answer_and_is_no_part_of_it(tokenizer):
    turn = Turn("is it left?", "yes", "verify", "red star, blue star")
    one = conversations.row([turn], tokenizer)
    due = one.target[one.target != IGNORE]
    assert tokenizer.decode(due) == f" {turn.said}<|im_end|>" == " red star, blue star: yes<|im_end|>"
    assert conversations.answer_in(turn.said) == "yes" == conversations.answer_in("yes")


def test_what_is_asked_for_is_the_next_token_of_the_same_turn(tokenizer):
    one = conversations.row(TURNS[0], tokenizer)
    for here in range(len(one.ids) - 1):
        if one.target[here] != IGNORE and one.turn[here] == one.turn[here + 1]:
            assert one.target[here] == one.ids[here + 1]
    assert (one.target == tokenizer.eos_token_id).sum() == 2  # at the last token of each turn
    assert one.place.tolist() == [place for turn in (0, 1) for place in range((one.turn == turn).sum())]


def test_the_prompt_is_read_and_not_learnt(tokenizer):
    one = conversations.row([question_turn("is there a cat?", "yes")], tokenizer)
    asked = tokenizer.decode(one.ids[one.target == IGNORE])
    assert asked == "is there a cat"  # at the question mark the answer is due


def test_may_look_by_hand():
    turn, place = torch.tensor([[0, 0, 1, NO_TURN]]), torch.tensor([[0, 1, 0, 0]])
    expected = [
        [1, 0, 0, 0, 0, 0],  # the picture, from left to right
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],  # the first turn
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],  # the second: the picture and itself
        [1, 1, 0, 0, 0, 1],  # padding
    ]
    assert conversations.may_look(turn, place, prefix=2)[0].int().tolist() == expected


def test_batches_cover_all_pictures_and_carry_their_features(data):
    batches = list(data)
    assert [len(batch["ids"]) for batch in batches] == [2, 1] and len(data) == 2
    assert torch.cat([batch["features"][:, 0, 0] for batch in batches]).tolist() == [0, 1, 2]


def test_the_order_depends_on_the_epoch_alone(tokenizer):
    features = torch.arange(20.0)[:, None, None].expand(20, 16, 4)
    shuffled = Conversations(features, [TURNS[2]] * 20, tokenizer, pictures=6, shuffle=True)
    orders = []
    for epoch in (0, 1, 0):
        shuffled.batch_sampler.set_epoch(epoch)
        orders.append(torch.cat([batch["features"][:, 0, 0] for batch in shuffled]).tolist())
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[1]) == list(range(20))


def test_padding_belongs_to_no_turn(data, tokenizer):
    batch = data.batch([0, 2])
    padded = batch["turn"][1] == NO_TURN
    assert padded.any() and not batch["asks"][1][padded].any()
    assert (batch["ids"][1][padded] == tokenizer.pad_token_id).all()


@pytest.mark.parametrize(
    ("turns", "said"),
    [
        ([], "at least one"),
        ([Turn(" ", "yes")], "prompt and an answer"),
        ([Turn("Is it?", "")], "prompt and an answer"),
    ],
)
def test_empty_turns_are_refused(turns, said, tokenizer):
    with pytest.raises(ValueError, match=said):
        conversations.row(turns, tokenizer)


def test_pictures_and_turns_must_match(tokenizer):
    with pytest.raises(ValueError, match="2 pictures, 3 lists"):
        Conversations(torch.zeros(2, 16, 4), TURNS, tokenizer)


def test_what_was_read_ahead_comes_with_the_batch(tokenizer):
    features = torch.zeros(3, 16, 4)
    length = {turn: len(conversations.row([turn], tokenizer).ids) for some in TURNS for turn in some}
    reading = {turn: torch.full((many, 5), float(number)) for number, (turn, many) in enumerate(length.items())}
    batch = Conversations(features, TURNS, tokenizer, reading=reading).batch([0, 1])
    first, second = TURNS[0]
    expected = [0.0] * length[first] + [1.0] * length[second]
    assert batch["words"].shape == (2, len(expected), 5)
    assert batch["words"][0, :, 0].tolist() == expected
    assert batch["words"].shape[1] == batch["ids"].shape[1]


def test_processes_share_every_batch(tokenizer):
    features = torch.arange(11.0)[:, None, None].expand(11, 16, 4)
    options = {"pictures": 4, "shuffle": True, "seed": 3}
    turns = [TURNS[2]] * 11
    whole = [batch["features"][:, 0, 0].tolist() for batch in Conversations(features, turns, tokenizer, **options)]
    parts = [Conversations(features, turns, tokenizer, share=(number, 2), **options) for number in (0, 1)]
    for all_of_it, *some in zip(whole, *parts, strict=True):
        given = [batch["features"][:, 0, 0].tolist() for batch in some]
        assert sorted(given[0] + given[1]) == sorted(all_of_it) and given[0]
    with pytest.raises(ValueError, match="not shared evenly by 3"):
        Conversations(features, turns, tokenizer, share=(0, 3), **options)
