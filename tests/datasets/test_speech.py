"""Synthesis, spectrograms, noise and the encoder, against transformers, slow loops and each other."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_utils import assets
from course_utils.datasets import speech
from course_utils.encoders import speech as encoders

NAMES = ("dog", "banana", "rocket", "snake")


@pytest.fixture(scope="module")
def waves() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [wave.samples for wave in speech.say_all(NAMES, ["en-gb+f2", "en-us+m3"], rng)]


def noise(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(length).astype(np.float32)


def pitch_of(wave: speech.Waveform) -> float:
    """The fundamental frequency of a deep voice in hertz: the lag at which its sound below 230 Hz is most like itself.

    Above, a vowel's strong harmonics would pass for the fundamental, now and then: the synthesiser's noise varies.
    """
    power = np.abs(np.fft.rfft(wave.samples, 2 * len(wave.samples))) ** 2
    power[round(230 / wave.sample_rate * 2 * len(wave.samples)) :] = 0
    likeness = np.fft.irfft(power)[: len(wave.samples)]
    lags = np.arange(wave.sample_rate // 230, wave.sample_rate // 60)
    return wave.sample_rate / lags[likeness[lags].argmax()]


# --- synthesis --------------------------------------------------------------------------------------------------


def test_a_waveform_is_float32_mono_in_range():
    for voice in ("en-gb", "de+f2", "cmn+m1", "en-gb-scotland+Andy"):
        wave = speech.say("3 2 1", voice)
        assert wave.samples.dtype == np.float32 and wave.samples.ndim == 1 and wave.sample_rate == 22_050
        assert 0.05 < np.abs(wave.samples).max() <= 1
        assert 0.3 < wave.seconds < 4 and wave.seconds == len(wave.samples) / 22_050


def test_faster_is_shorter_and_higher_is_higher():
    lengths = [speech.say("a rocket and a banana", rate=rate).seconds for rate in (80, 175, 300, 450)]
    assert lengths == sorted(lengths, reverse=True) and lengths[0] > 2.5 * lengths[-1]
    low, middle, high = (pitch_of(speech.say("nananana mamama", "en-gb+m3", pitch=pitch)) for pitch in (0, 50, 99))
    assert low < middle < high and high > 1.3 * low


def test_voices_sound_different_and_a_voice_sounds_like_itself():
    def spectrum(voice):
        return encoders.log_mel(torch.from_numpy(speech.say("banana", voice).samples)).mean(dim=0)

    same = (spectrum("en-gb+f2") - spectrum("EN-GB+F2")).norm()
    assert all((spectrum("en-gb+f2") - spectrum(voice)).norm() > 3 * same for voice in ("en-gb+m3", "fr+f2"))


@pytest.mark.parametrize("voice, named", [("en-mars", "en-us"), ("xx", "en-gb"), ("", "de"), ("en-gb+darth", "f1"),
                                          ("en-gb+", "f1"), ("en-gb+f1+f2", "m1")])  # fmt: skip
def test_an_unknown_voice_is_named_beside_some_that_exist(voice, named):
    with pytest.raises(ValueError) as caught:
        speech.say("rocket", voice)
    assert repr(voice) in str(caught.value) and named in str(caught.value)


@pytest.mark.parametrize("text", ["", "  \n\t ", "\x00\x07"])
def test_empty_text_is_refused(text):
    with pytest.raises(ValueError, match="no text to say"):
        speech.say(text)


@pytest.mark.parametrize("wrong", [{"rate": 79}, {"rate": 451}, {"pitch": -1}, {"pitch": 100}])
def test_impossible_rates_and_pitches_are_refused(wrong):
    (name, value), *_ = wrong.items()
    with pytest.raises(ValueError, match=f"The {name} is {value}; it must be from"):
        speech.say("rocket", **wrong)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=30))
def test_any_text_gives_sound_or_a_clear_error(text):
    try:
        wave = speech.say(text)
    except ValueError as error:
        assert str(error).startswith(("There is no text to say", "The voice 'en-gb' has nothing to pronounce"))
    else:
        assert np.isfinite(wave.samples).all() and wave.samples.any()


def test_a_character_that_ends_a_c_string_does_not_end_the_text():
    assert speech.say("rocket\x00banana").seconds > 1.5 * speech.say("rocket").seconds


def test_every_listed_language_and_speaker_can_be_chosen(capfd):
    mute = []
    for language in speech.languages():
        try:
            speech.say("a e i o u", language)
        except ValueError:
            mute.append(language)
    assert len(speech.languages()) > 100 and len(mute) <= 5, mute  # a few read their own script alone
    for speaker in speech.speakers():
        assert speech.say("rocket", f"en-gb+{speaker}").seconds > 0.2
    assert capfd.readouterr().err == ""


def test_threads_take_turns(waves):
    expected = {name: speech.say(name, rate=200).seconds for name in NAMES}
    found: dict[str, list[float]] = {name: [] for name in NAMES}

    def speak(name: str) -> None:
        found[name] += [speech.say(name, rate=200).seconds for _ in range(15)]

    threads = [threading.Thread(target=speak, args=(name,)) for name in NAMES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, seconds in found.items():  # breath and flutter make a length vary by a few thousandths
        assert len(seconds) == 15 and np.allclose(seconds, expected[name], atol=0.02)


def test_a_path_that_the_library_cannot_hold_is_refused(tmp_path):
    with pytest.raises(assets.AssetError, match="more than 140 bytes.*COURSE_CACHE"):
        speech._Synthesiser(tmp_path / ("long" * 40), tmp_path / "library.so")


def test_a_library_that_is_not_the_pinned_one_is_not_loaded(tmp_path, monkeypatch):
    library = next((assets.path("espeak") / "espeakng_loader").glob("*espeak-ng.*"))
    changed = tmp_path / "espeak" / "loader" / library.name
    changed.parent.mkdir(parents=True)
    changed.write_bytes(library.read_bytes() + b"more")
    monkeypatch.setattr(speech.ctypes, "CDLL", None)
    with pytest.raises(assets.AssetError, match=r"not the pinned library\. Delete .*espeak, then start again"):
        speech._Synthesiser(tmp_path, changed)


def test_say_all_goes_through_voices_then_texts():
    said = speech.say_all(["dog", "helicopter"], ["en-gb+f1", "en-us+m1"], np.random.default_rng(3))
    lengths = [len(wave.samples) for wave in said]
    assert len(said) == 4 and lengths[1] > lengths[0] and lengths[3] > lengths[2]
    again = speech.say_all(["dog", "helicopter"], ["en-gb+f1", "en-us+m1"], np.random.default_rng(3))
    assert np.allclose([wave.seconds for wave in said], [wave.seconds for wave in again], atol=0.02)


def test_held_out_voices_share_no_speaker_with_training():
    def parts(voices):
        return [set(part) for part in zip(*(voice.split("+") for voice in voices), strict=True)]

    accents, speakers = parts(speech.TRAINING_VOICES)
    (known_accents, new_speakers), (new_accents, others) = map(parts, speech.HELD_OUT_VOICES.values())
    assert len(set(speech.TRAINING_VOICES)) == len(speakers) == 24
    assert not speakers & (new_speakers | others)
    assert known_accents <= accents and not new_accents & accents
    for voice in {*speech.TRAINING_VOICES, *sum(speech.HELD_OUT_VOICES.values(), ())}:
        speech.say("dog", voice)


# --- noise ------------------------------------------------------------------------------------------------------


@given(st.floats(-20, 40), st.floats(0.001, 10), st.floats(0.001, 100))
@settings(max_examples=50, deadline=None)
def test_noise_has_the_ratio_that_was_asked_for(snr, loudness, of_noise):
    clean, rough = loudness * np.sin(np.arange(2000, dtype=np.float32) / 7), of_noise * noise(2500)
    noisy = speech.add_noise(clean, rough, snr).astype(float)
    scale, amount = np.linalg.lstsq(np.stack([clean, rough[:2000]], axis=1).astype(float), noisy, rcond=None)[0]
    measured = 10 * np.log10(np.mean((scale * clean) ** 2) / np.mean((amount * rough[:2000]) ** 2))
    assert np.abs(noisy).max() <= 1 + 1e-6 and measured == pytest.approx(snr, abs=0.01)


def test_noise_that_does_not_fit_is_refused(waves):
    with pytest.raises(ValueError, match="10 samples of noise are too few"):
        speech.add_noise(waves[0], noise(10), 10)
    for clean, rough in ((waves[0], np.zeros_like(waves[0])), (np.zeros(50, np.float32), noise(50))):
        with pytest.raises(ValueError, match="Silence has no signal-to-noise ratio"):
            speech.add_noise(clean, rough, 10)
