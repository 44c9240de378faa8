"""Contrastive losses against slow loops, their gradients, their chunked forms, and the towers trained with them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from course_utils.alignment.contrastive import (
    Head,
    Towers,
    distinct_info_nce,
    info_nce,
    sigmoid_loss,
    sigmoid_objective,
    softmax_objective,
    standardise,
    train_towers,
)
from course_utils.metrics import recall_at_k
from course_utils.training import NonFiniteLoss


def pairs(batch: int = 7, dim: int = 5, seed: int = 0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    sides = (torch.randn(batch, dim, generator=generator, dtype=dtype) for _ in range(2))
    return [F.normalize(side, dim=-1).requires_grad_() for side in sides]


# --- against slow loops -------------------------------------------------------------------------------------------


@given(st.integers(0, 1000), st.integers(1, 6), st.floats(0.1, 30))
def test_info_nce_equals_a_loop(seed, batch, scale):
    image, text = (side.detach() for side in pairs(batch, seed=seed))
    total = 0.0
    for one, other in ((image, text), (text, image)):
        for i in range(batch):
            weights = [math.exp(scale * float(one[i] @ other[j])) for j in range(batch)]
            total -= math.log(weights[i] / sum(weights))
    assert float(info_nce(image, text, scale)) == pytest.approx(total / (2 * batch), rel=1e-9, abs=1e-9)


@given(st.integers(0, 1000), st.integers(1, 6), st.floats(0.1, 30), st.floats(-10, 10))
def test_sigmoid_loss_equals_a_loop(seed, batch, scale, bias):
    image, text = (side.detach() for side in pairs(batch, seed=seed))
    total = 0.0
    for i in range(batch):
        for j in range(batch):
            score = scale * float(image[i] @ text[j]) + bias
            total += math.log1p(math.exp(-score if i == j else score))
    assert float(sigmoid_loss(image, text, scale, bias)) == pytest.approx(total / batch, rel=1e-9, abs=1e-9)


def test_the_two_by_two_case_by_hand():
    image = torch.eye(2)
    assert info_nce(image, image, 1.0).item() == pytest.approx(math.log(1 + math.exp(-1)), rel=1e-6)
    assert info_nce(image, image.flip(0), 1.0).item() == pytest.approx(math.log(1 + math.e), rel=1e-6)
    expected = math.log1p(math.exp(-1)) + math.log(2)  # each picture: its own text scores 1, the other 0
    assert sigmoid_loss(image, image, 1.0, 0.0).item() == pytest.approx(expected, rel=1e-6)


def test_equal_similarities_cost_log_batch():
    same = F.normalize(torch.ones(8, 3), dim=-1)
    assert info_nce(same, same, 50.0).item() == pytest.approx(math.log(8), rel=1e-5)


def test_twins_are_no_negatives():
    image, text = (side.detach() for side in pairs(4))
    identity = torch.tensor([3, 5, 3, 8])  # rows 0 and 2 are the same thing
    total = 0.0
    for one, other in ((image, text), (text, image)):
        for i in range(4):
            others = [j for j in range(4) if j == i or identity[j] != identity[i]]
            weights = {j: math.exp(5 * float(one[i] @ other[j])) for j in others}
            total -= math.log(weights[i] / sum(weights.values()))
    assert float(distinct_info_nce(image, text, 5.0, identity)) == pytest.approx(total / 8, rel=1e-9)
    without_twins = distinct_info_nce(image, text, 5.0, torch.arange(4))
    assert without_twins.item() == pytest.approx(info_nce(image, text, 5.0).item())


def test_gradients_are_those_of_finite_differences():
    image, text = pairs(4)
    scale, bias = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (3.0, -1.0))
    assert torch.autograd.gradcheck(info_nce, (image, text, scale))
    assert torch.autograd.gradcheck(sigmoid_loss, (image, text, scale, bias))


@pytest.mark.parametrize("scale", [1e3, 1e6])
def test_a_large_scale_gives_neither_infinity_nor_nan(scale):
    image, text = pairs(16, dtype=torch.float32)
    for loss in (info_nce(image, text, scale), sigmoid_loss(image, text, scale, -10.0)):
        gradients = torch.autograd.grad(loss, (image, text))
        assert torch.isfinite(loss) and all(torch.isfinite(gradient).all() for gradient in gradients)
        assert all(gradient.abs().max() > 0 for gradient in gradients)


@given(st.integers(0, 1000), st.integers(2, 6), st.floats(0.1, 1e4), st.booleans())
def test_twins_left_out_are_as_if_they_were_not_there(seed, batch, scale, extreme):
    image, text = (side.detach() for side in pairs(batch, seed=seed))
    if extreme:
        text[0] = -image[0]  # the worst pair there is
    identity = torch.randint(3, (batch,), generator=torch.Generator().manual_seed(seed))
    total = 0.0
    for one, other in ((image, text), (text, image)):
        for i in range(batch):
            rivals = [j for j in range(batch) if j == i or identity[j] != identity[i]]
            scores = torch.stack([scale * one[i] @ other[j] for j in rivals])
            total += float(scores.logsumexp(dim=0) - scores[rivals.index(i)])
    assert float(distinct_info_nce(image, text, scale, identity)) == pytest.approx(
        total / (2 * batch), rel=1e-9, abs=1e-9
    )


@given(st.integers(0, 1000), st.integers(1, 8), st.floats(0.1, 100))
def test_losses_do_not_depend_on_the_order_of_the_pairs_nor_on_the_sides(seed, batch, scale):
    image, text = (side.detach() for side in pairs(batch, seed=seed))
    order = torch.randperm(batch, generator=torch.Generator().manual_seed(seed))
    for loss in (info_nce, lambda *given: sigmoid_loss(*given, -3.0)):
        value = float(loss(image, text, scale))
        assert value >= 0
        assert float(loss(image[order], text[order], scale)) == pytest.approx(value, rel=1e-9, abs=1e-12)
        assert float(loss(text, image, scale)) == pytest.approx(value, rel=1e-9, abs=1e-12)


def test_gradients_without_twins_are_those_of_finite_differences():
    identity = torch.tensor([0, 1, 0, 2])
    assert torch.autograd.gradcheck(lambda *sides: distinct_info_nce(*sides, 7.0, identity), pairs(4))
    sides = pairs(4)
    alone = distinct_info_nce(*sides, 7.0, torch.zeros(4))  # all of one kind: no negative is left
    assert alone == 0 and all((grad == 0).all() for grad in torch.autograd.grad(alone, sides))


def test_bfloat16_vectors_lose_about_one_part_in_a_hundred():
    image, text = (side.detach() for side in pairs(64, 32, dtype=torch.float32))
    for loss in (info_nce, lambda *given: sigmoid_loss(*given, -10.0)):
        exact, rounded = loss(image, text, 20.0), loss(image.bfloat16(), text.bfloat16(), 20.0)
        assert rounded.dtype == torch.bfloat16 and float(rounded) == pytest.approx(float(exact), rel=0.02)


@pytest.mark.parametrize("identity", [torch.tensor([3]), torch.zeros(4, 1), torch.zeros(5), torch.tensor(3)])
def test_every_pair_needs_an_identity(identity):
    with pytest.raises(ValueError, match="Each of the 4 pairs needs an identity"):
        distinct_info_nce(*pairs(4), 1.0, identity)


@pytest.mark.parametrize("shapes", [((3, 4), (2, 4)), ((3, 4), (3, 5)), ((4,), (4,)), ((0, 4), (0, 4))])
def test_what_is_not_a_batch_of_pairs_is_refused(shapes):
    with pytest.raises(ValueError, match="row i of one belongs to row i of the other"):
        info_nce(*(torch.ones(shape) for shape in shapes), 1.0)


# --- towers -------------------------------------------------------------------------------------------------------


def test_a_head_gives_vectors_of_length_one():
    head = Head(6, dim=4).eval()
    torch.testing.assert_close(head(torch.randn(3, 6)).norm(dim=-1), torch.ones(3))


def test_the_scale_begins_where_it_is_told_and_stays_below_100():
    towers = Towers(3, 3, scale=10.0)
    assert towers.scale.item() == pytest.approx(10.0, rel=1e-6)
    towers.log_scale.data += 50
    assert towers.scale.item() == 100.0


@pytest.mark.parametrize("objective", [softmax_objective, sigmoid_objective])
def test_towers_find_a_common_cause(objective):
    torch.manual_seed(0)
    cause = torch.randn(400, 6)
    image, text = cause @ torch.randn(6, 20), cause @ torch.randn(6, 12)
    towers = Towers(20, 12)
    losses = train_towers(towers, image[:300], text[:300], objective, epochs=30, batch_size=50)
    assert len(losses) == 30 * 6 and not towers.training and losses[-1] < losses[0] / 2
    with torch.no_grad():
        similarity = towers.text(text[300:]) @ towers.image(image[300:]).T
    assert recall_at_k(similarity)[1] > 0.4  # by chance 0.01


def test_the_same_seed_gives_the_same_losses():
    features = torch.randn(40, 6)
    runs = []
    for _ in range(2):
        torch.manual_seed(1)
        runs.append(train_towers(Towers(6, 6), features, features, epochs=2, batch_size=20))
    assert runs[0] == runs[1]


def test_too_few_pairs_are_refused():
    for batch in (256, 11, 1, 0, -1):
        with pytest.raises(ValueError, match=f"10 pictures and 10 texts do not fill a batch of {batch} pairs"):
            train_towers(Towers(4, 4), torch.ones(10, 4), torch.ones(10, 4), batch_size=batch)


def test_towers_do_not_train_on_features_that_are_nan():
    features = torch.randn(8, 4)
    features[5, 2] = math.nan
    towers = Towers(4, 4)
    with pytest.raises(NonFiniteLoss, match="loss became nan at step 1"):
        train_towers(towers, features, torch.randn(8, 4), batch_size=8)
    assert all(torch.isfinite(weight).all() for weight in towers.parameters())


def test_features_are_standardised_by_the_training_rows_alone():
    features = torch.tensor([[1.0, 5.0], [3.0, 9.0], [100.0, 100.0]])
    one = standardise(features, 2)
    torch.testing.assert_close(one[:2].mean(dim=0), torch.zeros(2))
    torch.testing.assert_close(one[:2].std(dim=0), torch.ones(2))
    torch.testing.assert_close(standardise(features * 7, 2), one, rtol=1e-4, atol=1e-4)
    constant = torch.full((3, 2), 4.0)
    assert torch.equal(standardise(constant, 3), torch.zeros(3, 2))
    for rows in (-1, 0, 1, 4):
        with pytest.raises(ValueError, match=f"training_rows is {rows}; it must be from 2 to 3"):
            standardise(features, rows)
