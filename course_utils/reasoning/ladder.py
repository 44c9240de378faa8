"""The ladder: ``python -m course_utils.reasoning.ladder`` trains every rung over three seeds and writes data/ladder.csv.

Every rung answers the same questions about the same pictures of shapes, from the same frozen regions (see
:mod:`course_utils.reasoning.grid`), with the same question encoder and the same head. What differs is how picture and question
are aligned. Seeds change the weights' start and the order of the pictures.

Two runs go at a time, each on one thread, so that the CPU seconds of a run are those of one core. The same seed gives
the same accuracy to a few tenths of a point on another machine: sums of floating-point numbers depend on it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import nn

from course_utils import results, training
from course_utils.alignment.attention import AdditiveAttention, DotProductAttention, MultiHeadCrossAttention
from course_utils.alignment.bilinear import MFB, MLB, MUTAN, FullBilinear
from course_utils.datasets import shapes
from course_utils.lesson import seed_everything
from course_utils.paths import DATA
from course_utils.reasoning import grid, relations, rungs
from course_utils.reasoning.reasoners import GridVQA, LSTMReasoner, TransformerReasoner

RESULTS = DATA / "ladder.csv"
SEEDS = (0, 1, 2)
DIM = 64


@dataclass(frozen=True)
class Rung:
    """A method on the ladder and how it is trained.

    Attributes:
        align: Makes the part that differs (see :mod:`course_utils.reasoning.rungs`).
        epochs: Passes over the training pictures, chosen so that a run takes at most 90 CPU seconds, or one
            with stones at most 600.
        out: Features that it gives.
        learning_rate: At the end of the warm-up.
        pictures: To a batch, each with its eight questions.
        training_pictures: How many of the training split.
        stones: Of the epochs, how many begin the run with easier questions; see :func:`grid.stepping_stones`.
    """

    align: Callable[[], nn.Module]
    epochs: int
    out: int = DIM
    learning_rate: float = 2e-3
    pictures: int = 16
    training_pictures: int = grid.TRAIN_PICTURES
    stones: int = 0

    def build(self) -> GridVQA:
        """The model, untrained."""
        return GridVQA(len(grid.vocabulary()), len(shapes.ANSWERS), self.align(), self.out, DIM)


# What relations take: more pictures, and easier questions in the first two passes (lesson 09).
REASONER_DIET = {"training_pictures": 2 * grid.TRAIN_PICTURES, "stones": 2}

RUNGS: dict[str, Rung] = {
    "question only": Rung(rungs.QuestionOnly, epochs=5),
    "picture only": Rung(lambda: rungs.PictureOnly(DIM), epochs=5),
    "mean pool + concatenation": Rung(lambda: rungs.Concatenation(DIM), out=2 * DIM, epochs=10),
    "full bilinear": Rung(lambda: rungs.PooledBilinear(FullBilinear(DIM, DIM, DIM), DIM), epochs=9),
    "MLB": Rung(lambda: rungs.PooledBilinear(MLB(DIM, DIM, DIM, rank=256), DIM), epochs=9),
    "MUTAN": Rung(lambda: rungs.PooledBilinear(MUTAN(DIM, DIM, DIM, rank=5), DIM), epochs=9),
    "MFB": Rung(lambda: rungs.PooledBilinear(MFB(DIM, DIM, DIM, factor=5), DIM), epochs=9),
    "additive attention": Rung(lambda: rungs.SingleLook(AdditiveAttention(DIM), DIM), epochs=8),
    "dot-product attention": Rung(lambda: rungs.SingleLook(DotProductAttention(DIM), DIM), epochs=10),
    "two-hop attention": Rung(lambda: rungs.SeveralHops(DIM, 2), epochs=9),
    "three-hop attention": Rung(lambda: rungs.SeveralHops(DIM, 3), epochs=8),
    "multi-head attention": Rung(lambda: rungs.SingleLook(MultiHeadCrossAttention(DIM, heads=4), DIM), epochs=9),
    "co-attention": Rung(lambda: rungs.WordsAndRegions(DIM), epochs=5),
    # The control: what the diet is worth to a rung that had neither its pictures nor its stones.
    "two-hop attention, reasoner's diet": Rung(lambda: rungs.SeveralHops(DIM, 2), **REASONER_DIET, epochs=12),
    "relation network": Rung(
        lambda: relations.FewerPairs(relations.BusiestRegions(8), relations.RelationNetwork(DIM)),
        **REASONER_DIET,
        epochs=8,
    ),
    "FiLM": Rung(lambda: relations.FiLM(DIM, width=32, blocks=3), **REASONER_DIET, epochs=8),
    "LSTM reasoner": Rung(lambda: LSTMReasoner(DIM), epochs=5),
    "Transformer reasoner": Rung(lambda: TransformerReasoner(DIM), **REASONER_DIET, epochs=12),
}


# --- the results -------------------------------------------------------------------------------------------------


def load() -> pd.DataFrame:
    """The stored results: one row for each method and seed.

    Columns: method, seed, parameters, cpu_seconds, test (accuracy over all questions of the test split), one column
    for each type in ``shapes.TYPES`` (on the test split), compositional (over the compositional split), machine, torch.
    """
    return pd.read_csv(RESULTS)


def summary(table: pd.DataFrame, column: str = "test") -> pd.DataFrame:
    """Mean over seeds and the largest distance of a seed from it: columns method, accuracy, spread; lowest first."""
    groups = table.groupby("method", sort=False)[column]
    accuracy, spread = groups.mean(), groups.agg(lambda runs: (runs - runs.mean()).abs().max())
    rows = pd.DataFrame({"method": accuracy.index, "accuracy": accuracy.values, "spread": spread.values})
    return rows.sort_values("accuracy", ignore_index=True)


def results_table(table: pd.DataFrame | None = None) -> str:
    """The table as the README shows it: mean over seeds ± the largest distance of a seed from it, in per cent."""
    table = load() if table is None else table
    columns = ("test", *shapes.TYPES, "compositional")
    lines = ["| method | " + " | ".join(columns) + " | weights | CPU s |", "|---|" + "---|" * (len(columns) + 2)]
    parts = {column: summary(table, column).set_index("method") for column in columns}
    for method in parts["test"].index:
        means = [100 * parts[column].loc[method, "accuracy"] for column in columns]
        cells = [f"{mean:.1f}" for mean in means]
        cells[0] += f" ± {100 * parts['test'].loc[method, 'spread']:.1f}"
        runs = table[table["method"] == method]
        lines.append(
            f"| {method} | " + " | ".join(cells)
            + f" | {runs['parameters'].iloc[0]:,} | {runs['cpu_seconds'].mean():.0f} |"
        )  # fmt: skip
    return "\n".join(lines)


# --- making them --------------------------------------------------------------------------------------------------


def train_rung(
    rung: Rung, data: grid.GridQuestions, seed: int, *, epochs: int | None = None, progress: bool = False,
    validation: grid.GridQuestions | None = None, device: torch.device | str = "cpu",
) -> tuple[GridVQA, training.History]:  # fmt: skip
    """Train a rung from its seed.

    Args:
        rung: One of ``RUNGS``.
        data: Training pictures and questions.
        seed: Of the weights and of the order of the pictures.
        epochs: Passes over the data, where not the rung's own.
        progress: Whether to draw a progress bar.
        validation: Measured after every epoch, where given.
        device: Where to train.
    """
    seed_everything(seed)
    model = rung.build().to(device)
    data = data.first(rung.training_pictures)
    if rung.stones:
        batches = grid.Curriculum(grid.stepping_stones(data), data, rung.stones, rung.pictures, seed)
    else:
        batches = grid.Batches(data, rung.pictures, shuffle=True, seed=seed)
    history = training.fit(
        model, batches, grid.Batches(validation, 64) if validation else None, epochs=epochs or rung.epochs,
        learning_rate=rung.learning_rate, warmup=0.05, progress=progress,
    )  # fmt: skip
    return model, history


def measure(method: str, seed: int, data: dict[str, grid.GridQuestions]) -> tuple[dict, GridVQA]:
    """Train one rung with one seed and measure it: a row of the table, and the model.

    Args:
        method: One of ``RUNGS``.
        seed: Of the run.
        data: "train", and "test" and "compositional" to measure on.
    """
    began = time.process_time()
    model, _ = train_rung(RUNGS[method], data["train"], seed)
    seconds = time.process_time() - began
    found = {
        name: training.evaluate(model, grid.Batches(data[name], 64), shapes.ANSWERS)
        for name in ("test", "compositional")
    }
    by_type = found["test"].by_type.set_index("type")["accuracy"]
    row = {
        "method": method, "seed": seed, "parameters": sum(weight.numel() for weight in model.parameters()),
        "cpu_seconds": round(seconds, 1), "test": found["test"].accuracy,
        **{kind: by_type[kind] for kind in shapes.TYPES}, "compositional": found["compositional"].accuracy,
        **results.where_measured(),
    }  # fmt: skip
    return row, model


def climb(methods: Sequence[str], seeds: Sequence[int], workers: int = 2) -> pd.DataFrame:
    """Measure every method with every seed; each row is stored as soon as it is known."""
    jobs = [(method, seed) for method in methods for seed in seeds]
    with multiprocessing.get_context("spawn").Pool(workers, initializer=_one_thread) as pool:
        for row in pool.imap_unordered(_measure, jobs):
            results.store(RESULTS, row, list(RUNGS))
            print(f"{row['method']}, seed {row['seed']}: {row['test']:.1%}, {row['cpu_seconds']:.0f} s", flush=True)
    return load()


_data: dict[str, grid.GridQuestions] = {}  # of a worker


def _one_thread() -> None:
    torch.set_num_threads(1)
    most = max(rung.training_pictures for rung in RUNGS.values())
    _data.update(train=grid.load("train", most), test=grid.load("test"), compositional=grid.load("compositional"))


def _measure(job: tuple[str, int]) -> dict:
    return measure(*job, _data)[0]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=list(RUNGS), choices=list(RUNGS), metavar="METHOD")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--workers", type=int, default=2, help="runs at a time, each on one thread")
    asked = parser.parse_args()
    climb(asked.methods, asked.seeds, asked.workers)
    print(results_table())
