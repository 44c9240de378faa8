"""Rungs that relate regions: relation networks and FiLM, called as those of :mod:`course_utils.reasoning.rungs`."""

from __future__ import annotations

import torch
from torch import nn

from course_utils.alignment.attention import dot_product_attention
from course_utils.encoders import Encoded


class RelationNetwork(nn.Module):
    """Mean of an MLP g(o_i, o_j, q) over all pairs of regions, for a question q (Santoro et al., 2017).

    The first layer of g is a sum, W_1 o_i + W_2 o_j + W_q q, so the region terms are computed once for all questions
    of a picture and the question term once for all pairs. A mean with LayerNorm replaces the published sum.

    Args:
        dim: Features of a region and of the question.
        hidden: Width of g.
        layers: Layers of g after the first.
    """

    def __init__(self, dim: int, hidden: int = 64, layers: int = 2) -> None:
        super().__init__()
        self.one = nn.Linear(dim, hidden)
        self.other, self.asked = (nn.Linear(dim, hidden, bias=False) for _ in range(2))
        self.g = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """(pictures, questions, hidden)."""
        pairs = self.one(regions)[:, :, None] + self.other(regions)[:, None]  # (pictures, regions, regions, hidden)
        asked = self.asked(question.pooled)[:, :, None]  # (pictures, questions, 1, hidden)
        seen = (pairs.flatten(1, 2)[:, None] + asked).relu()  # (pictures, questions, regions · regions, hidden)
        for layer in self.g:
            seen = layer(seen).relu()
        return self.norm(seen.mean(dim=2))


class SparseRelationNetwork(RelationNetwork):
    """A relation network over the regions that differ most from their picture's median region.

    In a sparse picture the median, taken feature by feature, is an empty region. The selection is not learnt.

    Args:
        dim: Features of a region and of the question.
        count: Number of regions to keep.
        hidden: Width of g.
    """

    def __init__(self, dim: int, count: int, hidden: int = 64) -> None:
        super().__init__(dim, hidden)
        self.count = count

    def select(self, regions: torch.Tensor) -> torch.Tensor:
        """Reduce (pictures, regions, dim) to (pictures, count, dim), the largest difference first.

        Raises:
            ValueError: If there are fewer than ``count`` regions.
        """
        if regions.shape[1] < self.count:
            raise ValueError(f"{self.count} regions cannot be kept of {regions.shape[1]}: choose a smaller count.")
        usual = regions.median(dim=1, keepdim=True).values
        chosen = (regions - usual).square().sum(dim=-1).topk(self.count, dim=1).indices
        return regions.gather(1, chosen[..., None].expand(-1, -1, regions.shape[-1]))

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """(pictures, questions, hidden)."""
        return super().forward(question, self.select(regions))


class AnchoredRelationNetwork(nn.Module):
    """A relation network that pairs each region only with the anchor, the object that the question is about.

    Attention from the question finds the anchor a; g(a, o_j, q) then has one pair for each region, not for each pair
    of regions. Besides the mean over pairs it uses their maximum, which helps to find the closest or furthest object
    and which Santoro et al. do not have.

    Args:
        dim: Features of a region and of the question.
        hidden: Width of g.
        layers: Layers of g after the first.
    """

    def __init__(self, dim: int, hidden: int = 64, layers: int = 2) -> None:
        super().__init__()
        # Without LayerNorm the attention starts out uniform, and slowly learns where to attend.
        self.query, self.key = (nn.Sequential(nn.Linear(dim, dim), nn.LayerNorm(dim)) for _ in range(2))
        self.anchor = nn.Linear(dim, hidden)
        self.other, self.asked = (nn.Linear(dim, hidden, bias=False) for _ in range(2))
        self.g = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(layers))
        self.itself, self.gate = nn.Linear(dim, hidden), nn.Linear(dim, hidden)
        self.join = nn.Linear(2 * hidden, hidden)
        self.norm = nn.LayerNorm(hidden)
        nn.init.zeros_(self.join.weight)  # until the anchor is found, pairs teach only shortcuts
        nn.init.zeros_(self.join.bias)

    def look(self, question: Encoded, regions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The anchor, (pictures, questions, dim), and its attention weights, (pictures, questions, regions)."""
        return dot_product_attention(self.query(question.pooled), self.key(regions), regions)

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """(pictures, questions, 2 · hidden)."""
        anchor, _ = self.look(question, regions)
        start = self.anchor(anchor) + self.asked(question.pooled)  # (pictures, questions, hidden)
        seen = (start[:, :, None] + self.other(regions)[:, None]).relu()  # (pictures, questions, regions, hidden)
        for layer in self.g:
            seen = layer(seen).relu()
        pairs = torch.cat([seen.mean(dim=2), seen.amax(dim=2)], dim=-1)
        state = self.norm(self.itself(anchor) + self.join(pairs))
        return torch.cat([state, state * self.gate(question.pooled)], dim=-1)


class FiLM(nn.Module):
    """A small residual CNN whose channels the question scales and shifts (Perez et al., AAAI 2018).

    The first block's convolution does not depend on the question, so it runs once per picture. Narrower and shallower
    than published (128 channels, four blocks of two convolutions).

    Args:
        dim: Features of a region and of the question.
        width: Channels of the CNN.
        blocks: Number of blocks.
        side: Regions along a side of the picture.
    """

    def __init__(self, dim: int, width: int = 32, blocks: int = 3, side: int = 8) -> None:
        super().__init__()
        self.side, self.width = side, width
        self.project_in = nn.Linear(dim, width)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False) for _ in range(blocks)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width, affine=False) for _ in range(blocks))
        self.film = nn.Linear(dim, blocks * 2 * width)
        self.project_out = nn.Sequential(nn.Linear(width, dim), nn.LayerNorm(dim))

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """(pictures, questions, dim); regions are (pictures, side · side, dim), row by row from the top left."""
        pictures, questions = question.pooled.shape[:2]
        maps = self.project_in(regions).relu().transpose(1, 2).unflatten(2, (self.side, self.side))
        film = self.film(question.pooled).unflatten(-1, (len(self.norms), 2, self.width, 1, 1))
        for block, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            scale, shift = film[:, :, block].unbind(dim=2)  # each (pictures, questions, width, 1, 1)
            seen = norm(convolution(maps)).unflatten(0, (pictures, -1))  # (pictures, 1 or questions, width, side, side)
            before = maps.unflatten(0, (pictures, -1))
            maps = (before + ((1 + scale) * seen + shift).relu()).flatten(0, 1)
        return self.project_out(maps.amax(dim=(2, 3))).unflatten(0, (pictures, questions))
