"""A vision-language model: frozen picture features, a bridge, and a language model, frozen or with LoRA."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from course_utils.bridges import pixel_shuffle
from course_utils.conversations import CAPTION_PROMPT, may_look
from course_utils.datasets.vqa import to_tensor
from course_utils.encoders.image import EfficientNetLite, trained_attribute_cnn
from course_utils.generation import generate
from course_utils.lora import lora_layers


class PictureReader(nn.Module):
    """Two frozen encoders side by side: EfficientNet-Lite0 for things, :class:`AttributeCNN` for form and colour.

    Each looks at the picture in the size that it knows best. The first reads 256 × 256 pixels, and the mean of every
    2 × 2 of its cells is kept; the second reads 64 × 64, and 2 × 2 of its cells are shuffled into one. Both then have
    4 × 4 cells.

    Raises:
        course_utils.assets.AssetError: If EfficientNet's package is not in the cache and cannot be fetched.
    """

    DIM = EfficientNetLite.DIM + 4 * 64

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
        large = _resized(pictures, 256).contiguous(memory_format=torch.channels_last)
        with torch.autocast(pictures.device.type, torch.bfloat16):
            grid = self.things.network.forward_features(large)  # (batch, 1280, 8, 8)
        things = F.avg_pool2d(grid.float(), 2).flatten(2).transpose(1, 2)  # (batch, 16, 1280)
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


class VisionLanguageModel(nn.Module):
    """A language model that sees: picture tokens of a bridge before the text, and one pass for all turns.

    The frozen language model is not among the weights of this module, so that a checkpoint holds what was trained:
    the bridge, and LoRA's updates if :func:`course_utils.lora.add_lora` put some in before.

    Args:
        llm: A Llama-like model of transformers. It is frozen, LoRA's updates apart.
        tokenizer: Its tokenizer.
        bridge: From features to picture tokens; see :mod:`course_utils.bridges`.
    """

    def __init__(self, llm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, bridge: nn.Module) -> None:
        super().__init__()
        updates = [weight for layer in lora_layers(llm).values() for weight in (layer.down, layer.up)]
        llm.requires_grad_(False)
        self.__dict__["llm"] = llm  # past nn.Module, which would make it a part
        self.tokenizer, self.bridge = tokenizer, bridge
        self.updates = nn.ParameterList([weight.requires_grad_(True) for weight in updates])

    def forward(self, batch: dict) -> torch.Tensor:
        """Scores of the answers' tokens, (tokens, vocabulary), for a batch of :class:`Conversations`."""
        picture = self.bridge(batch["features"])  # (batch, prefix, width)
        with self.bridge.inside(self.llm.model.layers, batch["features"]):
            states = self._states(picture, batch["ids"], batch["turn"], batch["place"])
        return self.llm.lm_head(states[:, picture.shape[1] :][batch["asks"]]).float()

    def _states(self, picture, ids, turn, place) -> torch.Tensor:
        """The language model's last states, (batch, prefix + text, width)."""
        words = self.llm.get_input_embeddings()(ids)  # (batch, text, width)
        prefix = picture.shape[1]
        numbers = torch.arange(prefix, device=ids.device).expand(len(ids), -1)
        mask = may_look(turn, place, prefix)[:, None]
        bias = torch.zeros(mask.shape, dtype=words.dtype, device=words.device)
        return self.llm.model(
            inputs_embeds=torch.cat([picture.to(words.dtype), words], dim=1),
            attention_mask=bias.masked_fill(~mask, torch.finfo(words.dtype).min),
            position_ids=torch.cat([numbers, prefix + place], dim=1),
            use_cache=False,
        ).last_hidden_state

    @torch.no_grad()
    def complete(self, features: torch.Tensor, prompts: Sequence[str], **sampling) -> list[str]:
        """What the model says after a prompt about each picture.

        Args:
            features: (batch, cells, dim).
            prompts: One for each picture.
            sampling: Goes to :func:`course_utils.generation.generate`.

        Raises:
            ValueError: If there are not as many prompts as pictures, or a prompt is empty.
        """
        if len(features) != len(prompts) or not all(prompt.strip() for prompt in prompts):
            raise ValueError(f"{len(features)} pictures and {len(prompts)} prompts: give one to each, none empty.")
        device = self.llm.device
        text = self.tokenizer(
            list(prompts), return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False
        ).to(device)
        words = self.llm.get_input_embeddings()(text["input_ids"])
        features = features.to(device)
        picture = self.bridge(features).to(words.dtype)
        # Padding stands before the picture, where nothing comes of it: a prompt follows its picture at once.
        rows, masks = [], []
        for seen, said, real in zip(picture, words, text["attention_mask"].bool(), strict=True):
            rows.append(torch.cat([said[~real], seen, said[real]]))
            masks.append(torch.cat([real[~real], real.new_ones(len(seen)), real[real]]))
        sampling = {"stop": self.tokenizer.eos_token_id, **sampling}
        with self.bridge.inside(self.llm.model.layers, features):
            new = generate(self.llm, torch.stack(rows), torch.stack(masks), **sampling)
        return [said.strip() for said in self.tokenizer.batch_decode(new, skip_special_tokens=True)]

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


def loudness(llm: PreTrainedModel) -> float:
    """The standard deviation of the language model's word embeddings, over all words and dimensions."""
    return llm.get_input_embeddings().weight.float().std().item()


def nearest_words(
    vectors: torch.Tensor, llm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, k: int = 3
) -> list[list[tuple[str, float]]]:
    """For each vector, (n, width), its ``k`` nearest word embeddings by cosine: [[(word, cosine), …], …]."""
    table = F.normalize(llm.get_input_embeddings().weight.float(), dim=-1)
    values, ids = (F.normalize(vectors.float(), dim=-1) @ table.T).topk(k, dim=-1)
    return [
        [(tokenizer.decode([one]), value) for one, value in zip(row.tolist(), cosines.tolist(), strict=True)]
        for row, cosines in zip(ids, values, strict=True)
    ]
