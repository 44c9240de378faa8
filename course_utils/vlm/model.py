"""A vision-language model: frozen picture features, a bridge, and a language model, frozen or with LoRA.

Picture tokens may join the text at any layer of the language model (LLaVA: before the first). The layers below the
join layer see text alone and stay frozen, so :func:`precompute_text` computes their states once for all pictures.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import IO

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from course_utils.cache import cache_folder
from course_utils.datasets.vqa import to_tensor
from course_utils.encoders.image import EfficientNetLite, trained_attribute_cnn
from course_utils.language.generation import draw_tokens
from course_utils.language.llm import fast_dtype
from course_utils.language.lora import lora_layers
from course_utils.training import to_device
from course_utils.vlm.bridges import pixel_shuffle
from course_utils.vlm.conversations import (
    CAPTION_PROMPT,
    NO_TURN,
    SEPARATOR,
    Conversations,
    TextStates,
    Turn,
    answer_in,
    attention_mask,
)

MAX_NEW_TOKENS = 64  # limit of an answer with its rationale
END_OF_TEXT = "<|endoftext|>"  # separates documents in SmolLM2's training data


class PictureReader(nn.Module):
    """Two frozen encoders side by side: EfficientNet-Lite0 for objects, :class:`AttributeCNN` for shape and colour.

    Both give 4 × 4 cells. EfficientNet gets 128 × 128 pixels for pictures up to 64 × 64, else 256 × 256, and its
    features are averaged over each cell; the attribute network gets 64 × 64 pixels, and pixel shuffle merges 2 × 2 of
    its cells. AssetError if EfficientNet is not in the cache and cannot be fetched.
    """

    DIM = EfficientNetLite.DIM + 4 * 64
    SIDE = 4  # cells per side

    def __init__(self) -> None:
        super().__init__()
        self.objects = EfficientNetLite()
        self.objects.network.to(memory_format=torch.channels_last)  # three times as fast on a CPU
        self.attributes = trained_attribute_cnn()

    @torch.no_grad()
    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Square pictures, (batch, 3, side, side) in [-1, 1], to features, (batch, 16, 1536)."""
        if pictures.shape[-1] != pictures.shape[-2]:
            raise ValueError(f"Pictures must be square, not {tuple(pictures.shape[-2:])}: apply Resize(128) first.")
        side = 128 if pictures.shape[-1] <= 64 else 256
        large = _resized(pictures, side).contiguous(memory_format=torch.channels_last)
        bfloat16 = fast_dtype(pictures.device) == torch.bfloat16
        with torch.autocast(pictures.device.type, torch.bfloat16, enabled=bfloat16):
            grid = self.objects.network.forward_features(large)  # (batch, 1280, side / 32, side / 32)
        objects = F.adaptive_avg_pool2d(grid.float(), self.SIDE).flatten(2).transpose(1, 2)  # (batch, 16, 1280)
        attributes = self.attributes(_resized(pictures, 64)).unpooled  # (batch, 64, 64)
        attributes = pixel_shuffle(attributes.unflatten(1, (8, 8))).flatten(1, 2)  # (batch, 16, 256)
        return torch.cat([objects, attributes], dim=-1)

    def fingerprint(self, *details: str) -> str:
        """A name for the features that this reader makes, from its weights, its arithmetic and ``details``."""
        digest = hashlib.sha256(repr((details, fast_dtype(next(self.parameters()).device))).encode())
        for value in self.state_dict().values():
            digest.update(value.cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    def read(self, pictures: np.ndarray, batch_size: int = 50) -> torch.Tensor:
        """Features of pictures, (n, side, side, 3) uint8: (n, 16, 1536) float16 on the CPU."""
        device = next(self.parameters()).device
        starts = range(0, len(pictures), batch_size)
        batches = (to_tensor(pictures[start : start + batch_size]).to(device) for start in starts)
        return torch.cat([self(batch).half().cpu() for batch in batches])


def _resized(pictures: torch.Tensor, side: int) -> torch.Tensor:
    if pictures.shape[-1] == side:
        return pictures
    return F.interpolate(pictures, size=(side, side), mode="bilinear", align_corners=False, antialias=True)


def run_layers(
    llm: PreTrainedModel, layers: slice, states: torch.Tensor, mask: torch.Tensor, position_ids: torch.Tensor,
    cache: DynamicCache | None = None,
) -> torch.Tensor:  # fmt: skip
    """Run some layers of a Llama without its final norm: states, (batch, positions, width), to new states.

    ``mask``, (batch, positions, cached and new positions), is True where a position may attend; ``position_ids``,
    (batch, positions), are for the rotary embedding; ``cache`` holds earlier positions and is extended in place.
    """
    bias = torch.zeros(mask.shape, dtype=states.dtype, device=states.device)
    bias = bias.masked_fill(~mask, torch.finfo(states.dtype).min)[:, None]  # the same for all heads
    rotary = llm.model.rotary_emb(states, position_ids=position_ids)
    for layer in llm.model.layers[layers]:
        states = layer(
            states, attention_mask=bias, position_ids=position_ids, position_embeddings=rotary, past_key_values=cache,
            use_cache=cache is not None,
        )  # fmt: skip
    return states


def _lower_layers(llm: PreTrainedModel, join_layer: int, input_ids, turn_ids, position_ids) -> torch.Tensor:
    """Text through the layers below the join layer, (batch, text) to (batch, text, width)."""
    states = llm.get_input_embeddings()(input_ids)
    if not join_layer:
        return states
    return run_layers(llm, slice(0, join_layer), states, attention_mask(turn_ids, position_ids, 0), position_ids)


@torch.no_grad()
def precompute_text(
    llm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, turns: Sequence[Sequence[Turn]], join_layer: int,
    batch_size: int = 64,
) -> TextStates:  # fmt: skip
    """States of every distinct turn below the join layer, (tokens, width) float16, in a temporary memory-mapped file.

    The file is in the cache folder and goes when the states are no longer used; OSError if there is no room for it.
    """
    distinct = {turn for some in turns for turn in some}
    distinct = sorted(distinct, key=lambda turn: len(turn.prompt) + len(turn.completion))
    spans, end, width = {}, 0, llm.config.hidden_size
    with _temporary_file() as file:
        for start in range(0, len(distinct), batch_size):
            some = distinct[start : start + batch_size]
            batches = Conversations(torch.zeros(len(some), 0, 0), [[turn] for turn in some], tokenizer)
            batch = batches.batch(np.arange(len(some)))
            inputs = (batch[name].to(llm.device) for name in ("input_ids", "turn_ids", "position_ids"))
            states = _lower_layers(llm, join_layer, *inputs).half().cpu()
            for turn, state, real in zip(some, states, batch["turn_ids"] != NO_TURN, strict=True):
                length = int(real.sum())
                file.write(state[:length].numpy().tobytes())
                spans[turn], end = slice(end, end + length), end + length
        file.flush()
        # Copy-on-write, since tensors must be writable; the mapping outlives the file's name.
        return StatesOnDisk(torch.from_numpy(np.memmap(file, np.float16, mode="c", shape=(end, width))), spans)


def _temporary_file() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(dir=cache_folder())  # the system's own folder for these is often in memory
    except OSError:  # no such folder yet, or a cache that is only to be read
        return tempfile.TemporaryFile()


class StatesOnDisk(TextStates):
    """States of turns, each a slice of one memory-mapped tensor, (tokens, width) float16."""

    def __init__(self, flat: torch.Tensor, spans: dict[Turn, slice]) -> None:
        self.flat, self.spans = flat, spans

    def __getitem__(self, turn: Turn) -> torch.Tensor:
        return self.flat[self.spans[turn]]

    def __len__(self) -> int:
        return len(self.spans)

    def __iter__(self) -> Iterator[Turn]:
        return iter(self.spans)


class VisionLanguageModel(nn.Module):
    """A bridge's picture tokens and text in one language model.

    The frozen language model is not a submodule, so that a checkpoint holds trained weights only: the bridge's and the
    language model's trained ones, by default LoRA's.

    Args:
        llm: A Llama-like model of transformers; to train LoRA, add it first. All other weights are frozen.
        bridge: One of :mod:`course_utils.vlm.bridges`.
        join_layer: The layer before which picture tokens join, from 0; ValueError if there is no such layer.
        trained: Weights of the language model to train instead of LoRA's.
    """

    def __init__(
        self, llm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, bridge: nn.Module, join_layer: int = 0,
        trained: Sequence[nn.Parameter] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if not 0 <= join_layer < llm.config.num_hidden_layers:
            raise ValueError(f"join_layer is {join_layer}; the layers are 0 to {llm.config.num_hidden_layers - 1}.")
        if trained is None:
            trained = [weight for layer in lora_layers(llm).values() for weight in (layer.down, layer.up)]
        llm.requires_grad_(False)
        self.__dict__["llm"] = llm  # bypasses nn.Module, which would register a submodule
        self.tokenizer, self.bridge, self.join_layer = tokenizer, bridge, join_layer
        self.updates = nn.ParameterList([weight.requires_grad_(True) for weight in trained])

    def forward(self, batch: dict) -> torch.Tensor:
        """Logits of the answers' tokens, (tokens, vocabulary), for a batch of :class:`Conversations`."""
        turn_ids, position_ids = batch["turn_ids"], batch["position_ids"]
        text = batch.get("text_states")  # (batch, text, width)
        if text is None:
            text = _lower_layers(self.llm, self.join_layer, batch["input_ids"], turn_ids, position_ids)
        picture = self.bridge(batch["features"])  # (batch, prefix, width)
        prefix = picture.shape[1]
        mask = attention_mask(turn_ids, position_ids, prefix)
        with self.bridge.inside(self.llm.model.layers, batch["features"]):
            states = self._joined(picture, text.to(self.llm.dtype), mask, _after_picture(prefix, position_ids))
        return self._logits(states[:, prefix:][batch["answer_mask"]])

    def _joined(self, picture, text, mask, position_ids, cache=None) -> torch.Tensor:
        """Picture tokens and text through the layers from the join layer on: (batch, prefix + text, width)."""
        states = torch.cat([picture.to(text.dtype), text], dim=1)
        return run_layers(self.llm, slice(self.join_layer, None), states, mask, position_ids, cache)

    def _logits(self, states: torch.Tensor) -> torch.Tensor:
        return self.llm.lm_head(self.llm.model.norm(states)).float()

    @torch.no_grad()
    def complete(self, features: torch.Tensor, prompts: Sequence[str], **sampling) -> list[str]:
        """Continue one prompt about each picture, (batch, cells, dim); ``sampling`` is for :func:`draw_tokens`."""
        if len(features) != len(prompts) or not all(prompt.strip() for prompt in prompts):
            raise ValueError(f"{len(features)} pictures and {len(prompts)} prompts: give one to each, none empty.")
        distinct = list(dict.fromkeys(prompts))  # the layers below the join layer read each text once
        options = {"return_tensors": "pt", "padding": True, "padding_side": "left", "add_special_tokens": False}
        text, features = self.tokenizer(distinct, **options).to(self.llm.device), features.to(self.llm.device)
        rows = torch.tensor([distinct.index(prompt) for prompt in prompts], device=features.device)
        next_logits = self._next_logits(features, text["input_ids"], text["attention_mask"].bool(), rows)
        tokens = draw_tokens(next_logits, **{"stop": self.tokenizer.eos_token_id, **sampling})
        return [completion.strip() for completion in self.tokenizer.batch_decode(tokens, skip_special_tokens=True)]

    def _next_logits(self, features, input_ids, real, rows) -> Callable[..., torch.Tensor]:
        """The function that :func:`draw_tokens` calls, for left-padded texts and the row of each picture's text."""
        cache = DynamicCache()  # the layers below the join layer cache the text alone
        picture = self.bridge(features)
        prefix = picture.shape[1]
        position_ids = (real.long().cumsum(dim=1) - 1).clamp(min=0)

        def lower(input_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            states = self.llm.get_input_embeddings()(input_ids)
            return run_layers(self.llm, slice(0, self.join_layer), states, mask, position_ids, cache)

        def next_logits(token: torch.Tensor | None, keep: torch.Tensor | None) -> torch.Tensor:
            nonlocal features, picture, real, position_ids
            if token is None:
                turn_ids = torch.where(real, 0, NO_TURN)
                text = lower(input_ids, attention_mask(turn_ids, position_ids, 0))[rows]
                cache.batch_select_indices(rows)
                real, position_ids, turn_ids = real[rows], position_ids[rows], turn_ids[rows]
                mask, joined_ids = attention_mask(turn_ids, position_ids, prefix), _after_picture(prefix, position_ids)
            else:  # the new token attends to all text so far and to the picture, both in the cache
                if keep is not None:
                    cache.batch_select_indices(keep)
                    features, real, position_ids = features[keep], real[keep], position_ids[keep]
                real, position_ids = F.pad(real, (0, 1), value=True), position_ids[:, -1:] + 1
                text, mask = lower(token[:, None], real[:, None]), F.pad(real, (prefix, 0), value=True)[:, None]
                picture, joined_ids = picture[: len(token), :0], prefix + position_ids
            with self.bridge.inside(self.llm.model.layers, features):
                return self._logits(self._joined(picture, text, mask, joined_ids, cache)[:, -1])

        return next_logits

    def answer(
        self, features: torch.Tensor, prompts: Sequence[str], *, with_rationale: bool = False, batch_size: int = 128
    ) -> list[str]:
        """Answer a prompt about each picture, (prompts, cells, dim), greedily; ``with_rationale`` keeps rationales."""
        if len(features) != len(prompts):
            raise ValueError(f"{len(features)} pictures and {len(prompts)} prompts: give one to each.")
        order = sorted(range(len(prompts)), key=prompts.__getitem__)  # similar prompts are about equally long
        answers = [""] * len(prompts)
        for start in range(0, len(order), batch_size):
            some = order[start : start + batch_size]
            chosen = [prompts[number] for number in some]
            completions = self.complete(features[some], chosen, max_new_tokens=MAX_NEW_TOKENS)
            for number, completion in zip(some, completions, strict=True):
                whole = with_rationale and not completion.startswith(SEPARATOR)
                answers[number] = completion if whole else answer_in(completion)
        return answers

    def caption(self, features: torch.Tensor, batch_size: int = 32, **sampling) -> list[str]:
        """Caption each picture, (pictures, cells, dim)."""
        sampling = {"max_new_tokens": 48, **sampling}
        batches = features.split(batch_size)
        texts = (text for some in batches for text in self.complete(some, [CAPTION_PROMPT] * len(some), **sampling))
        return [answer_in(text) for text in texts]

    def _apply(self, move: Callable, recurse: bool = True) -> VisionLanguageModel:
        self.llm._apply(move)  # to(device) moves the language model too
        return super()._apply(move, recurse)


def _after_picture(prefix: int, position_ids: torch.Tensor) -> torch.Tensor:
    """Positions of picture tokens and text together, (batch, prefix + text): text follows the picture."""
    picture = torch.arange(prefix, device=position_ids.device).expand(len(position_ids), -1)
    return torch.cat([picture, prefix + position_ids], dim=1)


def compact(model: nn.Module) -> dict[str, torch.Tensor]:
    """Weights for shipping: matrices in bfloat16, vectors and numbers unchanged."""
    return {name: value.bfloat16() if value.ndim > 1 else value for name, value in model.state_dict().items()}


@torch.no_grad()
def exact_matches(model: VisionLanguageModel, batches: Conversations) -> list[list[bool]]:
    """Whether the greedy completion of each turn of each picture is exactly right, including its rationale."""
    was_training, device = model.training, model.llm.device
    model.eval()
    found = []
    for batch in batches:
        batch = to_device(batch, device)
        # Greedy output matches if and only if every teacher-forced argmax does, so one forward pass suffices.
        hit = model(batch).argmax(dim=-1) == batch["answers"]  # (tokens,)
        row, position = batch["answer_mask"].nonzero(as_tuple=True)
        turn = batch["turn_ids"][row, position]
        missed = set(zip(row[~hit].tolist(), turn[~hit].tolist(), strict=True))
        turns = (batch["turn_ids"].max(dim=1).values + 1).tolist()
        found += [[(number, asked) not in missed for asked in range(count)] for number, count in enumerate(turns)]
    model.train(was_training)
    return found


@torch.no_grad()
def word_states(
    llm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, words: Sequence[str], join_layer: int
) -> torch.Tensor:
    """States of words below the join layer, (words, width) float32; the mean over the tokens of a word."""
    batch = tokenizer(
        [f"{END_OF_TEXT} {word}" for word in words], return_tensors="pt", padding=True, padding_side="right",
        add_special_tokens=False,
    ).to(llm.device)  # fmt: skip
    real = batch["attention_mask"].bool()
    position_ids = torch.arange(real.shape[1], device=llm.device).expand_as(real)
    states = _lower_layers(llm, join_layer, batch["input_ids"], torch.where(real, 0, NO_TURN), position_ids).float()
    real[:, 0] = False  # the first token of a text is an attention sink, whose state carries no meaning
    return (states * real[..., None]).sum(dim=1) / real.sum(dim=1, keepdim=True)


def nearest(vectors: torch.Tensor, states: torch.Tensor, words: Sequence[str], k: int = 3) -> list[list[str]]:
    """The ``k`` words whose states, (words, width), are nearest by centred cosine to each vector, (n, width)."""
    centre = states.float().mean(dim=0)
    table, wanted = (F.normalize(each.float() - centre, dim=-1) for each in (states, vectors))
    return [[words[number] for number in row] for row in (wanted @ table.T).topk(k, dim=-1).indices.tolist()]
