from __future__ import annotations

import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, BertTokenizer
from transformers.utils import logging

from course_utils import pretrained
from course_utils.cache import AssetError


@pytest.fixture
def folder(tmp_path):
    """A BERT of a few hundred weights with six words."""
    words = tmp_path / "vocab.txt"
    words.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nred\n", encoding="utf-8")
    config = BertConfig(
        vocab_size=6, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=8,
    )  # fmt: skip
    BertModel(config).save_pretrained(tmp_path / "bert")
    BertTokenizer(str(words)).save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def test_a_model_is_loaded_quietly_and_in_evaluation_mode(folder, capfd):
    model, tokenizer = pretrained.load(AutoModel, AutoTokenizer, folder)
    assert not model.training
    assert tokenizer("red").input_ids == [2, 5, 3]
    assert capfd.readouterr().err == ""


def test_damaged_weights_are_named(folder):
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[10] ^= 255
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(AssetError, match=r"bert is damaged .*Delete it, then start again"):
        pretrained.load(AutoModel, AutoTokenizer, folder)


def test_options_go_to_the_model(folder):
    model, _ = pretrained.load(AutoModel, AutoTokenizer, folder, dtype=torch.bfloat16)
    assert model.dtype is torch.bfloat16


def test_other_loads_keep_their_progress_bar(folder):
    logging.enable_progress_bar()
    pretrained.load(AutoModel, AutoTokenizer, folder)
    assert logging.is_progress_bar_enabled()
    with pytest.raises(OSError):
        pretrained.load(AutoModel, AutoTokenizer, folder / "nowhere")
    assert logging.is_progress_bar_enabled()
