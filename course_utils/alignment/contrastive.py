"""Contrastive alignment: two towers whose vectors meet for a pair and part for everything else in the batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

Objective = Callable[["Towers", torch.Tensor, torch.Tensor], torch.Tensor]


# --- the losses -------------------------------------------------------------------------------------------------


def info_nce(image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor | float) -> torch.Tensor:
    """InfoNCE (van den Oord and others, 2018) in both directions, as CLIP trains with it (Radford and others, 2021).

    Row i of one side belongs to row i of the other; all other rows are its negatives.

    Args:
        image: (batch, dim), of length one.
        text: (batch, dim), of length one.
        scale: One over the temperature.

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
    """:func:`info_nce` where a batch may hold a thing twice: other rows of the same identity are no negatives.

    Args:
        image: (batch, dim), of length one.
        text: (batch, dim), of length one.
        scale: One over the temperature.
        identity: What each row shows or says, (batch,) whole numbers.

    Raises:
        ValueError: If the two sides are not matrices of one shape.
    """
    check_pairs(image, text)
    twins = identity[:, None] == identity[None, :]  # (batch, batch)
    twins.fill_diagonal_(False)
    logits = (scale * image @ text.T).masked_fill(twins, -torch.inf)
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def sigmoid_loss(
    image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor | float, bias: torch.Tensor | float
) -> torch.Tensor:
    """The sigmoid loss (SigLIP; Zhai and others, 2023): each of the batch² pairs is a yes-or-no question of its own.

    Args:
        image: (batch, dim), of length one.
        text: (batch, dim), of length one.
        scale: One over the temperature.
        bias: Added to every score. Begin with a negative one, since most pairs do not belong together.

    Returns:
        The sum over all pairs, divided by the batch: a scalar.

    Raises:
        ValueError: If the two sides are not matrices of one shape.
    """
    check_pairs(image, text)
    logits = scale * image @ text.T + bias  # (batch, batch)
    signs = 2 * torch.eye(len(logits), device=logits.device, dtype=logits.dtype) - 1  # 1 for a pair, -1 for any other
    return -F.logsigmoid(signs * logits).sum() / len(logits)


def check_pairs(image: torch.Tensor, text: torch.Tensor) -> None:
    """Raise a ValueError unless the two sides are matrices of one shape, with at least one row."""
    if image.dim() != 2 or image.shape != text.shape or len(image) == 0:
        raise ValueError(
            f"Pairs are two matrices (batch, dim) of one shape, not {tuple(image.shape)} and {tuple(text.shape)}: row "
            "i of one belongs to row i of the other."
        )


# --- the same losses in less memory -------------------------------------------------------------------------------


def chunked_info_nce(
    image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor | float, rows: int = 256
) -> torch.Tensor:
    """:func:`info_nce` without ever holding the whole table of similarities; the same loss and gradients.

    Backward computes each strip of the table a second time. Arguments as there; at most ``rows`` · batch similarities
    of either direction are held at once.
    """
    check_pairs(image, text)
    total = image.new_zeros(())
    for queries, candidates in ((image, text), (text, image)):
        for start in range(0, len(queries), rows):
            strip = (queries[start : start + rows], candidates, scale, start)
            total = total + checkpoint(_info_nce_strip, *strip, use_reentrant=False)
    return total / (2 * len(image))


def _info_nce_strip(
    queries: torch.Tensor, candidates: torch.Tensor, scale: torch.Tensor | float, start: int
) -> torch.Tensor:
    """The summed cross-entropy of some queries, (rows, dim), that belong to the candidates from ``start`` on."""
    own = torch.arange(start, start + len(queries), device=queries.device)
    return F.cross_entropy(scale * queries @ candidates.T, own, reduction="sum")


def chunked_sigmoid_loss(
    image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor | float, bias: torch.Tensor | float, rows: int = 256
) -> torch.Tensor:
    """:func:`sigmoid_loss` in strips of ``rows`` pictures: the same loss and gradients in less memory."""
    check_pairs(image, text)
    total = image.new_zeros(())
    for start in range(0, len(image), rows):
        strip = (image[start : start + rows], text, scale, bias, start)
        total = total + checkpoint(_sigmoid_strip, *strip, use_reentrant=False)
    return total / len(image)


