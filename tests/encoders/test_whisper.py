from __future__ import annotations

import struct

import jiwer
import numpy as np
import pytest
import torch

from course_utils.cache import AssetError
from course_utils.datasets import commands
from course_utils.encoders.whisper import SAMPLE_RATE, Whisper, read_ctranslate2, words_only


def name(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def written(arrays: dict[str, np.ndarray], aliases: dict[str, str]) -> bytes:
    """A file as CTranslate2 lays it out."""
    kinds = {np.dtype(np.float32): 0, np.dtype(np.int8): 1, np.dtype(np.float16): 4}
    data = struct.pack("<I", 6) + name("WhisperSpec") + struct.pack("<II", 3, len(arrays))
    for key, value in arrays.items():
        data += name(key) + struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)
        data += struct.pack("<BI", kinds[value.dtype], value.nbytes) + value.tobytes()
    return data + struct.pack("<I", len(aliases)) + b"".join(name(a) + name(b) for a, b in aliases.items())


def test_arrays_are_read_as_they_were_written(tmp_path):
    arrays = {"a/weight": np.arange(6, dtype=np.float16).reshape(2, 3), "scale": np.array(2.5, np.float32),
              "b": np.array([1, -2], np.int8)}  # fmt: skip
    file = tmp_path / "model.bin"
    file.write_bytes(written(arrays, {"head": "a/weight"}))
    found = read_ctranslate2(file)
    assert found.keys() == {*arrays, "head"}
    for key, value in arrays.items():
        assert found[key].dtype == value.dtype and np.array_equal(found[key], value)
    assert found["head"] is found["a/weight"]


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: data + b"x", lambda _: b"GGUF", lambda _: b""])
def test_a_damaged_file_is_named(tmp_path, damage):
    file = tmp_path / "model.bin"
    file.write_bytes(damage(written({"a": np.ones(3, np.float32)}, {"b": "a"})))
    with pytest.raises(AssetError, match="model.bin"):
        read_ctranslate2(file)


def test_texts_are_compared_without_case_and_punctuation():
    assert words_only(" Mr. Dashwood, ill-disposed? ") == "mister dashwood ill disposed"
    assert words_only("Grüne Tür!") == "grüne tür"


@pytest.fixture(scope="module")
def whisper():
    return Whisper()


@pytest.fixture(scope="module")
def clips():
    waves, texts = commands.librivox()
    return [commands.resampled(one, commands.SAMPLE_RATE, SAMPLE_RATE) for one in waves], texts


def test_it_understands_human_speech(whisper, clips):
    waves, texts = clips
    assert jiwer.wer(texts, [words_only(whisper.transcribe(one)) for one in waves]) < 0.1


def test_its_states_are_those_of_transformers_own_encoder(whisper, clips):
    mel = whisper.features(clips[0][1], sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
    with torch.no_grad():
        torch.testing.assert_close(whisper._encode(mel), whisper.model.model.encoder(mel).last_hidden_state)


def test_a_transcript_ends_at_the_limit(whisper, clips):
    wave = clips[0][4]
    said = whisper.transcribe(wave, seconds=len(wave) / SAMPLE_RATE, longest=40)
    assert len(whisper.tokenizer(said, add_special_tokens=False)["input_ids"]) <= 41
