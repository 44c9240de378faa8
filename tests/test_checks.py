from __future__ import annotations

import numpy as np
import pytest
import torch

from course_utils import checks as check


@pytest.mark.parametrize(
    "passing",
    [
        lambda: check.true(1 < 2, "no"),
        lambda: check.equal(torch.tensor([1, 2]), [1, 2]),
        lambda: check.equal("red", "red"),
        lambda: check.close(torch.tensor(0.1) + torch.tensor(0.2), 0.3, tolerance=1e-6),
        lambda: check.close(np.array([1e6]), np.array([1e6 + 1]), tolerance=1e-5),
        lambda: check.close(torch.empty(0, 3), np.empty((0, 3))),
        lambda: check.close(np.array([1 + 5j]), [1 + 5j]),
        lambda: check.greater(torch.tensor(2.0), 1),
        lambda: check.less(1, np.float32(2)),
        lambda: check.between(1, 1, 1),
        lambda: check.shape(torch.zeros(2, 3, 3), (None, "words", "words")),
        lambda: check.shape(torch.zeros(()), ()),
        lambda: check.finite(torch.ones(3, dtype=torch.bfloat16)),
        lambda: check.raises(ValueError, lambda: int("x"), match="invalid literal"),
    ],
)
def test_true_conditions_pass(passing):
    assert passing() is None


@pytest.mark.parametrize(
    ("failing", "said"),
    [
        (lambda: check.true(False, "this is why"), "this is why"),
        (lambda: check.equal(torch.tensor([1, 2]), torch.tensor([1, 3])), r"Expected \[1, 3\], got \[1, 2\]"),
        (lambda: check.equal(torch.zeros(2), torch.zeros(3)), "Expected"),
        (lambda: check.equal("red", "blue", hint="look again"), "Hint: look again"),
        (lambda: check.equal(float("nan"), float("nan")), "Expected nan"),
        (lambda: check.close(1.0, 1.1, tolerance=0.01), "largest difference is 0.0909"),
        (lambda: check.close(float("nan"), 1.0), "got nan"),
        (lambda: check.close(torch.zeros(2), torch.zeros(2, 1)), r"shape \(2, 1\), got \(2,\)"),
        (lambda: check.close(np.array([1 + 5j]), [1 + 0j]), "largest difference is 5"),
        (lambda: check.close(None, 1.0, hint="return it"), "got None.*Hint: return it"),
        (lambda: check.close("a", "b"), "Expected numbers, got 'a'"),
        (lambda: check.finite("a", hint="h"), "Expected numbers, got 'a'. Hint: h"),
        (lambda: check.greater(None, 1), "got NaN"),
        (lambda: check.less([], 1, hint="h"), r"single number, got \[\]. Hint: h"),
        (lambda: check.between(1 + 1j, 0, 2), "single number"),
        (lambda: check.greater(1, 1), "more than 1, got 1"),
        (lambda: check.greater(float("nan"), 0), "NaN"),
        (lambda: check.greater(torch.ones(2), 0), "single number"),
        (lambda: check.less(2, 1), "less than 1, got 2"),
        (lambda: check.between(0.4, 0.5, 0.6), "from 0.5 to 0.6, got 0.4"),
        (lambda: check.between(float("nan"), 0, 1), "NaN"),
        (lambda: check.shape(torch.zeros(2, 3), (2, 4)), r"shape \(2, 4\), got \(2, 3\)"),
        (lambda: check.shape(torch.zeros(2, 3), ("n", "n")), r"shape \(n, n\), got \(2, 3\)"),
        (lambda: check.shape(torch.zeros(2), (2, 1)), "shape"),
        (lambda: check.finite(torch.tensor([1.0, float("inf")])), "1 of 2 are NaN or infinite"),
        (lambda: check.raises(ValueError, lambda: None), "nothing was raised"),
        (lambda: check.raises(ValueError, lambda: int("x"), match="empty question"), "it says"),
    ],
)
def test_false_conditions_say_why(failing, said):
    with pytest.raises(AssertionError, match=said):
        failing()


def test_an_unexpected_error_propagates():
    with pytest.raises(TypeError):
        check.raises(ValueError, lambda: int([]))
