"""The small Transformer of lesson 01."""

from __future__ import annotations

import torch
from lesson_code import lesson_code

lesson = lesson_code("01", "mean_pool", "TextTransformer")


def test_padding_does_not_change_what_a_text_means():
    torch.manual_seed(0)
    encoder = lesson.TextTransformer(words=10, dim=16).eval()
    alone = torch.tensor([[2, 3, 4]])
    padded = torch.tensor([[2, 3, 4, 0, 0], [5, 6, 7, 8, 9]])
    torch.testing.assert_close(
        encoder(padded, padded > 0).pooled[:1], encoder(alone, alone > 0).pooled, rtol=1e-5, atol=1e-6
    )


def test_the_order_of_words_matters_to_the_transformer():
    torch.manual_seed(0)
    encoder = lesson.TextTransformer(words=10, dim=16).eval()
    words = torch.tensor([[2, 3, 4], [4, 3, 2]])
    one, other = encoder(words, words > 0).pooled
    assert (one - other).abs().max() > 1e-3
