"""The rungs of the ladder: the part of :class:`course_utils.reasoning.reasoners.GridVQA` that differs from method to method.

Each is called with an encoded question, of ``pooled`` (pictures, questions, dim), and regions (pictures, regions, dim),
and gives (pictures, questions, out).
"""

from __future__ import annotations

import torch
from torch import nn

from course_utils.alignment import attention
from course_utils.alignment.bilinear import MLB
from course_utils.encoders import Encoded


class QuestionOnly(nn.Module):
    """Does not look: what the questions give away."""

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """The question's vector."""
        return question.pooled


class PooledPicture(nn.Module):
    """The mean over regions, standardised over the pictures of a batch.

    The means of different pictures are nearly the same vector: most cells are empty in all of them. What tells
    pictures apart is the small rest, which standardising brings up to size.

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
    """Does not read: the same answer to every question about a picture.

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
    """The question's vector with the pooled picture beside it.

    Args:
        dim: Features of a region.
    """

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """(pictures, questions, 2 · dim)."""
        return torch.cat([question.pooled, super().forward(question, regions)], dim=-1)


class PooledProduct(nn.Module):
    """The question plus its product with the pooled picture.

    Args:
        fusion: A layer of :mod:`course_utils.alignment.bilinear` that gives as many features as it takes.
        dim: Features of a region and of the question.
    """

    def __init__(self, fusion: nn.Module, dim: int) -> None:
        super().__init__()
        self.fusion, self.picture = fusion, PooledPicture(dim)

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """(pictures, questions, dim)."""
        return question.pooled + self.fusion(question.pooled, self.picture(regions))


class PooledBilinear(PooledProduct):
    """Bilinear pooling of the question's vector with the pooled picture: the product, brought to one size.

    Args:
        fusion: As for :class:`PooledProduct`.
        dim: Features of a region and of the question.
    """

    def __init__(self, fusion: nn.Module, dim: int) -> None:
        super().__init__(fusion, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """(pictures, questions, dim)."""
        return self.norm(super().forward(question, regions))


class SingleLook(nn.Module):
    """Attention once, from the question's vector to the regions; what was seen is added to what MLB has.

    The product with the pooled picture stays: what it knows already, how many of a kind there are above all, need not
    be learnt a second time by looking, which takes long.

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


class SeveralHops(nn.Module):
    """Attention several times, each look starting from what the last one saw; the first from what MLB has.

    Args:
        dim: Features of a region and of the question.
        hops: How many looks.
    """

    def __init__(self, dim: int, hops: int) -> None:
        super().__init__()
        self.pooled, self.look = low_rank_product(dim), attention.MultiHopAttention(dim, hops)

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """(pictures, questions, dim)."""
        return self.look(self.pooled(question, regions), regions)[0]


class WordsAndRegions(nn.Module):
    """Co-attention of the words of a question and the regions; what both gave is added to what MLB has.

    Args:
        dim: Features of a word, a region and the question.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.pooled, self.look, self.norm = low_rank_product(dim), attention.CoAttention(dim), nn.LayerNorm(dim)

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """(pictures, questions, dim)."""
        attended = self.look(question.unpooled, regions.unsqueeze(1), question.mask)
        return self.norm(self.pooled(question, regions) + attended.question + attended.picture)


def low_rank_product(dim: int) -> PooledProduct:
    """MLB's product with the pooled picture: where every rung with attention begins."""
    return PooledProduct(MLB(dim, dim, dim, rank=dim), dim)
