"""A new world is one new module under course_utils/datasets, and nothing else."""

from __future__ import annotations

import sys

import pytest
import torch

from course_utils import datasets
from course_utils.datasets.world import world, worlds
from course_utils.vlm import finetune

MODULE = """
import numpy as np

from course_utils.datasets.world import Question, World, WorldData


def load(split, pictures):
    questions = [[Question("is it dark?", "yes" if number % 2 else "no", "exist")] for number in range(pictures)]
    return WorldData(np.zeros((pictures, 64, 64, 3), dtype=np.uint8), questions)


WORLD = World(name="{name}", splits=("train", "validation"), types=("exist",), load=load)
"""


class Reader:
    """Stands in for a picture encoder."""

    def read(self, pictures):
        return torch.zeros(len(pictures), 16, 4)


@pytest.fixture
def add(monkeypatch, tmp_path):
    """Drop a module with a world of this name into a folder of the package."""
    monkeypatch.setattr(datasets, "__path__", [*datasets.__path__, str(tmp_path)])

    def write(module: str, name: str) -> None:
        (tmp_path / f"{module}.py").write_text(MODULE.format(name=name), encoding="utf-8")

    yield write
    for name in [name for name in sys.modules if name.startswith("course_utils.datasets.added_")]:
        del sys.modules[name]


def test_a_new_module_is_all_that_fine_tuning_needs(add):
    add("added_dark", "dark")
    assert set(worlds()) >= {"dark", "shapes", "easy-VQA", "emoji scenes", "more emoji"}
    train, validation = finetune.read_worlds(finetune.Config(worlds={"dark": 3}, validation=2), Reader())
    assert [(one.name, len(one.turns)) for one in train + validation] == [("dark", 3), ("dark", 2)]
    assert [turns[0].answer for turns in train[0].turns] == ["no", "yes", "no"]


def test_an_unknown_world_is_named_with_those_that_there_are():
    with pytest.raises(ValueError, match="no world 'dark'. There are: .*shapes"):
        world("dark")
    with pytest.raises(finetune.ConfigError, match="dark.*shapes"):
        finetune.Config(worlds={"dark": 3})


def test_two_worlds_of_one_name_are_refused(add):
    add("added_again", "shapes")
    with pytest.raises(ValueError, match="Two worlds are called 'shapes'"):
        worlds()
