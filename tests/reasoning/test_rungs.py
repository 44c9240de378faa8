"""The rungs: what each may know of picture and question."""

from __future__ import annotations

import pytest
import torch

from course_utils.encoders import Encoded
from course_utils.reasoning.ladder import RUNGS

DIM = 64


@pytest.fixture
def inputs():
    torch.manual_seed(0)
    unpooled = torch.randn(2, 3, 5, DIM)
    question = Encoded(torch.randn(2, 3, DIM), unpooled, torch.ones(2, 3, 5, dtype=torch.bool))
    return question, torch.randn(2, 64, DIM)


@pytest.mark.parametrize("name", RUNGS)
def test_every_rung_gives_what_it_says(name, inputs):
    assert RUNGS[name].align()(*inputs).shape == (2, 3, RUNGS[name].out)


@pytest.mark.parametrize("name", RUNGS)
def test_who_sees_and_who_reads(name, inputs):
    question, regions = inputs
    align = RUNGS[name].align().eval()
    before = align(question, regions)
    another = Encoded(torch.randn(2, 3, DIM), torch.randn(2, 3, 5, DIM), question.mask)
    assert torch.equal(before, align(question, torch.randn(2, 64, DIM))) == (name == "question only")
    assert torch.equal(before, align(another, regions)) == (name == "picture only")


@pytest.mark.parametrize("name", RUNGS)
def test_no_question_sees_another_questions_picture(name, inputs):
    question, regions = inputs
    align = RUNGS[name].align().eval()
    before = align(question, regions)
    changed = regions.clone()
    changed[1] = torch.randn(64, DIM)
    torch.testing.assert_close(align(question, changed)[0], before[0])


@pytest.mark.parametrize("name", [name for name in RUNGS if name != "question only"])  # which has no weights
def test_every_weight_learns(name, inputs):
    align = RUNGS[name].align()
    align(*inputs).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in align.parameters())
