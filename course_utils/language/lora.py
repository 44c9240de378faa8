"""LoRA: fine-tune a large model through small low-rank updates of its frozen weights (Hu and others, 2022).

``add_lora`` puts the updates in, in place; then train what still wants a gradient, and ``save_adapter`` or
``merge_lora``.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path

import torch
from torch import nn

from course_utils.checkpoints import CheckpointError, check_same_weights, read_weights, save_weights


class LoRALinear(nn.Module):
    """A frozen linear layer plus a trainable update of low rank: W x + (alpha / rank) · up (down x).

    Source: Hu and others, LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022.

    Args:
        base: The layer to adapt, (in) to (out). It is frozen.
        rank: Rows of ``down`` (rank, in) and columns of ``up`` (out, rank). ``up`` begins as zeros, so that nothing
            has changed before the first step.
        alpha: The update counts alpha / rank times, so that the rank can change without a new learning rate.

    Raises:
        ValueError: If the rank is not from 1 to the smaller side of the layer.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        _check_rank(base, rank)
        self.base = base.requires_grad_(False)
        self.rank, self.alpha = rank, alpha
        down = torch.empty(rank, base.in_features, dtype=torch.float32, device="cpu")
        nn.init.kaiming_uniform_(down, a=math.sqrt(5))  # as nn.Linear begins; drawn alike for every device
        self.down = nn.Parameter(down.to(base.weight.device))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank, dtype=torch.float32, device=base.weight.device))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in) to (..., out), in the type of the base layer; the update is computed in float32."""
        out = self.base(x)
        update = x.to(self.down.dtype) @ self.down.T @ self.up.T  # by way of (..., rank)
        return out + (update * self.alpha / self.rank).to(out.dtype)

    def merged(self) -> nn.Linear:
        """The base layer with the update added to its weights: the same function, at the old price."""
        with torch.no_grad():
            update = self.up @ self.down * self.alpha / self.rank  # (out, in)
            self.base.weight.copy_(self.base.weight + update)
        return self.base


def add_lora(model: nn.Module, targets: Collection[str], rank: int = 8, alpha: float = 16) -> nn.Module:
    """Freeze a model, and put a :class:`LoRALinear` around each of its linear layers that has one of these names.

    Args:
        model: Changed in place.
        targets: Last parts of names: {"q_proj", "v_proj"} adapts these two in every layer of a Llama.
        rank: Of every update.
        alpha: Scale of every update, times the rank.

    Returns:
        The same model.

    Raises:
        ValueError: If there is LoRA in the model already, or no linear layer has one of the names.
    """
    if lora_layers(model):
        raise ValueError("The model has LoRA already. Merge it first, or load the model afresh.")
    linear = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    missing = set(targets) - {_last(name) for name in linear}
    if missing or not targets:
        there = ", ".join(sorted({_last(name) for name in linear}))
        raise ValueError(f"No linear layer is called {', '.join(sorted(missing)) or 'nothing'}. There are: {there}.")
    chosen = {name: layer for name, layer in linear.items() if _last(name) in targets}
    for layer in chosen.values():
        _check_rank(layer, rank)
    model.requires_grad_(False)
    for name, layer in chosen.items():
        _replace(model, name, LoRALinear(layer, rank, alpha))
    return model


def merge_lora(model: nn.Module) -> nn.Module:
    """Add every update to the weights that it adapts and take LoRA out again, in place; the same model.

    Raises:
        ValueError: If there is no LoRA in the model.
    """
    layers = lora_layers(model)
    if not layers:
        raise ValueError("There is no LoRA in the model to merge.")
    for name, layer in layers.items():
        _replace(model, name, layer.merged())
    return model


def lora_layers(model: nn.Module) -> dict[str, LoRALinear]:
    """All LoRA layers of a model, by name."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, LoRALinear)}


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """How many numbers of a model are trained, and how many there are; shared ones count once."""
    weights = list(model.parameters())
    return sum(w.numel() for w in weights if w.requires_grad), sum(w.numel() for w in weights)


def save_adapter(model: nn.Module, path: str | Path, about: dict | None = None) -> None:
    """Write the updates alone, with their settings, and notes about them.

    Raises:
        ValueError: If there is no LoRA in the model.
        CheckpointError: If the file cannot be written.
    """
    save_weights(_adapter(model), path, {**(about or {}), "lora": _settings(model)})


def load_adapter(model: nn.Module, path: str | Path) -> dict:
    """Load updates that :func:`save_adapter` wrote into a model with LoRA of the same settings; the notes about them.

    Raises:
        ValueError: If there is no LoRA in the model.
        CheckpointError: If the file is missing, damaged, or of other settings or another model; the model is then as
            it was.
    """
    own, settings = _adapter(model), _settings(model)
    weights, notes = read_weights(path)
    saved = notes.pop("lora", None)
    if saved != settings:
        raise CheckpointError(f"{path} is an adapter of {saved}, the model has one of {settings}. Use add_lora anew.")
    check_same_weights(own, weights, path)
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(weights[name])
    return notes


def _adapter(model: nn.Module) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{part}": getattr(layer, part) for name, layer in lora_layers(model).items() for part in ("down", "up")
    }


def _settings(model: nn.Module) -> dict:
    layers = lora_layers(model)
    if not layers:
        raise ValueError("There is no LoRA in the model. Put it in with add_lora.")
    first = next(iter(layers.values()))
    return {"targets": sorted({_last(name) for name in layers}), "rank": first.rank, "alpha": first.alpha}


def _check_rank(layer: nn.Linear, rank: int) -> None:
    if not 1 <= rank <= min(layer.weight.shape):
        raise ValueError(f"A rank of {rank} does not fit weights of shape {tuple(layer.weight.shape)}.")


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _replace(model: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, layer)
