"""Training and evaluation, for every model of the course.

A model is called with a batch, a dictionary of tensors and lists (see :mod:`course_utils.datasets.vqa`), and gives
answer scores, (batch, answers). :func:`fit` is :func:`train_step` in a loop, with all that a long run needs around it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import classification_report
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from course_utils.checkpoints import CheckpointError, load_checkpoint, load_weights, save_checkpoint, write_atomically
from course_utils.metrics import accuracy_by_type
from course_utils.trackers import NoTracker, Tracker

if TYPE_CHECKING:
    from accelerate import Accelerator

IGNORE = -1  # the target of a question whose answer is not among the model's answers
Loss = Callable[[torch.Tensor, dict], torch.Tensor]  # (logits, batch) -> scalar
Validation = Callable[[nn.Module], tuple[float, dict[str, float]]]


# --- batches ----------------------------------------------------------------------------------------------------


class EpochBatches:
    """Batches of rows in an order that depends on the seed and the epoch alone, so that a stopped run can resume.

    A subclass implements :meth:`batch`. :func:`fit` calls :meth:`set_epoch` before each epoch.

    Args:
        rows: Number of rows (pictures, say) in the data.
        batch_size: Rows in each batch; the last batch may be smaller.
        shuffle: Whether to reorder the rows in every epoch.
        seed: Seed of the order.

    Raises:
        ValueError: If there are no rows, or ``batch_size`` is less than one.
    """

    def __init__(self, rows: int, batch_size: int, *, shuffle: bool = False, seed: int = 0) -> None:
        if rows < 1 or batch_size < 1:
            raise ValueError(f"{rows} rows in batches of {batch_size}: both must be at least 1.")
        self.rows, self.batch_size, self.shuffle, self.seed, self.epoch = rows, batch_size, shuffle, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass, counted from 0."""
        self.epoch = epoch

    def order(self) -> np.ndarray:
        """Row numbers in the order of the current epoch, (rows,)."""
        order = np.arange(self.rows)
        if self.shuffle:
            np.random.default_rng((self.seed, self.epoch)).shuffle(order)
        return order

    def __len__(self) -> int:
        return -(-self.rows // self.batch_size)

    def __iter__(self) -> Iterator:
        order = self.order()
        for start in range(0, self.rows, self.batch_size):
            yield self.batch(order[start : start + self.batch_size])

    def batch(self, rows: np.ndarray):
        """Build the batch that holds these rows."""
        raise NotImplementedError


# --- one step ---------------------------------------------------------------------------------------------------


def answer_loss(logits: torch.Tensor, batch: dict) -> torch.Tensor:
    """Mean cross-entropy of the answer scores, (batch, answers), leaving out targets that are ``IGNORE``."""
    return F.cross_entropy(logits, batch["answers"], ignore_index=IGNORE)


def train_step(
    model: nn.Module, batch: dict | Sequence[dict], optimizer: torch.optim.Optimizer, *, loss: Loss = answer_loss,
    clip: float | None = 1.0, precision: str = "fp32", accelerator: Accelerator | None = None,
) -> float:  # fmt: skip
    """One step down the gradient; the loss before it.

    Several batches, and the batches of several processes, count as one large batch: each answer weighs the same.

    Raises:
        NonFiniteLoss: If the loss is NaN or infinite. The weights are left as they were.
    """
    batches = [batch] if isinstance(batch, dict) else batch
    counts = [int((one["answers"] != IGNORE).sum()) for one in batches]
    everyone = _sum([float(sum(counts))], model, accelerator)[0]
    optimizer.zero_grad()
    value = 0.0
    for one, count in zip(batches, counts, strict=True):
        with autocast(one, precision):
            part = loss(model(one), one) * (count / everyone if everyone else 1.0)
        part.backward()  # one after the other, so that one batch at a time is in memory
        value += part.item()
    value = _sum([value], model, accelerator)[0]  # the same in all processes: all stop, or none
    if not math.isfinite(value):
        raise NonFiniteLoss(value, batches[0])
    _sum_gradients(model, accelerator)
    if clip is not None:
        nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return value


def _sum(values: list[float], model: nn.Module, accelerator: Accelerator | None) -> list[float]:
    """Over all processes."""
    if accelerator is None or accelerator.num_processes == 1:
        return values
    return accelerator.reduce(torch.tensor(values, device=device_of(model)), "sum").tolist()


def _sum_gradients(model: nn.Module, accelerator: Accelerator | None) -> None:
    if accelerator is None or accelerator.num_processes == 1:
        return
    for weight in model.parameters():
        if weight.requires_grad:
            grad = weight.grad if weight.grad is not None else torch.zeros_like(weight)
            weight.grad = accelerator.reduce(grad, "sum")


def train_epoch(model: nn.Module, loader: Iterable[dict], optimizer: torch.optim.Optimizer, **options) -> float:
    """One pass over the batches; the mean loss. Options are those of :func:`train_step`."""
    model.train()
    device = device_of(model)
    return float(np.mean([train_step(model, to_device(batch, device), optimizer, **options) for batch in loader]))


class NonFiniteLoss(RuntimeError):
    """The loss became NaN or infinite."""

    def __init__(self, value: float, batch: dict, step: int | None = None) -> None:
        self.value, self.batch = value, batch
        ids = list(batch.get("question_ids", []))
        shown = ", ".join(map(str, ids[:8])) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")
        where = f" at step {step}" if step is not None else ""
        super().__init__(
            f"The loss became {value}{where}, on questions {shown or 'without ids'}. Try a lower learning rate or a "
            "smaller clip, and look whether these pictures and answers are what they should be."
        )


def autocast(batch: dict, precision: str) -> contextlib.AbstractContextManager:
    """Compute in bfloat16 where ``precision`` is "bf16"; weights and loss stay in float32."""
    if precision not in ("fp32", "bf16"):
        raise ValueError(f'precision is "fp32" or "bf16", not {precision!r}.')
    tensor = next(value for value in batch.values() if torch.is_tensor(value))
    return torch.autocast(tensor.device.type, torch.bfloat16, enabled=precision == "bf16")


def to_device(batch: dict, device: torch.device) -> dict:
    """The batch with every tensor on the device; lists stay as they are."""
    return {name: value.to(device) if torch.is_tensor(value) else value for name, value in batch.items()}


def device_of(model: nn.Module) -> torch.device:
    """Where the model's weights are."""
    return next(model.parameters()).device


# --- evaluation -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Evaluation:
    """How a model did on a set of questions.

    Attributes:
        accuracy: Share answered rightly. A question whose answer the model cannot give counts as wrong.
        loss: Mean cross-entropy over the questions whose answer it can give.
        by_type: Columns type, questions, accuracy, low, high (95 % Wilson interval).
        report: scikit-learn's report: precision, recall and F1 of each answer.
        targets: The right answers' numbers, ``IGNORE`` for one that the model cannot give.
        predictions: The given answers' numbers.
        confidences: The probability of each given answer.
        question_ids: Which question each of them belongs to.
    """

    accuracy: float
    loss: float
    by_type: pd.DataFrame
    report: str
    targets: list[int] = field(repr=False)
    predictions: list[int] = field(repr=False)
    confidences: list[float] = field(repr=False)
    question_ids: list[int] = field(repr=False)


@torch.no_grad()
def evaluate(
    model: nn.Module, loader: Iterable[dict], answers: Sequence[str], *, device: torch.device | str | None = None
) -> Evaluation:
    """Answer all questions of a loader, without training.

    Args:
        model: Left in the mode (training or evaluation) it was in.
        loader: Batches.
        answers: What the numbers of the answers stand for.
        device: Where to compute; by default where the model is.

    Raises:
        ValueError: If the loader gives no batch.
    """
    logits, targets, types, question_ids = _answer_all(model, loader, device)
    probabilities = logits.softmax(dim=-1)
    confidences, predictions = probabilities.max(dim=-1)
    correct = (predictions == targets).tolist()
    known = targets != IGNORE
    names = dict(enumerate(answers))
    return Evaluation(
        accuracy=sum(correct) / len(correct),
        loss=F.cross_entropy(logits, targets, ignore_index=IGNORE).item() if known.any() else math.nan,
        by_type=accuracy_by_type(correct, types),
        report=classification_report(
            [names.get(number, "(another answer)") for number in targets.tolist()],
            [names[number] for number in predictions.tolist()],
            zero_division=0.0,
        ),
        targets=targets.tolist(),
        predictions=predictions.tolist(),
        confidences=confidences.tolist(),
        question_ids=question_ids,
    )


@torch.no_grad()
def accuracy(model: nn.Module, loader: Iterable[dict], *, device: torch.device | str | None = None) -> float:
    """Share of questions answered rightly."""
    logits, targets, _, _ = _answer_all(model, loader, device)
    return (logits.argmax(dim=-1) == targets).float().mean().item()


@torch.no_grad()
def _accuracies(model: nn.Module, loader: Iterable[dict]) -> tuple[float, dict[str, float]]:
    """Accuracy over all questions, and of each type."""
    logits, targets, types, _ = _answer_all(model, loader, None)
    correct = (logits.argmax(dim=-1) == targets).tolist()
    table = accuracy_by_type(correct, types)
    return sum(correct) / len(correct), dict(zip(table["type"], table["accuracy"], strict=True))


def _answer_all(model: nn.Module, loader, device) -> tuple[torch.Tensor, torch.Tensor, list[str], list[int]]:
    device = torch.device(device) if device is not None else device_of(model)
    was_training = model.training
    model.eval()
    logits, targets, types, question_ids = [], [], [], []
    for batch in loader:
        logits.append(model(to_device(batch, device)).float().cpu())
        targets.append(batch["answers"].cpu())
        types += batch.get("types") or [""] * len(batch["answers"])
        question_ids += batch.get("question_ids") or [None] * len(batch["answers"])
    model.train(was_training)
    if not logits:
        raise ValueError("There is nothing to evaluate: the loader gave no batch.")
    return torch.cat(logits), torch.cat(targets), types, question_ids


# --- a whole run ------------------------------------------------------------------------------------------------


@dataclass
class History:
    """What happened in a run.

    Attributes:
        loss: At every step.
        learning_rate: At every step.
        validation: Accuracy after every epoch, if there is validation data.
        by_type: The same for each question type.
        best_epoch: The epoch, from 1, of the weights that the model was left with.
        seconds: Time spent in training steps, without validation.
    """

    loss: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    by_type: dict[str, list[float]] = field(default_factory=dict)
    best_epoch: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Settings:
    """What must be the same for a run to be resumed."""

    epochs: int
    steps_per_epoch: int
    learning_rate: float
    weight_decay: float
    warmup: float
    clip: float | None
    precision: str
    accumulate: int = 1


def fit(
    model: nn.Module,
    train: Iterable[dict],
    validation: Iterable[dict] | Validation | None = None,
    *,
    epochs: int,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.01,
    warmup: float = 0.1,
    clip: float | None = 1.0,
    precision: str = "fp32",
    accumulate: int = 1,
    patience: int | None = None,
    loss: Loss = answer_loss,
    folder: str | Path | None = None,
    resume: bool = False,
    tracker: Tracker | None = None,
    device: torch.device | str | None = None,
    accelerator: Accelerator | None = None,
    progress: bool = True,
) -> History:
    """Train with AdamW, a linear warm-up and a cosine decay; keep the best weights.

    The model is left in evaluation mode, with the weights of the epoch that did best on ``validation`` (of the last
    epoch without it). With a folder, ``best.safetensors`` holds them, and ``last.pt`` the state of the run after each
    epoch and after Ctrl-C. Resumed, a run goes on exactly as if it had never stopped, provided that the order of the
    batches depends on the epoch alone: ``train.batch_sampler.set_epoch`` is called where there is one.

    Args:
        model: Called with a batch, gives logits (batch, answers).
        train: Batches; needs a length.
        validation: Batches, or a function of the model that gives its accuracy and that of each type.
        epochs: Passes over ``train``.
        learning_rate: At the end of the warm-up.
        weight_decay: AdamW's.
        warmup: Share of all steps with a rising learning rate.
        clip: Largest norm of the gradient, None for no limit.
        precision: "fp32", or "bf16" to compute in bfloat16.
        accumulate: So many batches make a step, as if they were one: for batches that would not fit into memory.
        patience: Stop after this many epochs without a better validation accuracy.
        loss: (logits, batch) to a scalar.
        folder: Where checkpoints go; None keeps the best weights in memory.
        resume: Go on from the folder's ``last.pt`` if there is one.
        tracker: Told of each step's loss and each epoch's accuracy.
        device: Where to train; by default where the model is.
        accelerator: Of a run on several processes. Each has the same model and its own part of every batch; only the
            first one writes.
        progress: Show a progress bar.

    Raises:
        NonFiniteLoss: The loss became NaN; checkpoints are untouched.
        CheckpointError: The checkpoint to resume from is damaged, or of another model or other settings.
    """
    if patience is not None and validation is None:
        raise ValueError("patience needs validation data: give a validation loader.")
    if resume and folder is None:
        raise ValueError("resume needs the folder of the run.")
    if device is not None:
        model.to(device)
    if accumulate < 1:
        raise ValueError(f"accumulate is {accumulate}; a step takes at least one batch.")
    steps = -(-len(train) // accumulate)
    settings = Settings(epochs, steps, learning_rate, weight_decay, warmup, clip, precision, accumulate)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, learning_rate, weight_decay=weight_decay)
    run = _Run(model, optimizer, settings, Path(folder) if folder is not None else None, accelerator)
    if resume:
        run.load()
    tracker = tracker or NoTracker()
    with _progress_bar(run, progress and run.writes) as bar, _stop_between_steps() as stop:
        while run.epoch < epochs and not run.out_of_patience(patience):
            _one_epoch(run, train, loss, tracker, bar, stop)
            if validation is not None:
                found = validation(model) if callable(validation) else _accuracies(model, validation)
                run.note_validation(*found)
                tracker.log(run.step, {"validation accuracy": run.history.validation[-1]})
            run.end_epoch()
        _postfix(bar, run)
    run.restore_best()
    return run.history


def learning_rate_at(step: int, settings: Settings) -> float:
    """Rising linearly over the warm-up, then along a cosine to (nearly) zero (Loshchilov and Hutter, 2017)."""
    total = settings.epochs * settings.steps_per_epoch
    rising = max(1, round(settings.warmup * total))
    if step < rising:
        return settings.learning_rate * (step + 1) / rising
    share = (step - rising) / max(1, total - rising)
    return settings.learning_rate * max(0.5 * (1 + math.cos(math.pi * share)), 1e-3)


def _one_epoch(run: _Run, train, loss: Loss, tracker: Tracker, bar: tqdm, stop: threading.Event) -> None:
    """The steps of one epoch that are still to be done."""
    run.model.train()
    device = device_of(run.model)
    settings = run.settings
    for batches in _batches_left(run, train):
        rate = learning_rate_at(run.step, settings)
        for group in run.optimizer.param_groups:
            group["lr"] = rate
        began = time.perf_counter()
        options = {"loss": loss, "clip": settings.clip, "precision": settings.precision}
        try:
            on_device = [to_device(batch, device) for batch in batches]
            value = train_step(run.model, on_device, run.optimizer, accelerator=run.accelerator, **options)
        except NonFiniteLoss as error:
            raise NonFiniteLoss(error.value, batches[0], run.step + 1) from None
        run.note_step(value, rate, time.perf_counter() - began)
        tracker.log(run.step, {"loss": value, "learning rate": rate})
        bar.update()
        if run.step % 10 == 0:
            _postfix(bar, run)
        if stop.is_set():
            run.save_last()
            raise KeyboardInterrupt


def _batches_left(run: _Run, loader) -> Iterator[tuple[dict, ...]]:
    """The batches of the epoch that the run has not seen yet, step by step."""
    sampler = getattr(loader, "batch_sampler", loader)  # a DataLoader's order is its sampler's
    if hasattr(sampler, "set_epoch"):
        sampler.set_epoch(run.epoch)
    steps, done = _in_groups(loader, run.settings.accumulate), run.steps_in_epoch
    for _ in range(done):
        next(steps)
    if done:  # starting a loader and skipping batches draw random numbers that the stopped run had drawn already
        run.restore_rng()
    yield from steps


def _in_groups(loader: Iterable[dict], size: int) -> Iterator[tuple[dict, ...]]:
    """So many batches at a time; the last group may be smaller."""
    batches = iter(loader)
    while group := tuple(itertools.islice(batches, size)):
        yield group


@contextlib.contextmanager
def _stop_between_steps() -> Iterator[threading.Event]:
    """On Ctrl-C, set the event and let the step finish, so that the saved state is whole. A second one stops at once.

    Only the main thread can do that; elsewhere Ctrl-C keeps its usual meaning.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def note(_signal, _frame) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = signal.signal(signal.SIGINT, note)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def _progress_bar(run: _Run, progress: bool) -> tqdm:
    total = run.settings.epochs * run.settings.steps_per_epoch
    # To stdout: a notebook stores what goes to stderr as if it were an error.
    return tqdm(
        total=total, initial=run.step, disable=not progress, file=sys.stdout, mininterval=0.5, unit="step", ncols=100,
        desc="training",
    )  # fmt: skip


def _postfix(bar: tqdm, run: _Run) -> None:
    recent = run.history.loss[-20:]
    shown = {"loss": f"{np.mean(recent):.3f}"} if recent else {}
    if run.history.validation:
        shown["validation"] = f"{run.history.validation[-1]:.1%}"
    bar.set_postfix(shown)


# --- the state of a run -----------------------------------------------------------------------------------------


class _Run:
    """All that changes during a run, and how it is kept."""

    def __init__(
        self, model, optimizer, settings: Settings, folder: Path | None, accelerator: Accelerator | None = None
    ) -> None:
        self.model, self.optimizer, self.settings, self.folder = model, optimizer, settings, folder
        self.accelerator = accelerator
        self.history = History()
        self.epoch = self.steps_in_epoch = 0
        self.best: dict[str, torch.Tensor] | None = None
        self.rng: dict = {}

    @property
    def step(self) -> int:
        return len(self.history.loss)

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes files and shows progress."""
        return self.accelerator is None or self.accelerator.is_main_process

    def wait(self) -> None:
        """Until the other processes are here too, and what the first one wrote can be read."""
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()

    def note_step(self, loss: float, rate: float, seconds: float) -> None:
        self.history.loss.append(loss)
        self.history.learning_rate.append(rate)
        self.history.seconds += seconds
        self.steps_in_epoch += 1

    def note_validation(self, value: float, by_type: dict[str, float]) -> None:
        self.history.validation.append(value)
        for kind, share in by_type.items():
            self.history.by_type.setdefault(kind, []).append(share)
        if value > max(self.history.validation[:-1], default=-1.0):
            self.history.best_epoch = self.epoch + 1
            self._keep_best()

    def out_of_patience(self, patience: int | None) -> bool:
        return patience is not None and self.epoch - self.history.best_epoch >= patience

    def end_epoch(self) -> None:
        self.epoch, self.steps_in_epoch = self.epoch + 1, 0
        if not self.history.validation:
            self.history.best_epoch = self.epoch
        self.save_last()

    def restore_best(self) -> None:
        self.wait()
        if self.history.validation and self.folder is not None:
            load_checkpoint(self.model, self.folder / "best.safetensors")
        elif self.best is not None:
            self.model.load_state_dict(self.best)
        elif self.folder is not None and self.writes:
            save_checkpoint(self.model, self.folder / "best.safetensors")
        self.model.eval()

    def _keep_best(self) -> None:
        if self.folder is not None:
            if not self.writes:
                return
            about = {"epoch": self.history.best_epoch, "validation": self.history.validation[-1]}
            save_checkpoint(self.model, self.folder / "best.safetensors", about)
        else:
            self.best = {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    def save_last(self) -> None:
        if self.folder is None or not self.writes:
            return
        state = {
            "settings": json.dumps(dataclasses.asdict(self.settings)),
            "history": json.dumps(dataclasses.asdict(self.history)),
            "epoch": self.epoch,
            "steps_in_epoch": self.steps_in_epoch,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rng": {
                "cpu": torch.get_rng_state(),
                "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            },
        }
        write_atomically(self.folder / "last.pt", lambda path: torch.save(state, path))

    def load(self) -> None:
        path = self.folder / "last.pt"
        if not path.exists():
            return
        try:
            state = torch.load(path, map_location=device_of(self.model), weights_only=True)
        except Exception as error:  # torch raises whatever the damage happens to cause
            raise CheckpointError(f"{path} is damaged ({error}). Delete it to start afresh.") from error
        self._check_settings(path, json.loads(state["settings"]))
        load_weights(self.model, state["model"], path)
        self.optimizer.load_state_dict(state["optimizer"])
        self.history = History(**json.loads(state["history"]))
        self.epoch, self.steps_in_epoch = state["epoch"], state["steps_in_epoch"]
        self.rng = state["rng"]
        self.restore_rng()

    def restore_rng(self) -> None:
        torch.set_rng_state(self.rng["cpu"].cpu())
        if self.rng["cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all([rng.cpu() for rng in self.rng["cuda"]])

    def _check_settings(self, path: Path, saved: dict) -> None:
        now = dataclasses.asdict(self.settings)
        other = [f"{name} was {saved.get(name)}, now {now[name]}" for name in now if saved.get(name) != now[name]]
        if other:
            raise CheckpointError(f"{path} is of a run with other settings: {'; '.join(other)}. Use another folder.")
