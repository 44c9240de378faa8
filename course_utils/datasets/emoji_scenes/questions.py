"""Questions about emoji scenes, and scenes about which they can be asked, balanced over a data set."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from course_utils.datasets.emoji import Emoji
from course_utils.datasets.emoji_scenes.scenes import (
    FEWEST,
    KINDS,
    MOST,
    OTHER,
    SIDES,
    EmojiScene,
    Placed,
    asks_for,
    beside,
    by_kind,
    kind_of,
    name,
    place,
)

TYPES = ("exist", "count", "what", "choice", "relation")
# The highest count is one less than the objects of a scene: "what … is there?" needs an object alone of its kind.
COUNTS = tuple(range(MOST))


@dataclass(frozen=True, slots=True)
class Question:
    """A question about picture number ``picture``; ``type`` is one of ``TYPES``."""

    picture: int
    type: str
    text: str
    answer: str


def deck(rng: random.Random, cards: Sequence[Any]) -> Iterator[Any]:
    """Cards in random order without end, each once before any comes again: balance without a pattern."""
    while True:
        yield from reversed(rng.sample(cards, len(cards)))


class Maker:
    """Draws scenes and questions, and balances the answers; the arguments are those of ``emoji_scenes.generate``."""

    def __init__(self, seed: int, unseen: bool) -> None:
        self.rng = random.Random(seed)
        self.unseen = unseen
        self.things = by_kind()
        # The square root, so that the many animals are drawn more often than the few instruments, but not six times.
        self.weights = {kind: sum(map(len, sides)) ** 0.5 for kind, sides in self.things.items()}
        self.counts = {kind: deck(self.rng, COUNTS) for kind in KINDS}
        both = [(a, b) for a in (True, False) for b in (True, False)]
        self.exist_cards = deck(self.rng, both)  # whether it is there; if not, whether one of its kind is
        self.choice_cards = deck(self.rng, [(*pair, new) for pair in both for new in (True, False)])
        # Code -> in how many more of the questions that named it, it was there than not.
        self.exist_lead: Counter[str] = Counter()
        self.choice_lead: Counter[str] = Counter()

    def make(self, number: int) -> tuple[EmojiScene, list[Question]]:
        """A scene that allows every type of question, and its questions."""
        counted = self._kind([*KINDS])
        count = next(self.counts[counted])
        relations: list[tuple[Placed, str, Placed]] = []
        while not relations:
            scene = place(self._choose(counted, count), self.rng)
            relations = [
                (anchor, side, found[0])
                for anchor in scene.things
                for side in SIDES
                if len(found := beside(scene, anchor, side)) == 1 and self._may_answer(found[0].emoji)
            ]
        there = [thing.emoji for thing in scene.things]
        asked = [self._exist(there), (f"how many {KINDS[counted]} are there?", str(count))]
        alone = self.rng.choice(self._alone(there))
        asked += [(f"what {kind_of(alone)} is there?", name(alone)), self._choice(there)]
        anchor, side, answer = self.rng.choice(relations)
        asked.append((f"what is {side} the {name(anchor.emoji)}?", name(answer.emoji)))
        return scene, [Question(number, kind, *texts) for kind, texts in zip(TYPES, asked, strict=True)]

    def _kind(self, among: Sequence[str]) -> str:
        return self.rng.choices(among, [self.weights[kind] for kind in among])[0]

    def _choose(self, counted: str, count: int) -> list[Emoji]:
        """Different objects, ``count`` of one kind, with at least one that "what … is there?" can ask for."""
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
        """The objects that are alone of their kind and may be an answer."""
        kinds = Counter(map(kind_of, there))
        return [one for one in there if kind_of(one) != OTHER and kinds[kind_of(one)] == 1 and self._may_answer(one)]

    def _may_answer(self, thing: Emoji) -> bool:
        return not self.unseen or thing in self.things[kind_of(thing)][1]

    def _exist(self, there: list[Emoji]) -> tuple[str, str]:
        present, alike = next(self.exist_cards)
        lead = self.exist_lead
        named = self._rarest(there, lead) if present else self._absent(there, alike, self.unseen, lead)
        lead[named.code] += 1 if present else -1
        return asks_for(named), "yes" if present else "no"

    def _choice(self, there: list[Emoji]) -> tuple[str, str]:
        first, alike, new = next(self.choice_cards)
        answer = self._rarest(there, self.choice_lead)
        other = self._absent(there, alike, self.unseen and new, self.choice_lead)
        self.choice_lead[answer.code] += 1
        self.choice_lead[other.code] -= 1
        return asks_for(*((answer, other) if first else (other, answer))), name(answer)

    def _rarest(self, there: list[Emoji], lead: Counter[str]) -> Emoji:
        """The object with the smallest lead, of those that may be an answer."""
        shuffled = [one for one in there if self._may_answer(one)]
        self.rng.shuffle(shuffled)
        return min(shuffled, key=lambda one: lead[one.code])

    def _absent(self, there: list[Emoji], alike: bool, unseen: bool, lead: Counter[str]) -> Emoji:
        """The object with the largest lead, of some that are not there, of a kind that is or is not there."""
        present = {one.code for one in there}
        kinds_there = [kind_of(one) for one in there]
        kinds = kinds_there if alike else [kind for kind in self.things if kind not in kinds_there]
        candidates: list[Emoji] = []
        while len(candidates) < 8:  # enough to find one that is due, few enough to leave it to chance
            kind = self.rng.choice(kinds) if alike else self._kind(kinds)
            one = self.rng.choice(self.things[kind][unseen])
            if one.code not in present:
                candidates.append(one)
            elif present.issuperset(same.code for kind in kinds for same in self.things[kind][unseen]):
                kinds = [*self.things]  # all objects of these kinds are in the picture: take any kind
        return max(candidates, key=lambda one: lead[one.code])
