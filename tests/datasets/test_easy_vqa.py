from __future__ import annotations

import json
from collections import Counter, defaultdict

import numpy as np
import pytest

from course_utils import assets
from course_utils.datasets import easy_vqa


@pytest.fixture(scope="module")
def official() -> easy_vqa.EasyVQA:
    return easy_vqa.load("train+validation")


@pytest.fixture(scope="module")
def test_split() -> easy_vqa.EasyVQA:
    return easy_vqa.load("test")


def test_the_counts_are_those_the_data_set_states(official, test_split):
    # From the data set's own README: 4,000 and 1,000 pictures; of the questions 28,407 and 7,136 are yes/no.
    assert official.pictures.shape == (4000, 64, 64, 3) and len(official.questions) == 38_575
    assert test_split.pictures.shape == (1000, 64, 64, 3) and len(test_split.questions) == 9_673
    assert Counter(question.type for question in official.questions)["yes/no"] == 28_407
    assert Counter(question.type for question in test_split.questions)["yes/no"] == 7_136
    folder = assets.path("easy-vqa") / "easy_vqa" / "data"
    assert tuple((folder / "answers.txt").read_text().split()) == easy_vqa.ANSWERS
    assert {question.answer for question in official.questions} == set(easy_vqa.ANSWERS)
    assert {question.type for question in official.questions} == set(easy_vqa.TYPES)


def test_questions_and_pictures_are_the_official_ones(official):
    folder = assets.path("easy-vqa") / "easy_vqa" / "data" / "train"
    rows = json.loads((folder / "questions.json").read_text())
    assert [[one.question, one.answer, one.picture] for one in official.questions] == rows


def test_validation_and_training_share_no_picture_and_make_up_the_official_set(official):
    train, validation = easy_vqa.load("train"), easy_vqa.load("validation")
    assert len(validation.pictures) == 400 and len(train.pictures) == 3600
    by_id = {question.question_id: question for question in official.questions}
    seen: dict[str, set] = defaultdict(set)
    for name, data in (("train", train), ("validation", validation)):
        for question in data.questions:
            original = by_id.pop(question.question_id)
            assert (question.question, question.answer) == (original.question, original.answer)
            seen[name].add(original.picture)
        for question in data.questions[::97]:
            original = official.questions[question.question_id]
            np.testing.assert_array_equal(data.pictures[question.picture], official.pictures[original.picture])
    assert not by_id and not seen["train"] & seen["validation"]


def test_the_type_says_what_is_asked(official):
    for question in official.questions:
        if question.question.startswith("what"):
            colour = question.question.startswith(("what color", "what is the color"))
            assert question.type == ("colour" if colour else "shape")
        else:
            assert question.type == "yes/no"


def test_the_question_only_ceiling(official, test_split):
    answers = defaultdict(Counter)
    for question in official.questions:
        answers[question.question][question.answer] += 1
    right = defaultdict(list)
    for question in test_split.questions:
        hit = answers[question.question].most_common(1)[0][0] == question.answer
        right[question.type].append(hit)
        right["all"].append(hit)
    percent = {kind: round(100 * float(np.mean(hits)), 1) for kind, hits in right.items()}
    assert percent == {"all": 67.0, "yes/no": 82.5, "shape": 34.8, "colour": 12.0}


def test_the_pictures_show_what_the_answers_say(official):
    for question in official.questions[:4000]:
        if question.type == "colour":
            pixels = official.pictures[question.picture].reshape(-1, 3)
            count = {name: (pixels == rgb).all(axis=1).sum() for name, rgb in easy_vqa.COLOURS.items()}
            assert max(count, key=count.get) == question.answer


def scenes(data: easy_vqa.EasyVQA) -> dict[int, tuple[str, str]]:
    """Picture to (shape, colour), where the questions give both away."""
    known = defaultdict(dict)
    for question in data.questions:
        known[question.picture][question.type] = question.answer
    return {row: (one["shape"], one["colour"]) for row, one in known.items() if {"shape", "colour"} <= one.keys()}


