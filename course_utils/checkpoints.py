"""Checkpoints: the weights of a model in one safetensors file, with notes about them."""

from __future__ import annotations

import json
import os
import stat
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
        CheckpointError: If the file is missing, damaged, or not one of the course.
    """
    if Path(path).is_dir():
        raise CheckpointError(f"{path} is a folder. Give the file, such as {Path(path) / 'model.safetensors'}.")
    try:
        content = Path(path).read_bytes()  # at once: safe_open() opens a file twice, and it may be replaced in between
        weights = safetensors.torch.load(content)
        notes = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__") or {}
    except FileNotFoundError as error:
        raise CheckpointError(f"There is no checkpoint {path}. Train the model first.") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror or error}). Check its permissions.") from error
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path} is damaged ({error}). Make or fetch it again.") from error
    try:
        return weights, {name: json.loads(value) for name, value in notes.items()}
    except ValueError as error:
        raise CheckpointError(f"{path} was written by another program: its notes are not in JSON.") from error


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
    """Write beside the file, then rename: a reader sees the old file or the new one, never half of it.

    Permissions are those of the old file, or what the umask asks for. CheckpointError if it fails.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    if path.exists() and not path.is_file():  # a folder, or a device such as /dev/null
        raise CheckpointError(f"{path} could not be written: it is not a file. Give the name of one.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.touch()
            mode = (path if path.exists() else beside).stat().st_mode
            write(beside)
            with beside.open("rb+") as file:
                os.fsync(file.fileno())  # or after a power cut the new name may lead to an empty file
            beside.chmod(stat.S_IMODE(mode))  # safetensors writes a private file
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        remedy = "Free some space or choose another folder; what was saved before is untouched."
        raise CheckpointError(f"{path} could not be written ({error}). {remedy}") from error
