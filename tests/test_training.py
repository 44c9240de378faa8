from __future__ import annotations

import itertools
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from course_utils import trackers, training
from course_utils.datasets.vqa import VisualQADataset, VisualQuestion, Vocabulary, loader

ROOT = Path(__file__).parent.parent
ANSWERS = ("black", "white")
SETTINGS = {"epochs": 4, "learning_rate": 1e-2, "progress": False}


@pytest.fixture
def batches():
    """Questions with one answer each: is this small picture black or white?"""
    rng = np.random.default_rng(0)
    shades = rng.integers(0, 2, size=24)
    noise = rng.integers(0, 60, size=(24, 4, 4, 3))
    pictures = np.where(shades[:, None, None, None] == 1, 255 - noise, noise).astype(np.uint8)
    questions = [VisualQuestion(100 + i, i, "which shade?", ANSWERS[shade], "shade") for i, shade in enumerate(shades)]
    dataset = VisualQADataset(questions, pictures, Vocabulary(["which", "shade"]), ANSWERS)
    return loader(dataset, 4, shuffle=True, seed=3)


class Model(nn.Module):
    """With dropout, so that random numbers matter, and with a hook to misbehave at a given call."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))
        self.calls, self.hooks = 0, {}

    def forward(self, batch):
        if self.training:
            self.calls += 1
            self.hooks.get(self.calls, lambda: None)()
        return self.layers(batch["pictures"])[batch["picture_of"]]


def weights_of(model):
    return torch.cat([value.flatten().float() for value in model.state_dict().values()])


# --- learning ---------------------------------------------------------------------------------------------------


def test_fit_learns_and_keeps_the_best(batches):
    model = Model()
    history = training.fit(model, batches, batches, **SETTINGS)
    assert history.validation[history.best_epoch - 1] == max(history.validation)
    assert training.accuracy(model, batches) == pytest.approx(max(history.validation)) and max(history.validation) > 0.9
    assert history.by_type == {"shade": history.validation}
    assert np.mean(history.loss[-6:]) < 0.7 * np.mean(history.loss[:6])
    assert len(history.loss) == len(history.learning_rate) == 4 * 6
    assert not model.training


def test_one_step_equals_torch_written_out(batches):
    batch = next(iter(batches))
    ours, theirs = Model(), Model()
    torch.manual_seed(1)
    value = training.train_step(ours, batch, torch.optim.SGD(ours.parameters(), 0.1), clip=0.01)
    torch.manual_seed(1)
    loss = nn.CrossEntropyLoss()(theirs(batch), batch["answers"])
    loss.backward()
    norm = torch.sqrt(sum((weight.grad**2).sum() for weight in theirs.parameters()))
    assert norm > 0.01  # so that clipping does something
    with torch.no_grad():
        for weight in theirs.parameters():
            weight -= 0.1 * weight.grad * (0.01 / (norm + 1e-6))
    assert value == pytest.approx(loss.item())
    torch.testing.assert_close(weights_of(ours), weights_of(theirs))


def test_learning_rate_warms_up_then_follows_a_cosine():
    settings = training.Settings(2, 50, 0.1, 0.0, 0.1, 1.0, "fp32")
    rates = [training.learning_rate_at(step, settings) for step in range(100)]
    assert rates[:10] == pytest.approx([0.01 * (step + 1) for step in range(10)])
    assert rates[10] == 0.1 and rates[55] == pytest.approx(0.05) and 0 < rates[99] < 1e-3
    assert all(one >= other for one, other in zip(rates[10:], rates[11:], strict=False))


def test_bf16_computes_in_bfloat16_and_keeps_float32_weights(batches):
    seen = []
    model = Model()
    model.layers[1].register_forward_hook(lambda _m, _i, out: seen.append(out.dtype))
    training.fit(model, batches, epochs=1, precision="bf16", progress=False)
    assert set(seen) == {torch.bfloat16} and weights_of(model).dtype == torch.float32
    with pytest.raises(ValueError, match="fp16"):
        training.fit(model, batches, epochs=1, precision="fp16", progress=False)


def test_patience_stops_a_run_that_no_longer_improves(batches):
    history = training.fit(Model(), batches, batches, epochs=50, learning_rate=1e-2, patience=2, progress=False)
    assert len(history.validation) == history.best_epoch + 2 < 50
    with pytest.raises(ValueError, match="validation"):
        training.fit(Model(), batches, epochs=1, patience=2)


def test_the_progress_bar_goes_to_stdout(batches, capsys):
    training.fit(Model(), batches, batches, epochs=1, learning_rate=1e-2)
    out, err = capsys.readouterr()
    assert "validation" in out and err == ""


# --- several processes ------------------------------------------------------------------------------------------

SHARED = '''
import json, sys
import torch
from torch import nn
from accelerate import Accelerator
from course_utils import training
from course_utils.checkpoints import read_weights

class Model(nn.Module):
    """Three branches; a batch chooses one, so that weights go without a gradient. The head's name is asked for."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.branches = nn.ModuleList(nn.Linear(4, 6) for _ in range(3))
        self.head = nn.Linear(6, 3)

    def forward(self, batch):
        return self.head(self.branches[batch["branch"]](batch["x"]).relu())

