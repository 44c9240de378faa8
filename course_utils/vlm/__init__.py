"""A vision-language model: pictures joined to a language model, fine-tuned, measured and asked."""

from course_utils.vlm.conversations import attention_mask
from course_utils.vlm.model import (
    END_OF_TEXT,
    MAX_NEW_TOKENS,
    PictureReader,
    VisionLanguageModel,
    compact,
    exact_matches,
    nearest,
    precompute_text,
    run_layers,
    word_states,
)

__all__ = [
    "END_OF_TEXT", "MAX_NEW_TOKENS", "PictureReader", "VisionLanguageModel", "attention_mask", "compact",
    "exact_matches", "nearest", "precompute_text", "run_layers", "word_states",
]  # fmt: skip
