"""Spoken commands to a robot, in English and in German with their translations, and human speech to compare with.

All commands are spoken by eSpeak NG's formant synthesis, no person; the clips of :func:`librivox` are read by a person.

    one = english(1500, seed=1)[0]           # "put the red ball next to the grey box"
    pair = german(1500, seed=1)[0]           # pair.german "du sollst den roten ball neben die graue kiste legen"
"""

from __future__ import annotations

import wave
from collections.abc import Container, Sequence
from typing import NamedTuple

import numpy as np

from course_utils import assets
from course_utils.datasets.speech import HELD_OUT_VOICES, TRAINING_VOICES, say

SAMPLE_RATE = 22_050  # of everything here, as the synthesiser gives it
COLOURS = {"red": "rot", "green": "grün", "blue": "blau", "yellow": "gelb", "grey": "grau"}
THINGS = {"ball": ("ball", "m"), "key": ("schlüssel", "m"), "box": ("kiste", "f"), "door": ("tür", "f")}
GERMAN_TRAINING_VOICES, GERMAN_HELD_OUT_VOICES = (
    tuple(f"de+{voice.split('+')[1]}" for voice in some) for some in (TRAINING_VOICES, HELD_OUT_VOICES["new speakers"])
)


class Pair(NamedTuple):
    """A German sentence, lower case, and its English translation."""

    german: str
    english: str


def _thing(rng: np.random.Generator) -> tuple[str, str, str]:
    """A thing in English, in German in the accusative, and as a goal: "the red ball", "den roten ball", "zum …"."""
    colour, adjective = list(COLOURS.items())[rng.integers(len(COLOURS))]
    thing, (noun, gender) = list(THINGS.items())[rng.integers(len(THINGS))]
    article, goal, ending = ("den", "zum", "en") if gender == "m" else ("die", "zur", "e")
    return f"the {colour} {thing}", f"{article} {adjective}{ending} {noun}", f"{goal} {adjective}en {noun}"


def english(count: int, seed: int, without: Container[str] = ()) -> list[str]:
    """Commands of five kinds; only those ``without`` a given set, which leaves those that name two things."""
    rng, found = np.random.default_rng(seed), []
    while len(found) < count:
        one, other = _thing(rng)[0], _thing(rng)[0]
        first, second = ["pick up", "go to"][rng.integers(2)], ["open", "go to"][rng.integers(2)]
        kinds = (f"go to {one}", f"pick up {one}", f"open {one}", f"put {one} next to {other}",
                 f"{first} {one} then {second} {other}")  # fmt: skip
        text = kinds[rng.integers(5)]
        if text not in without:
            found.append(text)
    return found


def german(count: int, seed: int, without: Container[Pair] = ()) -> list[Pair]:
    """Commands in German, of five kinds, each with the verb or a thing in another place than in English."""
    rng, found = np.random.default_rng(seed), []
    while len(found) < count:
        (one, it, to_it), (other, that, to_that) = _thing(rng), _thing(rng)
        kinds = (
            Pair(f"du sollst {it} aufheben", f"you should pick up {one}"),
            Pair(f"du sollst {it} neben {that} legen", f"you should put {one} next to {other}"),
            Pair(f"du sollst {to_it} gehen", f"you should go to {one}"),
            Pair(f"bevor du {to_that} gehst öffne {it}", f"open {one} before you go to {other}"),
            Pair(f"nachdem du {that} öffnest hebe {it} auf", f"pick up {one} after you open {other}"),
        )
        pair = kinds[rng.integers(5)]
        if pair not in without:
            found.append(pair)
    return found


def speak(texts: Sequence[str], voices: Sequence[str], seed: int) -> list[np.ndarray]:
    """Each text in one of the voices, with a rate and a pitch, all drawn: (samples,) each."""
    rng = np.random.default_rng(seed)
    choices = [(voices[rng.integers(len(voices))], *rng.integers((130, 30), (220, 70))) for _ in texts]
    return [say(text, *choice).samples for text, choice in zip(texts, choices, strict=True)]


def resampled(samples: np.ndarray, sample_rate: int, wanted: int = SAMPLE_RATE) -> np.ndarray:
    """Samples at another rate, by keeping or padding the spectrum: (samples,) float32."""
    length = round(len(samples) * wanted / sample_rate)
    return (np.fft.irfft(np.fft.rfft(samples), length) * length / len(samples)).astype(np.float32)


def read_wave(file) -> np.ndarray:
    """Samples of a WAV file of 16 bits (a path or an open file), as one channel at ``SAMPLE_RATE``, (samples,) float32.

    Raises:
        ValueError: If it is no such file, or holds no sound.
    """
    try:
        with wave.open(file if hasattr(file, "read") else str(file)) as opened:
            channels, width, rate, frames = opened.getparams()[:4]
            data = opened.readframes(frames)
    except (wave.Error, EOFError) as error:
        raise ValueError(f"This is not a WAV file of 16 bits ({error}). Convert it to one.") from error
    if width != 2 or rate < 1:
        raise ValueError(f"This WAV file has {8 * width} bits per sample, {rate} a second. Convert it to 16 bits.")
    whole = len(data) // (2 * channels) * 2 * channels  # a recording may end in the middle of a sample
    samples = np.frombuffer(data[:whole], "<i2").reshape(-1, channels)
    if not samples.any():
        raise ValueError("This WAV file holds no sound.")
    return resampled(samples.mean(axis=1) / 32768, rate)


def librivox() -> tuple[list[np.ndarray], list[str]]:
    """Five clips of a LibriVox reading of *Sense and Sensibility*, (samples,) each, and their texts, or AssetError."""
    folder = assets.path("librivox") / "test" / "data" / "librivox"
    files = sorted(folder.glob("*0.txt"))
    texts = [" ".join(file.read_text(encoding="utf-8").split()) for file in files]
    return [read_wave(file.with_suffix(".wav")) for file in files], texts
