"""Visual question answering from any source: vocabulary, picture reading, data set and batches.

:class:`VisualQADataset` joins each :class:`VisualQuestion` with its picture, word indices and answer index.
:func:`loader` makes batches in which a picture appears once, and is encoded once, however many questions it has.

A batch is a dictionary:

- ``pictures``: (pictures, 3, H, W) float32
- ``picture_of``: (batch,) int64, each question's row in ``pictures``
- ``words``: (batch, longest) int64, padded with ``PAD``
- ``word_mask``: (batch, longest) bool, True at words
- ``answers``: (batch,) int64, index into the data set's ``answers``, or ``training.IGNORE``
- ``types``: list of str; ``question_ids``: list of int
"""

from __future__ import annotations

import io
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch.utils.data import DataLoader, Dataset

from course_utils.training import IGNORE, EpochBatches

PAD, UNKNOWN = 0, 1  # word indices


@dataclass(frozen=True, slots=True)
class VisualQuestion:
    """A question about a picture.

    Attributes:
        question_id: Unique within its data set.
        picture: Key of its picture.
        question: Text as asked.
        answer: Target answer; empty if unknown.
        type: Question type, for tables of results.
        answers: All annotators' answers (ten in VQA v2), if there are several.
    """

    question_id: int
    picture: Hashable
    question: str
    answer: str
    type: str = ""
    answers: tuple[str, ...] = ()


# --- words ------------------------------------------------------------------------------------------------------


def tokenize(text: str) -> list[str]:
    """Split into lower-case words and numbers; punctuation is dropped, except an apostrophe inside a word.

    "What's left of the 2 X-rays?" gives what's, left, of, the, 2, x, rays.
    """
    plain = unicodedata.normalize("NFKC", text).lower().replace("’", "'")
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", plain)


