"""The ladder's data: questions about shapes, over regions that a frozen encoder has computed once.

Every method of the ladder reads the same regions, so that nothing differs but the alignment and the reasoning. A
picture is encoded once for all its questions and all epochs, which is most of the cost saved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from course_utils.datasets import shapes
from course_utils.datasets.vqa import PAD, Vocabulary, to_tensor
from course_utils.encoders.image import GridCNN, trained_grid_cnn

QUESTIONS = len(shapes.TYPES)  # about each picture
TRAIN_PICTURES, OTHER_PICTURES = 12_000, 2_000


@dataclass(frozen=True)
class GridQuestions:
    """Pictures as regions, each with the same number of questions.

    Attributes:
        regions: What the frozen encoder gives, (pictures, 64, 64) float32: row by row from the top left, features last.
        words: Numbers of the words of each question, (pictures, questions, longest), padded with ``PAD``.
        answers: Number of each answer in ``shapes.ANSWERS``, (pictures, questions).
        types: Names of the types of a picture's questions, the same for every picture.
        vocabulary: What the numbers of the words stand for.
    """

    regions: torch.Tensor
    words: torch.Tensor
    answers: torch.Tensor
    types: tuple[str, ...]
    vocabulary: Vocabulary

    def __len__(self) -> int:
        """How many pictures."""
        return len(self.regions)

    def batch(self, rows: torch.Tensor, device: torch.device | str = "cpu") -> dict:
        """The batch of these pictures and all their questions.

        Returns:
            ``regions`` (pictures, 64, dim); ``words`` and ``word_mask`` (pictures, questions, longest of the batch);
            ``answers`` (pictures · questions,) and as many ``types`` and ``question_ids``.
        """
        words = self.words[rows]
        words = words[..., : int((words != PAD).sum(dim=-1).max())].to(device)
        return {
            "regions": self.regions[rows].to(device),
            "words": words,
            "word_mask": words != PAD,
            "answers": self.answers[rows].flatten().to(device),
            "types": list(self.types) * len(rows),
            "question_ids": (rows[:, None] * len(self.types) + torch.arange(len(self.types))).flatten().tolist(),
        }


class Batches:
    """The batches of an epoch, for :func:`course_utils.training.fit` and ``evaluate``.

    Args:
        data: Pictures and their questions.
        pictures: How many to a batch.
        shuffle: Whether the order of the pictures changes from epoch to epoch.
        seed: Of the order.
    """

    def __init__(self, data: GridQuestions, pictures: int = 32, shuffle: bool = False, seed: int = 0) -> None:
        if pictures < 1 or len(data) == 0:
            raise ValueError(f"Batches of {pictures} out of {len(data)} pictures: both must be at least 1.")
        self.data, self.pictures, self.shuffle, self.seed, self.epoch = data, pictures, shuffle, seed, 0

    @property
    def batch_sampler(self) -> Batches:
        """Where :func:`course_utils.training.fit` says which epoch begins."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.data) // self.pictures)

    def __iter__(self) -> Iterator[dict]:
        order = np.arange(len(self.data))
        if self.shuffle:
            np.random.default_rng((self.seed, self.epoch)).shuffle(order)
        for rows in torch.from_numpy(order).split(self.pictures):
            yield self.data.batch(rows)


@cache
def vocabulary() -> Vocabulary:
    """The words of the training questions; 2,000 pictures have them all."""
    return Vocabulary.build(question.text for question in shapes.split("train", pictures=2000).questions)


def load(name: str, pictures: int | None = None, device: torch.device | str = "cpu") -> GridQuestions:
    """A split of shapes for the ladder: scenes drawn, then encoded by the shipped :class:`GridCNN`.

    Args:
        name: "train", "validation", "test" or "compositional".
        pictures: How many; by default ``TRAIN_PICTURES`` or ``OTHER_PICTURES``. About 20 s of CPU for 12,000.
        device: Where the encoder computes; the result is on the CPU.

    Raises:
        ValueError: There is no split of that name.
    """
    count = pictures or (TRAIN_PICTURES if name == "train" else OTHER_PICTURES)
    return encode(shapes.split(name, pictures=count), trained_grid_cnn().to(device))


def encode(data: shapes.ShapesData, encoder: GridCNN) -> GridQuestions:
    """Encode pictures and questions of shapes; see :class:`GridQuestions`."""
    known = {answer: number for number, answer in enumerate(shapes.ANSWERS)}
    answers = torch.tensor([known[question.answer] for question in data.questions])
    return GridQuestions(
        regions(data.pictures, encoder),
        words([question.text for question in data.questions]).unflatten(0, (-1, QUESTIONS)),
        answers.view(-1, QUESTIONS),
        shapes.TYPES,
        vocabulary(),
    )


def words(texts: Sequence[str]) -> torch.Tensor:
    """Numbers of the words of questions, (questions, longest), padded.

    Raises:
        ValueError: A question has no word in it.
    """
    numbers = [torch.tensor(vocabulary().encode(text)) for text in texts]
    return torch.nn.utils.rnn.pad_sequence(numbers, batch_first=True, padding_value=PAD)


@torch.no_grad()
def regions(pictures: np.ndarray, encoder: GridCNN) -> torch.Tensor:
    """What the encoder makes of pictures (n, 64, 64, 3) uint8: (n, 64, dim) float32 on the CPU."""
    device = next(encoder.parameters()).device
    parts = [pictures[start : start + 256] for start in range(0, len(pictures), 256)]
    return torch.cat([encoder(to_tensor(part).to(device)).unpooled.cpu() for part in parts])
