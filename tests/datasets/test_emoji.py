from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict

import emoji as unicode_emoji
import numpy as np
import pytest
from PIL import Image

from course_utils.datasets import emoji


@pytest.fixture(scope="module")
def everything() -> list[emoji.Emoji]:
    return emoji.load(skin_tones=True, flags=True)


@pytest.fixture(scope="module")
def default() -> list[emoji.Emoji]:
    return emoji.load()


@pytest.fixture(scope="module")
def by_character(everything) -> dict[str, emoji.Emoji]:
    return {one.character: one for one in everything}


def since(one: emoji.Emoji) -> float:
    """The version of Unicode Emoji that brought it."""
    return unicode_emoji.EMOJI_DATA[one.character]["E"]


def test_skin_tones_and_flags_are_apart(everything, default):
    def is_called(one: emoji.Emoji, word: str) -> bool:
        return any(word in unicodedata.name(character, "") for character in one.character)

    toned = [one for one in everything if is_called(one, "EMOJI MODIFIER FITZPATRICK")]
    flags = [one for one in everything if one.group == "Flags"]
    assert default == [one for one in everything if one not in toned and one not in flags] and len(default) > 1600
    assert emoji.load(flags=True) == [one for one in everything if one not in toned]
    assert emoji.load(skin_tones=True) == [one for one in everything if one not in flags]
    assert {one.code for one in everything if is_called(one, "REGIONAL")} <= {one.code for one in flags}
    for one in flags:
        in_name = one.names["en"].startswith("flag: ") or one.names["en"].endswith((" flag", " flags"))
        assert in_name or any(0x1F1E6 <= ord(c) <= 0x1F1FF or ord(c) > 0xE0000 for c in one.character)


def test_every_fully_qualified_emoji_that_twemoji_draws_is_there_once(everything):
    # Emoji 17.0 is the newest that these pictures cover; whatever is missing has to be newer.
    assert len({one.character for one in everything}) == len({one.code for one in everything}) == len(everything)
    there = {one.character for one in everything}
    for character, data in unicode_emoji.EMOJI_DATA.items():
        wanted = data["status"] == unicode_emoji.STATUS["fully_qualified"] and data["E"] <= 17
        assert wanted == (character in there)


@pytest.mark.parametrize("character, code, name, group", [
    ("😀", "1f600", "grinning face", "Smileys & Emotion"),
    ("👁️‍🗨️", "1f441-200d-1f5e8", "eye in speech bubble", "Smileys & Emotion"),
    ("👩🏽‍🚒", "1f469-1f3fd-200d-1f692", "woman firefighter medium skin tone", "People & Body"),
    ("🕵️‍♀️", "1f575-fe0f-200d-2640-fe0f", "woman detective", "People & Body"),
    ("🐈‍⬛", "1f408-200d-2b1b", "black cat", "Animals & Nature"),
    ("🦐", "1f990", "shrimp", "Animals & Nature"),
    ("🍄‍🟫", "1f344-200d-1f7eb", "brown mushroom", "Food & Drink"),
    ("🧊", "1f9ca", "ice", "Food & Drink"),
    ("🔥", "1f525", "fire", "Travel & Places"),
    ("🎏", "1f38f", "carp streamer", "Activities"),
    ("🪏", "1fa8f", "shovel", "Objects"),
    ("#️⃣", "23-20e3", "keycap #", "Symbols"),
    ("©️", "a9", "copyright", "Symbols"),
    ("🇨🇳", "1f1e8-1f1f3", "China", "Flags"),
    ("🏴‍☠️", "1f3f4-200d-2620-fe0f", "pirate flag", "Flags"),
    ("🏴󠁧󠁢󠁷󠁬󠁳󠁿", "1f3f4-e0067-e0062-e0077-e006c-e0073-e007f", "Wales", "Flags"),
])  # fmt: skip
def test_code_name_and_group(by_character, character, code, name, group):
    one = by_character[character]
    assert (one.code, one.names["en"], one.group) == (code, name, group)
    assert one.picture_path.stem == code


def test_the_groups_have_the_sizes_that_unicode_counts(default):
    # Counted in emoji-test.txt, version 17.0, over what came with Emoji 15.1 or before and has no skin tone.
    counted = {"Smileys & Emotion": 168, "People & Body": 385, "Animals & Nature": 158, "Food & Drink": 130}
    counted |= {"Travel & Places": 218, "Activities": 85, "Objects": 262, "Symbols": 223}
    assert Counter(one.group for one in default if since(one) <= 15.1) == counted
    assert emoji.GROUPS[:-1] == tuple(counted)


def test_no_character_is_in_two_groups():
    codes = [code for runs in emoji._CHARACTERS_OF_GROUP.values() for code in emoji._expand(runs)]
    assert len(codes) == len(set(codes))
    with pytest.raises(ValueError, match="begins with 'a'"):
        emoji._group_of("a")


def test_names_are_tidy_in_every_language(everything, by_character):
    assert len(emoji.LANGUAGES) == 14 and {"en", "zh"} < set(emoji.LANGUAGES)
    for one in everything:
        assert set(one.names) == set(emoji.LANGUAGES) or (since(one) > 15.1 and one.names["en"])
        for name in one.names.values():
            assert name == name.strip() != "" and "_" not in name and not name.startswith(":")
    for language in emoji.LANGUAGES:
        assert len({one.names.get(language) for one in everything}) > 0.99 * len(everything)
    dog = by_character["🐕"].names
    assert (dog["en"], dog["zh"], dog["de"], dog["fr"]) == ("dog", "狗", "hund", "chien")


