from __future__ import annotations

import itertools

import jiwer
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from course_utils.checkpoints import load_frozen
from course_utils.datasets import commands
from course_utils.datasets.speech import HELD_OUT_VOICES
from course_utils.encoders import recogniser
from course_utils.encoders.recogniser import ALPHABET, Recogniser, beam_search, collapse, ctc_loss, recognise, symbols
from course_utils.encoders.speech import BANDS

PATHS = st.lists(st.integers(0, 3), max_size=12)


def log_probs(positions: int, count: int, seed: int) -> np.ndarray:
    scores = torch.randn(positions, count, generator=torch.Generator().manual_seed(seed))
    return (2 * scores).double().log_softmax(dim=1).numpy()


def all_texts(rows: np.ndarray) -> dict[tuple[int, ...], float]:
    """Every text with its log-probability, from all paths."""
    sums: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(rows.shape[1]), repeat=len(rows)):
        text = tuple(key for key, _ in itertools.groupby(path) if key != 0)
        sums[text] = sums.get(text, 0.0) + float(np.exp(rows[range(len(rows)), path].sum()))
    return {text: float(np.log(value)) for text, value in sums.items()}


@given(PATHS)
def test_paths_collapse_as_with_groupby(path):
    assert collapse(path) == [key for key, _ in itertools.groupby(path) if key != 0]


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 5), st.integers(2, 4), st.integers(0, 1000))
def test_a_wide_beam_finds_every_text_with_the_probability_of_all_its_paths(positions, count, seed):
    rows = log_probs(positions, count, seed)
    exact = all_texts(rows)
    found = dict(beam_search(rows, width=10_000))
    assert found.keys() == exact.keys()
    assert [found[text] for text in exact] == pytest.approx(list(exact.values()), abs=1e-3)
    values = [value for _, value in beam_search(rows, width=10_000)]
    assert values == sorted(values, reverse=True)


def test_a_text_of_the_beam_has_torchs_probability():
    rows = log_probs(9, 4, 1)
    for text, value in beam_search(rows, width=50)[:5]:
        loss = F.ctc_loss(torch.tensor(rows)[:, None], torch.tensor([text]), [9], [len(text)], reduction="none")
        assert -loss.item() == pytest.approx(value, abs=0.05)  # a narrow beam misses some paths
        assert value <= -loss.item() + 1e-9


def test_texts_and_symbols_go_both_ways():
    assert recogniser.spelled(symbols(ALPHABET).tolist()) == ALPHABET
    assert symbols("a ä").tolist() == [2, 1, 28]
    for wrong in ("Red", "", "a1"):
        with pytest.raises(ValueError, match="other letters"):
            symbols(wrong)


@pytest.fixture(scope="module")
def batch():
    torch.manual_seed(0)
    mask = torch.arange(61) < torch.tensor([61, 40, 33])[:, None]
    return torch.randn(3, 61, BANDS).clamp(-3, 0), mask


def test_both_ways_is_a_gru_over_packed_sequences(batch):
    torch.manual_seed(1)
    (mel, mask), gru = batch, nn.GRU(BANDS, 7, batch_first=True, bidirectional=True)
    packed = nn.utils.rnn.pack_padded_sequence(mel, mask.sum(dim=1), batch_first=True, enforce_sorted=False)
    theirs, _ = nn.utils.rnn.pad_packed_sequence(gru(packed)[0], batch_first=True)
    theirs.square().sum().backward()
    wanted = {name: weight.grad.clone() for name, weight in gru.named_parameters()}
    gru.zero_grad()
    ours = recogniser.both_ways(gru, mel, mask)
    ours.square().sum().backward()
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    for name, weight in gru.named_parameters():
        torch.testing.assert_close(weight.grad, wanted[name], rtol=1e-3, atol=1e-3)


def test_an_utterance_has_the_same_letters_alone_and_in_a_batch(batch):
    torch.manual_seed(0)
    model, (mel, mask) = Recogniser(16).eval(), batch
    with torch.no_grad():
        together, real = model(mel, mask)
        assert together.shape == (3, 31, len(ALPHABET) + 1) and real.sum(dim=1).tolist() == [31, 20, 17]
        for row, frames in enumerate((61, 40, 33)):
            alone, _ = model(mel[[row], :frames], mask[[row], :frames])
            torch.testing.assert_close(together[row, : alone.shape[1]], alone[0], rtol=1e-4, atol=1e-5)


def test_the_loss_is_the_mean_of_the_utterances_per_letter(batch):
    torch.manual_seed(0)
    model, (mel, mask) = Recogniser(16).eval(), batch
    texts = [symbols("red door"), symbols("key"), symbols("ball")]
    with torch.no_grad():
        rows, real = model(mel, mask)
        one_by_one = [
            F.ctc_loss(row[some][:, None], text[None], [int(some.sum())], [len(text)], reduction="none").item()
            / len(text)
            for row, some, text in zip(rows, real, texts, strict=True)
        ]
        assert ctc_loss(rows, real, texts).item() == pytest.approx(np.mean(one_by_one), rel=1e-4)


@pytest.fixture(scope="module")
def shipped():
    return load_frozen(Recogniser(), recogniser.ENGLISH)


@pytest.fixture(scope="module")
def spoken():
    texts = ["what colour is the star", "how many red things are there", "is there a blue circle"]
    return texts, commands.speak(texts, HELD_OUT_VOICES["new speakers"], 3)


def test_the_shipped_recogniser_understands_new_speakers(shipped):
    texts = commands.english(20, 9)
    waves = commands.speak(texts, HELD_OUT_VOICES["new speakers"], 3)
    assert jiwer.wer(texts, recognise(shipped, waves)) < 0.1


def test_words_are_cut_at_spaces(shipped, spoken):
    texts, waves = spoken
    said, vectors = recognise(shipped, waves), recogniser.word_vectors(shipped, waves)
    assert [len(one) for one in vectors] == [len(text.split()) for text in said]
    assert all(one.shape[1] == 192 and torch.isfinite(one).all() for one in vectors)
    alone = recogniser.word_vectors(shipped, waves[:1])[0]
    torch.testing.assert_close(alone, vectors[0], rtol=1e-3, atol=1e-4)
    silence = recogniser.word_vectors(shipped, [np.zeros(8000, np.float32)])
    assert len(silence) == 1 and silence[0].shape[1] == 192
