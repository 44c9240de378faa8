"""Close the compositional gap: ``python -m course_utils.recipes.compositional`` writes data/compositional.csv.

Some rungs of the ladder are trained as there, and read regions that :class:`course_utils.encoders.image.AttributeCNN`
made in place of GridCNN's. The reasoner's first seed is shipped as ``attribute_reasoner``. About half an hour.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import pandas as pd
import torch

from course_utils import grid, ladder
from course_utils.checkpoints import load_checkpoint, save_checkpoint, write_atomically
from course_utils.encoders.image import trained_attribute_cnn
from course_utils.paths import CHECKPOINTS, DATA
from course_utils.reasoners import GridVQA

RESULTS = DATA / "compositional.csv"
METHODS = ("MLB", "dot-product attention", "Transformer reasoner")
REASONER = "Transformer reasoner"
CHECKPOINT = CHECKPOINTS / "attribute_reasoner.safetensors"


def main(methods: Sequence[str] = METHODS, seeds: Sequence[int] = ladder.SEEDS) -> None:
    """Train and measure every method with every seed, on one thread; each row is stored as soon as it is known."""
    torch.set_num_threads(1)
    encoder = trained_attribute_cnn()
    most = max(ladder.RUNGS[method].training_pictures for method in methods)
    data = {"train": grid.load("train", most, encoder=encoder)}
    data |= {name: grid.load(name, encoder=encoder) for name in ("test", "compositional")}
    for method in methods:
        for seed in seeds:
            began = time.process_time()
            model, _ = ladder.train_rung(ladder.RUNGS[method], data["train"], seed)
            row = ladder.row(method, seed, model, time.process_time() - began, data)
            store(row)
            parts = ", ".join(f"{name} {row[name]:.1%}" for name in ("test", "compositional"))
            print(f"{method}, seed {seed}: {parts}", flush=True)
            if method == REASONER and seed == 0:
                about = {"command": "python -m course_utils.recipes.compositional", "seed": seed}
                save_checkpoint(model, CHECKPOINT, {**about, "test": row["test"]})


def store(row: dict) -> None:
    """Write a row into the table in place of an older one of the same method and seed."""
    rows = load() if RESULTS.exists() else pd.DataFrame(columns=list(row))
    older = (rows["method"] == row["method"]) & (rows["seed"] == row["seed"])
    rows = pd.concat([rows[~older], pd.DataFrame([row])] if len(rows) else [pd.DataFrame([row])])
    rows = rows.sort_values(["method", "seed"])
    write_atomically(RESULTS, lambda path: rows.to_csv(path, index=False, float_format="%.4f"))


def load() -> pd.DataFrame:
    """The stored results, with the columns of :func:`course_utils.ladder.load`."""
    return pd.read_csv(RESULTS)


def trained() -> GridVQA:
    """The shipped reasoner over attribute-wise regions, frozen.

    Raises:
        course_utils.checkpoints.CheckpointError: If the checkpoint is missing or is not of this network.
    """
    model = ladder.RUNGS[REASONER].build()
    load_checkpoint(model, CHECKPOINT)
    return model.eval().requires_grad_(False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS), metavar="METHOD")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(ladder.SEEDS))
    asked = parser.parse_args()
    main(asked.methods, asked.seeds)
