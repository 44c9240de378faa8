from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from course_utils.alignment import attention
from course_utils.alignment.attention import (
    AdditiveAttention,
    CoAttention,
    DotProductAttention,
    MultiHeadCrossAttention,
    MultiHopAttention,
    attend,
    dot_product_attention,
    masked_softmax,
)

MODULES = {
    "dot": lambda: DotProductAttention(8),
    "additive": lambda: AdditiveAttention(8),
    "hops": lambda: MultiHopAttention(8, 2),
    "heads": lambda: MultiHeadCrossAttention(8, 4),
}


def some_mask(*shape: int) -> torch.Tensor:
    """A random mask that leaves every query its first key."""
    mask = torch.rand(shape) < 0.5
    mask[..., 0] = True
    return mask


# --- one look ---------------------------------------------------------------------------------------------------


@settings(deadline=None)
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


@settings(deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_dot_product_equals_torch_with_and_without_a_mask(seed, masked):
    torch.manual_seed(seed)
    query, key, value = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 7, 8), torch.randn(2, 3, 7, 4)
    mask = some_mask(2, 1, 5, 7) if masked else None
    seen, weights = dot_product_attention(query, key, value, mask)
    expected = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    torch.testing.assert_close(seen, expected, rtol=1e-4, atol=1e-5)
    if masked:
        assert (weights[~mask.expand_as(weights)] == 0).all()


def test_additive_equals_a_slow_loop():
    torch.manual_seed(0)
    module, query, context = AdditiveAttention(4), torch.randn(3, 4), torch.randn(5, 4)
    seen, weights = module(query, context)
    for i in range(3):
        hidden = [torch.tanh(module.query(query[i]) + module.key(context[j])) for j in range(5)]
        expected = torch.stack([module.score.weight[0] @ one for one in hidden]).softmax(dim=0)
        torch.testing.assert_close(weights[i], expected)
        torch.testing.assert_close(seen[i], sum(w * module.value(c) for w, c in zip(expected, context, strict=True)))


# --- masks, for all of them -------------------------------------------------------------------------------------


def test_a_mask_that_removes_everything_is_an_error():
    mask = torch.tensor([[True, False], [False, False]])
    with pytest.raises(ValueError, match="leaves a query nothing to read"):
        masked_softmax(torch.zeros(2, 2), mask)
    with pytest.raises(ValueError, match="nothing to read"):
        masked_softmax(torch.zeros(2, 0), None)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 6), st.integers(-3, 30))
def test_weights_are_a_distribution_over_what_may_be_read(seed, queries, keys, power):
    torch.manual_seed(seed)
    mask = some_mask(queries, keys)
    scores = (10.0**power * torch.randn(queries, keys)).requires_grad_()
    weights = masked_softmax(scores, mask)
    assert (weights[~mask] == 0).all() and (weights >= 0).all()
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(queries))
    (gradient,) = torch.autograd.grad((weights * torch.randn(queries, keys)).sum(), scores)
    assert gradient.isfinite().all() and (gradient[~mask] == 0).all()
    order = torch.randperm(keys)
    torch.testing.assert_close(masked_softmax(scores[:, order], mask[:, order]), weights[:, order])
    rounded = masked_softmax(scores.bfloat16(), mask)
    torch.testing.assert_close(
        rounded, masked_softmax(scores.bfloat16().float(), mask).bfloat16(), atol=0.01, rtol=0.01
    )


def test_a_mask_must_be_boolean():
    with pytest.raises(ValueError, match=r"torch.float32; it must be bool"):
        masked_softmax(torch.zeros(1, 2), torch.ones(1, 2))


@pytest.mark.parametrize("name", MODULES)
def test_masked_keys_are_as_if_they_were_not_there(name):
    torch.manual_seed(0)
    module, query, context = MODULES[name](), torch.randn(2, 3, 8), torch.randn(2, 6, 8)
    mask = torch.tensor([True] * 4 + [False] * 2)
    for shaped in (mask, mask.expand(3, 6), mask.expand(2, 1, 6)):
        seen, weights = module(query, context, shaped)
        short_seen, short_weights = module(query, context[:, :4])
        torch.testing.assert_close(seen, short_seen)
        torch.testing.assert_close(weights[..., :4], short_weights)
        assert (weights[..., 4:] == 0).all()
    with pytest.raises(ValueError, match="nothing to read"):
        module(query, context, torch.zeros(6, dtype=torch.bool))


