"""Does an answer follow the words before it? ``python -m experiments.mouth MODEL ...`` writes data/mouth.csv.

Each model, a file that ``python -m course_utils.vlm.finetune`` wrote, is asked whether something is there in a direction,
and is given a working that it did not say: one in which what is asked about stands nowhere, first, or last before the
anchor, whatever the picture shows. Where the answer goes, there the model looked. Much as Lanham and others do with
large language models (Measuring Faithfulness in Chain-of-Thought Reasoning, 2023).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from course_utils import results, vlm
from course_utils.checkpoints import CheckpointError, read_weights
from course_utils.datasets import shapes
from course_utils.paths import DATA
from course_utils.vlm import finetune
from course_utils.vlm.conversations import Turn
from course_utils.vlm.worlds import World, read_world, with_workings
from experiments.seeing import parts_of

RESULTS = DATA / "mouth.csv"
WHERE = ("nowhere", "first", "last")
KIND = "exist-relation"
PICTURES = 1000  # of the test split, with a question each


def put_into_its_mouth(turn: Turn, where: str) -> str | None:
    """A question and a working that names a fitting thing in one place, up to where the answer is due.

    Args:
        turn: A question of the type "exist-relation" with its working.
        where: One of ``WHERE``.

    Returns:
        The text; None if the walk has no other thing, so that first and last would be the same.
    """
    target = shapes.parse(turn.prompt).target
    *met, anchor = turn.working.split(", ")
    met = [name for name in met if (target.colour or target.shape) not in name.split()]
    if not met:
        return None
    if where != "nowhere":
        fitting = shapes.Description(None, target.colour or "blue", target.shape or "circle")
        met.insert(0 if where == "first" else len(met), str(fitting))
    return f"{turn.prompt} {', '.join([*met, anchor])}:"


def measure(model: vlm.VisionLanguageModel, world: World) -> pd.DataFrame:
    """How often the model says yes: where, picture (what would be right by the picture), questions, yes.

    Args:
        model: That says its workings.
        world: Shapes with workings.
    """
    asked = [(number, turn) for number, turns in enumerate(world.turns) for turn in turns if turn.type == KIND]
    asked = [(number, turn) for number, turn in asked if put_into_its_mouth(turn, WHERE[0])]
    features = world.features[[number for number, _ in asked]]
    rows = []
    for where in WHERE:
        said = model.answer(features, [put_into_its_mouth(turn, where) for _, turn in asked])
        yes = pd.Series([text == "yes" for text in said])
        by_picture = yes.groupby([turn.answer for _, turn in asked])
        rows += [
            {"where": where, "picture": answer, "questions": len(some), "yes": some.mean()}
            for answer, some in by_picture
        ]
    return pd.DataFrame(rows)


def load() -> pd.DataFrame:
    """The stored results.

    Columns: part (of the model's training, the last that it had), where, picture, questions, yes, machine, torch.
    """
    return pd.read_csv(RESULTS)


def main(models: Sequence[str | Path], pictures: int = PICTURES, path: Path = RESULTS) -> pd.DataFrame:
    """Measure models; the table, which is stored too.

    Raises:
        course_utils.checkpoints.CheckpointError: If a file is missing or is no such model.
    """
    world = with_workings(read_world("shapes", "test", pictures, vlm.PictureReader()))
    tables = []
    for file in models:
        part = len(parts_of(read_weights(file)[1]))
        table = measure(finetune.load(file)[0], world)
        tables.append(table.assign(part=part, **results.where_measured()))
    table = pd.concat(tables)[["part", "where", "picture", "questions", "yes", "machine", "torch"]]
    table.to_csv(path, index=False, float_format="%.4f")
    print(table.pivot_table(index=["part", "picture"], columns="where", values="yes").round(2)[list(WHERE)])
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", metavar="MODEL", help="a file that course_utils.vlm.finetune wrote")
    try:
        main(parser.parse_args().models)
    except CheckpointError as error:
        parser.error(str(error))
