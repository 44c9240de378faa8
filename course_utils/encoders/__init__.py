"""Encoders, one module for each modality. All return an :class:`Encoded`.

:mod:`course_utils.encoders.cells` trains picture encoders on the labels of grid cells.
"""

from course_utils.encoders.encoded import Encoded
from course_utils.encoders.image import EfficientNetLite, GridCNN, SmallCNN, SmallViT
from course_utils.encoders.speech import SpeechEncoder
from course_utils.encoders.text import MiniLM, QuestionLSTM, mean_pool

__all__ = [
    "EfficientNetLite", "Encoded", "GridCNN", "MiniLM", "QuestionLSTM", "SmallCNN", "SmallViT", "SpeechEncoder",
    "mean_pool",
]  # fmt: skip
