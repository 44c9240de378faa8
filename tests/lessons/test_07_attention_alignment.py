"""Multi-head attention against torch's, through the copy of its weights in lesson 07."""

from __future__ import annotations

import pytest
import torch
from lesson_code import lesson_code
from torch import nn

lesson = lesson_code("07", "masked_softmax", "dot_product_attention", "MultiHeadCrossAttention", "from_torch")


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
