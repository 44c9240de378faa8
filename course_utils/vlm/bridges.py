"""Bridges: what carries frozen picture features over to a frozen language model.

Every bridge is called with features, (batch, cells, dim), and gives the picture tokens that stand before the text,
(batch, tokens, width). :class:`GatedCrossAttention` gives none: it works inside the language model's layers.
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
    """Fewer cells with more features each; nothing is lost (Shi and others, 2016; here the other way round).

    Args:
        grid: Cells in rows, (batch, height, width, dim).
        factor: So many by so many cells become one.

    Returns:
        (batch, height / factor, width / factor, factor · factor · dim): the features of the cells of a square one
        after the other, row by row.

    Raises:
        ValueError: If the height or the width is no multiple of the factor.
    """
    batch, height, width, dim = grid.shape
    if height % factor or width % factor:
        raise ValueError(f"{height} × {width} cells do not divide into squares of {factor} × {factor}.")
    squares = grid.reshape(batch, height // factor, factor, width // factor, factor, dim)
    return squares.transpose(2, 3).flatten(3)


class Standardise(nn.Module):
    """Move and scale each feature to mean 0 and deviation 1, as measured once on training pictures.

    Args:
        dim: Features of a cell.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))

    def measure(self, features: torch.Tensor) -> None:
        """Take mean and deviation from features, (..., dim)."""
        flat = features.flatten(0, -2).float()
        self.mean.copy_(flat.mean(dim=0))
        self.scale.copy_(flat.std(dim=0) + 1e-3)  # a feature that never changes stays small

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(..., dim) to the same, in float32."""
        return (features.float() - self.mean) / self.scale


class Voice(nn.Module):
    """Let picture tokens begin where words are, and as loud: mean + loudness · what the bridge says.

    Adam takes steps of one size, whatever the size of the numbers. With the loudness outside of the weights, one
    learning rate fits a bridge wherever it leads: the states of SmolLM2 are forty times as loud at its layer 20 as
    its word embeddings.

    Args:
        width: Of the language model.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("loudness", torch.ones(()))

    def measure(self, words: torch.Tensor) -> None:
        """Take both from the states of words, (n, width); the loudness is their deviation from their mean."""
        self.mean.copy_(words.float().mean(dim=0))
        self.loudness.copy_((words.float() - self.mean).std())

    def forward(self, said: torch.Tensor) -> torch.Tensor:
        """(..., width) to the same."""
        return self.mean + self.loudness * said

    def undone(self, words: torch.Tensor) -> torch.Tensor:
        """What must be said, (..., width), for these words to be heard."""
        return (words.float() - self.mean) / self.loudness


class Bridge(nn.Module):
    """What all bridges share: how they hear, how they speak, and that most do nothing inside the language model.

    Args:
        dim: Features of a cell.
        width: Of the language model.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.standardise = Standardise(dim)
        self.voice = Voice(width)

    def measure(self, features: torch.Tensor, words: torch.Tensor) -> None:
        """Before training: how features, (..., dim), vary, and where the states of words, (n, width), are."""
        self.standardise.measure(features)
        self.voice.measure(words)

    def inside(self, layers: Sequence[nn.Module], features: torch.Tensor) -> contextlib.AbstractContextManager:
        """While this lasts, what the bridge does between the language model's layers about these pictures."""
        return contextlib.nullcontext()


class LinearProjector(Bridge):
    """One linear map from a cell's features to a picture token, as in LLaVA (Liu and others, 2023).

    Args:
        dim: Features of a cell.
        width: Of the language model.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__(dim, width)
        self.project = nn.Linear(dim, width)
        nn.init.normal_(self.project.weight, std=dim**-0.5)
        nn.init.zeros_(self.project.bias)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, cells, dim) to (batch, cells, width)."""
        return self.voice(self.project(self.standardise(features)))

    def solve(self, features: torch.Tensor, words: torch.Tensor, penalty: float) -> None:
        """Begin at the least-squares map from cells, (n, dim), to the words that name them, (n, width).

        Raises:
            ValueError: If these are not pairs of rows, or the penalty is not above 0.
        """
        found = ridge(self.standardise(features), self.voice.undone(words), penalty)
        with torch.no_grad():
            self.project.weight.copy_(found.matrix.T)
            self.project.bias.copy_(found.offset - found.mean @ found.matrix)


