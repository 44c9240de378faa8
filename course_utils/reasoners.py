"""Reasoners: from an encoded question and an encoded picture to an answer."""

from __future__ import annotations

import torch
from torch import nn

from course_utils.alignment.attention import attend
from course_utils.encoders import QuestionLSTM, SmallCNN


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
