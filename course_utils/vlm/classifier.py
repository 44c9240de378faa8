"""The classic design for questions about pictures: BERT, attention, an LSTM, and a score for each known answer.

It reads the same frozen features as the vision-language model, those of :class:`course_utils.vlm.PictureReader`. Its
answer vocabulary is fixed when it is built.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from course_utils.alignment.attention import DotProductAttention
from course_utils.datasets.vqa import PAD
from course_utils.encoders.text import MiniLM
from course_utils.reasoning.reasoners import state_at_last_word
from course_utils.training import IGNORE, EpochBatches
from course_utils.vlm import PictureReader
from course_utils.vlm.bridges import Standardise
from course_utils.vlm.worlds import EncodedWorld, only_questions

CELLS = PictureReader.SIDE**2  # per picture


class WordPieces:
    """BERT's tokenizer with the interface that :class:`course_utils.datasets.vqa.VisualQADataset` expects."""

    def __init__(self, bert: MiniLM) -> None:
        self.tokenizer = bert.tokenizer  # [PAD] has id 0, as the data set's padding does

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, including [CLS] and [SEP]; ValueError if it has no word."""
        if not text.strip():
            raise ValueError("There is no word in the question. Ask with at least one word or number.")
        return self.tokenizer(text).input_ids


class CachedBert:
    """Hidden states of questions from a frozen BERT; each distinct question is computed once."""

    def __init__(self, bert: MiniLM) -> None:
        self.bert, self.cache = bert.bert, {}

    def __call__(self, words: torch.Tensor) -> torch.Tensor:
        """Token ids, (batch, longest) padded with ``PAD``, to states, (batch, longest, 384) float16."""
        rows = [tuple(row[row != PAD].tolist()) for row in words]
        self.precompute(rows)
        return pad_sequence([self.cache[row] for row in rows], batch_first=True)

    @torch.no_grad()
    def precompute(self, rows: Sequence[tuple[int, ...]], batch_size: int = 128) -> None:
        """Compute the questions that are not cached yet, in batches of similar lengths."""
        new = sorted(set(rows) - self.cache.keys(), key=len)
        for first in range(0, len(new), batch_size):
            some = new[first : first + batch_size]
            ids = pad_sequence([torch.tensor(row) for row in some], batch_first=True).to(self.bert.device)
            states = self.bert(input_ids=ids, attention_mask=(ids != PAD).long()).last_hidden_state
            for tokens, state in zip(some, states, strict=True):
                self.cache[tokens] = state[: len(tokens)].half().cpu()  # (pieces, 384)


class BertClassifier(nn.Module):
    """Words attend to the picture, an LSTM reads words and what they attended to, and a head scores all answers.

    ``region_dim`` is the number of features per cell; ``dim`` is the width of words, cells and states.
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
        """Answer scores, (batch, answers), for a batch of :class:`WorldBatches`.

        ``features`` are (pictures, 16, region_dim), ``picture_of`` (batch,), ``states`` (batch, words, 384),
        ``word_mask`` (batch, words).
        """
        regions = self.region_norm(self.regions(self.standardise(batch["features"])) + self.places)
        words = self.word_norm(self.words(batch["states"].float()))  # (batch, words, dim)
        attended, _ = self.look(words, regions[batch["picture_of"]])
        states, _ = self.lstm(self.aligned_norm(words + attended))
        return self.head(state_at_last_word(states, batch["word_mask"]))


class WorldBatches(EpochBatches):
    """Pictures with all their questions, no captions; answers not among ``answers`` get the target ``IGNORE``."""

    def __init__(
        self, worlds: Sequence[EncodedWorld], pieces: WordPieces, bert: CachedBert, answers: Sequence[str], *,
        pictures_per_batch: int = 32, shuffle: bool = False, seed: int = 0,
    ) -> None:  # fmt: skip
        self.turns = [turns for world in worlds for turns in only_questions(world).turns]
        super().__init__(len(self.turns), pictures_per_batch, shuffle=shuffle, seed=seed)
        self.features = torch.cat([world.features for world in worlds])
        self.bert, self.index = bert, {answer: number for number, answer in enumerate(answers)}
        prompts = {turn.prompt for turns in self.turns for turn in turns}
        self.ids = {prompt: torch.tensor(pieces.encode(prompt)) for prompt in prompts}
        bert.precompute([tuple(ids.tolist()) for ids in self.ids.values()])

    def batch(self, rows: np.ndarray) -> dict:
        """Build the batch of these pictures with all their questions, for :class:`BertClassifier`."""
        turns = [turn for index in rows for turn in self.turns[index]]
        counts = torch.tensor([len(self.turns[index]) for index in rows])
        words = pad_sequence([self.ids[turn.prompt] for turn in turns], batch_first=True)  # (batch, longest)
        return {
            "features": self.features[torch.from_numpy(np.asarray(rows))],
            "picture_of": torch.arange(len(rows)).repeat_interleave(counts),
            "states": self.bert(words),
            "word_mask": words != PAD,
            "answers": torch.tensor([self.index.get(turn.answer, IGNORE) for turn in turns]),
            "types": [turn.type for turn in turns],
        }
