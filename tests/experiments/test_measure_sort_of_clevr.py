"""The methods that are measured on Sort-of-CLEVR."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from course_utils.datasets import sort_of_clevr as soc
from course_utils.encoders import Encoded
from experiments import measure_sort_of_clevr
from experiments.measure_sort_of_clevr import RegionsMLP


@pytest.mark.parametrize("name", measure_sort_of_clevr.METHODS)
def test_every_method_answers_a_batch_and_learns(name):
    few = soc.split("train", pictures=8)
    model = measure_sort_of_clevr.METHODS[name].build()
    assert model(few.batch(torch.arange(2))).shape == (40, len(soc.ANSWERS))
    model, history = measure_sort_of_clevr.train(measure_sort_of_clevr.METHODS[name], few, seed=0, epochs=15)
    assert np.mean(history.loss[-3:]) < 0.9 * history.loss[0]


def test_an_mlp_over_all_regions_is_one_over_everything_side_by_side():
    torch.manual_seed(0)
    pooled, regions = torch.randn(2, 3, 16), torch.randn(2, 16, 16)
    part = RegionsMLP(16, 16, hidden=8, layers=1)
    together = torch.cat([regions.flatten(1)[:, None].expand(-1, 3, -1), pooled], dim=-1)
    first = torch.cat([part.seen.weight, part.asked.weight], dim=1)
    expected = part.layers[0](F.linear(together, first, part.seen.bias).relu()).relu()
    torch.testing.assert_close(part(Encoded(pooled, pooled, None), regions), expected)
