"""Matrix factorisation: a table of pictures by words as a product of two thin ones, which share a space."""

from __future__ import annotations

import torch

Factors = tuple[torch.Tensor, torch.Tensor]  # (rows, rank) and (columns, rank); their product is left @ right.T


def check_rank(matrix: torch.Tensor, rank: int) -> None:
    """A ValueError unless a matrix (rows, columns) has factors of that rank."""
    if matrix.ndim != 2 or not 1 <= rank <= min(matrix.shape):
        raise ValueError(f"A matrix of shape {tuple(matrix.shape)} has no factors of rank {rank}.")


def truncated_svd(matrix: torch.Tensor, rank: int) -> Factors:
    """The factors of the best approximation of that rank (Eckart and Young, 1936), the root of σ on either side.

    Args:
        matrix: (rows, columns).
        rank: From 1 to the smaller side.

    Returns:
        (rows, rank) and (columns, rank), the directions in falling order of σ.

    Raises:
        ValueError: If the rank is out of range.
    """
    check_rank(matrix, rank)
    left, sigma, right = torch.linalg.svd(matrix, full_matrices=False)
    root = sigma[:rank].sqrt()
    return left[:, :rank] * root, right[:rank].T * root


def nmf(matrix: torch.Tensor, rank: int, steps: int = 200, seed: int = 0) -> tuple[Factors, list[float]]:
    """Factors without negative numbers, by multiplicative updates (Lee and Seung, 2001).

    Args:
        matrix: (rows, columns), without negative numbers.
        rank: From 1 to the smaller side.
        steps: Updates of both factors.
        seed: Of the random start.

    Returns:
        (rows, rank) and (columns, rank), and the error, the root of the sum of squares, before each step.

    Raises:
        ValueError: If the rank is out of range, or the matrix has a negative number.
    """
    check_rank(matrix, rank)
    if bool((matrix < 0).any()):
        raise ValueError("Non-negative factors cannot make a negative number: the matrix has some.")
    left, right = random_start(matrix, rank, seed)
    tiny, errors = torch.finfo(matrix.dtype).eps, []
    for _ in range(steps):
        errors.append(torch.linalg.norm(matrix - left @ right.T).item())
        left = left * (matrix @ right) / (left @ (right.T @ right) + tiny)
        right = right * (matrix.T @ left) / (right @ (left.T @ left) + tiny)
    return (left, right), errors


def als(
    matrix: torch.Tensor, known: torch.Tensor, rank: int, ridge: float = 1.0, sweeps: int = 8, seed: int = 0
) -> Factors:
    """Alternating least squares on the known entries alone (Zhou and others, 2008; Koren, Bell and Volinsky, 2009).

    Args:
        matrix: (rows, columns); what stands at unknown entries is never read.
        known: True where an entry is known, (rows, columns).
        rank: From 1 to the smaller side.
        ridge: Above zero: what keeps the vector of a row with few known entries short.
        sweeps: Rounds; each solves all rows, then all columns.
        seed: Of the random start.

    Returns:
        (rows, rank) and (columns, rank). A row with nothing known is all zeros.

    Raises:
        ValueError: If the rank is out of range, the ridge not above zero, or the mask not bool and of the same shape.
    """
    check_rank(matrix, rank)
    if ridge <= 0:
        raise ValueError(f"The ridge is {ridge}; it must be above zero, else a row with few entries has no solution.")
    if known.dtype != torch.bool or known.shape != matrix.shape:
        raise ValueError(f"The mask must be bool of shape {tuple(matrix.shape)}, not {known.dtype}.")
    matrix = matrix.masked_fill(~known, 0)  # masked_fill, not a product: zero times NaN is NaN
    left, right = random_start(matrix, rank, seed)
    for _ in range(sweeps):
        left = solve_rows(matrix, known, right, ridge)
        right = solve_rows(matrix.T, known.T, left, ridge)
    return left, right


def solve_rows(matrix: torch.Tensor, known: torch.Tensor, right: torch.Tensor, ridge: float) -> torch.Tensor:
    """The best vector for each row, given the columns' vectors: a ridge regression on the row's known entries.

    Args:
        matrix: (rows, columns), zero where unknown.
        known: (rows, columns) bool.
        right: (columns, rank).
        ridge: Above zero.

    Returns:
        (rows, rank).
    """
    squares = (right.unsqueeze(2) * right.unsqueeze(1)).flatten(1)  # (columns, rank · rank), each v vᵀ
    gram = (known.to(matrix.dtype) @ squares).unflatten(1, (right.shape[1], -1))  # (rows, rank, rank)
    gram = gram + ridge * torch.eye(right.shape[1], dtype=matrix.dtype, device=matrix.device)
    return torch.linalg.solve(gram, (matrix @ right).unsqueeze(2)).squeeze(2)


def random_start(matrix: torch.Tensor, rank: int, seed: int) -> Factors:
    """Positive random factors whose product has about the matrix's mean size."""
    generator = torch.Generator().manual_seed(seed)
    scale = (matrix.abs().mean().item() / rank) ** 0.5
    return tuple((scale * (0.5 + torch.rand(size, rank, generator=generator))).to(matrix) for size in matrix.shape)
