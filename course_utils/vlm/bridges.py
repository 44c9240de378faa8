"""Bridges: modules that turn frozen picture features into input for a frozen language model.

A bridge maps features, (batch, cells, dim), to the picture tokens that precede the text, (batch, tokens, width).
:class:`GatedCrossAttention` gives no tokens: it works inside the language model's layers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from course_utils.alignment.attention import MultiHeadCrossAttention
from course_utils.alignment.linear import ridge


def pixel_shuffle(grid: torch.Tensor, factor: int = 2) -> torch.Tensor:
    """Merge squares of cells into single cells without losing a feature (Shi and others, 2016, in reverse).

    (batch, height, width, dim) to (batch, height / factor, width / factor, factor · factor · dim), a square row by row.
    ValueError if the cells do not divide into squares.
    """
    batch, height, width, dim = grid.shape
    if height % factor or width % factor:
        raise ValueError(f"{height} × {width} cells do not divide into squares of {factor} × {factor}.")
    squares = grid.reshape(batch, height // factor, factor, width // factor, factor, dim)
    return squares.transpose(2, 3).flatten(3)


class Standardise(nn.Module):
    """Standardise each of ``dim`` features with the mean and deviation measured once on training pictures."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))

    def measure(self, features: torch.Tensor) -> None:
        """Measure features, (..., dim)."""
        flat = features.flatten(0, -2).float()
        self.mean.copy_(flat.mean(dim=0))
        self.scale.copy_(flat.std(dim=0) + 1e-3)  # keeps a constant feature small

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(..., dim) to the same shape in float32."""
        return (features.float() - self.mean) / self.scale


class OutputScale(nn.Module):
    """Give outputs the mean and the scale of the language model's states: mean + loudness · output.

    Adam's steps have the same size whatever the scale of the weights. With the scale kept out of the weights, one
    learning rate fits every layer; the states of SmolLM2's layer 20 are forty times as large as its word embeddings.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("loudness", torch.ones(()))

    def measure(self, states: torch.Tensor) -> None:
        """Measure the mean of word states, (n, width), and their deviation from it."""
        self.mean.copy_(states.float().mean(dim=0))
        self.loudness.copy_((states.float() - self.mean).std())

    def forward(self, outputs: torch.Tensor) -> torch.Tensor:
        """(..., width) to the same shape."""
        return self.mean + self.loudness * outputs

    def inverse(self, states: torch.Tensor) -> torch.Tensor:
        """Inverse of ``forward``."""
        return (states.float() - self.mean) / self.loudness


class Bridge(nn.Module):
    """Base class: input normalisation and output scale. These arguments mean the same in every bridge.

    Args:
        dim: Features per cell.
        width: Width of the language model's states.
        cells: Cells per picture, for bridges with a learned position embedding for each cell.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.standardise = Standardise(dim)
        self.voice = OutputScale(width)  # named so in the shipped checkpoints

    def measure(self, features: torch.Tensor, states: torch.Tensor) -> None:
        """Measure features, (..., dim), and word states, (n, width), before training."""
        self.standardise.measure(features)
        self.voice.measure(states)

    def inside(self, layers: Sequence[nn.Module], features: torch.Tensor) -> contextlib.AbstractContextManager:
        """Context in which a bridge may act between the language model's layers; most do nothing there."""
        return contextlib.nullcontext()


class LinearProjector(Bridge):
    """One linear map from a cell's features to a picture token, as in LLaVA (Liu and others, 2023)."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__(dim, width)
        self.project = nn.Linear(dim, width)
        nn.init.normal_(self.project.weight, std=dim**-0.5)
        nn.init.zeros_(self.project.bias)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, cells, dim) to (batch, cells, width)."""
        return self.voice(self.project(self.standardise(features)))

    def solve(self, features: torch.Tensor, targets: torch.Tensor, penalty: float) -> None:
        """Set the weights by ridge regression from cells, (n, dim), to target states, (n, width)."""
        found = ridge(self.standardise(features), self.voice.inverse(targets), penalty)
        with torch.no_grad():
            self.project.weight.copy_(found.matrix.T)
            self.project.bias.copy_(found.offset - found.mean @ found.matrix)


