"""Ask about a picture: ``python -m course_utils.vlm.ask picture.png "what colour is the star?"``.

The model is the shipped one, or any other that :mod:`course_utils.vlm.finetune` wrote; it answers in the words of the
worlds that it has learnt. With ``--aloud`` it says its workings too. Without a question, the picture is described.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from course_utils import vlm
from course_utils.assets import AssetError
from course_utils.checkpoints import CheckpointError
from course_utils.datasets.vqa import BadPicture
from course_utils.paths import CHECKPOINTS
from course_utils.vlm import finetune
from course_utils.vlm.conversations import CAPTION_PROMPT
from course_utils.vlm.worlds import squared

SHIPPED = CHECKPOINTS / "seeing_llm.safetensors"  # data/seeing_llm.toml and those that follow made it


class Asker:
    """A trained model with its picture reader.

    Args:
        path: Of a model that :mod:`course_utils.vlm.finetune` wrote; by default the shipped one.

    Raises:
        course_utils.checkpoints.CheckpointError: If there is none, or it is damaged.
    """

    def __init__(self, path: str | Path = SHIPPED) -> None:
        self.model, _ = finetune.load(path)
        self.reader = vlm.PictureReader()

    def ask(self, picture, questions: Sequence[str], *, aloud: bool = False) -> list[str]:
        """What the model answers to each question about a picture.

        Args:
            picture: A file, a PIL image or an array (height, width, 3) uint8.
            questions: At least one.
            aloud: Whether to give the workings before the answers, where it has some.

        Raises:
            course_utils.datasets.vqa.BadPicture: If the picture cannot be read.
            ValueError: If there is no question, or one is empty.
        """
        if not questions or not all(question.strip() for question in questions):
            raise ValueError("The question is empty. Ask, for instance, “what animal is there?”.")
        features = self.reader.read(squared(picture)[None])
        prompts = [as_asked(question) for question in questions]
        return self.model.answer(features.expand(len(prompts), -1, -1), prompts, aloud=aloud)

    def describe(self, picture) -> str:
        """A caption of a picture; errors as for :meth:`ask`."""
        return self.model.caption(self.reader.read(squared(picture)[None]))[0]


def as_asked(question: str) -> str:
    """A question as the worlds word theirs: without a capital, and with a question mark."""
    question = " ".join(question.split())
    question = question if question == CAPTION_PROMPT else question[:1].lower() + question[1:]
    return question if question.endswith(("?", ":")) else f"{question}?"


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; its exit status."""
    parser = argparse.ArgumentParser(prog="course_utils.vlm.ask", description=__doc__.splitlines()[0])
    parser.add_argument("picture", help="a picture file of any kind and size")
    parser.add_argument("question", nargs="*", help="one question or several, each in quotes")
    parser.add_argument("--model", default=SHIPPED, metavar="FILE", help="as course_utils.vlm.finetune writes it")
    parser.add_argument("--aloud", action="store_true", help="give the workings before the answers")
    asked = parser.parse_args(arguments)
    try:
        asker = Asker(asked.model)
        if asked.question:
            said = asker.ask(asked.picture, asked.question, aloud=asked.aloud)
        else:
            said = [asker.describe(asked.picture)]
    except (BadPicture, CheckpointError, AssetError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(said))
    return 0


if __name__ == "__main__":
    sys.exit(main())
