"""Reasoners: from an encoded question and an encoded picture to an answer."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from course_utils.alignment.attention import DotProductAttention, MultiHeadCrossAttention, attend
from course_utils.encoders import Encoded, QuestionLSTM, SmallCNN
from course_utils.reasoning.rungs import low_rank_product


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
        """Answer scores, (pictures · questions, answers), for a batch of :mod:`course_utils.reasoning.grid`."""
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


# --- an LSTM over what the words saw ------------------------------------------------------------------------------


class LSTMStep(NamedTuple):
    """What one step of an LSTM makes, each (..., dim); or all steps, each (..., steps, dim).

    Attributes:
        hidden: The state that others read, from -1 to 1.
        cell: The memory behind it.
        input_gate: How much of the candidate is written, from 0 to 1.
        forget_gate: How much of the old memory is kept, from 0 to 1. At 1 nothing is forgotten.
        candidate: What would be written, from -1 to 1.
        output_gate: How much of the memory is shown, from 0 to 1.
    """

    hidden: torch.Tensor
    cell: torch.Tensor
    input_gate: torch.Tensor
    forget_gate: torch.Tensor
    candidate: torch.Tensor
    output_gate: torch.Tensor


def lstm_cell(
    x: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor, w_x: torch.Tensor, w_h: torch.Tensor, bias: torch.Tensor
) -> LSTMStep:
    """One step of an LSTM (Hochreiter and Schmidhuber, 1997; with the forget gate of Gers and others, 2000).

    Args:
        x: What comes in, (..., in).
        hidden: The state before, (..., dim).
        cell: The memory before, (..., dim).
        w_x: (4 · dim, in), in torch's order: input gate, forget gate, candidate, output gate.
        w_h: (4 · dim, dim), in the same order.
        bias: (4 · dim,), the sum of torch's two.
    """
    rows = x @ w_x.T + hidden @ w_h.T + bias  # (..., 4 · dim)
    into, keep, candidate, out = rows.chunk(4, dim=-1)
    into, keep, candidate, out = into.sigmoid(), keep.sigmoid(), candidate.tanh(), out.sigmoid()
    cell = keep * cell + into * candidate
    return LSTMStep(out * cell.tanh(), cell, into, keep, candidate, out)


def run_by_hand(lstm: nn.LSTM, sequences: torch.Tensor) -> LSTMStep:
    """Step through sequences with the weights of torch's LSTM, and keep what torch hides: gates and memory.

    Args:
        lstm: One layer, one direction.
        sequences: (..., steps, in).

    Returns:
        Everything at every step, each (..., steps, dim).

    Raises:
        ValueError: If there is no step, or the LSTM has more layers, a second direction, a projection or no bias.
    """
    if lstm.num_layers > 1 or lstm.bidirectional or lstm.proj_size or not lstm.bias:
        raise ValueError("Only nn.LSTM(in, dim) of one layer and one direction, with bias, can be run by hand.")
    if sequences.shape[-2] == 0:
        raise ValueError("There is no step to run: a sequence needs at least one word.")
    bias = lstm.bias_ih_l0 + lstm.bias_hh_l0
    hidden = cell = sequences.new_zeros(*sequences.shape[:-2], lstm.hidden_size)
    steps = []
    for x in sequences.unbind(dim=-2):
        steps.append(lstm_cell(x, hidden, cell, lstm.weight_ih_l0, lstm.weight_hh_l0, bias))
        hidden, cell = steps[-1].hidden, steps[-1].cell
    return LSTMStep(*(torch.stack(parts, dim=-2) for parts in zip(*steps, strict=True)))


def state_at_last_word(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The state after the last real word, which is not the last column where there is padding.

    Args:
        states: (..., words, dim), after each word.
        mask: (..., words), True for the words, which come first, and False for padding.

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


def read_both_ways(lstm: nn.LSTM, sequences: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """What both directions know at the end of their way, without a step on padding (Schuster and Paliwal, 1997).

    Args:
        lstm: Bidirectional, one layer, ``batch_first``.
        sequences: (batch, words, in).
        mask: (batch, words), True for the words, which come first.

    Returns:
        The state after the last word, reading forwards, and after the first, reading backwards: (batch, 2 · dim).
    """
    packed = pack_padded_sequence(sequences, mask.sum(dim=1).cpu(), batch_first=True, enforce_sorted=False)
    _, (hidden, _) = lstm(packed)  # (directions, batch, dim), each where its direction ends
    return torch.cat([hidden[0], hidden[1]], dim=-1)


class LSTMReasoner(nn.Module):
    """y = R(LSTM(Attention(Q, Z_I))): each word looks at the picture, and an LSTM runs over what the words saw.

    The part between question and head of :class:`GridVQA`.

    Args:
        dim: Features of a word, a region, and the state.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.word_norm, self.look, self.aligned_norm = nn.LayerNorm(dim), DotProductAttention(dim), nn.LayerNorm(dim)
        self.lstm = nn.LSTM(dim, dim, batch_first=True)
        self.state_norm = nn.LayerNorm(dim)

    def align(self, question: Encoded, regions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Every word with what it saw, (pictures, questions, words, dim), and its weights, (..., words, regions)."""
        words = self.word_norm(question.unpooled)  # (pictures, questions, words, dim)
        seen, weights = self.look(words.flatten(1, 2), regions)  # all words of a picture read its regions at once
        aligned = self.aligned_norm(words + seen.view_as(words))
        return aligned, weights.unflatten(1, words.shape[1:3])

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """(pictures, questions, dim)."""
        aligned, _ = self.align(question, regions)
        states, _ = self.lstm(aligned.flatten(0, 1))  # (pictures · questions, words, dim)
        return self.state_norm(state_at_last_word(states.unflatten(0, aligned.shape[:2]), question.mask))


# --- a Transformer whose looks start where the last one was -------------------------------------------------------


def relative_scores(kernels: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """What offsets from the last look are worth, region by region.

    Args:
        kernels: A number for each difference of rows, then for each difference of columns, from 1 - side to side - 1:
            (..., 2, 2 · side - 1).
        last: Weights of the last look, (..., side · side), row by row from the top left.

    Returns:
        Scores, (..., side · side): the kernels' numbers, averaged over where the last look was.
    """
    side = (kernels.shape[-1] + 1) // 2
    places = torch.arange(side, device=kernels.device)
    offset = places - places[:, None] + side - 1  # (from, to): which number of a kernel
    last = last.unflatten(-1, (side, side))
    started = torch.stack([last.sum(dim=-1), last.sum(dim=-2)], dim=-2)  # the last look's row and its column
    row, column = torch.einsum("...af,...aft->...at", started, kernels[..., offset]).unbind(dim=-2)
    return (row[..., :, None] + column[..., None, :]).flatten(-2)


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
        return relative_scores(self.kernels(query), last)


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


# --- a Transformer in which everything looks at everything --------------------------------------------------------


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
