from __future__ import annotations

import copy
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
from hypothesis import given, settings
from hypothesis import strategies as st
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


class Linear(nn.Linear):
    def forward(self, batch):
        return super().forward(batch["x"])


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.lists(st.integers(-1, 3), min_size=1, max_size=5), min_size=1, max_size=7),  # -1 for an unknown answer
    st.integers(1, 4),
    st.sampled_from([None, 1e-3, 1.0]),
)
def test_a_run_equals_a_slow_loop_over_large_batches(answers, accumulate, clip):
    torch.manual_seed(0)
    answers = [torch.tensor(some).masked_fill(torch.tensor(some) < 0, training.IGNORE) for some in answers]
    batches = [{"x": torch.randn(len(some), 3), "answers": some} for some in answers]
    ours = Linear(3, 4)
    theirs = copy.deepcopy(ours)
    options = {"epochs": 2, "learning_rate": 0.1, "accumulate": accumulate, "clip": clip, "progress": False}
    history = training.fit(ours, batches, **options)

    optimizer, losses = torch.optim.AdamW(theirs.parameters(), weight_decay=0.01), []
    for start in 2 * list(range(0, len(batches), accumulate)):
        some = batches[start : start + accumulate]
        x, y = (torch.cat([batch[name] for batch in some]) for name in ("x", "answers"))
        optimizer.param_groups[0]["lr"] = history.learning_rate[len(losses)]
        losses.append(0.0)
        if (y == training.IGNORE).all():
            continue
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(theirs({"x": x}), y)
        loss.backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), clip or math.inf)
        optimizer.step()
        losses[-1] = loss.item()
    np.testing.assert_allclose(history.loss, losses, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(weights_of(ours), weights_of(theirs), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_without_a_known_answer_changes_nothing(batches, accumulate):
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters(), 0.1)
    given = list(itertools.islice(batches, accumulate))
    training.train_step(model, given, optimizer)  # so that the optimiser has momentum
    before = weights_of(model)
    silent = [{**one, "answers": torch.full_like(one["answers"], training.IGNORE)} for one in given]
    assert training.train_step(model, silent, optimizer) == 0.0
    assert torch.equal(weights_of(model), before)


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


def poisoned(bad: int, value: float = math.nan):
    """A model whose scores of one question are NaN."""

    class Poisoned(Model):
        def forward(self, batch):
            scores = super().forward(batch)
            wrong = torch.tensor([number == bad for number in batch["question_ids"]])
            return scores.masked_fill(wrong[:, None], value)

    return Poisoned()


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_loss_that_is_nan_names_step_and_question(batches, tmp_path, accumulate, value):
    model = poisoned(110, value)
    batches.batch_sampler.set_epoch(0)
    number = next(i for i, batch in enumerate(batches) if 110 in batch["question_ids"])
    with pytest.raises(training.NonFiniteLoss) as raised:
        training.fit(model, batches, accumulate=accumulate, folder=tmp_path, **SETTINGS)
    said = str(raised.value)
    step = number // accumulate + 1
    assert f"loss became nan at step {step} (epoch 1, step {step}), on questions 110. Check" in said
    assert raised.value.questions == [110] and torch.isfinite(weights_of(model)).all()


def test_a_loss_that_is_nan_without_a_score_to_blame_names_the_batch(batches, tmp_path):
    model = Model()

    def wrong(logits, batch):
        return training.answer_loss(logits, batch) * (math.nan if model.calls == 9 else 1)

    with pytest.raises(
        training.NonFiniteLoss,
        match=r"nan at step 9 \(epoch 2, step 3\), on questions (\d{3}, ){3}\d{3}\. .*lower learn",
    ):
        training.fit(model, batches, loss=wrong, folder=tmp_path, **SETTINGS)
    kept = torch.load(tmp_path / "last.pt", weights_only=True)
    assert kept["epoch"] == 1 and not (tmp_path / "best.safetensors").exists()
    assert torch.isfinite(weights_of(model)).all()


@pytest.mark.parametrize("clip", [1.0, None])
def test_a_gradient_that_is_not_finite_moves_no_weight(batches, clip):
    model, batch = Model().eval(), next(iter(batches))
    before = weights_of(model)

    def steep(logits, batch):  # the root of zero: a finite loss with an infinite slope
        return training.answer_loss(logits, batch) + (logits - logits.detach()).abs().sum().sqrt()

    with pytest.raises(training.NonFiniteLoss, match=r"gradient became (nan|inf), on questions (\d{3}, ){3}\d{3}"):
        training.train_step(model, batch, torch.optim.AdamW(model.parameters()), loss=steep, clip=clip)
    assert torch.equal(weights_of(model), before)


def test_a_short_run_stops_at_a_loss_that_is_nan():
    weight = nn.Parameter(torch.ones(3))
    with pytest.raises(training.NonFiniteLoss, match="loss became nan at step 3"):
        training.one_cycle([weight], [1.0, 1.0, math.nan, 1.0], lambda x: (weight * x).sum(), learning_rate=0.1)
    assert torch.isfinite(weight).all()


@pytest.mark.parametrize("batches, rate", [([], 0.1), ([1.0], math.inf), ([1.0], math.nan), ([1.0], -1.0)])
def test_a_short_run_needs_batches_and_a_learning_rate(batches, rate):
    with pytest.raises(ValueError, match=f"{len(batches)} batches and a learning rate of {rate}"):
        training.one_cycle([nn.Parameter(torch.ones(1))], batches, lambda x: x, learning_rate=rate)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epochs": 0}, "epochs is 0; it must be a whole number, at least 1"),
        ({"epochs": -2}, "epochs is -2"),
        ({"epochs": 1.5}, "epochs is 1.5"),
        ({"learning_rate": math.inf}, "learning_rate is inf; it must be a positive number, such as 1e-3"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1; it must be a number, at least 0"),
        ({"weight_decay": math.inf}, "weight_decay is inf"),
        ({"warmup": 5.0}, "warmup is 5.0; it must be a share of the steps, from 0 to 1"),
        ({"warmup": -0.1}, "warmup is -0.1"),
        ({"clip": 0.0}, "clip is 0.0; it must be above 0"),
        ({"clip": -1.0}, "clip is -1.0"),
        ({"clip": math.nan}, "clip is nan"),
        ({"accumulate": 0}, "accumulate is 0; it must be a whole number, at least 1"),
        ({"accumulate": 0.5}, "accumulate is 0.5"),
        ({"patience": 0}, "patience is 0; it must be at least 1"),
        ({"patience": -1}, "patience is -1"),
        ({"precision": "fp16"}, "not 'fp16'"),
    ],
)
def test_a_number_out_of_its_range_is_named_before_training(batches, change, said):
    model = Model()
    before = weights_of(model)
    with pytest.raises(ValueError, match=said):
        training.fit(model, batches, batches, **{**SETTINGS, **change})
    assert torch.equal(weights_of(model), before)


