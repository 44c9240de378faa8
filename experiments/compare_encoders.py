"""Compare GridCNN and SmallViT over three seeds: ``python -m experiments.compare_encoders`` writes the table.

About four minutes on one CPU core. At each of two budgets, the ViT gets as many epochs as cost at least about the CPU
seconds of the CNN. The same seeds give the same accuracies to a few points: sums depend on the machine.
"""

from __future__ import annotations

import time

import pandas as pd

from course_utils import results
from course_utils.datasets import shapes
from course_utils.device import choose_device, seed_everything
from course_utils.encoders.cells import LEARNING_RATE, labels, objects_right, train_cells
from course_utils.encoders.image import GridCNN, SmallViT
from course_utils.paths import DATA

RUNS = (  # budget, name, encoder, epochs, learning rate
    ("short", "GridCNN", GridCNN, 1, LEARNING_RATE),
    ("short", "SmallViT", SmallViT, 2, LEARNING_RATE),
    ("long", "GridCNN", GridCNN, 4, LEARNING_RATE),
    ("long", "SmallViT", SmallViT, 7, LEARNING_RATE),
    ("long", "SmallViT, a third of the rate", SmallViT, 7, LEARNING_RATE / 3),
)
PICTURES, SEEDS = 2000, 3


def main() -> None:
    """Train all encoders and write data/image_encoders.csv."""
    table = compare(shapes.split("train", pictures=PICTURES), shapes.split("test", pictures=500), range(SEEDS))
    results.replace(DATA / "image_encoders.csv", table)
    print(table.groupby(["budget", "encoder"])[["cpu_seconds", "objects_right"]].agg(["mean", "min", "max"]))


def compare(train: shapes.ShapesData, test: shapes.ShapesData, seeds: range) -> pd.DataFrame:
    """One row for each budget, encoder and seed: epochs, CPU seconds, and the share of test objects right."""
    device, rows = choose_device(), []
    targets, test_targets = labels(train.scenes), labels(test.scenes)
    for budget, name, encoder, epochs, learning_rate in RUNS:
        for seed in seeds:
            seed_everything(seed)
            model = encoder().to(device)
            start = time.process_time()
            train_cells(model, train.pictures, targets, epochs=epochs, learning_rate=learning_rate, seed=seed)
            seconds = time.process_time() - start
            right = objects_right(model, test.pictures, test_targets)
            rows.append((budget, name, seed, epochs, seconds, right))
    return pd.DataFrame(rows, columns=["budget", "encoder", "seed", "epochs", "cpu_seconds", "objects_right"])


if __name__ == "__main__":
    main()
