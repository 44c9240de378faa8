"""The floor of InfoNCE that lesson 06 computes, and its losses in strips against the whole ones."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lesson_code import lesson_code
from torch.nn import functional as F

from course_utils.alignment.contrastive import info_nce, sigmoid_loss

lesson = lesson_code(
    "06", "simplex", "floor_of", "check_pairs", "in_strips", "chunked_info_nce", "chunked_sigmoid_loss"
)


@pytest.mark.parametrize("scale", [0.5, 2, 20])
@pytest.mark.parametrize("batch", [2, 3, 4, 17])
def test_a_simplex_attains_the_floor_of_info_nce(batch, scale):
    vectors = lesson.simplex(batch).double()
    assert info_nce(vectors, vectors, scale).item() == pytest.approx(lesson.floor_of(scale, batch), abs=1e-5)


@given(batch=st.integers(2, 6), dim=st.integers(1, 6), scale=st.floats(0.1, 30), step=st.floats(1e-3, 3),
       seed=st.integers(0, 99))  # fmt: skip
def test_nothing_gets_below_the_floor_neither_near_a_simplex_nor_far_from_it(batch, dim, scale, step, seed):
    torch.manual_seed(seed)
    corners = torch.nn.functional.pad(lesson.simplex(batch).double(), (0, dim))
    sides = [F.normalize(corners + step * torch.randn_like(corners), dim=1) for _ in range(2)]
    assert info_nce(*sides, scale).item() >= lesson.floor_of(scale, batch) - 1e-6


def pairs(batch: int = 7, dim: int = 5, seed: int = 0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    sides = (torch.randn(batch, dim, generator=generator, dtype=dtype) for _ in range(2))
    return [F.normalize(side, dim=-1).requires_grad_() for side in sides]


@pytest.mark.parametrize("rows", [1, 3, 7, 100])
@pytest.mark.parametrize("whole, chunked, extra", [(info_nce, lesson.chunked_info_nce, ()),
                                                   (sigmoid_loss, lesson.chunked_sigmoid_loss, (-2.0,))])  # fmt: skip
def test_chunked_losses_and_gradients_are_the_same(whole, chunked, extra, rows):
    image, text = pairs(7)
    numbers = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (9.0, *extra)]
    inputs = (image, text, *numbers)
    ours, theirs = chunked(*inputs, rows=rows), whole(*inputs)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    for one, other in zip(torch.autograd.grad(ours, inputs), torch.autograd.grad(theirs, inputs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("whole, chunked, extra", [(info_nce, lesson.chunked_info_nce, ()),
                                                   (sigmoid_loss, lesson.chunked_sigmoid_loss, (-2.0,))])  # fmt: skip
def test_chunked_losses_keep_little_for_backward(whole, chunked, extra):
    def kept(loss, **options) -> int:
        image, text = pairs(512, 8, dtype=torch.float32)
        sizes = {}

        def note(tensor):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            value = loss(image, text, torch.tensor(10.0, requires_grad=True), *extra, **options)
        assert value.requires_grad
        return sum(sizes.values())

    assert kept(whole) > 512 * 512 * 4
    assert kept(chunked, rows=64) < kept(whole) / 10


@pytest.mark.parametrize("rows", [0, -1])
def test_strips_without_rows_are_refused(rows):
    with pytest.raises(RuntimeError, match="split_size"):
        lesson.chunked_info_nce(*pairs(7), 9.0, rows=rows)


@pytest.mark.parametrize("shapes", [((3, 4), (2, 4)), ((3, 4), (3, 5)), ((4,), (4,)), ((0, 4), (0, 4))])
def test_what_is_not_a_batch_of_pairs_is_refused(shapes):
    with pytest.raises(ValueError, match="row i of one belongs to row i of the other"):
        lesson.chunked_info_nce(*(torch.ones(shape) for shape in shapes), 1.0)
