"""Reasoners: from an encoded question and an encoded picture to an answer."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from course_utils.alignment.attention import DotProductAttention, MultiHeadCrossAttention
from course_utils.encoders import Encoded, QuestionLSTM
from course_utils.reasoning.rungs import low_rank_product


class GridVQA(nn.Module):
    """The model that all rungs share: a question encoder, regions with positions, ``align``, and an answer head.

    Args:
        words: Size of the vocabulary.
        answers: Number of possible answers.
        align: The part that differs; see :mod:`course_utils.reasoning.rungs` for how it is called. It also gets the
            question's ``unpooled``, (pictures, questions, words, dim), and its mask.
        out: Output features of ``align``.
        dim: Features of a word, a region and a question.
        region_dim: Features of a region from the frozen encoder.
        side: Regions along a side of the picture.
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
        """Encode the questions and regions of a batch: the arguments of ``align``."""
        words, mask = batch["words"], batch["word_mask"]  # (pictures, questions, words)
        read = self.question_encoder(words.flatten(0, 1), mask.flatten(0, 1))
        pooled = self.question_norm(read.pooled).unflatten(0, words.shape[:2])  # (pictures, questions, dim)
        question = Encoded(pooled, read.unpooled.unflatten(0, words.shape[:2]), mask)
        return question, self.regions(batch["regions"])

    def forward(self, batch: dict) -> torch.Tensor:
        """Answer scores, (pictures · questions, answers), for a batch of :mod:`course_utils.reasoning.grid`."""
        return self.head(self.align(*self.read(batch))).flatten(0, 1)


class PlacedRegions(nn.Module):
    """Projected regions plus learnt embeddings of their row and column, normalised.

    Args:
        region_dim: Input features of a region.
        dim: Output features of a region.
        side: Regions along a side of the picture.
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


# --- an LSTM over attended words -----------------------------------------------------------------------------------


def state_at_last_word(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Select the state after each question's last word, skipping the padding.

    Args:
        states: States after each word, (..., words, dim).
        mask: True for words and False for the padding that follows them, (..., words).

    Returns:
        (..., dim).

    Raises:
        ValueError: If a question has no word, or padding stands before a word.
    """
    if not mask.any(dim=-1).all():
        raise ValueError("A question has no word: there is no last state to read. Leave it out of the batch.")
    if (mask[..., 1:] & ~mask[..., :-1]).any():
        raise ValueError("Padding stands before a word. Put the words first and the padding after them.")
    last = mask.sum(dim=-1) - 1  # (...)
    return states.take_along_dim(last[..., None, None], dim=-2).squeeze(-2)


class LSTMReasoner(nn.Module):
    """y = R(LSTM(Attention(Q, Z_I))): each word attends to the picture, and an LSTM runs over the attended words.

    Args:
        dim: Features of a word, a region and the state.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.word_norm, self.look, self.aligned_norm = nn.LayerNorm(dim), DotProductAttention(dim), nn.LayerNorm(dim)
        self.lstm = nn.LSTM(dim, dim, batch_first=True)
        self.state_norm = nn.LayerNorm(dim)

    def align(self, question: Encoded, regions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Attended words, (pictures, questions, words, dim), and attention weights, (..., words, regions)."""
        words = self.word_norm(question.unpooled)  # (pictures, questions, words, dim)
        seen, weights = self.look(words.flatten(1, 2), regions)  # all words of a picture read its regions at once
        aligned = self.aligned_norm(words + seen.view_as(words))
        return aligned, weights.unflatten(1, words.shape[1:3])

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """(pictures, questions, dim)."""
        aligned, _ = self.align(question, regions)
        states, _ = self.lstm(aligned.flatten(0, 1))  # (pictures · questions, words, dim)
        return self.state_norm(state_at_last_word(states.unflatten(0, aligned.shape[:2]), question.mask))


# --- a Transformer with attention relative to the last step ---------------------------------------------------------


