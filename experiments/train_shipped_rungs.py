"""Train the rungs that lessons 07 to 09 examine: ``python -m experiments.train_shipped_rungs`` writes checkpoints.

Each is the ladder's run with seed 0: about 80 s of CPU, nine minutes for the Transformer reasoner. Name methods behind
the command to train only those. See :mod:`experiments.climb_ladder` for differences between machines.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from course_utils import training
from course_utils.checkpoints import save_checkpoint
from course_utils.datasets import shapes
from course_utils.paths import CHECKPOINTS
from course_utils.reasoning import grid
from course_utils.reasoning.ladder import RUNGS, SHIPPED, train_rung

METHODS = {method: name for (method, encoder), name in SHIPPED.items() if encoder == "GridCNN"}


def main(methods: Sequence[str], seed: int = 0) -> None:
    """Train, measure on the test split, and write the checkpoints."""
    most = max(RUNGS[method].training_pictures for method in methods)
    train, test = grid.load("train", most), grid.load("test")
    for method in methods:
        model, _ = train_rung(RUNGS[method], train, seed, progress=True)
        result = training.evaluate(model, grid.Batches(test, 64), shapes.ANSWERS)
        print(f"{method}: {result.accuracy:.1%} of the test questions")
        about = {"command": "python -m experiments.train_shipped_rungs", "method": method, "seed": seed}
        path = CHECKPOINTS / f"{METHODS[method]}.safetensors"
        save_checkpoint(model, path, {**about, "test": result.accuracy})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="*", default=list(METHODS), metavar="METHOD", help=", ".join(METHODS))
    options = parser.parse_args()
    if unknown := set(options.methods) - set(METHODS):
        parser.error(f"no model of {sorted(unknown)} is shipped, only of: {', '.join(METHODS)}")
    main(options.methods)
