"""Train the ladder's picture encoder: ``python -m experiments.grid_cnn`` writes its checkpoint.

About a minute on two CPU cores. The same seed gives the same accuracy to a tenth of a point, not the same bits:
sums of floating-point numbers depend on the machine.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F
from tqdm.auto import tqdm

from course_utils.checkpoints import save_checkpoint
from course_utils.datasets import shapes
from course_utils.datasets.vqa import to_tensor
from course_utils.encoders.image import CELL_CLASSES, GridCNN
from course_utils.lesson import choose_device, seed_everything
from course_utils.paths import CHECKPOINTS

PICTURES, EPOCHS, BATCH, RATE = 3000, 8, 64, 6e-3


def main(seed: int = 0) -> None:
    """Train, measure on the splits it never saw, and write the checkpoint."""
    seed_everything(seed)
    device = choose_device()
    model = GridCNN().to(device)
    data = shapes.split("train", pictures=PICTURES)
    train_cells(model, data.pictures, labels(data.scenes), epochs=EPOCHS, progress=True)
    about = {"command": "python -m experiments.grid_cnn", "seed": seed, "pictures": PICTURES, "epochs": EPOCHS}
    for name in ("test", "compositional"):
        other = shapes.split(name, pictures=1000)
        about[name] = things_right(model, other.pictures, labels(other.scenes))
        print(f"{name}: {about[name]:.2%} of things have shape, colour and size right")
    save_checkpoint(model, CHECKPOINTS / "grid_cnn.safetensors", about)


def labels(scenes: tuple[shapes.Scene, ...]) -> torch.Tensor:
    """What each cell holds: (scenes, 3, 64) int64 for shape, colour and size; 0 is an empty cell."""
    rows = [[shapes.cell_labels(scene)[name].ravel() for name in CELL_CLASSES] for scene in scenes]
    return torch.from_numpy(np.array(rows))


def cell_loss(model: GridCNN, pictures: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of shape, colour and size, summed: pictures (batch, 3, 64, 64), targets (batch, 3, 64)."""
    logits = model.cell_logits(model(pictures).unpooled)  # each (batch, 64, classes)
    return sum(F.cross_entropy(part.flatten(0, 1), targets[:, i].flatten()) for i, part in enumerate(logits.values()))


def train_cells(
    model: GridCNN,
    pictures: np.ndarray,
    targets: torch.Tensor,
    *,
    epochs: int,
    rate: float = RATE,
    seed: int = 0,
    progress: bool = False,
) -> list[float]:
    """Train on the labels of cells, with AdamW and one rise and fall of the learning rate; the loss of each step.

    Args:
        model: On the device to train on; left in evaluation mode.
        pictures: (n, 64, 64, 3) uint8.
        targets: (n, 3, 64), as :func:`labels` gives them.
        epochs: Passes over all pictures.
        rate: The highest learning rate.
        seed: Of the shuffling.
        progress: Whether to draw a progress bar.
    """
    device = next(model.parameters()).device
    generator, losses = torch.Generator().manual_seed(seed), []
    batches = [rows for _ in range(epochs) for rows in torch.randperm(len(pictures), generator=generator).split(BATCH)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=len(batches), pct_start=0.15)
    model.train()
    for rows in tqdm(batches, desc="training", disable=not progress):
        loss = cell_loss(model, to_tensor(pictures[rows.numpy()]).to(device), targets[rows].to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    model.eval()
    return losses


@torch.no_grad()
def things_right(model: GridCNN, pictures: np.ndarray, targets: torch.Tensor) -> float:
    """The share of things, empty cells left out, whose shape, colour and size are all told."""
    told = []
    for batch in np.array_split(pictures, -(-len(pictures) // 256)):
        regions = model(to_tensor(batch).to(next(model.parameters()).device)).unpooled
        told.append(torch.stack([part.argmax(dim=-1) for part in model.cell_logits(regions).values()], dim=1).cpu())
    right = (torch.cat(told) == targets).all(dim=1)  # (pictures, 64)
    return right[targets[:, 0] > 0].float().mean().item()


if __name__ == "__main__":
    main()
