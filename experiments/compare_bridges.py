"""Compare bridges on emoji scenes: ``python -m experiments.compare_bridges`` writes bridges.csv and bridge_layers.csv.

Every bridge of ``stage_one.METHODS`` learns to caption the same 2,000 pictures, in the same order, through the same
frozen language model. Learning rates are not tuned per method; a join at the first layer gets fewer steps, which take
longer.

Columns of bridges.csv: method, seed, join_layer, loss and loss_unseen (nats per token), named and named_unseen (shares
of objects), tokens per picture, parameters, steps, cpu_seconds of training, machine, torch.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import pandas as pd

from course_utils import results, vlm
from course_utils.checkpoints import save_weights
from course_utils.datasets import emoji_scenes
from course_utils.language import llm
from course_utils.paths import DATA
from course_utils.vlm import stage_one
from course_utils.vlm.stage_one import METHODS, PICTURES, Described
from course_utils.vlm.targets import CellTargets

SEEDS = (0, 1, 2)
LAYERS = (0, 4, 8, 12, 16, 20, 24, 28)  # where the least-squares map is tried


def join_layers(data: dict[str, Described]) -> pd.DataFrame:
    """How well least squares alone names objects, by join layer: one row per layer."""
    model, tokenizer = llm.load(llm.fast_dtype())
    rows = []
    for layer in LAYERS:
        names = CellTargets(emoji_scenes.WORLD, model, tokenizer, layer)
        bridge = stage_one.least_squares(data["train"], names)
        seen, unseen = (stage_one.named_by_cells(bridge, names, data[split]) for split in ("test", "unseen"))
        shares = {"named": seen["seen"], "named_unseen": unseen["unseen"], "among_all": unseen["unseen, among all"]}
        rows.append({"layer": layer, "loudness": bridge.voice.loudness.item(), **shares})
    return pd.DataFrame(rows)


def measure(name: str, seed: int, data: dict[str, Described]) -> tuple[dict, vlm.VisionLanguageModel]:
    """Train one method with one seed and measure it: a row of the table, and the model.

    Args:
        name: One of ``METHODS``.
        seed: Seed of the run.
        data: Split -> scenes, for "train", "test" and "unseen".
    """
    began = time.process_time()
    model, _ = stage_one.train(METHODS[name], data["train"], seed, progress=True)
    seconds = time.process_time() - began
    test, unseen = (
        stage_one.named(model.caption(data[split].features), data[split].scenes.scenes) for split in ("test", "unseen")
    )
    row = {
        "method": name, "seed": seed, "join_layer": METHODS[name].join_layer,
        "loss": stage_one.caption_loss(model, data["test"]),
        "loss_unseen": stage_one.caption_loss(model, data["unseen"]), "named": test["seen"],
        "named_unseen": unseen["unseen"], "tokens": model.bridge(data["test"].features[:1]).shape[1],
        "parameters": sum(weight.numel() for weight in model.parameters()), "steps": METHODS[name].steps,
        "cpu_seconds": round(seconds, 1), **results.where_measured(),
    }  # fmt: skip
    return row, model


def main(methods: Sequence[str], seeds: Sequence[int]) -> None:
    """Measure every method with every seed; each row is stored at once, and seed 0 is shipped."""
    reader = vlm.PictureReader()
    scenes = {split: emoji_scenes.split(split, pictures=pictures) for split, pictures in PICTURES.items()}
    data = {split: Described(some, reader.read(some.pictures)) for split, some in scenes.items()}
    results.replace(DATA / "bridge_layers.csv", join_layers(data))
    for seed in seeds:
        for name in methods:
            row, model = measure(name, seed, data)
            results.store(DATA / "bridges.csv", row, list(METHODS))
            print(f"{name}, seed {seed}: loss {row['loss']:.2f}, named {row['named']:.0%}", flush=True)
            if seed == 0:
                about = {"command": "python -m experiments.compare_bridges", "method": name, "seed": seed}
                save_weights(vlm.compact(model), stage_one.checkpoint(name), about)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS), metavar="METHOD")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    options = parser.parse_args()
    main(options.methods, options.seeds)
