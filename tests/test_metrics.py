from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from course_utils import metrics

# --- accuracy by type -------------------------------------------------------------------------------------------


@given(st.integers(1, 400).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_wilson_interval_is_scipys(counts):
    theirs = binomtest(*counts).proportion_ci(confidence_level=0.95, method="wilson")
    assert metrics.wilson_interval(*counts) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@given(st.integers(1, 10**9).flatmap(lambda total: st.tuples(st.floats(0, total), st.just(total))))
def test_wilson_interval_holds_the_share_and_is_one(counts):
    right, total = counts
    low, high = metrics.wilson_interval(right, total)
    assert 0 <= low <= right / total <= high <= 1 and low < high
    mirrored = metrics.wilson_interval(total - right, total)
    assert (1 - high, 1 - low) == pytest.approx(mirrored, abs=1e-9)


def test_wilson_interval_refuses_what_is_no_share():
    for right, total in ((0, 0), (3, 2), (-1, 2), (math.nan, 2), (1, math.nan), (1, math.inf)):
        with pytest.raises(ValueError, match="not a share"):
            metrics.wilson_interval(right, total)


def test_accuracy_by_type_counts_each_type():
    table = metrics.accuracy_by_type([True, False, True, True], ["shape", "shape", "colour", "shape"])
    assert table["type"].tolist() == ["colour", "shape"]
    assert table["questions"].tolist() == [1, 3]
    assert table["accuracy"].tolist() == pytest.approx([1.0, 2 / 3])
    assert ((table["low"] <= table["accuracy"]) & (table["accuracy"] <= table["high"])).all()


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from("abc")), min_size=1, max_size=30), st.randoms())
def test_soft_scores_count_by_their_mean_in_any_order(outcomes, random):
    scores, types = zip(*outcomes, strict=True)
    table = metrics.accuracy_by_type(scores, types)
    shuffled = random.sample(outcomes, len(outcomes))
    pd.testing.assert_frame_equal(metrics.accuracy_by_type(*zip(*shuffled, strict=True)), table)
    assert table["type"].tolist() == sorted(set(types)) and table["questions"].sum() == len(scores)
    for row in table.itertuples():
        assert row.accuracy == pytest.approx(np.mean([score for score, kind in outcomes if kind == row.type]))
        assert 0 <= row.low <= row.accuracy <= row.high <= 1
    whole = (table["accuracy"] * table["questions"]).sum() / len(scores)
    assert whole == pytest.approx(np.mean(scores))


def test_the_interval_of_soft_scores_holds_the_mean_at_least_as_often_as_it_says():
    rng = np.random.default_rng(0)
    mean, n = np.mean([0.0, 0.3, 0.6, 1.0]), 40
    runs = [metrics.wilson_interval(rng.choice([0.0, 0.3, 0.6, 1.0], n).sum(), n) for _ in range(2000)]
    assert np.mean([low <= mean <= high for low, high in runs]) > 0.95


@pytest.mark.parametrize("score", [math.nan, -0.1, 1.1, math.inf, 2])
def test_what_is_no_score_is_refused(score):
    with pytest.raises(ValueError, match=f"a score from 0 to 1, not {float(score)}"):
        metrics.accuracy_by_type([1, score], ["a", "b"])


def test_accuracy_by_type_needs_as_many_types_as_outcomes():
    for correct, types in (([True], []), ([], []), (np.ones((2, 2)), ["a", "b"]), ([1, 0, 1], "aba")):
        with pytest.raises(ValueError, match="needs an outcome and a type"):
            metrics.accuracy_by_type(correct, types)


# --- retrieval --------------------------------------------------------------------------------------------------


def slow_recall(table: np.ndarray, targets: list[int], k: int) -> float:
    """Recall averaged over every order in which candidates of equal similarity can come."""
    total = 0.0
    for row, target in zip(table, targets, strict=True):
        orders = [o for o in itertools.permutations(range(len(row))) if _falls(row, o)]
        total += sum(target in order[:k] for order in orders) / len(orders)
    return total / len(table)


def _falls(row: np.ndarray, order: tuple[int, ...]) -> bool:
    return all(row[one] >= row[other] for one, other in itertools.pairwise(order))


@given(st.integers(0, 10_000), st.integers(1, 4))
def test_recall_with_ties_is_the_mean_over_all_orders(seed, k):
    rng = np.random.default_rng(seed)
    table = rng.integers(0, 3, size=(3, 4)).astype(float)  # few values, so that ties are common
    targets = rng.integers(0, 4, size=3).tolist()
    assert metrics.recall_at_k(table, targets, ks=[k])[k] == pytest.approx(slow_recall(table, targets, k))


def test_constant_similarity_is_chance_and_no_better():
    assert metrics.recall_at_k(torch.zeros(50, 50)) == pytest.approx({1: 0.02, 5: 0.1, 10: 0.2})
    assert metrics.median_rank(np.zeros((50, 50))) == 25.5