class Batches:
    def __init__(self, process, processes):
        self.process, self.processes = process, processes

    def __len__(self):
        return 6

    def __iter__(self):
        random = torch.Generator().manual_seed(0)
        for step in range(6):
            parts = []
            for part in range(2):  # processes answer different numbers of questions, and one of them none at times
                x, answers = torch.randn(5, 4, generator=random), torch.randint(3, (5,), generator=random)
                answers[: 1 + 2 * part] = training.IGNORE
                if (step, part) == (2, 1):
                    answers[:] = training.IGNORE
                parts.append({"x": x, "answers": answers, "branch": part and step % 2})
            if self.processes == 2:
                yield parts[self.process]
            else:
                yield from parts

accelerator = Accelerator(cpu=True)
processes, model = accelerator.num_processes, Model()
batches = Batches(accelerator.process_index, processes)
Batches.__len__ = lambda self: 12 // self.processes
history = training.fit(
    model, batches, lambda model: (float(model.head.weight.sum()), {}), epochs=3, learning_rate=0.05,
    accumulate=2 * int(sys.argv[2]) // processes, accelerator=accelerator, progress=False, folder=sys.argv[1] + ".run",
)
weights = {name: weight.flatten().tolist() for name, weight in model.state_dict().items()}
kept, _ = read_weights(sys.argv[1] + ".run/best.safetensors")
assert {name: weight.flatten().tolist() for name, weight in kept.items()} == weights
with open(f"{sys.argv[1]}.{accelerator.process_index}", "w") as out:
    json.dump({"processes": processes, "loss": history.loss, "weights": weights}, out)
