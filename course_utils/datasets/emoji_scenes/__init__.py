"""Emoji scenes: pictures of a few emoji on a plain ground, a caption and five questions for each.

Two to four different things stand in the nine slots of a picture of 128x128 pixels. As in CLEVR (Johnson et al., 2017)
the scene is known, so every answer is exact; unlike there, things are everyday things with everyday names, which a
language model knows before it has seen a picture. A fifth of them are in no picture of the training set.

Answers are balanced, so that a reader who does not look can only guess: "yes" is as frequent as "no", every count as
every other, and each name is about as often there as not where a question names it. Pictures: Twemoji, see
:mod:`course_utils.datasets.emoji`.

    data = split("train", pictures=2000)
    caption(data.scenes[0]), data.pictures[0], data.questions[0].text, data.questions[0].answer
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from PIL import Image

from course_utils.datasets import emoji
from course_utils.datasets.emoji import Emoji
from course_utils.datasets.vqa import VisualQuestion

SIZE = 128  # pixels to a side of a picture
SLOT = 42  # pixels to a side of a slot; a pixel stays free between two
STEP = SLOT + 1
SIZES = (34, 36, 38, 40, 42)  # pixels to a side of a thing
FEWEST, MOST = 2, 4  # things in a picture
APART = SLOT // 2  # pixels by which a thing is left of, right of, above or below another: half a slot

TYPES = ("exist", "count", "what", "choice", "relation")
# The highest count is one less than the things of a scene: the question "what animal is there?" needs one of a kind.
COUNTS = tuple(range(MOST))
# Kind -> its plural. Every person says alike what is one and what is not; fruit and vegetables are foods, not plants.
KINDS = {
    "animal": "animals",
    "plant": "plants",
    "food": "foods",
    "vehicle": "vehicles",
    "building": "buildings",
    "musical instrument": "musical instruments",
}
OTHER = ""  # the kind of things that are none of these; no question asks for it
SIDES = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}  # steps in x and y

# Name of a split -> (seed, whether at least half of the things are held out of the other splits).
SPLITS = {"train": (1, False), "validation": (2, False), "test": (3, False), "unseen": (4, True)}
HELD_OUT = 5  # one in so many of each kind is unseen, rounded up

# Things told at a glance. Where the name of one covers another (a bird and an owl, a car and a taxi) or two look alike
# (a rat and a mouse), only one of them is here, so that no two names fit one picture. Left out too is what
# shows a second thing, such as a fishing pole with a fish.
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
_STYLE = "\ufe0f"


@dataclass(frozen=True, slots=True)
class Placed:
    """A thing in its place. ``x`` and ``y`` are its centre in pixels from the top left corner, ``size`` its side."""

    emoji: Emoji
    x: int
    y: int
    size: int


@dataclass(frozen=True, slots=True)
class EmojiScene:
    """All that there is to know about a picture: its things, row by row from left to right, and the ground's RGB."""

    things: tuple[Placed, ...]
    background: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Question:
    """A question about picture number ``picture``; ``type`` is one of ``TYPES``."""

    picture: int
    type: str
    text: str
    answer: str


@dataclass(frozen=True)
class EmojiScenes:
    """Scenes and their questions, picture by picture.

    In the splits, those of picture i are ``questions[5 * i : 5 * i + 5]``, in order of ``TYPES``.
    """

    scenes: tuple[EmojiScene, ...]
    questions: tuple[Question, ...]

    @cached_property
    def pictures(self) -> np.ndarray:
        """The scenes drawn, (n, 128, 128, 3) uint8; drawn at the first use and then kept."""
        return render_all(self.scenes)

    @cached_property
    def visual_questions(self) -> list[VisualQuestion]:
        """The questions as :class:`course_utils.datasets.vqa.VisualQADataset` takes them."""
        return [VisualQuestion(i, q.picture, q.text, q.answer, q.type) for i, q in enumerate(self.questions)]


# --- things and their names -------------------------------------------------------------------------------------