class PlacedProjector(LinearProjector):
    """A linear projector that adds a learned position embedding, initially 0, to each picture token.

    Convolutional features hardly say where a cell is. Embeddings tell rows and columns apart, which makes "left of"
    easier to learn than from the order of the tokens.
    """

    def __init__(self, dim: int, width: int, *, cells: int = 16) -> None:
        super().__init__(dim, width)
        self.places = nn.Parameter(torch.zeros(cells, width))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, cells, dim) to (batch, cells, width)."""
        return self.voice(self.project(self.standardise(features)) + self.places)


class MLPProjector(Bridge):
    """Two layers instead of one, as in LLaVA-1.5 (Liu and others, 2024)."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__(dim, width)
        self.hidden = nn.Linear(dim, width)
        self.project = nn.Linear(width, width)
        nn.init.normal_(self.hidden.weight, std=dim**-0.5)
        nn.init.normal_(self.project.weight, std=(width / 2) ** -0.5)
        nn.init.zeros_(self.project.bias)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, cells, dim) to (batch, cells, width)."""
        return self.voice(self.project(F.gelu(self.hidden(self.standardise(features)))))


class Resampler(Bridge):
    """Learned queries attend to the cells, which gives a fixed number of picture tokens.

    A small version of the Perceiver (Jaegle and others, 2021), Flamingo's resampler (Alayrac and others, 2022) and
    BLIP-2's Q-Former (Li and others, 2023). ``inner`` is the width of queries and cells, a multiple of ``heads``.
    """

    def __init__(
        self, dim: int, width: int, *, cells: int = 16, queries: int = 8, inner: int = 256, layers: int = 2,
        heads: int = 4,
    ) -> None:  # fmt: skip
        super().__init__(dim, width)
        self.read = nn.Linear(dim, inner)
        self.places = nn.Parameter(0.5 * torch.randn(cells, inner))
        self.queries = nn.Parameter(torch.randn(queries, inner))
        self.layers = nn.ModuleList(ResamplerLayer(inner, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(inner)
        self.project = nn.Linear(inner, width)
        nn.init.normal_(self.read.weight, std=dim**-0.5)
        nn.init.normal_(self.project.weight, std=inner**-0.5)
        nn.init.zeros_(self.project.bias)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, cells, dim) to (batch, queries, width)."""
        cells = self.read(self.standardise(features)) + self.places  # (batch, cells, inner)
        queries = self.queries.expand(len(features), -1, -1)  # (batch, queries, inner)
        for layer in self.layers:
            queries = layer(queries, cells)
        return self.voice(self.project(self.norm(queries)))


class ResamplerLayer(nn.Module):
    """Cross-attention from queries to cells and a feed-forward network, both with residual connections."""

    def __init__(self, inner: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(inner)
        self.look = MultiHeadCrossAttention(inner, heads)
        self.think = nn.Sequential(
            nn.LayerNorm(inner), nn.Linear(inner, 2 * inner), nn.GELU(), nn.Linear(2 * inner, inner)
        )

    def forward(self, queries: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
        """Queries, (batch, queries, inner), and cells, (batch, cells, inner), to new queries."""
        attended, _ = self.look(self.norm(queries), cells)
        queries = queries + attended
        return queries + self.think(queries)


class GatedAttention(nn.Module):
    """Cross-attention from text to cells behind an initially closed gate (Flamingo; Alayrac and others, 2022)."""

    def __init__(self, dim: int, width: int, inner: int = 192, heads: int = 4) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.ask = nn.Linear(width, inner)
        self.read = nn.Linear(dim, inner)
        self.look = MultiHeadCrossAttention(inner, heads)
        self.write = nn.Linear(inner, width)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, states: torch.Tensor, cells: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """States, (batch, positions, width), and cells, (batch, cells, dim), to new states of the same type."""
        attended, _ = self.look(self.ask(self.norm(states.float())), self.read(cells))
        return states + (scale * self.gate.tanh() * self.write(attended)).to(states.dtype)


class GatedCrossAttention(Bridge):
    """No picture tokens, but :class:`GatedAttention` before the language model's layers with indices ``before``."""

    def __init__(self, dim: int, width: int, *, before: Sequence[int] = (20, 22, 24, 26, 28), cells: int = 16) -> None:
        super().__init__(dim, width)
        self.width, self.before = width, tuple(before)
        self.places = nn.Parameter(0.1 * torch.randn(cells, dim))
        self.looks = nn.ModuleList(GatedAttention(dim, width) for _ in self.before)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """No picture tokens: (batch, cells, dim) to (batch, 0, width)."""
        return torch.zeros(len(features), 0, self.width, device=features.device)

    @contextlib.contextmanager
    def inside(self, layers: Sequence[nn.Module], features: torch.Tensor) -> Iterator[None]:
        """Attend to these pictures, (batch, cells, dim), before the chosen layers, through forward hooks."""
        cells = self.standardise(features) + self.places

        def hook(attention: GatedAttention):
            return lambda _layer, args: (attention(args[0], cells, self.voice.loudness), *args[1:])

        handles = [
            layers[number].register_forward_pre_hook(hook(attention))
            for number, attention in zip(self.before, self.looks, strict=True)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


class Blind(Bridge):
    """Control without vision: the same learned tokens for all pictures (prompt tuning; Lester and others, 2021)."""

    def __init__(self, dim: int, width: int, *, tokens: int = 16) -> None:
        super().__init__(dim, width)
        self.tokens = nn.Parameter(torch.randn(tokens, width))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, cells, dim) to (batch, tokens, width)."""
        return self.voice(self.tokens).expand(len(features), -1, -1)
