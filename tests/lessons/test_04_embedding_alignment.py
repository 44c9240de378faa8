"""Procrustes, PCA, CCA and the measures of hubs that lesson 04 defines, against libraries and slow loops."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from lesson_code import lesson_code
from sklearn.cross_decomposition import CCA as SklearnCCA
from sklearn.decomposition import PCA

from course_utils.alignment.linear import cosines

lesson = lesson_code(
    "04", "procrustes", "pca", "whitener", "CCA", "cca", "mean_of_nearest", "csls", "k_occurrence", "skewness",
)  # fmt: skip


@pytest.fixture
def pairs() -> tuple[torch.Tensor, torch.Tensor]:
    """300 pairs of 6 and 4 numbers that share three directions of different strength, in double precision."""
    generator = torch.Generator().manual_seed(3)
    shared = torch.randn(300, 3, generator=generator, dtype=torch.float64) * torch.tensor([3.0, 1.0, 0.5])
    x = shared @ torch.randn(3, 6, generator=generator, dtype=torch.float64)
    y = shared @ torch.randn(3, 4, generator=generator, dtype=torch.float64)
    noise = [torch.randn(part.shape, generator=generator, dtype=torch.float64) for part in (x, y)]
    return x + noise[0] + 5, y + 0.5 * noise[1] - 2  # far from the origin, so that centring matters


def test_procrustes_is_scipys_on_centred_vectors(pairs):
    x, y = pairs[0][:, :4], pairs[1]
    reference, _ = scipy.linalg.orthogonal_procrustes((x - x.mean(0)).numpy(), (y - y.mean(0)).numpy())
    found = lesson.procrustes(x, y)
    torch.testing.assert_close(found.matrix, torch.from_numpy(reference))
    torch.testing.assert_close(found(x).mean(dim=0), y.mean(dim=0))


def test_procrustes_finds_a_rotation_that_was_made():
    x = torch.randn(40, 5, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64)).Q
    torch.testing.assert_close(lesson.procrustes(x, x @ rotation + 3)(x), x @ rotation + 3)


def test_pca_is_scikit_learns_up_to_signs(pairs):
    reference = PCA(3).fit_transform(pairs[0].numpy())
    found = lesson.pca(pairs[0], 3)(pairs[0])
    torch.testing.assert_close(found.abs(), torch.from_numpy(reference).abs())


def test_canonical_correlations_are_those_of_the_generalised_eigenproblem(pairs):
    a, b = (part - part.mean(dim=0) for part in pairs)
    cxx, cyy, cxy = (one.T @ other / len(a) for one, other in ((a, a), (b, b), (a, b)))
    for penalty in (1e-9, 0.5):
        rx, ry = (c + penalty * c.diagonal().mean() * torch.eye(len(c), dtype=c.dtype) for c in (cxx, cyy))
        squares = scipy.linalg.eigh((cxy @ torch.linalg.inv(ry) @ cxy.T).numpy(), rx.numpy(), eigvals_only=True)
        found = lesson.cca(*pairs, dims=4, penalty_x=penalty, penalty_y=penalty)
        np.testing.assert_allclose(found.correlations.numpy(), np.sqrt(squares[::-1][:4].clip(0)), atol=1e-7)


def test_cca_agrees_with_scikit_learn(pairs):
    reference = SklearnCCA(n_components=3, max_iter=5000, tol=1e-12).fit(*(part.numpy() for part in pairs))
    theirs = reference.transform(*(part.numpy() for part in pairs))
    found = lesson.cca(*pairs, dims=3, penalty_x=1e-9, penalty_y=1e-9)
    ours = found.map_x(pairs[0]).numpy(), found.map_y(pairs[1]).numpy()
    for i in range(3):  # the same directions, up to sign and length
        assert abs(np.corrcoef(theirs[0][:, i], ours[0][:, i])[0, 1]) == pytest.approx(1, abs=1e-5)
        between = np.corrcoef(theirs[0][:, i], theirs[1][:, i])[0, 1]
        assert found.correlations[i].item() == pytest.approx(between, abs=1e-5)


def test_the_outputs_of_cca_are_white_and_correlate_only_in_pairs(pairs):
    found = lesson.cca(*pairs, dims=4)
    u, v = found.map_x(pairs[0]), found.map_y(pairs[1])
    for one, other, expected in ((u, u, torch.eye(4)), (v, v, torch.eye(4)), (u, v, torch.diag(found.correlations))):
        torch.testing.assert_close(one.T @ other / len(u), expected.double(), atol=1e-4, rtol=0)


def test_cca_without_a_penalty_correlates_noise_perfectly_where_pairs_are_few():
    x, y = torch.randn(30, 40, dtype=torch.float64), torch.randn(30, 40, dtype=torch.float64)
    assert lesson.cca(x, y, 10).correlations.min() > 0.999
    assert lesson.cca(x, y, 10, penalty_x=10, penalty_y=10).correlations.max() < 0.3


def test_a_whitener_makes_variances_one_and_a_large_penalty_keeps_directions(pairs):
    white = lesson.whitener(pairs[0], 1e-9)(pairs[0])
    torch.testing.assert_close(white.T @ white / len(white), torch.eye(6, dtype=torch.float64), atol=1e-6, rtol=0)
    mild = lesson.whitener(pairs[0], 1e6)(pairs[0])
    torch.testing.assert_close(cosines(mild, pairs[0] - pairs[0].mean(dim=0)).diagonal(), torch.ones(300).double())


def test_a_constant_column_is_no_direction_and_harms_none():
    x = torch.randn(50, 3, dtype=torch.float64)
    x[:, 1] = 0.1
    for penalty in (1e-6, 1.0):
        white = lesson.whitener(x, penalty)
        assert white.matrix.isfinite().all() and white(x)[:, 1].abs().max() < 1e-6
    assert lesson.cca(x, torch.randn(50, 2, dtype=torch.float64), 2).correlations.isfinite().all()


def test_csls_is_its_definition_written_as_loops():
    similarity, bank = torch.rand(7, 5), torch.rand(9, 5)
    for known in (None, bank):
        others = similarity if known is None else known
        expected = torch.empty(7, 5)
        for i in range(7):
            for j in range(5):
                near_i = sorted(similarity[i].tolist())[-3:]
                near_j = sorted(others[:, j].tolist())[-3:]
                expected[i, j] = 2 * similarity[i, j] - sum(near_i) / 3 - sum(near_j) / 3
        torch.testing.assert_close(lesson.csls(similarity, 3, known), expected)


def test_csls_takes_a_hub_its_lead():
    similarity = torch.tensor([[0.8, 0.9, 0.1], [0.1, 0.9, 0.8], [0.1, 0.9, 0.1]])  # the middle is near to all
    assert similarity.argmax(dim=1).tolist() == [1, 1, 1]
    assert lesson.csls(similarity, 2).argmax(dim=1).tolist() == [0, 2, 1]


def test_k_occurrence_and_skewness():
    similarity = torch.tensor([[0.9, 0.5, 0.1], [0.8, 0.2, 0.7], [0.6, 0.1, 0.3], [0.9, 0.8, 0.2]])
    assert lesson.k_occurrence(similarity, 1).tolist() == [4, 0, 0]
    assert lesson.k_occurrence(similarity, 2).tolist() == [4, 2, 2]
    values = torch.tensor([1, 1, 2, 9])
    assert lesson.skewness(values) == pytest.approx(scipy.stats.skew(values.numpy()))


THREE, FIVE = torch.ones(4, 3), torch.ones(4, 5)


@pytest.mark.parametrize("call, says", [
    (lambda: lesson.procrustes(THREE, FIVE), "equal dimensions, not 3 and 5: reduce both with pca"),
    (lambda: lesson.pca(THREE, 4), "1 to 3 components: not 4"),
    (lambda: lesson.whitener(THREE, -1), "penalty is -1"),
    (lambda: lesson.whitener(THREE, 1), "All vectors are equal"),
    (lambda: lesson.whitener(torch.ones(4, 1), 1), "All vectors are equal"),
    (lambda: lesson.cca(torch.randn(4, 3), FIVE, 2), "All vectors are equal"),
    (lambda: lesson.whitener(THREE * torch.nan, 1), "NaN or infinity"),
    (lambda: lesson.cca(THREE, FIVE, 4), "1 to 3 pairs of directions: not 4"),
    (lambda: lesson.cca(THREE, FIVE, 0), "not 0"),
    (lambda: lesson.csls(THREE, 4), "3 similarities has no 4 nearest"),
    (lambda: lesson.csls(THREE, 2, FIVE), "bank knows 5 candidates, the queries 3"),
    (lambda: lesson.k_occurrence(THREE, 0), "no first 0 among 3"),
    (lambda: lesson.skewness(torch.ones(5)), "no skewness"),
])  # fmt: skip
def test_wrong_input_is_named_with_its_remedy(call, says):
    with pytest.raises(ValueError, match=says):
        call()
