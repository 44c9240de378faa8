"""Spectrograms and the speech encoder, against transformers, slow loops and each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from transformers import audio_utils

from course_utils.datasets import emoji
from course_utils.datasets import speech as synthesis
from course_utils.encoders import SpeechEncoder, speech


@pytest.fixture(scope="module")
def waves() -> list[np.ndarray]:
    names, voices = ("dog", "banana", "rocket", "snake"), ["en-gb+f2", "en-us+m3"]
    return [wave.samples for wave in synthesis.say_all(names, voices, np.random.default_rng(0))]


# --- spectrograms -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bins, bands, rate", [(257, 40, 22_050), (513, 80, 22_050), (257, 23, 16_000)])
def test_mel_filters_equal_those_of_transformers(bins, bands, rate):
    theirs = audio_utils.mel_filter_bank(bins, bands, 0.0, speech.TOP_HERTZ, rate, norm=None, mel_scale="htk")
    np.testing.assert_allclose(speech.mel_filters(bins, bands, rate), theirs, rtol=1e-5, atol=1e-6)


def test_log_mel_equals_a_slow_loop_and_transformers(waves):
    samples, window = waves[2].astype(float), 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512)
    padded = np.pad(samples, 256)
    rows = [np.abs(np.fft.rfft(padded[s : s + 512] * window)) ** 2 for s in range(0, len(padded) - 511, 256)]
    decibels = 10 * np.log10(np.maximum(np.array(rows) @ speech.mel_filters().numpy(), 1e-10))
    slow = np.maximum(decibels - decibels.max(), -60) / 20
    ours = speech.log_mel(torch.from_numpy(waves[2])).numpy()
    np.testing.assert_allclose(ours, slow, atol=2e-3)
    theirs = audio_utils.spectrogram(
        waves[2], window, 512, 256, pad_mode="constant", power=2.0, mel_filters=speech.mel_filters().numpy(),
        log_mel="dB",
    ).T  # fmt: skip
    np.testing.assert_allclose(ours, np.maximum(theirs - theirs.max(), -60) / 20, atol=2e-3)
    assert ours.max() == 0 and ours.min() >= -3


def test_loudness_does_not_matter_and_batches_are_rows(waves):
    one = torch.from_numpy(waves[0])
    torch.testing.assert_close(speech.log_mel(one / 7), speech.log_mel(one), rtol=0, atol=1e-3)
    both = speech.log_mel(torch.stack([one, one.flip(0)]))
    torch.testing.assert_close(both[1], speech.log_mel(one.flip(0)), rtol=0, atol=1e-4)


def test_a_tone_lights_up_its_band():
    seconds = torch.arange(8000) / speech.SAMPLE_RATE
    for hertz in (300.0, 1000.0, 4000.0):
        loudest = speech.log_mel(torch.sin(2 * torch.pi * hertz * seconds))[10].argmax()
        centre = speech.mel_filters()[:, loudest].argmax() * speech.SAMPLE_RATE / 512
        assert abs(centre - hertz) < 0.08 * hertz


def test_padding_is_masked_and_silent(waves):
    mel, mask = speech.spectrograms(waves)
    assert mel.shape == (*mask.shape, speech.BANDS)
    for row, wave in enumerate(waves):
        alone = speech.log_mel(torch.from_numpy(wave))
        assert mask[row].sum() == len(alone) == 1 + len(wave) // speech.HOP and mask[row, : len(alone)].all()
        torch.testing.assert_close(mel[row, : len(alone)], alone)
        assert (mel[row, len(alone) :] == -3).all()


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 5000), st.integers(-9, 3), st.integers(0, 99))
def test_a_spectrogram_is_between_the_floor_and_the_loudest(samples, power, seed):
    wave = 10.0**power * torch.randn(samples, generator=torch.Generator().manual_seed(seed))
    mel = speech.log_mel(wave)
    assert mel.shape == (1 + samples // speech.HOP, speech.BANDS) and mel.min() >= -3 and mel.max() <= 0
    quieter = speech.log_mel(wave / 10)
    assert (quieter <= mel + 1e-3).all()  # turning it down makes nothing louder
    if mel.max() == 0 and quieter.max() == 0:
        torch.testing.assert_close(quieter, mel, rtol=0, atol=2e-3)


def test_silence_is_at_the_floor_throughout():
    for samples in (0, 1, 255, 256, 4000):
        assert (speech.log_mel(torch.zeros(samples)) == -3).all()
    assert speech.log_mel(torch.full((4000,), 1e-7)).max() < -2  # nor is what nobody hears
    mel, mask = speech.spectrograms([np.zeros(3000, np.float32), np.ones(700, np.float32)])
    assert (mel[0] == -3).all() and mask.sum(dim=1).tolist() == [12, 3]


def test_silence_in_a_batch_does_not_borrow_loudness(waves):
    both = torch.stack([torch.from_numpy(waves[0]), torch.zeros(len(waves[0]))])
    mel = speech.log_mel(both)
    assert mel[0].max() == 0 and (mel[1] == -3).all()


@pytest.mark.parametrize(
    "wave", [np.zeros(600, np.int16), np.zeros((600, 2), np.float32), np.array([0.1, np.nan], np.float32)]
)
def test_what_is_no_wave_is_refused(wave):
    with pytest.raises(ValueError, match=rf"one is \({len(wave)},.*\) {wave.dtype}"):
        speech.spectrograms([np.zeros(600, np.float32), wave])


# --- the encoder ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
def test_what_is_padding_is_not_heard(waves, training):
    torch.manual_seed(0)
    mel, mask = speech.spectrograms(waves)
    encoder = SpeechEncoder(dim=24).train(training)
    for norm in encoder.norms:  # batch statistics see the padding; leave them out
        norm.eval()
    encoded = encoder(mel, mask)
    assert encoded.pooled.shape == (len(waves), 24) and encoded.mask.shape == encoded.unpooled.shape[:2]
    garbage = torch.where(mask[..., None], mel, torch.randn_like(mel))
    torch.testing.assert_close(encoder(garbage, mask).pooled, encoded.pooled)
    for row in range(len(waves)):
        length = int(mask[row].sum())
        alone = encoder(mel[row : row + 1, :length], mask[row : row + 1, :length])
        torch.testing.assert_close(alone.pooled[0], encoded.pooled[row], rtol=1e-4, atol=1e-5)
        positions = alone.unpooled.shape[1]
        assert encoded.mask[row].sum() == positions
        torch.testing.assert_close(alone.unpooled[0], encoded.unpooled[row, :positions], rtol=1e-4, atol=1e-5)


def test_the_pooled_vector_is_the_mean_over_real_positions_and_order_matters(waves):
    torch.manual_seed(0)
    mel, mask = speech.spectrograms(waves)
    encoder = SpeechEncoder(dim=24).eval()
    pooled, unpooled, positions = encoder(mel, mask)
    means = [row[real].mean(dim=0) for row, real in zip(unpooled, positions, strict=True)]
    torch.testing.assert_close(pooled, torch.stack(means))
    length = int(mask[0].sum())
    backwards = encoder(mel[:1, :length].flip(1), mask[:1, :length]).pooled
    assert not torch.allclose(backwards, pooled[:1], atol=1e-3)


def test_training_learns_words_for_another_voice_and_repeats_exactly():
    names = [one.names["en"] for one in emoji.sixty()[::10]]
    rng = np.random.default_rng(1)
    train, test = (
        speech.spectrograms([wave.samples for wave in synthesis.say_all(names, voices, rng)])
        for voices in (synthesis.TRAINING_VOICES[:12], synthesis.HELD_OUT_VOICES["new speakers"][:4])
    )
    runs = []
    for _ in range(2):
        torch.manual_seed(0)
        model = speech.NameRecogniser(len(names), dim=32)
        losses = speech.train_recogniser(model, *train, torch.arange(6).repeat(12), epochs=12, seed=5)
        runs.append((losses, model(*test)))
    assert runs[0][0] == runs[1][0] and len(runs[0][0]) == 12 * 3 and not model.training
    targets = torch.arange(6).repeat(4)
    assert (runs[0][1].argmax(dim=1) == targets).float().mean() > 0.6  # chance is 1 in 6
    assert F.cross_entropy(runs[0][1], targets) < 1.2
