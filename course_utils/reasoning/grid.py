"""The ladder's data: questions about shapes, over regions that a frozen encoder has computed once.

Every method of the ladder reads the same regions, so that nothing differs but the alignment and the reasoning. A
picture is encoded once for all its questions and all epochs, which is most of the cost saved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from torch import nn

from course_utils.datasets import shapes
from course_utils.datasets.shapes import curriculum as shapes_curriculum
from course_utils.datasets.vqa import PAD, Vocabulary, to_tensor
from course_utils.encoders.image import trained_grid_cnn

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

    def first(self, pictures: int) -> GridQuestions:
        """The first so many pictures, or all where there are fewer, with their questions."""
        return replace(
            self, regions=self.regions[:pictures], words=self.words[:pictures], answers=self.answers[:pictures]
        )

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


class Curriculum(Batches):
    """Batches whose first epochs ask easier questions.

    Args:
        stones: Pictures and the questions of the first epochs.
        data: The same pictures and the questions of all later epochs.
        epochs: How many epochs the first are.
        pictures: How many to a batch.
        seed: Of the order, which changes from epoch to epoch.
    """

    def __init__(
        self, stones: GridQuestions, data: GridQuestions, epochs: int, pictures: int = 32, seed: int = 0
    ) -> None:
        if len(stones) != len(data):
            raise ValueError(f"{len(stones)} pictures before and {len(data)} after: they must be the same pictures.")
        super().__init__(data, pictures, shuffle=True, seed=seed)
        self.stones, self.later, self.epochs = stones, data, epochs

    def set_epoch(self, epoch: int) -> None:
        """Choose the questions and the order of the next pass, counted from 0."""
        super().set_epoch(epoch)
        self.data = self.stones if epoch < self.epochs else self.later


@cache
def vocabulary() -> Vocabulary:
    """The words of the training questions; 2,000 pictures have them all."""
    return Vocabulary.build(question.text for question in shapes.split("train", pictures=2000).questions)


def load(
    name: str, pictures: int | None = None, device: torch.device | str = "cpu", encoder: nn.Module | None = None
) -> GridQuestions:
    """A split of shapes for the ladder: scenes drawn, then encoded by the shipped GridCNN.

    Args:
        name: "train", "validation", "test" or "compositional".
        pictures: How many; by default ``TRAIN_PICTURES`` or ``OTHER_PICTURES``. About 20 s of CPU for 12,000.
        device: Where the encoder computes; the result is on the CPU.
        encoder: Another frozen encoder of as many regions and features.

    Raises:
        ValueError: There is no split of that name.
    """
    count = pictures or (TRAIN_PICTURES if name == "train" else OTHER_PICTURES)
    return encode(shapes.split(name, pictures=count), (encoder or trained_grid_cnn()).to(device))


def encode(data: shapes.ShapesData, encoder: nn.Module) -> GridQuestions:
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


REPLACED = ("exist-relation", "verify-relation")  # by stepping stones, about colours and about shapes


def stepping_stones(data: GridQuestions) -> GridQuestions:
    """Training pictures with the yes/no questions across a direction replaced by ones whose answer names what is there.

    Args:
        data: The training split, or its first pictures. See :mod:`course_utils.datasets.shapes.curriculum`.
    """
    questions = shapes_curriculum.ask_across(shapes.split("train", pictures=len(data)).scenes)
    numbers = words([question.text for question in questions]).unflatten(0, (-1, len(REPLACED)))
    wider = max(0, numbers.shape[-1] - data.words.shape[-1])
    all_words, answers = torch.nn.functional.pad(data.words, (0, wider), value=PAD), data.answers.clone()
    places = [data.types.index(kind) for kind in REPLACED]
    all_words[:, places] = PAD
    all_words[:, places, : numbers.shape[-1]] = numbers
    known = {answer: number for number, answer in enumerate(shapes.ANSWERS)}
    answers[:, places] = torch.tensor([known[q.answer] for q in questions]).view(-1, len(REPLACED))
    return replace(data, words=all_words, answers=answers)


def words(texts: Sequence[str]) -> torch.Tensor:
    """Numbers of the words of questions, (questions, longest), padded.

    Raises:
        ValueError: A question has no word in it.
    """
    numbers = [torch.tensor(vocabulary().encode(text)) for text in texts]
    return torch.nn.utils.rnn.pad_sequence(numbers, batch_first=True, padding_value=PAD)


@torch.no_grad()
def regions(pictures: np.ndarray, encoder: nn.Module) -> torch.Tensor:
    """What the encoder makes of pictures (n, 64, 64, 3) uint8: (n, 64, dim) float32 on the CPU."""
    device = next(encoder.parameters()).device
    parts = [pictures[start : start + 256] for start in range(0, len(pictures), 256)]
    return torch.cat([encoder(to_tensor(part).to(device)).unpooled.cpu() for part in parts])
