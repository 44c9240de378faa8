"""A vision-language model: pictures joined to a frozen language model, fine-tuned, measured and asked."""

from course_utils.vlm.conversations import may_look
from course_utils.vlm.model import (
    BETWEEN_DOCUMENTS,
    PictureReader,
    VisionLanguageModel,
    answers_right,
    compact,
    nearest,
    read_ahead,
    through,
    word_states,
)

__all__ = [
    "BETWEEN_DOCUMENTS",
    "PictureReader",
    "VisionLanguageModel",
    "answers_right",
    "compact",
    "may_look",
    "nearest",
    "read_ahead",
    "through",
    "word_states",
]
