"""Batches of pictures and the turns about them, for a vision-language model.

The turns of a picture, each a prompt and its answer, are concatenated in one row and share the picture. The attention
mask separates them, so one forward pass trains all turns as if each were alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from course_utils.training import IGNORE, EpochBatches

NO_TURN = -1  # turn id of padding
SEPARATOR = ":"  # the first one in a completion ends the rationale, which has none itself
CAPTION_PROMPT = "Picture:"


@dataclass(frozen=True)
class Turn:
    """A prompt, its answer, a type to count it under, and an optional rationale before the answer."""

    prompt: str
    answer: str
    type: str = ""
    rationale: str = ""

    def __post_init__(self) -> None:
        if SEPARATOR in self.rationale:
            raise ValueError(f"The rationale {self.rationale!r} has a {SEPARATOR!r}, which would end it: leave it out.")

    @property
    def completion(self) -> str:
        """The text to generate: the answer, after its rationale; of an answer such as "10:30" even an empty one."""
        alone = not self.rationale and SEPARATOR not in self.answer
        return self.answer if alone else f"{self.rationale}{SEPARATOR} {self.answer}"


TextStates = Mapping[Turn, torch.Tensor]  # precomputed hidden states of each turn, (tokens, width)


def answer_in(completion: str) -> str:
    """The answer in a generated text, which may begin with a rationale."""
    before, separator, after = completion.partition(SEPARATOR)
    return (after if separator else before).strip()


def caption_turn(text: str) -> Turn:
    """The turn that asks for a caption."""
    return Turn(CAPTION_PROMPT, text, "caption")


def question_turn(question: str, answer: str, type: str = "") -> Turn:
    """The turn that asks a question; the prompt is the question alone."""
    return Turn(question, answer, type)


@dataclass(frozen=True)
class Row:
    """The concatenated turns of one picture, arrays of shape (tokens,)."""

    input_ids: np.ndarray
    turn_ids: np.ndarray  # number of the turn that each token belongs to
    position_ids: np.ndarray  # position of each token in its turn
    targets: np.ndarray  # the next token where it belongs to an answer or ends one; ``IGNORE`` elsewhere


def row(turns: Sequence[Turn], tokenizer: PreTrainedTokenizerBase) -> Row:
    """Concatenate the turns of one picture; errors as for :func:`token_rows`."""
    return token_rows([turns], tokenizer)[0]


def token_rows(turns: Sequence[Sequence[Turn]], tokenizer: PreTrainedTokenizerBase) -> list[Row]:
    """Concatenate the turns of each picture, in one tokenizer call; ValueError if a turn is missing or empty."""
    _check(turns)
    flat = [turn for some in turns for turn in some]
    prompts = tokenizer([turn.prompt for turn in flat], add_special_tokens=False)["input_ids"]
    completions = tokenizer([f" {turn.completion}" for turn in flat], add_special_tokens=False)["input_ids"]
    pairs = zip(prompts, completions, strict=True)
    return [_row(list(islice(pairs, len(some))), tokenizer.eos_token_id) for some in turns]


def _check(turns: Sequence[Sequence[Turn]]) -> None:
    if not all(turns):
        raise ValueError("A picture has no turn: give at least one to each.")
    for some in turns:
        for turn in some:
            if not turn.prompt.strip() or not turn.answer.strip():
                raise ValueError(f"A turn needs a prompt and an answer, not {turn.prompt!r} and {turn.answer!r}.")


def _row(pairs: Sequence[tuple[list[int], list[int]]], end: int) -> Row:
    """Lay out pairs of prompt and completion tokens one after the other; each target is the next input."""
    lengths = [len(prompt) + len(completion) for prompt, completion in pairs]
    return Row(
        np.array([token for prompt, completion in pairs for token in [*prompt, *completion]]),
        np.repeat(np.arange(len(pairs)), lengths),
        np.concatenate([np.arange(length) for length in lengths]),
        np.array([t for prompt, completion in pairs for t in [*[IGNORE] * (len(prompt) - 1), *completion, end]]),
    )


def attention_mask(turn_ids: torch.Tensor, position_ids: torch.Tensor, prefix: int) -> torch.Tensor:
    """True where a position (row) may attend to a position (column), (batch, positions, positions).

    Picture tokens attend causally to picture tokens; text to all picture tokens and causally to its own turn; padding
    to the picture and itself. ``turn_ids``, ``NO_TURN`` at padding, and ``position_ids`` are (batch, text);
    ``prefix`` is the number of picture tokens before the text.
    """
    same = turn_ids[:, :, None] == turn_ids[:, None, :]  # (batch, text, text)
    text = same & (position_ids[:, :, None] >= position_ids[:, None, :])
    text |= torch.eye(turn_ids.shape[1], dtype=torch.bool, device=turn_ids.device)
    batch, length = turn_ids.shape
    full = torch.zeros(batch, prefix + length, prefix + length, dtype=torch.bool, device=turn_ids.device)
    full[:, :prefix, :prefix] = torch.ones(prefix, prefix, dtype=torch.bool, device=turn_ids.device).tril()
    full[:, prefix:, :prefix] = True
    full[:, prefix:, prefix:] = text
    return full


class Conversations(EpochBatches):
    """Batches of pictures with all their turns, for :func:`course_utils.training.fit`.

    Args:
        features: Picture features, (pictures, cells, dim).
        turns: The turns of each picture, at least one.
        pictures_per_batch: Over all processes; their number must divide it.
        shuffle: Whether each pass takes the pictures in a new order, drawn from ``seed``.
        text_states: States of all turns, if :func:`course_utils.vlm.precompute_text` computed them.
        share: (index, count) of this process; it gets every ``count``-th picture of each batch.
        evaluations_per_epoch: Split each pass over the pictures into this many epochs of ``fit``, which evaluates
            after each. Batches that do not divide evenly are left out.
    """

    def __init__(
        self, features: torch.Tensor, turns: Sequence[Sequence[Turn]], tokenizer: PreTrainedTokenizerBase, *,
        pictures_per_batch: int = 16, shuffle: bool = False, seed: int = 0, text_states: TextStates | None = None,
        share: tuple[int, int] = (0, 1), evaluations_per_epoch: int = 1,
    ) -> None:  # fmt: skip
        if len(features) != len(turns):
            raise ValueError(f"{len(features)} pictures and {len(turns)} lists of turns: give one to each picture.")
        super().__init__(len(turns), pictures_per_batch, shuffle=shuffle, seed=seed)
        if pictures_per_batch % share[1] or not 0 <= share[0] < share[1]:
            raise ValueError(f"{pictures_per_batch} pictures per batch do not divide among {share[1]} processes.")
        self.features, self.turns, self.pad = features, turns, tokenizer.pad_token_id
        self.text_states, self.share = text_states, share
        self.evaluations_per_epoch, self.part = evaluations_per_epoch, 0
        if not len(self):
            raise ValueError(f"There are fewer batches than evaluations_per_epoch = {evaluations_per_epoch}: lower it.")
        self.tokenizer = tokenizer
        _check(turns)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order and, if passes are split, the part of the pass."""
        number, self.part = divmod(epoch, self.evaluations_per_epoch)
        super().set_epoch(number)

    def __len__(self) -> int:
        whole, rest = divmod(self.rows, self.batch_size)
        return (whole + (rest >= self.share[1])) // self.evaluations_per_epoch  # every process needs a picture

    def __iter__(self) -> Iterator[dict]:
        order, (index, count) = self.order(), self.share
        for step in range(self.part * len(self), (self.part + 1) * len(self)):
            yield self.batch(order[step * self.batch_size :][: self.batch_size][index::count])

    def batch(self, rows: np.ndarray) -> dict:
        """The batch of these pictures.

        ``features`` (batch, cells, dim); ``input_ids``, ``turn_ids`` and ``position_ids`` (batch, text);
        ``answer_mask`` (batch, text), True where a token of an answer is predicted; ``answers``, those tokens,
        (tokens,); and, if precomputed, ``text_states`` (batch, text, width).
        """
        chosen = token_rows([self.turns[index] for index in rows], self.tokenizer)
        targets = _padded([one.targets for one in chosen], IGNORE)
        batch = {
            "features": self.features[torch.from_numpy(np.asarray(rows))],
            "input_ids": _padded([one.input_ids for one in chosen], self.pad),
            "turn_ids": _padded([one.turn_ids for one in chosen], NO_TURN),
            "position_ids": _padded([one.position_ids for one in chosen], 0),
            "answer_mask": targets != IGNORE,
            "answers": targets[targets != IGNORE],
        }
        if self.text_states is not None:
            states = [torch.cat([self.text_states[turn] for turn in self.turns[index]]) for index in rows]
            batch["text_states"] = pad_sequence(states, batch_first=True)
        return batch


def _padded(arrays: Sequence[np.ndarray], value: int) -> torch.Tensor:
    return pad_sequence([torch.from_numpy(array) for array in arrays], batch_first=True, padding_value=value)
