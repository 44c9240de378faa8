"""Sort-of-CLEVR, held against an oracle that reads only the question's text and the scene, with slow loops."""

from __future__ import annotations

import hashlib
import re
from math import dist

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_utils.datasets import sort_of_clevr as soc
from course_utils.datasets.vqa import to_tensor
from course_utils.reasoning import grid


@pytest.fixture(scope="module")
def data() -> soc.SortOfClevr:
    return soc.split("train", pictures=2000)


# ---- The oracle.


def objects_of(data: soc.SortOfClevr, picture: int) -> dict[str, tuple[str, tuple[int, int]]]:
    """Colour -> shape and centre."""
    return {
        colour: (soc.SHAPES[data.shapes[picture, i]], tuple(map(int, data.centres[picture, i])))
        for i, colour in enumerate(soc.COLOURS)
    }


def oracle(text: str, objects: dict) -> str:
    colour = re.search(r"the (\w+) object( |\?)(?!closest|furthest)", text)[1]
    shape, centre = objects[colour]
    if text.startswith("how many"):
        return str(sum(one == shape for one, _ in objects.values()))
    if found := re.search(r"closest to|furthest from", text):
        others = [(dist(centre, where), one) for name, (one, where) in objects.items() if name != colour]
        return min(others)[1] if found[0] == "closest to" else max(others)[1]
    if "left" in text:
        return "left" if centre[0] < 37 else "right"
    if "top" in text:
        return "top" if centre[1] < 37 else "bottom"
    return shape


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_every_answer_is_the_oracles(seed):
    data = soc.generate(12, seed)
    for i in range(len(data)):
        objects = objects_of(data, i)
        for j in range(soc.QUESTIONS):
            assert soc.ANSWERS[data.answers[i, j]] == oracle(data.text(i, j), objects), (i, j)
        every = soc.all_answers(data.centres, data.shapes)[i]
        for kind, text in enumerate(soc.WORDINGS):
            right = [oracle(text.format(colour), objects) for colour in soc.COLOURS]
            assert [soc.ANSWERS[index] for index in every[kind]] == right


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_nothing_touches_and_nothing_is_a_close_call(seed):
    data = soc.generate(12, seed)
    for centres in data.centres.tolist():
        for one in centres:
            others = [other for other in centres if other is not one]
            assert all(max(abs(one[0] - x), abs(one[1] - y)) >= 12 for x, y in others)
            away = sorted(dist(one, other) for other in others)
            assert away[1] - away[0] >= 1 and away[-1] - away[-2] >= 1
            assert all(5 <= place <= 69 and place != 37 for place in one)


def test_the_closest_is_never_the_object_itself_however_far_the_others_are(data):
    """The usual generator writes 999 over an object's squared distance to itself: beyond 31 pixels it finds itself."""
    lonely = 0
    for i in range(300):
        objects = objects_of(data, i)
        for colour, (shape, centre) in objects.items():
            away = min((dist(centre, where), one) for name, (one, where) in objects.items() if name != colour)
            if away[0] ** 2 > 999 and away[1] != shape:
                lonely += 1
                number = tuple(soc.COLOURS).index(colour)
                answers = soc.all_answers(data.centres[i : i + 1], data.shapes[i : i + 1])
                assert soc.ANSWERS[answers[0, soc.TYPES.index("closest"), number]] == away[1]
    assert lonely >= 10


# ---- What is asked.


def test_each_picture_has_ten_different_questions_of_each_class(data):
    relational = data.types >= 3
    assert (~relational[:, : soc.EACH]).all() and relational[:, soc.EACH :].all()
    asked = 6 * data.types.astype(int) + data.colours
    assert all(len(set(row)) == soc.QUESTIONS for row in asked.tolist())
    counts = np.bincount(asked.ravel(), minlength=36) / len(data)
    assert abs(counts - 10 / 18).max() < 0.05  # every type and every colour as often as another


def test_shapes_are_a_fair_coin_for_each_object(data):
    assert abs(data.shapes.mean(axis=0) - 0.5).max() < 0.05
    assert abs(np.corrcoef(data.shapes.T) - np.eye(6)).max() < 0.1


def test_the_code_is_six_two_and_three_bits(data):
    codes = soc.encode(data.colours, data.types)
    assert codes.shape == (2000, 20, 11) and codes.dtype == np.uint8
    parts = codes[..., :6], codes[..., 6:8], codes[..., 8:]
    assert all((part.sum(-1) == 1).all() for part in parts)
    colour, relational, within = (part.argmax(-1) for part in parts)
    assert np.array_equal(colour, data.colours) and np.array_equal(3 * relational + within, data.types)
    assert soc.encode(2, 4).tolist() == [0, 0, 1, 0, 0, 0, 0, 1, 0, 1, 0]


