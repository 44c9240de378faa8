"""Data of the ladder: questions about shapes, and the regions that a frozen encoder precomputes.

All methods read the same regions, so they differ only in alignment and reasoning. Each picture is encoded once for all
its questions and all epochs, which saves most of the cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from torch import nn

from course_utils.datasets import shapes
from course_utils.datasets.shapes import curriculum
from course_utils.datasets.vqa import PAD, Vocabulary, to_tensor
from course_utils.encoders.image import trained_grid_cnn
from course_utils.training import EpochBatches

QUESTIONS = len(shapes.TYPES)  # per picture
TRAIN_PICTURES, OTHER_PICTURES = 12_000, 2_000


@dataclass(frozen=True)
class GridQuestions:
    """Pictures as regions, each with the same number of questions.

    Attributes:
        regions: Output of the frozen encoder, (pictures, 64, 64) float32: row by row from the top left, features last.
        words: Word numbers of each question, (pictures, questions, longest), padded with ``PAD``.
        answers: Position of each answer in ``shapes.ANSWERS``, (pictures, questions).
        types: Question types, in the order of every picture's questions.
        vocabulary: Maps words to their numbers.
    """

    regions: torch.Tensor
    words: torch.Tensor
    answers: torch.Tensor
    types: tuple[str, ...]
    vocabulary: Vocabulary

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.regions)

    def first(self, pictures: int) -> GridQuestions:
        """The first pictures, at least 1, with their questions; all of them if there are fewer."""
        if pictures < 1:
            raise ValueError(f"pictures is {pictures}; it must be at least 1.")
        return replace(
            self, regions=self.regions[:pictures], words=self.words[:pictures], answers=self.answers[:pictures]
        )

    def batch(self, rows: torch.Tensor) -> dict:
        """Batch of these pictures with all their questions.

        Returns:
            ``regions`` (pictures, 64, dim); ``words`` and ``word_mask`` (pictures, questions, longest in the batch);
            ``answers``, ``types`` and ``question_ids``, one for each question (pictures · questions).
        """
        words = self.words[rows]
        words = words[..., : int((words != PAD).sum(dim=-1).max())]
        return {
            "regions": self.regions[rows],
            "words": words,
            "word_mask": words != PAD,
            "answers": self.answers[rows].flatten(),
            "types": list(self.types) * len(rows),
            "question_ids": (rows[:, None] * len(self.types) + torch.arange(len(self.types))).flatten().tolist(),
        }


class Batches(EpochBatches):
    """Batches of pictures with all their questions.

    Args:
        data: A :class:`GridQuestions`, or another data set with a length and a method ``batch(rows)``.
        batch_size: Pictures in a batch.
        shuffle: Whether to reorder the pictures in every epoch.
        seed: Seed of the order.
    """

    def __init__(self, data: GridQuestions, batch_size: int = 32, shuffle: bool = False, seed: int = 0) -> None:
        super().__init__(len(data), batch_size, shuffle=shuffle, seed=seed)
        self.data = data

    def batch(self, rows: np.ndarray) -> dict:
        """Batch of these pictures; see :meth:`GridQuestions.batch`."""
        return self.data.batch(torch.from_numpy(rows))


class Curriculum(Batches):
    """Shuffled batches whose first epochs ask easier questions.

    Args:
        easier: The pictures with the questions of the first epochs.
        data: The same pictures with the questions of all later epochs.
        epochs: Number of epochs with the easier questions.
        batch_size: Pictures in a batch.
        seed: Seed of the order.

    Raises:
        ValueError: If the two do not have the same number of pictures.
    """

    def __init__(
        self, easier: GridQuestions, data: GridQuestions, epochs: int, batch_size: int = 32, seed: int = 0
    ) -> None:
        if len(easier) != len(data):
            raise ValueError(f"{len(easier)} pictures before and {len(data)} after: they must be the same pictures.")
        super().__init__(data, batch_size, shuffle=True, seed=seed)
        self.easier, self.epochs = easier, epochs

    def batch(self, rows: np.ndarray) -> dict:
        """Batch of these pictures with the current epoch's questions."""
        data = self.easier if self.epoch < self.epochs else self.data
        return data.batch(torch.from_numpy(rows))


