"""The output of every encoder."""

from __future__ import annotations

from typing import NamedTuple

import torch


class Encoded(NamedTuple):
    """The output of every encoder.

    Attributes:
        pooled: One vector for the whole input, (batch, dim).
        unpooled: One vector for each position, (batch, positions, dim).
        mask: True where a position is real, False where it is padding, (batch, positions).
    """

    pooled: torch.Tensor
    unpooled: torch.Tensor
    mask: torch.Tensor
