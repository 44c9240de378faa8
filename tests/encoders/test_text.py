"""Text encoders, held against the tokenizer's own pieces and against transformers run on one text at a time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from course_utils.datasets import emoji
from course_utils.encoders import MiniLM, mean_pool
from course_utils.encoders.text import wordpiece

TEXTS = ["a dog", "the quick brown fox jumps over the lazy dog", "banana"]


@pytest.fixture(scope="module")
def minilm():
    return MiniLM()


# --- pieces -------------------------------------------------------------------------------------------------------


def test_the_longest_piece_goes_first():
    assert wordpiece("unhappy", {"un", "u", "##hap", "##happy", "##h"}) == ["un", "##happy"]


def test_a_word_that_cannot_be_cut_is_unknown():
    assert wordpiece("xylophone", {"x", "##y"}) == ["[UNK]"]
    assert wordpiece("", {"x"}) == []


@given(st.text("abc", min_size=1, max_size=12), st.sets(st.text("abc", min_size=1, max_size=3), max_size=12))
def test_pieces_put_together_are_the_word(word, known):
    pieces = wordpiece(word, known | {"##" + piece for piece in known})
    assert pieces == ["[UNK]"] or "".join(piece.removeprefix("##") for piece in pieces) == word


def test_pieces_are_those_of_the_real_tokenizer(minilm):
    pieces = minilm.tokenizer.get_vocab()
    for one in emoji.load()[::7]:
        words = minilm.tokenizer.backend_tokenizer.normalizer.normalize_str(one.names["en"])
        cut = [word for word, _ in minilm.tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(words)]
        assert [piece for word in cut for piece in wordpiece(word, pieces)] == minilm.tokenizer.tokenize(
            one.names["en"]
        )


# --- pooling ------------------------------------------------------------------------------------------------------


def test_the_mean_leaves_padding_out():
    states = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [99.0, 99.0]], [[5.0, 6.0], [99.0, 99.0], [99.0, 99.0]]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    torch.testing.assert_close(mean_pool(states, mask), torch.tensor([[2.0, 3.0], [5.0, 6.0]]))


def test_the_mean_of_nothing_is_zero():
    assert mean_pool(torch.ones(1, 2, 3), torch.zeros(1, 2, dtype=torch.bool)).eq(0).all()


# --- MiniLM -------------------------------------------------------------------------------------------------------


def test_shapes_and_mask(minilm):
    pooled, unpooled, mask = minilm(TEXTS)
    assert pooled.shape == (3, MiniLM.DIM) and unpooled.shape == (*mask.shape, MiniLM.DIM)
    assert mask.sum(dim=1).tolist() == [len(minilm.tokens(text)) for text in TEXTS]


def test_a_text_means_the_same_in_every_batch(minilm):
    together = minilm.embed(TEXTS)
    alone = torch.cat([minilm.embed([text]) for text in TEXTS])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(minilm.embed(TEXTS, batch_size=2), together, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(3))


def test_meaning_beats_spelling(minilm):
    like, near, spelt = minilm.embed(["a dog runs", "a puppy is running", "a log burns"])
    assert like @ near > like @ spelt


def test_attention_weights_sum_to_one(minilm):
    weights = minilm.attention("a small red circle")
    pieces = len(minilm.tokens("a small red circle"))
    assert weights.shape == (6, 12, pieces, pieces)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(6, 12, pieces))


def test_the_encoder_stays_frozen(minilm):
    assert not minilm.train().bert.training
    assert not any(weight.requires_grad for weight in minilm.parameters())


def test_bad_input_is_named(minilm):
    with pytest.raises(TypeError, match=r"\[text\]"):
        minilm("a dog")
    with pytest.raises(ValueError, match="no text"):
        minilm([])


def test_an_empty_text_has_a_vector_all_the_same(minilm):
    assert F.normalize(minilm([""]).pooled).isfinite().all()
