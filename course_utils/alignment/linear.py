"""Linear alignment: one matrix for each modality takes its vectors into a space that they share, z = M x.

Vectors are rows, so the maps multiply from the right: z (n, dim_z) = (x - mean) (n, dim_x) @ matrix (dim_x, dim_z) +
offset. ``matrix`` is the transpose of the M of the formula.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn import functional as F


class LinearMap(NamedTuple):
    """z = M (x - mean) + offset, for any number of vectors at once.

    Attributes:
        matrix: The transpose of M, (dim_x, dim_z).
        mean: Of the vectors that it was fitted on, (dim_x,).
        offset: What is added in the end, (dim_z,): the mean of the targets, or zeros.
    """

    matrix: torch.Tensor
    mean: torch.Tensor
    offset: torch.Tensor

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Map vectors, (..., dim_x) to (..., dim_z)."""
        return (x - self.mean) @ self.matrix + self.offset


# --- one side is mapped into the other's space ----------------------------------------------------------------------


def ridge(x: torch.Tensor, y: torch.Tensor, penalty: float) -> LinearMap:
    """Ridge regression (Hoerl and Kennard, 1970): the map from x to y with the least squared error plus penalty · ‖M‖².

    Args:
        x: Vectors, (n, dim_x).
        y: Their partners, (n, dim_y).
        penalty: How much large weights cost, above 0. The offset costs nothing.

    Raises:
        ValueError: If the two are not pairs of rows, or the penalty is not above 0.
    """
    require_pairs(x, y)
    require_positive(penalty)
    mean, offset = x.mean(dim=0), y.mean(dim=0)
    a, b = x - mean, y - offset
    identity = torch.eye(a.shape[1], dtype=a.dtype, device=a.device)
    return LinearMap(torch.linalg.solve(a.T @ a + penalty * identity, a.T @ b), mean, offset)


def procrustes(x: torch.Tensor, y: torch.Tensor) -> LinearMap:
    """Orthogonal Procrustes (Schönemann, 1966): the rotation, or mirroring, that brings x nearest to y.

    It keeps all lengths and angles, so both spaces must have the same dimension: bring them there with :func:`pca`.

    Args:
        x: Vectors, (n, dim).
        y: Their partners, (n, dim).

    Raises:
        ValueError: If the two are not pairs of rows, or differ in dimension.
    """
    require_pairs(x, y)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"A rotation needs equal dimensions, not {x.shape[1]} and {y.shape[1]}: reduce both with pca.")
    mean, offset = x.mean(dim=0), y.mean(dim=0)
    u, _, vt = torch.linalg.svd((x - mean).T @ (y - offset))
    return LinearMap(u @ vt, mean, offset)


# --- both are mapped into a third space -----------------------------------------------------------------------------


def pca(x: torch.Tensor, dims: int) -> LinearMap:
    """Principal components (Pearson, 1901): the ``dims`` directions in which the vectors differ most.

    Args:
        x: Vectors, (n, dim_x).
        dims: From 1 to the smaller of n and dim_x.

    Raises:
        ValueError: If there are no such many directions.
    """
    require_matrix(x)
    if not 1 <= dims <= min(x.shape):
        raise ValueError(
            f"{x.shape[0]} vectors of {x.shape[1]} numbers have 1 to {min(x.shape)} components: not {dims}."
        )
    mean = x.mean(dim=0)
    directions = torch.linalg.svd(x - mean, full_matrices=False).Vh[:dims]
    return LinearMap(directions.T, mean, x.new_zeros(dims))


def whitener(x: torch.Tensor, penalty: float) -> LinearMap:
    """The map that makes directions uncorrelated and of variance 1: multiply by (C + penalty · c · I)^(-1/2).

    C is the covariance, (dim_x, dim_x), and c its mean variance, so that a penalty means the same whatever the scale:
    near 0 it whitens fully, noise and all; far above 1 it hardly changes anything but the length.

    Args:
        x: Vectors, (n, dim_x).
        penalty: Above 0.

    Raises:
        ValueError: If the vectors are no matrix, or the penalty is not above 0.
    """
    require_matrix(x)
    require_positive(penalty)
    mean = x.mean(dim=0)
    centred = x - mean
    variances, directions = torch.linalg.eigh(centred.T @ centred / len(x))
    scale = (variances.clamp(min=0) + penalty * variances.mean()).rsqrt()
    return LinearMap(directions * scale @ directions.T, mean, x.new_zeros(x.shape[1]))


class CCA(NamedTuple):
    """Canonical correlation analysis: a map for each side, and how well their outputs agree.

    Attributes:
        map_x: From x to the shared space.
        map_y: From y to the shared space.
        correlations: Of the canonical directions, largest first, (dims,). With a penalty they are shrunk.
    """

    map_x: LinearMap
    map_y: LinearMap
    correlations: torch.Tensor


