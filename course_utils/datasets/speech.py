"""Speech synthesis in over a hundred languages and accents, with many speakers, rates and pitches.

eSpeak NG (https://github.com/espeak-ng/espeak-ng, GPL 3) is a formant synthesiser: small, fast and clearly not human.
It runs inside this process, through ctypes; nothing is written to disk or played.

    wave = say("rocket", voice="en-us+f3", rate=160, pitch=60)
    wave.samples, wave.sample_rate, wave.seconds
"""

from __future__ import annotations

import ctypes
import difflib
import hashlib
import re
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from course_utils import assets
from course_utils.cache import AssetError

# For word recognition across voices: no speaker is on both sides, and the second held-out group has new accents too.
TRAINING_VOICES = tuple(
    f"{accent}+{speaker}"
    for accent, speakers in {
        "en-gb": "f1 m2 Annie Denis linda adam",
        "en-us": "f2 m3 Alex Diogo david benjamin",
        "en-gb-x-rp": "f4 m5 Andrea Gene steph grandma",
        "en-us-nyc": "m1 m7 Lee Jacky john paul",
    }.items()
    for speaker in speakers.split()
)
HELD_OUT_VOICES = {
    "new speakers": tuple("en-gb+f3 en-gb+m4 en-gb+max en-us+f5 en-us+m6 en-us+edward en-gb-x-rp+Andy "
                          "en-us-nyc+belinda".split()),
    "new speakers and accents": tuple("en-gb-scotland+f3 en-gb-scotland+m4 en-gb-scotland+max en-029+m6 en-029+belinda "
                                      "en-gb-x-gbclan+f5 en-gb-x-gbclan+edward en-gb-x-gbcwmd+Andy".split()),
}  # fmt: skip

RATES = (80, 450)  # words per minute; beyond 450 the library would time-compress its output
PITCHES = (0, 99)

_SYNCHRONOUS, _DO_NOT_EXIT = 2, 0x8000  # pass samples to a callback before returning; do not exit on an error
_UTF8, _RATE, _PITCH = 1, 1, 3
_LONGEST_PATH = 140  # bytes: the library has buffers of 160 for this path plus file names
_LIBRARIES = (  # SHA-256 for Linux, macOS and Windows, each on x86-64 and on ARM
    "b15ce0803b26254e8a0d088c6b9281a2637b2b02613147cc320cfdefaf2c3ccf",
    "fe3022609ec80d5f740e046ceb8a0039225fd3de177d99f918858059095b8729",
    "d6a7203a3d84c384c5932c468a4d2645b2e7c42613af4e25a621336ab4c1f02a",
    "bb635eee1ee9c456f4a5cf06fb6cb352ecdd4d61e1951743b423ef22bb57f470",
    "646d387acbc7ac2aa45e3625aa00a6835ae5d446ff8b0748298c3900b4dde258",
    "ebb4694f93506e5019197d7bf0e0f9225c4fcad90a0661870a55112de02e8ae3",
)
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
_lock = threading.RLock()  # the library has one state for the whole process


class Waveform(NamedTuple):
    """A mono recording.

    Attributes:
        samples: (samples,) float32 in [-1, 1].
        sample_rate: Samples per second.
    """

    samples: np.ndarray
    sample_rate: int

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return len(self.samples) / self.sample_rate


def say(text: str, voice: str = "en-gb", rate: int = 175, pitch: int = 50) -> Waveform:
    """Synthesise a text.

    Breath noise and flutter are random and continue across calls, so no two utterances are equal; the same calls in the
    same order in a fresh process give the same samples.

    Args:
        text: In the script of the voice's language. White space and control characters separate words.
        voice: One of :func:`languages`, optionally with a plus and one of :func:`speakers`: "fr", "en-us+f3". Case does
            not matter.
        rate: Words per minute, 80 to 450.
        pitch: 0 (low) to 99 (high); 50 is the speaker's own.

    Returns:
        The waveform at 22,050 samples per second.

    Raises:
        ValueError: If the text is empty or unpronounceable, or the voice, rate or pitch does not exist.
        course_utils.assets.AssetError: If the synthesiser is not in the cache and cannot be fetched.
    """
    text = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    if not text:
        raise ValueError("There is no text to say: it is empty or only white space.")
    for name, value, (low, high) in (("rate", rate, RATES), ("pitch", pitch, PITCHES)):
        if not low <= value <= high:
            raise ValueError(f"The {name} is {value}; it must be from {low} to {high}.")
    with _lock:
        samples = _synthesiser().speak(text, _spelled(voice), round(rate), round(pitch))
    if not samples.any():
        raise ValueError(f"The voice {voice!r} has nothing to pronounce in {text!r}. Use its language's script.")
    return Waveform(samples, _synthesiser().sample_rate)


def languages() -> tuple[str, ...]:
    """Codes of all languages and accents: "af", …, "en-gb", "en-gb-scotland", …; Mandarin is "cmn"."""
    return tuple(sorted(_files()[0]))


def speakers() -> tuple[str, ...]:
    """Names of the speakers, which combine with any language: "f1", "m3", "whisper", …"""
    return tuple(sorted(_files()[1].values()))


def say_all(texts: Sequence[str], voices: Sequence[str], rng: np.random.Generator) -> list[Waveform]:
    """Synthesise every text in every voice, all texts of the first voice first.

    Args:
        texts: Texts to say.
        voices: Voices as for :func:`say`.
        rng: Draws each rate (130 to 219 words per minute) and pitch (30 to 69).
    """
    return [
        say(text, voice, int(rng.integers(130, 220)), int(rng.integers(30, 70))) for voice in voices for text in texts
    ]


