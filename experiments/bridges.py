"""Bridges on emoji scenes: ``python -m experiments.bridges`` writes data/bridges.csv and bridge_layers.csv.

Every bridge learns to describe emoji scenes through the same frozen language model, from the same frozen features of
the same 2,000 pictures, in the same order: stage one of LLaVA (Liu and others, 2023). What they differ in is what they
are, where they begin, at which layer the picture joins the text, and how many steps they have. What a run took stands
in the table.

Pictures join before layer 20 of 30; one method joins before the first, with fewer steps, since each takes longer. The
learning rates were not tuned for each method.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from course_utils import results, training, vlm
from course_utils.checkpoints import load_checkpoint, save_weights
from course_utils.datasets import emoji_scenes
from course_utils.datasets.emoji_scenes import EmojiScene, EmojiScenes
from course_utils.language import llm
from course_utils.lesson import seed_everything
from course_utils.paths import CHECKPOINTS, DATA
from course_utils.vlm import bridges
from course_utils.vlm.conversations import Conversations, caption_turn
from course_utils.vlm.targets import LEAST, EmojiNames, solve

RESULTS = DATA / "bridges.csv"
JOINS = DATA / "bridge_layers.csv"
SEEDS = (0, 1, 2)
PICTURES = {"train": 2000, "test": 300, "unseen": 300}
LAYERS = (0, 4, 8, 12, 16, 20, 24, 28)  # where the least-squares map is tried
ENTER = 20  # the layer before which pictures join


@dataclass(frozen=True)
class Method:
    """A bridge and how it is trained.

    Attributes:
        build: From the dimension of the features and the width of the language model to the bridge, untrained.
        steps: Of 16 scenes each.
        learning_rate: At the end of the warm-up.
        solved: Whether it begins at the least-squares map.
        enter: The layer before which the picture joins.
    """

    build: Callable[[int, int], bridges.Bridge]
    steps: int = 200
    learning_rate: float = 1e-3
    solved: bool = False
    enter: int = ENTER


METHODS: dict[str, Method] = {
    "blind": Method(bridges.Blind, learning_rate=3e-2),
    "linear": Method(bridges.LinearProjector),
    "linear, solved first": Method(bridges.LinearProjector, solved=True),
    "linear, solved first, at the first layer": Method(bridges.LinearProjector, steps=70, solved=True, enter=0),
    "MLP": Method(bridges.MLPProjector),
    "resampler": Method(bridges.Resampler),
    "gated cross-attention": Method(bridges.GatedCrossAttention),
}


@dataclass(frozen=True)
class Described:
    """Emoji scenes with the frozen features of their pictures, (pictures, 16, 1536)."""

    scenes: EmojiScenes
    features: torch.Tensor

    def batches(self, model: vlm.VisionLanguageModel, **options) -> Conversations:
        """The pictures with their captions, read ahead."""
        turns = [[caption_turn(emoji_scenes.caption(scene))] for scene in self.scenes.scenes]
        reading = vlm.read_ahead(model.llm, model.tokenizer, turns, model.enter)
        return Conversations(self.features, turns, model.tokenizer, reading=reading, **options)


def describe(split: str, pictures: int, reader: vlm.PictureReader) -> Described:
    """A split of emoji scenes, its pictures read."""
    scenes = emoji_scenes.split(split, pictures=pictures)
    return Described(scenes, reader.read(scenes.pictures))


# --- training and measuring -------------------------------------------------------------------------------------


def train(
    method: Method, data: Described, seed: int, *, steps: int | None = None, pictures: int = 16, progress: bool = False
) -> tuple[vlm.VisionLanguageModel, training.History]:
    """Train a bridge from its seed, through as many passes over the data as its steps take.

    Args:
        method: One of ``METHODS``.
        data: Pictures to describe.
        seed: Of the weights and of the order of the pictures.
        steps: Where not the method's own.
        pictures: To a step.
        progress: Whether to draw a progress bar.
    """
    seed_everything(seed)
    model, tokenizer = llm.load(llm.fast_dtype())
    bridge = method.build(vlm.PictureReader.DIM, model.config.hidden_size)
    names = EmojiNames(model, tokenizer, method.enter)
    bridge.measure(data.features, names.states[: names.seen])
    if method.solved:
        least_squares(data, names, bridge)
    seeing = vlm.VisionLanguageModel(model, tokenizer, bridge, method.enter)
    batches = data.batches(seeing, pictures=pictures, shuffle=True, seed=seed)
    history = training.fit(
        seeing, Limited(batches, steps or method.steps), epochs=1, learning_rate=method.learning_rate,
        weight_decay=0.0, progress=progress,
    )  # fmt: skip
    return seeing, history


class Limited:
    """So many batches, through as many passes as it takes.

    Args:
        batches: What to take them from.
        steps: How many batches.
    """

    def __init__(self, batches: Conversations, steps: int) -> None:
        self.batches, self.steps = batches, steps

    def __len__(self) -> int:
        return self.steps

    def __iter__(self):
        given, epoch = 0, 0
        while given < self.steps:
            self.batches.set_epoch(epoch)
            for batch in self.batches:
                if given == self.steps:
                    return
                given += 1
                yield batch
            epoch += 1


@torch.no_grad()
def caption_loss(model: vlm.VisionLanguageModel, data: Described) -> float:
    """Mean cross-entropy of the captions' tokens."""
    total, count = 0.0, 0
    for batch in data.batches(model, pictures=50):
        batch = training.to_device(batch, model.llm.device)
        total += F.cross_entropy(model(batch), batch["answers"], reduction="sum").item()
        count += len(batch["answers"])
    return total / count


