"""Emoji scenes: vocabulary, random placement, pictures and captions."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from course_utils.datasets import emoji
from course_utils.datasets.emoji import Emoji

SIZE = 128  # pixels to a side of a picture
SLOT = 42  # pixels to a side of a slot; one pixel stays free between two
STEP = SLOT + 1
SIZES = (34, 36, 38, 40, 42)  # pixels to a side of an object
FEWEST, MOST = 2, 4  # objects in a picture
APART = SLOT // 2  # pixels by which an object is left of, right of, above or below another: half a slot
SIDES = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}  # steps in x and y
# Kind -> its plural. Only kinds on whose members everybody agrees; fruit and vegetables are foods, not plants.
KINDS = {
    "animal": "animals", "plant": "plants", "food": "foods", "vehicle": "vehicles", "building": "buildings",
    "musical instrument": "musical instruments",
}  # fmt: skip
OTHER = ""  # the kind of all other objects; no question asks for it
HELD_OUT = 5  # one in so many of each kind is unseen, rounded up

# Objects that are recognised at a glance. Where one name covers another (bird and owl, car and taxi) or two look alike
# (rat and mouse), only one is here, so that no two names fit one picture. What shows a second object, such as a fishing
# pole with a fish, is left out.
_THINGS = {
    "animal": """
        🐁 🐄 🐅 🐆 🐇 🐈 🐊 🐋 🐌 🐍 🐎 🐐 🐑 🐒 🐓 🐕 🐖 🐗 🐘 🐙 🐜 🐝 🐞 🐠 🐢 🐤 🐧 🐨 🐪 🐬 🐸 🐹 🐺 🐻
        🐿 🕊 🕷 🦀 🦁 🦂 🦃 🦅 🦆 🦇 🦈 🦉 🦊 🦋 🦌 🦍 🦎 🦏 🦐 🦑 🦒 🦓 🦔 🦗 🦘 🦙 🦚 🦛 🦜 🦝 🦞 🦟 🦡 🦢
        🦣 🦤 🦥 🦦 🦧 🦨 🦩 🦫 🦬 🦭 🪰 🪱 🪳 🪼 🪿 🫎 🫏""",
    "plant": "☘ 🌱 🌲 🌳 🌴 🌵 🌷 🌸 🌹 🌺 🌻 🪴 🪷 🪻",
    "food": """
        🌭 🌮 🌯 🌶 🌽 🍅 🍆 🍇 🍉 🍊 🍋 🍌 🍍 🍎 🍐 🍑 🍒 🍓 🍔 🍕 🍗 🍘 🍙 🍚 🍝 🍞 🍟 🍡 🍣 🍨 🍩 🍪 🍫 🍭
        🍮 🍰 🍱 🍿 🎂 🥐 🥑 🥒 🥓 🥔 🥕 🥗 🥚 🥜 🥝 🥞 🥟 🥥 🥦 🥧 🥨 🥪 🥬 🥭 🥮 🥯 🧀 🧁 🧄 🧅 🧆 🧇 🧈 🫐
        🫑 🫒 🫔 🫕 🫘 🫚 🫛""",
    "vehicle": "🚀 🚁 ✈ 🚆 🚊 🚌 🚑 🚒 🚓 🏎 🚕 🚚 🛻 🚜 🚢 🚤 ⛵ 🛶 🚲 🏍 🛵 🛴 🛺 🛸",
    "building": "⛪ 🏟 🏠 🏢 🏥 🏦 🏨 🏪 🏫 🏬 🏭 🏰 🕌 🛕 🛖",
    "musical instrument": "🎷 🎸 🎹 🎺 🎻 🥁 🪇 🪈 🪉 🪊 🪕 🪗",
    OTHER: """
        ⚓ ☂ ⏰ ⌚ 🌡 🧭 🧱 ⚽ ⚾ ⛸ 🎀 🎁 🎈 🎉 🎨 🎫 🎮 🎯 🎲 🎿 🏀 🏅 🏆 🏈 🏐 🔮 🕹 🤿 🥊 🥌 🥏 🧩 🧵
        🧶 🪁 🪄 🪡 🪩 🥅 ⚖ ⚙ ⚰ ⛏ ✂ ✉ ✏ 🎒 🎓 🎤 🎧 🎩 🎬 👑 👔 👖 👗 👘 👛 👟 💄 💉 💊 💍 💎 💡 💣 💰
        💳 💻 💼 💾 📅 📋 📌 📎 📐 📓 📖 📜 📡 📢 📦 📮 📰 📱 📷 📺 📻 🔋 🔌 🔑 🔦 🔧 🔨 🔬 🔭 🕯 🕶 🖊 🖌 🖍
        🖨 🗑 🗜 🗡 🚪 🚽 🚿 🛁 🛏 🛒 🛡 🥽 🥾 🧢 🧣 🧤 🧥 🧦 🧪 🧮 🧯 🧰 🧲 🧴 🧷 🧹 🧺 🧼 🧽 🧾 🩰 🩳 🩹 🩺
        🩼 🪃 🪏 🪑 🪒 🪓 🪖 🪙 🪚 🪛 🪜 🪝 🪞 🪟 🪠 🪣 🪥 🪦 🫖 🥄 🔪 🥢 🏺 🫙 🛞 ⛽ 🛑 🗺""",
}
_EVERYDAY = {"red apple": "apple", "ear of corn": "corn", "cheese wedge": "cheese", "ewe": "sheep"}
_EVERYDAY |= {"wrapped gift": "gift", "headphone": "headphones", "carpentry saw": "saw", "poultry leg": "chicken leg"}
_MASS = frozenset("""
    bacon bread broccoli butter cheese corn custard fondue garlic popcorn soap spaghetti sushi thread yarn
    """.split()) | {"cooked rice", "ginger root"}  # fmt: skip
_PLURAL = frozenset("""
    beans blueberries cherries chopsticks gloves goggles grapes headphones jeans maracas pancakes peanuts scissors
    shorts skis socks sunglasses
    """.split()) | {"ballet shoes", "french fries"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Placed:
    """An object in its place: its centre in pixels from the top left corner, and its side in pixels."""

    emoji: Emoji
    x: int
    y: int
    size: int


@dataclass(frozen=True, slots=True)
class EmojiScene:
    """A picture's objects, row by row from left to right, and the RGB of its background."""

    things: tuple[Placed, ...]
    background: tuple[int, int, int]


