"""Linear alignment: a matrix maps the vectors of one modality into the space of another, z = M x.

Vectors are rows, so the map multiplies from the right: z (n, dim_z) = (x - mean) (n, dim_x) @ matrix (dim_x, dim_z) +
offset. ``matrix`` is the transpose of the M of the formula. Lesson 04 adds Procrustes and CCA.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch.nn import functional as F


class LinearMap(NamedTuple):
    """z = M (x - mean) + offset.

    Attributes:
        matrix: The transpose of M, (dim_x, dim_z).
        mean: Mean of the vectors that the map was fitted on, (dim_x,).
        offset: Added last, (dim_z,): the mean of the targets, or zeros.
    """

    matrix: torch.Tensor
    mean: torch.Tensor
    offset: torch.Tensor

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Map vectors, (..., dim_x) to (..., dim_z)."""
        return (x - self.mean) @ self.matrix + self.offset


def ridge(x: torch.Tensor, y: torch.Tensor, penalty: float) -> LinearMap:
    """Ridge regression (Hoerl and Kennard, 1970): the map with the least squared error plus penalty · ‖M‖².

    Args:
        x: Vectors, (n, dim_x).
        y: Their targets, (n, dim_y).
        penalty: Cost of large weights, above 0. The offset is not penalised.

    Raises:
        ValueError: If the two are not pairs of rows of finite numbers, or the penalty is not above 0.
    """
    require_pairs(x, y)
    require_positive(penalty)
    mean, offset = x.mean(dim=0), y.mean(dim=0)
    a, b = x - mean, y - offset
    identity = torch.eye(a.shape[1], dtype=a.dtype, device=a.device)
    return LinearMap(torch.linalg.solve(a.T @ a + penalty * identity, a.T @ b), mean, offset)


def cosines(queries: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    """Cosine similarity of each query, (q, dim), with each candidate, (c, dim): (q, c).

    Raises:
        ValueError: If the two have different dimensions.
    """
    if queries.shape[-1] != candidates.shape[-1]:
        raise ValueError(f"Vectors of {queries.shape[-1]} and {candidates.shape[-1]} numbers share no space: map them.")
    return F.normalize(queries, dim=-1) @ F.normalize(candidates, dim=-1).T


def require_matrix(x: torch.Tensor) -> None:
    """Raise a ValueError unless x is (n, dim), of finite numbers."""
    if x.ndim != 2:
        raise ValueError(f"Expected a matrix, one vector a row, not a tensor of shape {tuple(x.shape)}.")
    if not x.isfinite().all():
        raise ValueError("A vector holds NaN or infinity, which would spread to every other. Check its encoder.")


def require_pairs(x: torch.Tensor, y: torch.Tensor) -> None:
    """Raise a ValueError unless x is (n, dim_x) and y (n, dim_y), with n at least 2."""
    require_matrix(x)
    require_matrix(y)
    if len(x) != len(y):
        raise ValueError(f"Row i of x belongs to row i of y: {len(x)} and {len(y)} rows are no pairs.")
    if len(x) < 2:
        raise ValueError("One pair is too few to fit a map.")


def require_positive(penalty: float) -> None:
    """Raise a ValueError unless the penalty is a number above 0."""
    if not 0 < penalty < math.inf:
        raise ValueError(f"The penalty is {penalty}; it must be above 0, or the fit has no single answer.")
