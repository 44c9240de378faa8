"""The world of shapes, held against an oracle that reads only the question's text and the scene."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from math import pi, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier

from course_utils.datasets import shapes
from course_utils.datasets.shapes.questions import DISTANCE_MARGIN, Description
from course_utils.datasets.shapes.scenes import FEWEST, MARGIN, MOST, PAIRS

Question, Scene, ShapesData, Thing = shapes.Question, shapes.Scene, shapes.ShapesData, shapes.Thing
PICTURE = shapes.PICTURE

SIDES = "left of|right of|above|below"
TWO_NAMES = re.compile(rf"(.*) (?P<relation>{SIDES}|nearest to|furthest from) the (?P<anchor>.*)\?")


@pytest.fixture(scope="module")
def trained_on() -> ShapesData:
    return shapes.split("train", pictures=2000)


@pytest.fixture(scope="module")
def tested_on() -> ShapesData:
    return shapes.split("test", pictures=2000)


@pytest.fixture(scope="module")
def compositional() -> ShapesData:
    return shapes.split("compositional", pictures=600)


small_worlds = st.builds(
    lambda seed, pairs: shapes.generate(6, seed, pairs=pairs), st.integers(0, 2**32), st.sampled_from(PAIRS)
)


# ---- The oracle: answers from the text, with plain loops and integers.


def fits(name: str, thing: Thing) -> bool:
    words = [word for word in name.split() if word not in ("thing", "things")]
    return all(word.removesuffix("s") in (thing.size, thing.colour, thing.shape) for word in words)


def squared(a: Thing, b: Thing) -> int:
    return (a.x - b.x) ** 2 + (a.y - b.y) ** 2


def only(name: str, scene: Scene) -> Thing:
    (thing,) = [thing for thing in scene.things if fits(name, thing)]
    return thing


def is_beside(thing: Thing, relation: str, anchor: Thing) -> bool:
    return {
        "left of": thing.x < anchor.x,
        "right of": thing.x > anchor.x,
        "above": thing.y < anchor.y,
        "below": thing.y > anchor.y,
    }[relation]


def oracle(text: str, scene: Scene) -> str:
    if found := re.fullmatch(r"are there (more|fewer) (\w+) than (\w+)\?", text):
        one, other = (sum(fits(name, thing) for thing in scene.things) for name in found.groups()[1:])
        return "yes" if (one > other if found[1] == "more" else one < other) else "no"
    if found := re.fullmatch(r"what (colour|shape) is the thing (nearest to|furthest from) the (.+)\?", text):
        anchor = only(found[3], scene)
        others = sorted((thing for thing in scene.things if thing != anchor), key=lambda t: squared(t, anchor))
        return getattr(others[0 if found[2] == "nearest to" else -1], found[1])
    if found := re.fullmatch(r"what (colour|shape) is the (.+)\?", text):
        return getattr(only(found[2], scene), found[1])
    if found := re.fullmatch(rf"is the (.+) ({SIDES}) the (.+)\?", text):
        return "yes" if is_beside(only(found[1], scene), found[2], only(found[3], scene)) else "no"
    if found := re.fullmatch(rf"is there an? (.+?)(?: ({SIDES}) the (.+))?\?", text):
        return "yes" if count(*found.groups(), scene) else "no"
    found = re.fullmatch(rf"how many (.+?) are (?:there|({SIDES}) the (.+))\?", text)
    return str(count(*found.groups(), scene))


def count(name: str, relation: str | None, anchor: str | None, scene: Scene) -> int:
    number = 0
    for thing in scene.things:
        if fits(name, thing) and (relation is None or is_beside(thing, relation, only(anchor, scene))):
            number += 1
    return number


def other_anchors(question: Question, scene: Scene) -> Iterator[tuple[Thing, str]]:
    """Every thing that could be the anchor of a relational question, with the answer it would give."""
    start, anchor = TWO_NAMES.fullmatch(question.text).start("anchor"), question.program.anchor
    for thing in scene.things:
        name = f"{thing.size} {thing.colour} {thing.shape}"
        is_target = question.type in ("exist-relation", "verify-relation") and fits(str(question.program.target), thing)
        if not is_target and anchor is not None:
            yield thing, oracle(f"{question.text[:start]}{name}?", scene)


# ---- Scenes and questions, over seeds.


@settings(max_examples=40, deadline=None)
@given(small_worlds)
def test_every_answer_is_the_oracles_and_every_text_reads_back(data: ShapesData) -> None:
    assert len(data.questions) == 8 * len(data.scenes)
    for i, question in enumerate(data.questions):
        scene = data.scenes[question.picture]
        assert (question.picture, question.type) == (i // 8, shapes.TYPES[i % 8])
        assert question.answer == oracle(question.text, scene) == shapes.execute(question.program, scene)
        assert question.answer in shapes.ANSWERS
        assert shapes.parse(question.text) == question.program


@settings(max_examples=40, deadline=None)
@given(small_worlds)
def test_another_anchor_changes_the_answer_and_none_is_a_close_call(data: ShapesData) -> None:
    for question in data.questions:
        if question.type not in shapes.RELATIONAL_TYPES:
            continue
        scene = data.scenes[question.picture]
        assert {answer for _, answer in other_anchors(question, scene)} > {question.answer}
        if question.type == "distance":
            found = TWO_NAMES.fullmatch(question.text)
            assert clear_by(only(found["anchor"], scene), found["relation"], scene) >= DISTANCE_MARGIN


def clear_by(anchor: Thing, relation: str, scene: Scene) -> float:
    """Pixels between the nearest (or furthest) thing and the next one."""
    far = sorted(sqrt(squared(thing, anchor)) for thing in scene.things if thing != anchor)
    return far[1] - far[0] if relation == "nearest to" else far[-1] - far[-2]


@settings(max_examples=40, deadline=None)
@given(small_worlds)
def test_things_differ_and_keep_apart(data: ShapesData) -> None:
    for scene in data.scenes:
        assert FEWEST <= len(scene.things) <= MOST
        assert [thing.x for thing in scene.things] == sorted(thing.x for thing in scene.things)
        for thing in scene.things:
            reach = shapes.SIZES[thing.size]
            assert reach <= thing.x < PICTURE - reach
            assert reach <= thing.y < PICTURE - reach
        for a, b in itertools.combinations(scene.things, 2):
            assert (a.size, a.colour, a.shape) != (b.size, b.colour, b.shape)
            assert abs(a.x - b.x) >= MARGIN
            assert abs(a.y - b.y) >= MARGIN
            assert a.x // 8 != b.x // 8
            assert a.y // 8 != b.y // 8
            assert max(abs(a.x - b.x), abs(a.y - b.y)) > shapes.SIZES[a.size] + shapes.SIZES[b.size]


def test_same_seed_same_world_and_a_longer_one_begins_alike() -> None:
    few, many = shapes.generate(5, 11), shapes.generate(9, 11)
    assert shapes.generate(5, 11) == few
    assert many.scenes[:5] == few.scenes
    assert many.questions[:40] == few.questions
    assert shapes.generate(5, 12).scenes != few.scenes


def test_the_world_is_the_same_on_every_platform() -> None:
    data = shapes.generate(50, 2024)
    told = "\n".join(f"{question.text} {question.answer}" for question in data.questions)
    digest = hashlib.sha256(data.pictures.tobytes() + told.encode()).hexdigest()
    assert digest == "cdac3c65aad2672745bc9bf74356dac4b820d417a55102442132032d9d076446"


# ---- Pictures, captions and labels.


def test_pictures_show_things_on_a_plain_background() -> None:
    data = shapes.generate(30, 5)
    assert data.pictures.shape == (30, PICTURE, PICTURE, 3)
    assert data.pictures.dtype == np.uint8
    for scene, picture in zip(data.scenes, data.pictures, strict=True):
        np.testing.assert_array_equal(shapes.render(scene), picture)
        empty = np.ones((PICTURE, PICTURE), dtype=bool)
        for thing in scene.things:
            reach = shapes.SIZES[thing.size]
            empty[thing.y - reach : thing.y + reach + 1, thing.x - reach : thing.x + reach + 1] = False
            assert tuple(picture[thing.y, thing.x]) == shapes.COLOURS[thing.colour]
        assert (picture[empty] == scene.background).all()


@pytest.mark.parametrize("size", shapes.SIZES)
@pytest.mark.parametrize(
    ("shape", "area"),  # as a part of the square around the shape; a star's tips reach 0.36 / cos(72 degrees)
    [("circle", pi / 4), ("square", 0.81), ("triangle", 0.5), ("star", 1.1226 / 4 * (0.36 / 0.309) ** 2)],
)
def test_a_shape_has_its_area(shape: str, area: float, size: str) -> None:
    picture = shapes.render(Scene((Thing(size, "black", shape, 30, 30),), (220, 220, 220)))
    side = 2 * shapes.SIZES[size] + 1
    drawn = (220.0 - picture[:, :, 0]).sum() / 200 / side**2
    assert drawn == pytest.approx(area, rel=0.07)


def test_shapes_do_not_look_alike() -> None:
    for size in shapes.SIZES:
        scenes = [Scene((Thing(size, "black", shape, 30, 30),), (220, 220, 220)) for shape in shapes.SHAPES]
        pictures = shapes.render_all(scenes).astype(int)
        for a, b in itertools.combinations(pictures, 2):
            assert abs(a - b).mean(axis=2).sum() / 200 > 0.1 * (2 * shapes.SIZES[size] + 1) ** 2


def test_colours_are_far_from_each_other_and_from_every_background() -> None:
    colours = np.array(list(shapes.COLOURS.values()), dtype=float)
    backgrounds = np.array([scene.background for scene in shapes.generate(200, 3).scenes], dtype=float)
    for i, colour in enumerate(colours):
        assert np.linalg.norm(np.delete(colours, i, axis=0) - colour, axis=1).min() > 75
        assert np.linalg.norm(backgrounds - colour, axis=1).min() > 50


def test_captions_name_everything_from_left_to_right() -> None:
    for scene in shapes.generate(50, 6).scenes:
        caption = shapes.caption(scene)
        named = re.findall(r"a (\w+) (\w+) (\w+)", caption)
        assert named == [(thing.size, thing.colour, thing.shape) for thing in scene.things]
        assert caption.count(" and a ") == 1
    alone = Scene((Thing("small", "red", "star", 9, 9),), (220, 220, 220))
    assert shapes.caption(alone) == "a small red star"


def test_cell_labels_hold_each_centre_and_nothing_else() -> None:
    for scene in shapes.generate(50, 8).scenes:
        labels = shapes.cell_labels(scene)
        for attribute, values in (("shape", shapes.SHAPES), ("colour", [*shapes.COLOURS]), ("size", [*shapes.SIZES])):
            expected = [[0] * 8 for _ in range(8)]
            for thing in scene.things:
                expected[thing.y // 8][thing.x // 8] = values.index(getattr(thing, attribute)) + 1
            assert labels[attribute].tolist() == expected
            assert np.count_nonzero(labels[attribute]) == len(scene.things)


# ---- Splits and balance.


def held_out_share(scene: Scene) -> float:
    return np.mean([(thing.colour, thing.shape) in shapes.HELD_OUT for thing in scene.things])


def test_splits_share_no_picture_and_only_one_shows_held_out_pairs(trained_on, tested_on, compositional) -> None:
    assert Counter(colour for colour, _ in shapes.HELD_OUT) == dict.fromkeys(shapes.COLOURS, 1)
    assert Counter(shape for _, shape in shapes.HELD_OUT) == dict.fromkeys(shapes.SHAPES, 2)
    splits = [trained_on, tested_on, compositional, shapes.split("validation", pictures=500)]
    every = [scene.things for data in splits for scene in data.scenes]
    assert len(set(every)) == len(every)
    assert {held_out_share(scene) for data in (*splits[:2], splits[3]) for scene in data.scenes} == {0}
    shares = [held_out_share(scene) for scene in compositional.scenes]
    assert min(shares) > 0
    assert np.mean(shares) == pytest.approx(0.5, abs=0.05)


def test_a_held_out_pair_in_a_question_does_not_tell_the_answer(trained_on, compositional) -> None:
    def answers(data: ShapesData) -> list[str]:
        asked = [q for q in data.questions if q.template == "exist colour shape"]
        return [q.answer for q in asked if (q.program.target.colour, q.program.target.shape) in shapes.HELD_OUT]

    assert answers(trained_on) == []
    assert len(answers(compositional)) > 50
    assert np.mean([answer == "yes" for answer in answers(compositional)]) == pytest.approx(0.5, abs=0.1)


def test_answers_and_templates_are_balanced(trained_on, tested_on, compositional) -> None:
    for data in (trained_on, tested_on, compositional):
        answers: dict[str, Counter[str]] = defaultdict(Counter)
        templates: dict[str, Counter[str]] = defaultdict(Counter)
        for question in data.questions:
            answers[question.template][question.answer] += 1
            templates[question.type][question.template] += 1
        for counts in (*answers.values(), *templates.values()):
            fair = counts.total() / len(counts)
            assert all(abs(number - fair) <= max(4, 0.1 * fair) for number in counts.values()), counts
        for template in ("colour", "distance colour"):
            assert set(answers[template]) == set(shapes.COLOURS)


# ---- Shortcuts: what can be had without the picture, or without the anchor. Run with -s to see the figures.


def by_type(right: list[tuple[Question, bool | float]]) -> dict[str, float]:
    """Percent right for each type."""
    found: dict[str, list[float]] = defaultdict(list)
    for question, score in right:
        found[question.type].append(score)
    return {kind: 100 * float(np.mean(scores)) for kind, scores in found.items()}


def majority(data: ShapesData) -> dict[str, float]:
    """Percent right for each type of the commonest answer to each template."""
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for question in data.questions:
        answers[question.template][question.answer] += 1
    share = {template: max(c.values()) / c.total() for template, c in answers.items()}
    return by_type([(question, share[question.template]) for question in data.questions])


def test_questions_alone_tell_little(trained_on, tested_on) -> None:
    by_text, of_type = defaultdict(Counter), defaultdict(Counter)
    for question in trained_on.questions:
        by_text[question.text][question.answer] += 1
        of_type[question.type][question.answer] += 1
    right = []
    for question in tested_on.questions:
        (guess, _), *_ = (by_text.get(question.text) or of_type[question.type]).most_common(1)
        right.append((question, guess == question.answer))
    figures = by_type(right)
    total = np.mean([score for _, score in right]) * 100
    print(f"\nquestion only: {total:.1f} %", {kind: f"{percent:.1f}" for kind, percent in figures.items()})
    assert total <= 40
    for kind in shapes.TYPES:
        # "what shape is the red thing?" leaves three shapes, since one is held out for red.
        allowed = 100 / 3 if kind == "shape" else 100 / 6 if kind == "colour" else majority(tested_on)[kind]
        assert figures[kind] <= allowed + 5, kind


def test_a_scene_without_the_anchor_tells_little(tested_on) -> None:
    """An oracle tries every anchor and takes the answer that most of them give."""
    right, fair = [], []
    for question in tested_on.questions[:8000]:
        if question.type not in shapes.RELATIONAL_TYPES:
            continue
        scene = tested_on.scenes[question.picture]
        votes = Counter(answer for _, answer in askable(question, scene))
        best = [answer for answer, number in votes.items() if number == max(votes.values())]
        right.append((question, (question.answer in best) / len(best)))
        fair.append((question, 1 / len(votes)))
    figures, guessing = by_type(right), majority(tested_on)
    print("\nwithout the anchor, by vote:", {kind: f"{percent:.1f}" for kind, percent in figures.items()})
    print("majority answer:", {kind: f"{guessing[kind]:.1f}" for kind in figures})
    print("any answer that some anchor gives:", {kind: f"{percent:.1f}" for kind, percent in by_type(fair).items()})
    for kind in ("exist-relation", "count-relation", "verify-relation"):
        assert figures[kind] <= guessing[kind] + 5, kind
    # Which colours and shapes are near something can be seen, so guessing is among those.
    assert figures["distance"] <= by_type(fair)["distance"] + 5


def askable(question: Question, scene: Scene) -> list[tuple[Thing, str]]:
    """The anchors that the question's template would ask about."""
    anchors = list(other_anchors(question, scene))
    if question.type == "distance":
        return [(t, answer) for t, answer in anchors if clear_by(t, question.program.relation, scene) >= 3]
    most = {"count-relation size": 3, "count-relation shape": 2}.get(question.template)
    return [(t, answer) for t, answer in anchors if most is None or int(answer) <= most]


