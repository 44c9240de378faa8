"""Reasoners on Sort-of-CLEVR: ``python -m experiments.measure_sort_of_clevr`` writes data/sort_of_clevr.csv.

The table has a row for each method and seed with the columns method, seed, relational, non_relational and each type of
question (accuracies on 2,000 test pictures), cpu_seconds (of training), parameters, machine and torch.

On 200 pictures, Santoro et al. (2017) report 63 % of the relational questions (52.3 % of "closest" and "furthest") for
a CNN with an MLP, and above 94 % of both classes for a relation network. Theirs pairs all regions and puts each pair
through four layers of 2,000 units. The networks here take two and a half to four minutes of one CPU core, because of

- pairs with the object asked about ("anchored") instead of all pairs of regions;
- 64 units, and a first layer that is computed once per picture, not once per question;
- the maximum over pairs beside the mean (anchored only), since a mean says little about the closest object;
- two epochs of non-relational questions first. Without them a run may settle for answers that need no colour, such as
  the more frequent shape in the picture, and never learn to find the object asked about. The CNN + MLP was measured
  with and without them; without them it did settle for that, despite having the most epochs;
- a LayerNorm on the question: a linear map of eleven bits is too small beside a region.

To measure another method, add it to ``METHODS``. On another machine accuracies differ by a few tenths of a point,
because sums of floating-point numbers depend on the machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from course_utils import results, training
from course_utils.checkpoints import save_checkpoint
from course_utils.datasets import sort_of_clevr as soc
from course_utils.device import seed_everything
from course_utils.encoders import Encoded
from course_utils.paths import CHECKPOINTS, DATA
from course_utils.reasoning.clevr_models import (
    DIM,
    TEST_PICTURES,
    CodedVQA,
    FourConvolutions,
    accuracies,
    anchored_network,
)
from course_utils.reasoning.grid import Batches
from course_utils.reasoning.reasoners import TransformerReasoner

SHIPPED = "anchored relation network"  # the method of the checkpoint, with seed 0
SEEDS = (0, 1, 2)


class RegionsMLP(nn.Module):
    """Baseline of relation networks: an MLP over all regions side by side and the question.

    Args:
        regions: Number of regions.
        dim: Features of a region and of the question.
        hidden: Width of the MLP.
        layers: Layers after the first.
    """

    def __init__(self, regions: int, dim: int, hidden: int = 256, layers: int = 2) -> None:
        super().__init__()
        self.seen = nn.Linear(regions * dim, hidden)  # once for a picture and all its questions
        self.asked = nn.Linear(dim, hidden, bias=False)
        self.layers = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(layers))

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """(pictures, questions, hidden)."""
        state = (self.seen(regions.flatten(1))[:, None] + self.asked(question.pooled)).relu()
        for layer in self.layers:
            state = layer(state).relu()
        return state


@dataclass(frozen=True)
class Method:
    """A model for Sort-of-CLEVR and how it is trained.

    Attributes:
        build: Builds the untrained model, which maps a batch of ``SortOfClevr.batch`` to logits.
        epochs: Passes over the training pictures with all their questions.
        learning_rate: Peak learning rate.
        batch_size: Pictures in a batch, each with its twenty questions.
        easy_epochs: Epochs with only the non-relational questions, before the others.
    """

    build: Callable[[], nn.Module]
    epochs: int
    learning_rate: float
    batch_size: int = 8
    easy_epochs: int = 2


def cnn_and_mlp() -> CodedVQA:
    """The untrained baseline."""
    return CodedVQA(RegionsMLP(FourConvolutions.side**2, DIM), 256)


def transformer() -> CodedVQA:
    """The untrained Transformer reasoner."""
    return CodedVQA(TransformerReasoner(DIM, side=FourConvolutions.side), DIM)


METHODS: dict[str, Method] = {
    "CNN + MLP": Method(cnn_and_mlp, epochs=16, learning_rate=1e-3, easy_epochs=0),
    "CNN + MLP, easy questions first": Method(cnn_and_mlp, epochs=6, learning_rate=1e-3),
    SHIPPED: Method(anchored_network, epochs=6, learning_rate=1.5e-3),
    "Transformer reasoner": Method(transformer, epochs=6, learning_rate=1.5e-3),
}


def train(
    method: Method, data: soc.SortOfClevr, seed: int, *, epochs: int | None = None, progress: bool = False
) -> tuple[nn.Module, training.History]:
    """Train a method from scratch.

    Args:
        method: One of ``METHODS``.
        data: Training pictures and questions.
        seed: Seed of the initial weights and of the order of the pictures.
        epochs: Passes over the data, instead of the method's own.
        progress: Whether to show a progress bar.
    """
    seed_everything(seed)
    model = method.build()
    for part, passes in ((data.non_relational, method.easy_epochs), (data, epochs or method.epochs)):
        if passes:
            batches = Batches(part, method.batch_size, shuffle=True, seed=seed)
            history = training.fit(model, batches, epochs=passes, learning_rate=method.learning_rate, progress=progress)
    return model, history


def measure(name: str, seed: int, data: soc.SortOfClevr, test: soc.SortOfClevr) -> tuple[dict, nn.Module]:
    """Train a method with one seed and measure it: a row of the table, and the model."""
    began = time.process_time()
    model, _ = train(METHODS[name], data, seed, progress=True)
    seconds = time.process_time() - began
    row = {
        "method": name, "seed": seed, **accuracies(model, test), "cpu_seconds": round(seconds, 1),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        **results.where_measured(),
    }  # fmt: skip
    return row, model


def main(methods: Sequence[str], seeds: Sequence[int]) -> None:
    """Measure every method with every seed, and store each row at once."""
    data, test = soc.split("train"), soc.split("test", pictures=TEST_PICTURES)
    for name in methods:
        for seed in seeds:
            row, model = measure(name, seed, data, test)
            results.store(DATA / "sort_of_clevr.csv", row, list(METHODS))
            shares = f"{row['relational']:.1%} relational, {row['non_relational']:.1%} non-relational"
            print(f"{name}, seed {seed}: {shares}, {row['cpu_seconds']:.0f} s", flush=True)
            if name == SHIPPED and seed == 0:
                about = {"command": "python -m experiments.measure_sort_of_clevr", "method": name, "seed": seed}
                path = CHECKPOINTS / "sort_of_clevr.safetensors"
                save_checkpoint(model, path, {**about, "relational": row["relational"]})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS), metavar="METHOD")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    options = parser.parse_args()
    torch.set_num_threads(1)  # so that CPU seconds are those of one core
    main(options.methods, options.seeds)
