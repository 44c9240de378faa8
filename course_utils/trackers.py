"""Where a run's figures go while it trains: nowhere, to TensorBoard, or to Weights & Biases."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Tracker(Protocol):
    """Told of figures as they come."""

    def log(self, step: int, values: dict[str, float]) -> None:
        """Note named figures at a step."""

    def close(self) -> None:
        """Write out what is still in memory."""


class NoTracker:
    """Keeps nothing: :class:`course_utils.training.History` has it all."""

    def log(self, step: int, values: dict[str, float]) -> None:
        """Forget the figures."""

    def close(self) -> None:
        """Do nothing."""


class TensorBoardTracker:
    """Event files in a folder, to be read with ``tensorboard --logdir FOLDER``."""

    def __init__(self, folder: str | Path) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import, so only when asked for

        self.writer = SummaryWriter(str(folder))

    def log(self, step: int, values: dict[str, float]) -> None:
        """Add each figure to its curve."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write the event file to its end."""
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
        """Send the figures."""
        self.run.log(values, step=step)

    def close(self) -> None:
        """Finish the run."""
        self.run.finish()