@pytest.mark.parametrize("name", MODULES)
def test_the_order_of_the_keys_does_not_matter(name):
    torch.manual_seed(0)
    module, query, context, order = MODULES[name](), torch.randn(3, 8), torch.randn(6, 8), torch.randperm(6)
    seen, weights = module(query, context)
    shuffled_seen, shuffled_weights = module(query, context[order])
    torch.testing.assert_close(seen, shuffled_seen)
    torch.testing.assert_close(weights[..., order], shuffled_weights)


@pytest.mark.parametrize("name", MODULES)
def test_every_weight_is_trained(name):
    torch.manual_seed(0)
    module = MODULES[name]()
    module(torch.randn(3, 8), torch.randn(6, 8))[0].square().sum().backward()
    unmoved = {name for name, weight in module.named_parameters() if weight.grad is None}
    assert unmoved == set()


# --- several looks ----------------------------------------------------------------------------------------------


def test_hops_equal_single_looks_in_a_row():
    torch.manual_seed(0)
    module, query, context = MultiHopAttention(8, 3), torch.randn(2, 8), torch.randn(5, 8)
    refined, looks = module(query, context)
    assert looks.shape == (3, 2, 5)
    for hop, norm, weights in zip(module.hops, module.norms, looks, strict=True):
        seen, expected = hop(query, context)
        torch.testing.assert_close(weights, expected)
        query = norm(query + seen)
    torch.testing.assert_close(refined, query)


def test_heads_must_divide_the_features():
    for heads in (3, 0, -2):
        with pytest.raises(ValueError, match=f"{heads} heads do not divide 8 features"):
            MultiHeadCrossAttention(8, heads)


# --- co-attention -----------------------------------------------------------------------------------------------


def test_co_attention_equals_slow_loops():
    torch.manual_seed(0)
    module, words, regions = CoAttention(4), torch.randn(3, 4), torch.randn(5, 4)
    got = module(words, regions)
    fit = torch.stack([torch.stack([torch.tanh(module.affinity(w) @ r) for r in regions]) for w in words])
    torch.testing.assert_close(got.affinity, fit)
    about = [module.region(r) + sum(fit[w, i] * module.word(words[w]) for w in range(3)) for i, r in enumerate(regions)]
    region_weights = torch.stack([module.region_score(a.tanh())[0] for a in about]).softmax(dim=0)
    torch.testing.assert_close(got.region_weights, region_weights)
    about = [module.word(w) + sum(fit[i, r] * module.region(regions[r]) for r in range(5)) for i, w in enumerate(words)]
    word_weights = torch.stack([module.word_score(a.tanh())[0] for a in about]).softmax(dim=0)
    torch.testing.assert_close(got.word_weights, word_weights)
    torch.testing.assert_close(got.picture, region_weights @ regions)
    torch.testing.assert_close(got.question, word_weights @ words)


def test_co_attention_does_not_read_padding():
    torch.manual_seed(0)
    module, words, regions = CoAttention(4), torch.randn(2, 3, 6, 4), torch.randn(2, 1, 5, 4)
    mask = torch.ones(2, 3, 6, dtype=torch.bool)
    mask[..., 4:] = False
    whole, short = module(words, regions, mask), module(words[..., :4, :], regions)
    torch.testing.assert_close(whole.picture, short.picture)
    torch.testing.assert_close(whole.question, short.question)
    assert whole.region_weights.shape == (2, 3, 5)
    with pytest.raises(ValueError, match="nothing to read"):
        module(words, regions, torch.zeros_like(mask))


def test_everything_public_is_documented():
    public = [getattr(attention, name) for name in dir(attention) if not name.startswith("_")]
    own = [thing for thing in public if getattr(thing, "__module__", "") == attention.__name__]
    assert len(own) >= 10 and all(thing.__doc__ for thing in own)
