from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM, TemperatureLogitsWarper, TopPLogitsWarper

from course_utils.language import generation, llm


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.3,
        )
    ).eval()  # fmt: skip


@pytest.fixture(scope="module")
def smol():
    return llm.load(torch.float32)


# --- one token ----------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.floats(-8, 8, width=32), min_size=1, max_size=30), st.floats(0.05, 5), st.floats(0.01, 1))
def test_temperature_and_top_p_are_those_of_transformers(logits, temperature, top_p):
    logits = torch.tensor([logits])
    likelihoods = (logits / temperature).softmax(-1)
    expected = TemperatureLogitsWarper(temperature)(None, logits)
    ours = generation.next_token_probabilities(logits, temperature, top_p)
    torch.testing.assert_close(ours.sum(), torch.tensor(1.0))
    before = [float(expected.softmax(-1)[expected > value].sum()) for value in expected[0]]
    if min(abs(share - top_p) for share in before) > 1e-4 and len(set(likelihoods[0].tolist())) == logits.shape[1]:
        expected = TopPLogitsWarper(top_p)(None, expected) if top_p < 1 else expected  # ties and edges may differ
        torch.testing.assert_close(ours, expected.softmax(dim=-1), rtol=1e-4, atol=1e-6)


def test_top_p_by_hand():
    logits = torch.tensor([0.1, 0.5, 0.05, 0.3, 0.05]).log()
    for top_p, kept in ((0.4, [0, 1, 0, 0, 0]), (0.6, [0, 0.625, 0, 0.375, 0]), (0.85, [1 / 9, 5 / 9, 0, 3 / 9, 0])):
        found = generation.next_token_probabilities(logits, top_p=top_p)
        torch.testing.assert_close(found, torch.tensor(kept, dtype=torch.float32))


def test_a_top_p_of_one_cuts_nothing():
    logits = torch.linspace(0, -60, 5_000)  # the tail is less than what float32 can add to one
    found = generation.next_token_probabilities(logits)
    assert (found > 0).all()
    torch.testing.assert_close(found, logits.softmax(dim=-1))


def test_a_temperature_of_zero_is_greedy_and_small_ones_come_close():
    logits = torch.tensor([[1.0, 3.0, 2.0], [5.0, 4.0, 4.9]])
    greedy = generation.next_token_probabilities(logits, 0.0)
    assert greedy.tolist() == [[0, 1, 0], [1, 0, 0]]
    torch.testing.assert_close(generation.next_token_probabilities(logits, 0.005), greedy)
    assert generation.sample_next(logits, 0.0).tolist() == [1, 0]


def test_what_is_drawn_has_the_probabilities_asked_for():
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0]).expand(20_000, -1)
    expected = generation.next_token_probabilities(logits[0], 1.5, 0.9)
    drawn = generation.sample_next(logits, 1.5, 0.9, torch.Generator().manual_seed(0))
    assert (torch.bincount(drawn, minlength=4) / 20_000 - expected).abs().max() < 0.015
    again = generation.sample_next(logits, 1.5, 0.9, torch.Generator().manual_seed(0))
    assert torch.equal(drawn, again)


@pytest.mark.parametrize(
    ("temperature", "top_p"), [(-0.1, 1.0), (1.0, 0.0), (1.0, 1.1), (float("nan"), 1.0), (1.0, float("nan"))]
)
def test_settings_that_mean_nothing_are_refused(temperature, top_p):
    with pytest.raises(ValueError, match="Temperature"):
        generation.sample_next(torch.zeros(1, 3), temperature, top_p)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_logit_that_is_nan_is_no_token(temperature):
    with pytest.raises(ValueError, match="logit is NaN"):
        generation.sample_next(torch.tensor([[1.0, 2.0], [float("nan"), 2.0]]), temperature)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_of_equal_scores_the_first_token_is_taken(dtype):
    logits = torch.tensor([[0.0, 2.0, 2.0, 2.0], [1.0, 1.0, 1.0, 1.0]], dtype=dtype)
    assert generation.sample_next(logits, 0.0).tolist() == [1, 0]
    assert generation.sample_next(logits, 1.0, top_p=1e-9).tolist() == [1, 0]


# --- many tokens --------------------------------------------------------------------------------------------------


def library(model, ids, mask=None, new=12, stop=None):
    """What transformers' generate gives for greedy decoding: the new tokens, (batch, new)."""
    mask = torch.ones_like(ids) if mask is None else mask.long()
    tokens = model.generate(
        input_ids=ids,
        attention_mask=mask,
        max_new_tokens=new,
        do_sample=False,
        eos_token_id=stop,
        pad_token_id=stop or 0,
    )
    return tokens[:, ids.shape[1] :]


