"""Training of picture encoders on grid cells: which shape, colour and size each cell holds."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from course_utils.datasets import shapes
from course_utils.datasets.vqa import to_tensor
from course_utils.encoders.image import CELL_CLASSES
from course_utils.training import one_cycle

BATCH_SIZE, LEARNING_RATE = 64, 6e-3


def labels(scenes: tuple[shapes.Scene, ...]) -> torch.Tensor:
    """Shape, colour and size of each cell, (scenes, 3, 64) int64; 0 is an empty cell."""
    rows = [[shapes.cell_labels(scene)[name].ravel() for name in CELL_CLASSES] for scene in scenes]
    return torch.from_numpy(np.array(rows))


def cell_loss(model: nn.Module, pictures: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of shape, colour and size, summed: pictures (batch, 3, 64, 64), targets (batch, 3, 64)."""
    logits = model.cell_logits(model(pictures).unpooled)  # each (batch, 64, classes)
    return sum(F.cross_entropy(part.flatten(0, 1), targets[:, i].flatten()) for i, part in enumerate(logits.values()))


def train_cells(
    model: nn.Module, pictures: np.ndarray, targets: torch.Tensor, *,
    epochs: int, learning_rate: float = LEARNING_RATE, seed: int = 0, progress: bool = False,
) -> list[float]:  # fmt: skip
    """Train on the labels of cells with a one-cycle learning rate.

    Args:
        model: Has ``cell_logits``, as :class:`course_utils.encoders.image.GridCNN` has; left in evaluation mode.
        pictures: (n, 64, 64, 3) uint8.
        targets: (n, 3, 64), as from :func:`labels`; ``training.IGNORE`` leaves a label out of the loss.
        epochs: Passes over all pictures.
        learning_rate: The highest learning rate.
        seed: Seed of the shuffling.
        progress: Whether to draw a progress bar.

    Returns:
        The loss of each step.
    """
    generator = torch.Generator().manual_seed(seed)
    orders = (torch.randperm(len(pictures), generator=generator) for _ in range(epochs))
    batches = [rows for order in orders for rows in order.split(BATCH_SIZE)]
    device = next(model.parameters()).device

    def loss(rows: torch.Tensor) -> torch.Tensor:
        return cell_loss(model, to_tensor(pictures[rows.numpy()]).to(device), targets[rows].to(device))

    options = {"learning_rate": learning_rate, "pct_start": 0.15, "progress": progress}
    losses = one_cycle(model.train().parameters(), batches, loss, **options)
    model.eval()
    return losses


@torch.no_grad()
def objects_right(model: nn.Module, pictures: np.ndarray, targets: torch.Tensor) -> float:
    """The share of objects (non-empty cells) whose shape, colour and size are all predicted correctly."""
    predicted = []
    for batch in np.array_split(pictures, -(-len(pictures) // 256)):
        regions = model(to_tensor(batch).to(next(model.parameters()).device)).unpooled
        logits = model.cell_logits(regions).values()
        predicted.append(torch.stack([part.argmax(dim=-1) for part in logits], dim=1).cpu())
    right = (torch.cat(predicted) == targets).all(dim=1)  # (pictures, 64)
    return right[targets[:, 0] > 0].float().mean().item()
