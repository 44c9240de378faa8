"""Lesson 00's model: shapes, and that it is the lesson's own."""

from __future__ import annotations

import pytest
import torch
from notebook_rules import Lesson, definitions

from course_utils import results
from experiments import benchmark
from tools.authoring import ROOT


@pytest.fixture
def batch():
    """Three questions of different lengths about two pictures."""
    torch.manual_seed(0)
    words = torch.tensor([[2, 3, 4, 5], [6, 2, 0, 0], [7, 0, 0, 0]])
    picture_of = torch.tensor([1, 0, 1])
    return {"pictures": torch.randn(2, 3, 64, 64), "picture_of": picture_of, "words": words, "word_mask": words > 0}


def test_each_question_looks_at_its_own_picture(batch):
    model = benchmark.AttentionVQA(words=10, answers=5, dim=16).eval()
    logits, weights = model.look(batch)
    assert logits.shape == (3, 5) and weights.shape == (3, 64)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(3))
    changed = {**batch, "pictures": batch["pictures"].clone()}
    changed["pictures"][0] += 1.0
    same, other = model(batch), model(changed)
    torch.testing.assert_close(same[[0, 2]], other[[0, 2]])  # their picture is the second
    assert not torch.allclose(same[1], other[1])


def test_every_weight_learns(batch):
    model = benchmark.AttentionVQA(words=8, answers=5, dim=16)
    model(batch).logsumexp(dim=-1).sum().backward()
    still = {name for name, weight in model.named_parameters() if weight.grad.abs().max() < 1e-7}
    assert still <= {"key.bias"}  # it adds the same to all scores of a question, and softmax takes that out again


def test_the_lesson_defines_the_same_model():
    kept = definitions((ROOT / "experiments/benchmark.py").read_text(encoding="utf-8"))
    lesson = Lesson(ROOT / "notebooks/00_start_here.ipynb")
    found = {}
    for name in ("class AttentionVQA", "def without_normalisation"):
        (cell,) = (cell for _, cell in lesson.code if name in cell.source)
        found |= definitions(cell.source)
    assert len(found) == 2 and all(kept[name] == tree for name, tree in found.items())


def test_the_stored_results_are_of_every_method_and_seed():
    table = results.read("easy_vqa")
    assert len(table) == 7 and table.loc[0, "method"] == "blind: most frequent answer"
    assert (table[table["method"] == "CNN + LSTM + attention"]["overall"] > 0.99).all()
