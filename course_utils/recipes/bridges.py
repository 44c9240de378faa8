"""Bridges on emoji scenes: ``python -m course_utils.recipes.bridges`` writes data/bridges.csv.

Every bridge learns to describe emoji scenes through the same frozen language model, from the same frozen features of
the same 2,000 pictures, in the same order: stage one of LLaVA (Liu and others, 2023). What they differ in is what they
are, where they begin, and how many steps they have. A method whose steps should be cheaper has more of them; what a
run took stands in the table.

A step goes forward and back through the language model's 30 layers, so that every step must count. Tried for 50 steps
of 16 scenes on a linear projector that begins at the least-squares map (``LinearProjector.solve``), with one seed: the
loss on new scenes is 3.20 with a learning rate of 1e-4, and 2.70 with 3e-4.
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
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from course_utils import bridges, llm, results, training, vlm
from course_utils.checkpoints import load_checkpoint, save_weights
from course_utils.conversations import Conversations, caption_turn
from course_utils.datasets import emoji_scenes
from course_utils.datasets.emoji_scenes import EmojiScene, EmojiScenes, Placed
from course_utils.lesson import seed_everything
from course_utils.paths import CHECKPOINTS, DATA

RESULTS = DATA / "bridges.csv"
SEEDS = (0, 1, 2)
PICTURES = {"train": 2000, "test": 300, "unseen": 300}
SIDE = 4  # cells to a side of a picture
PENALTY = 300.0  # of the least-squares start
LEAST = 0.15  # a cell names a thing if it shows at least this share of it


@dataclass(frozen=True)
class Method:
    """A bridge and how it is trained.

    Attributes:
        build: From the width and the loudness of the language model's embeddings to the bridge, untrained.
        steps: Of 16 scenes each.
        learning_rate: At the end of the warm-up.
        solved: Whether it begins at the least-squares map.
    """

    build: Callable[[int, float], bridges.Bridge]
    steps: int = 300
    learning_rate: float = 3e-4
    solved: bool = False


_DIM = vlm.PictureReader.DIM
METHODS: dict[str, Method] = {
    "blind": Method(lambda width, loud: bridges.Blind(SIDE**2, width, loud), learning_rate=3e-3),
    "linear": Method(lambda width, loud: bridges.LinearProjector(_DIM, width, loud)),
    "linear, solved first": Method(lambda width, loud: bridges.LinearProjector(_DIM, width, loud), solved=True),
    "MLP": Method(lambda width, loud: bridges.MLPProjector(_DIM, width, loud)),
    "resampler": Method(lambda width, loud: bridges.Resampler(_DIM, width, loud), steps=340),
    "gated cross-attention": Method(lambda width, loud: bridges.GatedCrossAttention(_DIM, width), steps=380),
}


@dataclass(frozen=True)
class Described:
    """Emoji scenes with the frozen features of their pictures, (pictures, 16, 1536)."""

    scenes: EmojiScenes
    features: torch.Tensor

    def batches(self, tokenizer: PreTrainedTokenizerBase, **options) -> Conversations:
        """The pictures with their captions."""
        turns = [[caption_turn(emoji_scenes.caption(scene))] for scene in self.scenes.scenes]
        return Conversations(self.features, turns, tokenizer, **options)


def describe(split: str, pictures: int, reader: vlm.PictureReader) -> Described:
    """A split of emoji scenes, its pictures read."""
    scenes = emoji_scenes.split(split, pictures=pictures)
    return Described(scenes, reader.read(scenes.pictures))


# --- the least-squares start ------------------------------------------------------------------------------------


def name_vector(name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    """The mean of the word embeddings of a name's tokens, (width,)."""
    ids = tokenizer(f" {name}", add_special_tokens=False, return_tensors="pt")["input_ids"][0].to(model.device)
    return model.get_input_embeddings().weight[ids].float().mean(dim=0).detach()