@cache
def vocabulary() -> Vocabulary:
    """Words of the training questions; the first 2,000 pictures use all of them."""
    return Vocabulary.build(question.text for question in shapes.split("train", pictures=2000).questions)


def load(
    name: str, pictures: int | None = None, device: torch.device | str = "cpu", encoder: nn.Module | None = None
) -> GridQuestions:
    """Draw a split of shapes and encode it; 12,000 pictures take about 20 s of CPU.

    Args:
        name: "train", "validation", "test" or "compositional".
        pictures: Number of pictures, at least 1; by default ``TRAIN_PICTURES`` or ``OTHER_PICTURES``.
        device: Where the encoder computes; the result is on the CPU.
        encoder: Frozen encoder, by default the shipped GridCNN.

    Raises:
        ValueError: If there is no split of that name, or no picture is asked for.
    """
    if pictures is None:
        pictures = TRAIN_PICTURES if name == "train" else OTHER_PICTURES
    return encode(shapes.split(name, pictures=pictures), (encoder or trained_grid_cnn()).to(device))


def encode(data: shapes.ShapesData, encoder: nn.Module) -> GridQuestions:
    """Encode the pictures and questions of a split of shapes."""
    return GridQuestions(
        regions(data.pictures, encoder),
        words([question.text for question in data.questions]).unflatten(0, (-1, QUESTIONS)),
        _answers(data.questions).view(-1, QUESTIONS),
        shapes.TYPES,
        vocabulary(),
    )


def stepping_stones(data: GridQuestions) -> GridQuestions:
    """Replace the yes/no questions across a direction by stepping stones, whose answer names what is there.

    Args:
        data: The training split, or its first pictures. See :mod:`course_utils.datasets.shapes.curriculum`.
    """
    stones = curriculum.stepping_stones(shapes.split("train", pictures=len(data)).scenes)
    questions = [question for of_picture in stones for question in of_picture]
    columns = [data.types.index(kind) for kind in curriculum.REPLACED_TYPES]
    numbers = words([question.text for question in questions]).unflatten(0, (-1, len(columns)))
    wider = max(0, numbers.shape[-1] - data.words.shape[-1])
    all_words, answers = nn.functional.pad(data.words, (0, wider), value=PAD), data.answers.clone()
    all_words[:, columns] = PAD
    all_words[:, columns, : numbers.shape[-1]] = numbers
    answers[:, columns] = _answers(questions).view(-1, len(columns))
    return replace(data, words=all_words, answers=answers)


def _answers(questions: Sequence[shapes.Question]) -> torch.Tensor:
    """Position of each question's answer in ``shapes.ANSWERS``, (questions,)."""
    known = {answer: number for number, answer in enumerate(shapes.ANSWERS)}
    return torch.tensor([known[question.answer] for question in questions])


def words(texts: Sequence[str]) -> torch.Tensor:
    """Word numbers of questions, (questions, longest), padded with ``PAD``; ValueError if a question has no word."""
    numbers = [torch.tensor(vocabulary().encode(text)) for text in texts]
    return nn.utils.rnn.pad_sequence(numbers, batch_first=True, padding_value=PAD)


@torch.no_grad()
def regions(pictures: np.ndarray, encoder: nn.Module) -> torch.Tensor:
    """Encode pictures, (n, 64, 64, 3) uint8, into regions, (n, 64, dim) float32 on the CPU."""
    device = next(encoder.parameters()).device
    parts = [pictures[start : start + 256] for start in range(0, len(pictures), 256)]
    return torch.cat([encoder(to_tensor(part).to(device)).unpooled.cpu() for part in parts])
