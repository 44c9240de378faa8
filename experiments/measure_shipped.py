"""Measure the shipped models on the test questions: ``python -m experiments.measure_shipped`` writes data/seeing.csv.

Three methods answer the same questions: the shipped language model, trained by ``python -m course_utils.vlm.finetune``
in several parts; a classifier, trained here on the same questions about the same pictures in the same parts and shipped
as ``seeing_classifier``; and a baseline without vision.

Columns: method, world, split, type ("all" for all questions together), questions, accuracy, machine, torch.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from course_utils import results, training, vlm
from course_utils.checkpoints import save_weights
from course_utils.device import seed_everything
from course_utils.encoders.text import MiniLM
from course_utils.metrics import accuracy_by_type
from course_utils.paths import DATA
from course_utils.vlm import evaluate, finetune
from course_utils.vlm.ask import SHIPPED
from course_utils.vlm.classifier import BertClassifier, CachedBert, WordPieces, WorldBatches
from course_utils.vlm.conversations import Turn
from course_utils.vlm.worlds import EncodedWorld, read_world

RESULTS = DATA / "seeing.csv"
Part = tuple[Sequence[EncodedWorld], Sequence[EncodedWorld]]  # to train on, to validate on


def train_classifier(
    parts: Sequence[Part], bert: MiniLM, *, seed: int = 0, epochs: Sequence[int] = evaluate.CLASSIFIER_EPOCHS,
    progress: bool = True,
) -> tuple[BertClassifier, list[str]]:  # fmt: skip
    """Train a classifier on the parts, one after the other; the model and its answers.

    Args:
        parts: The worlds of each part.
        bert: The text encoder.
        seed: Seed of the weights and of the order of the pictures.
        epochs: Epochs in each part.
        progress: Whether to show progress bars.
    """
    seed_everything(seed)
    answers = sorted({turn.answer for worlds, _ in parts for world in worlds for turn in evaluate.questions(world)})
    model = BertClassifier(len(answers), vlm.PictureReader.DIM)
    model.standardise.measure(torch.cat([world.features[:1000] for world in parts[0][0]]))
    pieces, cached = WordPieces(bert), CachedBert(bert)
    for (worlds, validation), number in zip(parts, epochs, strict=True):
        batches = WorldBatches(worlds, pieces, cached, answers, pictures_per_batch=16, shuffle=True, seed=seed)
        held_out = WorldBatches(validation, pieces, cached, answers)
        training.fit(model, batches, held_out, epochs=number, learning_rate=1e-3, progress=progress)
    return model, answers


def ship_classifier(parts: Sequence[Part], bert: MiniLM) -> None:
    """Train the classifier on the language model's training mix, and store it."""
    began = time.process_time()
    classifier, answers = train_classifier(parts, bert)
    about = {"command": "python -m experiments.measure_shipped", "answers": answers}
    about["cpu_seconds"] = round(time.process_time() - began)
    save_weights(vlm.compact(classifier), evaluate.SHIPPED_CLASSIFIER, about)


class NoPictures:
    """Stands in for a picture reader where only the questions are wanted."""

    def read(self, pictures) -> torch.Tensor:
        """Empty features, (pictures, 0, 0)."""
        return torch.zeros(len(pictures), 0, 0)


def training_questions(configs: Sequence[finetune.Config]) -> list[Turn]:
    """The language model's training questions in all parts, without encoding a picture."""
    parts = [finetune.read_worlds(replace(config, validation=0), NoPictures())[0] for config in configs]
    return [turn for worlds in parts for world in worlds for turn in evaluate.questions(world)]


def rows_of(method: str, world: EncodedWorld, split: str, correct: Sequence[bool]) -> list[dict]:
    """Rows of the table: one for all questions together, and one for each type."""
    table = accuracy_by_type(correct, [evaluate.type_of(turn, split) for turn in evaluate.questions(world)])
    found = [{"type": one.type, "questions": one.questions, "accuracy": one.accuracy} for one in table.itertuples()]
    total = {"type": "all", "questions": len(correct), "accuracy": sum(correct) / len(correct)}
    where = {"method": method, "world": world.name, "split": split}
    return [{**where, **row, **results.where_measured()} for row in [total, *found]]


def measure(models: dict[str, object], worlds: Sequence[tuple[EncodedWorld, str]], path: Path = RESULTS) -> None:
    """Ask every model everything, and store the table.

    Args:
        models: Method -> model, as for :func:`course_utils.vlm.evaluate.correct_answers`.
        worlds: Worlds with the names of their splits.
        path: The file to write.
    """
    rows = []
    for method, model in models.items():
        for world, split in worlds:
            found = rows_of(method, world, split, evaluate.correct_answers(method, model, world))
            print(f"{method}, {world.name} {split}: {found[0]['accuracy']:.1%}", flush=True)
            rows += found
    results.replace(path, pd.DataFrame(rows))


def results_table() -> str:
    """The README's table: per cent of all questions answered exactly."""
    table = results.read("seeing").query("type == 'all'")
    columns = list(dict.fromkeys(zip(table["world"], table["split"], strict=True)))
    heads = [world if split == "test" else f"{world}, {split}" for world, split in columns]
    lines = ["| method | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    accuracy = table.set_index(["method", "world", "split"])["accuracy"]
    for method in evaluate.METHODS:
        cells = [f"{100 * accuracy[method, world, split]:.1f}" for world, split in columns]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(train: bool = True) -> None:
    """Measure all three methods, after training the classifier unless the shipped one is kept."""
    reader, bert = vlm.PictureReader(), MiniLM()
    configs = [finetune.read_config(path) for path in evaluate.PARTS]
    if train:
        ship_classifier([finetune.read_worlds(config, reader) for config in configs], bert)
    models = {
        evaluate.MOST_FREQUENT: evaluate.MostFrequentAnswer(training_questions(configs)),
        evaluate.CLASSIFIER: (*evaluate.shipped_classifier(), bert),
        evaluate.LANGUAGE_MODEL: finetune.load(SHIPPED)[0],
    }
    measure(models, [(read_world(*test, reader), test[1]) for test in evaluate.TESTS])
    print(results_table())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", action="store_true", help="keep the shipped classifier, and only measure")
    main(train=not parser.parse_args().keep)
