"""Trackers, which record metrics during training: nowhere, in TensorBoard, or in Weights & Biases."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class TrackerError(RuntimeError):
    """A tracker cannot be used; the message says what to do."""


class Tracker(Protocol):
    """Receives metrics during training."""

    def log(self, step: int, values: dict[str, float]) -> None:
        """Record named values at a step."""

    def close(self) -> None:
        """Write what is still in memory."""


class NoTracker:
    """Records nothing: :class:`course_utils.training.History` has all of it."""

    def log(self, step: int, values: dict[str, float]) -> None:
        """Ignore the values."""

    def close(self) -> None:
        """Do nothing."""


class TensorBoardTracker:
    """Event files in a folder, for ``tensorboard --logdir FOLDER``; TrackerError if nothing can be written there."""

    def __init__(self, folder: str | Path) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        try:
            self.writer = SummaryWriter(str(folder))
        except OSError as error:
            raise TrackerError(f"Nothing can be written in {folder} ({error.strerror}): choose another.") from error

    def log(self, step: int, values: dict[str, float]) -> None:
        """Add each value to its curve."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Finish the event file."""
        self.writer.close()


class WandbTracker:
    """A run in Weights & Biases. Options go to ``wandb.init``.

    Raises:
        TrackerError: If the package is not installed, or no run can be started: without a network or an account, say.
    """

    def __init__(self, **options) -> None:
        try:
            import wandb
        except ImportError as error:
            raise TrackerError("Weights & Biases is not installed. Run: pip install wandb") from error
        try:
            self.run = wandb.init(**options)
        except (wandb.Error, OSError) as error:
            reason = f"Weights & Biases could not start: {str(error).splitlines()[0].rstrip('.')}"
            raise TrackerError(f"{reason}. To record on this machine only, set WANDB_MODE=offline.") from error

    def log(self, step: int, values: dict[str, float]) -> None:
        """Send the values."""
        self.run.log(values, step=step)

    def close(self) -> None:
        """Finish the run."""
        self.run.finish()
