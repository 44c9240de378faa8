"""Attention: an alignment computed for each query.

A mask is True where a key may be read, as in ``torch.nn.functional.scaled_dot_product_attention``. In
``torch.nn.MultiheadAttention`` it is the opposite: there True leaves a key out.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

Attended = tuple[torch.Tensor, torch.Tensor]  # the weighted means of the values, and the weights


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scaled dot-product attention (Vaswani and others, 2017) with one query for each row of the batch.

    Args:
        query: (batch, dim).
        key: (batch, regions, dim).
        value: (batch, regions, dim).

    Returns:
        The weighted means of the values, (batch, dim), and the weights, (batch, regions).
    """
    scores = torch.einsum("bd,brd->br", query, key) / key.shape[-1] ** 0.5
    weights = scores.softmax(dim=-1)
    return torch.einsum("br,brd->bd", weights, value), weights


def masked_softmax(scores: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Softmax over the last axis, with weight 0 where the mask is False.

    Args:
        scores: (..., queries, keys).
        mask: True where a key may be read; broadcasts to ``scores``. None allows all.

    Raises:
        ValueError: If a query may read no key at all, or the mask is not bool.
    """
    if scores.shape[-1] == 0:
        raise ValueError(f"There is nothing to read: scores of shape {tuple(scores.shape)} have no keys.")
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
        The weighted means of the values, (..., queries, out), and the weights, (..., queries, keys).

    Raises:
        ValueError: If the mask leaves a query nothing to read.
    """
    scores = query @ key.transpose(-2, -1) / key.shape[-1] ** 0.5
    weights = masked_softmax(scores, mask)
    return weights @ value, weights


class DotProductAttention(nn.Module):
    """:func:`dot_product_attention` with learnt projections.

    Args:
        dim: Features of queries, keys and values.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))

    def forward(self, query: torch.Tensor, context: torch.Tensor, mask: torch.Tensor | None = None) -> Attended:
        """query (..., queries, dim) reads context (..., keys, dim); as :func:`dot_product_attention`."""
        return dot_product_attention(self.query(query), self.key(context), self.value(context), mask)


class AdditiveAttention(nn.Module):
    """Attention scored by a small network, v · tanh(Q query + K key) (Bahdanau, Cho and Bengio, 2015).

    Args:
        dim: Features of queries, keys, values and of the hidden layer.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.score = nn.Linear(dim, 1, bias=False)

    def forward(self, query: torch.Tensor, context: torch.Tensor, mask: torch.Tensor | None = None) -> Attended:
        """query (..., queries, dim) reads context (..., keys, dim); as :func:`dot_product_attention`."""
        hidden = self.query(query).unsqueeze(-2) + self.key(context).unsqueeze(-3)  # (..., queries, keys, dim)
        weights = masked_softmax(self.score(hidden.tanh()).squeeze(-1), mask)
        return weights @ self.value(context), weights


class MultiHopAttention(nn.Module):
    """Attention steps in a row, each added to the query of the next (stacked attention; Yang and others, 2016).

    Args:
        dim: Features of queries and of the context.
        hops: Number of attention steps.
    """

    def __init__(self, dim: int, hops: int) -> None:
        super().__init__()
        self.hops = nn.ModuleList(DotProductAttention(dim) for _ in range(hops))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(hops))

    def forward(self, query: torch.Tensor, context: torch.Tensor, mask: torch.Tensor | None = None) -> Attended:
        """The refined query, (..., queries, dim), and the weights of all hops, (..., hops, queries, keys)."""
        all_weights = []
        for hop, norm in zip(self.hops, self.norms, strict=True):
            seen, weights = hop(query, context, mask)
            query = norm(query + seen)
            all_weights.append(weights)
        return query, torch.stack(all_weights, dim=-3)