def features(picture: np.ndarray) -> tuple[int, int, float]:
    """Width, height, and how much of its bounding box the shape fills."""
    inside = np.abs(picture.astype(int) - np.median(picture.reshape(-1, 3), axis=0)).sum(axis=2) > 200
    rows, columns = np.nonzero(inside)
    width, height = np.ptp(columns) + 1, np.ptp(rows) + 1
    return int(width), int(height), float(inside.sum() / (width * height))


def test_the_renderer_makes_the_data_sets_own_pictures(official):
    # Rectangles and triangles to the pixel; circles differ by a few edge pixels, since PIL now rounds them better.
    checked = Counter()
    for row, (shape, colour) in list(scenes(official).items())[:18]:
        real = official.pictures[row].astype(int)
        background = tuple(int(one) for one in np.median(real.reshape(-1, 3), axis=0))
        rows, columns = np.nonzero(np.abs(real - background).sum(axis=2))
        around = [range(2 * low - 1, 2 * low + 3) for low in (columns.min(), rows.min())]
        around += [range(2 * high - 2, 2 * high + 3) for high in (columns.max(), rows.max())]
        if shape != "circle":
            boxes = ((a, b, c, d) for a in around[0] for b in around[1] for c in around[2] for d in around[3])
        else:
            boxes = ((a, b, c, b + c - a) for a in around[0] for b in around[1] for c in around[2])
        drawn = (easy_vqa._render(shape, easy_vqa.COLOURS[colour], background, box) for box in boxes)
        error = min(np.abs(one.astype(int) - real).mean() for one in drawn)
        assert error <= (1.5 if shape == "circle" else 0), (row, shape)
        checked[shape] += 1
    assert min(checked[shape] for shape in easy_vqa.SHAPES) >= 3


def test_drawn_pictures_cover_the_same_sizes_and_backgrounds(official):
    real = np.array([features(official.pictures[row])[:2] for row in list(scenes(official))[:600]])
    drawn = [easy_vqa.draw(shape, "red", seed) for shape in easy_vqa.SHAPES for seed in range(200)]
    sizes = np.array([features(picture)[:2] for picture in drawn])
    for quantile in (0, 0.25, 0.5, 0.75, 1):
        assert np.abs(np.quantile(sizes, quantile, axis=0) - np.quantile(real, quantile, axis=0)).max() <= 3
    backgrounds = np.array([np.median(picture.reshape(-1, 3), axis=0) for picture in drawn])
    assert backgrounds.min() >= 230 and backgrounds.max() <= 255 and np.ptp(backgrounds) >= 20


@pytest.mark.parametrize("shape, fill", [("circle", np.pi / 4), ("rectangle", 1.0), ("triangle", 0.5)])
@pytest.mark.parametrize("colour", easy_vqa.COLOURS)
def test_a_drawn_picture_shows_the_shape_in_the_colour(shape, fill, colour):
    for seed in range(5):
        picture = easy_vqa.draw(shape, colour, seed)
        assert picture.shape == (64, 64, 3) and picture.dtype == np.uint8
        exact = (picture == easy_vqa.COLOURS[colour]).all(axis=2)
        rows, columns = np.nonzero(exact)
        width, height = np.ptp(columns) + 1, np.ptp(rows) + 1
        assert exact.sum() / (width * height) == pytest.approx(fill, abs=0.13)
        np.testing.assert_array_equal(picture, easy_vqa.draw(shape, colour, seed))
    assert (easy_vqa.draw(shape, colour, 1) != easy_vqa.draw(shape, colour, 2)).any()


def test_unknown_names_are_refused_with_the_choices():
    with pytest.raises(ValueError, match="train, validation"):
        easy_vqa.load("dev")
    with pytest.raises(ValueError, match="purple circle.*teal"):
        easy_vqa.draw("circle", "purple")
    with pytest.raises(ValueError, match="hexagon.*triangle"):
        easy_vqa.draw("hexagon", "red")
