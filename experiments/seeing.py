"""Who sees what: ``python -m experiments.seeing`` writes data/seeing.csv.

The language model that ``python -m course_utils.vlm.finetune`` trained in the parts of ``PARTS``; a classifier of the
classic kind trained here on the same questions about the same pictures, in the same parts; and a baseline that
never looks. All are asked the test questions of the three worlds. The classifier is shipped as ``seeing_classifier``.
"""

from __future__ import annotations

import argparse
import re
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from course_utils import results, training, vlm
from course_utils.checkpoints import load_frozen, read_weights, save_weights
from course_utils.datasets import emoji_scenes
from course_utils.encoders.text import MiniLM
from course_utils.lesson import seed_everything
from course_utils.metrics import accuracy_by_type
from course_utils.paths import CHECKPOINTS, DATA
from course_utils.vlm import finetune
from course_utils.vlm.ask import SHIPPED
from course_utils.vlm.classifier import BertClassifier, FrozenWords, WordPieces, WorldBatches
from course_utils.vlm.conversations import Turn
from course_utils.vlm.worlds import World, only_questions, read_world

RESULTS = DATA / "seeing.csv"
# Of the model's training, one after the other.
PARTS = tuple(
    DATA / f"seeing_llm{name}.toml" for name in ("", "_late", "_aloud", "_early", "_choices", "_further", "_wide")
)
MODEL = SHIPPED
CLASSIFIER = CHECKPOINTS / "seeing_classifier.safetensors"
BLIND, CLASSIC, SEEING = "commonest answer", "BERT + attention + LSTM", "language model with LoRA"
METHODS = (BLIND, CLASSIC, SEEING)
# World, split and how many of its pictures are asked about.
TESTS = (
    ("easy-VQA", "test", 1000),
    ("shapes", "test", 2000),
    ("shapes", "compositional", 1000),
    ("emoji scenes", "test", 500),
    ("emoji scenes", "unseen", 500),
)
# Of the classifier: passes over each of these parts. The last three, with more pictures, it sees as often as the model.
PASSES, LEARNING_RATE = (4, 4, 4, 4, 2, 1, 1), 1e-3


def questions(world: World) -> list[Turn]:
    """All that is asked about a world, captions left out."""
    return [turn for turns in only_questions(world).turns for turn in turns]


def parts_of(notes: dict) -> list[dict]:
    """What a model's file says of each part of its training, the first part first."""
    parts = [notes]
    while "start" in parts[0]:
        parts.insert(0, parts[0]["start"])
    return parts


# --- a baseline that never looks --------------------------------------------------------------------------------


class Commonest:
    """The commonest training answer to a question; to a new one, the commonest of questions with its first word.

    Args:
        asked: The training questions.
    """

    def __init__(self, asked: Sequence[Turn]) -> None:
        self.whole: dict[str, Counter] = defaultdict(Counter)
        self.first: dict[str, Counter] = defaultdict(Counter)
        for turn in asked:
            self.whole[turn.prompt][turn.answer] += 1
            self.first[turn.prompt.split()[0]][turn.answer] += 1

    def answer(self, question: str) -> str:
        """What it says; "" to a question that begins with a word never asked with."""
        first = question.split()[0]
        for known, key in ((self.whole, question), (self.first, first)):
            if key in known:
                return known[key].most_common(1)[0][0]
        return ""


# --- the classifier ---------------------------------------------------------------------------------------------


def answers_of(worlds: Sequence[World]) -> list[str]:
    """All answers to the questions of some worlds, by alphabet: what a classifier can say."""
    return sorted({turn.answer for world in worlds for turn in questions(world)})


def train_classifier(
    parts: Sequence[tuple[Sequence[World], Sequence[World]]], bert: MiniLM, seed: int = 0,
    passes: Sequence[int] = PASSES, progress: bool = True,
) -> tuple[BertClassifier, list[str]]:  # fmt: skip
    """The classifier and its answers, after some passes over all questions of the first part, then of the next.

    Args:
        parts: Worlds to train on, and to validate on, of each part.
        bert: Reads the questions.
        seed: Of weights and order.
        passes: Over each part.
        progress: Whether to draw progress bars.
    """
    seed_everything(seed)
    answers = answers_of([world for worlds, _ in parts for world in worlds])
    model = BertClassifier(len(answers), vlm.PictureReader.DIM)
    model.standardise.measure(torch.cat([world.features[:1000] for world in parts[0][0]]))
    pieces, words = WordPieces(bert), FrozenWords(bert)
    for (worlds, validation), epochs in zip(parts, passes, strict=True):
        batches = WorldBatches(worlds, pieces, words, answers, pictures=16, shuffle=True, seed=seed)
        held = WorldBatches(validation, pieces, words, answers)
        training.fit(model, batches, held, epochs=epochs, learning_rate=LEARNING_RATE, progress=progress)
    return model, answers


def trained_classifier() -> tuple[BertClassifier, list[str]]:
    """The shipped classifier, frozen, and its answers.

    Raises:
        course_utils.checkpoints.CheckpointError: If the checkpoint is missing or is not of this network.
    """
    answers = read_weights(CLASSIFIER)[1]["answers"]
    return load_frozen(BertClassifier(len(answers), vlm.PictureReader.DIM), CLASSIFIER), answers


# --- measuring --------------------------------------------------------------------------------------------------


