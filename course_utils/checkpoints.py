"""Checkpoints: a model's weights in one safetensors file, with notes about them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be read, written, or used with this model."""


def save_checkpoint(model: nn.Module, path: str | Path, about: dict | None = None) -> None:
    """Write the model's weights as safetensors, with notes about them; what stood there survives a failure.

    Raises:
        CheckpointError: If the file cannot be written, for instance because the disk is full.
    """
    weights = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    notes = {name: json.dumps(value) for name, value in (about or {}).items()}
    write_atomically(Path(path), lambda place: safetensors.torch.save_file(weights, place, metadata=notes))


def load_checkpoint(model: nn.Module, path: str | Path) -> dict:
    """Load weights that :func:`save_checkpoint` wrote into the model; the notes about them.

    Raises:
        CheckpointError: If the file is missing, damaged, or of another model; the model is then as it was.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as opened:
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a mapping
            notes = opened.metadata() or {}
    except FileNotFoundError as error:
        raise CheckpointError(f"There is no checkpoint {path}. Train the model first.") from error
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged ({error}). Make or fetch it again.") from error
    load_weights(model, weights, Path(path))
    return {name: json.loads(value) for name, value in notes.items()}


def load_weights(model: nn.Module, weights: dict[str, torch.Tensor], path: Path) -> None:
    """Load weights into the model; a :class:`CheckpointError` that names ``path`` if they are another model's."""
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    saved = {name: tuple(value.shape) for name, value in weights.items()}
    if own != saved:
        differing = sorted(name for name in own.keys() | saved.keys() if own.get(name) != saved.get(name))
        first = differing[0]
        raise CheckpointError(
            f"{path} is of another model: {len(differing)} weights differ. The first is {first}: "
            f"{saved.get(first, 'missing')} in the file, {own.get(first, 'missing')} in the model."
        )
    model.load_state_dict(weights)


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Write beside the file, then put it in its place: a reader sees the old one or the new one, never a half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(beside)
        beside.replace(path)
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        remedy = "Free some space or choose another folder; what was saved before is untouched."
        raise CheckpointError(f"{path} could not be written ({error}). {remedy}") from error
    finally:
        beside.unlink(missing_ok=True)
