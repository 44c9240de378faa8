"""Does an answer follow its rationale? ``python -m experiments.forced_rationales MODEL ...`` writes a table.

Each model, a file written by ``python -m course_utils.vlm.finetune``, answers whether an object is there in a direction
after a forced rationale, which names a matching object nowhere, first, or last before the anchor, whatever the picture
shows. The answer shows which input it follows.

Columns of data/forced_rationales.csv: part (the last of the model's training), where, picture (the right answer by the
picture), questions, yes (share), machine, torch.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from course_utils import results, vlm
from course_utils.checkpoints import CheckpointError, read_weights
from course_utils.paths import DATA
from course_utils.vlm import finetune
from course_utils.vlm.evaluate import WHERE, parts_of, with_forced_rationale
from course_utils.vlm.worlds import EncodedWorld, read_world, with_rationales

RESULTS = DATA / "forced_rationales.csv"
KIND = "exist-relation"
PICTURES = 1000  # of the test split, with one question each


def measure(model: vlm.VisionLanguageModel, world: EncodedWorld) -> pd.DataFrame:
    """How often the model says yes: where, picture, questions, yes.

    Args:
        model: A model trained with rationales.
        world: Shapes with rationales.
    """
    asked = [(number, turn) for number, turns in enumerate(world.turns) for turn in turns if turn.type == KIND]
    asked = [(number, turn) for number, turn in asked if with_forced_rationale(turn, WHERE[0])]
    features = world.features[[number for number, _ in asked]]
    rows = []
    for where in WHERE:
        answers = model.answer(features, [with_forced_rationale(turn, where) for _, turn in asked])
        yes = pd.Series([answer == "yes" for answer in answers])
        by_picture = yes.groupby([turn.answer for _, turn in asked])
        rows += [
            {"where": where, "picture": answer, "questions": len(some), "yes": some.mean()}
            for answer, some in by_picture
        ]
    return pd.DataFrame(rows)


def main(models: Sequence[str | Path], pictures: int = PICTURES, path: Path = RESULTS) -> pd.DataFrame:
    """Measure models and store the table.

    Raises:
        course_utils.checkpoints.CheckpointError: If a file is missing or is not such a model.
    """
    world = with_rationales(read_world("shapes", "test", pictures, vlm.PictureReader()))
    tables = []
    for file in models:
        part = len(parts_of(read_weights(file)[1]))
        tables.append(measure(finetune.load(file)[0], world).assign(part=part, **results.where_measured()))
    table = pd.concat(tables)[["part", "where", "picture", "questions", "yes", "machine", "torch"]]
    results.replace(path, table)
    print(table.pivot_table(index=["part", "picture"], columns="where", values="yes").round(2)[list(WHERE)])
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", metavar="MODEL", help="a file that course_utils.vlm.finetune wrote")
    try:
        main(parser.parse_args().models)
    except CheckpointError as error:
        parser.error(str(error))
