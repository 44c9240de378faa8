"""Close the compositional gap: ``python -m experiments.compositional`` writes data/compositional.csv.

It trains some rungs as the ladder does, but over regions of :class:`course_utils.encoders.image.AttributeCNN` instead
of GridCNN. The columns are those of data/ladder.csv. The reasoner with seed 0 is shipped as ``attribute_reasoner``.
About half an hour.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch

from course_utils import results
from course_utils.checkpoints import save_checkpoint
from course_utils.encoders.image import trained_attribute_cnn
from course_utils.paths import CHECKPOINTS, DATA
from course_utils.reasoning import grid
from course_utils.reasoning.ladder import RUNGS, SHIPPED
from experiments.climb_ladder import SEEDS, measure

METHODS = ("MLB", "dot-product attention", "Transformer reasoner")


def main(methods: Sequence[str] = METHODS, seeds: Sequence[int] = SEEDS) -> None:
    """Train and measure every method with every seed, on one thread, and store each row at once."""
    torch.set_num_threads(1)
    encoder = trained_attribute_cnn()
    most = max(RUNGS[method].training_pictures for method in methods)
    data = {"train": grid.load("train", most, encoder=encoder)}
    data |= {name: grid.load(name, encoder=encoder) for name in ("test", "compositional")}
    for method in methods:
        for seed in seeds:
            row, model = measure(method, seed, data)
            results.store(DATA / "compositional.csv", row, METHODS)
            parts = ", ".join(f"{name} {row[name]:.1%}" for name in ("test", "compositional"))
            print(f"{method}, seed {seed}: {parts}", flush=True)
            if seed == 0 and (name := SHIPPED.get((method, "AttributeCNN"))):
                about = {"command": "python -m experiments.compositional", "seed": seed, "test": row["test"]}
                save_checkpoint(model, CHECKPOINTS / f"{name}.safetensors", about)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS), metavar="METHOD")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    options = parser.parse_args()
    main(options.methods, options.seeds)
