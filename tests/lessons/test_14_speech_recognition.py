"""Functions that lesson 14 defines itself: CTC's forward algorithm, word errors, the wrong collapse."""

from __future__ import annotations

import jiwer
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lesson_code import lesson_code
from torch.nn import functional as F

lesson = lesson_code("14", "forward_algorithm", "word_errors", "word_error_rate", "collapse_in_one_go")
WORDS = st.lists(st.sampled_from(["the", "red", "door", "dor"]), max_size=7).map(" ".join)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=5), st.integers(0, 5), st.integers(0, 1000))
def test_the_forward_algorithm_gives_torchs_loss(text, extra, seed):
    positions = len(text) + sum(a == b for a, b in zip(text, text[1:], strict=False)) + extra
    scores = torch.randn(positions, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    probabilities = scores.softmax(dim=1)
    loss = F.ctc_loss(probabilities.log()[:, None], torch.tensor([text]), [positions], [len(text)], reduction="none")
    alpha = lesson.forward_algorithm(probabilities, text)
    assert alpha.shape == (positions, 2 * len(text) + 1)
    assert -alpha[-1, -2:].sum().log().item() == pytest.approx(loss.item(), abs=1e-9)


def test_a_text_that_does_not_fit_has_probability_zero():
    assert lesson.forward_algorithm(torch.full((3, 2), 0.5), [1, 1])[-1, -2:].sum() > 0
    assert lesson.forward_algorithm(torch.full((2, 2), 0.5), [1, 1])[-1, -2:].sum() == 0


@given(WORDS.filter(bool), WORDS)
def test_word_errors_are_jiwers(reference, said):
    found = jiwer.process_words(reference, said)
    assert lesson.word_errors(reference, said) == found.substitutions + found.deletions + found.insertions


def test_the_rate_is_over_all_words_and_inside_its_interval():
    references, said = ["a b c d", "e"] * 20, ["a b c x", "e"] * 20
    rate, low, high = lesson.word_error_rate(references, said)
    assert rate == pytest.approx(jiwer.wer(references, said)) == pytest.approx(0.2)
    assert low < rate < high


def test_the_wrong_collapse_loses_double_letters_alone():
    assert lesson.collapse_in_one_go([1, 0, 2, 2]) == [1, 2]
    assert lesson.collapse_in_one_go([1, 0, 1]) == [1]
