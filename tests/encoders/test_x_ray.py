from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from course_utils.datasets import phantom
from course_utils.encoders.x_ray import DIM, GRID, XRayEncoder, learn_where, read_x_rays, region


def test_regions_are_row_by_row():
    torch.manual_seed(0)
    encoder = XRayEncoder().eval()
    x_rays = torch.zeros(2, 48, 48)
    x_rays[1, 3:5, 43:45] = 3.0  # top right
    regions = encoder(x_rays)
    assert regions.shape == (2, GRID**2, DIM)
    change = (regions[1] - regions[0]).abs().sum(dim=1)
    assert set(change.nonzero().flatten().tolist()) <= {4, 5, 10, 11, 16, 17, 3, 9, 15} and change[5] > 0


def test_each_zone_has_a_region_of_its_own():
    assert [region(zone) for zone in range(4)] == [10, 22, 7, 19]
    for zone, (y, x) in enumerate(phantom.CENTRES):
        row, column = divmod(region(zone), GRID)
        assert row / GRID <= y < (row + 1) / GRID and column / GRID <= x < (column + 1) / GRID


def test_where_is_learned():
    study, others = phantom.draw(600, 1), phantom.draw(200, 2)
    encoder = learn_where(study, 120, seed=0)
    assert not encoder.training and not any(weight.requires_grad for weight in encoder.parameters())
    seen, new = read_x_rays(encoder, study.x_rays), read_x_rays(encoder, others.x_rays)
    place = region(0)
    labels, truth = ([0 in one.opacities for one in some.patients] for some in (study, others))
    probe = LogisticRegression(max_iter=500, class_weight="balanced").fit(seen[:, place], labels)
    said = probe.predict(new[:, place])
    assert (said[np.array(truth)]).mean() > 0.8 and (~said[~np.array(truth)]).mean() > 0.9


def test_reading_in_parts_equals_reading_at_once():
    torch.manual_seed(0)
    encoder = XRayEncoder().eval()
    x_rays = np.random.default_rng(0).normal(size=(503, 48, 48)).astype(np.float32)
    with torch.no_grad():
        torch.testing.assert_close(read_x_rays(encoder, x_rays), encoder(torch.tensor(x_rays)), rtol=1e-4, atol=1e-5)
