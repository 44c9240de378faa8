"""How much to train: ``python -m experiments.finetuning`` writes data/finetuning.csv.

How much of a small language model must learn to answer questions about pictures? Four answers, each from the same
least-squares bridge, on the same emoji scenes in the order of the seed, for as many steps: nothing; the projector
alone; LoRA in the upper layers beside it; all weights of these layers. And a blind model with LoRA, to compare.
Learning rates are those usual for each, and were not tuned.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import torch

from course_utils import results, vlm
from course_utils.language import llm
from course_utils.lesson import seed_everything
from course_utils.paths import DATA
from course_utils.vlm import finetune
from course_utils.vlm.conversations import Reading
from course_utils.vlm.worlds import World, read_world

RESULTS = DATA / "finetuning.csv"
SEEDS = (0, 1, 2)
PICTURES = {"train": 480, "test": 150}
BASE = finetune.Config(worlds={"emoji scenes": PICTURES["train"]}, validation=0, pictures=4, parts=1)
FROZEN = "frozen"  # nothing is trained but what least squares solves
METHODS = {
    FROZEN: replace(BASE, trains="bridge"),
    "projector": replace(BASE, trains="bridge"),
    "LoRA": replace(BASE, trains="LoRA", learning_rate=8e-4),
    "full": replace(BASE, trains="full", learning_rate=1e-4),
    "blind, LoRA": replace(BASE, bridge="blind", trains="LoRA", learning_rate=8e-4),
}


def precision() -> str:
    """Of the training: what this machine is fast in."""
    return "bf16" if llm.fast_dtype() == torch.bfloat16 else "fp32"


def measure(name: str, seed: int, train: World, test: World, reading: Reading | None = None) -> dict:
    """Train one method with one seed and ask it the test questions: a row of the table.

    Args:
        name: One of ``METHODS``.
        seed: Of the weights and of the order of the pictures.
        train: Pictures to train on.
        test: Pictures to ask about.
        reading: Of the texts of both, if they were read ahead, which is the same for all methods.
    """
    config = replace(METHODS[name], seed=seed, precision=precision())
    began = time.process_time()
    if name == FROZEN:
        seed_everything(seed)
        model = finetune.build(config)
        finetune.measure_bridge(model, [train], config.solved)
        steps, loss = 0, float("nan")
    else:
        model, history = finetune.train(config, [train], progress=False, reading=reading)
        steps, loss = len(history.loss), sum(history.loss[-20:]) / 20
    seconds = time.process_time() - began
    table = finetune.by_type(model, finetune.conversations(model, [test], 32, reading=reading))
    asked = table[table["type"] != "caption"]
    answered = float((asked["accuracy"] * asked["questions"]).sum() / asked["questions"].sum())
    by_type = dict(zip(table["type"], table["accuracy"], strict=True))
    return {
        "method": name, "seed": seed, "weights": sum(weight.numel() for weight in trainable(model, name)),
        "steps": steps, "cpu_seconds": round(seconds, 1), "loss": loss, "answered": answered, **by_type,
        **results.where_measured(),
    }  # fmt: skip


def trainable(model: vlm.VisionLanguageModel, name: str) -> list:
    """The weights that a method trains."""
    return [] if name == FROZEN else [weight for weight in model.parameters() if weight.requires_grad]


def load() -> pd.DataFrame:
    """The stored results: one row for each method and seed.

    Columns: method, seed, weights (that are trained), steps, cpu_seconds (without the reading ahead), loss (of the last
    20 steps), answered (share of all questions), caption and each type of question, machine, torch.
    """
    return pd.read_csv(RESULTS)


def main(methods: Sequence[str], seeds: Sequence[int]) -> None:
    """Measure every method with every seed; each row is stored as soon as it is known."""
    reader = vlm.PictureReader()
    train, test = (read_world("emoji scenes", split, number, reader) for split, number in PICTURES.items())
    reading = finetune.read_texts(finetune.build(BASE), [train, test])
    for seed in seeds:
        for name in methods:
            row = measure(name, seed, train, test, reading)
            results.store(RESULTS, row, list(METHODS))
            print(f"{name}, seed {seed}: {row['answered']:.1%} in {row['cpu_seconds']:.0f} CPU s", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS), metavar="METHOD")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    asked = parser.parse_args()
    main(asked.methods, asked.seeds)
