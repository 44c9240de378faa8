"""Pictures and questions from outside in the form that a model was trained on, the same for training and asking."""

from __future__ import annotations

import numpy as np

from course_utils.datasets.vqa import Picture, fit_square, read_picture
from course_utils.vlm.conversations import CAPTION_PROMPT

SMALL, LARGE = 64, 128  # pixels to a side of a prepared picture
MAX_WORDS = 200  # in a question
VERSION = "64 or 128 pixels on white; first letter lower, question mark"  # kept with every model: see finetune.load


def prepared_picture(picture: Picture) -> np.ndarray:
    """Scale a picture into a square with white borders, (side, side, 3) uint8.

    ``picture`` is a file, a PIL image or an array (height, width, 3) uint8; ``side`` is 64 if it is no larger, else
    128, so that the pictures of the course's worlds stay as they are.

    Raises:
        course_utils.datasets.vqa.BadPicture: If it cannot be read.
    """
    pixels = read_picture(picture)
    return fit_square(pixels, SMALL if max(pixels.shape[:2]) <= SMALL else LARGE)


def prepared_question(question: str) -> str:
    """Word a question as the course's worlds do: no capital at the start, an end mark, single spaces.

    A first word with further capitals, such as "DNA", stays; ".", "!" and ":" stand in for the question mark.

    Raises:
        ValueError: If the question is empty or has more than 200 words.
    """
    words = question.split()
    if not words:
        raise ValueError("The question is empty. Ask, for instance, “what animal is there?”.")
    if len(words) > MAX_WORDS:
        raise ValueError(f"The question has {len(words):,} words; ask with at most {MAX_WORDS}.")
    text = " ".join(words)
    if text == CAPTION_PROMPT:
        return text
    if words[0][1:] == words[0][1:].lower():
        text = text[0].lower() + text[1:]
    return text if text.endswith(("?", ".", "!", ":")) else f"{text}?"
