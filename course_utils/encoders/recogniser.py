"""Speech to letters: a recogniser trained with connectionist temporal classification (CTC), and its decoders."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from course_utils.encoders.speech import BANDS, RANGE, spectrograms
from course_utils.paths import CHECKPOINTS
from course_utils.training import one_cycle, row_batches

ALPHABET = " abcdefghijklmnopqrstuvwxyzäöüß"  # symbol 0 is the blank, symbol i the letter ALPHABET[i - 1]
SPACE = 1
ENGLISH, GERMAN = CHECKPOINTS / "spoken_english.safetensors", CHECKPOINTS / "spoken_german.safetensors"


def symbols(text: str) -> torch.Tensor:
    """Symbols of a text in lower case, (letters,). ValueError for a letter that is not in ``ALPHABET``."""
    if not text or set(text) - set(ALPHABET):
        raise ValueError(f"{text!r} is empty, or has other letters than {ALPHABET!r}. Spell it with these.")
    return torch.tensor([ALPHABET.index(letter) + 1 for letter in text])


def spelled(text: Sequence[int]) -> str:
    """The text of symbols."""
    return "".join(ALPHABET[symbol - 1] for symbol in text)


def both_ways(gru: nn.GRU, sequence, mask):
    """A bidirectional GRU that begins, backwards, at the last real position: (batch, positions, 2 · dim).

    As packed sequences give it; training with those takes three times as long.
    """
    places = torch.arange(mask.shape[1], device=mask.device)
    back = (mask.sum(dim=1, keepdim=True) - 1 - places) % mask.shape[1]
    rows = torch.arange(len(mask), device=mask.device)[:, None]

    def states(inputs, way: str):
        weights = [getattr(gru, f"{name}_l0{way}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        start = inputs.new_zeros(1, len(inputs), gru.hidden_size)
        return torch.gru(inputs, start, weights, True, 1, 0.0, gru.training, False, True)[0]

    backwards = states(sequence[rows, back], "_reverse")[rows, back]
    return torch.cat([states(sequence, ""), backwards], dim=-1) * mask[..., None]


class Recogniser(nn.Module):
    """Two convolutions, 43 positions a second; a GRU in both directions; a score for the blank and for each letter."""

    def __init__(self, dim: int = 96) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList([nn.Conv1d(BANDS, dim, 5, 2, 2), nn.Conv1d(dim, dim, 5, 1, 2)])
        self.norms = nn.ModuleList([nn.BatchNorm1d(dim), nn.BatchNorm1d(dim)])
        self.gru = nn.GRU(dim, dim, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * dim, len(ALPHABET) + 1)

    def states(self, mel, mask):
        """Spectrograms (batch, frames, 40) to states (batch, frames / 2, 2 · dim), and their mask."""
        hidden = mel.transpose(1, 2) + RANGE / 20  # (batch, bands, frames), 0 is the floor
        for convolution, norm, stride in zip(self.convolutions, self.norms, (2, 1), strict=True):
            hidden = F.relu(norm(convolution(hidden * mask[:, None])))
            mask = mask[:, ::stride]
        return both_ways(self.gru, hidden.transpose(1, 2), mask), mask

    def forward(self, mel, mask):
        """Spectrograms to log-probabilities (batch, positions, symbols), and their mask."""
        states, mask = self.states(mel, mask)
        return self.head(states).log_softmax(dim=-1), mask


def ctc_loss(log_probs, mask, targets: Sequence[torch.Tensor]) -> torch.Tensor:
    """The CTC loss (Graves and others, 2006), for each letter, averaged over the batch."""
    lengths = torch.tensor([len(target) for target in targets])
    return F.ctc_loss(log_probs.transpose(0, 1), torch.cat(list(targets)), mask.sum(dim=1), lengths)


def train_in_batches(model, loss, rows: int, steps: int, seed: int = 0, progress: bool = False) -> list[float]:
    """Train on ``loss(row numbers)`` in shuffled batches of 32; returns the loss of each step."""
    batches = [some for some in row_batches(rows, 2 * steps, seed, size=32) if len(some) == 32][:steps]  # whole ones
    losses = one_cycle(model.train().parameters(), batches, loss, learning_rate=4e-3, clip=1.0, progress=progress)
    model.eval()
    return losses


def collapse(path: Sequence[int]) -> list[int]:
    """What a path, a symbol for each position, spells: first merge repeats, then drop blanks."""
    return [one for one, before in zip(path, [0, *path], strict=False) if one not in (before, 0)]


def greedy(log_probs, mask) -> list[list[int]]:
    """What the most probable path of each utterance spells."""
    return [collapse(path[real].tolist()) for path, real in zip(log_probs.argmax(dim=-1), mask, strict=True)]


@torch.no_grad()
def recognise(model: Recogniser, waves: Sequence[np.ndarray]) -> list[str]:
    """Texts of recordings, (samples,) each, by :func:`greedy`."""
    batches = (waves[start : start + 40] for start in range(0, len(waves), 40))
    return [spelled(text) for some in batches for text in greedy(*model(*spectrograms(some)))]


@torch.no_grad()
def word_vectors(model: Recogniser, waves: Sequence[np.ndarray]) -> list[torch.Tensor]:
    """The words of each utterance as CTC's spaces cut them: the mean state over a word's letters, (words, 2 · dim)."""
    found = []
    for first in range(0, len(waves), 40):
        states, mask = model.states(*spectrograms(waves[first : first + 40]))
        for row, path, real in zip(states, model.head(states).argmax(dim=-1), mask, strict=True):
            path = path * real
            word = (path == SPACE).cumsum(dim=0)
            letters = path > SPACE
            groups = [row[letters & (word == number)] for number in word[letters].unique()]
            found.append(torch.stack([some.mean(dim=0) for some in groups]) if groups else row[:1] * 0)
    return found


def beam_search(log_probs: np.ndarray, width: int = 8) -> list[tuple[tuple[int, ...], float]]:
    """Prefix beam search (Graves and Jaitly, 2014): texts and their log-probability over all paths, best first.

    ``log_probs`` are (positions, symbols); ``width`` texts are kept after each position.
    """
    never = -np.inf
    beam = {(): (0.0, never)}  # text -> log-probability of its paths that end in a blank, and in its last letter
    for row in log_probs:
        new: dict[tuple[int, ...], list[float]] = {}

        def add(text: tuple[int, ...], end: int, value: float, new=new) -> None:
            if value > never:
                sums = new.setdefault(text, [never, never])
                sums[end] = np.logaddexp(sums[end], value)

        for text, (blank, letter) in beam.items():
            for symbol in np.flatnonzero(row > row.max() - 12).tolist():  # the others hardly add anything
                if symbol == 0:
                    add(text, 0, np.logaddexp(blank, letter) + row[0])
                elif text and symbol == text[-1]:
                    add(text, 1, letter + row[symbol])  # merged with the letter before,
                    add((*text, symbol), 1, blank + row[symbol])  # unless a blank stands between
                else:
                    add((*text, symbol), 1, np.logaddexp(blank, letter) + row[symbol])
        beam = dict(sorted(new.items(), key=lambda item: -np.logaddexp(*item[1]))[:width])
    return [(text, float(np.logaddexp(*both))) for text, both in beam.items()]