def test_a_run_needs_a_batch():
    with pytest.raises(ValueError, match="batches is 0; it must be a whole number, at least 1"):
        training.fit(Model(), [], **SETTINGS)


def test_a_validation_that_is_nan_is_refused(batches):
    with pytest.raises(ValueError, match="validation returned NaN"):
        training.fit(Model(), batches, lambda _: (math.nan, {}), **SETTINGS)


def test_a_validation_may_be_any_number_of_which_more_is_better(batches, tmp_path):
    scores = iter([-7.0, -3.0, -5.0, torch.tensor(-4.0)])
    history = training.fit(
        Model(), batches, lambda _: (next(scores), {"a": torch.tensor(0.5)}), folder=tmp_path, **SETTINGS
    )
    assert history.best_epoch == 2 and history.validation == [-7, -3, -5, -4] and history.by_type == {"a": [0.5] * 4}


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


def test_scores_that_are_nan_are_not_counted_as_answers(batches):
    for measure in (
        lambda model: training.evaluate(model, batches, ANSWERS),
        lambda model: training.accuracy(model, batches),
    ):
        with pytest.raises(training.NonFiniteLoss, match="answer scores became nan, on questions 107"):
            measure(poisoned(107))


def test_every_answer_that_a_model_scores_needs_a_name(batches):
    for answers in (ANSWERS[:1], (*ANSWERS, "grey")):
        with pytest.raises(ValueError, match=f"scores 2 answers, and {len(answers)} are named"):
            training.evaluate(Model(), batches, answers)


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