def test_a_picture_is_laid_on_its_background(by_character):
    one = by_character["😀"]
    with Image.open(one.picture_path) as image:
        pixels = np.asarray(image.convert("RGBA")).astype(float)
    alpha = pixels[..., 3:] / 255
    for background in ((255, 255, 255), (0, 40, 200)):
        drawn = emoji.picture(one, background=background)
        assert drawn.shape == (72, 72, 3) and drawn.dtype == np.uint8
        assert np.abs(drawn - (alpha * pixels[..., :3] + (1 - alpha) * background)).max() <= 1
    small = emoji.picture(one, size=32, background=(0, 40, 200))
    assert small.shape == (32, 32, 3) and small[0, 0].tolist() == [0, 40, 200]


def test_every_picture_opens_and_shows_something(default):
    for one in default[::7]:
        assert np.ptp(emoji.picture(one, size=24, background=(255, 0, 255)), axis=(0, 1)).max() > 20


@pytest.mark.parametrize("same", [
    "👩‍🚒 👨‍🚒 🧑‍🚒 👩🏽‍🚒", "🏃 🏃‍♀️ 🏃🏿‍♂️‍➡️", "🤝 🤝🏿 🫱🏻‍🫲🏿 🫱🏿‍🫲🏻", "👯 👯‍♂️ 🧑🏻‍🐰‍🧑🏿", "🤼 👩🏻‍🫯‍👩🏿",
    "👨 👩 👩‍🦰 👱‍♀️ 🧔🏻‍♂️", "👪 👨‍👩‍👧‍👦 👬 👩🏻‍🤝‍👩🏿 💏 👩‍❤️‍💋‍👨 💑", "🎅 🤶 🧑‍🎄",
    "🤱 👨‍🍼", "🕐 🕧", "🙎‍♂️ 🙍", "🐕 🐕‍🦺", "☃️ ⛄", "👍 👍🏿", "🕵️ 🕵️‍♀️",
])  # fmt: skip
def test_variants_are_of_one_family(same):
    assert len({emoji.family(character) for character in same.split()}) == 1


def test_what_is_not_a_variant_has_its_own_family():
    apart = [
        *"🤝🫱🫲🐰🚒🚀👦👩👵👪🍼🎄🤱🎅👍👎",
        "♀️",
        "♂️",
        "➡️",
        "👩‍🚒",
        "👩‍🚀",
        "👩‍🎤",
        "🇫🇷",
        "🇩🇪",
        "#️⃣",
        "*️⃣",
        "🏴󠁧󠁢󠁷󠁬󠁳󠁿",
        "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    ]
    assert len({emoji.family(character) for character in apart}) == len(apart)


def test_the_same_name_but_for_sex_skin_hair_and_direction_is_the_same_family(everything):
    # Independent of the code points, on which families are built.
    ignored = {"man", "men", "woman", "women", "person", "people", "facing", "right", "blond", "hair", "red"}
    ignored |= {"light", "medium-light", "medium", "medium-dark", "dark", "skin", "tone"}
    families: dict[str, set[str]] = defaultdict(set)
    for one in everything:
        if one.group == "People & Body":
            words = one.names["en"].replace(",", " ").split()
            families[" ".join(word for word in words if word not in ignored)].add(emoji.family(one.character))
    assert len(families) > 150
    assert {name: divided for name, divided in families.items() if len(divided) > 1} == {}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tones", [False, True])
def test_no_family_is_divided(default, everything, seed, tones):
    pool = everything if tones else default
    train, held_out = emoji.split(pool, held_out=300, seed=seed)
    assert len(held_out) == 300
    assert sorted(one.code for one in train + held_out) == sorted(one.code for one in pool)
    families = [{emoji.family(one.character) for one in side} for side in (train, held_out)]
    assert not families[0] & families[1]


def test_the_split_is_decided_by_its_seed(default):
    assert emoji.split(default, seed=4) == emoji.split(default[:], seed=4)
    assert emoji.split(default, seed=4)[1] != emoji.split(default, seed=5)[1]


def test_impossible_splits_are_refused(default):
    for held_out in (0, len(default)):
        with pytest.raises(ValueError, match="Choose from 1 to"):
            emoji.split(default, held_out=held_out)
    clocks = [one for one in default if "o’clock" in one.names["en"]]
    with pytest.raises(ValueError, match="do not add up"):
        emoji.split(clocks, held_out=5)


def test_the_sixty_are_ten_of_each_of_six_groups_and_have_short_names():
    sixty = emoji.sixty()
    assert Counter(one.group for one in sixty) == dict.fromkeys(set(emoji.GROUPS[1:7]), 10)
    assert [one.group for one in sixty] == sorted((one.group for one in sixty), key=[s.group for s in sixty].index)
    names = [one.names["en"] for one in sixty]
    assert len({emoji.family(one.character) for one in sixty}) == len(set(names)) == 60
    assert all(name.isalpha() and name.islower() and len(name) <= 10 for name in names)
    assert {"dog", "banana", "rocket"} < set(names)
    assert all(len(one.names) == len(emoji.LANGUAGES) for one in sixty)
    assert emoji.sixty() == sixty
