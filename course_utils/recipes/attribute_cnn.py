"""Train the encoder of lesson 09: ``python -m course_utils.recipes.attribute_cnn`` writes its checkpoint.

About two minutes on two CPU cores. See :class:`course_utils.encoders.image.AttributeCNN` for what it is for.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from course_utils.checkpoints import save_checkpoint
from course_utils.datasets import shapes
from course_utils.encoders.image import CELL_CLASSES, AttributeCNN
from course_utils.lesson import choose_device, seed_everything
from course_utils.paths import CHECKPOINTS
from course_utils.recipes.grid_cnn import labels, things_right, train_cells

PICTURES, EPOCHS, RATE = 3000, 12, 6e-3


def main(seed: int = 0) -> None:
    """Train, measure on the splits it never saw, and write the checkpoint."""
    seed_everything(seed)
    model = AttributeCNN().to(choose_device())
    data = shapes.split("train", pictures=PICTURES)
    train_cells(model, data.pictures, labels(data.scenes), epochs=EPOCHS, rate=RATE, loss=attribute_loss, progress=True)
    about = {
        "command": "python -m course_utils.recipes.attribute_cnn", "seed": seed, "pictures": PICTURES, "epochs": EPOCHS,
    }  # fmt: skip
    for name in ("test", "compositional"):
        other = shapes.split(name, pictures=1000)
        about[name] = things_right(model, other.pictures, labels(other.scenes))
        print(f"{name}: {about[name]:.2%} of things have shape, colour and size right")
    save_checkpoint(model, CHECKPOINTS / "attribute_cnn.safetensors", about)


def attribute_loss(model: AttributeCNN, pictures: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropies of shape and size, on mixed colours, and of colour: pictures (batch, 3, 64, 64).

    Colour is asked only of cells with a thing. An empty cell beside a red thing has red pixels too, and to tell the two
    apart takes an eye for form.
    """
    logits = model.cell_logits(model.join(mix_colours(pictures), pictures).unpooled)
    there = targets[:, 0] > 0  # (batch, 64)
    loss = torch.zeros((), device=pictures.device)
    for number, name in enumerate(CELL_CLASSES):
        asked = there if name == "colour" else torch.ones_like(there)
        loss = loss + F.cross_entropy(logits[name][asked], targets[:, number][asked])
    return loss


def mix_colours(pictures: torch.Tensor) -> torch.Tensor:
    """Each picture with its red, green and blue mixed by a random rotation or reflection: (batch, 3, h, w)."""
    mixture, _ = torch.linalg.qr(torch.randn(len(pictures), 3, 3, device=pictures.device))
    return torch.einsum("bij,bjhw->bihw", mixture, pictures)


if __name__ == "__main__":
    main()
