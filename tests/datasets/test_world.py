"""A new world is one new module under course_utils/datasets, and nothing else."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import small_llm
import torch

from course_utils import datasets
from course_utils.datasets import shapes
from course_utils.datasets.world import load_split, world, worlds
from course_utils.vlm import finetune, targets

MODULE = """
import numpy as np

from course_utils.datasets.world import Question, World, WorldData


def load(split, pictures):
    questions = [[Question("is it dark?", "yes" if number % 2 else "no", "exist")] for number in range(pictures)]
    return WorldData(np.zeros((pictures, 64, 64, 3), dtype=np.uint8), questions)


WORLD = World(name="{name}", splits=("train", "validation"), types=("exist",), load=load)
"""


# Everything that a world may have: captions, rationales, extra questions, and names for the least-squares bridge.
FULL = """
import numpy as np

from course_utils.datasets.world import Question, SceneObject, World, WorldData


def load(split, pictures):
    scenes = ["red" if number % 2 else "blue" for number in range(pictures)]
    questions = [[Question("what colour is the flag?", scene, "colour")] for scene in scenes]
    return WorldData(np.zeros((pictures, 64, 64, 3), dtype=np.uint8), questions, scenes)


WORLD = World(
    name="{name}",
    splits=("train", "validation"),
    types=("colour", "exist"),
    load=load,
    caption=lambda scene: f"a {{scene}} flag",
    rationale=lambda question, scene: f"{{scene}} flag" if question.startswith("is") else "",
    objects=lambda scene: [SceneObject(f"{{scene}} flag", 8, 8, 16)],
    names=lambda: (["red flag", "blue flag"], []),
    side=64,
    extra_questions=lambda scenes, times: [[Question("is it red?", str(one == "red"), "exist")] for one in scenes],
    late_types=("exist",),
)
"""


class Reader:
    """Stands in for a picture encoder."""

    def read(self, pictures):
        return torch.zeros(len(pictures), 16, 4)


@pytest.fixture
def add(monkeypatch, tmp_path):
    """Drop a module with a world of this name into a folder of the package."""
    monkeypatch.setattr(datasets, "__path__", [*datasets.__path__, str(tmp_path)])

    def write(module: str, name: str, text: str = MODULE) -> None:
        (tmp_path / f"{module}.py").write_text(text.format(name=name), encoding="utf-8")

    yield write
    for name in [name for name in sys.modules if name.startswith("course_utils.datasets.added_")]:
        del sys.modules[name]


def test_a_new_module_is_all_that_fine_tuning_needs(add):
    add("added_dark", "dark")
    assert set(worlds()) >= {"dark", "shapes", "easy-VQA", "emoji scenes", "more emoji"}
    train, validation = finetune.read_worlds(finetune.Config(worlds={"dark": 3}, validation=2), Reader())
    assert [(one.name, len(one.turns)) for one in train + validation] == [("dark", 3), ("dark", 2)]
    assert [turns[0].answer for turns in train[0].turns] == ["no", "yes", "no"]


def test_the_training_mix_rationales_and_targets_of_a_new_world_are_used(add):
    add("added_flags", "flags", FULL)
    config = finetune.Config(
        worlds={"flags": 5, "shapes": 2}, validation=3, extra_late_questions=1, extra_questions_by_type={"exist": 1},
        with_rationale=True,
    )  # fmt: skip
    (flags, others), (held_out, _) = finetune.read_worlds(config, Reader())
    assert [(turn.prompt, turn.answer, turn.type, turn.rationale) for turn in flags.turns[0]] == [
        ("Picture:", "a blue flag", "caption", ""),
        ("what colour is the flag?", "blue", "colour", ""),
        ("is it red?", "False", "exist", "blue flag"),
    ]
    assert [len(turns) for turns in held_out.turns] == [2, 2, 2]  # the mix is for training only
    known = targets.known_targets([flags, others], *small_llm.load(), join_layer=1)
    assert [len(scenes) for _, scenes, _ in known] == [5, 2]
    cells, states = known[0][2].cells("red"), known[0][2].states
    assert torch.equal(cells[0], states[0]) and torch.equal(cells[1], states.mean(dim=0))


@pytest.mark.parametrize("name", ["easy-VQA", "emoji scenes", "more emoji", "shapes"])
def test_a_world_keeps_its_promises(name):
    one = world(name)
    assert {"train", "validation"} <= set(one.splits)
    data = one.load("train", 6)
    assert len(data.pictures) == len(data.questions) == 6
    assert data.pictures.dtype == np.uint8 and data.pictures.shape[1] == data.pictures.shape[2]
    asked = [data.questions, one.load("validation", 2).questions]
    asked += [extra(data.scenes) for extra in (one.early_match_questions, one.choice_questions) if extra]
    if one.extra_questions:
        asked.append(one.extra_questions(data.scenes, dict.fromkeys(one.late_types, 2)))
        assert {question.type for some in asked[-1] for question in some} == set(one.late_types)
    assert {question.type for questions in asked for some in questions for question in some} == set(one.types)
    assert {*one.replaced_types, *one.late_types} <= set(one.types)


@pytest.mark.parametrize("name", ["emoji scenes", "shapes"])
def test_objects_have_known_names_and_lie_in_the_picture(name):
    one = world(name)
    seen, unseen = one.names()
    assert len({*seen, *unseen}) == len(seen) + len(unseen)
    data = one.load("train", 20)
    assert data.pictures.shape[1] == one.side
    for found in (found for scene in data.scenes for found in one.objects(scene)):
        reach = found.size // 2
        assert found.name in seen
        assert reach <= min(found.x, found.y) and max(found.x, found.y) + reach <= one.side


def test_a_split_becomes_questions_by_picture():
    data = shapes.split("validation", pictures=3)
    loaded = load_split(shapes.split, "validation", 3)
    assert loaded.questions == [list(data.questions[8 * i : 8 * i + 8]) for i in range(3)]
    assert loaded.scenes == data.scenes and (loaded.pictures == data.pictures).all()


def test_an_unknown_world_is_named_with_those_that_there_are():
    with pytest.raises(ValueError, match="no world 'dark'. There are: .*shapes"):
        world("dark")
    with pytest.raises(finetune.ConfigError, match="dark.*shapes"):
        finetune.Config(worlds={"dark": 3})


def test_two_worlds_of_one_name_are_refused(add):
    add("added_again", "shapes")
    with pytest.raises(ValueError, match="Two worlds are called 'shapes'"):
        worlds()
