from __future__ import annotations

import io
import re
import wave

import numpy as np
import pytest

from course_utils.datasets import commands
from course_utils.datasets.speech import TRAINING_VOICES, Waveform

THING = r"the (red|green|blue|yellow|grey) (ball|key|box|door)"
ENGLISH = re.compile(
    rf"(go to|pick up|open) {THING}|put {THING} next to {THING}|(pick up|go to) {THING} then (open|go to) {THING}"
)


def test_english_commands_are_of_the_five_kinds_and_the_same_for_a_seed():
    texts = commands.english(300, 1)
    assert all(ENGLISH.fullmatch(text) for text in texts)
    assert texts == commands.english(300, 1) != commands.english(300, 2)
    assert {text.split()[0] for text in texts} == {"go", "pick", "open", "put"}
    assert not set(texts) & set(commands.english(50, 2, without=set(texts)))


def things(text: str, german: bool) -> list[tuple[str, str]]:
    """The things of a sentence, in English and sorted, with articles and endings that must be right."""
    if not german:
        return sorted(re.findall(THING, text))
    nouns = {noun: (thing, gender) for thing, (noun, gender) in commands.THINGS.items()}
    colours = {adjective: colour for colour, adjective in commands.COLOURS.items()}
    found = []
    for article, adjective, noun in re.findall(r"\b(den|die|zum|zur) (\w+) (\w+)", text):
        thing, gender = nouns[noun]
        assert gender == {"den": "m", "zum": "m", "die": "f", "zur": "f"}[article]
        ending = "e" if article == "die" else "en"
        assert adjective.endswith(ending)
        found.append((colours[adjective.removesuffix(ending)], thing))
    return sorted(found)


def test_pairs_say_the_same_in_both_languages():
    pairs = commands.german(400, 1)
    for pair in pairs:
        assert things(pair.german, True) == things(pair.english, False), pair
    assert {pair.german.split()[0] for pair in pairs} == {"du", "bevor", "nachdem"}
    assert not set(pairs) & set(commands.german(50, 2, without=set(pairs)))
    assert commands.Pair("bevor du zur blauen tür gehst öffne den roten ball",
                         "open the red ball before you go to the blue door") in commands.german(3000, 3)  # fmt: skip


def test_each_text_gets_one_voice_rate_and_pitch(monkeypatch):
    calls = []
    monkeypatch.setattr(commands, "say", lambda *call: calls.append(call) or Waveform(np.ones(3), 22_050))
    commands.speak(["one", "two", "three"], TRAINING_VOICES, 1)
    again = calls.copy()
    commands.speak(["one", "two", "three"], TRAINING_VOICES, 1)
    assert calls[3:] == again and [call[0] for call in again] == ["one", "two", "three"]
    assert all(call[1] in TRAINING_VOICES and 130 <= call[2] < 220 and 30 <= call[3] < 70 for call in again)


def test_resampling_keeps_a_tone():
    moments = np.arange(22_050) / 22_050
    slower = commands.resampled(np.sin(2 * np.pi * 440 * moments), 22_050, 16_000)
    np.testing.assert_allclose(slower, np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000), atol=1e-4)


def test_the_clips_are_read_with_their_words():
    waves, texts = commands.librivox()
    assert len(waves) == len(texts) == 5 and sum(len(text.split()) for text in texts) == 71
    assert texts[0].startswith("and mister john dashwood")
    assert all(2 < len(one) / commands.SAMPLE_RATE < 8 and one.std() > 0.01 for one in waves)


def sound(channels: int = 1, width: int = 2, rate: int = 44_100, value: int = 8192) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels), file.setsampwidth(width), file.setframerate(rate)
        file.writeframes(value.to_bytes(width, "little", signed=width > 1) * channels * rate)
    return buffer.getvalue()


def test_a_wave_file_becomes_one_channel_at_the_courses_rate(tmp_path):
    (tmp_path / "a.wav").write_bytes(sound(channels=2))
    samples = commands.read_wave(tmp_path / "a.wav")
    assert samples.dtype == np.float32 and samples.shape == (commands.SAMPLE_RATE,)
    np.testing.assert_allclose(samples, 0.25, atol=1e-3)


@pytest.mark.parametrize("data", [b"", b"RIFF....", sound(width=1, value=3), sound(value=0)])
def test_what_is_no_wave_file_of_16_bits_is_refused(data):
    with pytest.raises(ValueError, match="WAV file"):
        commands.read_wave(io.BytesIO(data))
