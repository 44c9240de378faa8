"""Ask about a picture: ``python -m course_utils.vlm.ask picture.png "what colour is the star?"``.

The shipped model answers, or another one written by :mod:`course_utils.vlm.finetune`. ``--rationale`` prints the
rationale too. Without a question, the picture is described.
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

SHIPPED = CHECKPOINTS / "seeing_llm.safetensors"  # trained with data/seeing_llm.toml and its six successors


class Asker:
    """A trained model, by default the shipped one, with its picture reader; CheckpointError if it cannot be loaded."""

    def __init__(self, path: str | Path = SHIPPED) -> None:
        self.model, _ = finetune.load(path)
        self.reader = vlm.PictureReader()

    def ask(self, picture, questions: Sequence[str], *, with_rationale: bool = False) -> list[str]:
        """Answer each question about a picture: a file, a PIL image or an array (height, width, 3) uint8.

        ``with_rationale`` returns rationales with the answers, where there are any. BadPicture if the picture cannot be
        read; ValueError if there is no question, or one is empty.
        """
        if not questions or not all(question.strip() for question in questions):
            raise ValueError("The question is empty. Ask, for instance, “what animal is there?”.")
        features = self.reader.read(squared(picture)[None])
        prompts = [normalised(question) for question in questions]
        return self.model.answer(features.expand(len(prompts), -1, -1), prompts, with_rationale=with_rationale)

    def describe(self, picture) -> str:
        """Caption a picture; errors as for :meth:`ask`."""
        return self.model.caption(self.reader.read(squared(picture)[None]))[0]


def normalised(question: str) -> str:
    """A question in the form of the training questions: no capital at the start, a question mark at the end."""
    question = " ".join(question.split())
    question = question if question == CAPTION_PROMPT else question[:1].lower() + question[1:]
    return question if question.endswith(("?", ":")) else f"{question}?"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    parser = argparse.ArgumentParser(prog="course_utils.vlm.ask", description=__doc__.splitlines()[0])
    parser.add_argument("picture", help="picture file of any format and size")
    parser.add_argument("question", nargs="*", help="one or more questions, each in quotes")
    parser.add_argument("--model", default=SHIPPED, metavar="FILE", help="a model that course_utils.vlm.finetune wrote")
    parser.add_argument("--rationale", action="store_true", help="print rationales before the answers")
    parser.add_argument("--aloud", action="store_true", dest="rationale", help=argparse.SUPPRESS)  # its former name
    options = parser.parse_args(arguments)
    try:
        asker = Asker(options.model)
        if options.question:
            answers = asker.ask(options.picture, options.question, with_rationale=options.rationale)
        else:
            answers = [asker.describe(options.picture)]
    except (BadPicture, CheckpointError, AssetError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(answers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
