"""Bilinear pooling: each feature of one vector multiplies each feature of another.

A full bilinear layer has one weight for each pair of features and each output: a tensor of left · right · out weights.
MLB, MUTAN and MFB factorise that tensor into small matrices; their ``tensor()`` multiplies it out, for comparison.

The papers' dropout, on the projections (MLB, MUTAN) or on the products (MFB), is left out: the ladder has training data
in plenty.
"""

from __future__ import annotations

import torch
from torch import nn

ACTIVATIONS = {"identity": nn.Identity, "tanh": nn.Tanh, "relu": nn.ReLU, "sigmoid": nn.Sigmoid}


def at_least_one(**sizes: int) -> None:
    """Raise a ValueError that names the first size below one."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} is {size}; it must be at least 1.")


def make_activation(name: str) -> nn.Module:
    """The activation module of that name; an unknown name is a ValueError."""
    if name not in ACTIVATIONS:
        raise ValueError(f"There is no activation {name!r}. There are {', '.join(ACTIVATIONS)}.")
    return ACTIVATIONS[name]()


def power_normalise(vectors: torch.Tensor, epsilon: float = 1e-8) -> torch.Tensor:
    """Signed square root, then unit length (Fukui and others, MCB, 2016; Yu and others, MFB, 2017).

    The root shrinks the few huge entries that products of features have.

    Args:
        vectors: (..., features).
        epsilon: Added under the root, which keeps the gradient finite at zero; smaller entries become about 1e-4.
    """
    rooted = vectors.sign() * (vectors.abs() + epsilon).sqrt()
    return nn.functional.normalize(rooted, dim=-1)


class FullBilinear(nn.Module):
    """z[o] = sum over i, j of left[i] · T[i, j, o] · right[j], plus a bias.

    Args:
        left: Features of the left vector.
        right: Features of the right vector.
        out: Features of the output.

    Raises:
        ValueError: If a size is below one, as in all layers of this module.
    """

    def __init__(self, left: int, right: int, out: int) -> None:
        super().__init__()
        at_least_one(left=left, right=right, out=out)
        self.weight = nn.Parameter(torch.randn(left, right, out) / (left * right) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(out))

    def tensor(self) -> torch.Tensor:
        """The tensor T, (left, right, out)."""
        return self.weight

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """left (..., left) and right (..., right), which broadcast, to (..., out)."""
        # The right side first: a picture with many questions is then multiplied by the tensor only once.
        half = torch.einsum("...j,ijo->...io", right, self.weight)  # (..., left, out)
        return (left.unsqueeze(-2) @ half).squeeze(-2) + self.bias


class MLB(nn.Module):
    """Multimodal low-rank bilinear pooling (Kim and others, 2017): z = P (σ(U left) ∘ σ(V right)) + b.

    Args:
        left: Features of the left vector.
        right: Features of the right vector.
        out: Features of the output.
        rank: Rank of each output's slice of the tensor.
        activation: σ: "tanh" as in the paper, or "identity", which makes the layer exactly bilinear.
    """

    def __init__(self, left: int, right: int, out: int, rank: int, activation: str = "tanh") -> None:
        super().__init__()
        at_least_one(left=left, right=right, out=out, rank=rank)
        self.left = nn.Linear(left, rank, bias=False)
        self.right = nn.Linear(right, rank, bias=False)
        self.out = nn.Linear(rank, out)
        self.activation = make_activation(activation)

    def tensor(self) -> torch.Tensor:
        """The factorised tensor, (left, right, out), for the identity as activation."""
        return torch.einsum("ri,rj,or->ijo", self.left.weight, self.right.weight, self.out.weight)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """left (..., left) and right (..., right), which broadcast, to (..., out)."""
        return self.out(self.activation(self.left(left)) * self.activation(self.right(right)))


class MUTAN(nn.Module):
    """Multimodal Tucker fusion (Ben-younes and others, 2017): a small core tensor between projections of both sides.

    With l = σ(A left) and r = σ(B right), z = Σ_k (M_k l) ∘ (N_k r), a sum over ``rank``: each slice of the core tensor
    has at most that rank. The paper's third factor matrix, from z to the answers, is the layer after this one.

    Args:
        left: Features of the left vector.
        right: Features of the right vector.
        out: Features of the output.
        rank: Rank of each slice of the core tensor.
        core: Features of both projections.
        activation: σ: "tanh" as in the paper, or "identity", which makes the layer exactly bilinear.
    """

    def __init__(self, left: int, right: int, out: int, rank: int, core: int = 64, activation: str = "tanh") -> None:
        super().__init__()
        at_least_one(left=left, right=right, out=out, rank=rank, core=core)
        self.left, self.right = nn.Linear(left, core, bias=False), nn.Linear(right, core, bias=False)
        self.left_slices = nn.Linear(core, rank * out, bias=False)  # (rank, out): the rank comes first
        self.right_slices = nn.Linear(core, rank * out, bias=False)
        self.activation, self.shape = make_activation(activation), (rank, out)

    def core_tensor(self) -> torch.Tensor:
        """The core tensor, (core, core, out)."""
        left, right = (slices.weight.unflatten(0, self.shape) for slices in (self.left_slices, self.right_slices))
        return torch.einsum("koi,koj->ijo", left, right)

    def tensor(self) -> torch.Tensor:
        """The factorised tensor, (left, right, out), for the identity as activation."""
        return torch.einsum("abo,ai,bj->ijo", self.core_tensor(), self.left.weight, self.right.weight)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """left (..., left) and right (..., right), which broadcast, to (..., out)."""
        one = self.left_slices(self.activation(self.left(left))).unflatten(-1, self.shape)  # (..., rank, out)
        other = self.right_slices(self.activation(self.right(right))).unflatten(-1, self.shape)
        return (one * other).sum(dim=-2)


class MFB(nn.Module):
    """Multimodal factorised bilinear pooling (Yu and others, 2017): z = SumPool(U left ∘ V right, factor).

    Mind the layout: the products of one output are adjacent, (out, factor); those of :class:`MUTAN` are ``out`` apart,
    (rank, out). Weights in the wrong layout raise no error.

    Args:
        left: Features of the left vector.
        right: Features of the right vector.
        out: Features of the output.
        factor: Products summed for each output.
        normalise: Whether to apply :func:`power_normalise`, as in the paper; without it the layer is exactly bilinear.
    """

    def __init__(self, left: int, right: int, out: int, factor: int, normalise: bool = True) -> None:
        super().__init__()
        at_least_one(left=left, right=right, out=out, factor=factor)
        self.left = nn.Linear(left, out * factor, bias=False)  # (out, factor): the factor comes last
        self.right = nn.Linear(right, out * factor, bias=False)
        self.shape, self.normalise = (out, factor), normalise

    def tensor(self) -> torch.Tensor:
        """The factorised tensor, (left, right, out), without the normalisation."""
        left, right = (side.weight.unflatten(0, self.shape) for side in (self.left, self.right))
        return torch.einsum("oki,okj->ijo", left, right)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """left (..., left) and right (..., right), which broadcast, to (..., out)."""
        pooled = (self.left(left) * self.right(right)).unflatten(-1, self.shape).sum(dim=-1)
        return power_normalise(pooled) if self.normalise else pooled
