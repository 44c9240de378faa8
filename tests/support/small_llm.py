"""A tiny Llama with the course's tokenizer, and worlds of random features, to test fine-tuning in a second."""

from __future__ import annotations

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from course_utils import vlm
from course_utils.language import llm
from course_utils.vlm.conversations import question_turn
from course_utils.vlm.worlds import EncodedWorld

COLOURS = ("red", "green", "blue")


def load(dtype: torch.dtype = torch.float32):
    """In place of :func:`course_utils.language.llm.load`."""
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=49152, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, initializer_range=0.1,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    torch.random.set_rng_state(state)
    return model.to(dtype), AutoTokenizer.from_pretrained(llm.folder(), local_files_only=True)


def world(pictures: int = 24, seed: int = 0, name: str = "colours") -> EncodedWorld:
    """Pictures of one colour, which all cells show; two questions to each."""
    generator = torch.Generator().manual_seed(seed)
    which = torch.randint(len(COLOURS), (pictures,), generator=generator)
    signs = torch.randn(len(COLOURS), vlm.PictureReader.DIM, generator=torch.Generator().manual_seed(9))
    noise = torch.randn(pictures, 16, vlm.PictureReader.DIM, generator=generator)
    turns = [
        [
            question_turn("what colour is it?", COLOURS[one], "colour"),
            question_turn("is it red?", "yes" if COLOURS[one] == "red" else "no", "yes/no"),
        ]
        for one in which.tolist()
    ]
    return EncodedWorld(name, (signs[which][:, None] + 0.3 * noise).half(), turns)
