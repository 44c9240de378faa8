"""Image encoders: from pixels to a grid of regions."""

from __future__ import annotations

import torch
from torch import nn

from course_utils.encoders.encoded import Encoded


def convolution_block(inputs: int, outputs: int) -> nn.Sequential:
    """Look at 3×3 neighbourhoods, then halve the resolution: (batch, inputs, h, w) to (batch, outputs, h/2, w/2)."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )


class SmallCNN(nn.Module):
    """Three convolution blocks: a 64×64 picture becomes an 8×8 grid of regions.

    Args:
        dim: Features of a region.
    """

    def __init__(self, dim: int = 64) -> None:
        super().__init__()
        self.blocks = nn.Sequential(convolution_block(3, 16), convolution_block(16, 32), convolution_block(32, dim))

    def forward(self, pictures: torch.Tensor) -> Encoded:
        """Encode pictures, (batch, 3, 64, 64), into 64 regions."""
        grid = self.blocks(pictures)  # (batch, dim, 8, 8)
        regions = grid.flatten(2).transpose(1, 2)  # (batch, 64, dim)
        mask = regions.new_ones(regions.shape[:2], dtype=torch.bool)
        return Encoded(regions.mean(dim=1), regions, mask)
