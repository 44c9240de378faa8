"""Questions about pictures, from whatever data set, as batches that a model can be trained on.

A question is a :class:`VisualQuestion`; :class:`VisualQADataset` joins questions to their pictures, words and answers;
:func:`loader` gives batches in which a picture shared by several questions appears, and is encoded, only once.

A batch is a dictionary with these keys:

- ``pictures``: float32 (pictures, 3, H, W), the pictures of the batch, each once
- ``picture_of``: long (batch,), the row in ``pictures`` of each question
- ``words``: long (batch, longest), padded with ``PAD``
- ``word_mask``: bool (batch, longest), True where there is a word
- ``answers``: long (batch,), the place of the answer in the dataset's ``answers``, or ``NO_ANSWER``
- ``types``: list of str, and ``question_ids``: list of int
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.utils.data import DataLoader, Dataset, Sampler

PAD, UNKNOWN = 0, 1
NO_ANSWER = -1  # for cross_entropy(ignore_index=NO_ANSWER)


@dataclass(frozen=True, slots=True)
class VisualQuestion:
    """A question about a picture.

    Attributes:
        question_id: Unique within its data set.
        picture: The key of its picture in the picture source.
        question: As asked.
        answer: The answer to learn; empty where it is not known.
        type: What kind of question it is, for tables of results.
        answers: What each of the annotators answered (ten in VQA v2), where there are several.
    """

    question_id: int
    picture: Hashable
    question: str
    answer: str
    type: str = ""
    answers: tuple[str, ...] = ()


# --- words ------------------------------------------------------------------------------------------------------


def tokenize(text: str) -> list[str]:
    """Lower-case words and numbers; punctuation is dropped, except an apostrophe inside a word.

    "What's left of the 2 X-rays?" gives what's, left, of, the, 2, x, rays.
    """
    plain = unicodedata.normalize("NFKC", text).lower().replace("’", "'")
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", plain)


class Vocabulary:
    """The words that a model knows, each with its number; 0 is ``PAD`` and 1 is ``UNKNOWN``.

    Attributes:
        words: All words in order, the two special ones first.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self.words = ("<pad>", "<unknown>", *words)
        self._index = {word: index for index, word in enumerate(self.words)}
        if len(self._index) != len(self.words):
            raise ValueError("A word may occur only once in a vocabulary. Give each once, without the special ones.")

    @classmethod
    def build(cls, texts: Iterable[str], minimum_count: int = 1) -> Vocabulary:
        """Every word that occurs at least ``minimum_count`` times, commonest first, then by alphabet."""
        counts = Counter(word for text in texts for word in tokenize(text))
        kept = (word for word, count in counts.items() if count >= minimum_count)
        return cls(sorted(kept, key=lambda word: (-counts[word], word)))

    def index(self, word: str) -> int:
        """The number of a word; ``UNKNOWN`` if it is not in the vocabulary."""
        return self._index.get(word, UNKNOWN)

    def encode(self, text: str) -> list[int]:
        """The numbers of the words of ``text``.

        Raises:
            ValueError: If there is no word in it.
        """
        words = tokenize(text)
        if not words:
            raise ValueError(f"There is no word in the question {text!r}. Ask with at least one word or number.")
        return [self.index(word) for word in words]

    def decode(self, ids: Iterable[int]) -> str:
        """The words with these numbers, joined by spaces; padding is left out."""
        return " ".join(self.words[index] for index in map(int, ids) if index != PAD)

    def unknown_words(self, text: str) -> list[str]:
        """The words of ``text`` that are not in the vocabulary, each once, in order."""
        return list(dict.fromkeys(word for word in tokenize(text) if word not in self))

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: str) -> bool:
        return self._index.get(word, UNKNOWN) > UNKNOWN

    def save(self, path: str | Path) -> None:
        """Write the words to a JSON file."""
        Path(path).write_text(json.dumps({"words": self.words[2:]}, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Vocabulary:
        """Read what :meth:`save` wrote; a ValueError names a file that holds something else."""
        try:
            return cls(json.loads(Path(path).read_text(encoding="utf-8"))["words"])
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path} is not a saved vocabulary ({error!r}). Save it again.") from error


# --- pictures ---------------------------------------------------------------------------------------------------

Picture = str | Path | Image.Image | np.ndarray


_REMEDY = 'Replace it, or leave such questions out with on_bad_picture="skip".'


class BadPicture(ValueError):
    """A picture that cannot be read; the message names it and the reason."""


def read_picture(source: Picture) -> np.ndarray:
    """A picture of any mode and size as (H, W, 3) uint8.

    What is transparent becomes white, an animation gives its first frame, 16-bit greys their upper 8 bits, and a
    photograph is turned the way up that its EXIF orientation says.

    Args:
        source: A file, a PIL image, or an array (H, W, 3) uint8, which is returned as it is.

    Raises:
        BadPicture: If there is no such file, it is damaged or not a picture, or it is so large that PIL takes it for
            a decompression bomb.
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
        raise BadPicture(f"{name} cannot be read as a picture: {error or type(error).__name__}") from error


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
    """(..., H, W, 3) uint8 to (..., 3, H, W) float32 from -1 to 1: to [0, 1], then (x - 0.5) / 0.5."""
    channels_first = torch.from_numpy(np.moveaxis(picture, -1, -3))
    return channels_first.to(torch.float32, memory_format=torch.contiguous_format).div_(127.5).sub_(1)


@dataclass(frozen=True)
class Resize:
    """A transform for pictures of different sizes: fits each into a square of ``size`` pixels with white borders."""

    size: int

    def __call__(self, picture: np.ndarray) -> torch.Tensor:
        """(H, W, 3) uint8 to (3, size, size) float32, see :func:`to_tensor`."""
        square = ImageOps.pad(Image.fromarray(picture), (self.size, self.size), color="white")
        return to_tensor(np.array(square))


# --- data set ---------------------------------------------------------------------------------------------------


class VisualQADataset(Dataset):
    """Questions with their pictures, as numbers.

    Args:
        questions: At least one.
        pictures: All of them as one uint8 array or tensor (pictures, H, W, 3), where a question's ``picture`` is the
            row; or a mapping from ``picture`` to anything that :func:`read_picture` takes, read anew each time.
        vocabulary: Turns questions into numbers.
        answers: The answers that a model can give. A question whose answer is not among them gets ``NO_ANSWER``:
            leave it out of the loss, and count it as wrong. ``outside`` says how many have another answer.
        transform: (H, W, 3) uint8 to (3, H', W') float32; None is :func:`to_tensor`.
        on_bad_picture: "raise" raises when a bad picture is read. "skip" reads every picture of a mapping at once
            and leaves out the questions about bad ones; ``skipped`` lists them as (question_id, reason).

    Raises:
        ValueError: If there are no questions, one has no words, no question has an answer among ``answers`` although
            some have answers, or the pictures are not as described; BadPicture for a picture that is not there.
    """

    def __init__(
        self,
        questions: Sequence[VisualQuestion],
        pictures: Mapping[Hashable, Picture] | np.ndarray | torch.Tensor,
        vocabulary: Vocabulary,
        answers: Sequence[str],
        transform: Callable[[np.ndarray], torch.Tensor] | None = None,
        on_bad_picture: str = "raise",
    ) -> None:
        if on_bad_picture not in ("raise", "skip"):
            raise ValueError(f'on_bad_picture is "raise" or "skip", not {on_bad_picture!r}.')
        self.pictures = pictures if isinstance(pictures, Mapping) else _picture_array(pictures)
        self.vocabulary, self.answers = vocabulary, tuple(answers)
        self.transform = transform or to_tensor
        self.questions, self.skipped = self._with_good_pictures(questions, skip=on_bad_picture == "skip")
        if not self.questions:
            raise ValueError(f"There are no questions ({len(self.skipped)} skipped). Give at least one.")
        self.words = self._encode()  # (questions, longest)
        self.targets, self.outside = self._number_answers()  # (questions,)
        self.picture_keys = list(dict.fromkeys(question.picture for question in self.questions))
        rows = {key: row for row, key in enumerate(self.picture_keys)}
        self.picture_rows = torch.tensor([rows[question.picture] for question in self.questions])  # into picture_keys

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, index: int) -> dict:
        """One question as a dictionary, unpadded; :func:`collate` makes a batch of several."""
        question = self.questions[index]  # an IndexError past the end, as sequences do
        ids, row = self.words[index], self.picture_rows[index].item()
        return {
            "picture": self._read(row, question.question_id),  # (3, H, W)
            "picture_row": row,
            "words": ids[ids != PAD],  # (words,)
            "answer": self.targets[index].item(),
            "type": question.type,
            "question_id": question.question_id,
        }

    def __getitems__(self, indices: Sequence[int]) -> dict:
        """A whole batch at once: DataLoader asks for it in this way, which spares it a loop over the questions."""
        chosen = torch.as_tensor(indices)
        words = self.words[chosen]
        questions = [self.questions[index] for index in indices]
        rows, picture_of = torch.unique(self.picture_rows[chosen], return_inverse=True)
        return _batch(
            self._read_many(rows, picture_of, questions),
            picture_of,
            words[:, : (words != PAD).any(dim=0).sum()],  # only as wide as the longest question
            self.targets[chosen],
            [question.type for question in questions],
            [question.question_id for question in questions],
        )

    def _read_many(self, rows: torch.Tensor, picture_of: torch.Tensor, questions: list) -> torch.Tensor:
        if self.transform is to_tensor and not isinstance(self.pictures, Mapping):
            return to_tensor(self.pictures[[self.picture_keys[row] for row in rows]])
        asked = dict(zip(picture_of.tolist(), questions, strict=True))  # one question of each picture, for messages
        return _stack([self._read(row, asked[place].question_id) for place, row in enumerate(rows.tolist())])

    def _read(self, row: int, question_id: int) -> torch.Tensor:
        try:
            return self.transform(read_picture(self.pictures[self.picture_keys[row]]))
        except BadPicture as error:
            raise BadPicture(f"Question {question_id}: {error}. {_REMEDY}") from error

    def _with_good_pictures(self, questions, skip: bool) -> tuple[list[VisualQuestion], list[tuple[int, str]]]:
        known = self.pictures if isinstance(self.pictures, Mapping) else range(len(self.pictures))
        wrong: dict[Hashable, str] = {}
        for key in {question.picture for question in questions}:
            if key not in known:
                wrong[key] = f"there is no picture {key!r} among the {len(known)} given"
            elif skip and known is self.pictures:
                try:
                    read_picture(known[key])
                except BadPicture as error:
                    wrong[key] = str(error)
        bad = [(question.question_id, wrong[question.picture]) for question in questions if question.picture in wrong]
        if bad and not skip:
            raise BadPicture(f"Question {bad[0][0]}: {bad[0][1]}, and so for {len(bad)} questions. {_REMEDY}")
        return [question for question in questions if question.picture not in wrong], bad

    def _encode(self) -> torch.Tensor:
        rows = []
        for question in self.questions:
            try:
                rows.append(self.vocabulary.encode(question.question))
            except ValueError as error:
                raise ValueError(f"Question {question.question_id}: {error}") from error
        longest = max(map(len, rows))
        return torch.tensor([ids + [PAD] * (longest - len(ids)) for ids in rows])

    def _number_answers(self) -> tuple[torch.Tensor, int]:
        index = {answer: number for number, answer in enumerate(self.answers)}
        targets = [index.get(question.answer, NO_ANSWER) for question in self.questions]
        answered = sum(bool(question.answer) for question in self.questions)
        outside = answered - sum(target != NO_ANSWER for target in targets)
        if answered and outside == answered:
            example = next(question.answer for question in self.questions if question.answer)
            raise ValueError(f"No question has an answer among the {len(index)} answers. One of them has {example!r}.")
        return torch.tensor(targets), outside


def collate(items: list[dict] | dict) -> dict:
    """Items of a :class:`VisualQADataset` as a batch; a batch is returned as it is.

    Raises:
        ValueError: If the pictures have different sizes.
    """
    if isinstance(items, dict):
        return items
    pictures = {item["picture_row"]: item["picture"] for item in items}
    places = {row: place for place, row in enumerate(sorted(pictures))}
    return _batch(
        _stack([pictures[row] for row in places]),
        torch.tensor([places[item["picture_row"]] for item in items]),
        torch.nn.utils.rnn.pad_sequence([item["words"] for item in items], batch_first=True, padding_value=PAD),
        torch.tensor([item["answer"] for item in items]),
        [item["type"] for item in items],
        [item["question_id"] for item in items],
    )


def _batch(pictures, picture_of, words, answers, types, question_ids) -> dict:
    return {
        "pictures": pictures,
        "picture_of": picture_of,
        "words": words,
        "word_mask": words != PAD,
        "answers": answers,
        "types": types,
        "question_ids": question_ids,
    }


def _stack(pictures: list[torch.Tensor]) -> torch.Tensor:
    sizes = sorted({tuple(picture.shape) for picture in pictures})
    if len(sizes) > 1:
        raise ValueError(
            f"The pictures of a batch have different sizes, among them {sizes[0]} and {sizes[-1]}. "
            "Bring them to one size with a transform, such as VisualQADataset(..., transform=Resize(64))."
        )
    return torch.stack(pictures)


def _picture_array(pictures: np.ndarray | torch.Tensor) -> np.ndarray:
    array = pictures.cpu().numpy() if isinstance(pictures, torch.Tensor) else pictures
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != 3:
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"Pictures are a mapping, or uint8 of shape (pictures, height, width, 3); these are {found}.")
    return array


# --- batches ----------------------------------------------------------------------------------------------------


class PictureBatchSampler(Sampler[list[int]]):
    """Batches that hold all the questions of ``pictures_per_batch`` pictures.

    The order depends on ``seed`` and the epoch alone, so a run can be taken up where it stopped. Tell each new epoch
    with :meth:`set_epoch`, or all epochs are in the same order.

    Raises:
        ValueError: If ``pictures_per_batch`` is less than one.
    """

    def __init__(self, dataset: VisualQADataset, pictures_per_batch: int, shuffle: bool = False, seed: int = 0) -> None:
        if pictures_per_batch < 1:
            raise ValueError(f"A batch needs at least one picture, not {pictures_per_batch}.")
        order = dataset.picture_rows.argsort(stable=True)  # questions, one picture after the other
        counts = dataset.picture_rows.bincount().tolist()
        self.questions_of = [part.tolist() for part in order.split(counts)]
        self.pictures_per_batch, self.shuffle, self.seed, self.epoch = pictures_per_batch, shuffle, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.questions_of) // self.pictures_per_batch)

    def __iter__(self) -> Iterator[list[int]]:
        order = np.arange(len(self.questions_of))
        if self.shuffle:
            np.random.default_rng((self.seed, self.epoch)).shuffle(order)
        for start in range(0, len(order), self.pictures_per_batch):
            chosen = order[start : start + self.pictures_per_batch]
            yield [question for picture in chosen for question in self.questions_of[picture]]


def loader(
    dataset: VisualQADataset, pictures_per_batch: int, shuffle: bool = False, seed: int = 0, workers: int = 0
) -> DataLoader:
    """A DataLoader over picture batches; before an epoch call ``loader.batch_sampler.set_epoch(epoch)``."""
    sampler = PictureBatchSampler(dataset, pictures_per_batch, shuffle, seed)
    return DataLoader(dataset, batch_sampler=sampler, collate_fn=collate, num_workers=workers)