def type_of(turn: Turn, split: str) -> str:
    """The type under which a question is counted.

    A choice in the split "unseen" is between two things never met, or between one and a thing that was; in the second
    case a liking for what is new would do for knowledge, so the two are told apart.
    """
    if split != "unseen" or turn.type != "choice":
        return turn.type
    names = re.sub(r"^(is|are) there ", "", turn.prompt.rstrip("?")).split(" or ")
    new = {emoji_scenes.name(thing) for thing in emoji_scenes.vocabulary()[1]}
    return "choice of two new" if {re.sub(r"^an? ", "", name) for name in names} <= new else "choice of new and seen"


def rows_of(method: str, world: World, split: str, right: Sequence[bool]) -> list[dict]:
    """Rows of the table: of each type of question, and of all together as "all"."""
    types = [type_of(turn, split) for turn in questions(world)]
    table = accuracy_by_type(right, types)
    found = [{"type": one.type, "questions": one.questions, "accuracy": one.accuracy} for one in table.itertuples()]
    whole = {"type": "all", "questions": len(right), "accuracy": sum(right) / len(right)}
    where = {"method": method, "world": world.name, "split": split}
    return [{**where, **row, **results.where_measured()} for row in [whole, *found]]


def right_answers(method: str, model, world: World) -> list[bool]:
    """Whether a method answers each question of a world exactly.

    Args:
        method: One of ``METHODS``.
        model: A :class:`Commonest`; a classifier with its answers and the frozen BERT; or a vision-language model.
        world: What it is asked about.
    """
    if method == BLIND:
        return [model.answer(turn.prompt) == turn.answer for turn in questions(world)]
    if method == CLASSIC:
        classifier, answers, bert = model
        batches = WorldBatches([world], WordPieces(bert), FrozenWords(bert), answers)
        result = training.evaluate(classifier, batches, answers)
        return [found == target for found, target in zip(result.predictions, result.targets, strict=True)]
    asked = [(number, turn) for number, turns in enumerate(only_questions(world).turns) for turn in turns]
    said = model.answer(world.features[[number for number, _ in asked]], [turn.prompt for _, turn in asked])
    return [text == turn.answer for text, (_, turn) in zip(said, asked, strict=True)]


def load() -> pd.DataFrame:
    """The stored results: a row for each method, world, split and type of question.

    Columns: method, world, split, type ("all" for all questions together; see :func:`type_of`), questions, accuracy,
    machine, torch.
    """
    return pd.read_csv(RESULTS)


def results_table() -> str:
    """The table as the README shows it: per cent of all questions answered exactly."""
    table = load().query("type == 'all'")
    columns = list(dict.fromkeys(zip(table["world"], table["split"], strict=True)))
    heads = [world if split == "test" else f"{world}, {split}" for world, split in columns]
    lines = ["| method | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    share = table.set_index(["method", "world", "split"])["accuracy"]
    for method in METHODS:
        cells = [f"{100 * share[method, world, split]:.1f}" for world, split in columns]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def measure(models: dict[str, object], worlds: Sequence[tuple[World, str]], path: Path = RESULTS) -> pd.DataFrame:
    """Ask every model everything; the table, which is stored too.

    Args:
        models: Method to model, as for :func:`right_answers`.
        worlds: Worlds with the names of their splits.
        path: Where the table goes.
    """
    rows = []
    for method, model in models.items():
        for world, split in worlds:
            found = rows_of(method, world, split, right_answers(method, model, world))
            print(f"{method}, {world.name} {split}: {found[0]['accuracy']:.1%}", flush=True)
            rows += found
    table = pd.DataFrame(rows)
    table.to_csv(path, index=False, float_format="%.4f")
    return table


def ship_classifier(parts: Sequence[tuple[Sequence[World], Sequence[World]]], bert: MiniLM) -> None:
    """Train the classifier on the diet of the language model, and store it."""
    began = time.process_time()
    classifier, answers = train_classifier(parts, bert)
    about = {"command": "python -m experiments.seeing", "answers": answers}
    save_weights(vlm.compact(classifier), CLASSIFIER, about | {"cpu_seconds": round(time.process_time() - began)})


def training_questions(configs: Sequence[finetune.Config]) -> list[Turn]:
    """What the language model was asked in the parts of its training; no picture is read."""
    parts = [finetune.read_worlds(replace(config, validation=0), NoPictures())[0] for config in configs]
    return [turn for worlds in parts for world in worlds for turn in questions(world)]


class NoPictures:
    """In place of a picture reader where only the questions are wanted."""

    def read(self, pictures) -> torch.Tensor:
        """No features: (pictures, 0, 0)."""
        return torch.zeros(len(pictures), 0, 0)


def main(train: bool = True) -> None:
    """Measure all three, after training the classifier unless the shipped one is to be kept."""
    reader, bert = vlm.PictureReader(), MiniLM()
    configs = [finetune.read_config(path) for path in PARTS]
    if train:
        ship_classifier([finetune.read_worlds(config, reader) for config in configs], bert)
    commonest = Commonest(training_questions(configs))
    models = {BLIND: commonest, CLASSIC: (*trained_classifier(), bert), SEEING: finetune.load(MODEL)[0]}
    measure(models, [(read_world(*test, reader), test[1]) for test in TESTS])
    print(results_table())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", action="store_true", help="keep the shipped classifier, and only measure")
    main(train=not parser.parse_args().keep)
