"""Close the compositional gap: ``python -m experiments.compositional`` writes data/compositional.csv.

Some rungs of the ladder are trained as there, and read regions that :class:`course_utils.encoders.image.AttributeCNN`
made in place of GridCNN's. The reasoner's first seed is shipped as ``attribute_reasoner``. About half an hour.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import pandas as pd
import torch

from course_utils import results
from course_utils.checkpoints import load_frozen, save_checkpoint
from course_utils.encoders.image import trained_attribute_cnn
from course_utils.paths import CHECKPOINTS, DATA
from course_utils.reasoning import grid, ladder
from course_utils.reasoning.reasoners import GridVQA

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
            row, model = ladder.measure(method, seed, data)
            results.store(RESULTS, row, METHODS)
            parts = ", ".join(f"{name} {row[name]:.1%}" for name in ("test", "compositional"))
            print(f"{method}, seed {seed}: {parts}", flush=True)
            if method == REASONER and seed == 0:
                about = {"command": "python -m experiments.compositional", "seed": seed}
                save_checkpoint(model, CHECKPOINT, {**about, "test": row["test"]})


def load() -> pd.DataFrame:
    """The stored results, with the columns of :func:`course_utils.reasoning.ladder.load`."""
    return pd.read_csv(RESULTS)


def trained() -> GridVQA:
    """The shipped reasoner over attribute-wise regions, frozen.

    Raises:
        course_utils.checkpoints.CheckpointError: If the checkpoint is missing or is not of this network.
    """
    return load_frozen(ladder.RUNGS[REASONER].build(), CHECKPOINT)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS), metavar="METHOD")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(ladder.SEEDS))
    asked = parser.parse_args()
    main(asked.methods, asked.seeds)