def relative_scores(kernels: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """Attention scores by offset from the regions attended to last.

    Args:
        kernels: A score for each row difference, then for each column difference, from 1 - side to side - 1:
            (..., 2, 2 · side - 1).
        last: Last attention weights, (..., side · side), row by row from the top left.

    Returns:
        Scores, (..., side · side): kernel values averaged over the last weights.
    """
    side = (kernels.shape[-1] + 1) // 2
    places = torch.arange(side, device=kernels.device)
    offset = places - places[:, None] + side - 1  # (from, to): index into a kernel
    last = last.unflatten(-1, (side, side))
    started = torch.stack([last.sum(dim=-1), last.sum(dim=-2)], dim=-2)  # last weights by row and by column
    row, column = torch.einsum("...af,...aft->...at", started, kernels[..., offset]).unbind(dim=-2)
    return (row[..., :, None] + column[..., None, :]).flatten(-2)


class RelativeAttention(MultiHeadCrossAttention):
    """Multi-head attention to a grid whose scores also depend on the offset from the last step's attention.

    A region's score is query · key, plus a value that a linear map of the query gives its row offset and its column
    offset, averaged over the last weights. Relative positions come from Shaw et al. (2018); here they are relative to
    an earlier attention step rather than to the query's own position, so that they follow an anchor.

    Args:
        dim: Features of queries and regions; a multiple of ``heads``.
        heads: Number of heads.
        side: Regions along a side of the picture.

    Raises:
        ValueError: If ``dim`` is not a multiple of ``heads``.
    """

    def __init__(self, dim: int, heads: int, side: int = 8) -> None:
        super().__init__(dim, heads)
        self.offsets = nn.Linear(dim, heads * 2 * (2 * side - 1))
        nn.init.normal_(self.offsets.weight, std=0.02)  # no preference yet
        nn.init.zeros_(self.offsets.bias)

    def forward(
        self, query: torch.Tensor, regions: torch.Tensor, last: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Attend from (pictures, questions, dim) to regions (pictures, side · side, dim).

        Args:
            query: One query for each question.
            regions: Row by row from the top left. All questions of a picture share its keys and values.
            last: Last attention weights, (pictures, heads, questions, side · side); None in the first step.

        Returns:
            Attended features, (pictures, questions, dim), and weights, shaped like ``last``.
        """
        projected = self.query(query), self.key(regions), self.value(regions)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(-3, -2) for part in projected)
        scores = q @ k.transpose(-2, -1) / k.shape[-1] ** 0.5  # (pictures, heads, questions, regions)
        if last is not None:
            scores = scores + self.relative(query, last)
        weights = scores.softmax(dim=-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2)), weights

    def kernels(self, query: torch.Tensor) -> torch.Tensor:
        """Scores of row and column offsets for each query, (pictures, heads, questions, 2, 2 · side - 1)."""
        return self.offsets(query).unflatten(-1, (self.heads, 2, -1)).transpose(1, 2)

    def relative(self, query: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        """Scores by offset from the last weights, (pictures, heads, questions, side · side)."""
        return relative_scores(self.kernels(query), last)


class ReasoningStep(nn.Module):
    """One pre-norm layer of :class:`TransformerReasoner`: attend to the words, to the regions, then a feed-forward net.

    Args:
        dim: Features of a word, a region and the question.
        look: Multi-head attention to the regions; a :class:`RelativeAttention` in every step but the first.
    """

    def __init__(self, dim: int, look: nn.Module) -> None:
        super().__init__()
        self.read, self.look = DotProductAttention(dim), look
        self.think = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.before_reading, self.before_looking, self.before_thinking = (nn.LayerNorm(dim) for _ in range(3))

    def forward(
        self, state: torch.Tensor, question: Encoded, regions: torch.Tensor, last: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The next state, (pictures, questions, dim), and the weights over words and over regions."""
        asked = self.before_reading(state).unsqueeze(-2)  # one query for the words of each question
        read, word_weights = self.read(asked, question.unpooled, question.mask.unsqueeze(-2))
        state = state + read.squeeze(-2)
        since = () if last is None else (last,)
        seen, weights = self.look(self.before_looking(state), regions, *since)
        state = state + seen
        return state + self.think(self.before_thinking(state)), word_weights.squeeze(-2), weights


class ReasonerOutput(NamedTuple):
    """State and attention weights of a :class:`TransformerReasoner`.

    Attributes:
        state: (pictures, questions, dim).
        words: Weights over words, (pictures, steps, questions, words).
        regions: Weights over regions, (pictures, steps, heads, questions, regions).
    """

    state: torch.Tensor
    words: torch.Tensor
    regions: torch.Tensor


class TransformerReasoner(nn.Module):
    """A Transformer decoder with one token per question, which attends to words and regions step by step.

    The token starts as the low-rank product. Its cost is one token per question and step, where joint self-attention
    pays for every word and region of every question.

    Args:
        dim: Features of a word, a region and the question; a multiple of ``heads``.
        heads: Heads of each attention to the regions.
        steps: Number of steps.
        side: Regions along a side of the picture.
    """

    def __init__(self, dim: int, heads: int = 4, steps: int = 3, side: int = 8) -> None:
        super().__init__()
        self.pooled = low_rank_product(dim)
        looks = [MultiHeadCrossAttention(dim, heads), *(RelativeAttention(dim, heads, side) for _ in range(steps - 1))]
        self.steps = nn.ModuleList(ReasoningStep(dim, look) for look in looks)
        self.norm = nn.LayerNorm(dim)

    def reason(self, question: Encoded, regions: torch.Tensor) -> ReasonerOutput:
        """Run all steps; the output has the weights of each."""
        state, looked = self.pooled(question, regions), None
        words, looks = [], []
        for step in self.steps:
            state, read, looked = step(state, question, regions, looked)
            words.append(read)
            looks.append(looked)
        return ReasonerOutput(self.norm(state), torch.stack(words, dim=1), torch.stack(looks, dim=1))

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """(pictures, questions, dim)."""
        return self.reason(question, regions).state


# --- joint self-attention -------------------------------------------------------------------------------------------


class TransformerLayer(nn.Module):
    """Self-attention and a feed-forward net, each with a residual connection (Vaswani et al., 2017).

    Args:
        dim: Features; a multiple of ``heads``.
        heads: Number of heads.
        pre_norm: Normalise the input of each part, which leaves the residual stream untouched (Xiong et al., 2020);
            False normalises the sums, as in the original Transformer.
    """

    def __init__(self, dim: int, heads: int = 4, pre_norm: bool = True) -> None:
        super().__init__()
        self.look = MultiHeadCrossAttention(dim, heads)
        self.think = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.pre_norm = pre_norm

    def forward(self, states: torch.Tensor, mask: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Transform states (batch, positions, dim); the mask, (batch, positions), is True for positions to attend to.

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
