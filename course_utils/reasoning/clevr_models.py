"""Models for Sort-of-CLEVR, whose questions are coded in bits (see :mod:`course_utils.datasets.sort_of_clevr`)."""

from __future__ import annotations

import torch
from torch import nn

from course_utils import training
from course_utils.checkpoints import load_frozen
from course_utils.datasets import sort_of_clevr as soc
from course_utils.encoders import Encoded
from course_utils.encoders.image import convolution
from course_utils.paths import CHECKPOINTS
from course_utils.reasoning.grid import Batches
from course_utils.reasoning.reasoners import PlacedRegions
from course_utils.reasoning.relations import AnchoredRelationNetwork

DIM = 64
TEST_PICTURES = 2000  # ten times as many as published: a standard error of a third


class FourConvolutions(nn.Module):
    """Encoder of a 75×75 picture into 5×5 regions, with four strided convolutions as in Santoro et al.

    Args:
        dim: Features of a region.
    """

    side = 5

    def __init__(self, dim: int = DIM) -> None:
        super().__init__()
        widths = (3, 16, 32, 48, dim)
        self.blocks = nn.Sequential(*(convolution(*pair, stride=2) for pair in zip(widths, widths[1:], strict=False)))
        self.blocks.to(memory_format=torch.channels_last)  # a quarter faster on a CPU

    def forward(self, pictures: torch.Tensor) -> Encoded:
        """Encode pictures, (batch, 3, 75, 75), into 25 regions, row by row from the top left."""
        regions = self.blocks(pictures).flatten(2).transpose(1, 2)  # (batch, 25, dim)
        mask = regions.new_ones(regions.shape[:2], dtype=torch.bool)
        return Encoded(regions.mean(dim=1), regions, mask)


class CodedVQA(nn.Module):
    """:class:`course_utils.reasoning.reasoners.GridVQA` for questions coded in bits, with a CNN that is trained too.

    Args:
        align: The part that differs, called as in GridVQA.
        out: Output features of ``align``.
        dim: Features of a region and of a question.
    """

    def __init__(self, align: nn.Module, out: int, dim: int = DIM) -> None:
        super().__init__()
        self.picture_encoder = FourConvolutions(dim)
        self.question_encoder = nn.Sequential(nn.Linear(soc.CODE, dim), nn.LayerNorm(dim))
        self.regions = PlacedRegions(dim, dim, FourConvolutions.side)
        self.align = align
        self.head = nn.Sequential(nn.Linear(out, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, len(soc.ANSWERS)))

    def read(self, batch: dict) -> tuple[Encoded, torch.Tensor]:
        """Encode the questions and regions of a batch: the arguments of ``align``."""
        pooled = self.question_encoder(batch["codes"])  # (pictures, questions, dim)
        unpooled = pooled.unsqueeze(2)  # the code as a question of one word
        question = Encoded(pooled, unpooled, unpooled.new_ones(unpooled.shape[:3], dtype=torch.bool))
        return question, self.regions(self.picture_encoder(batch["pictures"]).unpooled)

    def forward(self, batch: dict) -> torch.Tensor:
        """Answer scores, (pictures · questions, answers), for a batch of ``SortOfClevr.batch``."""
        return self.head(self.align(*self.read(batch))).flatten(0, 1)


def anchored_network() -> CodedVQA:
    """The untrained model around an :class:`AnchoredRelationNetwork`."""
    return CodedVQA(AnchoredRelationNetwork(DIM), 2 * DIM)


def shipped() -> CodedVQA:
    """Load the shipped anchored relation network, frozen.

    Raises:
        course_utils.checkpoints.CheckpointError: If the checkpoint is missing or does not fit the model.
    """
    return load_frozen(anchored_network(), CHECKPOINTS / "sort_of_clevr.safetensors")


def accuracies(model: nn.Module, data: soc.SortOfClevr) -> dict[str, float]:
    """Accuracy on the relational and the non_relational questions, and on each type of ``TYPES``."""
    result = training.evaluate(model, Batches(data, 64), soc.ANSWERS)
    right = torch.tensor(result.predictions) == torch.tensor(result.targets)
    right = right.view(-1, soc.QUESTIONS).float()  # a picture's non-relational questions come first
    by_type = result.by_type.set_index("type")["accuracy"]
    return {
        "relational": right[:, soc.EACH :].mean().item(), "non_relational": right[:, : soc.EACH].mean().item(),
        **{name: by_type[name] for name in soc.TYPES},
    }  # fmt: skip
