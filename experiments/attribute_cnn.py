"""Train the encoder of lesson 09: ``python -m experiments.attribute_cnn`` writes its checkpoint.

About two minutes on two CPU cores. See :class:`course_utils.encoders.image.AttributeCNN` for its purpose.
"""

from __future__ import annotations

import torch

from course_utils.datasets import shapes
from course_utils.encoders import cells
from course_utils.encoders.image import AttributeCNN
from course_utils.training import IGNORE
from experiments.grid_cnn import train_and_save


def labels(scenes: tuple[shapes.Scene, ...]) -> torch.Tensor:
    """As :func:`course_utils.encoders.cells.labels`, with the colour of empty cells left out of the loss.

    An empty cell beside a red object has red pixels too; telling the two apart takes form, which the colour encoder
    cannot see.
    """
    targets = cells.labels(scenes)
    targets[:, 1][targets[:, 0] == 0] = IGNORE
    return targets


if __name__ == "__main__":
    train_and_save("attribute_cnn", AttributeCNN, epochs=12, labels=labels)
