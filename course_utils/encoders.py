"""Encoders: one modality in, vectors out.

All of them give the same three things, an :class:`Encoded`: one vector for the whole, one vector for each position
(a word, a region, a moment), and a mask that says which positions are real.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn


class Encoded(NamedTuple):
    """What every encoder returns.

    Attributes:
        pooled: One vector for the whole input, (batch, dim).
        unpooled: One vector for each position, (batch, positions, dim).
        mask: True where a position is real and False where it is padding, (batch, positions).
    """

    pooled: torch.Tensor
    unpooled: torch.Tensor
    mask: torch.Tensor


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


class QuestionLSTM(nn.Module):
    """Word vectors, then an LSTM that reads them from left to right.

    Args:
        words: Size of the vocabulary.
        dim: Features of the LSTM's state.
    """

    def __init__(self, words: int, dim: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, 32)
        self.lstm = nn.LSTM(32, dim, batch_first=True)

    def forward(self, words: torch.Tensor, word_mask: torch.Tensor) -> Encoded:
        """Encode questions, (batch, words) of word numbers; the pooled vector is the state after the last word."""
        states, _ = self.lstm(self.embedding(words))  # (batch, words, dim)
        last = word_mask.sum(dim=1) - 1  # (batch,)
        return Encoded(states[torch.arange(len(words), device=words.device), last], states, word_mask)
