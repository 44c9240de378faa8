"""Train the rungs of the ladder that lessons look into: ``python -m experiments.looks`` writes checkpoints.

About 80 s of CPU for each method, nine minutes for the Transformer reasoner; all of them or those that are named behind
the command. The runs are those of the ladder with seed 0; see :mod:`course_utils.reasoning.ladder` for how far another machine
may differ.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from course_utils import training
from course_utils.checkpoints import load_frozen, save_checkpoint
from course_utils.datasets import shapes
from course_utils.paths import CHECKPOINTS
from course_utils.reasoning import grid, ladder
from course_utils.reasoning.reasoners import GridVQA

LOOKS = {"dot-product attention": "one_look", "two-hop attention": "two_looks"}  # of lesson 07
SHIPPED = {  # method -> name of its file
    **LOOKS,
    "LSTM reasoner": "lstm_reasoner",
    "Transformer reasoner": "transformer_reasoner",
}


def main(methods: Sequence[str], seed: int = 0) -> None:
    """Train, measure on the test split, and write the checkpoints."""
    most = max(ladder.RUNGS[method].training_pictures for method in methods)
    train, test = grid.load("train", most), grid.load("test")
    for method in methods:
        name = SHIPPED[method]
        model, _ = ladder.train_rung(ladder.RUNGS[method], train, seed, progress=True)
        result = training.evaluate(model, grid.Batches(test, 64), shapes.ANSWERS)
        print(f"{method}: {result.accuracy:.1%} of the test questions")
        about = {"command": "python -m experiments.looks", "method": method, "seed": seed}
        save_checkpoint(model, CHECKPOINTS / f"{name}.safetensors", {**about, "test": result.accuracy})


def trained(method: str) -> GridVQA:
    """The shipped model of a method in ``SHIPPED``, frozen.

    Raises:
        ValueError: If no model of that method is shipped.
        course_utils.checkpoints.CheckpointError: If the checkpoint is missing or is not of this network.
    """
    if method not in SHIPPED:
        raise ValueError(f"No model of {method!r} is shipped, only of: {', '.join(SHIPPED)}.")
    return load_frozen(ladder.RUNGS[method].build(), CHECKPOINTS / f"{SHIPPED[method]}.safetensors")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="*", default=list(SHIPPED), metavar="METHOD", help=", ".join(SHIPPED))
    asked = parser.parse_args()
    if unknown := set(asked.methods) - set(SHIPPED):
        parser.error(f"no model of {sorted(unknown)} is shipped, only of: {', '.join(SHIPPED)}")
    main(asked.methods)
