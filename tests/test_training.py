from __future__ import annotations

import math
import os
import signal
import sys

import numpy as np
import pytest
import torch
from torch import nn

from course_utils import trackers, training
from course_utils.datasets.vqa import VisualQADataset, VisualQuestion, Vocabulary, loader

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


def test_train_epoch_passes_over_every_batch(batches):
    model = Model()
    before = weights_of(model)
    mean = training.train_epoch(model, batches, torch.optim.AdamW(model.parameters(), 1e-2))
    assert model.calls == len(batches) and math.isfinite(mean)
    assert not torch.equal(before, weights_of(model))


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