def named(said: Sequence[str], scenes: Sequence[EmojiScene]) -> dict[str, float]:
    """Share of the things that a caption names exactly, of "seen" and of "unseen" things; NaN where there is none."""
    unseen = set(emoji_scenes.vocabulary()[1])
    hits: dict[str, list[bool]] = {"seen": [], "unseen": []}
    for text, scene in zip(said, scenes, strict=True):
        parts = text.replace(" and ", ", ").split(", ")
        for thing in scene.things:
            side = "unseen" if thing.emoji in unseen else "seen"
            hits[side].append(emoji_scenes.phrase(thing.emoji) in parts)
    return {side: float(np.mean(found)) if found else float("nan") for side, found in hits.items()}


def least_squares(
    data: Described, names: EmojiNames, bridge: bridges.LinearProjector | None = None
) -> bridges.LinearProjector:
    """A projector at the least-squares map from cells to the names of what they show; a new one if none is given."""
    if bridge is None:
        bridge = bridges.LinearProjector(vlm.PictureReader.DIM, names.states.shape[1])
        bridge.measure(data.features, names.states[: names.seen])
    solve(bridge, [(data.features, data.scenes.scenes, names)])
    return bridge


@torch.no_grad()
def named_by_cells(bridge: bridges.Bridge, names: EmojiNames, data: Described) -> dict[str, float]:
    """Share of things whose name is the nearest to what their cells say, without the rest of the language model.

    A seen thing is to be told from all seen ones ("seen"), an unseen one from all unseen ones ("unseen") and from all
    things ("unseen, among all"); NaN where there is none.
    """
    said = bridge(data.features)  # (pictures, 16, width)
    every = range(len(names.words))
    among = {"seen": every[: names.seen], "unseen": every[names.seen :], "unseen, among all": every}
    hits: dict[str, list[bool]] = {side: [] for side in among}
    for scene, cells in zip(data.scenes.scenes, said, strict=True):
        shown = torch.tensor(names.shown(scene), dtype=torch.float32)
        shown = shown.masked_fill(shown < LEAST, 0)
        heard = shown @ cells / shown.sum(dim=1, keepdim=True)  # (things, width)
        for row, vector in zip(names.rows(scene), heard, strict=True):
            for side, rows in among.items():
                if (row < names.seen) == (side == "seen"):
                    found = vlm.nearest(vector[None], names.states[list(rows)], list(rows), k=1)
                    hits[side].append(found[0][0] == row)
    return {side: float(np.mean(found)) if found else float("nan") for side, found in hits.items()}


