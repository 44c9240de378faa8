"""The classic way to answer questions about pictures: a BERT, attention, an LSTM, and one output for each answer.

It reads what the vision-language model reads: the frozen features of a :class:`course_utils.vlm.PictureReader`. What
it can answer is fixed when it is built.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from course_utils.alignment.attention import DotProductAttention
from course_utils.datasets.vqa import NO_ANSWER, PAD
from course_utils.encoders.text import MiniLM
from course_utils.reasoning.reasoners import state_at_last_word
from course_utils.vlm import PictureReader
from course_utils.vlm.bridges import Standardise
from course_utils.vlm.worlds import World, only_questions

CELLS = PictureReader.SIDE**2  # of a picture


class WordPieces:
    """BERT's tokenizer as :class:`course_utils.datasets.vqa.VisualQADataset` takes one: text to numbers.

    Args:
        bert: Its ``[PAD]`` is 0, as the data set's padding is.
    """

    def __init__(self, bert: MiniLM) -> None:
        self.tokenizer = bert.tokenizer

    def encode(self, text: str) -> list[int]:
        """The numbers of the pieces, [CLS] and [SEP] among them.

        Raises:
            ValueError: If there is no word in it.
        """
        if not text.strip():
            raise ValueError("There is no word in the question. Ask with at least one word or number.")
        return self.tokenizer(text).input_ids


class FrozenWords:
    """What a frozen BERT makes of questions; each question is read once, however often it is asked.

    Args:
        bert: Frozen.
    """

    def __init__(self, bert: MiniLM) -> None:
        self.bert, self.known = bert.bert, {}

    def __call__(self, words: torch.Tensor) -> torch.Tensor:
        """Numbers of pieces, (batch, longest) with ``PAD`` behind, to states, (batch, longest, 384) float16."""
        rows = [tuple(row[row != PAD].tolist()) for row in words]
        self.read(rows)
        return pad_sequence([self.known[row] for row in rows], batch_first=True)

    @torch.no_grad()
    def read(self, rows: Sequence[tuple[int, ...]], batch_size: int = 128) -> None:
        """Read the questions that are not known yet, those of like length together."""
        new = sorted(set(rows) - self.known.keys(), key=len)
        for at in range(0, len(new), batch_size):
            some = new[at : at + batch_size]
            ids = pad_sequence([torch.tensor(row) for row in some], batch_first=True).to(self.bert.device)
            states = self.bert(input_ids=ids, attention_mask=(ids != PAD).long()).last_hidden_state
            for asked, state in zip(some, states, strict=True):
                self.known[asked] = state[: len(asked)].half().cpu()  # (pieces, 384)


class BertClassifier(nn.Module):
    """Each word looks at the picture, an LSTM runs over what the words saw, and a head scores every known answer.

    Args:
        answers: How many answers there are to choose from.
        region_dim: Features of a cell of the picture.
        dim: Of words, cells and states inside.
    """

    def __init__(self, answers: int, region_dim: int, dim: int = 128) -> None:
        super().__init__()
        self.standardise = Standardise(region_dim)
        self.words, self.regions = nn.Linear(MiniLM.DIM, dim), nn.Linear(region_dim, dim)
        self.places = nn.Parameter(0.05 * torch.randn(CELLS, dim))
        self.word_norm, self.region_norm, self.aligned_norm = (nn.LayerNorm(dim) for _ in range(3))
        self.look = DotProductAttention(dim)
        self.lstm = nn.LSTM(dim, dim, batch_first=True)
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, answers))

    def forward(self, batch: dict) -> torch.Tensor:
        """Answer scores, (batch, answers).

        Args:
            batch: ``features`` (pictures, 16, region_dim) with ``picture_of`` (batch,); ``states`` (batch, words, 384)
                with ``word_mask``.
        """
        regions = self.region_norm(self.regions(self.standardise(batch["features"])) + self.places)
        words = self.word_norm(self.words(batch["states"].float()))  # (batch, words, dim)
        seen, _ = self.look(words, regions[batch["picture_of"]])
        states, _ = self.lstm(self.aligned_norm(words + seen))
        return self.head(state_at_last_word(states, batch["word_mask"]))


class WorldBatches:
    """Batches of pictures of some worlds with all their questions; captions are no questions and are left out.

    Args:
        worlds: Where they are from.
        pieces: The tokenizer.
        words: The frozen BERT.
        answers: What can be answered; a question with another answer has the target ``NO_ANSWER``.
        pictures: To a batch.
        shuffle: Whether the order of the pictures changes from epoch to epoch.
        seed: Of the order.
    """

    def __init__(
        self, worlds: Sequence[World], pieces: WordPieces, words: FrozenWords, answers: Sequence[str],
        pictures: int = 32, shuffle: bool = False, seed: int = 0,
    ) -> None:  # fmt: skip
        self.turns = [turns for world in worlds for turns in only_questions(world).turns]
        self.features = torch.cat([world.features for world in worlds])
        self.words, self.number = words, {answer: number for number, answer in enumerate(answers)}
        self.pictures, self.shuffle, self.seed, self.epoch = pictures, shuffle, seed, 0
        prompts = {turn.prompt for turns in self.turns for turn in turns}
        self.ids = {prompt: torch.tensor(pieces.encode(prompt)) for prompt in prompts}
        words.read([tuple(ids.tolist()) for ids in self.ids.values()])

    @property
    def batch_sampler(self) -> WorldBatches:
        """Where :func:`course_utils.training.fit` says which epoch begins."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.turns) // self.pictures)

    def __iter__(self) -> Iterator[dict]:
        order = np.arange(len(self.turns))
        if self.shuffle:
            np.random.default_rng((self.seed, self.epoch)).shuffle(order)
        for start in range(0, len(order), self.pictures):
            yield self.batch(order[start : start + self.pictures])

    def batch(self, chosen: np.ndarray) -> dict:
        """Some pictures with all their questions, as :class:`BertClassifier` takes them."""
        asked = [turn for index in chosen for turn in self.turns[index]]
        counts = torch.tensor([len(self.turns[index]) for index in chosen])
        words = pad_sequence([self.ids[turn.prompt] for turn in asked], batch_first=True)  # (batch, longest)
        return {
            "features": self.features[torch.from_numpy(np.asarray(chosen))],
            "picture_of": torch.arange(len(chosen)).repeat_interleave(counts),
            "states": self.words(words),
            "word_mask": words != PAD,
            "answers": torch.tensor([self.number.get(turn.answer, NO_ANSWER) for turn in asked]),
            "types": [turn.type for turn in asked],
        }