def _sigmoid_strip(
    image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor | float, bias: torch.Tensor | float, start: int
) -> torch.Tensor:
    """The summed loss of some pictures, (rows, dim), with every text; they belong to the texts from ``start`` on."""
    logits = scale * image @ text.T + bias
    signs = torch.full_like(logits, -1.0)
    signs.diagonal(start).fill_(1.0)
    return -F.logsigmoid(signs * logits).sum()


# --- two towers ---------------------------------------------------------------------------------------------------


class Head(nn.Module):
    """From a frozen encoder's vector into the shared space: a linear map plus a small detour, then length one.

    Args:
        inputs: Features of the encoder.
        dim: Features of the shared space.
        dropout: Share of the features that each training step leaves out.
    """

    def __init__(self, inputs: int, dim: int = 256, dropout: float = 0.5) -> None:
        super().__init__()
        self.linear = nn.Sequential(nn.Dropout(dropout), nn.Linear(inputs, dim))
        self.detour = nn.Sequential(nn.GELU(), nn.Dropout(dropout), nn.Linear(dim, dim))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features (batch, inputs) to vectors of length one, (batch, dim)."""
        straight = self.linear(features)
        return F.normalize(straight + self.detour(straight), dim=-1)


class Towers(nn.Module):
    """A head for each of two modalities, with the scale and the bias of their similarities.

    Args:
        image_inputs: Features of the image encoder.
        text_inputs: Features of the text encoder.
        scale: One over the temperature, to begin with. It is learnt, through its logarithm, up to 100.
    """

    def __init__(self, image_inputs: int, text_inputs: int, scale: float = 20.0) -> None:
        super().__init__()
        self.image, self.text = Head(image_inputs), Head(text_inputs)
        self.log_scale = nn.Parameter(torch.tensor(scale).log())
        self.bias = nn.Parameter(torch.tensor(-10.0))  # only the sigmoid loss reads it

    @property
    def scale(self) -> torch.Tensor:
        """One over the temperature, 100 at most."""
        return self.log_scale.exp().clamp(max=100.0)


def softmax_objective(towers: Towers, image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    """InfoNCE of a batch of features."""
    return info_nce(towers.image(image), towers.text(text), towers.scale)


def sigmoid_objective(towers: Towers, image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    """The sigmoid loss of a batch of features."""
    return sigmoid_loss(towers.image(image), towers.text(text), towers.scale, towers.bias)


def train_towers(
    towers: Towers, image: torch.Tensor, text: torch.Tensor, objective: Objective = softmax_objective, *,
    epochs: int = 20, batch: int = 256, rate: float = 3e-3, seed: int = 0,
) -> list[float]:  # fmt: skip
    """Train on pairs of features with AdamW and one rise and fall of the learning rate; the loss of each step.

    Args:
        towers: On the device of the features; left in evaluation mode.
        image: Features of the pictures, (pairs, image inputs).
        text: Features of the texts, (pairs, text inputs), row by row of the same pairs.
        objective: Towers and a batch of both features to a scalar.
        epochs: Passes over all pairs.
        batch: Pairs at once, so each has ``batch`` - 1 negatives. An incomplete last batch is left out.
        rate: The highest learning rate.
        seed: Of the shuffling.

    Raises:
        ValueError: If the two sides differ in length, or there are fewer pairs than one batch holds.
    """
    if len(image) != len(text) or len(image) < batch:
        raise ValueError(f"{len(image)} pictures and {len(text)} texts do not make up batches of {batch} pairs.")
    generator, losses, towers = torch.Generator().manual_seed(seed), [], towers.train()
    steps = epochs * (len(image) // batch)
    optimizer = torch.optim.AdamW(towers.parameters(), lr=rate, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps, pct_start=0.15)
    for _ in range(epochs):
        for rows in torch.randperm(len(image), generator=generator).split(batch)[: len(image) // batch]:
            loss = objective(towers, image[rows], text[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    towers.eval()
    return losses
