"""Encoders: one modality in, vectors out, one module for each modality.

All of them give the same three things, an :class:`Encoded`: one vector for the whole, one vector for each position
(a word, a region, a moment), and a mask that says which positions are real.
"""

from course_utils.encoders.encoded import Encoded
from course_utils.encoders.image import EfficientNetLite, GridCNN, SmallCNN, SmallViT
from course_utils.encoders.speech import SpeechEncoder
from course_utils.encoders.text import MiniLM, QuestionLSTM, TextTransformer, mean_pool

__all__ = [
    "EfficientNetLite",
    "Encoded",
    "GridCNN",
    "MiniLM",
    "QuestionLSTM",
    "SmallCNN",
    "SmallViT",
    "SpeechEncoder",
    "TextTransformer",
    "mean_pool",
]