PLACE = {"left of": lambda t: t.x, "right of": lambda t: 63 - t.x, "above": lambda t: t.y, "below": lambda t: 63 - t.y}


def without_anchor(question: Question, scene: Scene) -> list[float]:
    """All of the scene along the direction: each thing's place, and whether it is a target."""
    place = PLACE[question.program.relation]
    row = sorted((place(thing), question.program.target.matches(thing)) for thing in scene.things)
    targets = [rank for rank, (_, is_target) in enumerate(row) if is_target]
    empty = MOST - len(row)
    numbers = [len(row), len(targets), targets[0], targets[-1], row[targets[0]][0], row[targets[-1]][0]]
    return numbers + [is_target for _, is_target in row] + [-1] * empty + [x for x, _ in row] + [-1] * empty


def anchor_only(question: Question, scene: Scene) -> list[float]:
    """Where the anchor lies along the direction; nothing of the target."""
    return [PLACE[question.program.relation](only(str(question.program.anchor), scene))]


def learnt(features, train: ShapesData, test: ShapesData, template: str) -> float:
    """Percent right on the test split of a random forest that learnt the template's answers from the features."""
    rows = []
    for data in (train, test):
        asked = [question for question in data.questions if question.template == template]
        inputs = np.array([features(question, data.scenes[question.picture]) for question in asked])
        rows.append((inputs, np.array([question.answer for question in asked])))
    model = RandomForestClassifier(50, min_samples_leaf=10, random_state=0).fit(*rows[0])
    return 100 * model.score(*rows[1])


