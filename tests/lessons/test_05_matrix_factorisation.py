"""Matrix factorisation, as lesson 05 defines it, against scikit-learn, least squares and random rivals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lesson_code import lesson_code
from sklearn.decomposition import non_negative_factorization

factorisation = lesson_code(
    "05", "Factors", "check_rank", "truncated_svd", "random_start", "nmf", "solve_rows", "als", "margin",
)  # fmt: skip


@pytest.fixture
def matrix() -> torch.Tensor:
    return torch.rand(9, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def error(matrix, factors):
    return torch.linalg.norm(matrix - factors[0] @ factors[1].T).item()


@pytest.mark.parametrize("rank", [1, 3, 7])
def test_truncated_svd_has_the_error_of_eckart_and_young(matrix, rank):
    factors = factorisation.truncated_svd(matrix, rank)
    left_out = np.linalg.svd(matrix.numpy(), compute_uv=False)[rank:]
    assert error(matrix, factors) == pytest.approx(np.sqrt((left_out**2).sum()), abs=1e-12)
    assert [tuple(part.shape) for part in factors] == [(9, rank), (7, rank)]


def test_no_random_factors_do_better_than_truncated_svd(matrix):
    best, generator = error(matrix, factorisation.truncated_svd(matrix, 2)), torch.Generator().manual_seed(2)
    for _ in range(200):
        left = torch.randn(9, 2, generator=generator, dtype=torch.float64)
        right = torch.linalg.lstsq(left, matrix).solution.T  # the best that these columns can do
        assert error(matrix, (left, right)) > best


@given(seed=st.integers(0, 999), share=st.floats(0.05, 1))
def test_the_first_direction_of_a_table_without_negative_numbers_has_one_end(seed, share):
    generator = torch.Generator().manual_seed(seed)
    table = torch.rand(8, 6, generator=generator, dtype=torch.float64)
    table = table * (torch.rand(8, 6, generator=generator) < share)
    for side in factorisation.truncated_svd(table, 1):
        assert side.min() > -1e-7 or side.max() < 1e-7


@pytest.mark.parametrize("colours", [3, 8, 100])
def test_a_circle_decides_agreement_with_rank_two_and_that_margin(colours):
    angles = 2 * np.pi * np.arange(colours) / colours
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    cosines = circle @ circle.T
    assert np.linalg.matrix_rank(cosines) == 2
    others = cosines[~np.eye(colours, dtype=bool)]
    assert 1 - others.max() == pytest.approx(factorisation.margin(colours), abs=1e-12)
    assert np.diag(cosines) == pytest.approx(1)


def test_nmf_goes_step_by_step_where_sklearn_goes(matrix):
    (left, right), errors = factorisation.nmf(matrix, 3, steps=25, seed=4)
    start_left, start_right = factorisation.random_start(matrix, 3, seed=4)
    w, h, _ = non_negative_factorization(
        matrix.numpy(), W=start_left.numpy(), H=start_right.T.numpy().copy(), n_components=3, init="custom",
        solver="mu", tol=0, max_iter=25,
    )  # fmt: skip
    np.testing.assert_allclose(left.numpy(), w, rtol=1e-8)
    np.testing.assert_allclose(right.T.numpy(), h, rtol=1e-8)
    assert len(errors) == 25 and all(after <= before for before, after in zip(errors, errors[1:], strict=False))
    assert min(left.min(), right.min()) >= 0


def test_als_with_everything_known_finds_the_best_rank(matrix):
    everything = torch.ones_like(matrix, dtype=torch.bool)
    found = factorisation.als(matrix, everything, 2, ridge=1e-9, sweeps=300)
    assert error(matrix, found) == pytest.approx(error(matrix, factorisation.truncated_svd(matrix, 2)), rel=1e-5)


def test_solve_rows_is_ridge_regression_row_by_row(matrix):
    known = torch.rand(9, 7, generator=torch.Generator().manual_seed(3)) < 0.6
    right = torch.randn(7, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    found = factorisation.solve_rows(matrix.masked_fill(~known, 0), known, right, ridge=0.5)
    for row, seen, vector in zip(matrix, known, found, strict=True):
        design = torch.cat([right[seen], 0.5**0.5 * torch.eye(3, dtype=torch.float64)])  # ridge as three more rows
        target = torch.cat([row[seen], torch.zeros(3, dtype=torch.float64)])
        torch.testing.assert_close(vector, torch.linalg.lstsq(design, target[:, None]).solution[:, 0])


def test_als_recovers_hidden_entries_and_never_reads_them():
    generator = torch.Generator().manual_seed(5)
    true = torch.rand(30, 2, generator=generator).double() @ torch.rand(20, 2, generator=generator).double().T
    known = torch.rand(30, 20, generator=generator) < 0.6
    left, right = factorisation.als(true.masked_fill(~known, torch.nan), known, 2, ridge=1e-6, sweeps=200)
    torch.testing.assert_close(left @ right.T, true, rtol=0, atol=1e-3)


def test_a_row_with_nothing_known_is_zero(matrix):
    known = torch.ones_like(matrix, dtype=torch.bool)
    known[4] = False
    left, _ = factorisation.als(matrix, known, 2)
    assert left[4].abs().max() == 0 and left.isfinite().all()


def test_bad_input_is_named(matrix):
    known = torch.ones_like(matrix, dtype=torch.bool)
    for rank in (0, 8):
        with pytest.raises(ValueError, match=rf"shape \(9, 7\) has no factors of rank {rank}"):
            factorisation.truncated_svd(matrix, rank)
    with pytest.raises(ValueError, match="negative number"):
        factorisation.nmf(-matrix, 2)
    with pytest.raises(ValueError, match="ridge is 0; it must be above zero"):
        factorisation.als(matrix, known, 2, ridge=0)
    with pytest.raises(ValueError, match="must be bool"):
        factorisation.als(matrix, known.float(), 2)
