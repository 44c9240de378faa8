"""What the cells of a picture should say: the names of the things that they show, as states of the language model.

Where the scene is known, this is all that it takes to solve a linear bridge by least squares, before any training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from course_utils import vlm
from course_utils.datasets import emoji_scenes, shapes
from course_utils.datasets.emoji_scenes import EmojiScene
from course_utils.vlm.bridges import LinearProjector

SIDE = vlm.PictureReader.SIDE  # cells to a side of a picture
LEAST = 0.15  # a cell names a thing if it shows at least this share of it
PENALTY = 300.0  # of the least squares


def shares(centres: Sequence[tuple[float, float]], sizes: Sequence[float], side: float) -> np.ndarray:
    """How much of each thing each cell of a picture shows: (things, 16), row by row, together 1 for each thing.

    Args:
        centres: x and y of each thing.
        sizes: Their sides.
        side: Of the picture.
    """

    def along(centre: np.ndarray, size: np.ndarray) -> np.ndarray:  # (things, 4)
        cell = side / SIDE
        edges = np.arange(SIDE) * cell
        low, high = (centre - size / 2)[:, None], (centre + size / 2)[:, None]
        return np.clip(np.minimum(high, edges + cell) - np.maximum(low, edges), 0, None)

    at, size = np.array(centres, dtype=float), np.array(sizes, dtype=float)
    shown = along(at[:, 1], size)[:, :, None] * along(at[:, 0], size)[:, None, :]
    return (shown / shown.sum(axis=(1, 2), keepdims=True)).reshape(len(at), -1)


def said_by_cells(shown: np.ndarray, names: torch.Tensor, nothing: torch.Tensor) -> torch.Tensor:
    """What the cells of a picture should say, (16, width): the names of what they show, by their shares.

    Args:
        shown: Shares, (things, 16).
        names: The states of the things' names, (things, width).
        nothing: What a cell says that shows none, (width,).
    """
    weights = torch.tensor(shown, dtype=torch.float32)
    weights = weights.masked_fill(weights < LEAST, 0)
    total = weights.sum(dim=0)[:, None]  # (16, 1)
    return torch.where(total > 0, weights.T @ names / total.clamp(min=LEAST), nothing)


class EmojiNames:
    """The states of the names of emoji scenes' things at a layer of the language model.

    Args:
        model: The language model.
        tokenizer: Its tokenizer.
        enter: The layer.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, enter: int) -> None:
        seen, unseen = emoji_scenes.vocabulary()
        self.words = [emoji_scenes.name(thing) for thing in seen + unseen]
        self.states = vlm.word_states(model, tokenizer, self.words, enter).cpu()  # (388, width)
        self.seen = len(seen)
        self._row = {thing.code: row for row, thing in enumerate(seen + unseen)}

    def rows(self, scene: EmojiScene) -> list[int]:
        """Which names the things of a scene have."""
        return [self._row[thing.emoji.code] for thing in scene.things]

    @staticmethod
    def shown(scene: EmojiScene) -> np.ndarray:
        """The shares of the things of a scene, (things, 16)."""
        return shares([(t.x, t.y) for t in scene.things], [t.size for t in scene.things], emoji_scenes.SIZE)

    def cells(self, scene: EmojiScene) -> torch.Tensor:
        """What each cell of a scene should say, (16, width); where it shows nothing, the mean of the seen names."""
        nothing = self.states[: self.seen].mean(dim=0)
        return said_by_cells(self.shown(scene), self.states[self.rows(scene)], nothing)


class ShapeNames:
    """The states of names such as "large red circle" at a layer of the language model.

    Args:
        model: The language model.
        tokenizer: Its tokenizer.
        enter: The layer.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, enter: int) -> None:
        every = [(size, colour, shape) for size in shapes.SIZES for colour in shapes.COLOURS for shape in shapes.SHAPES]
        words = [" ".join(one) for one in every]
        self.states = vlm.word_states(model, tokenizer, words, enter).cpu()  # (64, width)
        self._row = {one: row for row, one in enumerate(every)}

    def cells(self, scene: shapes.Scene) -> torch.Tensor:
        """What each cell of a scene should say, (16, width); where it shows nothing, the mean of the names."""
        things = scene.things
        shown = shares([(t.x, t.y) for t in things], [2 * shapes.SIZES[t.size] + 1 for t in things], shapes.PICTURE)
        names = self.states[[self._row[t.size, t.colour, t.shape] for t in things]]
        return said_by_cells(shown, names, self.states.mean(dim=0))


class SaysCells(Protocol):
    """Knows what the cells of a scene should say."""

    def cells(self, scene) -> torch.Tensor:
        """(16, width)."""


def solve(bridge: LinearProjector, parts: Sequence[tuple[torch.Tensor, Sequence, SaysCells]]) -> None:
    """Begin at the least-squares map from cells to what they should say.

    Args:
        bridge: Measured.
        parts: Features of pictures, (pictures, 16, dim), their scenes, and what the cells of such a scene should say.
    """
    features = torch.cat([read.flatten(0, 1) for read, _, _ in parts])
    words = torch.cat([says.cells(scene) for _, scenes, says in parts for scene in scenes])
    bridge.solve(features, words, PENALTY)
