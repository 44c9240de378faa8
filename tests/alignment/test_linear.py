from __future__ import annotations

import pytest
import torch
from sklearn.linear_model import Ridge

from course_utils.alignment import linear


@pytest.fixture
def pairs() -> tuple[torch.Tensor, torch.Tensor]:
    """300 pairs of 6 and 4 numbers that share three directions of different strength, in double precision."""
    generator = torch.Generator().manual_seed(3)
    shared = torch.randn(300, 3, generator=generator, dtype=torch.float64) * torch.tensor([3.0, 1.0, 0.5])
    x = shared @ torch.randn(3, 6, generator=generator, dtype=torch.float64)
    y = shared @ torch.randn(3, 4, generator=generator, dtype=torch.float64)
    noise = [torch.randn(part.shape, generator=generator, dtype=torch.float64) for part in (x, y)]
    return x + noise[0] + 5, y + 0.5 * noise[1] - 2  # far from the origin, so that centring matters


# --- against the libraries ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", [1e-3, 1.0, 1e4])
def test_ridge_is_scikit_learns(pairs, penalty):
    x, y = pairs
    reference = Ridge(alpha=penalty).fit(x.numpy(), y.numpy())
    new = x[:7] + 1
    torch.testing.assert_close(linear.ridge(x, y, penalty)(new), torch.from_numpy(reference.predict(new.numpy())))


def test_ridge_with_more_dimensions_than_pairs():
    x, y = torch.randn(20, 50, dtype=torch.float64), torch.randn(20, 3, dtype=torch.float64)
    reference = Ridge(alpha=0.7).fit(x.numpy(), y.numpy())
    torch.testing.assert_close(linear.ridge(x, y, 0.7)(x), torch.from_numpy(reference.predict(x.numpy())))


def test_ridge_on_a_constant_predicts_the_mean(pairs):
    x, y = pairs[0], pairs[1].clone()
    for constant in (torch.ones_like(x), torch.cat([x[:, :2], torch.full_like(x[:, :1], 0.1)], dim=1)):
        found = linear.ridge(constant, y, 1e-3)
        assert found.matrix.isfinite().all()
        torch.testing.assert_close(found(constant).mean(dim=0), y.mean(dim=0))


# --- similarities ---------------------------------------------------------------------------------------------------


def test_cosines_by_hand():
    found = linear.cosines(torch.tensor([[3.0, 4.0]]), torch.tensor([[6.0, 8.0], [-4.0, 3.0]]))
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.0]]))


# --- wrong input ----------------------------------------------------------------------------------------------------

THREE, FIVE = torch.ones(4, 3), torch.ones(4, 5)


@pytest.mark.parametrize("call, says", [
    (lambda: linear.ridge(THREE, torch.ones(5, 3), 1), "4 and 5 rows are no pairs"),
    (lambda: linear.ridge(torch.ones(3), torch.ones(3), 1), r"matrix, one vector a row, not a tensor of shape \(3,\)"),
    (lambda: linear.ridge(torch.ones(1, 3), torch.ones(1, 3), 1), "One pair is too few"),
    (lambda: linear.ridge(THREE, FIVE, 0), "penalty is 0; it must be above 0"),
    (lambda: linear.ridge(THREE, FIVE, float("nan")), "penalty is nan"),
    (lambda: linear.ridge(THREE, FIVE, float("inf")), "penalty is inf"),
    (lambda: linear.ridge(THREE, FIVE * torch.nan, 1), "NaN or infinity.*Check its encoder"),
    (lambda: linear.ridge(THREE / 0, FIVE, 1), "NaN or infinity.*Check its encoder"),
    (lambda: linear.cosines(THREE, FIVE), "3 and 5 numbers share no space: map them"),
])  # fmt: skip
def test_wrong_input_is_named_with_its_remedy(call, says):
    with pytest.raises(ValueError, match=says):
        call()
