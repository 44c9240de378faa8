"""A small encoder of X-rays, and how it learns where findings are."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from course_utils.datasets import phantom
from course_utils.training import one_cycle, row_batches

DIM, GRID = 64, 6  # features of a region, regions to a side


class XRayEncoder(nn.Module):
    """A small CNN and a learned position embedding: X-rays (batch, 48, 48) to regions (batch, 36, 64), row by row."""

    def __init__(self) -> None:
        super().__init__()
        layers = []
        for inside, outside, stride in ((1, 16, 2), (16, 32, 2), (32, DIM, 2), (DIM, DIM, 1)):
            layers += [nn.Conv2d(inside, outside, 3, stride, 1), nn.BatchNorm2d(outside), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.places = nn.Parameter(0.1 * torch.randn(GRID**2, DIM))

    def forward(self, x_rays: torch.Tensor) -> torch.Tensor:
        """X-rays to regions."""
        return self.layers(x_rays[:, None]).flatten(2).transpose(1, 2) + self.places


@torch.no_grad()
def read_x_rays(encoder: XRayEncoder, x_rays: np.ndarray) -> torch.Tensor:
    """Regions of X-rays, (n, 36, 64)."""
    return torch.cat([encoder(some) for some in torch.tensor(x_rays).split(500)])


def region(zone: int) -> int:
    """The region, from 0 to 35, that holds the centre of a zone."""
    y, x = phantom.CENTRES[zone]
    return int(y * GRID) * GRID + int(x * GRID)


def learn_where(patients: phantom.Patients, steps: int, seed: int, learning_rate: float = 6e-3) -> XRayEncoder:
    """Train an encoder to tell which regions hold an opacity, whether the heart is large, whether there is fluid."""
    torch.manual_seed(seed)
    encoder, opacity, chest = XRayEncoder(), nn.Linear(DIM, 1), nn.Linear(DIM, 2)
    x_rays, cells = torch.tensor(patients.x_rays), torch.zeros(len(patients), GRID**2)
    for row, one in enumerate(patients.patients):
        cells[row, [region(zone) for zone in one.opacities]] = 1
    findings = torch.tensor([[one.large_heart, one.fluid] for one in patients.patients]).float()

    def loss(rows: torch.Tensor) -> torch.Tensor:
        regions = encoder(x_rays[rows] + 0.1 * torch.randn_like(x_rays[rows]))
        where = F.binary_cross_entropy_with_logits(opacity(regions)[..., 0], cells[rows], pos_weight=torch.tensor(10.0))
        return where + F.binary_cross_entropy_with_logits(chest(regions.amax(dim=1)), findings[rows])

    weights = [*encoder.parameters(), *opacity.parameters(), *chest.parameters()]
    one_cycle(weights, row_batches(len(patients), steps, seed), loss, learning_rate=learning_rate)
    return encoder.eval().requires_grad_(False)
