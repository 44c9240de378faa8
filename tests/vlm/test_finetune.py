from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import small_llm
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from course_utils import training, vlm
from course_utils.checkpoints import CheckpointError, read_weights, save_weights
from course_utils.datasets.vqa import BadPicture
from course_utils.language import llm
from course_utils.vlm import ask, evaluate, finetune
from course_utils.vlm.finetune import Config, ConfigError
from experiments import measure_shipped

SUPPORT = Path(__file__).parent.parent / "support"
CONFIG = Config(
    worlds={"shapes": 1}, join_layer=1, rank=4, pictures_per_batch=6, evaluations_per_epoch=2, epochs=3,
    learning_rate=1e-2,
)  # fmt: skip


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(llm, "load", small_llm.load)
    monkeypatch.setattr(llm, "fast_dtype", lambda *_: torch.float32)


@pytest.fixture(autouse=True)
def features_folder(tmp_path, monkeypatch):
    """Features of these tests' pictures do not stay in the cache."""
    monkeypatch.setattr("course_utils.vlm.features.cache_folder", lambda: tmp_path / "features")


def train(config=CONFIG, **options):
    return finetune.train(config, [small_llm.world()], options.pop("validation", ()), progress=False, **options)


# --- configurations ---------------------------------------------------------------------------------------------


