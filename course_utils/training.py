"""Training and evaluation of every model of the course.

A model is called with a batch, a dictionary of tensors and lists (see :mod:`course_utils.datasets.vqa`), and returns
answer scores (batch, answers). :func:`fit` is :func:`train_step` in a loop, with checkpoints, validation and resuming.
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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

IGNORE = -100  # target that the loss leaves out: the model cannot give this answer; torch's own default
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
    """Take one optimiser step and return the loss before it.

    Several batches, and the batches of several processes, count as one large batch: each answer weighs the same. If
    the model can give none of the answers, the weights stay as they are and the loss is 0.

    Args:
        model: With an accelerator, as its ``prepare`` returned it.
        batch: A batch, or several whose gradients are accumulated.
        loss: (logits, batch) to a scalar, a mean over the answers that are not ``IGNORE``.
        clip: Largest norm of the gradient; None for no limit.
        precision: "fp32", or "bf16" to compute in bfloat16.
        accelerator: For a run on several processes.

    Raises:
        NonFiniteLoss: If the loss or its gradient is NaN or infinite. The weights are left unchanged.
    """
    batches = [batch] if isinstance(batch, dict) else batch
    processes = accelerator.num_processes if accelerator is not None else 1
    counts = [int((one["answers"] != IGNORE).sum()) for one in batches]
    total = _sum_over_processes(sum(counts), model, accelerator)
    optimizer.zero_grad()
    if not total:
        return 0.0
    value, suspects = 0.0, []
    for step, (one, count) in enumerate(zip(batches, counts, strict=True), start=1):
        exchange = accelerator is None or step == len(batches)  # processes exchange gradients in the last backward
        with contextlib.nullcontext() if exchange else accelerator.no_sync(model):
            with autocast(one, precision):
                logits = model(one)
                if count:  # times the number of processes, since gradients are averaged over them
                    part = loss(logits, one) * (processes * count / total)
                else:  # a gradient of zero, since other processes wait for one
                    part = logits.nan_to_num(0, 0, 0).sum() * 0
            part.backward()  # at once, so that only one batch is in memory
        value += part.item()
        if not math.isfinite(part.item()):
            suspects += _suspects(logits, one)
    value = _sum_over_processes(value, model, accelerator) / processes  # the same everywhere: all stop, or none
    try:
        _descend(value, list(model.parameters()), optimizer, clip)
    except NonFiniteLoss as error:  # with several processes, the one with the suspects names them
        everyone = [name for one in batches for name in one.get("question_ids", [])]
        error.questions = everyone if math.isfinite(value) else suspects
        raise
    return value


def _descend(value: float, weights: Sequence[nn.Parameter], optimizer, clip: float | None) -> None:
    """Clip the gradient and take the step, if the gradient and the ``value`` of the loss are finite."""
    if clip is not None and not clip > 0:
        raise ValueError(f"clip is {clip}; it must be above 0, or None for no limit.")
    norm = nn.utils.clip_grad_norm_(weights, math.inf if clip is None else clip).item()
    for what, number in (("loss", value), ("gradient", norm)):
        if not math.isfinite(number):
            raise NonFiniteLoss(what, number)
    optimizer.step()


def _suspects(logits: torch.Tensor, batch: dict) -> list:
    """Ids of the questions whose scores are NaN or infinite; without such scores, of all questions."""
    ids, wrong = list(batch.get("question_ids", [])), ~(logits < math.inf).all(dim=-1)  # -inf rules an answer out
    return list(itertools.compress(ids, wrong)) if len(ids) == len(wrong) and wrong.any() else ids


def _sum_over_processes(value: float, model: nn.Module, accelerator: Accelerator | None) -> float:
    if accelerator is None or accelerator.num_processes == 1:
        return value
    return accelerator.reduce(torch.tensor(float(value), device=device_of(model)), "sum").item()


class NonFiniteLoss(RuntimeError):
    """The loss, its gradient or the answer scores became NaN or infinite, at a step and on some ``questions``."""

    def __init__(self, what: str, value: float, questions: Sequence = (), step: str = "") -> None:
        super().__init__(what, value)
        self.questions, self.step = list(questions), step

    def __str__(self) -> str:
        names = list(dict.fromkeys(self.questions))  # a question of several tokens counts once
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        where = f", on questions {', '.join(map(str, names[:8]))}{more}" if names else ""
        what, value = self.args
        return (
            f"The {what} became {value}{self.step}{where}. Check the pictures and answers there, or try a lower "
            "learning rate or a smaller clip."
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
    """The device that holds the model's weights."""
    return next(model.parameters()).device


