"""Rungs of the ladder: the ``align`` part of :class:`course_utils.reasoning.reasoners.GridVQA`.

Each takes an encoded question, whose ``pooled`` is (pictures, questions, dim), and regions (pictures, regions, dim),
and returns (pictures, questions, out).
"""

from __future__ import annotations

import torch
from torch import nn

from course_utils.alignment.attention import CoAttention, MultiHopAttention
from course_utils.alignment.bilinear import MLB
from course_utils.encoders import Encoded


class QuestionOnly(nn.Module):
    """Baseline that ignores the picture."""

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """The question's vector."""
        return question.pooled


class PooledPicture(nn.Module):
    """Mean over regions, standardised over the pictures of a batch.

    Most cells are empty in every picture, so the means are nearly equal; standardising scales up the differences.

    Args:
        dim: Features of a region.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(dim)

    def forward(self, regions: torch.Tensor) -> torch.Tensor:
        """(pictures, regions, dim) to (pictures, 1, dim)."""
        return self.norm(regions.mean(dim=1)).unsqueeze(1)


class PictureOnly(nn.Module):
    """Baseline that ignores the question: it answers all questions about a picture alike.

    Args:
        dim: Features of a region.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.picture = PooledPicture(dim)

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """The pooled picture, once for each question."""
        return self.picture(regions).expand_as(question.pooled)


class Concatenation(PictureOnly):
    """The question's vector concatenated with the pooled picture."""

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """(pictures, questions, 2 · dim)."""
        return torch.cat([question.pooled, super().forward(question, regions)], dim=-1)


class PooledProduct(nn.Module):
    """The question plus its product with the pooled picture.

    Args:
        fusion: A layer of :mod:`course_utils.alignment.bilinear` with equal input and output features.
        dim: Features of a region and of the question.
    """

    def __init__(self, fusion: nn.Module, dim: int) -> None:
        super().__init__()
        self.fusion, self.picture = fusion, PooledPicture(dim)

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """(pictures, questions, dim)."""
        return question.pooled + self.fusion(question.pooled, self.picture(regions))


class PooledBilinear(PooledProduct):
    """:class:`PooledProduct` with a LayerNorm: bilinear pooling of question and picture."""

    def __init__(self, fusion: nn.Module, dim: int) -> None:
        super().__init__(fusion, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """(pictures, questions, dim)."""
        return self.norm(super().forward(question, regions))


class SingleHop(nn.Module):
    """One attention step from the question to the regions, added to the low-rank product.

    The product with the pooled picture stays because it already solves part of the task, above all counting, which
    attention would take long to learn again.

    Args:
        look: An attention of :mod:`course_utils.alignment.attention`, called with query and context.
        dim: Features of a region and of the question.
    """

    def __init__(self, look: nn.Module, dim: int) -> None:
        super().__init__()
        self.pooled, self.look, self.norm = low_rank_product(dim), look, nn.LayerNorm(dim)

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """(pictures, questions, dim)."""
        seen, _ = self.look(question.pooled, regions)
        return self.norm(self.pooled(question, regions) + seen)


class MultiHop(nn.Module):
    """Several attention steps, each with the last one's output as its query; the first query is the low-rank product.

    Args:
        dim: Features of a region and of the question.
        hops: Number of steps.
    """

    def __init__(self, dim: int, hops: int) -> None:
        super().__init__()
        self.pooled, self.look = low_rank_product(dim), MultiHopAttention(dim, hops)

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """(pictures, questions, dim)."""
        return self.look(self.pooled(question, regions), regions)[0]


class WordRegionCoAttention(nn.Module):
    """Co-attention of a question's words and the regions; both outputs are added to the low-rank product.

    Args:
        dim: Features of a word, a region and the question.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.pooled, self.look, self.norm = low_rank_product(dim), CoAttention(dim), nn.LayerNorm(dim)

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """(pictures, questions, dim)."""
        attended = self.look(question.unpooled, regions.unsqueeze(1), question.mask)
        return self.norm(self.pooled(question, regions) + attended.question + attended.picture)


def low_rank_product(dim: int) -> PooledProduct:
    """Low-rank product (MLB) with the pooled picture, on which every rung with attention builds."""
    return PooledProduct(MLB(dim, dim, dim, rank=dim), dim)