ACROSS = {
    "exist-relation shape": 50,
    "exist-relation colour": 50,
    "count-relation size": 25,
    "count-relation shape": 100 / 3,
    "verify-relation": 50,
}


@pytest.mark.parametrize(("template", "guessing"), ACROSS.items())
def test_nothing_is_learnt_without_the_anchor(template: str, guessing: float, trained_on, tested_on) -> None:
    percent = learnt(without_anchor, trained_on, tested_on, template)
    print(f"\n{template}, learnt without the anchor: {percent:.1f} % (guessing {guessing:.1f} %)")
    assert percent <= guessing + 5


@pytest.mark.parametrize("template", ACROSS)
def test_the_place_of_the_anchor_does_not_give_the_answer(template: str, trained_on, tested_on) -> None:
    """Something it must tell: a thing at the left edge has little to its left. But never most of the way."""
    percent = learnt(anchor_only, trained_on, tested_on, template)
    print(f"\n{template}, learnt from the place of the anchor alone: {percent:.1f} %")
    assert percent <= 85


# ---- What a learner types.


@pytest.fixture
def scene() -> Scene:
    things = (
        Thing("large", "red", "circle", 6, 20),
        Thing("small", "blue", "star", 20, 44),
        Thing("small", "red", "circle", 37, 6),
        Thing("large", "green", "star", 51, 30),
    )
    return Scene(things, (220, 220, 220))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Is there an orange thing?", "no"),
        ("is there a blue star", "yes"),
        ("How many things are right of the large red circle?", "3"),
        ("how many stars are there?", "2"),
        ("are there fewer small things than circles?", "no"),
        ("is the green star below the small red circle?", "yes"),
        ("is the green star left of the green star?", "no"),
        ("what color is the star nearest to the large red circle?", "blue"),
        ("what shape is the thing furthest from the large red circle?", "star"),
        ("what colour is the star left of the green star?", "blue"),
        ("what  shape is the blue   thing ?", "star"),
    ],
)
def test_a_typed_question_is_answered(text: str, answer: str, scene: Scene) -> None:
    assert shapes.execute(shapes.parse(text), scene) == answer


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("is there a dog?", "unknown word 'dog'"),
        ("what is the red circle?", "cannot read 'what is the red circle"),
        ("is there a circle red?", "cannot read"),
        ("is there a blue red star?", "cannot read"),
        ("what colour is left of the blue star?", "cannot read"),
        ("", "cannot read"),
    ],
)
def test_a_question_outside_the_grammar_is_refused_by_name(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        shapes.parse(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("what colour is the square?", "'the square', but nothing fits"),
        ("is there a star above the red circle?", "'the red circle', but 2 things fit"),
        ("is the star above the blue star?", "'the star', but 2 things fit"),
        ("what colour is the thing left of the large red circle?", "'the thing', but nothing fits"),
    ],
)
def test_a_question_that_the_scene_cannot_answer_is_refused(text: str, problem: str, scene: Scene) -> None:
    with pytest.raises(ValueError, match=problem):
        shapes.execute(shapes.parse(text), scene)


