"""Regression targets for each grid cell of a picture: the names of the objects it shows, as states of the LLM.

Where scenes are known, a linear bridge is solved by least squares from these, before any training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from course_utils import vlm
from course_utils.datasets import emoji_scenes
from course_utils.datasets.world import World, worlds
from course_utils.vlm.bridges import LinearProjector
from course_utils.vlm.worlds import EncodedWorld

SIDE = vlm.PictureReader.SIDE  # cells to a side of a picture
MIN_SHARE = 0.15  # a cell names an object if it shows at least this share of it
PENALTY = 300.0  # ridge penalty of the least squares


def shares(centres: Sequence[tuple[float, float]], sizes: Sequence[float], side: float) -> np.ndarray:
    """Share of each object that each cell shows: (objects, 16), row by row; each object's shares sum to 1.

    Centres (x, y) and sizes (sides) of objects and the side of the picture are in pixels.
    """

    def along(centre: np.ndarray, size: np.ndarray) -> np.ndarray:  # (objects, 4)
        cell = side / SIDE
        edges = np.arange(SIDE) * cell
        low, high = (centre - size / 2)[:, None], (centre + size / 2)[:, None]
        return np.clip(np.minimum(high, edges + cell) - np.maximum(low, edges), 0, None)

    at, size = np.array(centres, dtype=float), np.array(sizes, dtype=float)
    shown = along(at[:, 1], size)[:, :, None] * along(at[:, 0], size)[:, None, :]
    return (shown / shown.sum(axis=(1, 2), keepdims=True)).reshape(len(at), -1)


class CellTargets:
    """Targets for the cells of the pictures of a world with names and objects.

    Attributes:
        words: Names of all objects, those seen in training first.
        states: Their states at the join layer, (names, width).
        seen: How many names are seen in training.
    """

    def __init__(self, world: World, llm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, join_layer: int) -> None:
        seen, unseen = world.names()
        self.world, self.words, self.seen = world, [*seen, *unseen], len(seen)
        self.states = vlm.word_states(llm, tokenizer, self.words, join_layer).cpu()
        self._row = {word: row for row, word in enumerate(self.words)}

    def rows(self, scene: Any) -> list[int]:
        """Positions in ``words`` of the names of a scene's objects."""
        return [self._row[one.name] for one in self.world.objects(scene)]

    def shares(self, scene: Any) -> np.ndarray:
        """Shares of a scene's objects, (objects, 16)."""
        objects = self.world.objects(scene)
        return shares([(one.x, one.y) for one in objects], [one.size for one in objects], self.world.side)

    def cells(self, scene: Any) -> torch.Tensor:
        """Target of each cell of a scene, (16, width): the mean of the names it shows, weighted by their shares.

        Where a cell shows nothing, it is the mean of all seen names.
        """
        nothing = self.states[: self.seen].mean(dim=0)
        weights = torch.tensor(self.shares(scene), dtype=torch.float32)
        weights = weights.masked_fill(weights < MIN_SHARE, 0)
        total = weights.sum(dim=0)[:, None]  # (16, 1)
        names = weights.T @ self.states[self.rows(scene)] / total.clamp(min=MIN_SHARE)
        return torch.where(total > 0, names, nothing)


def reference_states(llm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, join_layer: int) -> torch.Tensor:
    """States of everyday names, (names, width), from which every bridge measures the LLM's typical scale.

    These are the seen names of emoji scenes, whatever worlds a model is trained on.
    """
    targets = CellTargets(emoji_scenes.WORLD, llm, tokenizer, join_layer)
    return targets.states[: targets.seen]


Part = tuple[torch.Tensor, Sequence[Any], CellTargets]  # features (pictures, 16, dim), scenes, targets


def known_targets(
    encoded: Sequence[EncodedWorld], llm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, join_layer: int,
    pictures: int = 2000,
) -> list[Part]:  # fmt: skip
    """Features, scenes and targets of the worlds whose scenes and names are known, at most ``pictures`` of each."""
    parts = []
    for one in encoded:
        if one.scenes is not None and (source := worlds()[one.name]).names is not None:
            targets = CellTargets(source, llm, tokenizer, join_layer)
            parts.append((one.features[:pictures], one.scenes[:pictures], targets))
    return parts


def solve(bridge: LinearProjector, parts: Sequence[Part]) -> None:
    """Set a measured bridge to the least-squares map from the features of cells to their targets."""
    features = torch.cat([read.flatten(0, 1) for read, _, _ in parts])
    words = torch.cat([targets.cells(scene) for _, scenes, targets in parts for scene in scenes])
    bridge.solve(features, words, PENALTY)
