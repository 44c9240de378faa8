"""The vision-language model of the course: ``python -m course_utils.recipes.seeing_llm`` trains and measures it.

One model answers the questions of three worlds, easy-VQA, shapes and emoji scenes, and describes emoji scenes. It is
stage two of LLaVA (Liu and others, 2023): bridge and language model learn together, the latter through LoRA. Pictures
join before layer 20 of 30; LoRA is in the layers above, and what those below make of a text is read ahead once.
Stage one is the least-squares map from cells to the states of the words that name what they show, and takes no step.

The run is kept after each of its parts: started again, it goes on from there.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from course_utils import bridges, llm, lora, results, training, vlm
from course_utils.checkpoints import load_checkpoint, save_weights
from course_utils.conversations import Conversations, Reading, Turn, caption_turn, question_turn
from course_utils.datasets import easy_vqa, emoji_scenes, shapes
from course_utils.lesson import seed_everything
from course_utils.metrics import accuracy_by_type
from course_utils.paths import CHECKPOINTS, DATA
from course_utils.recipes.bridges import ENTER, PENALTY, Names, said_by_cells, shares

RESULTS = DATA / "seeing_llm.csv"
CHECKPOINT = CHECKPOINTS / "seeing_llm.safetensors"
WORLDS = ("easy-VQA", "shapes", "emoji scenes")
PICTURES = {"easy-VQA": 4000, "shapes": 10000, "emoji scenes": 4000}  # to train on
HELD_BACK = {"easy-VQA": 1000, "shapes": 1000, "emoji scenes": 1000}  # to test on, and as many of the unseen emoji
SOLVED = 2000  # pictures of a world behind the least-squares map
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
RANK = 32
LEARNING_RATE = 1e-3
PARTS = 20  # of a pass over the data
RUN = Path("runs") / "seeing_llm"


@dataclass(frozen=True)
class World:
    """Pictures of one world, read, and what is said about them.

    Attributes:
        name: One of ``WORLDS``, with the split where it is not the one that is trained on.
        features: (pictures, 16, 1536) float16.
        turns: Of each picture.
        words: What each cell should say, (pictures, 16, width), where that is known.
    """

    name: str
    features: torch.Tensor
    turns: list[list[Turn]]


def read_world(name: str, split: str, pictures: int, reader: vlm.PictureReader) -> World:
    """Some pictures of a world, with all their questions, and captions where they are emoji scenes.

    Args:
        name: One of ``WORLDS``.
        split: One that the world has.
        pictures: At most so many.
        reader: Of the pictures.
    """
    if name == "easy-VQA":
        data = easy_vqa.load(split)
        seen, turns = data.pictures[:pictures], [[] for _ in data.pictures]
        for one in data.questions:
            turns[one.picture].append(question_turn(one.question, one.answer, one.type))
        return World(name, reader.read(seen), turns[: len(seen)])
    source = {"shapes": shapes, "emoji scenes": emoji_scenes}[name].split(split, pictures=pictures)
    turns = [[] for _ in source.scenes]
    if name == "emoji scenes":
        turns = [[caption_turn(emoji_scenes.caption(scene))] for scene in source.scenes]
    for one in source.questions:
        turns[one.picture].append(question_turn(one.text, one.answer, one.type))
    return World(name, reader.read(source.pictures), turns)


def untrained(rank: int = RANK, enter: int = ENTER) -> vlm.VisionLanguageModel:
    """The model as it is before training, and before its bridge is solved."""
    model, tokenizer = llm.load(llm.fast_dtype())
    lora.add_lora(model.model.layers[enter:], TARGETS, rank=rank, alpha=2 * rank)
    bridge = bridges.LinearProjector(vlm.PictureReader.DIM, model.config.hidden_size)
    return vlm.VisionLanguageModel(model, tokenizer, bridge, enter)


def solve(model: vlm.VisionLanguageModel, worlds: Sequence[World]) -> None:
    """Begin at the least-squares map from cells to what they show, of the worlds where that is known."""
    names = Names(model.llm, model.tokenizer, model.enter)
    model.bridge.measure(torch.cat([world.features for world in worlds]), names.states[: names.seen])
    features, words = [], []
    for world in worlds:
        if world.name == "easy-VQA":
            continue  # tells only what is asked
        some = min(SOLVED, len(world.features))
        scenes = {"shapes": shapes, "emoji scenes": emoji_scenes}[world.name].split("train", pictures=some).scenes
        say = names.cells if world.name == "emoji scenes" else ShapeNames(model).cells
        features.append(world.features[:some].flatten(0, 1))
        words.append(torch.stack([say(scene) for scene in scenes]).flatten(0, 1))
    model.bridge.solve(torch.cat(features), torch.cat(words), PENALTY)


class ShapeNames:
    """The states of names such as "large red circle".

    Args:
        model: Its language model reads them.
    """

    def __init__(self, model: vlm.VisionLanguageModel) -> None:
        every = [(size, colour, shape) for size in shapes.SIZES for colour in shapes.COLOURS for shape in shapes.SHAPES]
        words = [" ".join(one) for one in every]
        self.states = vlm.word_states(model.llm, model.tokenizer, words, model.enter).cpu()
        self._row = {one: row for row, one in enumerate(every)}

    def cells(self, scene: shapes.Scene) -> torch.Tensor:
        """What each cell of a scene should say, (16, width)."""
        things = scene.things
        shown = shares([(t.x, t.y) for t in things], [2 * shapes.SIZES[t.size] + 1 for t in things], shapes.PICTURE)
        names = self.states[[self._row[t.size, t.colour, t.shape] for t in things]]
        return said_by_cells(shown, names, self.states.mean(dim=0))


class Parts:
    """A pass over the data in parts, each an epoch of :func:`course_utils.training.fit`, which keeps the run after it.

    Args:
        batches: Of one pass.
        parts: How many.
    """

    def __init__(self, batches: Conversations, parts: int) -> None:
        self.batches, self.parts, self.epoch = batches, parts, 0

    @property
    def batch_sampler(self) -> Parts:
        """Where ``fit`` says which epoch begins."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the part of the next batches."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.batches) // self.parts

    def __iter__(self):
        number, part = divmod(self.epoch, self.parts)
        order = np.random.default_rng((self.batches.seed, number)).permutation(len(self.batches.turns))
        for step in range(part * len(self), (part + 1) * len(self)):
            yield self.batches.batch(order[step * self.batches.pictures :][: self.batches.pictures])