def test_equally_near_things_are_not_guessed_between(scene: Scene) -> None:
    anchor, left, right = scene.things[1], replace(scene.things[0], x=10, y=44), replace(scene.things[2], x=30, y=44)
    tied = Scene((left, anchor, right), scene.background)
    with pytest.raises(ValueError, match="2 things fit"):
        shapes.execute(shapes.parse("what colour is the thing nearest to the blue star?"), tied)


names = st.builds(
    Description, *(st.sampled_from([None, *values]) for values in (shapes.SIZES, shapes.COLOURS, shapes.SHAPES))
)
sides = st.sampled_from(SIDES.split("|"))
programs = st.one_of(
    st.builds(shapes.Program, st.sampled_from(["exist", "count", "colour", "shape"]), names),
    st.builds(shapes.Program, st.sampled_from(["exist", "count", "colour", "shape", "verify"]), names, sides, names),
    st.builds(shapes.Program, st.sampled_from(["more", "fewer"]), names, st.none(), names),
)


@given(programs)
def test_parse_undoes_str(program: shapes.Program) -> None:
    assert shapes.parse(str(program)) == program


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="pictures is 0; it must be at least 1"):
        shapes.generate(0, 1)
    with pytest.raises(ValueError, match="pairs is 'none'; it must be one of all, seen, unseen"):
        shapes.generate(1, 1, pairs="none")
    with pytest.raises(ValueError, match="no split 'dev'; the splits are train, validation, test, compositional"):
        shapes.split("dev", pictures=1)
