"""Pictures and what is said about them, as batches for a vision-language model.

One picture goes with several turns, each a prompt and its answer. They lie one behind the other in one row, share the
picture, and do not see each other: one pass through the language model trains them all, as if each were alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

NO_TURN = -1  # the turn of padding
IGNORE = -100  # the target where no answer is due
SO = ":"  # between a working and its answer


@dataclass(frozen=True)
class Turn:
    """A prompt, what is to be answered, a type to count it under, and what is said on the way to the answer, if any."""

    prompt: str
    answer: str
    type: str = ""
    working: str = ""

    @property
    def said(self) -> str:
        """All that is to be said: the answer, behind its working."""
        return f"{self.working}{SO} {self.answer}" if self.working else self.answer


# What layers of the language model made of turns when they were read ahead: states (tokens, width) of each.
Reading = dict[Turn, torch.Tensor]

CAPTION_PROMPT = "Picture:"


def answer_in(said: str) -> str:
    """The answer in what a model said, which may begin with a working."""
    return said.rpartition(SO)[2].strip()


def caption_turn(text: str) -> Turn:
    """The one turn of a picture with a caption."""
    return Turn(CAPTION_PROMPT, text, "caption")


def question_turn(question: str, answer: str, type: str = "") -> Turn:
    """A question about a picture: asked as it stands, since every token of every question costs."""
    return Turn(question, answer, type)


@dataclass(frozen=True)
class Row:
    """The turns of one picture as tokens, all of the same length (tokens,).

    Attributes:
        ids: Token numbers.
        turn: Which turn each token belongs to.
        place: Where in its turn it stands.
        target: The next token where it is part of an answer or ends one; ``IGNORE`` elsewhere.
    """

    ids: np.ndarray
    turn: np.ndarray
    place: np.ndarray
    target: np.ndarray


def row(turns: Sequence[Turn], tokenizer: PreTrainedTokenizerBase) -> Row:
    """Lay the turns of one picture one behind the other.

    Raises:
        ValueError: If there is no turn, or a prompt or an answer is empty.
    """
    return rows([turns], tokenizer)[0]


def rows(pictures: Sequence[Sequence[Turn]], tokenizer: PreTrainedTokenizerBase) -> list[Row]:
    """A row for each picture, from its turns.

    All texts go to the tokenizer at once, which divides them among the processor's cores.

    Raises:
        ValueError: If a picture has no turn, or a prompt or an answer is empty.
    """
    if not all(pictures):
        raise ValueError("A picture without a turn teaches nothing: give at least one.")
    every = [turn for turns in pictures for turn in turns]
    for turn in every:
        if not turn.prompt.strip() or not turn.answer.strip():
            raise ValueError(f"A turn needs a prompt and an answer, not {turn.prompt!r} and {turn.answer!r}.")
    prompts = tokenizer([turn.prompt for turn in every], add_special_tokens=False)["input_ids"]
    said = tokenizer([f" {turn.said}" for turn in every], add_special_tokens=False)["input_ids"]
    parts = map(partial(_tokens, end=tokenizer.eos_token_id), prompts, said)
    return [_row(list(islice(parts, len(turns)))) for turns in pictures]


def _tokens(prompt: list[int], said: list[int], end: int) -> tuple[np.ndarray, np.ndarray]:
    """What goes in, and what should come out, of one turn: (tokens,) each."""
    whole = np.array([*prompt, *said, end])
    target = whole[1:].copy()
    target[: len(prompt) - 1] = IGNORE
    return whole[:-1], target


def _row(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> Row:
    return Row(
        np.concatenate([ids for ids, _ in parts]),
        np.concatenate([np.full(len(ids), number) for number, (ids, _) in enumerate(parts)]),
        np.concatenate([np.arange(len(ids)) for ids, _ in parts]),
        np.concatenate([target for _, target in parts]),
    )


def may_look(turn: torch.Tensor, place: torch.Tensor, prefix: int) -> torch.Tensor:
    """Which position may look at which: (batch, positions, positions), ``prefix`` picture tokens before the text.

    Everyone sees the picture up to itself, and its own turn up to itself. Padding sees the picture, or itself.

    Args:
        turn: (batch, text), ``NO_TURN`` for padding.
        place: (batch, text).
        prefix: Picture tokens.
    """
    same = turn[:, :, None] == turn[:, None, :]  # (batch, text, text)
    text = same & (place[:, :, None] >= place[:, None, :])
    text |= torch.eye(turn.shape[1], dtype=torch.bool, device=turn.device)
    batch, length = turn.shape
    full = torch.zeros(batch, prefix + length, prefix + length, dtype=torch.bool, device=turn.device)
    full[:, :prefix, :prefix] = torch.ones(prefix, prefix, dtype=torch.bool, device=turn.device).tril()
    full[:, prefix:, :prefix] = True
    full[:, prefix:, prefix:] = text
    return full


class Conversations:
    """Batches of pictures with their turns, for :func:`course_utils.training.fit`.

    Args:
        features: Of the pictures, (pictures, cells, dim).
        turns: Those of each picture.
        tokenizer: The language model's.
        pictures: How many to a batch.
        shuffle: Whether the order of the pictures changes from epoch to epoch.
        seed: Of the order.
        reading: Of all the turns, if they were read ahead by :func:`course_utils.vlm.read_ahead`.
        share: (number, of how many): which part of every batch is given out, where several processes share the work.

    Raises:
        ValueError: If there are not as many lists of turns as pictures, or a picture has none.
    """

    def __init__(
        self, features: torch.Tensor, turns: Sequence[Sequence[Turn]], tokenizer: PreTrainedTokenizerBase, *,
        pictures: int = 16, shuffle: bool = False, seed: int = 0, reading: Reading | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> None:  # fmt: skip
        if len(features) != len(turns) or not turns or pictures < 1:
            raise ValueError(f"{len(features)} pictures, {len(turns)} lists of turns, {pictures} to a batch: no match.")
        self.features, self.turns, self.pad = features, turns, tokenizer.pad_token_id
        if pictures % share[1] or not 0 <= share[0] < share[1]:
            raise ValueError(f"{pictures} pictures to a batch are not shared evenly by {share[1]} processes.")
        self.reading, self.share = reading, share
        self.rows = rows(turns, tokenizer)
        self.pictures, self.shuffle, self.seed, self.epoch = pictures, shuffle, seed, 0

    @property
    def batch_sampler(self) -> Conversations:
        """Where :func:`course_utils.training.fit` says which epoch begins."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        whole, rest = divmod(len(self.turns), self.pictures)
        return whole + (rest >= self.share[1])  # the last batch is given out if there is something for every process

    def __iter__(self) -> Iterator[dict]:
        return self.steps(0, len(self))

    def steps(self, first: int, last: int) -> Iterator[dict]:
        """The batches of the pass from number ``first`` on, up to ``last`` and without it."""
        order = np.arange(len(self.turns))
        if self.shuffle:
            np.random.default_rng((self.seed, self.epoch)).shuffle(order)
        number, of = self.share
        for step in range(first, last):
            yield self.batch(order[step * self.pictures :][: self.pictures][number::of])

    def batch(self, chosen: np.ndarray) -> dict:
        """Some pictures with all their turns.

        Returns:
            ``features`` (batch, cells, dim); ``ids``, ``turn`` and ``place`` (batch, text); ``asks`` (batch, text),
            True where a token of an answer is due; ``answers``, those tokens, one after the other; and, if they were
            read ahead, ``words`` (batch, text, width).
        """
        some = [self.rows[index] for index in chosen]
        target = self._padded([one.target for one in some], IGNORE)
        asks = target != IGNORE
        batch = {
            "features": self.features[torch.from_numpy(np.asarray(chosen))],
            "ids": self._padded([one.ids for one in some], self.pad),
            "turn": self._padded([one.turn for one in some], NO_TURN),
            "place": self._padded([one.place for one in some], 0),
            "asks": asks,
            "answers": target[asks],
        }
        if self.reading is not None:
            words = [torch.cat([self.reading[turn] for turn in self.turns[index]]) for index in chosen]
            batch["words"] = pad_sequence(words, batch_first=True)
        return batch

    @staticmethod
    def _padded(parts: Sequence[np.ndarray], filling: int) -> torch.Tensor:
        longest = max(len(part) for part in parts)
        return torch.from_numpy(np.stack([np.pad(p, (0, longest - len(p)), constant_values=filling) for p in parts]))