# --- evaluation -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Evaluation:
    """The answers of a model to a set of questions, scored.

    Attributes:
        accuracy: Share of correct answers. A question whose answer the model cannot give counts as wrong.
        loss: Mean cross-entropy over the questions whose answer the model can give.
        by_type: Columns type, questions, accuracy, low, high (95 % Wilson interval).
        report: scikit-learn's report: precision, recall and F1 of each answer.
        targets: Indices of the correct answers; ``IGNORE`` for one that the model cannot give.
        predictions: Indices of the predicted answers.
        confidences: Probability of each predicted answer.
        question_ids: The question of each entry.
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
def evaluate(model: nn.Module, loader: Iterable[dict], answers: Sequence[str]) -> Evaluation:
    """Answer all questions of a loader, without training.

    Args:
        model: Left in the mode (training or evaluation) it was in.
        loader: Batches.
        answers: The answer behind each index.

    Raises:
        ValueError: If the loader yields no batch, or the model does not score as many answers.
        NonFiniteLoss: If a score is NaN.
    """
    logits, targets, types, question_ids = _answer_all(model, loader)
    if logits.shape[1] != len(answers):
        raise ValueError(f"The model scores {logits.shape[1]} answers, and {len(answers)} are named. Give all of them.")
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


def accuracy(model: nn.Module, loader: Iterable[dict]) -> float:
    """Share of questions answered correctly."""
    return _accuracies(model, loader)[0]


@torch.no_grad()
def _accuracies(model: nn.Module, loader: Iterable[dict]) -> tuple[float, dict[str, float]]:
    """Accuracy over all questions, and for each type."""
    logits, targets, types, _ = _answer_all(model, loader)
    correct = (logits.argmax(dim=-1) == targets).tolist()
    table = accuracy_by_type(correct, types)
    return sum(correct) / len(correct), dict(zip(table["type"], table["accuracy"], strict=True))


def _answer_all(model: nn.Module, loader: Iterable[dict]) -> tuple[torch.Tensor, torch.Tensor, list[str], list[int]]:
    """Logits and targets on the CPU, question types and question ids, over all batches."""
    device, was_training = device_of(model), model.training
    model.eval()
    logits, targets, types, question_ids = [], [], [], []
    for batch in loader:
        logits.append(model(to_device(batch, device)).float().cpu())
        targets.append(batch["answers"].cpu())
        types += batch.get("types") or [""] * len(batch["answers"])
        question_ids += batch.get("question_ids") or [None] * len(batch["answers"])
    model.train(was_training)
    if not logits:
        raise ValueError("There is nothing to evaluate: the loader yielded no batch.")
    scores = torch.cat(logits)
    if (wrong := scores.isnan().any(dim=-1)).any():
        raise NonFiniteLoss("answer scores", math.nan, itertools.compress(question_ids, wrong))
    return scores, torch.cat(targets), types, question_ids


# --- a short run ------------------------------------------------------------------------------------------------


def row_batches(rows: int, steps: int, seed: int, size: int = 64) -> list[torch.Tensor]:
    """Row numbers of ``steps`` batches, from as many shuffled passes as they take."""
    shuffle = torch.Generator().manual_seed(seed)
    passes = (torch.randperm(rows, generator=shuffle).split(size) for _ in range(steps * size // rows + 1))
    return [batch for some in passes for batch in some][:steps]


def one_cycle(
    parameters: Iterable[nn.Parameter], batches: Sequence, loss: Callable[[Any], torch.Tensor], *,
    learning_rate: float, pct_start: float = 0.3, weight_decay: float = 0.01, clip: float | None = None,
    progress: bool = False,
) -> list[float]:  # fmt: skip
    """Train with AdamW and a one-cycle learning rate (Smith and Topin, 2019), one step for each batch.

    Args:
        batches: The batches of all epochs in order, for instance row numbers.
        loss: A batch to a scalar.
        learning_rate: The highest learning rate.
        pct_start: Share of the steps with a rising learning rate.
        clip: Largest norm of the gradient; None for no limit.

    Returns:
        The loss of each step.

    Raises:
        ValueError: If there is no batch, or the learning rate is not a positive number.
        NonFiniteLoss: If the loss or its gradient is NaN or infinite.
    """
    if len(batches) == 0 or not 0 < learning_rate < math.inf:
        raise ValueError(f"{len(batches)} batches and a learning rate of {learning_rate}: both must be above 0.")
    parameters = list(parameters)
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=learning_rate, total_steps=len(batches), pct_start=pct_start
    )
    losses = []
    for batch in tqdm(batches, desc="training", disable=not progress, file=sys.stdout, unit="step", ncols=100):
        value = loss(batch)
        optimizer.zero_grad()
        value.backward()
        try:
            _descend(value.item(), parameters, optimizer, clip)
        except NonFiniteLoss as error:
            error.step = f" at step {len(losses) + 1}"
            raise
        schedule.step()
        losses.append(value.item())
    return losses


# --- a whole run ------------------------------------------------------------------------------------------------


@dataclass
class History:
    """The record of a run.

    Attributes:
        loss: The loss of each step.
        learning_rate: The learning rate of each step.
        validation: Accuracy after each epoch; empty without validation data.
        by_type: The same for each question type.
        best_epoch: The epoch, from 1, whose weights the model was left with.
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
    """What a run must share with the one it resumes; fields as the arguments of :func:`fit`.

    Raises:
        ValueError: If one is out of its range.
    """

    epochs: int
    batches: int  # in an epoch
    learning_rate: float
    weight_decay: float
    warmup: float
    clip: float | None
    precision: str
    accumulate: int = 1

    def __post_init__(self) -> None:
        whole = {name: getattr(self, name) for name in ("epochs", "batches", "accumulate")}
        allowed = {
            **{name: (value >= 1 and value % 1 == 0, "a whole number, at least 1") for name, value in whole.items()},
            "learning_rate": (0 < self.learning_rate < math.inf, "a positive number, such as 1e-3"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "a number, at least 0"),
            "warmup": (0 <= self.warmup <= 1, "a share of the steps, from 0 to 1"),
        }
        for name, (fits, wanted) in allowed.items():
            if not fits:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be {wanted}.")

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in an epoch."""
        return -(-self.batches // self.accumulate)


def fit(
    model: nn.Module, train: Iterable[dict], validation: Iterable[dict] | Validation | None = None, *, epochs: int,
    learning_rate: float = 1e-3, weight_decay: float = 0.01, warmup: float = 0.1, clip: float | None = 1.0,
    precision: str = "fp32", accumulate: int = 1, patience: int | None = None, loss: Loss = answer_loss,
    folder: str | Path | None = None, resume: bool = False, about: Mapping[str, Any] | None = None,
    tracker: Tracker | None = None, device: torch.device | str | None = None, accelerator: Accelerator | None = None,
    progress: bool = True,
) -> History:  # fmt: skip
    """Train with AdamW, a linear warm-up and a cosine decay; keep the best weights.

    The model is left in evaluation mode, with the weights of the epoch that scored best on ``validation`` (the last
    epoch without it). With a folder, ``best.safetensors`` holds these weights, and ``last.pt`` the state of the run
    at the start, after each epoch and after Ctrl-C. A resumed run continues exactly as if it had never stopped,
    provided that the order of the batches depends only on the epoch: see :class:`EpochBatches`.

    Args:
        model: Called with a batch, returns logits (batch, answers).
        train: Batches, with a length. ``set_epoch`` is called on it, or on its ``batch_sampler``, if there is one.
        validation: Batches, or a function of the model that returns its accuracy (larger is better) and the accuracy
            of each type.
        epochs: Passes over ``train``.
        learning_rate: The highest learning rate, at the end of the warm-up.
        weight_decay: Weight decay of AdamW.
        warmup: Share of the steps with a rising learning rate.
        clip: Largest norm of the gradient; None for no limit.
        precision: "fp32", or "bf16" to compute in bfloat16.
        accumulate: Batches per step, for large batches that do not fit into memory.
        patience: Stop after this many epochs without a better validation accuracy.
        loss: (logits, batch) to a scalar.
        folder: Where checkpoints are written, without an earlier run unless it is resumed; None keeps the best weights
            in memory.
        resume: Continue from ``last.pt`` in the folder.
        about: Names and values of whatever else the run depends on, such as the data: a resumed run must have the same.
        tracker: Receives the loss of each step and the accuracy of each epoch.
        device: Where to train; by default the device of the model.
        accelerator: For a run on several processes. Each has the same model and its own share of every batch; only
            the main process writes.
        progress: Whether to show a progress bar.

    Raises:
        ValueError: If an argument is out of its range, or ``validation`` returns NaN.
        NonFiniteLoss: If the loss becomes NaN; checkpoints are left unchanged.
        CheckpointError: If the folder cannot be written, holds a run that is not resumed, or nothing to resume; or if
            the checkpoint to resume from is damaged, or from another model or other settings.
    """
    settings = Settings(epochs, len(train), learning_rate, weight_decay, warmup, clip, precision, accumulate)
    if patience is not None and (validation is None or patience < 1):
        raise ValueError(f"patience is {patience}; it must be at least 1, and needs validation data.")
    if resume and folder is None:
        raise ValueError("resume needs the folder of the run.")
    if device is not None:
        model.to(device)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, learning_rate, weight_decay=weight_decay)
    same = dataclasses.asdict(settings) | {"trained_weights": len(trained)} | _order(train) | dict(about or {})
    run = _Run(model, optimizer, settings, Path(folder) if folder is not None else None, accelerator, same)
    run.begin(resume)
    tracker = tracker or NoTracker()
    called = _prepared(model, accelerator)
    with _progress_bar(run, progress and run.writes) as bar, _stop_between_steps() as stop:
        while run.epoch < epochs and not run.out_of_patience(patience):
            _one_epoch(run, called, train, loss, tracker, bar, stop)
            if validation is not None:
                run.record_validation(*(validation(model) if callable(validation) else _accuracies(model, validation)))
                tracker.log(run.step, {"validation accuracy": run.history.validation[-1]})
            run.end_epoch()
            if stop.is_set():
                raise KeyboardInterrupt
        _show(bar, run)
    run.restore_best()
    return run.history


def learning_rate_at(step: int, settings: Settings) -> float:
    """A linear rise over the warm-up, then a cosine to nearly zero (Loshchilov and Hutter, 2017)."""
    total = settings.epochs * settings.steps_per_epoch
    rising = max(1, round(settings.warmup * total))
    if step < rising:
        return settings.learning_rate * (step + 1) / rising
    share = (step - rising) / max(1, total - rising)
    return settings.learning_rate * max(0.5 * (1 + math.cos(math.pi * share)), 1e-3)


def _prepared(model: nn.Module, accelerator: Accelerator | None) -> nn.Module:
    """The model to call in training: with several processes, the wrapper that averages their gradients."""
    if accelerator is None or accelerator.num_processes == 1:
        return model
    from accelerate import DistributedDataParallelKwargs  # slow to import

    if accelerator.ddp_handler is None:  # a batch need not use every weight
        accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=True)
    return accelerator.prepare(model)


def _one_epoch(run: _Run, model: nn.Module, train, loss: Loss, tracker: Tracker, bar: tqdm, stop) -> None:
    """Take the remaining steps of the current epoch."""
    model.train()
    device, settings = device_of(model), run.settings
    for batches in _remaining_batches(run, train):
        rate = learning_rate_at(run.step, settings)
        for group in run.optimizer.param_groups:
            group["lr"] = rate
        began = time.perf_counter()
        try:
            value = train_step(
                model, [to_device(batch, device) for batch in batches], run.optimizer, loss=loss, clip=settings.clip,
                precision=settings.precision, accelerator=run.accelerator,
            )  # fmt: skip
        except NonFiniteLoss as error:
            error.step = f" at step {run.step + 1} (epoch {run.epoch + 1}, step {run.steps_in_epoch + 1})"
            raise
        run.record_step(value, rate, time.perf_counter() - began)
        tracker.log(run.step, {"loss": value, "learning rate": rate})
        bar.update()
        if run.step % 10 == 0:
            _show(bar, run)
        if stop.is_set():
            run.save_last()
            raise KeyboardInterrupt


def _sampler(loader):
    return getattr(loader, "batch_sampler", loader)  # a DataLoader's order is its sampler's


def _order(loader) -> dict[str, Any]:
    """What the order of the batches depends on, if the loader or its sampler is an :class:`EpochBatches`."""
    known = ("rows", "batch_size", "shuffle", "seed")
    return {name: getattr(_sampler(loader), name) for name in known if isinstance(_sampler(loader), EpochBatches)}


def _remaining_batches(run: _Run, loader) -> Iterator[tuple[dict, ...]]:
    """The batches of the epoch that the run has not seen yet, as many at a time as make a step."""
    sampler = _sampler(loader)
    if hasattr(sampler, "set_epoch"):
        sampler.set_epoch(run.epoch)
    batches = iter(loader)
    steps = iter(lambda: tuple(itertools.islice(batches, run.settings.accumulate)), ())
    for _ in range(run.steps_in_epoch):
        next(steps)
    if run.steps_in_epoch:  # skipping batches draws random numbers that the stopped run had already drawn
        run.restore_rng()
    yield from steps


@contextlib.contextmanager
def _stop_between_steps() -> Iterator[threading.Event]:
    """On Ctrl-C, set the event and let the step finish, so that the saved state is complete.

    A second Ctrl-C stops at once. Only the main thread can handle signals: elsewhere Ctrl-C keeps its usual meaning.
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