@cache
def _things() -> dict[str, tuple[tuple[Emoji, ...], tuple[Emoji, ...]]]:
    """Kind -> its (seen, unseen) emoji."""
    by_character = {one.character.replace(_STYLE, ""): one for one in emoji.load()}
    rng = random.Random(0)
    things = {}
    for kind, characters in _THINGS.items():
        every = [by_character[character] for character in characters.split()]
        unseen = set(rng.sample(range(len(every)), -(-len(every) // HELD_OUT)))
        sides = ([], [])
        for i, one in enumerate(every):
            sides[i in unseen].append(one)
        things[kind] = (tuple(sides[0]), tuple(sides[1]))
    return things


@cache
def _kinds() -> dict[str, str]:
    return {one.code: kind for kind, sides in _things().items() for side in sides for one in side}


def vocabulary() -> tuple[list[Emoji], list[Emoji]]:
    """The things of the scenes as (seen, unseen), by kind and always in the same order.

    About a fifth of each kind is unseen. No two are of one :func:`course_utils.datasets.emoji.family`.

    Raises:
        course_utils.assets.AssetError: If the pictures are not in the cache and cannot be fetched.
    """
    seen, unseen = ([one for sides in _things().values() for one in sides[side]] for side in (0, 1))
    return seen, unseen


def kind_of(thing: Emoji) -> str:
    """The kind of a thing, one of ``KINDS`` or ``OTHER``; a ValueError if it is not in the vocabulary."""
    if thing.code not in _kinds():
        raise ValueError(f"{thing.character} is not in the vocabulary of these scenes. Take one of vocabulary().")
    return _kinds()[thing.code]


def name(thing: Emoji) -> str:
    """What a thing is called, one or two words: its CLDR name, or a more everyday one for a few."""
    english = thing.names["en"]
    return _EVERYDAY.get(english, english)


def phrase(thing: Emoji) -> str:
    """The name with its article: "a cat", "an apple", but "grapes" and "bread"."""
    called = name(thing)
    if called in _MASS or called in _PLURAL:
        return called
    return f"{'an' if called[0] in 'aeiou' else 'a'} {called}"


def is_there(thing: Emoji) -> str:
    """How a question about a thing begins: "is there", or "are there" for grapes."""
    return "are there" if name(thing) in _PLURAL else "is there"


def asks_for(*things: Emoji) -> str:
    """The question whether a thing is there, or which of several: "is there a cat?", "are there grapes or a cat?"."""
    return f"{is_there(things[0])} {' or '.join(map(phrase, things))}?"


# --- pictures and captions --------------------------------------------------------------------------------------


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
            _paste(canvas[top : top + thing.size, left : left + thing.size], thing)
    return pictures


def _paste(place: np.ndarray, thing: Placed) -> None:
    """Lay a thing over a view of the picture, (size, size, 3), by its transparency."""
    colour, cover = _sprite(thing.emoji, thing.size)
    place[:] = (place * (255 - cover) + colour + 127) // 255


@cache
def _sprite(thing: Emoji, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A thing's colours times their cover, (size, size, 3) int32, and the cover from 0 to 255, (size, size, 1)."""
    small = np.asarray(_original(thing).resize((size, size), Image.Resampling.LANCZOS), dtype=np.int32)
    return small[..., :3] * small[..., 3:], small[..., 3:]


@cache
def _original(thing: Emoji) -> Image.Image:
    with Image.open(thing.picture_path) as image:
        return image.convert("RGBA")


def caption(scene: EmojiScene) -> str:
    """Tell the scene row by row from the top, each from left to right: "a cat, grapes and an anchor"."""
    *phrases, last = (phrase(thing.emoji) for thing in scene.things)
    return f"{', '.join(phrases)} and {last}" if phrases else last


def beside(scene: EmojiScene, anchor: Placed, side: str) -> list[Placed]:
    """The things that are on one of the ``SIDES`` of a thing, by half a slot at least; in any row or column."""
    step_x, step_y = SIDES[side]
    return [t for t in scene.things if (t.x - anchor.x) * step_x + (t.y - anchor.y) * step_y >= APART]


def place(chosen: Sequence[Emoji], rng: random.Random) -> EmojiScene:
    """A scene of some things: put into slots, in random order, each with as much jitter as its slot leaves room for."""
    slots = sorted(rng.sample(range(9), len(chosen)))
    things = []
    for one, slot in zip(rng.sample(chosen, len(chosen)), slots, strict=True):
        size = rng.choice(SIZES)
        x, y = (STEP * cell + rng.randint(0, SLOT - size) + size // 2 for cell in (slot % 3, slot // 3))
        things.append(Placed(one, x, y, size))
    return EmojiScene(tuple(things), _background(rng))


def _background(rng: random.Random) -> tuple[int, int, int]:
    """A light tint, never as grey as the light greys of white animals and bowls, which would vanish on it."""
    tint = [rng.randint(190, 210), rng.randint(215, 245), rng.randint(215, 245)]
    return tuple(rng.sample(tint, 3))


# --- data sets --------------------------------------------------------------------------------------------------


def generate(pictures: int, seed: int, *, unseen: bool = False) -> EmojiScenes:
    """Make a data set; the same seed gives the same one, and more pictures begin with the same pictures.

    Args:
        pictures: How many, each with one question of each of ``TYPES``.
        seed: Any whole number.
        unseen: Whether at least half of the things of each picture, and the things that questions are about, are
            of the unseen ones. Those questions are: "exist" names an unseen thing; "what", "choice" and "relation"
            have one as their answer. The other thing of a "choice" is unseen in one half and seen in the other, so
            look at the halves apart: in the second a preference for what is new would do for knowledge.

    Raises:
        ValueError: ``pictures`` is less than 1.
    """
    if pictures < 1:
        raise ValueError(f"pictures is {pictures}; it must be at least 1")
    maker = _Maker(seed, unseen)
    scenes, questions = [], []
    for number in range(pictures):
        scene, asked = maker.make(number)
        scenes.append(scene)
        questions += asked
    return EmojiScenes(tuple(scenes), tuple(questions))


def split(name: str, *, pictures: int) -> EmojiScenes:
    """An official split: "train", "validation", "test", or "unseen" with things that the others never show or name.

    Raises:
        ValueError: There is no split of that name, or ``pictures`` is less than 1.
    """
    if name not in SPLITS:
        raise ValueError(f"there is no split {name!r}; the splits are {', '.join(SPLITS)}")
    seed, unseen = SPLITS[name]
    return generate(pictures, seed, unseen=unseen)


class _Deck:
    """Deals cards in random order, each once before any comes again: balance without a pattern."""

    def __init__(self, rng: random.Random, cards: Sequence) -> None:
        self._rng, self._cards, self._left = rng, tuple(cards), []

    def deal(self) -> Any:
        if not self._left:
            self._left = self._rng.sample(self._cards, len(self._cards))
        return self._left.pop()


class _Maker:
    """Draws scenes and asks about them, with an eye on what was asked before."""

    def __init__(self, seed: int, unseen: bool) -> None:
        self.rng = random.Random(seed)
        self.unseen = unseen
        self.things = _things()
        # The root, so that the many animals are met more often than the few instruments, yet not six times as often.
        self.weights = {kind: sum(map(len, sides)) ** 0.5 for kind, sides in self.things.items()}
        self.counts = {kind: _Deck(self.rng, COUNTS) for kind in KINDS}
        both = [(a, b) for a in (True, False) for b in (True, False)]
        self.exist_cards = _Deck(self.rng, both)  # whether it is there; if not, whether one of its kind is
        self.choice_cards = _Deck(self.rng, [(*pair, new) for pair in both for new in (True, False)])
        # Name -> how much more often it was there than not, of the questions that named it.
        self.exist_lead: Counter[str] = Counter()
        self.choice_lead: Counter[str] = Counter()

    def make(self, number: int) -> tuple[EmojiScene, list[Question]]:
        """A scene about which every question can be asked, and its questions."""
        counted = self._kind([*KINDS])
        count = self.counts[counted].deal()
        while True:
            scene = place(self._choose(counted, count), self.rng)
            relations = [
                (anchor, side, found[0])
                for anchor in scene.things
                for side in SIDES
                if len(found := beside(scene, anchor, side)) == 1 and self._may_answer(found[0].emoji)
            ]
            if relations:
                break
        there = [thing.emoji for thing in scene.things]
        asked = [
            self._exist(there),
            (f"how many {KINDS[counted]} are there?", str(count)),
            self._what(there),
            self._choice(there),
            self._relation(relations),
        ]
        return scene, [Question(number, kind, *texts) for kind, texts in zip(TYPES, asked, strict=True)]

    def _kind(self, among: Sequence[str]) -> str:
        return self.rng.choices(among, [self.weights[kind] for kind in among])[0]

    def _choose(self, counted: str, count: int) -> list[Emoji]:
        """Different things, ``count`` of one kind, with one at least that is alone of its kind and may answer."""
        number = self.rng.randint(max(FEWEST, count + 1), MOST)
        others = [kind for kind in self.things if kind != counted]
        while True:
            kinds = [counted] * count + [self._kind(others) for _ in range(number - count)]
            new = self.rng.randint((number + 1) // 2, number) if self.unseen else 0
            sides = self.rng.sample([1] * new + [0] * (number - new), number)
            chosen = [self.rng.choice(self.things[kind][side]) for kind, side in zip(kinds, sides, strict=True)]
            if len({one.code for one in chosen}) == number and self._alone(chosen):
                return chosen

    def _alone(self, there: list[Emoji]) -> list[Emoji]:
        """The things of which the question "what animal is there?" can be asked."""
        kinds = Counter(map(kind_of, there))
        return [one for one in there if kind_of(one) != OTHER and kinds[kind_of(one)] == 1 and self._may_answer(one)]

    def _may_answer(self, thing: Emoji) -> bool:
        return not self.unseen or thing in self.things[kind_of(thing)][1]

    # Questions, each as (text, answer)

    def _exist(self, there: list[Emoji]) -> tuple[str, str]:
        present, alike = self.exist_cards.deal()
        if present:
            named = self._least_led(filter(self._may_answer, there), self.exist_lead)
        else:
            named = self._absent(there, alike, int(self.unseen), self.exist_lead)
        self.exist_lead[named.code] += 1 if present else -1
        return asks_for(named), "yes" if present else "no"

    def _what(self, there: list[Emoji]) -> tuple[str, str]:
        answer = self.rng.choice(self._alone(there))
        return f"what {kind_of(answer)} is there?", name(answer)

    def _choice(self, there: list[Emoji]) -> tuple[str, str]:
        first, alike, new = self.choice_cards.deal()
        answer = self._least_led(filter(self._may_answer, there), self.choice_lead)
        other = self._absent(there, alike, int(self.unseen and new), self.choice_lead)
        self.choice_lead[answer.code] += 1
        self.choice_lead[other.code] -= 1
        return asks_for(*((answer, other) if first else (other, answer))), name(answer)

    def _relation(self, relations: list[tuple[Placed, str, Placed]]) -> tuple[str, str]:
        anchor, side, answer = self.rng.choice(relations)
        return f"what is {side} the {name(anchor.emoji)}?", name(answer.emoji)

    def _least_led(self, among: Iterable[Emoji], lead: Counter[str]) -> Emoji:
        shuffled = list(among)
        self.rng.shuffle(shuffled)
        return min(shuffled, key=lambda one: lead[one.code])

    def _absent(self, there: list[Emoji], alike: bool, side: int, lead: Counter[str]) -> Emoji:
        """A thing that is not there, of a kind that is or is not there, by the lead that it can make up for."""
        present = {one.code for one in there}
        kinds_there = [kind_of(one) for one in there]
        kinds = kinds_there if alike else [kind for kind in self.things if kind not in kinds_there]
        candidates: list[Emoji] = []
        while len(candidates) < 8:  # enough to find one that is due, few enough to leave it to chance
            kind = self.rng.choice(kinds) if alike else self._kind(kinds)
            one = self.rng.choice(self.things[kind][side])
            if one.code not in present:
                candidates.append(one)
            elif present.issuperset(same.code for kind in kinds for same in self.things[kind][side]):
                kinds = [*self.things]  # all of these kinds are in the picture: any other will do
        return max(candidates, key=lambda one: lead[one.code])


if __name__ == "__main__":
    vocabulary()  # reads the list of emoji
    start = time.process_time()
    data = split("train", pictures=2000)
    made = time.process_time()
    shape = data.pictures.shape
    print(f"{len(data.questions)} questions in {made - start:.2f} s, {shape} in {time.process_time() - made:.2f} s")
