from __future__ import annotations

import numpy as np
import pytest
import small_llm
import torch
from PIL import Image

from course_utils.language import llm
from course_utils.vlm import ask, finetune


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(llm, "load", small_llm.load)
        patch.setattr(llm, "fast_dtype", lambda *_: torch.float32)
        config = finetune.Config(
            worlds={"shapes": 1}, join_layer=1, rank=4, pictures_per_batch=6, evaluations_per_epoch=1, epochs=1
        )
        model, _ = finetune.train(config, [small_llm.world()], progress=False)
        path = tmp_path_factory.mktemp("model") / "model.safetensors"
        finetune.save(model, config, path)
        yield path


@pytest.fixture
def picture(tmp_path):
    Image.new("L", (90, 40), 120).save(tmp_path / "grey.png")
    return str(tmp_path / "grey.png")


def test_a_picture_of_any_kind_is_asked_and_described(trained, picture):
    asker = ask.Asker(trained)
    said = asker.ask(picture, ["What colour is it?", "is it red"])
    assert len(said) == 2 and all(isinstance(text, str) for text in said)
    again = asker.ask(np.full((40, 90, 3), 120, dtype=np.uint8), ["what colour  is it", "is it red?"])
    assert again == said
    assert isinstance(asker.describe(picture), str)


def test_rationales_are_given_on_request(trained, picture, capsys, monkeypatch):
    monkeypatch.setattr("course_utils.vlm.VisionLanguageModel.complete", lambda *_, **__: ["red star, blue star: no"])
    asker = ask.Asker(trained)
    assert asker.ask(picture, ["is it red?"]) == ["no"]
    assert asker.ask(picture, ["is it red?"], with_rationale=True) == ["red star, blue star: no"]
    for option in ("--rationale", "--aloud"):  # the second is its former name
        assert ask.main([picture, "is it red?", option, "--model", str(trained)]) == 0
        assert capsys.readouterr().out == "red star, blue star: no\n"


def test_one_string_is_no_list_of_questions(trained, picture):
    with pytest.raises(ValueError, match="Give questions as a list"):
        ask.Asker(trained).ask(picture, "is it red?")


def test_an_answer_may_hold_a_colon(trained, picture, monkeypatch):
    monkeypatch.setattr("course_utils.vlm.VisionLanguageModel.complete", lambda *_, **__: [": 10:30"])
    asker = ask.Asker(trained)
    assert asker.ask(picture, ["What time is it?"]) == asker.ask(picture, ["what time is it?"], with_rationale=True)
    assert asker.ask(picture, ["What time is it?"]) == ["10:30"]


def test_the_program_answers_line_by_line(trained, picture, capsys):
    assert ask.main([picture, "what colour is it?", "is it red?", "--model", str(trained)]) == 0
    assert capsys.readouterr().out.count("\n") >= 2


@pytest.mark.parametrize(
    ("picture_name", "question", "said"),
    [
        ("none.png", "is it red?", "none.png cannot be read"),
        ("broken.png", "is it red?", "broken.png cannot be read"),
        ("grey.png", " ", "The question is empty"),
        ("grey.png", "why " * 3000, "The question has 3,000 words"),
    ],
)
def test_the_program_says_what_is_wrong(trained, picture, tmp_path, capsys, picture_name, question, said):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no more")
    assert ask.main([str(tmp_path / picture_name), question, "--model", str(trained)]) == 2
    assert said in capsys.readouterr().err


def test_a_missing_model_is_named(picture, tmp_path, capsys):
    assert ask.main([picture, "is it red?", "--model", str(tmp_path / "none.safetensors")]) == 2
    assert "none.safetensors" in capsys.readouterr().err
