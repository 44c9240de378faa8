"""Trackers, which record metrics during training: nowhere, in TensorBoard, or in Weights & Biases."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


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
    """Event files in a folder, for ``tensorboard --logdir FOLDER``."""

    def __init__(self, folder: str | Path) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        self.writer = SummaryWriter(str(folder))

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
        ImportError: If the package is not installed.
    """

    def __init__(self, **options) -> None:
        try:
            import wandb
        except ImportError as error:
            raise ImportError("Weights & Biases is not installed. Run: pip install wandb") from error
        self.run = wandb.init(**options)

    def log(self, step: int, values: dict[str, float]) -> None:
        """Send the values."""
        self.run.log(values, step=step)

    def close(self) -> None:
        """Finish the run."""
        self.run.finish()