@given(st.integers(0, 10_000))
def test_recall_grows_with_k_and_ignores_the_order_of_queries(seed):
    rng = np.random.default_rng(seed)
    table, targets = rng.integers(0, 4, size=(5, 6)) / 3, rng.integers(0, 6, size=5)
    recall = metrics.recall_at_k(table, targets, ks=range(1, 9))
    values = list(recall.values())
    assert all(0 <= one <= other <= 1 for one, other in itertools.pairwise(values)) and recall[6] == recall[8] == 1.0
    order = rng.permutation(5)
    assert metrics.recall_at_k(table[order], targets[order], ks=range(1, 9)) == pytest.approx(recall)
    assert 1 <= metrics.median_rank(table, targets) <= 6
    assert metrics.recall_at_k(2 * table - 7, targets, ks=range(1, 9)) == recall  # the order is what counts


def test_a_tensor_ranks_as_its_array_does():
    close = torch.tensor([[1.0 + 1e-10, 1.0]], dtype=torch.float64)  # equal in float32
    assert [part.tolist() for part in metrics.ranks(close, [1])] == [[1], [0]]
    assert metrics.recall_at_k(torch.eye(3, dtype=torch.bfloat16), ks=[1]) == {1: 1.0}


@pytest.mark.parametrize("k", [0, -1])
def test_no_candidate_is_among_the_first_none(k):
    with pytest.raises(ValueError, match=f"k is {k}"):
        metrics.recall_at_k(np.eye(3), ks=[1, k])


def test_perfect_and_worst_similarity():
    assert metrics.recall_at_k(torch.eye(20))[1] == 1.0
    assert metrics.median_rank(torch.eye(20)) == 1.0
    assert metrics.recall_at_k(-torch.eye(20))[10] == 0.0
    assert metrics.median_rank(-torch.eye(20)) == 20.0


@pytest.mark.parametrize(
    ("similarity", "targets"),
    [
        (np.array([[math.nan, 0.0], [0.0, 1.0]]), None),
        (np.zeros(3), None),
        (np.zeros((3, 2)), None),  # query 2 has no candidate 2
        (np.zeros((2, 2)), [0, -1]),
        (np.zeros((2, 2)), [0]),
        (np.zeros((2, 2)), [0.0, 1.0]),
        (np.zeros((0, 2)), []),
    ],
)
def test_retrieval_refuses_what_it_cannot_rank(similarity, targets):
    with pytest.raises(ValueError, match="Similarities|needs one target"):
        metrics.recall_at_k(similarity, targets)


# --- VQA accuracy -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "normal"),
    [
        ("Yes", "yes"),
        ("  two dogs\n", "2 dogs"),
        ("the cat", "cat"),
        ("a", ""),
        ("none", "0"),
        ("dont know", "don't know"),
        ("shouldntve", "shouldntve"),  # two apostrophes lost: the table does not know it
        ("shouldn'tve", "shouldn't've"),
        ("somebody'd", "somebodyd"),  # the official table has this one the wrong way round
        ("ow's'at", "'ow's'at"),
        ("red, white", "red white"),  # a comma at the edge of a word goes
        ("red,white", "red white"),  # inside a word it becomes a space
        ("1,000 people", "1000 people"),  # and with a number it goes
        ("black-and-white", "black and white"),
        ("5.5", "5.5"),
        ("st. louis", "st louis"),
        ("5.", "5"),
        ("what?!", "what"),
        ("50%", "50%"),  # % and & are not on the official list
    ],
)
def test_normalise_answer(answer, normal):
    assert metrics.normalise_answer(answer).strip() == normal


def leave_one_out(given: str, annotators: list[str]) -> float:
    """The definition, in words of one loop: for each annotator left out, a third for each match among the others."""
    scores = []
    for left_out in range(len(annotators)):
        others = annotators[:left_out] + annotators[left_out + 1 :]
        scores.append(min(1.0, sum(other == given for other in others) / 3))
    return sum(scores) / len(scores)


@given(st.lists(st.sampled_from(["red", "blue", "teal"]), min_size=2, max_size=10))
def test_vqa_accuracy_is_leave_one_out(annotators):
    assert metrics.vqa_accuracy("red", annotators) == pytest.approx(leave_one_out("red", annotators))


@pytest.mark.parametrize(("matches", "accuracy"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)])
def test_vqa_accuracy_of_ten_annotators(matches, accuracy):
    annotators = ["yes"] * matches + ["no"] * (10 - matches)
    assert metrics.vqa_accuracy("Yes.", annotators) == pytest.approx(accuracy)


def test_annotators_are_tidied_only_where_they_differ():
    assert metrics.vqa_accuracy("t-shirt", ["t-shirt"] * 10) == 0.0  # the given answer becomes "t shirt"
    assert metrics.vqa_accuracy("t-shirt", ["t-shirt"] * 9 + ["shirt"]) == 1.0
    assert metrics.vqa_accuracy("2", ["two"] * 9 + ["2"]) == pytest.approx(0.3)  # their numbers are left in words


def test_vqa_accuracy_needs_annotators():
    for annotators in (["yes"], [], "yes"):
        with pytest.raises(ValueError, match="a list of at least two, not"):
            metrics.vqa_accuracy("yes", annotators)


@given(st.text(max_size=12), st.lists(st.text(max_size=12), min_size=2, max_size=10), st.randoms())
def test_vqa_accuracy_is_a_share_in_any_order(answer, annotators, random):
    accuracy = metrics.vqa_accuracy(answer, annotators)
    assert 0 <= accuracy <= 1
    assert metrics.vqa_accuracy(answer, random.sample(annotators, len(annotators))) == pytest.approx(accuracy)
