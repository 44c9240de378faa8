"""Reasoners: from an encoded question and an encoded picture to an answer."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from course_utils.alignment.attention import DotProductAttention, MultiHeadCrossAttention, attend
from course_utils.encoders import Encoded, QuestionLSTM, SmallCNN
from course_utils.rungs import low_rank_product


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


class RelativeAttention(nn.Module):
    """Multi-head attention to a grid, in which each head can look relative to where it looked before.

    The score of a region is the usual one, query · key, plus what the query says about the region's offset from the
    last look: a number for each difference of rows and one for each difference of columns, averaged over the last
    look's weights. "Left of it" and "close to it" are both such sums. Relative positions are from Shaw and others
    (2018); measured from an earlier look rather than from the query's own place, they follow an anchor.

    Args:
        dim: Features of queries and regions; a multiple of ``heads``.
        heads: How many.
        side: Regions to a side of the picture.

    Raises:
        ValueError: If the heads do not divide the features.
    """

    def __init__(self, dim: int, heads: int, side: int = 8) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"{heads} heads do not divide {dim} features.")
        self.heads, self.side = heads, side
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.offsets = nn.Linear(dim, heads * 2 * (2 * side - 1))
        nn.init.normal_(self.offsets.weight, std=0.02)  # no preference yet
        nn.init.zeros_(self.offsets.bias)
        places = torch.arange(side)
        self.register_buffer("offset", places - places[:, None] + side - 1, persistent=False)  # (from, to)

    def forward(
        self, query: torch.Tensor, regions: torch.Tensor, last: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """query (pictures, questions, dim) looks at regions (pictures, side · side, dim).

        Args:
            query: What each question looks for.
            regions: Row by row from the top left. Keys and values are made once for all questions of a picture.
            last: Weights of the last look, (pictures, heads, questions, side · side); None before there is one.

        Returns:
            What was seen, (pictures, questions, dim), and the weights, shaped as ``last``.
        """
        q, k, v = (_heads(part, self.heads) for part in (self.query(query), self.key(regions), self.value(regions)))
        scores = q @ k.transpose(-2, -1) / k.shape[-1] ** 0.5  # (pictures, heads, questions, regions)
        if last is not None:
            scores = scores + self.relative(query, last)
        weights = scores.softmax(dim=-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2)), weights

    def kernels(self, query: torch.Tensor) -> torch.Tensor:
        """What each query says about offsets: (pictures, heads, questions, 2, 2 · side - 1), rows before columns."""
        return self.offsets(query).unflatten(-1, (self.heads, 2, -1)).transpose(1, 2)

    def relative(self, query: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        """Scores by offset from the last look, (pictures, heads, questions, side · side)."""
        by_offset = self.kernels(query)[..., self.offset]  # (pictures, heads, questions, 2, from, to)
        last = last.unflatten(-1, (self.side, self.side))
        started = torch.stack([last.sum(dim=-1), last.sum(dim=-2)], dim=-2)  # the last look's row and its column
        row, column = torch.einsum("phqaf,phqaft->aphqt", started, by_offset)
        return (row[..., :, None] + column[..., None, :]).flatten(-2)


def _heads(vectors: torch.Tensor, heads: int) -> torch.Tensor:
    """(..., positions, dim) to (..., heads, positions, dim / heads)."""
    return vectors.unflatten(-1, (heads, -1)).transpose(-3, -2)


class ReasoningStep(nn.Module):
    """Read the question again, look at the picture, think: one layer of :class:`TransformerReasoner`, pre-norm.

    Args:
        dim: Features of a word, a region, the question.
        look: Multi-head attention to the picture; a :class:`RelativeAttention` in every step but the first.
    """

    def __init__(self, dim: int, look: nn.Module) -> None:
        super().__init__()
        self.read, self.look = DotProductAttention(dim), look
        self.think = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.before_reading, self.before_looking, self.before_thinking = (nn.LayerNorm(dim) for _ in range(3))

    def forward(
        self, state: torch.Tensor, question: Encoded, regions: torch.Tensor, last: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The next state, (pictures, questions, dim), and the weights over the words and over the regions."""
        asked = self.before_reading(state).unsqueeze(-2)  # one query for the words of each question
        read, word_weights = self.read(asked, question.unpooled, question.mask.unsqueeze(-2))
        state = state + read.squeeze(-2)
        since = () if last is None else (last,)
        seen, weights = self.look(self.before_looking(state), regions, *since)
        state = state + seen
        return state + self.think(self.before_thinking(state)), word_weights.squeeze(-2), weights