class Killed(BaseException):
    """Stops a run at once, as SIGKILL does: nothing is saved."""


def kill(*_args, **_options):
    raise Killed


@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("where", ["step 1", "step 4", "step 6", "step 9", "validation", "best", "last"])
def test_a_killed_run_goes_on_from_what_it_saved_last(batches, tmp_path, monkeypatch, where, accumulate):
    whole, settings = Model(), {**SETTINGS, "accumulate": accumulate}
    torch.manual_seed(5)
    expected = training.fit(whole, batches, batches, **settings)

    killed, validate = Model(), training._accuracies
    with monkeypatch.context() as patched:
        if where.startswith("step"):
            killed.hooks[int(where[5:])] = kill
        elif where == "validation":
            patched.setattr(training, "_accuracies", lambda *given: kill() if killed.calls == 12 else validate(*given))
        else:
            name = {"best": "save_checkpoint", "last": "write_atomically"}[where]
            save = getattr(training, name)
            patched.setattr(training, name, lambda *given: kill() if killed.calls >= 6 else save(*given))
        torch.manual_seed(5)
        with pytest.raises(Killed):
            training.fit(killed, batches, batches, folder=tmp_path, **settings)

    torch.manual_seed(999)
    resumed = Model(seed=999)
    history = training.fit(resumed, batches, batches, folder=tmp_path, resume=True, **settings)
    assert history.loss == expected.loss and history.validation == expected.validation
    assert torch.equal(weights_of(resumed), weights_of(whole))


def test_ctrl_c_in_the_last_validation_stops_the_run_too(batches, tmp_path):
    model, validate = Model(), training._accuracies

    def interrupted(model):
        if model.calls == 24:
            os.kill(os.getpid(), signal.SIGINT)
        return validate(model, batches)

    with pytest.raises(KeyboardInterrupt):
        training.fit(model, batches, interrupted, folder=tmp_path, **SETTINGS)
    assert len(training.fit(model, batches, batches, folder=tmp_path, resume=True, **SETTINGS).validation) == 4
    assert model.calls == 24


def test_a_second_run_does_not_begin_over_the_first(batches, tmp_path):
    training.fit(Model(), batches, batches, folder=tmp_path, **SETTINGS)
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    model = Model()
    for missing in ((), ("last.pt",)):  # whoever needs the space may have removed the state of the optimiser
        for name in missing:
            (tmp_path / name).unlink()
            del kept[name]
        with pytest.raises(
            training.CheckpointError, match=r"holds an earlier run.*resume=True.*or give this one another"
        ):
            training.fit(model, batches, batches, folder=tmp_path, **SETTINGS)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept and model.calls == 0


def test_a_run_without_its_best_weights_is_not_resumed(batches, tmp_path):
    model = Model()
    model.hooks[10] = kill
    with pytest.raises(Killed):
        training.fit(model, batches, batches, folder=tmp_path, **SETTINGS)
    (tmp_path / "best.safetensors").unlink()
    with pytest.raises(training.CheckpointError, match="best.safetensors is missing"):
        training.fit(Model(), batches, batches, folder=tmp_path, resume=True, **SETTINGS)


def test_a_run_that_ended_before_its_first_epoch_may_begin_anew(batches, tmp_path):
    with pytest.raises(Killed):
        training.fit(Model(), batches, kill, folder=tmp_path, **SETTINGS)
    assert len(training.fit(Model(), batches, folder=tmp_path, **{**SETTINGS, "learning_rate": 1e-3}).loss) == 24


