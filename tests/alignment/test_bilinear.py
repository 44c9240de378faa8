from __future__ import annotations

import pytest
import torch
from torch import nn

from course_utils.alignment.bilinear import MFB, MLB, MUTAN, FullBilinear, power_normalise

LEFT, RIGHT, OUT = 5, 4, 3
LAYERS = {
    "full": lambda: FullBilinear(LEFT, RIGHT, OUT),
    "MLB": lambda: MLB(LEFT, RIGHT, OUT, rank=2, activation="identity"),
    "MUTAN": lambda: MUTAN(LEFT, RIGHT, OUT, rank=2, core=3, activation="identity"),
    "MFB": lambda: MFB(LEFT, RIGHT, OUT, factor=2, normalise=False),
}


@pytest.fixture(params=LAYERS)
def layer(request) -> nn.Module:
    torch.manual_seed(0)
    return LAYERS[request.param]().double()


def vectors(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def bias_of(layer: nn.Module) -> torch.Tensor:
    return layer.bias if isinstance(layer, FullBilinear) else layer.out.bias if isinstance(layer, MLB) else 0


def test_every_layer_is_the_tensor_that_it_factorises(layer):
    left, right, tensor = vectors(6, LEFT), vectors(6, RIGHT), layer.tensor()
    assert tensor.shape == (LEFT, RIGHT, OUT)
    for row in range(6):
        for o in range(OUT):
            pairs = [left[row, i] * tensor[i, j, o] * right[row, j] for i in range(LEFT) for j in range(RIGHT)]
            bias = bias_of(layer)
            expected = sum(pairs) + (bias[o] if torch.is_tensor(bias) else bias)
            torch.testing.assert_close(layer(left, right)[row, o], expected)


def test_every_layer_equals_torch_bilinear_with_its_tensor(layer):
    reference = nn.Bilinear(LEFT, RIGHT, OUT, bias=False).double()
    reference.weight.data = layer.tensor().detach().permute(2, 0, 1).contiguous()
    left, right = vectors(6, LEFT), vectors(6, RIGHT)
    torch.testing.assert_close(layer(left, right), reference(left, right) + bias_of(layer))


def test_one_picture_serves_many_questions(layer):
    pictures, questions = vectors(2, 1, RIGHT), vectors(2, 7, LEFT)
    together = layer(questions, pictures)
    assert together.shape == (2, 7, OUT)
    torch.testing.assert_close(together[1, 3], layer(questions[1, 3], pictures[1, 0]))


def test_swapped_sides_are_an_error(layer):
    with pytest.raises(RuntimeError):
        layer(vectors(6, RIGHT), vectors(6, LEFT))


def unfoldings(tensor: torch.Tensor) -> list[int]:
    """The ranks of the tensor unfolded along each of its sides."""
    return [int(torch.linalg.matrix_rank(tensor.movedim(side, 0).flatten(1), atol=1e-9)) for side in range(3)]


def test_ranks_are_those_that_the_papers_promise():
    torch.manual_seed(1)
    mlb = MLB(9, 8, 7, rank=3).double().tensor()
    assert unfoldings(mlb) == [3, 3, 3]
    mutan = MUTAN(9, 8, 7, rank=2, core=4).double()
    assert unfoldings(mutan.tensor()) == [4, 4, 7]
    slices = {
        "mlb": mlb, "mutan": mutan.core_tensor(), "mfb": MFB(9, 8, 7, factor=3).double().tensor()
    }  # fmt: skip
    ranks = {name: set(torch.linalg.matrix_rank(t.permute(2, 0, 1), atol=1e-9).tolist()) for name, t in slices.items()}
    assert ranks == {"mlb": {3}, "mutan": {2}, "mfb": {3}}


def test_parameter_counts():
    counts = {
        FullBilinear(9, 8, 7): 9 * 8 * 7 + 7,
        MLB(9, 8, 7, rank=3): 3 * (9 + 8 + 7) + 7,
        MUTAN(9, 8, 7, rank=2, core=4): 4 * (9 + 8) + 2 * 2 * 4 * 7,
        MFB(9, 8, 7, factor=3): 3 * 7 * (9 + 8),
    }
    for layer, expected in counts.items():
        assert sum(weight.numel() for weight in layer.parameters()) == expected


def test_mfb_is_mlb_whose_last_matrix_sums_neighbours():
    mfb = MFB(LEFT, RIGHT, OUT, factor=2, normalise=False)
    mlb = MLB(LEFT, RIGHT, OUT, rank=OUT * 2, activation="identity")
    mlb.left.weight, mlb.right.weight = mfb.left.weight, mfb.right.weight
    mlb.out.weight.data = torch.eye(OUT).repeat_interleave(2, dim=1)
    mlb.out.bias.data.zero_()
    left, right = torch.randn(6, LEFT), torch.randn(6, RIGHT)
    torch.testing.assert_close(mfb(left, right), mlb(left, right))


def mfb_as_mutan(mfb: MFB, transpose: bool) -> MUTAN:
    """MUTAN with the identity for its projections and the weights of an MFB layer, with or without new rows."""
    out, factor = mfb.shape
    mutan = MUTAN(LEFT, LEFT, out, rank=factor, core=LEFT, activation="identity")
    for name in ("left", "right"):
        rows = getattr(mfb, name).weight.data
        if transpose:
            rows = rows.unflatten(0, mfb.shape).transpose(0, 1).flatten(0, 1)  # (out, factor) to (factor, out)
        getattr(mutan, name).weight.data = torch.eye(LEFT)
        getattr(mutan, f"{name}_slices").weight.data = rows
    return mutan


def test_the_layouts_of_mfb_and_mutan_differ_and_mixing_them_is_silent():
    torch.manual_seed(2)
    mfb = MFB(LEFT, LEFT, OUT, factor=2, normalise=False)
    left, right = torch.randn(6, LEFT), torch.randn(6, LEFT)
    torch.testing.assert_close(mfb_as_mutan(mfb, transpose=True)(left, right), mfb(left, right))
    mixed = mfb_as_mutan(mfb, transpose=False)(left, right)  # the shapes agree
    assert mixed.shape == mfb(left, right).shape
    assert (mixed - mfb(left, right)).abs().max() > 0.1


def test_the_layouts_by_hand():
    ones = torch.ones(1)
    mfb = MFB(1, 1, out=3, factor=2, normalise=False)
    mfb.left.weight.data, mfb.right.weight.data = torch.arange(1.0, 7)[:, None], torch.ones(6, 1)
    assert mfb(ones, ones).tolist() == [1 + 2, 3 + 4, 5 + 6]
    mutan = MUTAN(1, 1, out=3, rank=2, core=1, activation="identity")
    mutan.left.weight.data = mutan.right.weight.data = torch.ones(1, 1)
    mutan.left_slices.weight.data, mutan.right_slices.weight.data = torch.arange(1.0, 7)[:, None], torch.ones(6, 1)
    assert mutan(ones, ones).tolist() == [1 + 4, 2 + 5, 3 + 6]


def test_activations_stand_where_the_papers_put_them():
    mlb = MLB(LEFT, RIGHT, OUT, rank=2).double()
    left, right = vectors(6, LEFT), vectors(6, RIGHT)
    expected = torch.tanh(left @ mlb.left.weight.T) * torch.tanh(right @ mlb.right.weight.T)
    torch.testing.assert_close(mlb(left, right), expected @ mlb.out.weight.T + mlb.out.bias)
    mutan = MUTAN(LEFT, RIGHT, OUT, rank=2, core=3).double()
    one, other = torch.tanh(left @ mutan.left.weight.T), torch.tanh(right @ mutan.right.weight.T)
    slow = sum(
        (one @ mutan.left_slices.weight[k * OUT : (k + 1) * OUT].T)
        * (other @ mutan.right_slices.weight[k * OUT : (k + 1) * OUT].T)
        for k in range(2)
    )
    torch.testing.assert_close(mutan(left, right), slow)


def test_power_normalise_by_hand_and_with_a_finite_gradient_at_zero():
    found = power_normalise(torch.tensor([[9.0, -16.0, 0.0]]))
    torch.testing.assert_close(found, torch.tensor([[3 / 5, -4 / 5, 0.0]]))
    zero = torch.zeros(2, 3, requires_grad=True)
    power_normalise(zero).sum().backward()
    assert zero.grad.isfinite().all()


def test_mfb_ends_with_the_normalisation():
    mfb, left, right = MFB(LEFT, RIGHT, OUT, factor=2), torch.randn(6, LEFT), torch.randn(6, RIGHT)
    torch.testing.assert_close(mfb(left, right).norm(dim=-1), torch.ones(6))
    normalised, mfb.normalise = mfb(left, right), False
    torch.testing.assert_close(normalised, power_normalise(mfb(left, right)))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="rank is 0; it must be at least 1"):
        MLB(LEFT, RIGHT, OUT, rank=0)
    with pytest.raises(ValueError, match="factor is -1"):
        MFB(LEFT, RIGHT, OUT, factor=-1)
    with pytest.raises(ValueError, match="no activation 'swish'. There are identity, tanh"):
        MUTAN(LEFT, RIGHT, OUT, rank=1, activation="swish")
