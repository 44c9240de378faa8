"""Spectral subtraction, as lesson 03 defines it."""

from __future__ import annotations

import numpy as np
from lesson_code import lesson_code

from course_utils.datasets import speech

NAMES, VOICES = ("dog", "banana", "rocket", "snake"), ("en-gb+f2", "en-us+m3")
lesson = lesson_code("03", "subtract_noise")


def test_subtraction_brings_the_word_nearer_and_leaves_a_quiet_one_alone():
    for wave in (spoken.samples for spoken in speech.say_all(NAMES, VOICES, np.random.default_rng(0))):
        rough = 0.3 * wave.std() * np.random.default_rng(0).standard_normal(len(wave) + 6000).astype(np.float32)
        noisy = wave + rough[: len(wave)]
        cleaned = lesson.subtract_noise(noisy, rough[len(wave) :])
        assert cleaned.shape == wave.shape and cleaned.dtype == np.float32
        assert np.mean((cleaned - wave) ** 2) < 0.6 * np.mean((noisy - wave) ** 2)
        untouched = lesson.subtract_noise(wave, np.zeros(6000, np.float32))
        np.testing.assert_allclose(untouched, wave, atol=1e-4)
