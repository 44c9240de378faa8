"""Train the picture encoder of the ladder: ``python -m experiments.grid_cnn`` writes its checkpoint.

About a minute on two CPU cores. The same seed gives the same accuracy to a tenth of a point, not the same bits:
sums of floating-point numbers depend on the machine.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from course_utils.checkpoints import save_checkpoint
from course_utils.datasets import shapes
from course_utils.device import choose_device, seed_everything
from course_utils.encoders import cells
from course_utils.encoders.image import GridCNN
from course_utils.paths import CHECKPOINTS

PICTURES = 3000


def train_and_save(
    name: str, encoder: type[nn.Module], epochs: int, labels: Callable[..., torch.Tensor] = cells.labels, seed: int = 0
) -> None:
    """Train an encoder, measure it on two held-out splits, and write its checkpoint.

    Args:
        name: Name of the experiment and of the checkpoint.
        encoder: Class of the encoder.
        epochs: Passes over the training pictures.
        labels: Scenes to training targets.
        seed: Seed of the weights and of the order of the pictures.
    """
    seed_everything(seed)
    model = encoder().to(choose_device())
    data = shapes.split("train", pictures=PICTURES)
    cells.train_cells(model, data.pictures, labels(data.scenes), epochs=epochs, progress=True)
    about = {"command": f"python -m experiments.{name}", "seed": seed, "pictures": PICTURES, "epochs": epochs}
    for split in ("test", "compositional"):
        held_out = shapes.split(split, pictures=1000)
        about[split] = cells.objects_right(model, held_out.pictures, cells.labels(held_out.scenes))
        print(f"{split}: {about[split]:.2%} of objects have shape, colour and size right")
    save_checkpoint(model, CHECKPOINTS / f"{name}.safetensors", about)


if __name__ == "__main__":
    train_and_save("grid_cnn", GridCNN, epochs=8)