class PlacedProjector(LinearProjector):
    """A linear projector whose picture tokens also say where they are: a learned vector for each cell is added.

    Features of a convolutional network tell what a cell shows, and hardly which cell it is. The order of the tokens
    tells it to whoever counts in rows of four; "left of" is easier to learn where a token says its column.

    Args:
        dim: Features of a cell.
        width: Of the language model.
        cells: How many cells a picture has. Their vectors begin at 0.
    """

    def __init__(self, dim: int, width: int, *, cells: int = 16) -> None:
        super().__init__(dim, width)
        self.places = nn.Parameter(torch.zeros(cells, width))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, cells, dim) to (batch, cells, width)."""
        return self.voice(self.project(self.standardise(features)) + self.places)


class MLPProjector(Bridge):
    """Two layers in place of one, as in LLaVA-1.5 (Liu and others, 2024).

    Args:
        dim: Features of a cell.
        width: Of the language model.
    """

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
    """Learned queries that look at the cells: any number of cells becomes a fixed number of picture tokens.

    The idea of Perceiver (Jaegle and others, 2021), Flamingo's resampler (Alayrac and others, 2022) and Q-Former (Li
    and others, BLIP-2, 2023), at its smallest.

    Args:
        dim: Features of a cell.
        width: Of the language model.
        cells: How many cells a picture has; each has a place that is learnt.
        queries: How many picture tokens come out.
        inner: Width inside; a multiple of ``heads``.
        layers: How often the queries look.
        heads: Of each look.
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
    """The queries look at the cells, then think: both added to what they were.

    Args:
        inner: Width of queries and cells.
        heads: Of the look.
    """

    def __init__(self, inner: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(inner)
        self.look = MultiHeadCrossAttention(inner, heads)
        self.think = nn.Sequential(
            nn.LayerNorm(inner), nn.Linear(inner, 2 * inner), nn.GELU(), nn.Linear(2 * inner, inner)
        )

    def forward(self, queries: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
        """Queries (batch, queries, inner) and cells (batch, cells, inner) to new queries of the same shape."""
        seen, _ = self.look(self.norm(queries), cells)
        queries = queries + seen
        return queries + self.think(queries)


class GatedLook(nn.Module):
    """Text states look at a picture's cells, through a gate that begins shut (Flamingo; Alayrac and others, 2022).

    Args:
        dim: Features of a cell.
        width: Of the language model's states.
        inner: Width of the look; a multiple of ``heads``.
        heads: Of the look.
    """

    def __init__(self, dim: int, width: int, inner: int = 192, heads: int = 4) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.ask = nn.Linear(width, inner)
        self.read = nn.Linear(dim, inner)
        self.look = MultiHeadCrossAttention(inner, heads)
        self.write = nn.Linear(inner, width)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, states: torch.Tensor, cells: torch.Tensor, loudness: torch.Tensor) -> torch.Tensor:
        """States (batch, positions, width) and cells (batch, cells, dim) to states of the same shape and type."""
        seen, _ = self.look(self.ask(self.norm(states.float())), self.read(cells))
        return states + (loudness * self.gate.tanh() * self.write(seen)).to(states.dtype)


class GatedCrossAttention(Bridge):
    """A :class:`GatedLook` before some of the language model's layers, and no picture tokens at all.

    Args:
        dim: Features of a cell.
        width: Of the language model's states.
        before: The numbers of the layers that a look stands before.
        cells: How many cells a picture has; each has a place that is learnt.
    """

    def __init__(self, dim: int, width: int, *, before: Sequence[int] = (20, 22, 24, 26, 28), cells: int = 16) -> None:
        super().__init__(dim, width)
        self.width, self.before = width, tuple(before)
        self.places = nn.Parameter(0.1 * torch.randn(cells, dim))
        self.looks = nn.ModuleList(GatedLook(dim, width) for _ in self.before)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """No picture tokens: (batch, cells, dim) to (batch, 0, width)."""
        return torch.zeros(len(features), 0, self.width, device=features.device)

    @contextlib.contextmanager
    def inside(self, layers: Sequence[nn.Module], features: torch.Tensor) -> Iterator[None]:
        """Let the looks see these pictures, (batch, cells, dim), before their layers of the language model."""
        cells = self.standardise(features) + self.places

        def looking(look: GatedLook):
            return lambda _layer, args: (look(args[0], cells, self.voice.loudness), *args[1:])

        hooks = [
            layers[number].register_forward_pre_hook(looking(look))
            for number, look in zip(self.before, self.looks, strict=True)
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


class Blind(Bridge):
    """The control: picture tokens that are the same for every picture (prompt tuning; Lester and others, 2021).

    Args:
        dim: Features of a cell, which are not looked at.
        width: Of the language model.
        tokens: How many.
    """

    def __init__(self, dim: int, width: int, *, tokens: int = 16) -> None:
        super().__init__(dim, width)
        self.tokens = nn.Parameter(torch.randn(tokens, width))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, cells, dim) to (batch, tokens, width)."""
        return self.voice(self.tokens).expand(len(features), -1, -1)
