"""From logits to text: choose the next token, and generate with a key-value cache.

Models are causal language models of transformers, called through ``forward``; tests compare with their ``generate``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

Messages = Sequence[dict[str, str]]  # [{"role": "user", "content": "Hello"}, …]


def next_token_probabilities(logits: torch.Tensor, temperature: float = 1.0, top_p: float = 1.0) -> torch.Tensor:
    """Probabilities of the next token after temperature scaling and nucleus sampling (Holtzman and others, 2020).

    Args:
        logits: (..., tokens).
        temperature: Divides the logits; not negative. 0 is greedy: the first of the largest logits gets everything.
        top_p: Keep the likeliest tokens until their probabilities sum to this much, in (0, 1]; at least one is kept.

    Raises:
        ValueError: If temperature or top_p is out of its range, or a logit is NaN.
    """
    if not temperature >= 0 or not 0 < top_p <= 1:
        raise ValueError(f"Temperature {temperature} must not be negative, and top_p {top_p} be above 0, at most 1.")
    if logits.isnan().any():
        raise ValueError("A logit is NaN, so no token is the likeliest. Check the weights and the mask of the model.")
    if temperature == 0:
        return F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).float()
    probabilities = (logits.float() / temperature).softmax(dim=-1)
    if top_p == 1:
        return probabilities
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(dim=-1) - ordered  # total probability of the likelier tokens
    kept = ordered.masked_fill(before >= top_p, 0.0)
    return torch.zeros_like(kept).scatter(-1, order, kept / kept.sum(dim=-1, keepdim=True))


def sample_next(
    logits: torch.Tensor, temperature: float = 1.0, top_p: float = 1.0, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Draw the next token, (batch,), from logits (batch, tokens); the generator is on the device of the logits."""
    probabilities = next_token_probabilities(logits, temperature, top_p)
    return probabilities.multinomial(1, generator=generator).squeeze(-1)


@torch.no_grad()
def generate(
    model: PreTrainedModel, prompt: torch.Tensor, mask: torch.Tensor | None = None, *, stop: int | None,
    max_new_tokens: int = 40, temperature: float = 0.0, top_p: float = 1.0, generator: torch.Generator | None = None,
) -> torch.Tensor:  # fmt: skip
    """Continue prompts token by token with the model's key-value cache; other arguments as for :func:`sample_next`.

    The new tokens, (batch, new), are filled up with ``stop`` after the end of a text. ValueError if the prompt is
    empty, ends with padding, or is too long for the model.

    Args:
        model: A causal language model of transformers.
        prompt: Token ids, (batch, prompt), or embeddings, (batch, prompt, dim). Pad shorter prompts on the **left**.
        mask: (batch, prompt), False at padding; default: no padding.
        stop: Token that ends a text; None to generate ``max_new_tokens`` always.
    """
    real = torch.ones(prompt.shape[:2], dtype=torch.bool, device=prompt.device) if mask is None else mask.bool()
    if real.shape[1] == 0 or max_new_tokens < 1:
        raise ValueError("The prompt is empty or max_new_tokens is below 1: there is nothing to generate.")
    if not real[:, -1].all():
        raise ValueError("A prompt ends with padding. Pad on the left: padding_side='left'.")
    length, longest = real.shape[1], model.config.max_position_embeddings
    if length + max_new_tokens > longest:
        raise ValueError(
            f"{length} tokens and {max_new_tokens} new ones are more than the model's {longest}. Shorten the prompt."
        )
    inputs = {"inputs_embeds" if prompt.is_floating_point() else "input_ids": prompt}
    cache = None

    def next_logits(token: torch.Tensor | None, keep: torch.Tensor | None) -> torch.Tensor:
        nonlocal cache, inputs, real
        if keep is not None:
            cache.batch_select_indices(keep)
            real = real[keep]
        if token is not None:  # the cache holds all earlier tokens
            inputs = {"input_ids": token[:, None]}
            real = torch.cat([real, torch.ones_like(real[:, :1])], dim=1)
        position_ids = (real.long().cumsum(dim=-1) - 1).clamp(min=0)  # padding is not counted
        position_ids = position_ids[:, -1:] if cache is not None else position_ids
        out = model(
            **inputs, attention_mask=real.long(), position_ids=position_ids, past_key_values=cache, use_cache=True,
            logits_to_keep=1,
        )  # fmt: skip
        cache = out.past_key_values
        return out.logits[:, -1]

    return draw_tokens(
        next_logits, stop=stop, max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, generator=generator
    )


def draw_tokens(
    next_logits: Callable[[torch.Tensor | None, torch.Tensor | None], torch.Tensor], *, stop: int | None,
    max_new_tokens: int = 40, temperature: float = 0.0, top_p: float = 1.0, generator: torch.Generator | None = None,
) -> torch.Tensor:  # fmt: skip
    """Draw token after token from a function that gives logits; other arguments and the result as in :func:`generate`.

    Greedy texts that have ended leave the batch. Sampled ones stay, or the draws of a text would depend on when the
    others end.

    Args:
        next_logits: Called with the last token of each running text, (running,), and the rows of the previous batch to
            keep, (running,), or None for all; the first call gets None and None. Returns logits, (running, tokens).
    """
    logits = next_logits(None, None)
    running = torch.arange(len(logits), device=logits.device)
    columns: list[torch.Tensor] = []
    while True:
        token = sample_next(logits, temperature, top_p, generator)  # (running,)
        if columns and stop is not None:
            token = token.masked_fill(columns[-1][running] == stop, stop)
        columns.append(logits.new_full((len(columns[0]) if columns else len(token),), stop or 0, dtype=torch.long))
        columns[-1][running] = token
        ended = token == (-1 if stop is None else stop)
        if ended.all() or len(columns) >= max_new_tokens:
            return torch.stack(columns, dim=1)
        keep = None
        if temperature == 0 and 4 * int(ended.sum()) >= len(ended):  # fewer are not worth a copy of the cache
            keep = (~ended).nonzero()[:, 0]
            running, token = running[keep], token[keep]
        logits = next_logits(token, keep)


def generate_text(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, chats: Sequence[Messages], **sampling
) -> list[str]:
    """Reply to a batch of chats, each a list of messages; ``sampling`` is passed to :func:`generate`."""
    ids, mask = chat_tokens(tokenizer, chats, model.device)
    new = generate(model, ids, mask, **{"stop": tokenizer.eos_token_id, **sampling})
    return tokenizer.batch_decode(new, skip_special_tokens=True)


def chat_tokens(
    tokenizer: PreTrainedTokenizerBase, chats: Sequence[Messages], device: torch.device | str = "cpu"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids of chats up to the reply, padded on the left, and their mask: both (batch, positions)."""
    texts = tokenizer.apply_chat_template(chats, add_generation_prompt=True, tokenize=False)
    batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left").to(device)
    return batch["input_ids"], batch["attention_mask"].bool()
