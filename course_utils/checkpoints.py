"""Checkpoints: the weights of a model in one safetensors file, with notes about them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import safetensors
import safetensors.torch
import torch
from torch import nn

Model = TypeVar("Model", bound=nn.Module)


class CheckpointError(RuntimeError):
    """A checkpoint cannot be read, written, or used with this model."""


def save_checkpoint(model: nn.Module, path: str | Path, about: dict | None = None) -> None:
    """Write the weights of a model as safetensors, with notes about them; a failed write leaves an old file as it was.

    Raises:
        CheckpointError: If the file cannot be written, for instance because the disk is full.
    """
    save_weights(model.state_dict(), path, about)


def save_weights(weights: Mapping[str, torch.Tensor], path: str | Path, about: dict | None = None) -> None:
    """Write named tensors as :func:`save_checkpoint` does."""
    weights = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
    notes = {name: json.dumps(value) for name, value in (about or {}).items()}
    write_atomically(Path(path), lambda place: safetensors.torch.save_file(weights, place, metadata=notes))


def load_checkpoint(model: nn.Module, path: str | Path) -> dict:
    """Load a checkpoint into the model; return the notes about it.

    Raises:
        CheckpointError: If the file is missing, damaged, or of another model; the model is then unchanged.
    """
    weights, notes = read_weights(path)
    load_weights(model, weights, Path(path))
    return notes


def load_frozen(model: Model, path: str | Path) -> Model:
    """Load a checkpoint into the model; return the model, in evaluation mode and frozen.

    Raises:
        CheckpointError: If the file is missing, damaged, or of another model.
    """
    load_checkpoint(model, path)
    return model.eval().requires_grad_(False)


def read_weights(path: str | Path) -> tuple[dict[str, torch.Tensor], dict]:
    """Read the named tensors of a file, and the notes about them.

    Raises:
        CheckpointError: If the file is missing or damaged.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as opened:
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a mapping
            notes = opened.metadata() or {}
    except FileNotFoundError as error:
        raise CheckpointError(f"There is no checkpoint {path}. Train the model first.") from error
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged ({error}). Make or fetch it again.") from error
    return weights, {name: json.loads(value) for name, value in notes.items()}


def load_weights(model: nn.Module, weights: dict[str, torch.Tensor], path: Path) -> None:
    """Load weights into the model; raise a :class:`CheckpointError` that names ``path`` if they do not fit."""
    check_same_weights(model.state_dict(), weights, path)
    model.load_state_dict(weights)


def check_same_weights(own: Mapping[str, torch.Tensor], saved: Mapping[str, torch.Tensor], path: str | Path) -> None:
    """Raise a :class:`CheckpointError` that names ``path`` unless both have the same names and shapes."""
    ours = {name: tuple(value.shape) for name, value in own.items()}
    theirs = {name: tuple(value.shape) for name, value in saved.items()}
    if ours != theirs:
        differing = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
        first = differing[0]
        raise CheckpointError(
            f"{path} is of another model: {len(differing)} weights differ. The first is {first}: "
            f"{theirs.get(first, 'missing')} in the file, {ours.get(first, 'missing')} in the model."
        )


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Write beside the file, then rename: a reader sees the old file or the new one, never half of it."""
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
