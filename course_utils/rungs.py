"""The rungs of the ladder: the part of :class:`course_utils.reasoners.GridVQA` that differs from method to method.

Each is called with an encoded question, of ``pooled`` (pictures, questions, dim), and regions (pictures, regions, dim),
and gives (pictures, questions, out).
"""

from __future__ import annotations

import torch
from torch import nn

from course_utils.alignment import attention
from course_utils.encoders import Encoded


class QuestionOnly(nn.Module):
    """Does not look: what the questions give away."""

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """The question's vector."""
        return question.pooled


class PictureOnly(nn.Module):
    """Does not read: the same answer to every question about a picture."""

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """The mean over regions, once for each question."""
        return mean_of(regions).expand_as(question.pooled)


class Concatenation(nn.Module):
    """The mean over regions beside the question's vector.

    Args:
        dim: Features of a region.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """(pictures, questions, 2 · dim)."""
        picture = self.norm(mean_of(regions)).expand_as(question.pooled)
        return torch.cat([question.pooled, picture], dim=-1)


class PooledBilinear(nn.Module):
    """Bilinear pooling of the question's vector with the mean over regions.

    Args:
        fusion: A layer of :mod:`course_utils.alignment.bilinear`.
        dim: Features of a region.
        out: Features that the layer gives.
    """

    def __init__(self, fusion: nn.Module, dim: int, out: int) -> None:
        super().__init__()
        self.fusion, self.norm, self.out_norm = fusion, nn.LayerNorm(dim), nn.LayerNorm(out)

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """(pictures, questions, out)."""
        return self.out_norm(self.fusion(question.pooled, self.norm(mean_of(regions))))


class SingleLook(nn.Module):
    """Attention once, from the question's vector to the regions; what was seen is added to the question.

    Args:
        look: An attention of :mod:`course_utils.alignment.attention`, called with query and context.
        dim: Features of a region and of the question.
    """

    def __init__(self, look: nn.Module, dim: int) -> None:
        super().__init__()
        self.look, self.norm = look, nn.LayerNorm(dim)

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """(pictures, questions, dim)."""
        seen, _ = self.look(question.pooled, regions)
        return self.norm(question.pooled + seen)


class SeveralHops(nn.Module):
    """Attention several times, each look starting from what the last one saw.

    Args:
        dim: Features of a region and of the question.
        hops: How many looks.
    """

    def __init__(self, dim: int, hops: int) -> None:
        super().__init__()
        self.look = attention.MultiHopAttention(dim, hops)

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """(pictures, questions, dim)."""
        return self.look(question.pooled, regions)[0]


def mean_of(regions: torch.Tensor) -> torch.Tensor:
    """The mean over regions, (pictures, 1, dim)."""
    return regions.mean(dim=1, keepdim=True)