def cca(x: torch.Tensor, y: torch.Tensor, dims: int, penalty_x: float = 1e-6, penalty_y: float = 1e-6) -> CCA:
    """Canonical correlation analysis (Hotelling, 1936): the pairs of directions whose values correlate most.

    Whiten both sides, then take the singular value decomposition of what is left between them. The penalties are those
    of :func:`whitener` (regularised CCA; Vinod, 1976): without them, and with more dimensions than pairs, everything
    correlates perfectly and means nothing.

    Args:
        x: Vectors, (n, dim_x).
        y: Their partners, (n, dim_y).
        dims: How many directions to keep.
        penalty_x: Above 0.
        penalty_y: Above 0.

    Raises:
        ValueError: If the two are not pairs of rows, there are no such many directions, or a penalty is not above 0.
    """
    require_pairs(x, y)
    if not 1 <= dims <= min(x.shape[1], y.shape[1]):
        raise ValueError(f"{x.shape[1]} and {y.shape[1]} numbers have 1 to {min(x.shape[1], y.shape[1])} pairs of "
                         f"directions: not {dims}.")  # fmt: skip
    white_x, white_y = whitener(x, penalty_x), whitener(y, penalty_y)
    u, correlations, vt = torch.linalg.svd(white_x(x).T @ white_y(y) / len(x), full_matrices=False)
    map_x = white_x._replace(matrix=white_x.matrix @ u[:, :dims], offset=x.new_zeros(dims))
    map_y = white_y._replace(matrix=white_y.matrix @ vt[:dims].T, offset=y.new_zeros(dims))
    return CCA(map_x, map_y, correlations[:dims])


# --- comparing in the shared space ----------------------------------------------------------------------------------


def cosines(queries: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    """Cosine similarity of every query, (q, dim), with every candidate, (c, dim): (q, c).

    Raises:
        ValueError: If the two have different dimensions.
    """
    if queries.shape[-1] != candidates.shape[-1]:
        raise ValueError(f"Vectors of {queries.shape[-1]} and {candidates.shape[-1]} numbers share no space: map them.")
    return F.normalize(queries, dim=-1) @ F.normalize(candidates, dim=-1).T


def mean_of_nearest(similarity: torch.Tensor, k: int) -> torch.Tensor:
    """Mean of the ``k`` largest numbers of each row, (rows, columns) to (rows,): how crowded it is around a vector.

    Raises:
        ValueError: If a row has fewer than ``k`` numbers.
    """
    require_matrix(similarity)
    if not 1 <= k <= similarity.shape[1]:
        raise ValueError(f"A row of {similarity.shape[1]} similarities has no {k} nearest.")
    return similarity.topk(k, dim=1).values.mean(dim=1)


def csls(similarity: torch.Tensor, k: int = 10, bank: torch.Tensor | None = None) -> torch.Tensor:
    """Cross-domain similarity local scaling (Conneau and others, 2018): near, compared with what else is near.

    Twice the similarity, less the mean similarity of the query to its ``k`` nearest candidates, less that of the
    candidate to its ``k`` nearest queries: a hub, which is near to everything, loses what it had too much.

    Args:
        similarity: Cosines, (queries, candidates).
        k: Neighbours to average over.
        bank: Cosines of other queries with the same candidates, (others, candidates), to find out which are hubs.
            Without it the queries themselves are used, which have to be known all at once.

    Raises:
        ValueError: If there are fewer than ``k`` candidates or queries, or the bank has other candidates.
    """
    known = similarity if bank is None else bank
    if known.shape[-1] != similarity.shape[-1]:
        raise ValueError(f"The bank knows {known.shape[-1]} candidates, the queries {similarity.shape[-1]}.")
    return 2 * similarity - mean_of_nearest(similarity, k)[:, None] - mean_of_nearest(known.T, k)


def k_occurrence(similarity: torch.Tensor, k: int = 10) -> torch.Tensor:
    """In how many queries' first ``k`` each candidate is (Radovanović and others, 2010): (q, c) to (c,) of int64.

    The mean is always k · queries / candidates. A candidate far above it is a *hub*; one at zero is never found.

    Raises:
        ValueError: If there are fewer than ``k`` candidates.
    """
    require_matrix(similarity)
    if not 1 <= k <= similarity.shape[1]:
        raise ValueError(f"There are no first {k} among {similarity.shape[1]} candidates.")
    return torch.bincount(similarity.topk(k, dim=1).indices.flatten(), minlength=similarity.shape[1])


def skewness(values: torch.Tensor) -> float:
    """Third standardised moment: 0 for a symmetric distribution, large where a few values are far above the rest.

    Raises:
        ValueError: If all values are the same.
    """
    centred = values.double() - values.double().mean()
    deviation = centred.square().mean().sqrt()
    if deviation == 0:
        raise ValueError("All values are the same: they have no skewness.")
    return ((centred / deviation) ** 3).mean().item()


# --- what all of them require ---------------------------------------------------------------------------------------


def require_matrix(x: torch.Tensor) -> None:
    """Raise a ValueError unless x is (n, dim)."""
    if x.ndim != 2:
        raise ValueError(f"Expected a matrix, one vector a row, not a tensor of shape {tuple(x.shape)}.")


def require_pairs(x: torch.Tensor, y: torch.Tensor) -> None:
    """Raise a ValueError unless x is (n, dim_x) and y (n, dim_y), with n at least 2."""
    require_matrix(x)
    require_matrix(y)
    if len(x) != len(y):
        raise ValueError(f"Row i of x belongs to row i of y: {len(x)} and {len(y)} rows are no pairs.")
    if len(x) < 2:
        raise ValueError("One pair is too few to fit a map.")


def require_positive(penalty: float) -> None:
    """Raise a ValueError unless the penalty is above 0."""
    if not penalty > 0:
        raise ValueError(f"The penalty is {penalty}; it must be above 0, or the fit has no single answer.")
