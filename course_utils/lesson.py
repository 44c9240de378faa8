"""The start of every lesson: seeds, a device and a plot style."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch

from course_utils.device import choose_device, describe, seed_everything

T = TypeVar("T")

SEED = 7


@dataclass(frozen=True)
class LessonInfo:
    """The title of a lesson and its last measured run time in seconds."""

    title: str
    cpu_seconds: int
    gpu_seconds: int | None = None


LESSONS = {
    "00": LessonInfo("Start here", cpu_seconds=110),
    "01": LessonInfo("Text encoders", cpu_seconds=70),
    "02": LessonInfo("Image encoders", cpu_seconds=100),
    "03": LessonInfo("Speech encoders", cpu_seconds=80),
    "04": LessonInfo("Embedding alignment", cpu_seconds=100),
    "05": LessonInfo("Matrix factorisation", cpu_seconds=90),
    "06": LessonInfo("Contrastive pretraining", cpu_seconds=100),
    "07": LessonInfo("Attention alignment", cpu_seconds=55),
    "08": LessonInfo("The LSTM reasoner", cpu_seconds=60),
    "09": LessonInfo("The Transformer reasoner", cpu_seconds=140),
    "10": LessonInfo("Meet the LLM", cpu_seconds=110),
    "11": LessonInfo("Connect pictures to the LLM", cpu_seconds=180),
    "12": LessonInfo("VQA fine-tuning", cpu_seconds=130),
    "13": LessonInfo("Medical pictures and records", cpu_seconds=170),
    "14": LessonInfo("Speech recognition and translation", cpu_seconds=170),
}


@dataclass(frozen=True)
class Lesson:
    """A running lesson.

    Attributes:
        number: Two digits, as in the file name of the notebook.
        device: The device for models and batches.
        seed: The seed of Python, NumPy and torch.
        rng: A NumPy generator for the lesson, separate from the global one.
    """

    number: str
    device: torch.device
    seed: int
    rng: np.random.Generator = field(repr=False)

    def budget(self, *, cpu: T, gpu: T) -> T:
        """The value for this lesson's device: ``cpu`` on a CPU, ``gpu`` on any accelerator."""
        return cpu if self.device.type == "cpu" else gpu


def start(number: str, *, seed: int = SEED) -> Lesson:
    """Seed everything, choose the device, set the plot style and print one line.

    Args:
        number: The lesson, "00" for the first.
        seed: The seed for Python, NumPy and torch.

    Raises:
        ValueError: If there is no such lesson, or the device named by COURSE_DEVICE does not work here.
    """
    if number not in LESSONS:
        raise ValueError(f"There is no lesson {number!r}. The lessons are: {', '.join(LESSONS)}.")
    device = choose_device()
    seed_everything(seed)
    _quiet_output()
    info = LESSONS[number]
    print(f"Lesson {number}, {info.title} · {describe(device)} · torch {torch.__version__} · {_expected(info, device)}")
    return Lesson(number, device, seed, np.random.default_rng(seed))


def _expected(info: LessonInfo, device: torch.device) -> str:
    seconds = info.cpu_seconds if device.type == "cpu" else info.gpu_seconds
    return f"about {seconds} s to run" if seconds else "not timed on this device"


def _quiet_output() -> None:
    import pandas as pd

    from course_utils import plots  # imported here: scripts that draw nothing need no matplotlib

    plots.set_style()
    pd.set_option("display.html.use_mathjax", False)  # "$5 or $6" in a table is no formula
    warnings.filterwarnings("ignore", message="IProgress not found")
