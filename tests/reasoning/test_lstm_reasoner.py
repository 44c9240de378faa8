"""The LSTM reasoner, held against a slow loop over questions without padding."""

from __future__ import annotations

import pytest
import torch

from course_utils.encoders import Encoded
from course_utils.reasoning import grid
from course_utils.reasoning.ladder import RUNGS
from course_utils.reasoning.reasoners import GridVQA, LSTMReasoner, state_at_last_word

LENGTHS = (1, 4, 11, 2)


@pytest.fixture
def sentences():
    """Four sequences of different lengths with garbage where they are padded, and their mask."""
    torch.manual_seed(0)
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    return torch.randn(4, max(LENGTHS), 6), mask


# --- padding ------------------------------------------------------------------------------------------------------


def test_the_last_word_is_read_whatever_stands_behind_it(sentences):
    states, mask = sentences
    expected = torch.stack([states[row, length - 1] for row, length in enumerate(LENGTHS)])
    assert torch.equal(state_at_last_word(states, mask), expected)
    spoilt = states.masked_fill(~mask[..., None], torch.nan)
    assert torch.equal(state_at_last_word(spoilt, mask), expected)
    assert torch.equal(state_at_last_word(states[None], mask[None])[0], expected)


def test_a_question_without_words_or_with_words_behind_padding_is_refused(sentences):
    states, mask = sentences
    with pytest.raises(ValueError, match="has no word"):
        state_at_last_word(states, mask & torch.tensor([True, True, True, False])[:, None])
    with pytest.raises(ValueError, match="Padding stands before a word"):
        state_at_last_word(states, mask.flip(1))


# --- the reasoner -------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(sentences):
    """Two pictures with two questions each."""
    words, mask = sentences
    torch.manual_seed(2)
    question = Encoded(torch.zeros(2, 2, 6), words.view(2, 2, -1, 6), mask.view(2, 2, -1))
    return LSTMReasoner(6), question, torch.randn(2, 5, 6)


def test_the_reasoner_is_a_look_for_each_word_and_then_an_lstm(asked):
    reasoner, question, regions = asked
    out = reasoner(question, regions)
    assert out.shape == (2, 2, 6)
    for number, length in enumerate(LENGTHS):
        picture, row = divmod(number, 2)
        words = reasoner.word_norm(question.unpooled[picture, row, :length])
        seen = [reasoner.look(word[None], regions[picture])[0][0] for word in words]
        states, _ = reasoner.lstm(reasoner.aligned_norm(words + torch.stack(seen)))  # without padding
        torch.testing.assert_close(out[picture, row], reasoner.state_norm(states[-1]))


def test_padding_changes_nothing(asked):
    reasoner, question, regions = asked
    other = question.unpooled.masked_fill(~question.mask[..., None], 9.0)
    wider = torch.cat([other, torch.ones(2, 2, 3, 6)], dim=2)
    mask = torch.cat([question.mask, torch.zeros(2, 2, 3, dtype=torch.bool)], dim=2)
    torch.testing.assert_close(reasoner(Encoded(question.pooled, wider, mask), regions), reasoner(question, regions))


def test_every_word_has_a_map_that_adds_up_to_one(asked):
    reasoner, question, regions = asked
    aligned, weights = reasoner.align(question, regions)
    assert aligned.shape == (2, 2, 11, 6) and weights.shape == (2, 2, 11, 5)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 2, 11))


def test_the_order_of_the_words_matters(asked):
    reasoner, question, regions = asked
    one = Encoded(question.pooled, question.unpooled[..., :4, :], torch.ones(2, 2, 4, dtype=torch.bool))
    turned = Encoded(one.pooled, one.unpooled.flip(2), one.mask)
    assert not torch.allclose(reasoner(one, regions), reasoner(turned, regions), atol=1e-3)


@pytest.mark.parametrize("text", ["is", "what gnu is the zebra", "is there a star " * 20])
def test_one_word_unknown_words_and_long_questions_are_answered(text):
    torch.manual_seed(3)
    model = RUNGS["LSTM reasoner"].build()
    assert isinstance(model, GridVQA) and isinstance(model.align, LSTMReasoner)
    words = grid.words([text])[None]
    scores = model({"regions": torch.randn(1, 64, 64), "words": words, "word_mask": words > 0})
    assert scores.shape[0] == 1 and scores.isfinite().all()


@pytest.mark.parametrize("text", ["", "?!", "   "])
def test_a_question_without_a_word_is_refused_before_the_model(text):
    with pytest.raises(ValueError, match="no word"):
        grid.words(["is there a star?", text])