def test_a_file_and_changes_make_a_configuration(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('learning_rate = 1\nbridge = "MLP"\n[worlds]\nshapes = 20\n"emoji scenes" = 10\n', encoding="utf-8")
    found = finetune.read_config(file, ["rank=8", "bridge=resampler", 'folder="runs/x"'])
    assert found == Config(
        worlds={"shapes": 20, "emoji scenes": 10}, learning_rate=1.0, rank=8, bridge="resampler", folder="runs/x"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rank = ", "is not TOML"),
        ("speed = 3", "unknown entry speed"),
        ('rank = "high"', "rank is 'high'; it must be a whole number"),
        ("[worlds]\nMars = 3", "worlds names Mars; there are: easy-VQA"),
        ("rank = 3", "nothing to train on"),
        (
            "extra_late_questions = 1\n[worlds]\nshapes = 3\n[extra_questions_by_type]\nlength = 1",
            "extra_questions_by_type names length; there are: exist",
        ),
        ("[worlds]\nshapes = 3\n[extra_questions_by_type]\nnumber = 1", "needs extra_late_questions"),
        ('bridge = "rope"\n[worlds]\nshapes = 3', "it is one of: linear, placed, MLP, resampler"),
        ("passes = 2\n[worlds]\nshapes = 3", "entry passes is now called epochs"),
        ("pictures_per_batch = 0\n[worlds]\nshapes = 3", "at least 1"),
        ('questions = "q.json"', "belong together"),
        ('pictures_folder = "photos"\n[worlds]\nshapes = 3', "belong together"),
        ('worlds = ["shapes"]', "worlds is .*; it must be a table"),
        ('[worlds]\nshapes = "many"', "worlds gives 'many' to shapes; it must be a whole number"),
        ("[worlds]\nshapes = 0", "worlds gives 0 to shapes"),
        *((f"{entry}\n[worlds]\nshapes = 3", entry.split()[0] + " is ") for entry in (
            "held_out = -0.5", "held_out = 1.0", "held_out = nan", "warmup = 5.0", "warmup = -0.1", "patience = -1",
            "validation = -1", "learning_rate = inf", "learning_rate = nan", "learning_rate = 0", "seed = -1",
            "extra_late_questions = -2", "stepping_stone_share = 1.5", "join_layer = -1", 'precision = "fp8"',
            'on_bad_picture = "keep"', "with_rationale = 1", "epochs = 2.5",
        )),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said(text, said, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        finetune.read_config(file)


ENTRIES = st.sampled_from([one.name for one in dataclasses.fields(Config)])
VALUES = st.sampled_from([0, -1, 3, 10**9, 0.5, -0.5, math.inf, -math.inf, math.nan, "", "shapes", True, [], {}])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(ENTRIES, VALUES, max_size=3))
def test_any_entry_is_taken_or_refused_in_one_line_that_names_it(entries):
    entries = {"worlds": {"shapes": 3}} | entries
    toml = {name: json.dumps(value).replace("NaN", "nan").replace("Infinity", "inf") for name, value in entries.items()}
    changes = [f"{name}={value.replace(': ', ' = ')}" for name, value in toml.items()]
    try:
        config = finetune.read_config(os.devnull, changes)
    except ConfigError as error:
        assert "\n" not in str(error)
        assert any(name in str(error) for name in entries) or "nothing to train on" in str(error)
    else:
        assert 0 < config.learning_rate < math.inf and 0 <= config.warmup <= 1 and config.epochs >= 1


def test_a_missing_file_and_a_change_without_a_value_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no configuration"):
        finetune.read_config(tmp_path / "none.toml")
    (tmp_path / "run.toml").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be read"):
        finetune.read_config(tmp_path)
    with pytest.raises(ConfigError, match="NAME=VALUE"):
        finetune.read_config(tmp_path / "run.toml", ["rank"])


def test_the_configurations_of_the_shipped_model_follow_each_other():
    parts = [finetune.read_config(path) for path in evaluate.PARTS]
    assert all(set(part.worlds) >= {"shapes", "easy-VQA", "emoji scenes"} for part in parts)
    for before, after in pairwise(parts):
        assert after.start_from == f"{before.folder}/model.safetensors"
        assert (before.join_layer, before.rank, before.trainable) == (after.join_layer, after.rank, after.trainable)
    first, late, rationales, early, *on_a_gpu, wide = parts
    assert 0 < first.stepping_stone_share < 1 and not first.start_from and late.extra_late_questions > 0
    assert rationales.with_rationale and not late.with_rationale and rationales.bridge == late.bridge
    assert early.with_rationale and early.early_match_questions and not rationales.early_match_questions
    assert early.extra_questions_by_type["number"] > rationales.extra_late_questions
    for part in (*on_a_gpu, wide):
        assert part.choice_questions and part.early_match_questions and part.with_rationale
    assert not early.choice_questions
    assert ["more emoji" in part.worlds for part in parts] == [part is wide for part in parts]


# --- what is trained ---------------------------------------------------------------------------------------------


def test_training_learns_what_the_pictures_show():
    config = dataclasses.replace(CONFIG, epochs=40, evaluations_per_epoch=1, learning_rate=3e-2)
    held = small_llm.world(seed=1)
    model, history = train(config, validation=[held])
    assert max(history.validation) > 0.9 > history.validation[0]
    # Exact is what the model also generates, word for word.
    hits = vlm.exact_matches(model, finetune.batch_worlds(model, [held], pictures_per_batch=5))
    aloud = []
    for cells, turns in zip(held.features, held.turns, strict=True):
        said = model.complete(cells.expand(len(turns), -1, -1), [turn.prompt for turn in turns])
        aloud.append([text == turn.answer for text, turn in zip(said, turns, strict=True)])
    assert hits == aloud


@pytest.mark.parametrize(("device", "ahead"), [("cpu", True), ("cuda", False)])
def test_texts_are_precomputed_on_a_cpu_alone(device, ahead, monkeypatch):
    read = {}
    monkeypatch.setattr(finetune, "precompute", lambda *_: read)
    model = SimpleNamespace(llm=SimpleNamespace(device=torch.device(device)), tokenizer=small_llm.load()[1])
    assert (finetune.batch_worlds(model, [small_llm.world()]).text_states is read) == ahead


def test_a_model_that_was_taught_a_rationale_gives_it_first_and_answers_without_it():
    def with_rationale(world):
        turns = [[dataclasses.replace(turn, rationale=turn.answer[::-1]) for turn in some] for some in world.turns]
        return dataclasses.replace(world, turns=turns)

    taught, held = with_rationale(small_llm.world()), with_rationale(small_llm.world(seed=1))
    config = dataclasses.replace(CONFIG, epochs=60, evaluations_per_epoch=1, learning_rate=3e-2)
    model, _ = finetune.train(config, [taught], progress=False)
    asked = [(number, turn) for number, turns in enumerate(held.turns) for turn in turns]
    features, prompts = held.features[[number for number, _ in asked]], [turn.prompt for _, turn in asked]
    said, answers = (model.answer(features, prompts, with_rationale=flag, batch_size=7) for flag in (True, False))
    assert sum(text == turn.completion for text, (_, turn) in zip(said, asked, strict=True)) > 0.9 * len(asked)
    assert sum(text == turn.answer for text, (_, turn) in zip(answers, asked, strict=True)) > 0.9 * len(asked)
    assert [text.rpartition(": ")[2] for text in said] == answers


def test_a_run_with_rationales_reads_them():
    config = Config(worlds={"shapes": 2, "easy-VQA": 1}, validation=1)
    without, given = (_turns(dataclasses.replace(config, with_rationale=flag)) for flag in (False, True))
    for plain, turn in zip(without, given, strict=True):
        assert (plain.prompt, plain.answer, plain.rationale) == (turn.prompt, turn.answer, "")
        assert bool(turn.rationale) == (turn.type in ("number", "distance") or turn.type.endswith("-relation"))


def _turns(config):
    worlds, validation = finetune.read_worlds(config, measure_shipped.NoPictures())
    return [turn for world in (*worlds, *validation) for some in world.turns for turn in some]


@pytest.mark.parametrize("trainable", finetune.TRAINABLE)
def test_each_way_trains_what_it_says(trainable):
    model = finetune.build(dataclasses.replace(CONFIG, trainable=trainable))
    before = {name: weight.clone() for name, weight in model.llm.state_dict().items()}
    bridge = model.bridge.project.weight.detach().clone()
    model, _ = train(dataclasses.replace(CONFIG, trainable=trainable, epochs=1))
    after = model.llm.state_dict()
    moved = {name for name, weight in before.items() if not torch.equal(weight, after[name])}
    assert not torch.equal(model.bridge.project.weight, bridge)
    assert not any(".layers.0." in name or "embed" in name for name in moved)
    expected = {"bridge": set(), "LoRA": {"up", "down"}, "full": {"weight"}}[trainable]
    assert {name.rsplit(".", 1)[-1] for name in moved} == expected


def test_a_run_goes_on_from_what_another_learnt(tmp_path):
    first, history = train(dataclasses.replace(CONFIG, epochs=40, evaluations_per_epoch=1, learning_rate=3e-2))
    path = tmp_path / "first.safetensors"
    finetune.save(first, CONFIG, path)
    fresh, on = (
        train(dataclasses.replace(CONFIG, epochs=1, evaluations_per_epoch=1, start_from=start_from))[1]
        for start_from in ("", str(path))
    )
    assert on.loss[0] == pytest.approx(history.loss[-1], abs=0.5) and on.loss[0] < fresh.loss[0] - 2
    placed = dataclasses.replace(CONFIG, bridge="placed", epochs=1, evaluations_per_epoch=1, start_from=str(path))
    assert train(placed)[1].loss[0] == pytest.approx(on.loss[0], abs=1e-4)  # places begin at 0
    with pytest.raises(CheckpointError, match="first.safetensors is of another model"):
        train(dataclasses.replace(CONFIG, bridge="MLP", start_from=str(path)))
    with pytest.raises(ConfigError, match=r"first\.safetensors was built otherwise .* join_layer = 1 and rank = 4\."):
        train(dataclasses.replace(CONFIG, rank=8, join_layer=2, start_from=str(path)))


def test_many_small_batches_make_the_step_of_a_large_one():
    large = train(dataclasses.replace(CONFIG, pictures_per_batch=12, evaluations_per_epoch=1))[1].loss
    small = train(dataclasses.replace(CONFIG, pictures_per_batch=3, evaluations_per_epoch=1, accumulate=4))[1].loss
    assert len(small) == len(large)
    np.testing.assert_allclose(small, large, rtol=1e-3)


def test_a_run_stopped_by_ctrl_c_goes_on_exactly(tmp_path):
    whole = train()[1]

    class Interrupted:
        def log(self, step, values):
            if step == 5 and "loss" in values:
                os.kill(os.getpid(), signal.SIGINT)

        def close(self):
            pass

    with pytest.raises(KeyboardInterrupt):
        train(folder=tmp_path, tracker=Interrupted())
    assert (tmp_path / "last.pt").exists()
    resumed = train(folder=tmp_path, resume=True)[1]
    assert len(whole.loss) > 5 and resumed.loss == whole.loss


def test_two_processes_learn_what_one_learns(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    script = str(SUPPORT / "finetune_shared.py")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    for name, command in (("one", [sys.executable]), ("two", launch)):
        out = [script, str(tmp_path / name), str(tmp_path / f"run-{name}")]
        done = subprocess.run([*command, *out], env=environment, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr[-3000:]
    one, first, second = (json.loads((tmp_path / name).read_text()) for name in ("one.0", "two.0", "two.1"))
    assert (one["processes"], first["processes"], second["processes"]) == (1, 2, 2)
    assert first == second  # both have the same weights
    np.testing.assert_allclose(first["loss"], one["loss"], rtol=1e-3)
    np.testing.assert_allclose(first["sums"], one["sums"], rtol=1e-2, atol=0.05)
    assert (tmp_path / "run-two" / "best.safetensors").exists()


def test_it_stops_when_nothing_gets_better():
    config = dataclasses.replace(CONFIG, learning_rate=1e-9, epochs=20, patience=2)
    _, history = train(config, validation=[small_llm.world(seed=1)])
    assert len(history.validation) == 3


def test_bf16_learns_too():
    _, history = train(dataclasses.replace(CONFIG, precision="bf16", epochs=6))
    assert history.loss[-1] < 0.8 * history.loss[0]


def test_the_search_finds_a_rate_that_learns(capsys):
    config = dataclasses.replace(CONFIG, learning_rate=2e-3, epochs=2)
    found = finetune.search(config, [small_llm.world()], [small_llm.world(seed=1)], trials=4)
    assert 4e-4 <= found.learning_rate <= 1e-2 and found.rank in (1, 4)
    assert "best of 4 trials" in capsys.readouterr().out


def test_the_search_needs_something_to_validate_on():
    with pytest.raises(ConfigError, match="validation"):
        finetune.search(CONFIG, [small_llm.world()], [], trials=1)


# --- what is kept -----------------------------------------------------------------------------------------------


def test_a_saved_model_answers_as_before(tmp_path):
    model, _ = train()
    finetune.save(model, CONFIG, tmp_path / "model.safetensors")
    loaded, config = finetune.load(tmp_path / "model.safetensors")
    assert config == CONFIG
    batches = finetune.batch_worlds(model, [small_llm.world(seed=1)], pictures_per_batch=8)
    with torch.no_grad():
        for batch in batches:
            agree = model(batch).argmax(dim=-1) == loaded(batch).argmax(dim=-1)
            assert agree.float().mean() > 0.9  # matrices were rounded to bfloat16


def test_a_file_of_another_program_is_refused(tmp_path):
    safetensors.torch.save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="other.safetensors was written by another program"):
        finetune.load(tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="is a folder. Give the file"):
        finetune.load(tmp_path)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The bytes of a tiny trained model's file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(llm, "load", small_llm.load)
        patch.setattr(llm, "fast_dtype", lambda *_: torch.float32)
        path = tmp_path_factory.mktemp("written") / "model.safetensors"
        finetune.save(train(dataclasses.replace(CONFIG, epochs=1))[0], CONFIG, path)
    return path.read_bytes()


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_model_is_loaded_whole_or_refused_in_one_line(written, tmp_path, data):
    content = bytearray(written[: data.draw(st.integers(0, len(written)) | st.just(len(written)))])
    header = min(len(content), 8 + int.from_bytes(written[:8], "little"))  # where a change can mean anything
    for _ in range(data.draw(st.integers(0, 3)) if header else 0):
        content[data.draw(st.integers(0, header - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    try:
        _, config = finetune.load(path)
    except (CheckpointError, ConfigError) as error:
        assert "\n" not in str(error)
    else:
        assert len(content) == len(written) and isinstance(config, Config)


def test_a_model_of_another_preparation_is_refused(tmp_path, monkeypatch):
    model, _ = train()
    with monkeypatch.context() as patch:
        patch.setattr("course_utils.vlm.prepare.VERSION", "at 32 pixels")
        finetune.save(model, CONFIG, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="reads pictures and questions in another form"):
        finetune.load(tmp_path / "model.safetensors")


def test_a_file_of_something_else_is_refused(tmp_path):
    training.save_checkpoint(torch.nn.Linear(2, 2), tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="not written by course_utils.vlm.finetune"):
        finetune.load(tmp_path / "other.safetensors")


# --- the program ------------------------------------------------------------------------------------------------


@pytest.fixture
def worlds(monkeypatch):
    monkeypatch.setattr(finetune, "read_worlds", lambda *_: ([small_llm.world()], [small_llm.world(seed=1)]))


def program(tmp_path, *more):
    file = tmp_path / "run.toml"
    text = (
        "join_layer = 1\nrank = 4\npictures_per_batch = 6\nevaluations_per_epoch = 2\n"
        f'folder = "{tmp_path.as_posix()}/run"\n[worlds]\nshapes = 1\n'
    )
    file.write_text(text, encoding="utf-8")
    return finetune.main(["--config", str(file), *more])


def test_the_program_trains_measures_and_ships(tmp_path, worlds, capsys):
    ship = tmp_path / "shipped.safetensors"
    assert program(tmp_path, "--set", "tracker=tensorboard", "--ship", str(ship)) == 0
    shown = capsys.readouterr().out
    assert "colour" in shown and "accuracy" in shown
    assert ship.exists() and (tmp_path / "run" / "history.json").exists()
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))
    notes = read_weights(ship)[1]
    assert notes["command"].endswith("run.toml --set tracker=tensorboard") and set(notes["by_type"]) >= {"colour"}
    assert notes == read_weights(tmp_path / "run" / "model.safetensors")[1] and "start" not in notes


def test_a_model_says_what_it_began_from(tmp_path, worlds):
    assert program(tmp_path) == 0
    first = tmp_path / "first.safetensors"
    (tmp_path / "run" / "model.safetensors").rename(first)
    second = tmp_path / "on" / "model.safetensors"
    assert program(tmp_path, "--set", f"start_from={first.as_posix()}", "--set", f"folder={second.parent}") == 0
    assert program(tmp_path, "--set", f"start_from={second.as_posix()}", "--set", f"folder={tmp_path / 'third'}") == 0
    parts = evaluate.parts_of(read_weights(tmp_path / "third" / "model.safetensors")[1])
    assert len(parts) == 3 and set(parts[0]) == {"command", "seconds", "by_type"}
    assert not any("config" in part for part in parts[:-1])
    assert parts[0].items() <= read_weights(first)[1].items() and parts[1].items() <= read_weights(second)[1].items()


def test_the_program_says_what_is_wrong(tmp_path, worlds, capsys):
    assert program(tmp_path, "--set", "rank=0") == 2
    assert "rank is 0; it must be at least 1" in capsys.readouterr().err
    assert program(tmp_path, "--set", "join_layer=7") == 2
    assert "the layers are 0 to 2" in capsys.readouterr().err


def test_a_run_is_not_begun_over_another_and_resumed_only_where_there_is_one(tmp_path, worlds, capsys):
    assert program(tmp_path, "--resume") == 2
    assert "There is no run in" in capsys.readouterr().err
    assert program(tmp_path) == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    assert program(tmp_path) == 2
    assert "Continue it with --resume, or give this one another folder" in capsys.readouterr().err
    assert program(tmp_path, "--resume", "--set", "seed=3") == 2
    assert "seed was 0, now 3" in capsys.readouterr().err
    assert all(path.read_bytes() == content for path, content in before.items())
    assert program(tmp_path, "--resume", "--set", "patience=2") == 0


def test_a_folder_that_cannot_be_written_is_found_before_any_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(finetune, "read_worlds", lambda *_: pytest.fail("work was begun"))
    (tmp_path / "file").write_text("in the way")
    assert program(tmp_path, "--set", f"folder={(tmp_path / 'file' / 'run').as_posix()}") == 2
    assert "Nothing can be written in" in capsys.readouterr().err
    assert program(tmp_path, "--ship", str(tmp_path / "file" / "model.safetensors")) == 2
    assert "Nothing can be written in" in capsys.readouterr().err
    assert program(tmp_path, "--ship", str(tmp_path)) == 2
    assert "is a folder" in capsys.readouterr().err


def test_ctrl_c_says_how_to_go_on(tmp_path, worlds, monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(finetune, "read_worlds", stop)
        assert program(tmp_path) == 130
    assert "Training had not begun" in capsys.readouterr().err
    steps = iter([None] * 3)
    step = training.train_step
    monkeypatch.setattr(training, "train_step", lambda *a, **b: stop() if next(steps, "end") else step(*a, **b))
    assert program(tmp_path) == 130
    assert "--resume continues it" in capsys.readouterr().err
    monkeypatch.setattr(training, "train_step", step)
    assert program(tmp_path, "--resume") == 0


def test_a_loss_that_is_not_finite_ends_in_one_line(tmp_path, worlds, monkeypatch, capsys):
    assert program(tmp_path, "--set", "learning_rate=1e30") == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_tracker_that_is_missing_is_named_before_any_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr(finetune, "read_worlds", lambda *_: pytest.fail("work was begun"))
    assert program(tmp_path, "--set", "tracker=wandb") == 2
    assert "error: Weights & Biases is not installed" in capsys.readouterr().err


def test_vqa_in_its_official_layout_is_trained_on(tmp_path, monkeypatch):
    for number in range(12):
        Image.new("RGB", (60 + number, 40), ("red", "blue")[number % 2]).save(
            tmp_path / f"COCO_train2014_{number:012d}.jpg"
        )
    asked = [{"image_id": n, "question_id": n, "question": "What color is it?"} for n in range(12)]
    colours = [("red", "blue")[n % 2] for n in range(12)]
    ten = [[{"answer": one, "answer_confidence": "yes", "answer_id": i} for i in range(1, 11)] for one in colours]
    answers = [
        {"image_id": n, "question_id": n, "question_type": "what color", "answer_type": "other",
         "multiple_choice_answer": colours[n], "answers": ten[n]}
        for n in range(12)
    ]  # fmt: skip
    head = {"data_subtype": "train2014"}
    (tmp_path / "q.json").write_text(json.dumps({**head, "questions": asked}), encoding="utf-8")
    (tmp_path / "a.json").write_text(json.dumps({**head, "annotations": answers}), encoding="utf-8")
    config = dataclasses.replace(
        CONFIG, worlds={}, questions=str(tmp_path / "q.json"), annotations=str(tmp_path / "a.json"),
        pictures_folder=str(tmp_path), held_out=0.25, pictures_per_batch=3, evaluations_per_epoch=1, epochs=25,
    )  # fmt: skip
    worlds, validation = finetune.read_worlds(config, vlm.PictureReader())
    assert (len(worlds[0].turns), len(validation[0].turns)) == (9, 3)
    model, _ = finetune.train(config, worlds, validation, progress=False)
    assert finetune.vqa_score(model, validation[0]) == pytest.approx(1.0)


def own_data(folder, items):
    """A folder and two files with only the entries that are needed; items are (size, question, answer)."""
    for number, (size, _, _) in enumerate(items):
        Image.new("RGB", size, (40 * number, 255 - 40 * number, 90)).save(folder / f"{number}.png")
    asked = [{"image_id": n, "question_id": n, "question": question} for n, (_, question, _) in enumerate(items)]
    given = [
        {"image_id": n, "question_id": n, "multiple_choice_answer": answer} for n, (*_, answer) in enumerate(items)
    ]
    (folder / "q.json").write_text(json.dumps({"questions": asked}), encoding="utf-8")
    (folder / "a.json").write_text(json.dumps({"annotations": given}), encoding="utf-8")
    return dataclasses.replace(
        CONFIG, worlds={}, questions=str(folder / "q.json"), annotations=str(folder / "a.json"), held_out=0.0,
        pictures_folder=str(folder), pictures_per_batch=4, evaluations_per_epoch=10, epochs=40, learning_rate=1e-2,
        folder=str(folder / "run"),
    )  # fmt: skip


def test_what_was_learned_by_heart_is_answered_when_asked(tmp_path):
    items = [
        ((60, 60), "DNA or RNA", "RNA"), ((300, 40), "What time is it?", "10:30"),
        ((64, 64), "What time is it?", "7:15: late"), ((90, 70), "Name it.", "an O:ring"),
    ]  # fmt: skip
    config = dataclasses.replace(own_data(tmp_path, items), epochs=120)
    worlds, validation = finetune.read_worlds(config, vlm.PictureReader())
    assert not validation
    model, history = finetune.train(config, worlds, progress=False)
    assert len(history.loss) == 120  # one batch a pass, although ten evaluations are asked for
    finetune.save(model, config, tmp_path / "model.safetensors")
    asker = ask.Asker(tmp_path / "model.safetensors")
    for number, (_, question, answer) in enumerate(items):
        assert asker.ask(tmp_path / f"{number}.png", [question]) == [answer]


def test_bad_pictures_of_ones_own_stop_the_run_or_are_left_out(tmp_path):
    config = own_data(tmp_path, [((50, 50), "What is it?", answer) for answer in ("a", "b", "c", "d")])
    (tmp_path / "1.png").write_bytes(b"no picture")
    (tmp_path / "2.png").unlink()
    reader = vlm.PictureReader()
    with pytest.raises(FileNotFoundError, match=r"2\.jpg.*on_bad_picture"):
        finetune.read_worlds(config, reader)
    Image.new("RGB", (9, 9)).save(tmp_path / "2.png")
    with pytest.raises(BadPicture, match=r"1 of 4 pictures cannot be used\. .*1\.png.*on_bad_picture"):
        finetune.read_worlds(config, reader)
    with pytest.warns(UserWarning, match=r"1 of 4 pictures are left out\. .*1\.png"):
        worlds, _ = finetune.read_worlds(dataclasses.replace(config, on_bad_picture="skip"), reader)
    assert sorted(turns[0].answer for turns in worlds[0].turns) == ["a", "c", "d"] and len(worlds[0].features) == 3


def test_an_answer_that_generation_would_cut_is_refused(tmp_path):
    config = own_data(tmp_path, [((50, 50), "What is it?", "very " * 80 + "long")])
    with pytest.raises(ValueError, match="the answer 'very very .* generates at most 64.* Shorten it"):
        finetune.train(config, finetune.read_worlds(config, vlm.PictureReader())[0], progress=False)


def test_a_long_question_is_named_by_its_id(tmp_path):
    config = own_data(tmp_path, [((50, 50), "why " * 3000, "so")])
    with pytest.raises(ValueError, match=r"q\.json: question 0: The question has 3,000 words"):
        finetune.read_worlds(config, vlm.PictureReader())


def test_the_program_prints_the_vqa_accuracy_of_several_annotators(tmp_path, monkeypatch, capsys):
    held = small_llm.world(4, seed=1)
    several = [[(turn.answer,) * 10 for turn in turns] for turns in held.turns]
    held = dataclasses.replace(held, annotators=several)
    monkeypatch.setattr(finetune, "read_worlds", lambda *_: ([small_llm.world()], [held]))
    assert program(tmp_path) == 0
    shown = capsys.readouterr().out
    score = finetune.vqa_score(finetune.load(tmp_path / "run" / "model.safetensors")[0], held)
    assert f", official VQA accuracy {score:.4f}" in shown and "\nexact " in shown


# --- names of entries before they were renamed ------------------------------------------------------------------


def test_a_model_with_former_names_loads_with_the_same_meaning(tmp_path):
    model, _ = train()
    finetune.save(model, CONFIG, tmp_path / "model.safetensors")
    weights, notes = read_weights(tmp_path / "model.safetensors")
    former = {new: old for old, new in finetune.RENAMED.items()}
    notes["config"] = {former.get(name, name): value for name, value in notes["config"].items()} | {"gone": 3}
    assert {"enter", "pictures", "passes", "parts"} <= set(notes["config"])
    save_weights(weights, tmp_path / "old.safetensors", notes)
    assert finetune.load(tmp_path / "old.safetensors")[1] == CONFIG
    start = dataclasses.replace(CONFIG, epochs=1, evaluations_per_epoch=1, start_from=str(tmp_path / "old.safetensors"))
    train(start)
    with pytest.raises(ConfigError, match="set join_layer = 1"):
        train(dataclasses.replace(start, join_layer=2))


def test_the_shipped_models_notes_hold_former_names_and_mean_the_last_configuration():
    notes = read_weights(ask.SHIPPED)[1]
    assert set(finetune.RENAMED) <= set(notes["config"])
    config = finetune.Config(**finetune._saved_config(notes, ask.SHIPPED))
    assert config == finetune.read_config(evaluate.PARTS[-1])
