"""The device to compute on, and the seeds of all random number generators."""

from __future__ import annotations

import os
import random

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - libraries that lessons call still draw from the global generator
    torch.manual_seed(seed)


def choose_device() -> torch.device:
    """The device named by COURSE_DEVICE, else a CUDA GPU if there is one, else the CPU.

    Apple's ``mps`` is used only on request: it still lacks operators that the lessons need.

    Raises:
        ValueError: If COURSE_DEVICE names a device that torch cannot use on this machine.
    """
    asked = os.environ.get("COURSE_DEVICE", "").strip()
    if not asked:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(asked)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"COURSE_DEVICE={asked!r} does not work on this machine. Unset it, or use 'cpu'. Torch says: {error}"
        ) from error
    return device


def describe(device: torch.device) -> str:
    """A short description of a device, for the first line of a lesson and for results tables."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        return f"cpu, {torch.get_num_threads()} threads"
    return str(device)
