"""Reasoners on Sort-of-CLEVR: ``python -m experiments.sort_of_clevr`` writes data/sort_of_clevr.csv.

What Santoro et al. (2017) report, on 200 pictures: a CNN with an MLP 63 % of the relational questions (52.3 % of
"closest" and "furthest"), a relation network above 94 % of both classes. Theirs pairs all regions and puts each pair
through four layers of 2,000 units; the networks here are cheaper, two and a half to four minutes of one
CPU core a method, by

- pairs with the object asked about alone ("anchored"), in place of all pairs of regions;
- 64 units, and a first layer that is computed once for a picture and not once for a question;
- the maximum over pairs beside the mean (anchored only): of what is closest, the mean says little;
- two passes over the non-relational questions before all are asked. Without them a run may settle for what takes no
  colour, such as the more frequent shape of a picture, and never learn to find the object asked about. The CNN + MLP
  was measured both ways. Without them it has settled for just that, although it had more passes than any other;
- a LayerNorm on the question: eleven bits through a linear layer are too small to be noticed beside a region.

To measure another method, add a row to ``METHODS``. The same seed gives the same accuracy to a few tenths of a point on
another machine: sums of floating-point numbers depend on it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import nn

from course_utils import results, training
from course_utils.checkpoints import load_frozen, save_checkpoint
from course_utils.datasets import sort_of_clevr as soc
from course_utils.lesson import seed_everything
from course_utils.paths import CHECKPOINTS, DATA
from course_utils.reasoning import grid
from course_utils.reasoning.reasoners import TransformerReasoner
from course_utils.reasoning.relations import AnchoredRelationNetwork, CodedVQA, FourConvolutions, RegionsMLP

RESULTS = DATA / "sort_of_clevr.csv"
CHECKPOINT = CHECKPOINTS / "sort_of_clevr.safetensors"
SHIPPED = "anchored relation network"  # the method of the checkpoint, with seed 0
TEST_PICTURES = 2000  # ten times as many as published, for a third of the chance error: half a point
SEEDS = (0, 1, 2)
DIM = 64
REGIONS = 25


@dataclass(frozen=True)
class Method:
    """A model for Sort-of-CLEVR and how it is trained.

    Attributes:
        build: Makes the model, untrained. It is called with a batch of ``SortOfClevr.batch`` and gives logits,
            (pictures · questions, answers).
        epochs: Passes over the training pictures with all their questions.
        learning_rate: At the end of the warm-up.
        pictures: To a batch, each with its twenty questions.
        easy_epochs: Passes with the non-relational questions alone, before the others.
    """

    build: Callable[[], nn.Module]
    epochs: int
    learning_rate: float
    pictures: int = 8
    easy_epochs: int = 2


def coded(align: Callable[[], nn.Module], out: int) -> Callable[[], CodedVQA]:
    """A builder of the model around an alignment that gives ``out`` features."""
    return lambda: CodedVQA(soc.CODE, len(soc.ANSWERS), align(), out, DIM)


METHODS: dict[str, Method] = {
    "CNN + MLP": Method(
        coded(lambda: RegionsMLP(REGIONS, DIM, hidden=256), 256), epochs=16, learning_rate=1e-3, easy_epochs=0
    ),
    "CNN + MLP, easy questions first": Method(
        coded(lambda: RegionsMLP(REGIONS, DIM, hidden=256), 256), epochs=6, learning_rate=1e-3
    ),
    "anchored relation network": Method(
        coded(lambda: AnchoredRelationNetwork(DIM), 2 * DIM), epochs=6, learning_rate=1.5e-3
    ),
    "Transformer reasoner": Method(
        coded(lambda: TransformerReasoner(DIM, side=FourConvolutions.side), DIM), epochs=6, learning_rate=1.5e-3
    ),
}


def train(
    method: Method, data: soc.SortOfClevr, seed: int, *, epochs: int | None = None, progress: bool = False,
    validation: soc.SortOfClevr | None = None, device: torch.device | str = "cpu",
) -> tuple[nn.Module, training.History]:  # fmt: skip
    """Train a method from its seed.

    Args:
        method: One of ``METHODS``.
        data: Training pictures and questions.
        seed: Of the weights and of the order of the pictures.
        epochs: Passes over the data, where not the method's own.
        progress: Whether to draw a progress bar.
        validation: Measured after every epoch, where given; the best epoch's weights are then kept.
        device: Where to train.
    """
    seed_everything(seed)
    model = method.build().to(device)
    if method.easy_epochs:
        easy = grid.Batches(data.non_relational, method.pictures, shuffle=True, seed=seed)
        training.fit(
            model, easy, epochs=method.easy_epochs, learning_rate=method.learning_rate, progress=progress
        )  # fmt: skip
    batches = grid.Batches(data, method.pictures, shuffle=True, seed=seed)
    history = training.fit(
        model, batches, grid.Batches(validation, 64) if validation else None, epochs=epochs or method.epochs,
        learning_rate=method.learning_rate, progress=progress,
    )  # fmt: skip
    return model, history


def accuracies(model: nn.Module, data: soc.SortOfClevr) -> dict[str, float]:
    """Shares of questions answered rightly: relational, non_relational, and each type of ``TYPES``."""
    result = training.evaluate(model, grid.Batches(data, 64), soc.ANSWERS)
    right = torch.tensor(result.predictions) == torch.tensor(result.targets)
    right = right.view(-1, soc.QUESTIONS).float()  # the first ten of a picture are non-relational
    by_type = result.by_type.set_index("type")["accuracy"]
    return {
        "relational": right[:, soc.EACH :].mean().item(), "non_relational": right[:, : soc.EACH].mean().item(),
        **{name: by_type[name] for name in soc.TYPES},
    }  # fmt: skip


def measure(name: str, seed: int, data: soc.SortOfClevr, test: soc.SortOfClevr) -> tuple[dict, nn.Module]:
    """Train one method with one seed and measure it: a row of the table, and the model."""
    began = time.process_time()
    model, _ = train(METHODS[name], data, seed, progress=True)
    seconds = time.process_time() - began
    row = {
        "method": name, "seed": seed, **accuracies(model, test), "cpu_seconds": round(seconds, 1),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        **results.where_measured(),
    }  # fmt: skip
    return row, model


def load() -> pd.DataFrame:
    """The stored results: one row for each method and seed.

    Columns: method, seed, relational, non_relational, one for each type in ``TYPES`` (shares of 2,000 test pictures'
    questions), cpu_seconds of the training, parameters, machine, torch.
    """
    return pd.read_csv(RESULTS)


def trained() -> CodedVQA:
    """The shipped relation network, frozen.

    Raises:
        course_utils.checkpoints.CheckpointError: If the checkpoint is missing or is not of this network.
    """
    return load_frozen(METHODS[SHIPPED].build(), CHECKPOINT)


def main(methods: Sequence[str], seeds: Sequence[int]) -> None:
    """Measure every method with every seed; each row is stored as soon as it is known."""
    data, test = soc.split("train"), soc.split("test", pictures=TEST_PICTURES)
    for name in methods:
        for seed in seeds:
            row, model = measure(name, seed, data, test)
            results.store(RESULTS, row, list(METHODS))
            shares = f"{row['relational']:.1%} relational, {row['non_relational']:.1%} non-relational"
            print(f"{name}, seed {seed}: {shares}, {row['cpu_seconds']:.0f} s", flush=True)
            if name == SHIPPED and seed == 0:
                about = {"command": "python -m experiments.sort_of_clevr", "method": name, "seed": seed}
                save_checkpoint(model, CHECKPOINT, {**about, "relational": row["relational"]})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS), metavar="METHOD")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    asked = parser.parse_args()
    torch.set_num_threads(1)  # so that the CPU seconds of a run are those of one core
    main(asked.methods, asked.seeds)
