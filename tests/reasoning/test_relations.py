"""Relational reasoners: what they compute, held against slow loops, and what must not matter."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from course_utils.encoders import Encoded
from course_utils.reasoning.reasoners import GridVQA
from course_utils.reasoning.relations import AnchoredRelationNetwork, FiLM, RelationNetwork, SparseRelationNetwork
from experiments.measure_sort_of_clevr import RegionsMLP

DIM = 16


@pytest.fixture
def inputs():
    """Three questions about each of two pictures of sixteen regions."""
    torch.manual_seed(0)
    pooled = torch.randn(2, 3, DIM)
    mask = torch.ones(2, 3, 5, dtype=torch.bool)
    return Encoded(pooled, torch.randn(2, 3, 5, DIM), mask), torch.randn(2, 16, DIM)


PARTS = {
    "relation network": lambda: RelationNetwork(DIM, hidden=8),
    "sparse relation network": lambda: SparseRelationNetwork(DIM, count=5, hidden=8),
    "anchored": lambda: AnchoredRelationNetwork(DIM, hidden=8),
    "FiLM": lambda: FiLM(DIM, width=8, blocks=2, side=4),
    "MLP": lambda: RegionsMLP(16, DIM, hidden=8),
}
OUT = {"FiLM": DIM, "anchored": 16}


@pytest.mark.parametrize("name", PARTS)
def test_every_part_gives_one_vector_a_question(name, inputs):
    assert PARTS[name]()(*inputs).shape == (2, 3, OUT.get(name, 8))


@pytest.mark.parametrize("name", PARTS)
def test_each_question_is_answered_for_its_own_picture_alone(name, inputs):
    question, regions = inputs
    part = PARTS[name]().eval()
    before = part(question, regions)
    changed = regions.clone()
    changed[1] = torch.randn(16, DIM)
    after = part(question, changed)
    torch.testing.assert_close(after[0], before[0])
    assert not torch.allclose(after[1], before[1])
    other = question._replace(pooled=question.pooled.clone())
    other.pooled[0, 1] = torch.randn(DIM)
    after = part(other, regions)
    torch.testing.assert_close(after[:, [0, 2]], before[:, [0, 2]])
    assert not torch.allclose(after[0, 1], before[0, 1])


@pytest.mark.parametrize("name", PARTS)
def test_every_weight_learns(name, inputs):
    part = PARTS[name]()
    if name == "anchored":
        assert part.join.weight.abs().max() == 0  # where it begins; the weights before it learn from the second step on
        nn.init.normal_(part.join.weight)
    (part(*inputs) * torch.randn(OUT.get(name, 8))).square().sum().backward()
    assert [n for n, weight in part.named_parameters() if weight.grad is None or weight.grad.abs().max() == 0] == []


def test_a_relation_network_is_the_mean_of_g_over_all_pairs(inputs):
    """g written as one MLP over a pair and the question side by side, pair by pair."""
    question, regions = inputs
    network = RelationNetwork(DIM, hidden=8, layers=2)
    first = torch.cat([network.one.weight, network.other.weight, network.asked.weight], dim=1)  # (8, 3 · dim)
    expected = torch.zeros(2, 3, 8)
    for picture in range(2):
        for asked in range(3):
            for one in regions[picture]:
                for other in regions[picture]:
                    together = torch.cat([one, other, question.pooled[picture, asked]])
                    state = F.relu(F.linear(together, first, network.one.bias))
                    for layer in network.g:
                        state = F.relu(layer(state))
                    expected[picture, asked] += state / 16**2
    torch.testing.assert_close(network(question, regions), network.norm(expected), rtol=1e-4, atol=1e-5)


def test_an_anchored_network_pairs_every_region_with_where_the_question_looks(inputs):
    question, regions = inputs
    network = AnchoredRelationNetwork(DIM, hidden=8, layers=1)
    nn.init.normal_(network.join.weight)
    anchor, weights = network.look(question, regions)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 3))
    first = torch.cat([network.anchor.weight, network.asked.weight, network.other.weight], dim=1)
    for picture in range(2):
        for asked in range(3):
            q = question.pooled[picture, asked]
            scores = torch.stack([network.query(q) @ network.key(one) / DIM**0.5 for one in regions[picture]])
            a = sum(weight * one for weight, one in zip(scores.softmax(dim=0), regions[picture], strict=True))
            torch.testing.assert_close(anchor[picture, asked], a)
            pairs = [F.relu(F.linear(torch.cat([a, q, one]), first, network.anchor.bias)) for one in regions[picture]]
            seen = torch.stack([F.relu(network.g[0](pair)) for pair in pairs])
            both = torch.cat([seen.mean(dim=0), seen.max(dim=0).values])
            state = network.norm(network.itself(a) + network.join(both))
            expected = torch.cat([state, state * network.gate(q)])
            torch.testing.assert_close(network(question, regions)[picture, asked], expected, rtol=1e-4, atol=1e-5)


def test_the_order_of_the_regions_does_not_matter_to_a_relation_network_but_to_an_mlp(inputs):
    question, regions = inputs
    mixed = regions[:, torch.randperm(16)]
    for name in ("relation network", "sparse relation network", "anchored"):
        part = PARTS[name]()
        torch.testing.assert_close(part(question, mixed), part(question, regions), rtol=1e-4, atol=1e-5)
    part = PARTS["MLP"]()
    assert not torch.allclose(part(question, mixed), part(question, regions), atol=1e-3)


def test_a_sparse_relation_network_keeps_the_regions_that_are_not_empty(inputs):
    question, _ = inputs
    empty, kept = torch.randn(DIM), torch.tensor([[1, 7, 12], [0, 3, 15]])
    regions = empty + 0.01 * torch.randn(2, 16, DIM)
    for picture, numbers in enumerate(kept):
        regions[picture, numbers] = torch.randn(3, DIM)
    part = SparseRelationNetwork(DIM, count=3)
    for picture, numbers in enumerate(kept):
        selected = part.select(regions)[picture]
        assert {tuple(one) for one in selected.tolist()} == {tuple(one) for one in regions[picture, numbers].tolist()}
    few = regions.gather(1, kept[..., None].expand(-1, -1, DIM))
    torch.testing.assert_close(part(question, regions), RelationNetwork.forward(part, question, few))


def test_more_regions_than_there_are_cannot_be_kept():
    with pytest.raises(ValueError, match="12 regions cannot be kept of 9"):
        SparseRelationNetwork(DIM, count=12).select(torch.randn(1, 9, DIM))


def test_film_shares_what_the_question_does_not_touch_yet(inputs):
    """Held against the same network written for one question and its picture at a time."""
    question, regions = inputs
    part = FiLM(DIM, width=8, blocks=2, side=4).eval()
    film = part.film(question.pooled)  # (2, 3, 2 blocks · 2 · 8)
    for picture in range(2):
        for asked in range(3):
            maps = part.project_in(regions[picture]).relu().T.reshape(1, 8, 4, 4)
            for block in range(2):
                scale, shift = film[picture, asked].view(2, 2, 8)[block]
                seen = part.norms[block](part.convolutions[block](maps))
                maps = maps + F.relu((1 + scale).view(1, 8, 1, 1) * seen + shift.view(1, 8, 1, 1))
            expected = part.project_out(maps.flatten(2).max(dim=2).values)[0]
            torch.testing.assert_close(part(question, regions)[picture, asked], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["sparse relation network", "FiLM"])
def test_they_are_rungs_of_the_ladder_too(name):
    align = {"FiLM": FiLM(DIM, width=8), "sparse relation network": SparseRelationNetwork(DIM, 6, DIM)}
    model = GridVQA(words=10, answers=4, align=align[name], out=DIM, dim=DIM, region_dim=12)
    words = torch.randint(1, 10, (2, 3, 5))
    batch = {"regions": torch.randn(2, 64, 12), "words": words, "word_mask": words > 0}
    assert model(batch).shape == (6, 4)
