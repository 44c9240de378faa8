"""LoRA: fine-tune a large model through low-rank updates of its frozen weights (Hu and others, 2022).

Call ``add_lora``, train the parameters that require gradients, then ``save_adapter`` or ``merge_lora``.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path

import torch
from torch import nn

from course_utils.checkpoints import CheckpointError, check_same_weights, read_weights, save_weights


class LoRALinear(nn.Module):
    """A frozen linear layer plus a trainable low-rank update: W x + (alpha / rank) · up (down x).

    Args:
        base: The layer to adapt, (in) to (out). It is frozen.
        rank: Rank of the update, at most the smaller side of the layer: ``down`` is (rank, in); ``up``, (out, rank),
            starts at zero, which leaves the output unchanged before training.
        alpha: Scale of the update, divided by the rank so that changing the rank needs no new learning rate.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        _check_rank(base, rank)
        self.base = base.requires_grad_(False)
        self.rank, self.alpha = rank, alpha
        down = torch.empty(rank, base.in_features, dtype=torch.float32, device="cpu")
        nn.init.kaiming_uniform_(down, a=math.sqrt(5))  # as in nn.Linear; drawn on the CPU, so the same on all devices
        self.down = nn.Parameter(down.to(base.weight.device))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank, dtype=torch.float32, device=base.weight.device))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in) to (..., out), in the base layer's type; the update is computed in float32."""
        out = self.base(x)
        update = x.to(self.down.dtype) @ self.down.T @ self.up.T  # through (..., rank)
        return out + (update * self.alpha / self.rank).to(out.dtype)

    def merged(self) -> nn.Linear:
        """The base layer with the update added to its weights: the same function in float32, at the original cost.

        A base layer in bfloat16 rounds the sum. In SmolLM2 that moves logits by about a tenth of what computing in
        bfloat16 does (lesson 10).
        """
        with torch.no_grad():
            update = self.up @ self.down * self.alpha / self.rank  # (out, in)
            self.base.weight.copy_(self.base.weight + update)
        return self.base


def add_lora(model: nn.Module, targets: Collection[str], rank: int = 8, alpha: float = 16) -> nn.Module:
    """Freeze a model and wrap the named linear layers in :class:`LoRALinear`, in place; return the same model.

    ``targets`` are last components of module names: {"q_proj", "v_proj"} adapts these two in every layer of a Llama.
    ValueError if the model has LoRA already, or a target names no linear layer.
    """
    if lora_layers(model):
        raise ValueError("The model has LoRA already. Merge it first, or load the model again.")
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
    """Add every update to its base weights and remove the LoRA layers, in place; return the same model.

    Merge in float32, ``merge_lora(model.float())``, for the same function: see :meth:`LoRALinear.merged`.
    """
    if not (layers := lora_layers(model)):
        raise ValueError("There is no LoRA in the model to merge.")
    for name, layer in layers.items():
        _replace(model, name, layer.merged())
    return model


def lora_layers(model: nn.Module) -> dict[str, LoRALinear]:
    """The LoRA layers of a model by name."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, LoRALinear)}


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Number of trainable parameters and of all parameters; shared ones count once."""
    weights = list(model.parameters())
    return sum(w.numel() for w in weights if w.requires_grad), sum(w.numel() for w in weights)


def save_adapter(model: nn.Module, path: str | Path, about: dict | None = None) -> None:
    """Write the LoRA weights with their settings and the notes ``about`` them; ValueError if there are none."""
    save_weights(_adapter(model), path, {**(about or {}), "lora": _settings(model)})


def load_adapter(model: nn.Module, path: str | Path) -> dict:
    """Load weights written by :func:`save_adapter` into a model with the same LoRA settings; return their notes.

    CheckpointError if the file is damaged or made for other settings or another model, which stays unchanged.
    """
    own, settings = _adapter(model), _settings(model)
    weights, notes = read_weights(path)
    if (saved := notes.pop("lora", None)) != settings:
        raise CheckpointError(
            f"{path} was made with {saved}, the model has {settings}. Call add_lora with those settings."
        )
    check_same_weights(own, weights, path)
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(weights[name])
    return notes


def _adapter(model: nn.Module) -> dict[str, torch.Tensor]:
    layers = lora_layers(model).items()
    return {f"{name}.{part}": getattr(layer, part) for name, layer in layers for part in ("down", "up")}


def _settings(model: nn.Module) -> dict:
    if not (layers := lora_layers(model)):
        raise ValueError("There is no LoRA in the model. Call add_lora first.")
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
