"""Train the encoder of lesson 09: ``python -m experiments.attribute_cnn`` writes its checkpoint.

About two minutes on two CPU cores. See :class:`course_utils.encoders.image.AttributeCNN` for what it is for.
"""

from __future__ import annotations

import torch

from course_utils.checkpoints import save_checkpoint
from course_utils.datasets import shapes
from course_utils.encoders.image import AttributeCNN
from course_utils.lesson import choose_device, seed_everything
from course_utils.paths import CHECKPOINTS
from experiments import grid_cnn

PICTURES, EPOCHS, RATE = 3000, 12, 6e-3
LEFT_OUT = -100  # what torch's cross-entropy ignores


def main(seed: int = 0) -> None:
    """Train, measure on the splits it never saw, and write the checkpoint."""
    seed_everything(seed)
    model = AttributeCNN().to(choose_device())
    data = shapes.split("train", pictures=PICTURES)
    grid_cnn.train_cells(model, data.pictures, labels(data.scenes), epochs=EPOCHS, rate=RATE, progress=True)
    about = {
        "command": "python -m experiments.attribute_cnn", "seed": seed, "pictures": PICTURES, "epochs": EPOCHS,
    }  # fmt: skip
    for name in ("test", "compositional"):
        other = shapes.split(name, pictures=1000)
        about[name] = grid_cnn.things_right(model, other.pictures, grid_cnn.labels(other.scenes))
        print(f"{name}: {about[name]:.2%} of things have shape, colour and size right")
    save_checkpoint(model, CHECKPOINTS / "attribute_cnn.safetensors", about)


def labels(scenes: tuple[shapes.Scene, ...]) -> torch.Tensor:
    """As :func:`experiments.grid_cnn.labels`, but the colour of an empty cell is left out of the loss.

    An empty cell beside a red thing has red pixels too, and to tell the two apart takes an eye for form.
    """
    targets = grid_cnn.labels(scenes)
    targets[:, 1][targets[:, 0] == 0] = LEFT_OUT
    return targets


if __name__ == "__main__":
    main()
