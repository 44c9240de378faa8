"""The ladder: methods that answer the same questions from the same regions, so that their results can be compared.

All rungs share the frozen regions (see :mod:`course_utils.reasoning.grid`), the question encoder and the answer head,
and differ in how they align picture and question. Seeds change the initial weights and the order of the pictures.
``python -m experiments.climb_ladder`` measures all of them and writes data/ladder.csv.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import torch
from torch import nn

from course_utils import results, training
from course_utils.alignment.attention import AdditiveAttention, DotProductAttention, MultiHeadCrossAttention
from course_utils.alignment.bilinear import MFB, MLB, MUTAN, FullBilinear
from course_utils.checkpoints import load_frozen
from course_utils.datasets import shapes
from course_utils.device import seed_everything
from course_utils.paths import CHECKPOINTS
from course_utils.reasoning import grid, relations, rungs
from course_utils.reasoning.reasoners import GridVQA, LSTMReasoner, TransformerReasoner

DIM = 64


@dataclass(frozen=True)
class Rung:
    """A method of the ladder and how it is trained.

    Attributes:
        align: Builds the part that differs (see :mod:`course_utils.reasoning.rungs`).
        epochs: Passes over the training pictures, such that a run takes at most 90 CPU seconds, or 600 with stepping
            stones.
        out: Output features of ``align``.
        learning_rate: Peak learning rate.
        batch_size: Pictures in a batch, each with its eight questions.
        training_pictures: Number of training pictures.
        stepping_stone_epochs: Number of first epochs with easier questions; see :func:`grid.stepping_stones`.
    """

    align: Callable[[], nn.Module]
    epochs: int
    out: int = DIM
    learning_rate: float = 2e-3
    batch_size: int = 16
    training_pictures: int = grid.TRAIN_PICTURES
    stepping_stone_epochs: int = 0

    def build(self) -> GridVQA:
        """The untrained model."""
        return GridVQA(len(grid.vocabulary()), len(shapes.ANSWERS), self.align(), self.out, DIM)


# Learning relations takes more pictures, and easier questions in the first two epochs (lesson 09).
REASONER_TRAINING_MIX = {"training_pictures": 2 * grid.TRAIN_PICTURES, "stepping_stone_epochs": 2}

RUNGS: dict[str, Rung] = {
    "question only": Rung(rungs.QuestionOnly, epochs=5),
    "picture only": Rung(lambda: rungs.PictureOnly(DIM), epochs=5),
    "mean pool + concatenation": Rung(lambda: rungs.Concatenation(DIM), out=2 * DIM, epochs=10),
    "full bilinear": Rung(lambda: rungs.PooledBilinear(FullBilinear(DIM, DIM, DIM), DIM), epochs=9),
    "MLB": Rung(lambda: rungs.PooledBilinear(MLB(DIM, DIM, DIM, rank=256), DIM), epochs=9),
    "MUTAN": Rung(lambda: rungs.PooledBilinear(MUTAN(DIM, DIM, DIM, rank=5), DIM), epochs=9),
    "MFB": Rung(lambda: rungs.PooledBilinear(MFB(DIM, DIM, DIM, factor=5), DIM), epochs=9),
    "additive attention": Rung(lambda: rungs.SingleHop(AdditiveAttention(DIM), DIM), epochs=8),
    "dot-product attention": Rung(lambda: rungs.SingleHop(DotProductAttention(DIM), DIM), epochs=10),
    "two-hop attention": Rung(lambda: rungs.MultiHop(DIM, 2), epochs=9),
    "three-hop attention": Rung(lambda: rungs.MultiHop(DIM, 3), epochs=8),
    "multi-head attention": Rung(lambda: rungs.SingleHop(MultiHeadCrossAttention(DIM, heads=4), DIM), epochs=9),
    "co-attention": Rung(lambda: rungs.WordRegionCoAttention(DIM), epochs=5),
    # The control: what the training mix alone adds to an earlier rung.
    "two-hop attention, reasoner's training mix": Rung(
        lambda: rungs.MultiHop(DIM, 2), **REASONER_TRAINING_MIX, epochs=12
    ),
    "relation network": Rung(lambda: relations.SparseRelationNetwork(DIM, count=8), **REASONER_TRAINING_MIX, epochs=8),
    "FiLM": Rung(lambda: relations.FiLM(DIM), **REASONER_TRAINING_MIX, epochs=8),
    "LSTM reasoner": Rung(lambda: LSTMReasoner(DIM), epochs=5),
    "Transformer reasoner": Rung(lambda: TransformerReasoner(DIM), **REASONER_TRAINING_MIX, epochs=12),
}

SHIPPED = {  # (method, encoder of its regions) -> checkpoint
    ("dot-product attention", "GridCNN"): "one_look",
    ("two-hop attention", "GridCNN"): "two_looks",
    ("LSTM reasoner", "GridCNN"): "lstm_reasoner",
    ("Transformer reasoner", "GridCNN"): "transformer_reasoner",
    ("Transformer reasoner", "AttributeCNN"): "attribute_reasoner",
}


def shipped(method: str, encoder: str = "GridCNN") -> GridVQA:
    """Load the shipped model of a rung, frozen.

    Args:
        method: One of ``RUNGS``.
        encoder: "GridCNN" or "AttributeCNN", whose regions it was trained on.

    Raises:
        ValueError: If no such model is shipped; see ``SHIPPED``.
        course_utils.checkpoints.CheckpointError: If the checkpoint is missing or does not fit the model.
    """
    if (method, encoder) not in SHIPPED:
        known = ", ".join(f"{method} over {encoder}" for method, encoder in SHIPPED)
        raise ValueError(f"No model of {method!r} over {encoder} is shipped, only of: {known}.")
    return load_frozen(RUNGS[method].build(), CHECKPOINTS / f"{SHIPPED[method, encoder]}.safetensors")


def train_rung(
    rung: Rung, data: grid.GridQuestions, seed: int, *, epochs: int | None = None, progress: bool = False,
    device: torch.device | str = "cpu",
) -> tuple[GridVQA, training.History]:  # fmt: skip
    """Train a rung from scratch.

    Args:
        rung: One of ``RUNGS``.
        data: Training pictures and questions.
        seed: Seed of the initial weights and of the order of the pictures.
        epochs: Passes over the data, instead of the rung's own.
        progress: Whether to show a progress bar.
        device: Where to train.
    """
    seed_everything(seed)
    model = rung.build().to(device)
    epochs = rung.epochs if epochs is None else epochs
    data = data.first(rung.training_pictures)
    if rung.stepping_stone_epochs:
        easier = grid.stepping_stones(data)
        batches = grid.Curriculum(easier, data, rung.stepping_stone_epochs, rung.batch_size, seed)
    else:
        batches = grid.Batches(data, rung.batch_size, shuffle=True, seed=seed)
    history = training.fit(
        model, batches, epochs=epochs, learning_rate=rung.learning_rate, warmup=0.05, progress=progress
    )
    return model, history


# --- results -------------------------------------------------------------------------------------------------------


def summary(table: pd.DataFrame, column: str = "test") -> pd.DataFrame:
    """Mean over seeds and largest deviation from it: columns method, accuracy, spread; lowest accuracy first."""
    groups = table.groupby("method", sort=False)[column]
    accuracy, spread = groups.mean(), groups.agg(lambda runs: (runs - runs.mean()).abs().max())
    rows = pd.DataFrame({"method": accuracy.index, "accuracy": accuracy.values, "spread": spread.values})
    return rows.sort_values("accuracy", ignore_index=True)


def results_table() -> str:
    """data/ladder.csv as the README shows it: mean over seeds ± largest deviation from it, in per cent."""
    table = results.read("ladder")
    columns = ("test", *shapes.TYPES, "compositional")
    lines = ["| method | " + " | ".join(columns) + " | weights | CPU s |", "|---|" + "---|" * (len(columns) + 2)]
    parts = {column: summary(table, column).set_index("method") for column in columns}
    for method in parts["test"].index:
        cells = [f"{100 * parts[column].loc[method, 'accuracy']:.1f}" for column in columns]
        cells[0] += f" ± {100 * parts['test'].loc[method, 'spread']:.1f}"
        runs = table[table["method"] == method]
        cells += [f"{runs['parameters'].iloc[0]:,}", f"{runs['cpu_seconds'].mean():.0f}"]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