class Vocabulary:
    """Word-level vocabulary; index 0 is ``PAD`` and index 1 is ``UNKNOWN``.

    Attributes:
        words: All words by index, the two special ones first.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self.words = ("<pad>", "<unknown>", *words)
        self._index = {word: index for index, word in enumerate(self.words)}
        if len(self._index) != len(self.words):
            raise ValueError("A word occurs twice in the vocabulary. Give each word once, without the special ones.")

    @classmethod
    def build(cls, texts: Iterable[str]) -> Vocabulary:
        """Collect all words of the texts, most frequent first, ties in alphabetical order."""
        counts = Counter(word for text in texts for word in tokenize(text))
        return cls(sorted(counts, key=lambda word: (-counts[word], word)))

    def index(self, word: str) -> int:
        """Index of a word, ``UNKNOWN`` if the vocabulary lacks it."""
        return self._index.get(word, UNKNOWN)

    def encode(self, text: str) -> list[int]:
        """Word indices of a text; ValueError if the text has no word."""
        words = tokenize(text)
        if not words:
            raise ValueError(f"There is no word in the question {text!r}. Ask with at least one word or number.")
        return [self.index(word) for word in words]

    def decode(self, ids: Iterable[int]) -> str:
        """Words with these indices, joined by spaces and without padding."""
        return " ".join(self.words[index] for index in map(int, ids) if index != PAD)

    def unknown_words(self, text: str) -> list[str]:
        """Words of the text that the vocabulary lacks, each once, in order."""
        return [word for word in dict.fromkeys(tokenize(text)) if self.index(word) == UNKNOWN]

    def __len__(self) -> int:
        return len(self.words)


# --- pictures ---------------------------------------------------------------------------------------------------

Picture = str | Path | io.BytesIO | Image.Image | np.ndarray

_REMEDY = 'Replace it, or leave such questions out with on_bad_picture="skip".'


class BadPicture(ValueError):
    """A picture that cannot be read; the message names it and the reason."""


def read_picture(source: Picture) -> np.ndarray:
    """Read a picture of any mode and size as (H, W, 3) uint8.

    Transparency becomes white, an animation gives its first frame, 16-bit grey keeps its upper 8 bits, and the EXIF
    orientation is applied.

    Args:
        source: A file or its content, a PIL image, or an array (H, W, 3) uint8, which is returned unchanged.

    Raises:
        BadPicture: If the file is missing, damaged, not a picture, or so large that PIL suspects a decompression bomb.
    """
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or 0 in source.shape:
            found = f"{source.dtype} {source.shape}"
            raise BadPicture(f"A picture as an array must be uint8 (height, width, 3), this one is {found}.")
        return source
    try:
        if isinstance(source, Image.Image):
            return _to_rgb(source)
        with Image.open(source) as image:
            return _to_rgb(image)
    # PIL's decoders raise nearly anything on damaged files: OSError, SyntaxError, struct.error, IndexError ...
    except Exception as error:
        name = getattr(source, "filename", "") or "the picture" if isinstance(source, Image.Image) else source
        raise BadPicture(f"{name} cannot be read as a picture: {_reason(error, source)}") from error


def _reason(error: Exception, source: Picture) -> str:
    """Why a picture cannot be read, and what to do about it."""
    if isinstance(error, Image.DecompressionBombError):
        return f"{error} Scale it down, to 1,000 pixels a side for instance"
    if isinstance(error, UnidentifiedImageError):
        with suppress(OSError, TypeError):  # a source that cannot be opened has no beginning
            content = Path(source).read_bytes() if isinstance(source, str | Path) else source.getvalue()
            if content[4:8] == b"ftyp":  # HEIC, AVIF and films, whatever the file is called
                kind = content[8:12].decode("ascii", "replace").strip()
                return f"it is a file of type {kind!r}, not JPEG or PNG. Convert it, for HEIC from a phone to JPEG"
            if not content:
                return "the file is empty. Copy it again"
    return str(error) or type(error).__name__


def _to_rgb(image: Image.Image) -> np.ndarray:
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16-bit grey, which PIL gives as I;16, I;16B or I
        grey = np.asarray(image)
        if grey.min() < 0 or grey.max() > 65535:
            raise ValueError("its greys do not fit into 16 bits; scale them to 0..65535")
        image = Image.fromarray((grey >> 8).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("its greys are floating-point numbers of unknown range; convert it to 8 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


def to_tensor(picture: np.ndarray) -> torch.Tensor:
    """Convert (..., H, W, 3) uint8 to (..., 3, H, W) float32 in [-1, 1]: scale to [0, 1], then (x - 0.5) / 0.5."""
    channels_first = torch.from_numpy(np.moveaxis(picture, -1, -3))
    return channels_first.to(torch.float32, memory_format=torch.contiguous_format).div_(127.5).sub_(1)


def fit_square(picture: np.ndarray, side: int) -> np.ndarray:
    """Scale a picture, (H, W, 3) uint8, to fit into a square, (side, side, 3) uint8, centred on white."""
    image = Image.fromarray(picture)
    scale = side / max(image.size)
    if round(min(image.size) * scale) < 1:  # a strip so thin that PIL would scale it to nothing
        image = image.resize([max(1, round(length * scale)) for length in image.size])
    return np.array(ImageOps.pad(image, (side, side), color="white"))


@dataclass(frozen=True)
class Resize:
    """Transform that fits a picture of any size into a square of ``size`` pixels, padded with white."""

    size: int

    def __call__(self, picture: np.ndarray) -> torch.Tensor:
        """Convert (H, W, 3) uint8 to (3, size, size) float32, see :func:`to_tensor`."""
        return to_tensor(fit_square(picture, self.size))


# --- data set ---------------------------------------------------------------------------------------------------


class VisualQADataset(Dataset):
    """Questions with their pictures, as tensors.

    Args:
        questions: At least one.
        pictures: A uint8 array or tensor (pictures, H, W, 3), indexed by each question's ``picture``; or a mapping
            from ``picture`` to anything that :func:`read_picture` takes, read again at each access.
        vocabulary: Encodes the questions; needs ``encode(text) -> list[int]``.
        answers: The answers a model can give. A question with any other answer gets the target ``training.IGNORE``:
            it is left out of the loss and counts as wrong. ``outside`` counts those whose answer is known.
        transform: Maps (H, W, 3) uint8 to (3, H', W') float32; :func:`to_tensor` if None.
        on_bad_picture: "raise" raises when a bad picture is read. "skip" reads all pictures of a mapping at once and
            drops the questions about bad ones; ``skipped`` lists them as (question_id, reason).

    Raises:
        ValueError: If there are no questions, a question has no words, there are answers but none is among
            ``answers``, or the pictures have another format.
        BadPicture: If a question's picture is missing.
    """

    def __init__(
        self, questions: Sequence[VisualQuestion], pictures: Mapping[Hashable, Picture] | np.ndarray | torch.Tensor,
        vocabulary: Vocabulary, answers: Sequence[str],
        transform: Callable[[np.ndarray], torch.Tensor] | None = None, on_bad_picture: str = "raise",
    ) -> None:  # fmt: skip
        if on_bad_picture not in ("raise", "skip"):
            raise ValueError(f'on_bad_picture is "raise" or "skip", not {on_bad_picture!r}.')
        self.pictures = pictures if isinstance(pictures, Mapping) else _picture_array(pictures)
        self.vocabulary, self.answers = vocabulary, tuple(answers)
        self.transform = transform or to_tensor
        self.questions, self.skipped = self._with_good_pictures(questions, skip=on_bad_picture == "skip")
        if not self.questions:
            raise ValueError(f"There are no questions ({len(self.skipped)} skipped). Give at least one.")
        self.words = self._encode()  # (questions, longest)
        self.targets, self.outside = self._index_answers()  # (questions,)
        self.picture_keys = list(dict.fromkeys(question.picture for question in self.questions))
        rows = {key: row for row, key in enumerate(self.picture_keys)}
        self.picture_rows = torch.tensor([rows[question.picture] for question in self.questions])  # into picture_keys

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, index: int) -> dict:
        """One question as a dictionary, without padding."""
        question = self.questions[index]  # raises IndexError past the end, which ends a for loop
        words, row = self.words[index], self.picture_rows[index].item()
        return {
            "picture": self._read(row, question.question_id),  # (3, H, W)
            "picture_row": row,
            "words": words[words != PAD],  # (words,)
            "answer": self.targets[index].item(),
            "type": question.type,
            "question_id": question.question_id,
        }

    def __getitems__(self, indices: Sequence[int]) -> dict:
        """A whole batch; DataLoader calls this once instead of fetching the questions one by one."""
        chosen = torch.as_tensor(indices)
        words = self.words[chosen]
        words = words[:, : (words != PAD).any(dim=0).sum()]  # only as wide as the longest question
        questions = [self.questions[index] for index in indices]
        rows, picture_of = torch.unique(self.picture_rows[chosen], return_inverse=True)
        return {
            "pictures": self._read_many(rows.tolist(), picture_of, questions),
            "picture_of": picture_of,
            "words": words,
            "word_mask": words != PAD,
            "answers": self.targets[chosen],
            "types": [question.type for question in questions],
            "question_ids": [question.question_id for question in questions],
        }

    def _read_many(self, rows: list[int], picture_of: torch.Tensor, questions: list[VisualQuestion]) -> torch.Tensor:
        if self.transform is to_tensor and not isinstance(self.pictures, Mapping):
            return to_tensor(self.pictures[[self.picture_keys[row] for row in rows]])
        asked = dict(zip(picture_of.tolist(), questions, strict=True))  # one question of each picture, for messages
        pictures = [self._read(row, asked[i].question_id) for i, row in enumerate(rows)]
        sizes = sorted({tuple(picture.shape) for picture in pictures})
        if len(sizes) > 1:
            raise ValueError(
                f"The pictures of a batch have different sizes, among them {sizes[0]} and {sizes[-1]}. "
                "Bring them to one size with a transform, such as VisualQADataset(..., transform=Resize(64))."
            )
        return torch.stack(pictures)

    def _read(self, row: int, question_id: int) -> torch.Tensor:
        try:
            return self.transform(read_picture(self.pictures[self.picture_keys[row]]))
        except BadPicture as error:
            raise BadPicture(f"Question {question_id}: {error}. {_REMEDY}") from error

    def _with_good_pictures(self, questions, skip: bool) -> tuple[list[VisualQuestion], list[tuple[int, str]]]:
        """Questions whose pictures exist (and are readable, if bad ones are skipped), and the others with reasons."""
        from_mapping = isinstance(self.pictures, Mapping)
        keys = self.pictures if from_mapping else range(len(self.pictures))
        wrong: dict[Hashable, str] = {}
        for key in {question.picture for question in questions}:
            if key not in keys:
                wrong[key] = f"there is no picture {key!r} among the {len(keys)} given"
            elif skip and from_mapping:
                try:
                    read_picture(self.pictures[key])
                except BadPicture as error:
                    wrong[key] = str(error)
        bad = [(question.question_id, wrong[question.picture]) for question in questions if question.picture in wrong]
        if bad and not skip:
            raise BadPicture(f"Question {bad[0][0]}: {bad[0][1]}, and so for {len(bad)} questions. {_REMEDY}")
        return [question for question in questions if question.picture not in wrong], bad

    def _encode(self) -> torch.Tensor:
        encoded = []
        for question in self.questions:
            try:
                encoded.append(self.vocabulary.encode(question.question))
            except ValueError as error:
                raise ValueError(f"Question {question.question_id}: {error}") from error
        longest = max(map(len, encoded))
        return torch.tensor([ids + [PAD] * (longest - len(ids)) for ids in encoded])

    def _index_answers(self) -> tuple[torch.Tensor, int]:
        index = {answer: number for number, answer in enumerate(self.answers)}
        targets = [index.get(question.answer, IGNORE) for question in self.questions]
        others = [q.answer for q, target in zip(self.questions, targets, strict=True) if q.answer and target == IGNORE]
        if others and set(targets) == {IGNORE}:
            raise ValueError(f"No question has an answer among the {len(index)} given; one has {others[0]!r}. Add it.")
        return torch.tensor(targets), len(others)


def _picture_array(pictures: np.ndarray | torch.Tensor) -> np.ndarray:
    array = pictures.cpu().numpy() if isinstance(pictures, torch.Tensor) else pictures
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != 3:
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"Pictures are a mapping, or uint8 of shape (pictures, height, width, 3); these are {found}.")
    return array


# --- batches ----------------------------------------------------------------------------------------------------


class PictureBatchSampler(EpochBatches):
    """Batches of question indices; each batch holds all questions about ``pictures_per_batch`` pictures."""

    def __init__(
        self, dataset: VisualQADataset, pictures_per_batch: int, *, shuffle: bool = False, seed: int = 0
    ) -> None:
        super().__init__(len(dataset.picture_keys), pictures_per_batch, shuffle=shuffle, seed=seed)
        by_picture = dataset.picture_rows.argsort(stable=True).split(dataset.picture_rows.bincount().tolist())
        self.questions_of = [questions.tolist() for questions in by_picture]

    def batch(self, rows: np.ndarray) -> list[int]:
        """Indices of all questions about these pictures."""
        return [question for row in rows for question in self.questions_of[row]]


def loader(
    dataset: VisualQADataset, pictures_per_batch: int, *, shuffle: bool = False, seed: int = 0, workers: int = 0
) -> DataLoader:
    """DataLoader over a :class:`PictureBatchSampler`; ``loader.batch_sampler.set_epoch(epoch)`` reorders it."""
    sampler = PictureBatchSampler(dataset, pictures_per_batch, shuffle=shuffle, seed=seed)
    return DataLoader(dataset, batch_sampler=sampler, collate_fn=dict, num_workers=workers)  # already batches: no-op
