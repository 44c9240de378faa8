from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from course_utils.alignment.attention import attend


@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 9), st.integers(1, 8))
def test_attend_equals_torch(seed, batch, regions, dim):
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(batch, dim, generator=generator)
    key, value = (torch.randn(batch, regions, dim, generator=generator) for _ in range(2))
    seen, weights = attend(query, key, value)
    expected = F.scaled_dot_product_attention(query[:, None], key, value)[:, 0]
    torch.testing.assert_close(seen, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(batch))


def test_attend_by_hand():
    query = torch.tensor([[2.0, 0.0, 0.0, 0.0]])  # dim 4, so scores are halved
    key = torch.tensor([[[1.0, 0, 0, 0], [0.0, 0, 0, 0]]])
    _, weights = attend(query, key, key)
    e = torch.e
    torch.testing.assert_close(weights, torch.tensor([[e / (e + 1), 1 / (e + 1)]]))
