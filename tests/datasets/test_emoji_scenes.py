"""Emoji scenes, held against an oracle that reads only the question's text and the scene."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_utils.datasets import emoji
from course_utils.datasets import emoji_scenes as scenes
from course_utils.datasets.emoji_scenes import EmojiScene, EmojiScenes, Placed
from course_utils.datasets.emoji_scenes.scenes import FEWEST, MOST, OTHER, SIZES, beside

SEEN, UNSEEN = scenes.vocabulary()
BY_NAME = {scenes.name(one): one for one in SEEN + UNSEEN}
NEW = {scenes.name(one) for one in UNSEEN}
GROUND = (200, 220, 240)

small_worlds = st.builds(
    lambda seed, unseen: scenes.generate(8, seed, unseen=unseen), st.integers(0, 2**32), st.booleans()
)


@pytest.fixture(scope="module")
def trained_on() -> EmojiScenes:
    return scenes.split("train", pictures=2000)


@pytest.fixture(scope="module")
def tested_on() -> EmojiScenes:
    return scenes.split("test", pictures=2000)


@pytest.fixture(scope="module")
def new() -> EmojiScenes:
    return scenes.split("unseen", pictures=1000)


def of_type(data: EmojiScenes, kind: str) -> list[scenes.Question]:
    return [question for question in data.questions if question.type == kind]


def names(scene: EmojiScene) -> list[str]:
    return [scenes.name(thing.emoji) for thing in scene.things]


def without_article(text: str) -> str:
    return re.sub(r"^an? ", "", text)


def named(question: scenes.Question) -> list[str]:
    """The names in a question of whether something is there, or which of two."""
    asked = re.fullmatch(r"(?:is|are) there (.+)\?", question.text)[1]
    return [without_article(part) for part in asked.split(" or ")]


# ---- The oracle: answers from the text, in columns and rows instead of pixels.


def slot(thing: Placed) -> tuple[int, int]:
    return 3 * thing.x // scenes.SIZE, 3 * thing.y // scenes.SIZE


def oracle(question: scenes.Question, scene: EmojiScene) -> str:
    there = names(scene)
    kinds = {scenes.name(thing.emoji): scenes.kind_of(thing.emoji) for thing in scene.things}
    if found := re.fullmatch(r"how many (.+) are there\?", question.text):
        return str(sum(kind != OTHER and scenes.KINDS[kind] == found[1] for kind in kinds.values()))
    if found := re.fullmatch(r"what is (left of|right of|above|below) the (.+)\?", question.text):
        (anchor,) = [thing for thing in scene.things if scenes.name(thing.emoji) == found[2]]
        column, row = slot(anchor)
        fits = {
            "left of": lambda place: place[0] < column,
            "right of": lambda place: place[0] > column,
            "above": lambda place: place[1] < row,
            "below": lambda place: place[1] > row,
        }[found[1]]
        (answer,) = [scenes.name(thing.emoji) for thing in scene.things if fits(slot(thing))]
        return answer
    if found := re.fullmatch(r"what (.+) is there\?", question.text):
        (answer,) = [called for called in there if kinds[called] == found[1]]
        return answer
    asked = named(question)
    assert all(called in BY_NAME for called in asked)
    if len(asked) == 1:
        return "yes" if asked[0] in there else "no"
    (answer,) = set(asked) & set(there)
    return answer


@settings(max_examples=40, deadline=None)
@given(small_worlds)
def test_every_answer_is_what_the_oracle_says(world):
    assert [q.type for q in world.questions] == list(scenes.TYPES) * len(world.scenes)
    assert [q.picture for q in world.questions] == [i for i in range(len(world.scenes)) for _ in scenes.TYPES]
    for question in world.questions:
        assert question.answer == oracle(question, world.scenes[question.picture]), question


@settings(max_examples=40, deadline=None)
@given(small_worlds)
def test_things_are_few_different_whole_and_apart(world):
    for scene in world.scenes:
        assert FEWEST <= len(scene.things) <= MOST
        assert len({thing.emoji for thing in scene.things}) == len(scene.things)
        taken = np.zeros((scenes.SIZE, scenes.SIZE), dtype=int)
        for thing in scene.things:
            assert 34 <= thing.size <= 42
            left, top = thing.x - thing.size // 2, thing.y - thing.size // 2
            assert min(left, top) >= 0 and max(left, top) + thing.size <= scenes.SIZE
            taken[top : top + thing.size, left : left + thing.size] += 1
        assert taken.max() == 1
        assert [slot(thing)[::-1] for thing in scene.things] == sorted(slot(thing)[::-1] for thing in scene.things)


# ---- Things and names


def test_the_vocabulary_is_of_plain_names_without_doubles():
    assert 300 <= len(SEEN + UNSEEN) <= 400 and len(BY_NAME) == len(SEEN + UNSEEN)
    assert 0.2 <= len(UNSEEN) / len(SEEN + UNSEEN) < 0.22
    assert all(re.fullmatch(r"[a-z]+( [a-z]+)?", called) for called in BY_NAME)
    groups = ("Animals & Nature", "Food & Drink", "Travel & Places", "Activities", "Objects")
    assert {one.group for one in SEEN + UNSEEN} <= set(groups)
    assert scenes.vocabulary() == (SEEN, UNSEEN)


def test_the_unseen_are_of_other_families_and_of_every_kind():
    families = Counter(emoji.family(one.character) for one in SEEN + UNSEEN)
    assert set(families.values()) == {1}
    for kind in (*scenes.KINDS, OTHER):
        count, held_out = (sum(scenes.kind_of(one) == kind for one in side) for side in (SEEN, UNSEEN))
        assert held_out >= 3 and held_out == -(-(count + held_out) // 5)


def test_changing_the_list_that_was_returned_changes_nothing():
    scenes.vocabulary()[0].clear()
    assert scenes.vocabulary()[0] == SEEN


@pytest.mark.parametrize("called, kind", [
    ("cat", "animal"), ("cactus", "plant"), ("pizza", "food"), ("tomato", "food"), ("bicycle", "vehicle"),
    ("castle", "building"), ("guitar", "musical instrument"), ("hammer", ""), ("umbrella", ""),
])  # fmt: skip
def test_kinds(called, kind):
    assert scenes.kind_of(BY_NAME[called]) == kind


@pytest.mark.parametrize("called, phrase", [
    ("cat", "a cat"), ("apple", "an apple"), ("owl", "an owl"), ("umbrella", "an umbrella"),
    ("ice cream", "an ice cream"),
    ("scissors", "scissors"), ("grapes", "grapes"), ("bread", "bread"), ("ballet shoes", "ballet shoes"),
])  # fmt: skip
def test_articles(called, phrase):
    assert scenes.phrase(BY_NAME[called]) == phrase


def test_no_plural_or_mass_noun_is_missed():
    """Of the names that end in s these are singular; all others go without an article."""
    singular = {called for called in BY_NAME if called.endswith("s") and scenes.phrase(BY_NAME[called]) != called}
    animals, others = {"octopus", "rhinoceros", "hippopotamus"}, {"bus", "compass", "dress", "abacus"}
    assert singular == animals | {"cactus", "lotus", "hibiscus"} | others


def test_captions_read_row_by_row():
    cat, pizza, apple = (BY_NAME[called] for called in ("cat", "pizza", "apple"))
    things = (Placed(cat, 64, 20, 34), Placed(pizza, 21, 64, 34), Placed(apple, 107, 60, 34))
    assert scenes.caption(EmojiScene(things, GROUND)) == "a cat, a pizza and an apple"
    assert scenes.caption(EmojiScene(things[:2], GROUND)) == "a cat and a pizza"
    assert scenes.caption(EmojiScene(things[:1], GROUND)) == "a cat"


def test_what_is_beside_a_thing_is_so_by_half_a_slot():
    cat, pizza, apple = (BY_NAME[called] for called in ("cat", "pizza", "apple"))
    scene = EmojiScene((Placed(cat, 25, 25, 34), Placed(apple, 107, 17, 34), Placed(pizza, 17, 64, 34)), GROUND)
    anchor, right, below = scene.things
    assert beside(scene, anchor, "right of") == [right]
    assert beside(scene, anchor, "below") == [below]
    assert beside(scene, anchor, "left of") == [] == beside(scene, anchor, "above")
    assert beside(scene, right, "left of") == [anchor, below]


# ---- Pictures


def test_every_thing_is_drawn_where_it_should_be():
    """Held against the thing laid over the ground first and made smaller then, which differs by a little at edges."""
    rng = random.Random(0)
    distances = []
    for one in SEEN + UNSEEN:
        size = rng.choice(SIZES)
        picture = scenes.render(EmojiScene((Placed(one, 64, 64, size),), GROUND))
        assert picture.shape == (128, 128, 3) and picture.dtype == np.uint8
        expected = emoji.picture(one, size, GROUND).astype(int)

        def distance(down: int, right: int, picture=picture, size=size, expected=expected) -> float:
            top, left = 64 - size // 2 + down, 64 - size // 2 + right
            return abs(picture[top : top + size, left : left + size].astype(int) - expected).mean()

        assert distance(0, 0) < min(distance(*step) for step in ((1, 0), (-1, 0), (0, 1), (0, -1)))
        distances.append(distance(0, 0))
        differs = (picture != GROUND).any(axis=2)
        there = slice(64 - size // 2, 64 - size // 2 + size)
        assert differs[there, there].mean() > 0.05
        differs[there, there] = False
        assert not differs.any()
    assert np.mean(distances) < 1.5 and max(distances) < 6


def test_many_pictures_are_those_drawn_one_by_one():
    some = scenes.split("unseen", pictures=5)
    assert some.pictures.shape == (5, 128, 128, 3) and some.pictures is some.pictures
    for scene, picture in zip(some.scenes, some.pictures, strict=True):
        np.testing.assert_array_equal(scenes.render(scene), picture)


@settings(max_examples=15, deadline=None)
@given(small_worlds)
def test_nothing_vanishes_on_its_ground(world):
    for scene, picture in zip(world.scenes, world.pictures, strict=True):
        assert min(scene.background) >= 190
        for thing in scene.things:
            left, top = thing.x - thing.size // 2, thing.y - thing.size // 2
            part = picture[top : top + thing.size, left : left + thing.size].astype(int)
            assert (abs(part - scene.background).max(axis=2) >= 10).mean() > 0.05


# ---- Balance: who does not look can only guess


@pytest.mark.parametrize("which", ["trained_on", "new"])
def test_answers_are_as_frequent_as_each_other(which, request):
    data = request.getfixturevalue(which)
    pictures = len(data.scenes)
    yes = Counter(question.answer for question in of_type(data, "exist"))
    assert set(yes) == {"yes", "no"} and yes["yes"] == yes["no"] == pictures / 2
    counts = Counter(question.answer for question in of_type(data, "count"))
    assert set(counts) == set("0123") and max(counts.values()) - min(counts.values()) <= 0.01 * pictures
    first = sum(named(question)[0] == question.answer for question in of_type(data, "choice"))
    assert first == pictures / 2


@pytest.mark.parametrize("kind", ["exist", "choice"])
def test_what_is_not_there_is_half_the_time_of_a_kind_that_is(trained_on, kind):
    alike = []
    for question in of_type(trained_on, kind):
        there = trained_on.scenes[question.picture].things
        absent = set(named(question)) - set(names(trained_on.scenes[question.picture]))
        kinds = {scenes.kind_of(thing.emoji) for thing in there}
        alike += [scenes.kind_of(BY_NAME[called]) in kinds for called in absent]
    assert np.mean(alike) == pytest.approx(0.5, abs=0.002)


def leads(data: EmojiScenes, kind: str, key) -> dict:
    """How much more often what a question of this type names was there than not."""
    lead: dict = defaultdict(int)
    for question in of_type(data, kind):
        there = names(data.scenes[question.picture])
        for called in named(question):
            lead[key(called)] += 1 if called in there else -1
    return lead


@pytest.mark.parametrize("key", [lambda called: called, lambda called: scenes.kind_of(BY_NAME[called])])
def test_a_reader_who_learns_what_is_often_there_is_at_chance(trained_on, tested_on, key):
    lead = leads(trained_on, "exist", key)
    right = [(lead[key(named(q)[0])] > 0) == (q.answer == "yes") for q in of_type(tested_on, "exist")]
    assert np.mean(right) == pytest.approx(0.5, abs=0.045)
    lead = leads(trained_on, "choice", key)
    right = [max(named(q), key=lambda called: lead[key(called)]) == q.answer for q in of_type(tested_on, "choice")]
    assert np.mean(right) == pytest.approx(0.5, abs=0.045)


def test_even_the_best_reader_of_the_same_pictures_is_near_chance(trained_on):
    """The majority by name on the pictures that it was counted on, the upper bound of any such reader."""
    answers: dict[str, Counter] = defaultdict(Counter)
    for question in of_type(trained_on, "exist"):
        answers[question.text][question.answer] += 1
    assert sum(max(counter.values()) for counter in answers.values()) / len(trained_on.scenes) < 0.55


def test_counts_do_not_depend_on_what_is_counted(trained_on):
    by_text: dict[str, Counter] = defaultdict(Counter)
    for question in of_type(trained_on, "count"):
        by_text[question.text][question.answer] += 1
    assert len(by_text) == len(scenes.KINDS)
    assert all(max(counter.values()) - min(counter.values()) <= 1 for counter in by_text.values())


def test_the_side_matters(trained_on):
    """Where there are three things or more, another one is on none of that side."""
    crowded = [q for q in of_type(trained_on, "relation") if len(trained_on.scenes[q.picture].things) > 2]
    assert len(crowded) > 0.75 * len(trained_on.scenes)
    sides = Counter(re.match(r"what is (\w+)", q.text)[1] for q in crowded)
    assert min(sides.values()) > 0.2 * len(crowded)


# ---- Splits


@pytest.mark.parametrize("which", ["train", "validation", "test"])
def test_three_splits_show_and_name_only_what_is_seen(which):
    data = scenes.split(which, pictures=300)
    allowed = {scenes.name(one) for one in SEEN}
    assert all(set(names(scene)) <= allowed for scene in data.scenes)
    for question in data.questions:
        if question.type in ("exist", "choice"):
            assert set(named(question)) <= allowed
        assert question.answer in allowed | {"yes", "no", *"0123"}


def test_the_unseen_split_is_about_the_unseen(new):
    for scene in new.scenes:
        assert 2 * len(NEW & set(names(scene))) >= len(scene.things)
    assert any(set(names(scene)) - NEW for scene in new.scenes)
    assert all(question.answer in NEW for kind in ("what", "choice", "relation") for question in of_type(new, kind))
    assert all(named(question)[0] in NEW for question in of_type(new, "exist"))
    both = [set(named(question)) <= NEW for question in of_type(new, "choice")]
    assert np.mean(both) == 0.5


def test_the_same_seed_gives_the_same_and_a_longer_split_begins_with_the_shorter():
    short, long = scenes.split("train", pictures=40), scenes.split("train", pictures=60)
    assert short == scenes.split("train", pictures=40)
    assert long.scenes[:40] == short.scenes and long.questions[:200] == short.questions
    first = [scenes.split(name, pictures=1).scenes for name in scenes.SPLITS]
    assert len(set(first)) == len(scenes.SPLITS)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="no split 'dev'; the splits are train, validation, test, unseen"):
        scenes.split("dev", pictures=3)
    with pytest.raises(ValueError, match="pictures is 0; it must be at least 1"):
        scenes.split("train", pictures=0)
    (face,) = [one for one in emoji.load() if one.names["en"] == "grinning face"]
    with pytest.raises(ValueError, match="not in the vocabulary"):
        scenes.kind_of(face)
    with pytest.raises(KeyError):
        beside(scenes.split("train", pictures=1).scenes[0], Placed(face, 0, 0, 34), "behind")
