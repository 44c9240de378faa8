"""Compare GridCNN and SmallViT over three seeds: ``python -m experiments.compare_encoders`` writes the table.

About four minutes on one CPU core. At each of two budgets the ViT gets the epochs that cost about as many CPU seconds
as the CNN's or more. The same seeds give the same accuracies to a few points: sums depend on the machine.
"""

from __future__ import annotations

import time

import pandas as pd

from course_utils.datasets import shapes
from course_utils.encoders.image import GridCNN, SmallViT
from course_utils.lesson import choose_device, seed_everything
from course_utils.paths import DATA
from experiments.grid_cnn import RATE, labels, things_right, train_cells

RUNS = (  # budget, name, encoder, epochs of PICTURES, learning rate
    ("short", "GridCNN", GridCNN, 1, RATE),
    ("short", "SmallViT", SmallViT, 2, RATE),
    ("long", "GridCNN", GridCNN, 4, RATE),
    ("long", "SmallViT", SmallViT, 7, RATE),
    ("long", "SmallViT, a third of the rate", SmallViT, 7, RATE / 3),
)
PICTURES, SEEDS = 2000, 3


def main() -> None:
    """Train all of them and write data/image_encoders.csv."""
    table = compare(shapes.split("train", pictures=PICTURES), shapes.split("test", pictures=500), range(SEEDS))
    table.to_csv(DATA / "image_encoders.csv", index=False, float_format="%.4f")
    print(table.groupby(["budget", "encoder"])[["cpu_seconds", "things_right"]].agg(["mean", "min", "max"]))


def compare(train: shapes.ShapesData, test: shapes.ShapesData, seeds: range) -> pd.DataFrame:
    """One row for each budget, encoder and seed: epochs, CPU seconds, and the share of things right on test."""
    device, rows = choose_device(), []
    targets, test_targets = labels(train.scenes), labels(test.scenes)
    for budget, name, encoder, epochs, rate in RUNS:
        for seed in seeds:
            seed_everything(seed)
            model = encoder().to(device)
            began = time.process_time()
            train_cells(model, train.pictures, targets, epochs=epochs, rate=rate, seed=seed)
            seconds = time.process_time() - began
            right = things_right(model, test.pictures, test_targets)
            rows.append((budget, name, seed, epochs, seconds, right))
    return pd.DataFrame(rows, columns=["budget", "encoder", "seed", "epochs", "cpu_seconds", "things_right"])


if __name__ == "__main__":
    main()
