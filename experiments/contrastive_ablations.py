"""Ablations of lesson 06 over three seeds: ``python -m experiments.contrastive_ablations`` writes data/contrastive.csv.

About two and a half minutes on one CPU core. Every row trains two heads on the training emoji and measures retrieval
on the 300 held out. The same seeds give the same recalls to a point or two: sums depend on the machine.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import pandas as pd
import timm
import torch
from torch import nn
from transformers import AutoModel

from course_utils import results
from course_utils.alignment.contrastive import (
    EMOJI_SIZE,
    Objective,
    Towers,
    sigmoid_objective,
    softmax_objective,
    standardise,
    train_towers,
)
from course_utils.datasets import emoji
from course_utils.device import choose_device, seed_everything
from course_utils.encoders import EfficientNetLite, MiniLM
from course_utils.metrics import recall_at_k
from course_utils.paths import DATA

SEEDS = 3


def main() -> None:
    """Encode once, run all ablations, and write the table after each."""
    train, held_out = emoji.split(emoji.load())
    features = encode([*train, *held_out])
    rows = []
    for ablation, value, image, text, options in runs(features):
        for seed in range(SEEDS):
            start = time.process_time()
            recall = train_and_measure(image, text, len(train), seed=seed, **options)
            seconds = time.process_time() - start
            rows.append((ablation, value, seed, *(recall[k] for k in (1, 5, 10)), seconds))
        columns = ["ablation", "value", "seed", "recall_1", "recall_5", "recall_10", "cpu_seconds"]
        table = pd.DataFrame(rows, columns=columns)
        results.replace(DATA / "contrastive.csv", table)
        print(table[table["value"] == value].groupby(["ablation", "value"])["recall_10"].agg(["mean", "min", "max"]))


def runs(features: dict[str, torch.Tensor]) -> Iterator[tuple[str, str, torch.Tensor, torch.Tensor, dict]]:
    """Each run: ablation, value, picture features, text features, options of :func:`train_and_measure`."""
    image, text = features["image"], features["text"]
    yield "default", "learnt scale, batch 256", image, text, {}
    for scale in (1.0, 5.0, 100.0):
        yield "scale", f"{scale:g}", image, text, {"scale": scale, "learn_scale": False}
    for batch_size in (64, 1024):
        yield "batch", str(batch_size), image, text, {"batch_size": batch_size}
    yield "encoders", "random pictures", features["random image"], text, {}
    yield "encoders", "random text", image, features["random text"], {}
    yield "encoders", "both random", features["random image"], features["random text"], {}
    yield "loss", "sigmoid", image, text, {"objective": sigmoid_objective, "scale": 10.0}


def train_and_measure(
    image: torch.Tensor, text: torch.Tensor, pairs: int, *, objective: Objective = softmax_objective,
    scale: float = 20.0, learn_scale: bool = True, batch_size: int = 256, seed: int = 0,
) -> dict[int, float]:  # fmt: skip
    """Train towers on the first ``pairs`` rows; recall at 1, 5 and 10 of the other pictures, given their names."""
    seed_everything(seed)
    image, text = standardise(image, pairs), standardise(text, pairs)
    towers = Towers(image.shape[1], text.shape[1], scale).to(image.device)
    towers.log_scale.requires_grad_(learn_scale)
    train_towers(towers, image[:pairs], text[:pairs], objective, batch_size=batch_size, seed=seed)
    with torch.no_grad():
        return recall_at_k(towers.text(text[pairs:]) @ towers.image(image[pairs:]).T)


def encode(emojis: Sequence[emoji.Emoji]) -> dict[str, torch.Tensor]:
    """Features of pictures, (n, 1280), and names, (n, 384), from pretrained and from randomly initialised encoders."""
    device, pictures, names = choose_device(), [emoji.picture(one) for one in emojis], [e.names["en"] for e in emojis]
    trained, untrained = (EfficientNetLite().to(device) for _ in range(2))
    text_trained, text_untrained = (MiniLM().to(device) for _ in range(2))
    seed_everything(0)
    untrained.network = frozen(timm.create_model("tf_efficientnet_lite0"), device)
    text_untrained.bert = frozen(AutoModel.from_config(text_trained.bert.config), device)
    return {
        "image": trained.embed(pictures, size=EMOJI_SIZE),
        "text": text_trained.embed(names),
        "random image": untrained.embed(pictures, size=EMOJI_SIZE),
        "random text": text_untrained.embed(names),
    }


def frozen(network: nn.Module, device: torch.device) -> nn.Module:
    """The network on the device, in evaluation mode, without gradients."""
    return network.to(device).eval().requires_grad_(False)


if __name__ == "__main__":
    main()
