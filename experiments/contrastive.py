"""Lesson 06's ablations over three seeds: ``python -m experiments.contrastive`` writes data/contrastive.csv.

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

from course_utils.alignment.contrastive import Objective, Towers, sigmoid_objective, softmax_objective, train_towers
from course_utils.datasets import emoji
from course_utils.encoders import EfficientNetLite, MiniLM
from course_utils.lesson import choose_device, seed_everything
from course_utils.metrics import recall_at_k
from course_utils.paths import DATA

SIZE = 128  # pixels to a side, as EfficientNet sees the emoji
SEEDS = 3
RESULTS = DATA / "contrastive.csv"


def main() -> None:
    """Encode once, run every ablation, write the table after each."""
    train, held_out = emoji.split(emoji.load())
    features = encode([*train, *held_out])
    rows = []
    for ablation, value, image, text, options in runs(features):
        for seed in range(SEEDS):
            began = time.process_time()
            recall = train_and_measure(image, text, len(train), seed=seed, **options)
            seconds = time.process_time() - began
            rows.append((ablation, value, seed, *(recall[k] for k in (1, 5, 10)), seconds))
        columns = ["ablation", "value", "seed", "recall_1", "recall_5", "recall_10", "cpu_seconds"]
        table = pd.DataFrame(rows, columns=columns)
        table.to_csv(RESULTS, index=False, float_format="%.4f")
        print(table[table["value"] == value].groupby(["ablation", "value"])["recall_10"].agg(["mean", "min", "max"]))


def runs(features: dict[str, torch.Tensor]) -> Iterator[tuple[str, str, torch.Tensor, torch.Tensor, dict]]:
    """What is compared: ablation, value, picture and text features, options of :func:`train_and_measure`."""
    image, text = features["image"], features["text"]
    yield "default", "learnt scale, batch 256", image, text, {}
    for scale in (1.0, 5.0, 100.0):
        yield "scale", f"{scale:g}", image, text, {"scale": scale, "learn_scale": False}
    for batch in (64, 1024):
        yield "batch", str(batch), image, text, {"batch": batch}
    yield "encoders", "random pictures", features["random image"], text, {}
    yield "encoders", "random text", image, features["random text"], {}
    yield "encoders", "both random", features["random image"], features["random text"], {}
    yield "loss", "sigmoid", image, text, {"objective": sigmoid_objective, "scale": 10.0}


def train_and_measure(
    image: torch.Tensor,
    text: torch.Tensor,
    pairs: int,
    *,
    objective: Objective = softmax_objective,
    scale: float = 20.0,
    learn_scale: bool = True,
    batch: int = 256,
    seed: int = 0,
) -> dict[int, float]:
    """Train towers on the first ``pairs`` rows; recall at 1, 5 and 10 of pictures for the names of the others."""
    seed_everything(seed)
    image, text = standardised(image, pairs), standardised(text, pairs)
    towers = Towers(image.shape[1], text.shape[1], scale).to(image.device)
    towers.log_scale.requires_grad_(learn_scale)
    train_towers(towers, image[:pairs], text[:pairs], objective, batch=batch, seed=seed)
    with torch.no_grad():
        return recall_at_k(towers.text(text[pairs:]) @ towers.image(image[pairs:]).T)


def standardised(features: torch.Tensor, pairs: int) -> torch.Tensor:
    """Every feature with mean 0 and standard deviation 1 over the first ``pairs`` rows, the training ones."""
    train = features[:pairs]
    return (features - train.mean(dim=0)) / (train.std(dim=0) + 1e-6)


def encode(emojis: Sequence[emoji.Emoji]) -> dict[str, torch.Tensor]:
    """Features of pictures, (n, 1280), and names, (n, 384), from the trained encoders and from random ones."""
    device, pictures, names = choose_device(), [emoji.picture(one) for one in emojis], [e.names["en"] for e in emojis]
    trained, untrained = (EfficientNetLite().to(device) for _ in range(2))
    reader, untrained_reader = (MiniLM().to(device) for _ in range(2))
    seed_everything(0)
    untrained.network = without_training(timm.create_model("tf_efficientnet_lite0"), device)
    untrained_reader.bert = without_training(AutoModel.from_config(reader.bert.config), device)
    return {
        "image": trained.embed(pictures, size=SIZE),
        "text": reader.embed(names),
        "random image": untrained.embed(pictures, size=SIZE),
        "random text": untrained_reader.embed(names),
    }


def without_training(network: nn.Module, device: torch.device) -> nn.Module:
    """A network as it was initialised, frozen like the trained one."""
    return network.to(device).eval().requires_grad_(False)


if __name__ == "__main__":
    main()