def shares(thing: Placed) -> np.ndarray:
    """How much of a thing each cell shows: (16,), row by row, together 1."""

    def along(centre: float) -> np.ndarray:
        cell, edges = emoji_scenes.SIZE / SIDE, np.arange(SIDE) * emoji_scenes.SIZE / SIDE
        low, high = centre - thing.size / 2, centre + thing.size / 2
        return np.clip(np.minimum(high, edges + cell) - np.maximum(low, edges), 0, None) / thing.size

    return np.outer(along(thing.y), along(thing.x)).ravel()


def cell_words(
    scenes: Sequence[EmojiScene], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> torch.Tensor:
    """What each cell should say, (scenes, 16, width): the names of what it shows; the mean word where it shows none."""
    nothing = model.get_input_embeddings().weight.float().mean(dim=0).detach()
    words = []
    for scene in scenes:
        weights = torch.tensor(np.stack([shares(thing) for thing in scene.things]), dtype=torch.float32)
        weights = weights.masked_fill(weights < LEAST, 0).to(nothing.device)  # (things, 16)
        names = torch.stack([name_vector(emoji_scenes.name(thing.emoji), model, tokenizer) for thing in scene.things])
        total = weights.sum(dim=0)[:, None]  # (16, 1)
        words.append(torch.where(total > 0, weights.T @ names / total.clamp(min=LEAST), nothing))
    return torch.stack(words)


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
    model, tokenizer = llm.load()
    bridge = method.build(model.config.hidden_size, vlm.loudness(model))
    if hasattr(bridge, "standardise"):
        bridge.standardise.measure(data.features)
    if method.solved:
        words = cell_words(data.scenes.scenes, model, tokenizer)
        bridge.solve(data.features.flatten(0, 1), words.flatten(0, 1), PENALTY)
    seeing = vlm.VisionLanguageModel(model, tokenizer, bridge)
    batches = Limited(data.batches(tokenizer, pictures=pictures, shuffle=True, seed=seed), steps or method.steps)
    history = training.fit(
        seeing, batches, epochs=1, learning_rate=method.learning_rate, weight_decay=0.0, progress=progress
    )
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
    for batch in data.batches(model.tokenizer, pictures=50):
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
        "method": name, "seed": seed, "loss": caption_loss(model, data["test"]),
        "loss_unseen": caption_loss(model, data["unseen"]), "named": test["seen"], "named_unseen": unseen["unseen"],
        "tokens": model.bridge(data["test"].features[:1]).shape[1],
        "parameters": sum(weight.numel() for weight in model.parameters()), "steps": METHODS[name].steps,
        "cpu_seconds": round(seconds, 1), **results.where_measured(),
    }  # fmt: skip
    return row, model


def load() -> pd.DataFrame:
    """The stored results: one row for each method and seed.

    Columns: method, seed, loss and loss_unseen (nats a token), named and named_unseen (shares of things), tokens (of a
    picture), parameters, steps, cpu_seconds of the training, machine, torch.
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
    model, tokenizer = llm.load()
    bridge = METHODS[name].build(model.config.hidden_size, vlm.loudness(model))
    seeing = vlm.VisionLanguageModel(model, tokenizer, bridge)
    load_checkpoint(seeing, checkpoint(name))
    return seeing.eval()


def main(methods: Sequence[str], seeds: Sequence[int]) -> None:
    """Measure every method with every seed; each row is stored as soon as it is known."""
    reader = vlm.PictureReader()
    data = {split: describe(split, pictures, reader) for split, pictures in PICTURES.items()}
    for name in methods:
        for seed in seeds:
            row, model = measure(name, seed, data)
            results.store(RESULTS, row, list(METHODS))
            print(f"{name}, seed {seed}: loss {row['loss']:.2f}, named {row['named']:.0%}", flush=True)
            if seed == 0:
                about = {"command": "python -m course_utils.recipes.bridges", "method": name, "seed": seed}
                halves = {key: value.bfloat16() for key, value in model.state_dict().items()}
                save_weights(halves, checkpoint(name), about)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS), metavar="METHOD")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    asked = parser.parse_args()
    main(asked.methods, asked.seeds)