def _show(bar: tqdm, run: _Run) -> None:
    recent = run.history.loss[-20:]
    shown = {"loss": f"{np.mean(recent):.3f}"} if recent else {}
    if run.history.validation:
        shown["validation"] = f"{run.history.validation[-1]:.1%}"
    bar.set_postfix(shown)


# --- the state of a run -----------------------------------------------------------------------------------------


class _Run:
    """The state of a run, and how it is saved and restored."""

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, settings: Settings, folder: Path | None,
        accelerator: Accelerator | None, same: dict[str, Any],
    ) -> None:  # fmt: skip
        self.model, self.optimizer, self.settings, self.folder = model, optimizer, settings, folder
        self.accelerator = accelerator
        self.same = json.loads(json.dumps(same, default=str))  # what a resumed run must share, as it is read back
        self.history = History()
        self.epoch = self.steps_in_epoch = 0
        self.best: dict[str, torch.Tensor] | None = None
        self.rng: dict = {}

    @property
    def step(self) -> int:
        return len(self.history.loss)

    @property
    def writes(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.accelerator is None or self.accelerator.is_main_process

    def begin(self, resume: bool) -> None:
        """Restore the run that the folder holds, or start one where there is none."""
        if self.folder is None:
            return
        path = self.folder / "last.pt"
        if resume and not path.exists():
            raise CheckpointError(f"There is no {path} to resume. Start the run without resume, or correct the folder.")
        earlier = self._read(path) if path.exists() else None
        if resume:
            self._restore(earlier, path)
        elif (earlier and earlier["history"]["loss"]) or (self.folder / "best.safetensors").exists():
            raise CheckpointError(
                f"{self.folder} holds an earlier run. Continue it (resume=True, or --resume), or give this one another."
            )
        self.save_last()  # now, so that a folder that cannot be written costs no training

    def record_step(self, loss: float, rate: float, seconds: float) -> None:
        self.history.loss.append(loss)
        self.history.learning_rate.append(rate)
        self.history.seconds += seconds
        self.steps_in_epoch += 1

    def record_validation(self, value: float, by_type: dict[str, float]) -> None:
        history = self.history
        if math.isnan(value):
            raise ValueError("validation returned NaN instead of an accuracy: the best epoch cannot be chosen.")
        better = value > max(history.validation, default=-math.inf)
        history.validation.append(float(value))  # not a tensor, which JSON does not know
        for kind, share in by_type.items():
            history.by_type.setdefault(kind, []).append(float(share))
        if not better:
            return
        history.best_epoch = self.epoch + 1
        if self.folder is None:
            self.best = {name: weight.detach().clone() for name, weight in self.model.state_dict().items()}
        elif self.writes:
            about = {"epoch": history.best_epoch, "validation": history.validation[-1]}
            save_checkpoint(self.model, self.folder / "best.safetensors", about)

    def out_of_patience(self, patience: int | None) -> bool:
        return patience is not None and self.epoch - self.history.best_epoch >= patience

    def end_epoch(self) -> None:
        self.epoch, self.steps_in_epoch = self.epoch + 1, 0
        if not self.history.validation:
            self.history.best_epoch = self.epoch
        self.save_last()

    def restore_best(self) -> None:
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()  # until the main process has written
        if self.history.validation and self.folder is not None:
            load_checkpoint(self.model, self.folder / "best.safetensors")
        elif self.best is not None:
            self.model.load_state_dict(self.best)
        elif self.folder is not None and self.writes:
            save_checkpoint(self.model, self.folder / "best.safetensors")
        self.model.eval()

    def save_last(self) -> None:
        if self.folder is None or not self.writes:
            return
        state = {
            "settings": json.dumps(self.same),
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

    def _read(self, path: Path) -> dict:
        try:
            state = torch.load(path, map_location=device_of(self.model), weights_only=True)
            return state | {name: json.loads(state[name]) for name in ("settings", "history")}
        except Exception as error:  # the kind depends on the damage; torch's text advises to load it unsafely
            raise CheckpointError(f"{path} is damaged ({type(error).__name__}). Start in another folder.") from error

    def _restore(self, state: dict, path: Path) -> None:
        saved, now = state["settings"], self.same
        shared = [name for name in now if name in saved]  # not what another version of the course added
        changed = [f"{name} was {saved[name]}, now {now[name]}" for name in shared if saved[name] != now[name]]
        if changed:
            remedy = "Set them as they were to continue it, or give this run another folder."
            raise CheckpointError(f"{path} is of a run with other settings: {'; '.join(changed)}. {remedy}")
        if state["history"]["validation"] and not (best := self.folder / "best.safetensors").exists():
            raise CheckpointError(f"{best} is missing, which the run would end with. Start in another folder.")
        load_weights(self.model, state["model"], path)
        self.optimizer.load_state_dict(state["optimizer"])
        self.history = History(**state["history"])
        self.epoch, self.steps_in_epoch, self.rng = state["epoch"], state["steps_in_epoch"], state["rng"]
        self.restore_rng()

    def restore_rng(self) -> None:
        torch.set_rng_state(self.rng["cpu"].cpu())
        if self.rng["cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all([rng.cpu() for rng in self.rng["cuda"]])