def test_nothing_to_resume_is_said(batches, tmp_path):
    with pytest.raises(training.CheckpointError, match=r"no .*gone/last.pt to resume.*without resume, or correct"):
        training.fit(Model(), batches, folder=tmp_path / "gone", resume=True, **SETTINGS)
    with pytest.raises(ValueError, match="folder"):
        training.fit(Model(), batches, resume=True, **SETTINGS)


@pytest.mark.parametrize("folder", ["file", "file/run"])
def test_a_folder_that_cannot_be_written_is_found_before_training(batches, tmp_path, folder):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    model = Model()
    with pytest.raises(training.CheckpointError, match="could not be written.*choose another folder"):
        training.fit(model, batches, folder=tmp_path / folder, **SETTINGS)
    assert model.calls == 0 and (tmp_path / "file").read_text(encoding="utf-8") == "in the way"


def test_a_resumed_run_must_be_the_same(batches, tmp_path):
    settings = {**SETTINGS, "about": {"seed of the weights": 0, "world": ("shapes", 20)}}
    training.fit(Model(), batches, folder=tmp_path, **settings)

    def resumed(train=batches, model=None, **change):
        training.fit(model or Model(), train, folder=tmp_path, resume=True, **{**settings, **change})

    resumed()  # the same: nothing to say
    frozen = Model()
    frozen.layers[1].requires_grad_(False)
    for change, said in (
        ({"learning_rate": 0.5}, "learning_rate was 0.01, now 0.5"),
        ({"about": {"seed of the weights": 1, "world": ["shapes", 20]}}, "seed of the weights was 0, now 1"),
        (
            {"about": {"seed of the weights": 0, "world": ["shapes", 10]}},
            "world was .'shapes', 20., now .'shapes', 10.",
        ),
        (
            {"train": loader(batches.dataset, 4, shuffle=True, seed=4)},
            "seed was 3, now 4. Set them as they were to cont",
        ),
        ({"train": loader(batches.dataset, 4, seed=3)}, "shuffle was True, now False"),
        ({"model": frozen}, "trained_weights was 4, now 2"),
    ):
        with pytest.raises(training.CheckpointError, match=said):
            resumed(**change)
    other = Model()
    other.layers[4] = nn.Linear(8, 3)
    with pytest.raises(training.CheckpointError, match=r"another model: 2 weights differ.*\(2,\).*\(3,\)"):
        resumed(model=other)


@pytest.mark.parametrize("damage", [lambda content: content[:200], lambda _: b"", lambda _: b"no archive"])
@pytest.mark.parametrize("resume", [True, False])
def test_a_damaged_state_is_said(batches, tmp_path, damage, resume):
    training.fit(Model(), batches, folder=tmp_path, **SETTINGS)
    last = tmp_path / "last.pt"
    last.write_bytes(damage(last.read_bytes()))
    with pytest.raises(training.CheckpointError, match=r"last.pt is damaged.*another folder"):
        training.fit(Model(), batches, folder=tmp_path, resume=resume, **SETTINGS)
    torch.save({"weights": torch.ones(2)}, last)  # the state of something else
    with pytest.raises(training.CheckpointError, match=r"last.pt is damaged.*another folder"):
        training.fit(Model(), batches, folder=tmp_path, resume=resume, **SETTINGS)


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
    with pytest.raises(trackers.TrackerError, match="pip install wandb"):
        trackers.WandbTracker()


def test_batches_cover_every_row_of_each_pass():
    batches = training.row_batches(150, 5, seed=1)
    assert [len(batch) for batch in batches] == [64, 64, 22, 64, 64]
    assert sorted(torch.cat(batches[:3]).tolist()) == list(range(150))
    assert all(torch.equal(a, b) for a, b in zip(batches, training.row_batches(150, 5, seed=1), strict=True))
    assert not torch.equal(batches[0], training.row_batches(150, 5, seed=2)[0])
    assert len(training.row_batches(64, 7, seed=0)) == 7 and len(training.row_batches(10, 3, seed=0)) == 3
