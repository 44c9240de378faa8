"""Reasoners: from an encoded question and an encoded picture to an answer."""

from __future__ import annotations

import torch
from torch import nn

from course_utils.alignment.attention import attend
from course_utils.encoders import Encoded, QuestionLSTM, SmallCNN


class AttentionVQA(nn.Module):
    """A CNN, an LSTM, attention that aligns them, and an answer: the whole pipeline of lesson 00."""

    def __init__(self, words: int, answers: int, dim: int = 64) -> None:
        super().__init__()
        self.picture_encoder = SmallCNN(dim)
        self.question_encoder = QuestionLSTM(words, dim)
        self.norm = nn.LayerNorm(dim)  # gives the question's vector a useful size from the first step
        self.query, self.key, self.value, self.gate = (nn.Linear(dim, dim) for _ in range(4))
        self.head = nn.Sequential(nn.Linear(dim, 128), nn.ReLU(), nn.Linear(128, answers))

    def look(self, batch: dict) -> tuple[torch.Tensor, torch.Tensor]:
        """Answer scores, (batch, answers), and where each question looked, (batch, regions)."""
        regions = self.picture_encoder(batch["pictures"]).unpooled  # (pictures, regions, dim)
        question = self.norm(self.question_encoder(batch["words"], batch["word_mask"]).pooled)  # (batch, dim)
        key, value = (layer(regions)[batch["picture_of"]] for layer in (self.key, self.value))
        seen, weights = attend(self.query(question), key, value)
        return self.head(seen * self.gate(question)), weights

    def forward(self, batch: dict) -> torch.Tensor:
        """Answer scores, (batch, answers)."""
        return self.look(batch)[0]


class GridVQA(nn.Module):
    """What all rungs of the ladder share: a question encoder, regions with their places, and an answer head.

    Between them stands the one part that differs, ``align``. It is called with an encoded question, an
    :class:`Encoded` of ``pooled`` (pictures, questions, dim), ``unpooled`` (pictures, questions, words, dim) and its
    mask, and with regions (pictures, regions, dim); it gives (pictures, questions, out).

    Args:
        words: Size of the vocabulary.
        answers: How many answers there are to choose from.
        align: The part that differs.
        out: Features that it gives.
        dim: Features of a word, a region, a question.
        region_dim: Features of a region as it comes from the frozen encoder.
        side: Regions to a side of the picture.
    """

    def __init__(
        self, words: int, answers: int, align: nn.Module, out: int, dim: int = 64, region_dim: int = 64, side: int = 8
    ) -> None:
        super().__init__()
        self.question_encoder = QuestionLSTM(words, dim)
        self.question_norm = nn.LayerNorm(dim)
        self.regions = PlacedRegions(region_dim, dim, side)
        self.align = align
        self.head = nn.Sequential(nn.Linear(out, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, answers))

    def read(self, batch: dict) -> tuple[Encoded, torch.Tensor]:
        """The encoded questions and the placed regions that ``align`` is called with."""
        words, mask = batch["words"], batch["word_mask"]  # (pictures, questions, words)
        read = self.question_encoder(words.flatten(0, 1), mask.flatten(0, 1))
        pooled = self.question_norm(read.pooled).unflatten(0, words.shape[:2])  # (pictures, questions, dim)
        question = Encoded(pooled, read.unpooled.unflatten(0, words.shape[:2]), mask)
        return question, self.regions(batch["regions"])

    def forward(self, batch: dict) -> torch.Tensor:
        """Answer scores, (pictures · questions, answers), for a batch of :mod:`course_utils.grid`."""
        return self.head(self.align(*self.read(batch))).flatten(0, 1)


class PlacedRegions(nn.Module):
    """Regions that know where they are: what a region holds, plus a vector for its row and one for its column.

    Args:
        region_dim: Features of a region as it comes.
        dim: Features of a region as it goes.
        side: Regions to a side of the picture.
    """

    def __init__(self, region_dim: int, dim: int, side: int = 8) -> None:
        super().__init__()
        self.project = nn.Linear(region_dim, dim)
        self.row = nn.Parameter(0.05 * torch.randn(side, 1, dim))
        self.column = nn.Parameter(0.05 * torch.randn(1, side, dim))
        self.norm = nn.LayerNorm(dim)

    def forward(self, regions: torch.Tensor) -> torch.Tensor:
        """(pictures, side · side, region_dim), row by row from the top left, to (pictures, side · side, dim)."""
        places = (self.row + self.column).flatten(0, 1)  # (side · side, dim)
        return self.norm(self.project(regions) + places)
