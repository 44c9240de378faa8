"""Attention: an alignment that is decided anew for each question."""

from __future__ import annotations

import torch
from torch import nn

Attended = tuple[torch.Tensor, torch.Tensor]  # what was seen, and the weights


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scaled dot-product attention (Vaswani et al., 2017), one query for each row of the batch.

    Args:
        query: What each question looks for, (batch, dim).
        key: What each region offers, (batch, regions, dim).
        value: What each region hands over, (batch, regions, dim).

    Returns:
        What each question saw, (batch, dim), and its weights, (batch, regions).
    """
    scores = torch.einsum("bd,brd->br", query, key) / key.shape[-1] ** 0.5
    weights = scores.softmax(dim=-1)
    return torch.einsum("br,brd->bd", weights, value), weights


def masked_softmax(scores: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Softmax over the last axis, in which only what the mask allows has weight.

    Args:
        scores: (..., queries, keys).
        mask: True where a key may be read; broadcasts to ``scores``. None allows all.

    Raises:
        ValueError: If a query may read no key at all: there is no average over nothing.
    """
    if mask is None:
        return scores.softmax(dim=-1)
    if mask.dtype != torch.bool:
        raise ValueError(f"The mask is {mask.dtype}; it must be bool, True where a key may be read.")
    if not mask.any(dim=-1).all():
        raise ValueError("The mask leaves a query nothing to read: every row needs at least one True.")
    return scores.masked_fill(~mask, -torch.inf).softmax(dim=-1)


def dot_product_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None = None
) -> Attended:
    """Scaled dot-product attention (Vaswani and others, 2017).

    Args:
        query: (..., queries, dim).
        key: (..., keys, dim).
        value: (..., keys, out).
        mask: True where a key may be read; broadcasts to (..., queries, keys).

    Returns:
        What each query saw, (..., queries, out), and its weights, (..., queries, keys).

    Raises:
        ValueError: If the mask leaves a query nothing to read.
    """
    scores = query @ key.transpose(-2, -1) / key.shape[-1] ** 0.5
    weights = masked_softmax(scores, mask)
    return weights @ value, weights


class DotProductAttention(nn.Module):
    """:func:`dot_product_attention` between learnt projections of both sides.

    Args:
        dim: Features of queries, keys, and values.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))

    def forward(self, query: torch.Tensor, context: torch.Tensor, mask: torch.Tensor | None = None) -> Attended:
        """query (..., queries, dim) reads context (..., keys, dim): as :func:`dot_product_attention`."""
        return dot_product_attention(self.query(query), self.key(context), self.value(context), mask)


class AdditiveAttention(nn.Module):
    """Attention whose score is a small network, s = v · tanh(Q query + K key) (Bahdanau, Cho and Bengio, 2015).

    Args:
        dim: Features of queries, keys, values, and of the hidden layer.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.score = nn.Linear(dim, 1, bias=False)

    def forward(self, query: torch.Tensor, context: torch.Tensor, mask: torch.Tensor | None = None) -> Attended:
        """query (..., queries, dim) reads context (..., keys, dim): as :func:`dot_product_attention`."""
        hidden = self.query(query).unsqueeze(-2) + self.key(context).unsqueeze(-3)  # (..., queries, keys, dim)
        weights = masked_softmax(self.score(hidden.tanh()).squeeze(-1), mask)
        return weights @ self.value(context), weights


class MultiHopAttention(nn.Module):
    """Look, add what was seen to the query, look again (stacked attention; Yang and others, 2016).

    Args:
        dim: Features of queries and of the context.
        hops: How many looks.
    """

    def __init__(self, dim: int, hops: int) -> None:
        super().__init__()
        self.hops = nn.ModuleList(DotProductAttention(dim) for _ in range(hops))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(hops))

    def forward(self, query: torch.Tensor, context: torch.Tensor, mask: torch.Tensor | None = None) -> Attended:
        """The refined query, (..., queries, dim), and the weights of every hop, (..., hops, queries, keys)."""
        looks = []
        for hop, norm in zip(self.hops, self.norms, strict=True):
            seen, weights = hop(query, context, mask)
            query = norm(query + seen)
            looks.append(weights)
        return query, torch.stack(looks, dim=-3)


class MultiHeadCrossAttention(nn.Module):
    """Several looks at once, each in a subspace of its own (Vaswani and others, 2017).

    Args:
        dim: Features of queries, keys and values; a multiple of ``heads``.
        heads: How many.

    Raises:
        ValueError: If the heads do not divide the features.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"{heads} heads do not divide {dim} features.")
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, query: torch.Tensor, context: torch.Tensor, mask: torch.Tensor | None = None) -> Attended:
        """query (..., queries, dim) reads context (..., keys, dim).

        Returns:
            What each query saw, (..., queries, dim), and the weights of each head, (..., heads, queries, keys).
        """
        mask = mask if mask is None else mask.unsqueeze(-3)  # the same for all heads
        split = [self._split(part) for part in (self.query(query), self.key(context), self.value(context))]
        seen, weights = dot_product_attention(*split, mask)
        return self.out(seen.transpose(-3, -2).flatten(-2)), weights

    def _split(self, vectors: torch.Tensor) -> torch.Tensor:
        """(..., positions, dim) to (..., heads, positions, dim / heads)."""
        return vectors.unflatten(-1, (self.heads, -1)).transpose(-3, -2)
