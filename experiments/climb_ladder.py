"""Measure the ladder: ``python -m experiments.climb_ladder`` trains every rung over three seeds.

It writes data/ladder.csv: a row for each method and seed with the columns method, seed, parameters, cpu_seconds (of
training), test (accuracy on the test split), the accuracy on each type of question in the test split, compositional
(accuracy on that split), machine and torch.

Two runs go at a time, each on one thread, so that CPU seconds are those of one core. On another machine accuracies
differ by a few tenths of a point, because sums of floating-point numbers depend on the machine.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Sequence

import torch

from course_utils import results, training
from course_utils.datasets import shapes
from course_utils.paths import DATA
from course_utils.reasoning import grid
from course_utils.reasoning.ladder import RUNGS, results_table, train_rung
from course_utils.reasoning.reasoners import GridVQA

SEEDS = (0, 1, 2)


def measure(method: str, seed: int, data: dict[str, grid.GridQuestions]) -> tuple[dict, GridVQA]:
    """Train a rung with one seed and measure it.

    Args:
        method: One of ``RUNGS``.
        seed: Seed of the run.
        data: The splits "train", "test" and "compositional".

    Returns:
        A row of the table, and the model.
    """
    began = time.process_time()
    model, _ = train_rung(RUNGS[method], data["train"], seed)
    seconds = time.process_time() - began
    test, compositional = (
        training.evaluate(model, grid.Batches(data[name], 64), shapes.ANSWERS) for name in ("test", "compositional")
    )
    by_type = test.by_type.set_index("type")["accuracy"]
    row = {
        "method": method, "seed": seed, "parameters": sum(weight.numel() for weight in model.parameters()),
        "cpu_seconds": round(seconds, 1), "test": test.accuracy, **{kind: by_type[kind] for kind in shapes.TYPES},
        "compositional": compositional.accuracy, **results.where_measured(),
    }  # fmt: skip
    return row, model


def climb(methods: Sequence[str], seeds: Sequence[int], workers: int = 2) -> None:
    """Measure every method with every seed, and store each row at once."""
    jobs = [(method, seed) for method in methods for seed in seeds]
    with multiprocessing.get_context("spawn").Pool(workers, initializer=_start_worker) as pool:
        for row in pool.imap_unordered(_measure, jobs):
            results.store(DATA / "ladder.csv", row, list(RUNGS))
            print(f"{row['method']}, seed {row['seed']}: {row['test']:.1%}, {row['cpu_seconds']:.0f} s", flush=True)


_data: dict[str, grid.GridQuestions] = {}  # of a worker


def _start_worker() -> None:
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
    options = parser.parse_args()
    climb(options.methods, options.seeds, options.workers)
    print(results_table())
