"""Text encoders: from words to vectors."""

from __future__ import annotations

import torch
from torch import nn

from course_utils.encoders.encoded import Encoded


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
