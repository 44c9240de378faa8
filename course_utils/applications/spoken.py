"""Speech translated, corrected by a language model, and given to the language model that sees (lesson 14)."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from course_utils.alignment.attention import dot_product_attention
from course_utils.alignment.linear import LinearMap, ridge
from course_utils.datasets import shapes
from course_utils.encoders.recogniser import Recogniser, both_ways, train_in_batches
from course_utils.encoders.speech import spectrograms
from course_utils.language.generation import draw_tokens
from course_utils.paths import CHECKPOINTS
from course_utils.vlm import MAX_NEW_TOKENS, VisionLanguageModel
from course_utils.vlm.conversations import answer_in

TRANSLATOR = CHECKPOINTS / "spoken_translator.safetensors"
START, END = 1, 2  # word numbers of a translation; 0 is the blank, or padding
ASKED = ("exist", "colour", "shape", "number")  # types of question about shapes that are spoken


def questions(data: shapes.ShapesData) -> list[tuple[int, shapes.Question]]:
    """The questions of the types in ``ASKED``, each with the number of its picture."""
    return [(number // 8, one) for number, one in enumerate(data.questions) if one.type in ASKED]


class Bigram:
    """A language model of pairs of words, counted in texts; a word that they lack is spelled letter by letter."""

    def __init__(self, texts: Sequence[str]) -> None:
        rows = [["", *text.split(), ""] for text in texts]
        self.pairs = Counter(pair for row in rows for pair in zip(row, row[1:], strict=False))
        self.words = Counter(word for row in rows for word in row[:-1])

    def __call__(self, text: str) -> float:
        """Log-probability of a text."""
        row, total = ["", *text.split(), ""], sum(self.words.values())
        alone = {word: (self.words[word] + 0.1 * 28.0 ** -len(word)) / total for word in row}
        pairs = (
            (self.pairs[pair] + alone[pair[1]]) / (self.words[pair[0]] + 1) for pair in zip(row, row[1:], strict=False)
        )
        return sum(math.log(one) for one in pairs)


# --- translation --------------------------------------------------------------------------------------------------


def vocabulary(texts: Iterable[str]) -> list[str]:
    """The blank, ``START``, ``END``, and all words of the texts in alphabetical order."""
    return ["", "<start>", "<end>", *sorted({word for text in texts for word in text.split()})]


class AttentionDecoder(nn.Module):
    """Translation by attention: a GRU over a recogniser's states, and one that writes words, looking at it for each."""

    def __init__(self, words: int, dim: int = 96) -> None:
        super().__init__()
        self.gru = nn.GRU(2 * dim, dim, batch_first=True, bidirectional=True)
        self.embed, self.writer = nn.Embedding(words, 2 * dim), nn.GRU(2 * dim, 2 * dim, batch_first=True)
        self.query = nn.Linear(2 * dim, 2 * dim)
        self.head = nn.Sequential(nn.Linear(4 * dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, words))

    def forward(self, states, mask, written):
        """Logits of each next word, (batch, written, words), and attention weights, (batch, written, positions)."""
        heard = both_ways(self.gru, states, mask)
        mean = (heard * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        hidden, _ = self.writer(self.embed(written), mean[None])
        found, weights = dot_product_attention(self.query(hidden), heard, heard, mask[:, None])
        return self.head(torch.cat([hidden, found], dim=-1)), weights

    @torch.no_grad()
    def translate(self, states, mask, longest: int = 16) -> tuple[list[list[int]], list[torch.Tensor]]:
        """Word numbers of each utterance, and their attention weights, (words, positions)."""
        written = torch.full((len(states), 1), START)
        for _ in range(longest):
            logits, weights = self(states, mask, written)
            written = torch.cat([written, logits[:, -1:].argmax(dim=-1)], dim=1)
        ends = [[*row, END].index(END) for row in written[:, 1:].tolist()]
        rows = zip(written[:, 1:].tolist(), weights, ends, strict=True)
        return [row[:end] for row, _, end in rows], [some[:end] for some, end in zip(weights, ends, strict=True)]


def train_translator(model: AttentionDecoder, states, mask, targets: Sequence[torch.Tensor], steps: int, seed: int = 0):
    """Train a translator in place on word numbers; returns the loss of each step."""
    rows = [torch.tensor([START, *one, END]) for one in targets]
    written = nn.utils.rnn.pad_sequence(rows, batch_first=True)

    def loss(rows: torch.Tensor) -> torch.Tensor:
        logits, _ = model(states[rows], mask[rows], written[rows, :-1])
        return F.cross_entropy(logits.flatten(0, 1), written[rows, 1:].flatten(), ignore_index=0)

    return train_in_batches(model, loss, len(targets), steps, seed)


@torch.no_grad()
def heard(model: Recogniser, waves: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """A frozen recogniser's states, two positions averaged: (n, positions / 2, 2 · dim), and their mask."""
    mel, mask = spectrograms(waves)
    parts = [model.states(*some) for some in zip(mel.split(100), mask.split(100), strict=True)]
    states, mask = (torch.cat(some) for some in zip(*parts, strict=True))
    return F.avg_pool1d(states.transpose(1, 2), 2).transpose(1, 2), mask[:, 1::2][:, : states.shape[1] // 2]


# --- spoken questions ---------------------------------------------------------------------------------------------


def word_embeddings(model: VisionLanguageModel, text: str) -> torch.Tensor:
    """The language model's embeddings of a text's tokens, (tokens, width) float32."""
    tokens = model.tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    return model.llm.get_input_embeddings()(tokens)[0].float().detach()


def solve_bridge(model: VisionLanguageModel, vectors: Sequence[torch.Tensor], texts: Sequence[str]) -> LinearMap:
    """Ridge regression from spoken words to embeddings, from the utterances that were cut into as many words."""
    pairs = [(x, word_embeddings(model, text)) for x, text in zip(vectors, texts, strict=True)]
    pairs = [(x, y) for x, y in pairs if len(x) == len(y)]
    return ridge(*(torch.cat(some) for some in zip(*pairs, strict=True)), penalty=1.0)


def spoken_embeddings(model: VisionLanguageModel, bridge: LinearMap, vectors: Sequence[torch.Tensor]):
    """What the bridge makes of each spoken question, and a question mark: (words + 1, width) each."""
    mark = word_embeddings(model, "?")
    return [torch.cat([bridge(one), mark]) for one in vectors]


@contextlib.contextmanager
def _instead_of_text(llm, embeddings: torch.Tensor) -> Iterator[None]:
    """Context in which the language model's table of words gives these embeddings once, then its own."""
    waiting = [embeddings]
    hook = lambda _table, _tokens, own: waiting.pop() if waiting else own  # noqa: E731
    handle = llm.get_input_embeddings().register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def answer_spoken(model: VisionLanguageModel, features: torch.Tensor, spoken: Sequence[torch.Tensor]) -> list[str]:
    """Answer a question about each picture, (n, cells, dim), given as embeddings, (tokens, width) each."""
    lengths = torch.tensor([len(one) for one in spoken])
    real = torch.arange(lengths.max()) >= (lengths.max() - lengths)[:, None]  # padded on the left
    rows = [F.pad(one, (0, 0, int(lengths.max()) - len(one), 0)) for one in spoken]
    with _instead_of_text(model.llm, torch.stack(rows).to(model.llm.dtype)):
        step = model._next_logits(features, real.long(), real, torch.arange(len(real)))
        tokens = draw_tokens(step, stop=model.tokenizer.eos_token_id, max_new_tokens=MAX_NEW_TOKENS)
    return [answer_in(text.strip()) for text in model.tokenizer.batch_decode(tokens, skip_special_tokens=True)]
