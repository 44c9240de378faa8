"""Contrastive alignment: train two towers so that the vectors of a pair are closer than those of all other pairs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from course_utils.training import one_cycle

Objective = Callable[["Towers", torch.Tensor, torch.Tensor], torch.Tensor]
EMOJI_SIZE = 128  # pixels per side at which EfficientNet encodes an emoji


# --- the losses -------------------------------------------------------------------------------------------------


def check_pairs(image: torch.Tensor, text: torch.Tensor) -> None:
    """Raise a ValueError unless the two sides are matrices of one shape, with at least one row."""
    if image.dim() != 2 or image.shape != text.shape or len(image) == 0:
        raise ValueError(
            f"Pairs are two matrices (batch, dim) of one shape, not {tuple(image.shape)} and {tuple(text.shape)}: row "
            "i of one belongs to row i of the other."
        )


def info_nce(image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor | float) -> torch.Tensor:
    """InfoNCE (van den Oord and others, 2018) in both directions, as in CLIP (Radford and others, 2021).

    Args:
        image: Unit-length vectors, (batch, dim).
        text: Unit-length vectors, (batch, dim); row i belongs to row i of ``image``, all other rows are negatives.
        scale: Inverse temperature.

    Returns:
        The mean of the two cross-entropies, a scalar; log(batch) where all similarities are equal.

    Raises:
        ValueError: If the two sides are not matrices of one shape.
    """
    check_pairs(image, text)
    logits = scale * image @ text.T  # (batch, batch): pictures in rows, texts in columns
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def distinct_info_nce(
    image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor | float, identity: torch.Tensor
) -> torch.Tensor:
    """:func:`info_nce` without false negatives: other rows of the same identity, (batch,) integers, are left out.

    Raises:
        ValueError: If a pair has no identity.
    """
    check_pairs(image, text)
    if identity.shape != image.shape[:1]:
        raise ValueError(f"Each of the {len(image)} pairs needs an identity, not {tuple(identity.shape)} of them.")
    twins = identity[:, None] == identity[None, :]  # (batch, batch)
    twins.fill_diagonal_(False)
    logits = (scale * image @ text.T).masked_fill(twins, -torch.inf)
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def sigmoid_loss(
    image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor | float, bias: torch.Tensor | float
) -> torch.Tensor:
    """The sigmoid loss (SigLIP; Zhai and others, 2023): binary classification of each of the batch² pairs.

    Args:
        image: Unit-length vectors, (batch, dim).
        text: Unit-length vectors, (batch, dim).
        scale: Inverse temperature.
        bias: Added to all logits. It should start negative, since most pairs do not belong together.

    Returns:
        The sum over all pairs, divided by the batch size: a scalar.

    Raises:
        ValueError: If the two sides are not matrices of one shape.
    """
    check_pairs(image, text)
    logits = scale * image @ text.T + bias  # (batch, batch)
    signs = 2 * torch.eye(len(logits), device=logits.device, dtype=logits.dtype) - 1  # 1 for a pair, -1 for any other
    return -F.logsigmoid(signs * logits).sum() / len(logits)


# --- two towers ---------------------------------------------------------------------------------------------------


class Head(nn.Module):
    """From the vector of a frozen encoder into the shared space: a linear layer, a residual branch, unit length.

    Args:
        inputs: Features of the encoder.
        dim: Features of the shared space.
        dropout: Dropout rate before each linear layer.
    """

    def __init__(self, inputs: int, dim: int = 256, dropout: float = 0.5) -> None:
        super().__init__()
        self.linear = nn.Sequential(nn.Dropout(dropout), nn.Linear(inputs, dim))
        self.residual = nn.Sequential(nn.GELU(), nn.Dropout(dropout), nn.Linear(dim, dim))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features (batch, inputs) to unit-length vectors (batch, dim)."""
        hidden = self.linear(features)
        return F.normalize(hidden + self.residual(hidden), dim=-1)


class Towers(nn.Module):
    """A head for each of two modalities, with the scale and the bias of their similarities.

    Args:
        image_inputs: Features of the image encoder.
        text_inputs: Features of the text encoder.
        scale: Initial inverse temperature. Its logarithm is trained.
    """

    def __init__(self, image_inputs: int, text_inputs: int, scale: float = 20.0) -> None:
        super().__init__()
        self.image, self.text = Head(image_inputs), Head(text_inputs)
        self.log_scale = nn.Parameter(torch.tensor(scale).log())
        self.bias = nn.Parameter(torch.tensor(-10.0))  # used by the sigmoid loss only

    @property
    def scale(self) -> torch.Tensor:
        """Inverse temperature, at most 100."""
        return self.log_scale.exp().clamp(max=100.0)


def standardise(features: torch.Tensor, training_rows: int) -> torch.Tensor:
    """Give each feature mean 0 and standard deviation 1 over the first ``training_rows`` rows: (rows, dim)."""
    if not 2 <= training_rows <= len(features):
        raise ValueError(f"training_rows is {training_rows}; it must be from 2 to {len(features)}, the number of rows.")
    train = features[:training_rows]
    return (features - train.mean(dim=0)) / (train.std(dim=0) + 1e-6)


def softmax_objective(towers: Towers, image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    """InfoNCE of a batch of features."""
    return info_nce(towers.image(image), towers.text(text), towers.scale)


def sigmoid_objective(towers: Towers, image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    """The sigmoid loss of a batch of features."""
    return sigmoid_loss(towers.image(image), towers.text(text), towers.scale, towers.bias)


def train_towers(
    towers: Towers, image: torch.Tensor, text: torch.Tensor, objective: Objective = softmax_objective, *,
    epochs: int = 20, batch_size: int = 256, learning_rate: float = 3e-3, seed: int = 0,
) -> list[float]:  # fmt: skip
    """Train on pairs of features with a one-cycle learning rate.

    Args:
        towers: On the device of the features; left in evaluation mode.
        image: Features of the pictures, (pairs, image inputs).
        text: Features of the texts of the same pairs, (pairs, text inputs).
        objective: From the towers and a batch of both features to a scalar.
        epochs: Passes over all pairs.
        batch_size: Pairs in a batch, at least 2; each has ``batch_size`` - 1 negatives. A last batch with fewer is left
            out.
        learning_rate: The highest learning rate.
        seed: Seed of the shuffling.

    Returns:
        The loss of each step.

    Raises:
        ValueError: If the two sides differ in length, or do not fill one batch.
    """
    if len(image) != len(text) or not 2 <= batch_size <= len(image):
        raise ValueError(f"{len(image)} pictures and {len(text)} texts do not fill a batch of {batch_size} pairs.")
    generator, whole = torch.Generator().manual_seed(seed), len(image) // batch_size
    orders = (torch.randperm(len(image), generator=generator) for _ in range(epochs))
    batches = [rows for order in orders for rows in order.split(batch_size)[:whole]]

    def loss(rows: torch.Tensor) -> torch.Tensor:
        return objective(towers, image[rows], text[rows])

    options = {"learning_rate": learning_rate, "pct_start": 0.15, "weight_decay": 0.1}
    losses = one_cycle(towers.train().parameters(), batches, loss, **options)
    towers.eval()
    return losses
