"""A vision-language model: frozen picture features, a bridge, and a language model, frozen or with LoRA.

Picture tokens may join the text at any layer of the language model. In LLaVA they join before the first. Where they
join later, the layers below read the text alone: they need no gradient, and :func:`read_ahead` reads a text once for
all the pictures and passes that it is used in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from course_utils.datasets.vqa import to_tensor
from course_utils.encoders.image import EfficientNetLite, trained_attribute_cnn
from course_utils.language.generation import draw_tokens
from course_utils.language.llm import fast_dtype
from course_utils.language.lora import lora_layers
from course_utils.vlm.bridges import pixel_shuffle
from course_utils.vlm.conversations import (
    CAPTION_PROMPT,
    NO_TURN,
    Conversations,
    Reading,
    Turn,
    answer_in,
    may_look,
)

LONGEST = 64  # tokens of an answer behind its working
BETWEEN_DOCUMENTS = "<|endoftext|>"  # a token of SmolLM2


class PictureReader(nn.Module):
    """Two frozen encoders side by side: EfficientNet-Lite0 for things, :class:`AttributeCNN` for form and colour.

    Each looks at the picture in a size that it can read. The first has it with 128 × 128 pixels if it is not larger
    than 64 × 64, with 256 × 256 otherwise, and keeps the mean of what falls into each of 4 × 4 cells. The second has
    64 × 64 pixels, and 2 × 2 of its cells are shuffled into one, which makes 4 × 4 too.

    Raises:
        course_utils.assets.AssetError: If EfficientNet's package is not in the cache and cannot be fetched.
    """

    DIM = EfficientNetLite.DIM + 4 * 64
    SIDE = 4  # cells to a side

    def __init__(self) -> None:
        super().__init__()
        self.things = EfficientNetLite()
        self.things.network.to(memory_format=torch.channels_last)  # three times as fast on a CPU
        self.attributes = trained_attribute_cnn()

    @torch.no_grad()
    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Square pictures, (batch, 3, side, side) from -1 to 1, to features, (batch, 16, 1536).

        Raises:
            ValueError: If the pictures are not square.
        """
        if pictures.shape[-1] != pictures.shape[-2]:
            raise ValueError(f"Square pictures are read, not {tuple(pictures.shape[-2:])}: use Resize(128) before.")
        side = 128 if pictures.shape[-1] <= 64 else 256
        large = _resized(pictures, side).contiguous(memory_format=torch.channels_last)
        quick = fast_dtype(pictures.device)
        with torch.autocast(pictures.device.type, torch.bfloat16, enabled=quick == torch.bfloat16):
            grid = self.things.network.forward_features(large)  # (batch, 1280, side / 32, side / 32)
        things = F.adaptive_avg_pool2d(grid.float(), self.SIDE).flatten(2).transpose(1, 2)  # (batch, 16, 1280)
        attributes = self.attributes(_resized(pictures, 64)).unpooled  # (batch, 64, 64)
        attributes = pixel_shuffle(attributes.unflatten(1, (8, 8))).flatten(1, 2)  # (batch, 16, 256)
        return torch.cat([things, attributes], dim=-1)

    def read(self, pictures: np.ndarray, batch_size: int = 50) -> torch.Tensor:
        """Features of pictures, (n, side, side, 3) uint8: (n, 16, 1536), kept in float16 on the CPU."""
        device = next(self.parameters()).device
        parts = []
        for start in range(0, len(pictures), batch_size):
            batch = to_tensor(pictures[start : start + batch_size]).to(device)
            parts.append(self(batch).half().cpu())
        return torch.cat(parts)


def _resized(pictures: torch.Tensor, side: int) -> torch.Tensor:
    if pictures.shape[-1] == side:
        return pictures
    return F.interpolate(pictures, size=(side, side), mode="bilinear", align_corners=False, antialias=True)


# --- the language model, some layers at a time -------------------------------------------------------------------


