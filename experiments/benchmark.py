"""Lesson 00's results over several seeds: ``python -m experiments.benchmark`` writes data/easy_vqa.csv.

The lesson trains one seed live. This trains every method that it compares with three seeds.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Sequence

import pandas as pd
import torch
from torch import nn

from course_utils import results, training
from course_utils.alignment.attention import attend
from course_utils.datasets import easy_vqa
from course_utils.datasets.vqa import VisualQADataset, VisualQuestion, Vocabulary, loader
from course_utils.device import choose_device, seed_everything
from course_utils.encoders import QuestionLSTM, SmallCNN
from course_utils.metrics import accuracy_by_type
from course_utils.paths import DATA

EPOCHS, LEARNING_RATE, PICTURES_PER_BATCH = 6, 2e-3, 16  # two epochs more than in lesson 00, for a late start


class AttentionVQA(nn.Module):
    """Lesson 00's model: a CNN, an LSTM, attention between them, and an answer head."""

    def __init__(self, words: int, answers: int, dim: int = 64) -> None:
        super().__init__()
        self.picture_encoder = SmallCNN(dim)
        self.question_encoder = QuestionLSTM(words, dim)
        self.norm = nn.LayerNorm(dim)  # gives the question's vector a useful size from the first step
        self.query, self.key, self.value, self.gate = (nn.Linear(dim, dim) for _ in range(4))
        self.head = nn.Sequential(nn.Linear(dim, 128), nn.ReLU(), nn.Linear(128, answers))

    def look(self, batch: dict) -> tuple[torch.Tensor, torch.Tensor]:
        """Answer scores, (batch, answers), and attention weights, (batch, regions)."""
        regions = self.picture_encoder(batch["pictures"]).unpooled  # (pictures, regions, dim)
        question = self.norm(self.question_encoder(batch["words"], batch["word_mask"]).pooled)  # (batch, dim)
        key, value = (layer(regions)[batch["picture_of"]] for layer in (self.key, self.value))
        seen, weights = attend(self.query(question), key, value)
        return self.head(seen * self.gate(question)), weights

    def forward(self, batch: dict) -> torch.Tensor:
        """Answer scores, (batch, answers)."""
        return self.look(batch)[0]


def without_normalisation(module: nn.Module) -> nn.Module:
    """Replace every normalisation layer inside a module by the identity."""
    for name, child in module.named_children():
        if isinstance(child, (nn.BatchNorm2d, nn.LayerNorm)):
            setattr(module, name, nn.Identity())
        without_normalisation(child)
    return module


def main(seeds: Sequence[int]) -> None:
    """Measure every method and write the table."""
    splits = {name: easy_vqa.load(name) for name in ("train", "validation", "test")}
    rows = [blind_row(splits["train"].questions, splits["test"].questions)]
    for seed in seeds:
        rows.append(trained_row("CNN + LSTM + attention", seed, splits, normalised=True))
        rows.append(trained_row("the same, not normalised", seed, splits, normalised=False))
        results.replace(DATA / "easy_vqa.csv", pd.DataFrame(rows))  # after each seed, so that little is lost
    print(results_table())


def results_table() -> str:
    """data/easy_vqa.csv as the README shows it: mean over seeds ± largest deviation from it, in per cent."""
    lines = ["| method | all | " + " | ".join(easy_vqa.TYPES) + " | training seconds |", "|---|" + "---|" * 5]
    table = results.read("easy_vqa")
    for method in table.groupby("method")["overall"].mean().sort_values().index:
        runs = table[table["method"] == method]
        shares = [runs[column] for column in ("overall", *easy_vqa.TYPES)]
        cells = [f"{100 * share.mean():.1f} ± {100 * (share - share.mean()).abs().max():.1f}" for share in shares]
        lines.append(f"| {method} | " + " | ".join(cells) + f" | {runs['training seconds'].mean():.0f} |")
    return "\n".join(lines)


def blind_row(train: Sequence[VisualQuestion], test: Sequence[VisualQuestion]) -> dict:
    """Answer each question with its most frequent training answer, without the picture."""
    answers_to = defaultdict(Counter)
    for question in train:
        answers_to[question.question][question.answer] += 1
    right = [answers_to[q.question].most_common(1)[0][0] == q.answer for q in test]
    table = accuracy_by_type(right, [q.type for q in test])
    return _row("blind: most frequent answer", 0, sum(right) / len(right), table, seconds=0.0)


def trained_row(method: str, seed: int, splits: dict, *, normalised: bool) -> dict:
    """Train lesson 00's model and evaluate it on the test questions."""
    seed_everything(seed)
    vocabulary = Vocabulary.build(q.question for q in splits["train"].questions)
    batches = {name: _batches(split, vocabulary, name == "train", seed) for name, split in splits.items()}
    model = AttentionVQA(len(vocabulary), len(easy_vqa.ANSWERS))
    model = (model if normalised else without_normalisation(model)).to(choose_device())
    history = training.fit(model, batches["train"], batches["validation"], epochs=EPOCHS, learning_rate=LEARNING_RATE)
    result = training.evaluate(model, batches["test"], easy_vqa.ANSWERS)
    return _row(method, seed, result.accuracy, result.by_type, history.seconds)


def _batches(split: easy_vqa.EasyVQA, vocabulary: Vocabulary, shuffle: bool, seed: int):
    dataset = VisualQADataset(split.questions, split.pictures, vocabulary, easy_vqa.ANSWERS)
    return loader(dataset, PICTURES_PER_BATCH, shuffle=shuffle, seed=seed)


def _row(method: str, seed: int, overall: float, by_type: pd.DataFrame, seconds: float) -> dict:
    shares = by_type.set_index("type")["accuracy"]
    return {
        "method": method, "seed": seed, "overall": overall, **{kind: shares[kind] for kind in easy_vqa.TYPES},
        "training seconds": round(seconds, 1), **results.where_measured(choose_device()),
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    main(parser.parse_args().seeds)