def mixed(
    model: vlm.VisionLanguageModel, worlds: Sequence[World], pictures: int = 16, seed: int = 0
) -> Conversations:  # fmt: skip
    """Batches of pictures from all the worlds, in proportion to their numbers."""
    turns = [some for world in worlds for some in world.turns]
    reading: Reading = vlm.read_ahead(model.llm, model.tokenizer, turns, model.enter)
    features = torch.cat([world.features for world in worlds])
    return Conversations(features, turns, model.tokenizer, pictures=pictures, seed=seed, reading=reading)


def measure(model: vlm.VisionLanguageModel, world: World, batch_size: int = 32) -> pd.DataFrame:
    """Accuracy of exact answers by question type; captions are a type of their own."""
    reading = vlm.read_ahead(model.llm, model.tokenizer, world.turns, model.enter)
    batches = Conversations(world.features, world.turns, model.tokenizer, pictures=batch_size, reading=reading)
    right = [hit for some in vlm.answers_right(model, batches) for hit in some]
    return accuracy_by_type(right, [turn.type for some in world.turns for turn in some])


def trained() -> vlm.VisionLanguageModel:
    """The shipped model.

    Raises:
        course_utils.checkpoints.CheckpointError: If the checkpoint is missing or is not of this model.
    """
    model = untrained()
    load_checkpoint(model, CHECKPOINT)
    return model.eval()


def train(worlds: Sequence[World], passes: int, seed: int = 0, folder: Path | None = RUN) -> vlm.VisionLanguageModel:
    """Train from the least-squares start.

    Args:
        worlds: To train on.
        passes: Over their pictures.
        seed: Of LoRA's weights and of the order of the pictures.
        folder: Where the run is kept; None to keep nothing.
    """
    seed_everything(seed)
    model = untrained()
    solve(model, worlds)
    batches = Parts(mixed(model, worlds, seed=seed), PARTS)
    training.fit(
        model, batches, epochs=passes * PARTS, learning_rate=LEARNING_RATE, weight_decay=0.0, warmup=0.03,
        folder=folder, resume=folder is not None,
    )  # fmt: skip
    return model


def main(passes: int, pictures: float) -> None:
    """Train, ship and measure the model."""
    reader = vlm.PictureReader()
    worlds = [read_world(name, "train", int(pictures * number), reader) for name, number in PICTURES.items()]
    model = train(worlds, passes)
    about = {"command": "python -m course_utils.recipes.seeing_llm", "passes": passes, "pictures": pictures}
    save_weights(vlm.compact(model), CHECKPOINT, about)
    for name, number in HELD_BACK.items():
        for split in ("test", "unseen") if name == "emoji scenes" else ("test",):
            table = measure(trained(), read_world(name, split, number, reader))
            for row in table.to_dict("records"):
                method = f"{name}, {split}" if split != "test" else name
                row = {"method": method, "seed": row.pop("type"), **row, **results.where_measured()}
                results.store(RESULTS, row, [*WORLDS, "emoji scenes, unseen"])
            print(name, split, table.to_string(index=False), sep="\n", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passes", type=int, default=1, help="over the pictures")
    parser.add_argument("--pictures", type=float, default=1.0, help="share of the pictures to train on")
    asked = parser.parse_args()
    main(asked.passes, asked.pictures)
