"""Lesson 00's figures over several seeds: ``python -m experiments.benchmark`` writes data/easy_vqa.csv.

The lesson trains one seed live; one seed proves little. This trains three, of each method that the lesson compares.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Sequence

import pandas as pd
from torch import nn

from course_utils import training
from course_utils.datasets import easy_vqa
from course_utils.datasets.vqa import VisualQADataset, VisualQuestion, Vocabulary, loader
from course_utils.lesson import choose_device, seed_everything
from course_utils.metrics import accuracy_by_type
from course_utils.paths import DATA
from course_utils.reasoning.reasoners import AttentionVQA
from course_utils.results import where_measured

EPOCHS, LEARNING_RATE, PICTURES_PER_BATCH = 6, 2e-3, 16  # lesson 00: two epochs more, for a late start
RESULTS = DATA / "easy_vqa.csv"


def main(seeds: Sequence[int]) -> None:
    """Measure every method and write the table."""
    splits = {name: easy_vqa.load(name) for name in ("train", "validation", "test")}
    rows = [blind_row(splits["train"].questions, splits["test"].questions)]
    for seed in seeds:
        rows.append(trained_row("CNN + LSTM + attention", seed, splits, normalised=True))
        rows.append(trained_row("the same, not normalised", seed, splits, normalised=False))
        pd.DataFrame(rows).to_csv(RESULTS, index=False, float_format="%.4f")  # after each, so that little is lost
    print(results_table())


def results_table() -> str:
    """The table as the README shows it: mean over seeds, and the largest distance of a seed from the mean."""
    lines = ["| method | all | " + " | ".join(easy_vqa.TYPES) + " | training seconds |", "|---|" + "---|" * 5]
    results = pd.read_csv(RESULTS)
    for method in results.groupby("method")["overall"].mean().sort_values().index:
        runs = results[results["method"] == method]
        shares = [runs[column] for column in ("overall", *easy_vqa.TYPES)]
        cells = [f"{100 * share.mean():.1f} ± {100 * (share - share.mean()).abs().max():.1f}" for share in shares]
        lines.append(f"| {method} | " + " | ".join(cells) + f" | {runs['training seconds'].mean():.0f} |")
    return "\n".join(lines)


def blind_row(train: Sequence[VisualQuestion], test: Sequence[VisualQuestion]) -> dict:
    """The commonest training answer to each question, without the picture."""
    answers_to = defaultdict(Counter)
    for question in train:
        answers_to[question.question][question.answer] += 1
    right = [answers_to[q.question].most_common(1)[0][0] == q.answer for q in test]
    table = accuracy_by_type(right, [q.type for q in test])
    return _row("blind: commonest answer", 0, sum(right) / len(right), table, seconds=0.0)


def trained_row(method: str, seed: int, splits: dict, *, normalised: bool) -> dict:
    """Train the model of lesson 00 and evaluate on the test questions."""
    seed_everything(seed)
    vocabulary = Vocabulary.build(q.question for q in splits["train"].questions)
    batches = {name: _batches(split, vocabulary, name == "train", seed) for name, split in splits.items()}
    model = AttentionVQA(len(vocabulary), len(easy_vqa.ANSWERS))
    model = (model if normalised else without_normalisation(model)).to(choose_device())
    history = training.fit(model, batches["train"], batches["validation"], epochs=EPOCHS, learning_rate=LEARNING_RATE)
    result = training.evaluate(model, batches["test"], easy_vqa.ANSWERS)
    return _row(method, seed, result.accuracy, result.by_type, history.seconds)


def without_normalisation(module: nn.Module) -> nn.Module:
    """Replace every normalisation layer inside a module by one that does nothing."""
    for name, child in module.named_children():
        if isinstance(child, (nn.BatchNorm2d, nn.LayerNorm)):
            setattr(module, name, nn.Identity())
        without_normalisation(child)
    return module


def _batches(split: easy_vqa.EasyVQA, vocabulary: Vocabulary, shuffle: bool, seed: int):
    dataset = VisualQADataset(split.questions, split.pictures, vocabulary, easy_vqa.ANSWERS)
    return loader(dataset, PICTURES_PER_BATCH, shuffle=shuffle, seed=seed)


def _row(method: str, seed: int, overall: float, by_type: pd.DataFrame, seconds: float) -> dict:
    shares = by_type.set_index("type")["accuracy"]
    return {
        "method": method, "seed": seed, "overall": overall, **{kind: shares[kind] for kind in easy_vqa.TYPES},
        "training seconds": round(seconds, 1), **where_measured(choose_device()),
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    main(parser.parse_args().seeds)
