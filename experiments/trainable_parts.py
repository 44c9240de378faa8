"""How much to train: ``python -m experiments.trainable_parts`` writes data/finetuning.csv.

How much of a small language model must learn to answer questions about pictures? From the same least-squares bridge, on
the same emoji scenes and for as many steps, four settings train nothing; the projector; LoRA in the upper layers as
well; or all weights of these layers. A blind model with LoRA is the control. Learning rates are usual ones, not tuned.

Columns: method, seed, weights (trained), steps, cpu_seconds (without precomputed texts), loss (of the last 20 steps),
answered (share of all questions), caption and each type of question, machine, torch.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from course_utils import results, vlm
from course_utils.device import seed_everything
from course_utils.language import llm
from course_utils.paths import DATA
from course_utils.vlm import finetune
from course_utils.vlm.conversations import TextStates
from course_utils.vlm.worlds import EncodedWorld, read_world

SEEDS = (0, 1, 2)
PICTURES = {"train": 480, "test": 150}
BASE = finetune.Config(
    worlds={"emoji scenes": PICTURES["train"]}, validation=0, pictures_per_batch=4, evaluations_per_epoch=1
)
FROZEN = "frozen"  # nothing is trained after the least-squares start
METHODS = {
    FROZEN: replace(BASE, trainable="bridge"),
    "projector": replace(BASE, trainable="bridge"),
    "LoRA": replace(BASE, trainable="LoRA", learning_rate=8e-4),
    "full": replace(BASE, trainable="full", learning_rate=1e-4),
    "blind, LoRA": replace(BASE, bridge="blind", trainable="LoRA", learning_rate=8e-4),
}


def measure(
    name: str, seed: int, train: EncodedWorld, test: EncodedWorld, text_states: TextStates | None = None
) -> dict:
    """Train one method with one seed and ask it the test questions: a row of the table.

    Args:
        name: One of ``METHODS``.
        seed: Seed of the weights and of the order of the pictures.
        train: Pictures to train on.
        test: Pictures to ask about.
        text_states: The text states of both, if precomputed; they are the same for all methods.
    """
    precision = "bf16" if llm.fast_dtype() == torch.bfloat16 else "fp32"
    config = replace(METHODS[name], seed=seed, precision=precision)
    began = time.process_time()
    if name == FROZEN:
        seed_everything(seed)
        model = finetune.build(config)
        finetune.start_bridge(model, [train], config)
        steps, loss, weights = 0, float("nan"), 0
    else:
        model, history = finetune.train(config, [train], progress=False, text_states=text_states)
        steps, loss = len(history.loss), sum(history.loss[-20:]) / 20
        weights = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    seconds = time.process_time() - began
    table = finetune.by_type(
        model, finetune.batch_worlds(model, [test], text_states=text_states, pictures_per_batch=32)
    )
    asked = table[table["type"] != "caption"]
    return {
        "method": name, "seed": seed, "weights": weights, "steps": steps, "cpu_seconds": round(seconds, 1),
        "loss": loss, "answered": finetune.overall(asked),
        **dict(zip(table["type"], table["accuracy"], strict=True)), **results.where_measured(),
    }  # fmt: skip


def main(methods: Sequence[str], seeds: Sequence[int]) -> None:
    """Measure every method with every seed; each row is stored at once."""
    reader = vlm.PictureReader()
    train, test = (read_world("emoji scenes", split, number, reader) for split, number in PICTURES.items())
    text_states = finetune.precompute(finetune.build(BASE), [train, test])
    for seed in seeds:
        for name in methods:
            row = measure(name, seed, train, test, text_states)
            results.store(DATA / "finetuning.csv", row, list(METHODS))
            print(f"{name}, seed {seed}: {row['answered']:.1%} in {row['cpu_seconds']:.0f} CPU s", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS), metavar="METHOD")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    options = parser.parse_args()
    main(options.methods, options.seeds)
