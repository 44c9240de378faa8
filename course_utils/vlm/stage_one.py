"""Stage one of LLaVA (Liu and others, 2023): bridges learn to caption emoji scenes through the frozen language model.

``python -m experiments.compare_bridges`` trains and measures all of ``METHODS``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from course_utils import training, vlm
from course_utils.checkpoints import load_checkpoint
from course_utils.datasets import emoji_scenes
from course_utils.device import seed_everything
from course_utils.language import llm
from course_utils.paths import CHECKPOINTS
from course_utils.vlm import bridges
from course_utils.vlm.conversations import Conversations, caption_turn
from course_utils.vlm.targets import MIN_SHARE, CellTargets, solve

JOIN_LAYER = 20
PICTURES = {"train": 2000, "test": 300, "unseen": 300}  # of each split, in the stored results


@dataclass(frozen=True)
class Method:
    """A bridge and how it is trained."""

    build: Callable[[int, int], bridges.Bridge]  # from features per cell and width of the language model
    steps: int = 200  # of 16 scenes each
    learning_rate: float = 1e-3  # after the warm-up
    least_squares_start: bool = False
    join_layer: int = JOIN_LAYER


METHODS: dict[str, Method] = {
    "blind": Method(bridges.Blind, learning_rate=3e-2),
    "linear": Method(bridges.LinearProjector),
    "linear, solved first": Method(bridges.LinearProjector, least_squares_start=True),
    "linear, solved first, at the first layer": Method(
        bridges.LinearProjector, steps=70, least_squares_start=True, join_layer=0
    ),
    "MLP": Method(bridges.MLPProjector),
    "resampler": Method(bridges.Resampler),
    "gated cross-attention": Method(bridges.GatedCrossAttention),
}


@dataclass(frozen=True)
class Described:
    """Emoji scenes with the frozen features of their pictures, (pictures, 16, 1536)."""

    scenes: emoji_scenes.EmojiScenes
    features: torch.Tensor

    def batches(self, model: vlm.VisionLanguageModel, **options) -> Conversations:
        """Batches of pictures with their captions, text states precomputed; options as for :class:`Conversations`."""
        turns = [[caption_turn(emoji_scenes.caption(scene))] for scene in self.scenes.scenes]
        states = vlm.precompute_text(model.llm, model.tokenizer, turns, model.join_layer)
        return Conversations(self.features, turns, model.tokenizer, text_states=states, **options)


def train(
    method: Method, data: Described, seed: int, *, steps: int | None = None, pictures_per_batch: int = 16,
    progress: bool = False,
) -> tuple[vlm.VisionLanguageModel, training.History]:  # fmt: skip
    """Train a bridge from its seed, which also sets the order of the pictures; by default for the method's steps."""
    seed_everything(seed)
    language, tokenizer = llm.load(llm.fast_dtype())
    bridge = method.build(vlm.PictureReader.DIM, language.config.hidden_size)
    names = CellTargets(emoji_scenes.WORLD, language, tokenizer, method.join_layer)
    bridge.measure(data.features, names.states[: names.seen])
    if method.least_squares_start:
        least_squares(data, names, bridge)
    model = vlm.VisionLanguageModel(language, tokenizer, bridge, method.join_layer)
    batches = data.batches(model, pictures_per_batch=pictures_per_batch, shuffle=True, seed=seed)
    history = training.fit(
        model, StepLimit(batches, steps or method.steps), epochs=1, learning_rate=method.learning_rate,
        weight_decay=0.0, progress=progress,
    )  # fmt: skip
    return model, history


class StepLimit:
    """A fixed number of batches, from as many passes over the data as they take."""

    def __init__(self, batches: training.EpochBatches, steps: int) -> None:
        self.batches, self.steps = batches, steps

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[dict]:
        return itertools.islice(self._endless(), self.steps)

    def _endless(self) -> Iterator[dict]:
        for epoch in itertools.count():
            self.batches.set_epoch(epoch)
            yield from self.batches


@torch.no_grad()
def caption_loss(model: vlm.VisionLanguageModel, data: Described) -> float:
    """Mean cross-entropy of the captions, in nats per token."""
    total, count = 0.0, 0
    for batch in data.batches(model, pictures_per_batch=50):
        batch = training.to_device(batch, model.llm.device)
        total += F.cross_entropy(model(batch), batch["answers"], reduction="sum").item()
        count += len(batch["answers"])
    return total / count


def named(captions: Sequence[str], scenes: Sequence[emoji_scenes.EmojiScene]) -> dict[str, float]:
    """Share of the objects that a caption names exactly, among "seen" and "unseen" objects; NaN where there is none."""
    unseen = set(emoji_scenes.vocabulary()[1])
    hits: dict[str, list[bool]] = {"seen": [], "unseen": []}
    for caption, scene in zip(captions, scenes, strict=True):
        phrases = caption.replace(" and ", ", ").split(", ")
        for thing in scene.things:
            hits["unseen" if thing.emoji in unseen else "seen"].append(emoji_scenes.phrase(thing.emoji) in phrases)
    return {side: float(np.mean(found)) if found else float("nan") for side, found in hits.items()}


def least_squares(
    data: Described, names: CellTargets, bridge: bridges.LinearProjector | None = None
) -> bridges.LinearProjector:
    """Set a projector, by default a new one, to the least-squares map from cells to the names of what they show."""
    if bridge is None:
        bridge = bridges.LinearProjector(vlm.PictureReader.DIM, names.states.shape[1])
        bridge.measure(data.features, names.states[: names.seen])
    solve(bridge, [(data.features, data.scenes.scenes, names)])
    return bridge


@torch.no_grad()
def named_by_cells(bridge: bridges.Bridge, names: CellTargets, data: Described) -> dict[str, float]:
    """Share of the objects whose name is nearest to their cells' tokens, without the rest of the language model.

    Seen objects compete with all seen names ("seen"), unseen ones with all unseen names ("unseen") and with all names
    ("unseen, among all"); NaN where there is none.
    """
    tokens = bridge(data.features)  # (pictures, 16, width)
    indices = range(len(names.words))
    among = {"seen": indices[: names.seen], "unseen": indices[names.seen :], "unseen, among all": indices}
    hits: dict[str, list[bool]] = {side: [] for side in among}
    for scene, cells in zip(data.scenes.scenes, tokens, strict=True):
        shares = torch.tensor(names.shares(scene), dtype=torch.float32)
        shares = shares.masked_fill(shares < MIN_SHARE, 0)
        vectors = shares @ cells / shares.sum(dim=1, keepdim=True)  # (objects, width)
        for row, vector in zip(names.rows(scene), vectors, strict=True):
            for side, rows in among.items():
                if (row < names.seen) == (side == "seen"):
                    found = vlm.nearest(vector[None], names.states[list(rows)], list(rows), k=1)
                    hits[side].append(found[0][0] == row)
    return {side: float(np.mean(found)) if found else float("nan") for side, found in hits.items()}


def checkpoint(name: str) -> Path:
    """File of a method's shipped bridge."""
    return CHECKPOINTS / f"bridge_{name.replace(', ', '_').replace(' ', '_').replace('-', '_').lower()}.safetensors"


def shipped(name: str) -> vlm.VisionLanguageModel:
    """The language model with a method's shipped bridge; errors as for :func:`load_checkpoint`."""
    language, tokenizer = llm.load(llm.fast_dtype())
    bridge = METHODS[name].build(vlm.PictureReader.DIM, language.config.hidden_size)
    model = vlm.VisionLanguageModel(language, tokenizer, bridge, METHODS[name].join_layer)
    load_checkpoint(model, checkpoint(name))
    return model.eval()
