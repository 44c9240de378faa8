"""What lesson 07 says of one attention step, and its multi-head attention against torch's."""

from __future__ import annotations

import pytest
import torch
from lesson_code import lesson_code
from torch import nn

lesson = lesson_code(
    "07", "masked_softmax", "dot_product_attention", "DotProductAttention", "AdditiveAttention", "MultiHopAttention",
    "MultiHeadCrossAttention", "from_torch",
)  # fmt: skip


def ratio_before_and_after(attention) -> list[float]:
    """Weight of region 0 over that of region 1 in the last step, before and after region 2 has changed."""
    query, regions = torch.randn(1, 6, dtype=torch.float64), torch.randn(4, 6, dtype=torch.float64)
    changed = regions.clone()
    changed[2] = 5 * torch.randn(6, dtype=torch.float64)
    last = [attention(query, context)[1].reshape(-1, 4)[-1] for context in (regions, changed)]
    return [(weights[0] / weights[1]).item() for weights in last]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("step", [lesson.DotProductAttention, lesson.AdditiveAttention])
def test_where_one_step_looks_does_not_depend_on_a_third_region(step, seed):
    torch.manual_seed(seed)
    before, after = ratio_before_and_after(step(6).double())
    assert before == pytest.approx(after, rel=1e-9)


def test_where_a_second_step_looks_does():
    torch.manual_seed(0)
    before, after = ratio_before_and_after(lesson.MultiHopAttention(6, hops=2).double())
    assert abs(before / after - 1) > 1e-3


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_multi_head_equals_torch_given_its_weights(heads):
    torch.manual_seed(heads)
    reference = nn.MultiheadAttention(8, heads, batch_first=True)
    nn.init.normal_(reference.in_proj_bias)  # zero at the start, which would hide a bias in the wrong place
    nn.init.normal_(reference.out_proj.bias)
    query, context, mask = torch.randn(2, 3, 8), torch.randn(2, 5, 8), torch.rand(2, 5) < 0.5
    mask[:, 0] = True
    seen, weights = lesson.from_torch(reference)(query, context, mask.unsqueeze(1))
    theirs = reference(query, context, context, key_padding_mask=~mask, average_attn_weights=False)
    torch.testing.assert_close(seen, theirs[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(weights, theirs[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("option", [{"bias": False}, {"kdim": 4}, {"add_bias_kv": True}, {"add_zero_attn": True}])
def test_what_ours_lacks_cannot_be_copied(option):
    with pytest.raises(ValueError, match="can be copied"):
        lesson.from_torch(nn.MultiheadAttention(8, 2, **option))
