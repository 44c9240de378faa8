"""SmallCNN and QuestionLSTM: shapes, masks, and what must not matter."""

from __future__ import annotations

import pytest
import torch

from course_utils.encoders import QuestionLSTM, SmallCNN


@pytest.fixture
def batch():
    """Two pictures, and three questions of different lengths."""
    torch.manual_seed(0)
    words = torch.tensor([[2, 3, 4, 5], [6, 2, 0, 0], [7, 0, 0, 0]])
    return {"pictures": torch.randn(2, 3, 64, 64), "words": words, "word_mask": words > 0}


def test_a_picture_becomes_a_grid_of_regions(batch):
    pooled, unpooled, mask = SmallCNN(dim=16)(batch["pictures"])
    assert pooled.shape == (2, 16) and unpooled.shape == (2, 64, 16) and mask.shape == (2, 64) and mask.all()
    torch.testing.assert_close(pooled, unpooled.mean(dim=1))


def test_region_r_is_row_r_div_8_and_column_r_mod_8():
    encoder = SmallCNN(dim=16).eval()
    empty = torch.zeros(1, 3, 64, 64)
    spot = empty.clone()
    spot[:, :, 20, 44] = 5.0  # row 2, column 5 of cells of 8 pixels
    changed = (encoder(spot).unpooled - encoder(empty).unpooled).abs().sum(dim=-1)[0].view(8, 8)
    rows, columns = torch.nonzero(changed, as_tuple=True)
    assert changed[2, 5] > 0
    assert rows.min() >= 1 and rows.max() <= 3 and columns.min() >= 4 and columns.max() <= 6


def test_a_question_is_read_to_its_last_word_and_no_further(batch):
    encoder = QuestionLSTM(words=10, dim=16)
    pooled, unpooled, mask = encoder(batch["words"], batch["word_mask"])
    assert unpooled.shape == (3, 4, 16) and torch.equal(mask, batch["word_mask"])
    for row, length in enumerate((4, 2, 1)):
        alone = batch["words"][row : row + 1, :length]
        torch.testing.assert_close(encoder(alone, alone > 0).pooled[0], pooled[row])


def test_the_order_of_the_words_matters():
    encoder = QuestionLSTM(words=10)
    words = torch.tensor([[2, 3, 4], [4, 3, 2]])
    one, other = encoder(words, words > 0).pooled
    assert not torch.allclose(one, other)
