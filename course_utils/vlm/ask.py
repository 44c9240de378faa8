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
from course_utils.vlm import finetune
from course_utils.vlm.finetune import SHIPPED
from course_utils.vlm.prepare import prepared_picture, prepared_question


class Asker:
    """A trained model, by default the shipped one, with its picture reader; CheckpointError if it cannot be loaded."""

    def __init__(self, path: str | Path = SHIPPED) -> None:
        self.model, _ = finetune.load(path)
        self.reader = vlm.PictureReader()

    def ask(self, picture, questions: Sequence[str], *, with_rationale: bool = False) -> list[str]:
        """Answer each question about a picture: a file, a PIL image or an array (height, width, 3) uint8.

        ``with_rationale`` returns rationales with the answers, where there are any. BadPicture if the picture cannot be
        read; ValueError if there is no question, or one is empty or longer than 200 words.
        """
        if not questions or isinstance(questions, str):
            raise ValueError("Give questions as a list: ask(picture, [“what animal is there?”]).")
        prompts = [prepared_question(question) for question in questions]
        features = self.reader.read(prepared_picture(picture)[None])
        return self.model.answer(features.expand(len(prompts), -1, -1), prompts, with_rationale=with_rationale)

    def describe(self, picture) -> str:
        """Caption a picture; errors as for :meth:`ask`."""
        return self.model.caption(self.reader.read(prepared_picture(picture)[None]))[0]


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