class Reasoned(NamedTuple):
    """What :class:`TransformerReasoner` did.

    Attributes:
        state: (pictures, questions, dim).
        words: Weights over the words at each step, (pictures, steps, questions, words).
        regions: Weights over the regions, (pictures, steps, heads, questions, regions).
    """

    state: torch.Tensor
    words: torch.Tensor
    regions: torch.Tensor


class TransformerReasoner(nn.Module):
    """A Transformer decoder whose one token per question reads the words and looks at the picture, step by step.

    It begins with what MLB has. The keys and values of a picture are shared by all its questions, so a question
    costs one token a step, where joint self-attention pays for every word and every region of every question.

    Args:
        dim: Features of a word, a region, the question; a multiple of ``heads``.
        heads: Of each look.
        steps: How many.
        side: Regions to a side of the picture.
    """

    def __init__(self, dim: int, heads: int = 4, steps: int = 3, side: int = 8) -> None:
        super().__init__()
        self.pooled = low_rank_product(dim)
        looks = [MultiHeadCrossAttention(dim, heads), *(RelativeAttention(dim, heads, side) for _ in range(steps - 1))]
        self.steps = nn.ModuleList(ReasoningStep(dim, look) for look in looks)
        self.norm = nn.LayerNorm(dim)

    def reason(self, question: Encoded, regions: torch.Tensor) -> Reasoned:
        """All that happens on the way; see :class:`Reasoned`."""
        state, looked = self.pooled(question, regions), None
        words, looks = [], []
        for step in self.steps:
            state, read, looked = step(state, question, regions, looked)
            words.append(read)
            looks.append(looked)
        return Reasoned(self.norm(state), torch.stack(words, dim=1), torch.stack(looks, dim=1))

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """(pictures, questions, dim)."""
        return self.reason(question, regions).state


class TransformerLayer(nn.Module):
    """Self-attention, then a network for each position, both added to what was there (Vaswani and others, 2017).

    Args:
        dim: Features; a multiple of ``heads``.
        heads: Of the attention.
        pre_norm: Normalise what each part reads, so that the sum runs through untouched (Xiong and others, 2020); else,
            as in the first Transformer, normalise the sum.
    """

    def __init__(self, dim: int, heads: int = 4, pre_norm: bool = True) -> None:
        super().__init__()
        self.look = MultiHeadCrossAttention(dim, heads)
        self.think = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.pre_norm = pre_norm

    def forward(self, states: torch.Tensor, mask: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """States (batch, positions, dim) and a mask (batch, positions), True where one may look.

        Returns:
            The next states, and the weights of each head, (batch, heads, positions, positions).
        """
        mask = mask if mask is None else mask.unsqueeze(1)
        first, second = self.norms
        if self.pre_norm:
            normed = first(states)
            seen, weights = self.look(normed, normed, mask)
            states = states + seen
            return states + self.think(second(states)), weights
        seen, weights = self.look(states, states, mask)
        states = first(states + seen)
        return second(states + self.think(states)), weights


class JointReasoner(nn.Module):
    """Words and regions in one sequence, in which everything looks at everything (as VisualBERT; Li and others, 2019).

    Every question pays for all words and all regions, and attention for their number squared.

    Args:
        dim: Features of a word, a region, the question; a multiple of ``heads``.
        heads: Of each layer.
        layers: How many.
        pre_norm: See :class:`TransformerLayer`.
    """

    def __init__(self, dim: int, heads: int = 4, layers: int = 2, pre_norm: bool = True) -> None:
        super().__init__()
        self.pooled = low_rank_product(dim)
        self.kind = nn.Parameter(0.05 * torch.randn(2, dim))  # a word or a region?
        self.layers = nn.ModuleList(TransformerLayer(dim, heads, pre_norm) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)

    def reason(self, question: Encoded, regions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The answer token's state, (pictures, questions, dim), and all weights.

        The weights are (pictures, questions, layers, heads, positions, positions); the positions are the answer token,
        the words and the regions.
        """
        pictures, questions, words, _ = question.unpooled.shape
        everywhere = regions.unsqueeze(1).expand(-1, questions, -1, -1)
        states = torch.cat(
            [self.pooled(question, regions).unsqueeze(2), question.unpooled + self.kind[0], everywhere + self.kind[1]],
            dim=2,
        ).flatten(0, 1)  # (pictures · questions, 1 + words + regions, dim)
        mask = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)
        mask[:, 1 : 1 + words] = question.mask.flatten(0, 1)
        looks = []
        for layer in self.layers:
            states, weights = layer(states, mask)
            looks.append(weights)
        state = self.norm(states[:, 0]).unflatten(0, (pictures, questions))
        return state, torch.stack(looks, dim=1).unflatten(0, (pictures, questions))

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """(pictures, questions, dim)."""
        return self.reason(question, regions)[0]