def through(
    llm: PreTrainedModel, layers: slice, states: torch.Tensor, look: torch.Tensor, places: torch.Tensor,
    cache: DynamicCache | None = None,
) -> torch.Tensor:  # fmt: skip
    """Send states through some of a Llama's layers.

    Args:
        llm: A Llama-like model of transformers.
        layers: Which.
        states: (batch, positions, width).
        look: Which position may look at which, (batch, positions, all positions so far).
        places: Of the positions, for the rotary embedding, (batch, positions).
        cache: Keys and values of earlier positions; those of these positions are added.

    Returns:
        States of the same shape, before the last norm.
    """
    bias = torch.zeros(look.shape, dtype=states.dtype, device=states.device)
    bias = bias.masked_fill(~look, torch.finfo(states.dtype).min)[:, None]  # one for all heads
    rotary = llm.model.rotary_emb(states, position_ids=places)
    for layer in llm.model.layers[layers]:
        states = layer(
            states, attention_mask=bias, position_ids=places, position_embeddings=rotary, past_key_values=cache,
            use_cache=cache is not None,
        )  # fmt: skip
    return states


@torch.no_grad()
def read_ahead(
    llm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, turns: Sequence[Sequence[Turn]], enter: int,
    batch_size: int = 64,
) -> Reading:  # fmt: skip
    """What the layers below ``enter`` make of turns, each text once, for :class:`Conversations`.

    Args:
        llm: Its layers below ``enter`` are frozen.
        tokenizer: Its tokenizer.
        turns: Of each picture.
        enter: The layer at which pictures join.
        batch_size: Turns that are read together, those of like length.

    Returns:
        Turn to states, (tokens, width) float16 on the CPU.
    """
    every = sorted({turn for some in turns for turn in some}, key=lambda turn: len(turn.prompt) + len(turn.said))
    nothing = torch.zeros(batch_size, 0, 0)
    reading: Reading = {}
    for start in range(0, len(every), batch_size):
        some = every[start : start + batch_size]
        batches = Conversations(nothing[: len(some)], [[turn] for turn in some], tokenizer, pictures=len(some))
        batch = batches.batch(np.arange(len(some)))
        states = _read(llm, enter, *(batch[name].to(llm.device) for name in ("ids", "turn", "place")))
        for turn, state, real in zip(some, states, batch["turn"] != NO_TURN, strict=True):
            reading[turn] = state[: int(real.sum())].half().cpu()
    return reading


