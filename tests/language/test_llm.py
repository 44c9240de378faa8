from __future__ import annotations

import os

import faults
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from course_utils import assets
from course_utils.language import llm


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """Model and tokenizer, converted from the package into a fresh folder and loaded from there."""
    with pytest.MonkeyPatch.context() as patch:
        assets.path("smollm2")
        fresh = tmp_path_factory.mktemp("cache")
        patch.setattr(llm, "cache_folder", lambda: fresh)
        model, tokenizer = llm.load()
        patch.setattr(llm, "_convert", None)  # a second load must not convert again
        assert llm.folder().parent == fresh
        yield model, tokenizer


def answer(model, tokenizer, question: str) -> str:
    messages = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    tokens = model.generate(**inputs, max_new_tokens=20, do_sample=False)
    return tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :])


def test_the_model_is_what_the_package_says(loaded):
    model, _ = loaded
    assert model.dtype == torch.bfloat16
    assert not model.training
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert 134e6 < sum(weight.numel() for weight in model.parameters()) < 136e6  # "135M"


def test_a_damaged_conversion_is_made_again(monkeypatch, tmp_path):
    monkeypatch.setattr(llm, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(llm, "_convert", faults.write_whole)
    os.truncate(llm.folder() / "weights", 1000)
    assert (llm.folder() / "weights").read_bytes() == faults.WHOLE["weights"]


def test_it_knows_what_it_should_and_stops(loaded):
    # Wrong tensor names, a wrong order of rows or a wrong end-of-turn token would all show here.
    reply = answer(*loaded, "What is the capital of France?")
    assert "Paris" in reply
    assert reply.endswith("<|im_end|>")


def test_it_expects_english_rather_than_the_same_words_shuffled(loaded):
    model, tokenizer = loaded
    losses = []
    for text in ("The cat sat on the mat and looked at the dog.", "mat at and dog the on. sat The cat looked the"):
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            result = model(ids, labels=ids)
        assert result.logits.isfinite().all()
        losses.append(result.loss.item())
    assert losses[0] + 1 < losses[1]


def test_float32_holds_the_same_weights(loaded):
    model, _ = loaded
    wide, _ = llm.load(torch.float32)
    for name, weight in wide.named_parameters():
        torch.testing.assert_close(weight, model.get_parameter(name).float(), rtol=0, atol=0)


@settings(deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(0, 2**31 - 1))
def test_reordered_heads_turn_as_the_file_means_them_to(heads, quarter, seed):
    """Rotating neighbouring pairs before reordering equals transformers' rotation of halves after it."""
    dim, length, hidden = 4 * quarter, 5, 6
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(heads * dim, hidden, generator=generator, dtype=torch.float64)
    states = torch.randn(length, hidden, generator=generator, dtype=torch.float64)
    angles = torch.outer(torch.arange(length), 0.3 ** torch.arange(dim // 2)).double()

    def by_pairs(vectors):  # (length, heads, dim), each neighbouring pair a complex number
        turned = torch.view_as_complex(vectors.unflatten(-1, (-1, 2))) * torch.exp(1j * angles)[:, None]
        return torch.view_as_real(turned).flatten(-2)

    def by_halves(vectors):
        both = torch.cat([angles, angles], dim=-1)[None]
        by_head = vectors.transpose(0, 1)[None]
        turned, _ = apply_rotary_pos_emb(by_head, by_head, both.cos(), both.sin())
        return turned[0].transpose(0, 1)

    pairs = by_pairs((states @ weight.T).unflatten(-1, (heads, dim)))
    halves = by_halves((states @ llm._halves_from_pairs(weight, heads).T).unflatten(-1, (heads, dim)))
    # Attention only sees products of queries and keys, which do not depend on the order of coordinates.
    torch.testing.assert_close(torch.einsum("ihd,jhd->hij", halves, halves), torch.einsum("ihd,jhd->hij", pairs, pairs))


def test_the_chat_template_survives_tokens_and_back(loaded):
    _, tokenizer = loaded
    messages = [{"role": "user", "content": "How many, 12 or 13?"}, {"role": "assistant", "content": "13 , I'd say."}]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert ids.count(tokenizer.convert_tokens_to_ids("<|im_start|>")) == 3  # system, user, assistant
    assert ids.count(tokenizer.eos_token_id) == 3
    assert tokenizer.eos_token == tokenizer.pad_token == "<|im_end|>"


# The vocabulary has no token for some control characters and for bytes of planes that hold no characters.
CHARACTERS = st.characters(exclude_categories=("Cc", "Cn", "Co", "Cs"))


@settings(deadline=None)
@given(st.text(CHARACTERS))
def test_any_text_survives_tokens_and_back(loaded, text):
    _, tokenizer = loaded
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@pytest.mark.parametrize("text", ["12345", "in 2024", "a1b22  3"])
def test_every_digit_is_a_token(loaded, text):
    _, tokenizer = loaded
    digits = [letter for letter in text if letter.isdigit()]
    assert [token for token in tokenizer.tokenize(text) if token.strip("Ġ").isdigit()] == digits


@pytest.mark.parametrize(("slower", "chosen"), [(torch.float32, torch.bfloat16), (torch.bfloat16, torch.float32)])
def test_the_type_that_multiplies_faster_is_chosen(slower, chosen, monkeypatch):
    monkeypatch.setattr(llm, "_product", lambda dtype: 2.0 if dtype == slower else 1.0)
    llm.fast_dtype.cache_clear()
    assert llm.fast_dtype() == chosen
    assert llm.fast_dtype("cuda") == torch.bfloat16
    llm.fast_dtype.cache_clear()
