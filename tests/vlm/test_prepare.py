from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from course_utils.datasets.vqa import BadPicture
from course_utils.datasets.world import worlds
from course_utils.vlm.conversations import CAPTION_PROMPT
from course_utils.vlm.prepare import prepared_picture, prepared_question


@pytest.mark.parametrize("name", sorted(worlds()))
def test_the_worlds_pictures_and_questions_are_prepared_already(name):
    world = worlds()[name]
    data = world.load("train", 40)
    for picture, questions in zip(data.pictures, data.questions, strict=True):
        assert np.array_equal(prepared_picture(picture), picture)
        assert [prepared_question(one.text) for one in questions] == [one.text for one in questions]


def test_pictures_of_all_shapes_become_squares_with_white_borders():
    found = prepared_picture(np.zeros((50, 100, 3), dtype=np.uint8))
    assert found.shape == (128, 128, 3)
    assert (found[:10] == 255).all() and (found[60:68] == 0).all()


def test_small_pictures_stay_small():
    assert prepared_picture(np.zeros((64, 40, 3), dtype=np.uint8)).shape == (64, 64, 3)
    assert prepared_picture(np.zeros((65, 40, 3), dtype=np.uint8)).shape == (128, 128, 3)


@given(st.integers(1, 6000), st.integers(1, 6000))
def test_a_picture_of_any_proportions_is_prepared(height, width):
    if min(height, width) > 30:  # the thin ones are what goes wrong, and large ones are slow
        height = height % 30 + 1
    found = prepared_picture(np.zeros((height, width, 3), dtype=np.uint8))
    assert found.shape[0] == found.shape[1] in (64, 128) and found.min() < 250  # something of it is there


@pytest.mark.parametrize(
    ("question", "prepared"),
    [
        ("  What colour is\nthe star ", "what colour is the star?"),
        ("is it red?", "is it red?"),
        ("DNA or RNA", "DNA or RNA?"),
        ("A or B?", "a or B?"),
        ("iPhone or iPad?", "iPhone or iPad?"),
        ("Name the city.", "name the city."),
        (CAPTION_PROMPT, CAPTION_PROMPT),
    ],
)
def test_questions_are_worded_as_the_worlds_word_theirs(question, prepared):
    assert prepared_question(question) == prepared


@given(st.text())
def test_a_prepared_question_stays_as_it_is(text):
    if not text.split():
        with pytest.raises(ValueError, match="The question is empty"):
            prepared_question(text)
        return
    once = prepared_question(text)
    assert prepared_question(once) == once


def test_a_question_of_3000_words_is_refused():
    with pytest.raises(ValueError, match="has 3,000 words; ask with at most 200"):
        prepared_question("why " * 3000)


def test_bad_pictures_say_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "phone.jpg").write_bytes(b"\x00\x00\x00\x18ftypheic" + b"\x00" * 50)
    with pytest.raises(BadPicture, match=r"phone\.jpg cannot be read .*'heic'.* Convert it"):
        prepared_picture(tmp_path / "phone.jpg")
    (tmp_path / "empty.png").touch()
    with pytest.raises(BadPicture, match=r"empty\.png .*the file is empty"):
        prepared_picture(tmp_path / "empty.png")
    Image.new("L", (300, 300)).save(tmp_path / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(BadPicture, match=r"huge\.png .*Scale it down"):
        prepared_picture(tmp_path / "huge.png")
    with pytest.raises(BadPicture, match=r"none\.png"):
        prepared_picture(tmp_path / "none.png")
    with pytest.raises(BadPicture, match="cannot be read"):
        prepared_picture(tmp_path)


def encoded(kind: str) -> bytes:
    """A small picture with some detail as a file of that kind."""
    pixels = np.arange(40 * 30 * 3, dtype=np.uint8).reshape(30, 40, 3)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


FILES = {kind: encoded(kind) for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO", "TGA")}


@given(st.sampled_from(sorted(FILES)), st.data())
def test_a_damaged_file_is_read_or_refused_in_one_line(kind, data):
    content = bytearray(FILES[kind])
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    try:
        found = prepared_picture(io.BytesIO(content))
    except BadPicture as error:
        assert "cannot be read as a picture" in str(error) and "\n" not in str(error)
    else:
        assert found.shape in ((64, 64, 3), (128, 128, 3)) and found.dtype == np.uint8
