"""From logits to text: choosing the next token, generating with a key-value cache, and perplexity.

The models are transformers' causal language models, called through their own ``forward``: ``generate`` of
transformers is not used here, and is what the tests compare with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

Messages = Sequence[dict[str, str]]  # [{"role": "user", "content": "Hello"}, …]


def next_token_probabilities(logits: torch.Tensor, temperature: float = 1.0, top_p: float = 1.0) -> torch.Tensor:
    """Probabilities of the next token under a temperature, cut to the top p.

    Args:
        logits: (..., tokens).
        temperature: The logits are divided by it: below 1 the likely become likelier. 0 leaves the first of the
            largest logits alone.
        top_p: Of the tokens, the likeliest first, those are kept that it takes to reach this probability, and
            always one (nucleus sampling; Holtzman and others, 2020).

    Raises:
        ValueError: If the temperature is negative or ``top_p`` is not above 0 and at most 1.
    """
    if temperature < 0 or not 0 < top_p <= 1:
        raise ValueError(f"Temperature {temperature} must not be negative, and top_p {top_p} be above 0, at most 1.")
    if temperature == 0:
        return F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).float()
    probabilities = (logits.float() / temperature).softmax(dim=-1)
    if top_p == 1:
        return probabilities
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(dim=-1) - ordered  # what the likelier ones have together
    kept = ordered.masked_fill(before >= top_p, 0.0)
    return torch.zeros_like(kept).scatter(-1, order, kept / kept.sum(dim=-1, keepdim=True))


def sample_next(
    logits: torch.Tensor, temperature: float = 1.0, top_p: float = 1.0, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Draw the next token, (batch,), from logits (batch, tokens); a temperature of 0 takes the likeliest.

    Arguments and errors as for :func:`next_token_probabilities`; the generator is on the device of the logits.
    """
    probabilities = next_token_probabilities(logits, temperature, top_p)
    return probabilities.multinomial(1, generator=generator).squeeze(-1)


@torch.no_grad()
def generate(
    model: PreTrainedModel,
    prompt: torch.Tensor,
    mask: torch.Tensor | None = None,
    *,
    stop: int | None,
    max_new_tokens: int = 40,
    temperature: float = 0.0,
    top_p: float = 1.0,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Continue a batch of prompts token by token, with the model's key-value cache.

    Args:
        model: A causal language model of transformers.
        prompt: Token numbers, (batch, prompt), or their embeddings, (batch, prompt, dim), which may stand for
            anything, a picture for instance. Shorter prompts are padded on the **left**.
        mask: (batch, prompt), True where the prompt is real; by default everywhere.
        stop: The token that ends a text; None to go on to the end.
        max_new_tokens: At most so many are generated.
        temperature: As for :func:`sample_next`; 0 is greedy.
        top_p: As for :func:`sample_next`.
        generator: Of the random draws.

    Returns:
        The new tokens alone, (batch, new); after ``stop`` a text is filled up with ``stop``.

    Raises:
        ValueError: If the prompt is empty or too long for the model, or the last position of a prompt is padding.
    """
    real = torch.ones(prompt.shape[:2], dtype=torch.bool, device=prompt.device) if mask is None else mask.bool()
    _check_prompt(model, real, max_new_tokens)
    inputs = {"inputs_embeds" if prompt.is_floating_point() else "input_ids": prompt}
    cache = None

    def read(token: torch.Tensor | None) -> torch.Tensor:
        nonlocal cache, inputs, real
        if token is not None:  # the cache holds all before it
            inputs = {"input_ids": token[:, None]}
            real = torch.cat([real, torch.ones_like(real[:, :1])], dim=1)
        places = (real.long().cumsum(dim=-1) - 1).clamp(min=0)  # padding has no place
        places = places[:, -1:] if cache is not None else places
        out = model(
            **inputs, attention_mask=real.long(), position_ids=places, past_key_values=cache, use_cache=True,
            logits_to_keep=1,
        )  # fmt: skip
        cache = out.past_key_values
        return out.logits[:, -1]

    return draw_tokens(
        read, stop=stop, max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, generator=generator
    )


def draw_tokens(
    read: Callable[[torch.Tensor | None], torch.Tensor],
    *,
    stop: int | None,
    max_new_tokens: int = 40,
    temperature: float = 0.0,
    top_p: float = 1.0,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Draw token after token from whatever gives their logits.

    Args:
        read: Called with the token drawn last, (batch,), or None at first; gives the next logits, (batch, tokens).
        stop: As for :func:`generate`, like the rest.

    Returns:
        The tokens, (batch, new); after ``stop`` a text is filled up with ``stop``.
    """
    tokens: list[torch.Tensor] = []
    for _ in range(max_new_tokens):
        token = sample_next(read(tokens[-1] if tokens else None), temperature, top_p, generator)  # (batch,)
        if stop is not None and tokens:
            token = token.masked_fill(tokens[-1] == stop, stop)
        tokens.append(token)
        if stop is not None and (token == stop).all():
            break
    return torch.stack(tokens, dim=1)


def _check_prompt(model: PreTrainedModel, real: torch.Tensor, new: int) -> None:
    if real.shape[1] == 0 or new < 1:
        raise ValueError("The prompt is empty or no token is wanted: there is nothing to generate.")
    if not real[:, -1].all():
        raise ValueError("The last position of a prompt is padding. Pad on the left: padding_side='left'.")
    longest = model.config.max_position_embeddings
    if real.shape[1] + new > longest:
        raise ValueError(
            f"{real.shape[1]} tokens and {new} new ones are more than the {longest} of the model. Shorten the prompt."
        )


def generate_text(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    chats: Sequence[Messages],
    **sampling,
) -> list[str]:
    """The model's replies to a batch of chats, each a list of messages; ``sampling`` goes to :func:`generate`."""
    ids, mask = chat_tokens(tokenizer, chats, model.device)
    new = generate(model, ids, mask, **{"stop": tokenizer.eos_token_id, **sampling})
    return tokenizer.batch_decode(new, skip_special_tokens=True)


def chat_tokens(
    tokenizer: PreTrainedTokenizerBase, chats: Sequence[Messages], device: torch.device | str = "cpu"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Chats as token numbers, padded on the left, ready for the reply; and the mask: both (batch, positions)."""
    texts = tokenizer.apply_chat_template(chats, add_generation_prompt=True, tokenize=False)
    batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left").to(device)
    return batch["input_ids"], batch["attention_mask"].bool()


@torch.no_grad()
def perplexity(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str) -> float:
    """How many equally likely tokens the model hesitates between, on average, while it reads a text.

    The exponential of the mean cross-entropy of its tokens. Before the first stands the tokenizer's token for the
    beginning, so that every token of the text is predicted.

    Raises:
        ValueError: If the text holds no token.
    """
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"].to(model.device)  # (1, tokens)
    if ids.numel() == 0:
        raise ValueError("The text is empty: there is no token to predict.")
    start = torch.full_like(ids[:, :1], tokenizer.bos_token_id)
    logits = model(torch.cat([start, ids[:, :-1]], dim=1)).logits  # (1, tokens, vocabulary)
    return F.cross_entropy(logits[0].float(), ids[0]).exp().item()
