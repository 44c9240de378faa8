"""The Transformer reasoners: relative looks, layers held against torch's, and what rollout adds up to."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from course_utils.alignment.attention import MultiHeadCrossAttention, attention_rollout
from course_utils.encoders import Encoded
from course_utils.reasoning.reasoners import RelativeAttention, TransformerLayer, TransformerReasoner

DIM, HEADS, SIDE = 16, 4, 3


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def inputs():
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2, [True] + [False] * 4]).expand(2, 3, 5)
    question = Encoded(torch.randn(2, 3, DIM), torch.randn(2, 3, 5, DIM), mask)
    return question, torch.randn(2, SIDE * SIDE, DIM)


# --- relative attention -------------------------------------------------------------------------------------------


def test_a_first_look_is_plain_multi_head_attention():
    ours, plain = RelativeAttention(DIM, HEADS, SIDE), MultiHeadCrossAttention(DIM, HEADS)
    plain.load_state_dict({k: v for k, v in ours.state_dict().items() if not k.startswith("offsets")})
    query, regions = torch.randn(2, 5, DIM), torch.randn(2, SIDE * SIDE, DIM)
    for one, other in zip(ours(query, regions), plain(query, regions), strict=True):
        torch.testing.assert_close(one, other)


def test_scores_by_offset_equal_a_slow_loop():
    layer = RelativeAttention(DIM, HEADS, SIDE)
    nn.init.normal_(layer.offsets.weight)
    query = torch.randn(2, 5, DIM)
    last = torch.randn(2, HEADS, 5, SIDE * SIDE).softmax(dim=-1)
    kernels, scores = layer.kernels(query), layer.relative(query, last)
    expected = torch.zeros_like(scores)
    for picture, head, question, to in torch.cartesian_prod(*(torch.arange(n) for n in scores.shape)).tolist():
        for start in range(SIDE * SIDE):
            rows, columns = to // SIDE - start // SIDE, to % SIDE - start % SIDE
            kernel = kernels[picture, head, question]
            says = kernel[0, rows + SIDE - 1] + kernel[1, columns + SIDE - 1]
            expected[picture, head, question, to] += last[picture, head, question, start] * says
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)


def test_a_kernel_that_prefers_the_left_moves_the_look_left():
    layer = RelativeAttention(DIM, HEADS, SIDE)
    for weight in layer.parameters():
        nn.init.zeros_(weight)
    with torch.no_grad():
        layer.offsets.bias.view(HEADS, 2, 2 * SIDE - 1)[:, 1, SIDE - 2] = 20.0  # one column to the left
    last = torch.zeros(1, HEADS, 1, SIDE * SIDE)
    last[..., 4] = 1.0  # the middle
    _, weights = layer(torch.zeros(1, 1, DIM), torch.randn(1, SIDE * SIDE, DIM), last)
    torch.testing.assert_close(weights.view(HEADS, SIDE, SIDE)[..., 0], torch.full((HEADS, SIDE), 1 / 3))


def test_heads_that_do_not_divide_are_named():
    with pytest.raises(ValueError, match="3 heads do not divide 16 features"):
        RelativeAttention(DIM, 3, SIDE)


# --- the reasoner -------------------------------------------------------------------------------------------------


def test_each_step_gives_distributions_over_words_and_regions(inputs):
    question, regions = inputs
    done = TransformerReasoner(DIM, HEADS, steps=3, side=SIDE).reason(question, regions)
    assert done.state.shape == (2, 3, DIM)
    assert done.words.shape == (2, 3, 3, 5) and done.regions.shape == (2, 3, HEADS, 3, SIDE * SIDE)
    for weights in (done.words, done.regions):
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:-1]))
    assert (done.words.masked_select(~question.mask.unsqueeze(1)) == 0).all()


def test_padding_is_not_read(inputs):
    question, regions = inputs
    model = TransformerReasoner(DIM, HEADS, side=SIDE).eval()
    noise = torch.where(question.mask[..., None], question.unpooled, torch.randn_like(question.unpooled))
    other = Encoded(question.pooled, noise, question.mask)
    torch.testing.assert_close(model(question, regions), model(other, regions))


def test_the_questions_of_a_picture_do_not_see_each_other(inputs):
    question, regions = inputs
    model = TransformerReasoner(DIM, HEADS, side=SIDE).eval()
    alone = Encoded(question.pooled[:, :1], question.unpooled[:, :1], question.mask[:, :1])
    torch.testing.assert_close(model(question, regions)[:, :1], model(alone, regions))


# --- joint attention ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pre_norm", [True, False])
def test_a_layer_equals_torchs(pre_norm):
    ours = TransformerLayer(DIM, HEADS, pre_norm).eval()
    reference = nn.TransformerEncoderLayer(
        DIM, HEADS, 2 * DIM, dropout=0.0, activation="gelu", batch_first=True, norm_first=pre_norm
    ).eval()
    look = ours.look
    reference.self_attn.in_proj_weight.data = torch.cat([look.query.weight, look.key.weight, look.value.weight])
    reference.self_attn.in_proj_bias.data = torch.cat([look.query.bias, look.key.bias, look.value.bias])
    reference.self_attn.out_proj.load_state_dict(look.out.state_dict())
    reference.linear1.load_state_dict(ours.think[0].state_dict())
    reference.linear2.load_state_dict(ours.think[2].state_dict())
    states, mask = torch.randn(2, 5, DIM), torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    expected = reference(states, src_key_padding_mask=~mask)
    torch.testing.assert_close(ours(states, mask)[0][mask], expected[mask], rtol=1e-4, atol=1e-5)


def test_rollout_of_one_layer_is_half_its_weights_and_half_itself():
    weights = torch.randn(1, 2, 4, 4).softmax(dim=-1)
    torch.testing.assert_close(attention_rollout(weights), 0.5 * torch.eye(4) + 0.5 * weights[0].mean(dim=0))


def test_rollout_follows_a_path_through_two_layers():
    first, second = torch.zeros(2, 3, 3)
    first[[0, 1, 2], [0, 2, 2]] = 1.0  # 1 looks at 2
    second[[0, 1, 2], [1, 1, 2]] = 1.0  # then 0 looks at 1
    rolled = attention_rollout(torch.stack([first, second]).unsqueeze(1), kept=0.0)
    assert rolled[0].tolist() == [0.0, 0.0, 1.0]  # so 0 is made of 2
    torch.testing.assert_close(rolled.sum(dim=-1), torch.ones(3))


def test_rollout_refuses_what_it_cannot_roll():
    with pytest.raises(ValueError, match="kept is 1.5"):
        attention_rollout(torch.ones(1, 1, 2, 2), kept=1.5)
    with pytest.raises(ValueError, match="2 queries read 3"):
        attention_rollout(torch.ones(1, 1, 2, 3))