def test_every_wording_is_another(data):
    texts = {data.text(i, j): (data.types[i, j], data.colours[i, j]) for i in range(50) for j in range(soc.QUESTIONS)}
    assert len(texts) == len(set(texts.values())) == 36
    assert texts["what shape is the object furthest from the green object?"] == (4, 2)


# ---- Pictures.


def test_a_picture_shows_its_scene(data):
    for i in range(20):
        left = np.ones((75, 75), dtype=bool)
        for (x, y), shape, colour in zip(data.centres[i], data.shapes[i], soc.COLOURS.values(), strict=True):
            sprite = data.pictures[i, y - 5 : y + 6, x - 5 : x + 6]
            assert tuple(data.pictures[i, y, x]) == colour
            corner_is_painted = (sprite[[0, 0, -1, -1], [0, -1, 0, -1]] == colour).all()
            assert corner_is_painted == (soc.SHAPES[shape] == "square")
            assert (sprite[5] == colour).all() or soc.SHAPES[shape] == "circle"
            left[y - 5 : y + 6, x - 5 : x + 6] = False
        assert (data.pictures[i][left] == 255).all()  # and nothing else


def test_a_circle_covers_what_a_circle_covers():
    covered = soc._circle()
    assert covered.shape == (11, 11) and np.array_equal(covered, covered.T) and np.array_equal(covered, covered[::-1])
    assert covered.sum() / 16 == pytest.approx(np.pi * 5.5**2, rel=0.01)


# ---- The same everywhere.


def test_the_same_seed_gives_the_same_on_every_platform():
    data = soc.generate(50, 1)
    parts = [data.centres, data.shapes, data.colours, data.types, data.answers, data.pictures]
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()
    assert digest == "2c2cee8a35e78a2ab08664c67e582744f8ac31152e79cff714f27a01b7a95f18"


def test_more_pictures_begin_with_the_same_and_another_seed_with_others(data):
    few = soc.split("train", pictures=30)
    for name in ("centres", "shapes", "colours", "types", "answers"):
        assert np.array_equal(getattr(few, name), getattr(data, name)[:30])
    other = soc.split("test", pictures=30)
    assert not (other.centres == few.centres).all(axis=(1, 2)).any()


def test_no_scene_of_the_test_is_in_training(data):
    known = {row.tobytes() for row in data.centres}
    assert not any(row.tobytes() in known for row in soc.split("test").centres)


def test_the_sizes_are_as_published():
    assert len(soc.split("test")) == len(soc.split("validation")) == 200
    assert soc.SPLITS["train"][1] == 9800 and soc.QUESTIONS == 20


# ---- As the rest of the course takes it.


def test_a_batch_holds_what_its_rows_say(data):
    batch = data.batch(torch.tensor([3, 0]))
    torch.testing.assert_close(batch["pictures"], to_tensor(data.pictures[[3, 0]]))
    assert batch["codes"].shape == (2, 20, 11) and batch["codes"].dtype == torch.float32
    assert np.array_equal(batch["codes"][0].numpy(), soc.encode(data.colours[3], data.types[3]))
    assert batch["answers"].dtype == torch.int64
    assert batch["answers"].tolist() == [*data.answers[3].tolist(), *data.answers[0].tolist()]
    assert batch["types"][13] == soc.TYPES[data.types[3, 13]]
    assert batch["question_ids"] == [*range(60, 80), *range(20)]


def test_the_non_relational_questions_alone(data):
    few = soc.split("train", pictures=5)
    easy = few.non_relational
    assert easy.pictures is few.pictures and len(easy) == 5
    batch, whole = easy.batch(torch.tensor([4, 2])), few.batch(torch.tensor([4, 2]))
    assert set(batch["types"]) == set(soc.TYPES[:3])
    assert torch.equal(batch["answers"].view(2, 10), whole["answers"].view(2, 20)[:, :10])
    assert torch.equal(batch["codes"], whole["codes"][:, :10])
    assert batch["question_ids"] == [*range(80, 90), *range(40, 50)]


def test_the_ladders_batches_take_it(data):
    few = soc.split("train", pictures=10)
    ids = [batch["question_ids"] for batch in grid.Batches(few, 4, shuffle=True)]
    assert sorted(sum(ids, [])) == list(range(200)) and len(ids) == 3


# ---- Bad input.


def test_impossible_asks_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        soc.generate(0, 1)
    with pytest.raises(ValueError, match="seed is -1"):
        soc.generate(1, -1)
    with pytest.raises(ValueError, match="train, validation, test"):
        soc.split("tset")
    with pytest.raises(ValueError, match="types must be from 0 to 5"):
        soc.encode(0, 6)
    with pytest.raises(ValueError, match="colours must be from 0 to 5"):
        soc.encode([-1], [0])