def _read(llm: PreTrainedModel, enter: int, ids: torch.Tensor, turn: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """Text alone through the layers below ``enter``: (batch, text) to (batch, text, width)."""
    words = llm.get_input_embeddings()(ids)
    return through(llm, slice(0, enter), words, may_look(turn, place, 0), place) if enter else words


class VisionLanguageModel(nn.Module):
    """A language model that sees: a bridge's picture tokens beside the text, and one pass for all turns.

    The frozen language model is not among the weights of this module, so that a checkpoint holds what was trained:
    the bridge, and of the language model what is trained: by default LoRA's updates, if
    :func:`course_utils.language.lora.add_lora` put some in before.

    Args:
        llm: A Llama-like model of transformers. It is frozen, but for what is trained.
        tokenizer: Its tokenizer.
        bridge: From features to picture tokens; see :mod:`course_utils.vlm.bridges`.
        enter: The layer before which the picture tokens join, from 0.
        trained: Weights of the language model to train in place of LoRA's updates.

    Raises:
        ValueError: If the language model has no such layer.
    """

    def __init__(
        self, llm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, bridge: nn.Module, enter: int = 0,
        trained: Sequence[nn.Parameter] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if not 0 <= enter < llm.config.num_hidden_layers:
            raise ValueError(f"Pictures join at a layer from 0 to {llm.config.num_hidden_layers - 1}, not at {enter}.")
        if trained is None:
            trained = [weight for layer in lora_layers(llm).values() for weight in (layer.down, layer.up)]
        llm.requires_grad_(False)
        self.__dict__["llm"] = llm  # past nn.Module, which would make it a part
        self.tokenizer, self.bridge, self.enter = tokenizer, bridge, enter
        self.updates = nn.ParameterList([weight.requires_grad_(True) for weight in trained])

    def forward(self, batch: dict) -> torch.Tensor:
        """Scores of the answers' tokens, (tokens, vocabulary), for a batch of :class:`Conversations`."""
        ids, turn, place = batch["ids"], batch["turn"], batch["place"]
        # (batch, text, width): read ahead, or now
        words = batch["words"] if "words" in batch else _read(self.llm, self.enter, ids, turn, place)
        picture = self.bridge(batch["features"])  # (batch, prefix, width)
        prefix = picture.shape[1]
        words = words.to(self.llm.dtype)
        with self.bridge.inside(self.llm.model.layers, batch["features"]):
            states = self._see(picture, words, may_look(turn, place, prefix), self._places(prefix, place))
        return self._scores(states[:, prefix:][batch["asks"]])

    def _see(self, picture, words, look, places, cache=None) -> torch.Tensor:
        """Picture tokens and text through the layers from ``enter`` on: (batch, prefix + text, width)."""
        states = torch.cat([picture.to(words.dtype), words], dim=1)
        return through(self.llm, slice(self.enter, None), states, look, places, cache)

    def _places(self, prefix: int, place: torch.Tensor) -> torch.Tensor:
        numbers = torch.arange(prefix, device=place.device).expand(len(place), -1)
        return torch.cat([numbers, prefix + place], dim=1)

    def _scores(self, states: torch.Tensor) -> torch.Tensor:
        return self.llm.lm_head(self.llm.model.norm(states)).float()

    @torch.no_grad()
    def complete(self, features: torch.Tensor, prompts: Sequence[str], **sampling) -> list[str]:
        """What the model says after a prompt about each picture.

        Args:
            features: (batch, cells, dim).
            prompts: One for each picture.
            sampling: Goes to :func:`course_utils.language.generation.draw_tokens`; the tokenizer's last token stops a text.

        Raises:
            ValueError: If there are not as many prompts as pictures, or a prompt is empty.
        """
        if len(features) != len(prompts) or not all(prompt.strip() for prompt in prompts):
            raise ValueError(f"{len(features)} pictures and {len(prompts)} prompts: give one to each, none empty.")
        text = self.tokenizer(
            list(prompts), return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False
        ).to(self.llm.device)
        features = features.to(self.llm.device)
        sampling = {"stop": self.tokenizer.eos_token_id, **sampling}
        with self.bridge.inside(self.llm.model.layers, features):
            read = self._reading(features, text["input_ids"], text["attention_mask"].bool())
            new = draw_tokens(read, **sampling)
        return [said.strip() for said in self.tokenizer.batch_decode(new, skip_special_tokens=True)]

    def _reading(self, features, ids, real) -> Callable[[torch.Tensor | None], torch.Tensor]:
        """What :func:`draw_tokens` asks for the next scores: prompts padded on the left, a picture beside each."""
        cache = DynamicCache()  # a layer below the picture keeps fewer positions than one above
        picture = self.bridge(features)
        prefix = picture.shape[1]
        place = (real.long().cumsum(dim=1) - 1).clamp(min=0)

        def advance(ids, picture, low, high, place, places) -> torch.Tensor:
            words = self.llm.get_input_embeddings()(ids)
            words = through(self.llm, slice(0, self.enter), words, low, place, cache)
            return self._scores(self._see(picture, words, high, places, cache)[:, -1])

        def read(token: torch.Tensor | None) -> torch.Tensor:
            nonlocal real, place
            if token is None:
                turn = torch.where(real, 0, NO_TURN)
                low, high = may_look(turn, place, 0), may_look(turn, place, prefix)
                return advance(ids, picture, low, high, place, self._places(prefix, place))
            real = torch.cat([real, torch.ones_like(real[:, :1])], dim=1)
            place = place[:, -1:] + 1
            low = real[:, None]  # (batch, 1, text so far): the new token sees all of it, and all of the picture
            high = torch.cat([torch.ones_like(low[..., :1]).expand(-1, -1, prefix), low], dim=-1)
            return advance(token[:, None], picture[:, :0], low, high, place, prefix + place)

        return read

    def answer(
        self, features: torch.Tensor, prompts: Sequence[str], *, aloud: bool = False, batch_size: int = 64
    ) -> list[str]:  # fmt: skip
        """What the model answers to a prompt about each picture, greedily.

        Prompts that begin alike are answered together, so that short answers do not wait for long workings.

        Args:
            features: (prompts, cells, dim).
            prompts: One for each picture.
            aloud: Whether to give the workings too, all as it was said.
            batch_size: Answered together.

        Raises:
            ValueError: If there are not as many prompts as pictures, or a prompt is empty.
        """
        if len(features) != len(prompts):
            raise ValueError(f"{len(features)} pictures and {len(prompts)} prompts: give one to each.")
        order = sorted(range(len(prompts)), key=prompts.__getitem__)
        answers = [""] * len(prompts)
        for start in range(0, len(order), batch_size):
            some = order[start : start + batch_size]
            said = self.complete(features[some], [prompts[number] for number in some], max_new_tokens=LONGEST)
            for number, text in zip(some, said, strict=True):
                answers[number] = text if aloud else answer_in(text)
        return answers

    def caption(self, features: torch.Tensor, batch_size: int = 32, **sampling) -> list[str]:
        """A caption for each picture, (pictures, cells, dim)."""
        sampling = {"max_new_tokens": 48, **sampling}
        said = []
        for part in features.split(batch_size):
            said += self.complete(part, [CAPTION_PROMPT] * len(part), **sampling)
        return said

    def _apply(self, move: Callable, recurse: bool = True) -> VisionLanguageModel:
        self.llm._apply(move)  # to(device) moves the language model too
        return super()._apply(move, recurse)


def compact(model: nn.Module) -> dict[str, torch.Tensor]:
    """A model's weights to be shipped: matrices in bfloat16, half as large; what is small stays as it is."""
    return {name: value.bfloat16() if value.ndim > 1 else value for name, value in model.state_dict().items()}


@torch.no_grad()
def answers_right(model: VisionLanguageModel, batches: Conversations) -> list[list[bool]]:
    """Whether each turn of each picture is answered exactly, word for word, its working included where it has one.

    An answer is what the model says greedily. Said aloud, its tokens are the right ones up to the end if and only if
    each is the likeliest after the right ones before it: one pass tells, without generating.
    """
    was_training, device = model.training, model.llm.device
    model.eval()
    found = []
    for batch in batches:
        batch = {name: value.to(device) for name, value in batch.items()}
        hit = model(batch).argmax(dim=-1) == batch["answers"]  # (tokens,)
        row, position = batch["asks"].nonzero(as_tuple=True)
        turn = batch["turn"][row, position]
        missed = set(zip(row[~hit].tolist(), turn[~hit].tolist(), strict=True))
        turns = (batch["turn"].max(dim=1).values + 1).tolist()
        found += [[(number, asked) not in missed for asked in range(many)] for number, many in enumerate(turns)]
    model.train(was_training)
    return found


@torch.no_grad()
def word_states(
    llm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, words: Sequence[str], enter: int
) -> torch.Tensor:
    """What the layers below ``enter`` make of words, (words, width) float32: of more tokens than one, the mean.

    Each is read alone, behind the token that stands between documents: what comes first in a text is apart from all
    the rest in a language model's states (an attention sink), and would hide what it means.
    """
    batch = tokenizer(
        [f"{BETWEEN_DOCUMENTS} {word}" for word in words], return_tensors="pt", padding=True, padding_side="right",
        add_special_tokens=False,
    ).to(llm.device)  # fmt: skip
    real = batch["attention_mask"].bool()
    turn, place = torch.where(real, 0, NO_TURN), torch.arange(real.shape[1], device=llm.device).expand_as(real)
    states = _read(llm, enter, batch["input_ids"], turn, place).float()
    real[:, 0] = False
    return (states * real[..., None]).sum(dim=1) / real.sum(dim=1, keepdim=True)


def nearest(vectors: torch.Tensor, states: torch.Tensor, words: Sequence[str], k: int = 3) -> list[list[str]]:
    """For each vector, (n, width), the ``k`` words whose states, (words, width), lie in the direction nearest to it.

    Directions are seen from the mean of the words, and compared by their cosine.
    """
    centre = states.float().mean(dim=0)
    table, wanted = (F.normalize(each.float() - centre, dim=-1) for each in (states, vectors))
    return [[words[number] for number in row] for row in (wanted @ table.T).topk(k, dim=-1).indices.tolist()]