def where_to_join(data: dict[str, Described]) -> pd.DataFrame:
    """How well least squares alone names things, by the layer whose states it leads to: a row for each layer."""
    model, tokenizer = llm.load(llm.fast_dtype())
    rows = []
    for layer in LAYERS:
        names = EmojiNames(model, tokenizer, layer)
        bridge = least_squares(data["train"], names)
        seen, unseen = (named_by_cells(bridge, names, data[split]) for split in ("test", "unseen"))
        found = {"named": seen["seen"], "named_unseen": unseen["unseen"], "among_all": unseen["unseen, among all"]}
        rows.append({"layer": layer, "loudness": bridge.voice.loudness.item(), **found})
    return pd.DataFrame(rows)


def measure(name: str, seed: int, data: dict[str, Described]) -> tuple[dict, vlm.VisionLanguageModel]:
    """Train one method with one seed and measure it: a row of the table, and the model.

    Args:
        name: One of ``METHODS``.
        seed: Of the run.
        data: By split: "train", "test" and "unseen".
    """
    began = time.process_time()
    model, _ = train(METHODS[name], data["train"], seed, progress=True)
    seconds = time.process_time() - began
    test, unseen = (
        named(model.caption(data[split].features), data[split].scenes.scenes) for split in ("test", "unseen")
    )
    row = {
        "method": name, "seed": seed, "enter": METHODS[name].enter, "loss": caption_loss(model, data["test"]),
        "loss_unseen": caption_loss(model, data["unseen"]), "named": test["seen"], "named_unseen": unseen["unseen"],
        "tokens": model.bridge(data["test"].features[:1]).shape[1],
        "parameters": sum(weight.numel() for weight in model.parameters()), "steps": METHODS[name].steps,
        "cpu_seconds": round(seconds, 1), **results.where_measured(),
    }  # fmt: skip
    return row, model


def load() -> pd.DataFrame:
    """The stored results: one row for each method and seed.

    Columns: method, seed, enter (the layer), loss and loss_unseen (nats a token), named and named_unseen (shares of
    things), tokens (of a picture), parameters, steps, cpu_seconds of the training, machine, torch.
    """
    return pd.read_csv(RESULTS)


def checkpoint(name: str) -> Path:
    """Where the bridge of a method is shipped."""
    return CHECKPOINTS / f"bridge_{name.replace(', ', '_').replace(' ', '_').replace('-', '_').lower()}.safetensors"


def trained(name: str) -> vlm.VisionLanguageModel:
    """The language model with the shipped bridge of a method.

    Raises:
        course_utils.checkpoints.CheckpointError: If the checkpoint is missing or is not of this bridge.
    """
    model, tokenizer = llm.load(llm.fast_dtype())
    bridge = METHODS[name].build(vlm.PictureReader.DIM, model.config.hidden_size)
    seeing = vlm.VisionLanguageModel(model, tokenizer, bridge, METHODS[name].enter)
    load_checkpoint(seeing, checkpoint(name))
    return seeing.eval()


def main(methods: Sequence[str], seeds: Sequence[int]) -> None:
    """Measure every method with every seed; each row is stored as soon as it is known."""
    reader = vlm.PictureReader()
    data = {split: describe(split, pictures, reader) for split, pictures in PICTURES.items()}
    where_to_join(data).to_csv(JOINS, index=False, float_format="%.4f")
    for seed in seeds:
        for name in methods:
            row, model = measure(name, seed, data)
            results.store(RESULTS, row, list(METHODS))
            print(f"{name}, seed {seed}: loss {row['loss']:.2f}, named {row['named']:.0%}", flush=True)
            if seed == 0:
                about = {"command": "python -m experiments.bridges", "method": name, "seed": seed}
                save_weights(vlm.compact(model), checkpoint(name), about)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS), metavar="METHOD")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    asked = parser.parse_args()
    main(asked.methods, asked.seeds)