@pytest.mark.parametrize("seed", range(5))
def test_greedy_equals_transformers(tiny, seed):
    torch.manual_seed(seed)
    ids = torch.randint(0, 40, (3, 7))
    assert torch.equal(generation.generate(tiny, ids, stop=None, max_new_tokens=12), library(tiny, ids))


@pytest.mark.parametrize("seed", range(5))
def test_short_prompts_are_not_disturbed_by_their_padding(tiny, seed):
    torch.manual_seed(seed)
    ids = torch.randint(0, 40, (3, 7))
    mask = torch.arange(7) >= torch.tensor([[0], [3], [6]])
    together = generation.generate(tiny, ids, mask, stop=None, max_new_tokens=12)
    assert torch.equal(together, library(tiny, ids, mask))
    for row, first in enumerate((0, 3, 6)):
        alone = generation.generate(tiny, ids[[row], first:], stop=None, max_new_tokens=12)
        assert torch.equal(alone[0], together[row])


def test_a_text_ends_at_stop(tiny):
    torch.manual_seed(0)
    ids = torch.randint(0, 40, (3, 7))
    free = generation.generate(tiny, ids, stop=None, max_new_tokens=12)
    stop = int(free[0, 4])
    found = generation.generate(tiny, ids, stop=stop, max_new_tokens=12)
    expected = library(tiny, ids, stop=stop)
    assert torch.equal(found, expected)
    row = found[0].tolist()
    assert set(row[row.index(stop) :]) == {stop}


def scripted(texts, stop, vocabulary=9):
    """Logits that write these texts, and what was asked for: each call's number of rows."""
    asked, rows = [], torch.arange(len(texts))

    def next_logits(token, keep):
        nonlocal rows
        rows = rows if keep is None else rows[keep]
        step = len(asked)
        asked.append(len(rows))
        chosen = [texts[row][step] if step < len(texts[row]) else stop for row in rows]
        return 5 * torch.nn.functional.one_hot(torch.tensor(chosen), vocabulary).float()

    return next_logits, asked


@settings(deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 8), max_size=6), min_size=1, max_size=6),
    st.integers(1, 8),
    st.sampled_from([0, 3]),
)
def test_greedy_texts_stop_where_they_end_and_are_filled_up(texts, most, stop):
    next_logits, asked = scripted(texts, stop)
    found = generation.draw_tokens(next_logits, stop=stop, max_new_tokens=most)
    ended = [(text[: text.index(stop)] if stop in text else text) + [stop] for text in texts]
    length = min(most, max(map(len, ended)))
    assert found.tolist() == [(text + [stop] * length)[:length] for text in ended]
    assert len(asked) == length  # no call after the last token
    unfinished = [sum(len(text) > step for text in ended) for step in range(length)]
    assert all(rows >= least for rows, least in zip(asked, unfinished, strict=True))


def test_a_text_may_end_at_once_or_be_one_token_long():
    for texts, most, expected in (([[], []], 5, [[0], [0]]), ([[4, 5], [6, 7]], 1, [[4], [6]])):
        next_logits, asked = scripted(texts, stop=0)
        assert generation.draw_tokens(next_logits, stop=0, max_new_tokens=most).tolist() == expected and asked == [2]


def test_embeddings_stand_for_their_tokens(tiny):
    ids = torch.arange(6)[None]
    embeddings = tiny.get_input_embeddings()(ids)
    plain = generation.generate(tiny, ids, stop=None, max_new_tokens=8)
    assert torch.equal(generation.generate(tiny, embeddings, stop=None, max_new_tokens=8), plain)


def test_prompts_that_cannot_be_continued_are_refused(tiny):
    with pytest.raises(ValueError, match="empty"):
        generation.generate(tiny, torch.zeros(1, 0, dtype=torch.long), stop=None)
    with pytest.raises(ValueError, match="60 tokens and 10 new ones are more than the model's 64"):
        generation.generate(tiny, torch.zeros(1, 60, dtype=torch.long), stop=None, max_new_tokens=10)
    with pytest.raises(ValueError, match="Pad on the left"):
        generation.generate(tiny, torch.zeros(1, 2, dtype=torch.long), torch.tensor([[1, 0]]), stop=None)


def test_the_real_model_in_a_batch_says_what_transformers_says(smol):
    model, tokenizer = smol
    questions = ["What is the capital of France?", "Name three colours, and nothing else."]
    chats = [[{"role": "user", "content": question}] for question in questions]
    said = generation.generate_text(model, tokenizer, chats, max_new_tokens=12)
    for chat, text in zip(chats, said, strict=True):
        ids, mask = generation.chat_tokens(tokenizer, [chat])
        expected = library(model, ids, mask, stop=tokenizer.eos_token_id)
        assert text == tokenizer.decode(expected[0], skip_special_tokens=True)
    assert "Paris" in said[0]