class MultiHeadCrossAttention(nn.Module):
    """Multi-head attention (Vaswani and others, 2017), each head on its own projections of queries, keys and values.

    Args:
        dim: Features of queries, keys and values; a multiple of ``heads``.
        heads: Number of heads.

    Raises:
        ValueError: If the heads do not divide the features.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise ValueError(f"{heads} heads do not divide {dim} features.")
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, query: torch.Tensor, context: torch.Tensor, mask: torch.Tensor | None = None) -> Attended:
        """query (..., queries, dim) reads context (..., keys, dim); the weights are (..., heads, queries, keys)."""
        mask = mask if mask is None else torch.atleast_2d(mask).unsqueeze(-3)  # the same for all heads
        split = [self._split(part) for part in (self.query(query), self.key(context), self.value(context))]
        seen, weights = dot_product_attention(*split, mask)
        return self.out(seen.transpose(-3, -2).flatten(-2)), weights

    def _split(self, vectors: torch.Tensor) -> torch.Tensor:
        """(..., positions, dim) to (..., heads, positions, dim / heads)."""
        return vectors.unflatten(-1, (self.heads, -1)).transpose(-3, -2)


class CoAttended(NamedTuple):
    """The output of :class:`CoAttention`.

    Attributes:
        question: Weighted mean of the words, (..., dim).
        picture: Weighted mean of the regions, (..., dim).
        word_weights: (..., words).
        region_weights: (..., regions).
        affinity: Similarity of each word and each region, from -1 to 1, (..., words, regions).
    """

    question: torch.Tensor
    picture: torch.Tensor
    word_weights: torch.Tensor
    region_weights: torch.Tensor
    affinity: torch.Tensor


class CoAttention(nn.Module):
    """Words attend to regions and regions to words through one matrix (parallel co-attention; Lu and others, 2016).

    With words Q (words, dim) and regions V (regions, dim): C = tanh(Q W Vᵀ), H_V = tanh(V A + Cᵀ (Q B)),
    H_Q = tanh(Q B + C (V A)), and a softmax over regions of H_V u and over words of H_Q w.

    Args:
        dim: Features of words, regions and hidden layers.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.affinity, self.word, self.region = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        self.word_score, self.region_score = (nn.Linear(dim, 1, bias=False) for _ in range(2))

    def forward(self, words: torch.Tensor, regions: torch.Tensor, word_mask: torch.Tensor | None = None) -> CoAttended:
        """words (..., words, dim) with their mask (..., words), True for a word, and regions (..., regions, dim).

        Raises:
            ValueError: If a question has no word at all.
        """
        affinity = torch.tanh(self.affinity(words) @ regions.transpose(-2, -1))  # (..., words, regions)
        if word_mask is not None:  # padding must not affect the weights of the regions either
            affinity = affinity.masked_fill(~word_mask.unsqueeze(-1), 0.0)
        asked, offered = self.word(words), self.region(regions)
        about_regions = torch.tanh(offered + affinity.transpose(-2, -1) @ asked)  # (..., regions, dim)
        about_words = torch.tanh(asked + affinity @ offered)  # (..., words, dim)
        word_weights = masked_softmax(self.word_score(about_words).squeeze(-1), word_mask)
        region_weights = self.region_score(about_regions).squeeze(-1).softmax(dim=-1)
        question = (word_weights.unsqueeze(-2) @ words).squeeze(-2)  # (..., dim)
        picture = (region_weights.unsqueeze(-2) @ regions).squeeze(-2)
        return CoAttended(question, picture, word_weights, region_weights, affinity)


def attention_rollout(weights: torch.Tensor, kept: float = 0.5) -> torch.Tensor:
    """Attention rollout (Abnar and Zuidema, 2020): the share of each input position in each output position.

    The product over layers of kept · I + (1 - kept) · mean of the weights over heads.

    Args:
        weights: (..., layers, heads, positions, positions), each row a distribution.
        kept: Share carried by the residual connection, from 0 to 1.

    Returns:
        (..., positions, positions); each row sums to 1.

    Raises:
        ValueError: If ``kept`` is not a share, or the last two axes differ, as they do in cross-attention.
    """
    if not 0 <= kept <= 1:
        raise ValueError(f"kept is {kept}; it must be a share, from 0 to 1.")
    positions, keys = weights.shape[-2:]
    if positions != keys:
        raise ValueError(f"Rollout needs self-attention: {positions} queries read {keys} keys.")
    same = torch.eye(positions, dtype=weights.dtype, device=weights.device)
    mixed = kept * same + (1 - kept) * weights.mean(dim=-3)  # (..., layers, positions, positions)
    rolled = same.expand(mixed[..., 0, :, :].shape)
    for layer in mixed.unbind(dim=-3):
        rolled = layer @ rolled
    return rolled