@cache
def by_kind() -> dict[str, tuple[tuple[Emoji, ...], tuple[Emoji, ...]]]:
    """Kind -> its (seen, unseen) emoji."""
    by_character = {one.character.replace("\ufe0f", ""): one for one in emoji.load()}  # without variation selectors
    rng = random.Random(0)
    things = {}
    for kind, characters in _THINGS.items():
        every = [by_character[character] for character in characters.split()]
        unseen = set(rng.sample(range(len(every)), -(-len(every) // HELD_OUT)))
        things[kind] = tuple(tuple(one for i, one in enumerate(every) if (i in unseen) == side) for side in (0, 1))
    return things


@cache
def _kinds() -> dict[str, str]:
    return {one.code: kind for kind, sides in by_kind().items() for side in sides for one in side}


def vocabulary() -> tuple[list[Emoji], list[Emoji]]:
    """The objects of the scenes as (seen, unseen), by kind and always in the same order; no two are of one family.

    Raises:
        course_utils.assets.AssetError: If the pictures are not in the cache and cannot be fetched.
    """
    seen, unseen = ([one for sides in by_kind().values() for one in sides[side]] for side in (0, 1))
    return seen, unseen


def kind_of(thing: Emoji) -> str:
    """The kind of an object, one of ``KINDS`` or ``OTHER``; a ValueError if it is not in the vocabulary."""
    if thing.code not in _kinds():
        raise ValueError(f"{thing.character} is not in the vocabulary of these scenes. Take one of vocabulary().")
    return _kinds()[thing.code]


def name(thing: Emoji) -> str:
    """What an object is called, in one or two words: its CLDR name, or an everyday one for a few."""
    english = thing.names["en"]
    return _EVERYDAY.get(english, english)


def phrase(thing: Emoji) -> str:
    """The name with its article: "a cat", "an apple", but "grapes" and "bread"."""
    called = name(thing)
    if called in _MASS or called in _PLURAL:
        return called
    return f"{'an' if called[0] in 'aeiou' else 'a'} {called}"


def asks_for(*things: Emoji) -> str:
    """The question whether an object is there, or which of several: "is there a cat?", "are there grapes or a cat?"."""
    verb = "are" if name(things[0]) in _PLURAL else "is"
    return f"{verb} there {' or '.join(map(phrase, things))}?"


def render(scene: EmojiScene) -> np.ndarray:
    """Draw one scene as a (128, 128, 3) uint8 picture."""
    return render_all([scene])[0]


def render_all(scenes: Sequence[EmojiScene]) -> np.ndarray:
    """Draw scenes as (n, 128, 128, 3) uint8 pictures."""
    pictures = np.empty((len(scenes), SIZE, SIZE, 3), dtype=np.uint8)
    for canvas, scene in zip(pictures, scenes, strict=True):
        canvas[:] = scene.background
        for thing in scene.things:
            left, top = thing.x - thing.size // 2, thing.y - thing.size // 2
            place = canvas[top : top + thing.size, left : left + thing.size]
            colour, cover = _sprite(thing.emoji, thing.size)
            place[:] = (place * (255 - cover) + colour + 127) // 255
    return pictures


@cache
def _sprite(thing: Emoji, size: int) -> tuple[np.ndarray, np.ndarray]:
    """An emoji's colours times its opacity, (size, size, 3) int32, and the opacity from 0 to 255, (size, size, 1)."""
    small = np.asarray(_original(thing).resize((size, size), Image.Resampling.LANCZOS), dtype=np.int32)
    return small[..., :3] * small[..., 3:], small[..., 3:]


@cache
def _original(thing: Emoji) -> Image.Image:
    with Image.open(thing.picture_path) as image:
        return image.convert("RGBA")


def caption(scene: EmojiScene) -> str:
    """Describe the scene row by row from the top, each from left to right: "a cat, grapes and an anchor"."""
    *phrases, last = (phrase(thing.emoji) for thing in scene.things)
    return f"{', '.join(phrases)} and {last}" if phrases else last


def beside(scene: EmojiScene, anchor: Placed, side: str) -> list[Placed]:
    """The objects on one of the ``SIDES`` of another, by at least half a slot, in any row or column."""
    step_x, step_y = SIDES[side]
    return [t for t in scene.things if (t.x - anchor.x) * step_x + (t.y - anchor.y) * step_y >= APART]


def place(chosen: Sequence[Emoji], rng: random.Random) -> EmojiScene:
    """A scene of some emoji, in random order and slots, each shifted at random within its slot."""
    slots = sorted(rng.sample(range(9), len(chosen)))
    things = []
    for one, slot in zip(rng.sample(chosen, len(chosen)), slots, strict=True):
        size = rng.choice(SIZES)
        x, y = (STEP * cell + rng.randint(0, SLOT - size) + size // 2 for cell in (slot % 3, slot // 3))
        things.append(Placed(one, x, y, size))
    # A light tint, never as grey as white animals and bowls, which would vanish on it.
    tint = [rng.randint(190, 210), rng.randint(215, 245), rng.randint(215, 245)]
    return EmojiScene(tuple(things), tuple(rng.sample(tint, 3)))
