"""Attention: an alignment that is decided anew for each question."""

from __future__ import annotations

import torch


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