accelerator.end_training()
'''


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_processes_take_the_steps_of_one(tmp_path, accumulate):
    script = tmp_path / "shared.py"
    script.write_text(SHARED)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    for name, command in (("one", [sys.executable]), ("two", launch)):
        command = [*command, str(script), str(tmp_path / name), str(accumulate)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr[-3000:]
    one, first, second = (json.loads((tmp_path / name).read_text()) for name in ("one.0", "two.0", "two.1"))
    assert (one["processes"], first["processes"]) == (1, 2) and first == second
    assert len(one["loss"]) == len(first["loss"]) == 18 // accumulate
    np.testing.assert_allclose(first["loss"], one["loss"], rtol=1e-4)
    for name, weight in one["weights"].items():
        np.testing.assert_allclose(first["weights"][name], weight, atol=1e-4, err_msg=name)


def test_a_batch_without_a_known_answer_adds_nothing_to_a_step(batches):
    one, other = itertools.islice(batches, 2)
    silent = {**other, "answers": torch.full_like(other["answers"], training.IGNORE)}
    models = [Model().eval(), Model().eval()]
    losses = [
        training.train_step(model, given, torch.optim.SGD(model.parameters(), 0.1))
        for model, given in zip(models, (one, [one, silent]), strict=True)
    ]
    assert losses[0] == losses[1] and torch.equal(*map(weights_of, models))


# --- what goes wrong --------------------------------------------------------------------------------------------


def test_a_loss_that_is_nan_names_step_and_questions(batches, tmp_path):
    model = Model()
    training.fit(model, batches, batches, folder=tmp_path, **SETTINGS)
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def poisoned(logits, batch):
        value = training.answer_loss(logits, batch)
        return value * math.nan if model.calls == 24 + 3 else value

    with pytest.raises(training.NonFiniteLoss, match=r"nan at step 3, on questions \d{3}, .*lower learning rate"):
        training.fit(model, batches, loss=poisoned, folder=tmp_path, **SETTINGS)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept
    assert torch.isfinite(weights_of(model)).all()


def test_unknown_answers_are_left_out_of_the_loss_and_count_as_wrong(batches):
    batch = next(iter(batches))
    half = {**batch, "answers": batch["answers"].clone()}
    half["answers"][:2] = training.IGNORE
    logits = torch.zeros(4, 2)
    assert training.answer_loss(logits, half) == pytest.approx(math.log(2))
    result = training.evaluate(Model(), [half], ANSWERS)
    assert result.accuracy <= 0.5 and "(another answer)" in result.report


# --- evaluation -------------------------------------------------------------------------------------------------


def test_evaluate_counts_what_a_loop_counts(batches):
    model = Model().train()
    result = training.evaluate(model, batches, ANSWERS)
    assert model.training  # left as it was
    model.eval()
    right = total = 0
    with torch.no_grad():
        for batch in batches:
            for scores, answer in zip(model(batch), batch["answers"], strict=True):
                right += int(scores[0] < scores[1]) == answer.item()
                total += 1
    assert result.accuracy == pytest.approx(right / total) and total == 24
    assert sorted(result.question_ids) == list(range(100, 124))
    assert result.by_type["questions"].tolist() == [24]
    assert all(0.5 <= share <= 1 for share in result.confidences)
    assert "precision" in result.report and "black" in result.report


def test_evaluate_needs_batches():
    with pytest.raises(ValueError, match="no batch"):
        training.evaluate(Model(), [], ANSWERS)


# --- stopping and going on --------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps_before", [3, 6, 10])  # within the first epoch, at its end, within the second
def test_a_resumed_run_equals_one_that_never_stopped(batches, tmp_path, steps_before):
    whole = Model()
    torch.manual_seed(5)
    expected = training.fit(whole, batches, batches, folder=tmp_path / "whole", **SETTINGS)

    stopped = Model()
    stopped.hooks[steps_before] = lambda: os.kill(os.getpid(), signal.SIGINT)
    torch.manual_seed(5)
    with pytest.raises(KeyboardInterrupt):
        training.fit(stopped, batches, batches, folder=tmp_path / "parts", **SETTINGS)
    assert stopped.calls == steps_before

    torch.manual_seed(999)
    resumed = Model(seed=999)
    history = training.fit(resumed, batches, batches, folder=tmp_path / "parts", resume=True, **SETTINGS)
    assert history.loss == expected.loss and history.validation == expected.validation
    assert resumed.calls == 24 - steps_before
    assert torch.equal(weights_of(resumed), weights_of(whole))


def test_resume_with_nothing_there_starts_afresh(batches, tmp_path):
    history = training.fit(Model(), batches, folder=tmp_path, resume=True, **SETTINGS)
    assert len(history.loss) == 24
    with pytest.raises(ValueError, match="folder"):
        training.fit(Model(), batches, resume=True, **SETTINGS)


def test_resume_refuses_other_settings_other_models_and_damage(batches, tmp_path):
    training.fit(Model(), batches, folder=tmp_path, **SETTINGS)
    with pytest.raises(training.CheckpointError, match="learning_rate was 0.01, now 0.5"):
        training.fit(Model(), batches, folder=tmp_path, resume=True, **{**SETTINGS, "learning_rate": 0.5})
    other = Model()
    other.layers[4] = nn.Linear(8, 3)
    with pytest.raises(training.CheckpointError, match=r"another model: 2 weights differ.*\(2,\).*\(3,\)"):
        training.fit(other, batches, folder=tmp_path, resume=True, **SETTINGS)
    last = tmp_path / "last.pt"
    last.write_bytes(last.read_bytes()[:200])
    with pytest.raises(training.CheckpointError, match="last.pt is damaged.*Delete it"):
        training.fit(Model(), batches, folder=tmp_path, resume=True, **SETTINGS)


# --- trackers ---------------------------------------------------------------------------------------------------


def test_tensorboard_gets_every_step(batches, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracker = trackers.TensorBoardTracker(tmp_path)
    history = training.fit(Model(), batches, batches, tracker=tracker, **SETTINGS)
    tracker.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [event.value for event in events.Scalars("loss")] == pytest.approx(history.loss, rel=1e-5)
    assert [event.value for event in events.Scalars("validation accuracy")] == pytest.approx(history.validation)


def test_wandb_is_told_and_asked_for_by_name(monkeypatch):
    class Run(list):
        def log(self, values, step):
            self.append((step, values))

        def finish(self):
            self.append("finished")

    class Fake:
        @staticmethod
        def init(project):
            return Run([project])

    monkeypatch.setitem(sys.modules, "wandb", Fake)
    tracker = trackers.WandbTracker(project="course")
    tracker.log(1, {"loss": 0.5})
    tracker.close()
    assert tracker.run == ["course", (1, {"loss": 0.5}), "finished"]
    monkeypatch.setitem(sys.modules, "wandb", None)  # python's way to say: not installed
    with pytest.raises(ImportError, match="pip install wandb"):
        trackers.WandbTracker()