def add_noise(samples: np.ndarray, noise: np.ndarray, snr: float) -> np.ndarray:
    """Add noise to speech at a given signal-to-noise ratio.

    Args:
        samples: Speech, (samples,).
        noise: At least as long; its beginning is used, rescaled to the ratio.
        snr: Power of the speech over power of the noise, in decibels; at 0 both have the same power.

    Returns:
        (samples,) float32; if the sum leaves [-1, 1], all of it is scaled down, which keeps the ratio.

    Raises:
        ValueError: If the noise is shorter than the speech, or either is silent.
    """
    noise = noise[: len(samples)]
    if len(noise) < len(samples):
        raise ValueError(f"{len(noise)} samples of noise are too few for {len(samples)} of speech. Repeat the noise.")
    power, noise_power = (float(np.mean(np.square(part, dtype=np.float64))) for part in (samples, noise))
    if power == 0 or noise_power == 0:
        raise ValueError("Silence has no signal-to-noise ratio: neither speech nor noise may be all zeros.")
    noisy = samples + noise * np.sqrt(power / noise_power / 10 ** (snr / 10))
    return (noisy / max(1.0, np.abs(noisy).max())).astype(np.float32)


# --- voice names --------------------------------------------------------------------------------------------------


@cache
def _files() -> tuple[dict[str, str], dict[str, str]]:
    """Languages and speakers, each from lower case to the library's spelling."""
    folder = _data_folder()
    known = {}
    for file in sorted((folder / "lang").rglob("*")):
        if file.is_file():
            about = file.read_text(encoding="utf-8")
            dictionaries = [file.name.split("-")[0], *re.findall(r"^dictionary\s+(\S+)", about, flags=re.M)]
            if any((folder / f"{name}_dict").exists() for name in dictionaries):  # a few languages lack theirs
                codes = [file.name, *re.findall(r"^language\s+(\S+)", about, flags=re.M)[:1]]
                known |= {code.lower(): file.name for code in codes}
    return known, {file.name.lower(): file.name for file in (folder / "voices" / "!v").iterdir() if file.is_file()}


def _spelled(voice: str) -> str:
    """The voice in the library's spelling, or a ValueError that names similar ones."""
    parts = []
    for kind, name, known in zip(("language", "speaker"), voice.split("+", 1), _files(), strict=False):
        if name.lower() not in known:
            near = difflib.get_close_matches(name.lower(), sorted(known), n=6, cutoff=0.3)
            common = [one for one in ("en-gb", "en-us", "de", "fr", "cmn", "f1", "f2", "m1", "m2") if one in known]
            listed = f"There are {len(known)}, for instance {', '.join(dict.fromkeys(near + common))}."
            raise ValueError(f"There is no voice {voice!r}: no {kind} {name!r}. {listed}")
        parts.append(known[name.lower()])
    return "+".join(parts)


# --- the library ----------------------------------------------------------------------------------------------------


class _Synthesiser:
    """The library, loaded and initialised; call it only under the lock."""

    def __init__(self, folder: Path, library: Path) -> None:
        if len(str(folder).encode()) > _LONGEST_PATH:
            raise AssetError(
                f"eSpeak NG cannot read {folder}: the path has more than {_LONGEST_PATH} bytes. Set COURSE_CACHE to a "
                "folder with a shorter path."
            )
        if hashlib.sha256(library.read_bytes()).hexdigest() not in _LIBRARIES:
            raise AssetError(f"{library} is not the pinned library. Delete {library.parent.parent}, then start again.")
        self.library = ctypes.CDLL(str(library))
        self.sample_rate = self.library.espeak_Initialize(_SYNCHRONOUS, 0, str(folder).encode(), _DO_NOT_EXIT)
        if self.sample_rate <= 0:
            raise AssetError(f"eSpeak NG could not be initialised from {folder}. Delete the folder and fetch it again.")
        self.library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # for breath noise and flutter
        self.parts: list[np.ndarray] = []
        self.callback = _Callback(self._collect)  # the library keeps no reference to it
        self.library.espeak_SetSynthCallback(self.callback)

    def _collect(self, samples, count: int, _events) -> int:
        if samples and count > 0:
            self.parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0  # continue

    def speak(self, text: str, voice: str, rate: int, pitch: int) -> np.ndarray:
        """Samples in [-1, 1], (samples,) float32."""
        self._check(self.library.espeak_SetVoiceByName(voice.encode()), f"the voice {voice!r}")
        self._check(self.library.espeak_SetParameter(_RATE, rate, 0), f"rate {rate}")
        self._check(self.library.espeak_SetParameter(_PITCH, pitch, 0), f"pitch {pitch}")
        self.parts.clear()
        content = text.encode()
        status = self.library.espeak_Synth(content, len(content) + 1, 0, 0, 0, _UTF8, None, None)
        self._check(status, f"the text {text!r}")
        return np.concatenate([*self.parts, np.empty(0, np.int16)]).astype(np.float32) / 32768

    def _check(self, status: int, what: str) -> None:
        if status != 0:
            raise RuntimeError(f"eSpeak NG refused {what} (status {status}).")


@cache
def _synthesiser() -> _Synthesiser:
    folder = _data_folder()
    return _Synthesiser(folder, next(folder.parent.glob("*espeak-ng.*")))  # lib….so, lib….dylib or ….dll


def _data_folder() -> Path:
    return assets.path("espeak") / "espeakng_loader" / "espeak-ng-data"
