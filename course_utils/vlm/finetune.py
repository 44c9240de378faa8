"""Fine-tune a vision-language model: ``python -m course_utils.vlm.finetune --config data/seeing_llm.toml``.

Stage two of LLaVA (Liu and others, 2023): a bridge and the language model learn together to answer questions about
pictures, of the course's worlds or of files in the layout of VQA v2. What is trained of the language model is nothing,
LoRA, or all of its layers above the one where pictures join. Stage one is the least-squares map from cells to names,
where scenes are known.

The run is kept in its folder after every part of a pass and at Ctrl-C; ``--resume`` goes on exactly from there.
``accelerate launch --num_processes 2 -m course_utils.vlm.finetune …`` shares every batch among processes or GPUs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from torch import nn

from course_utils import training, vlm
from course_utils.checkpoints import CheckpointError, load_weights, read_weights, save_weights
from course_utils.datasets.shapes import TYPES
from course_utils.language import llm, lora
from course_utils.lesson import seed_everything
from course_utils.metrics import accuracy_by_type, vqa_accuracy
from course_utils.trackers import NoTracker, TensorBoardTracker, Tracker, WandbTracker
from course_utils.vlm import bridges
from course_utils.vlm.conversations import Conversations, Reading
from course_utils.vlm.targets import EmojiNames, ShapeNames, solve
from course_utils.vlm.worlds import (
    NAMES,
    World,
    read_vqa,
    read_world,
    with_choices,
    with_early,
    with_more,
    with_stones,
    with_workings,
)

BRIDGES = {
    "linear": bridges.LinearProjector,
    "placed": bridges.PlacedProjector,
    "MLP": bridges.MLPProjector,
    "resampler": bridges.Resampler,
    "blind": bridges.Blind,
}
TRAINS = ("bridge", "LoRA", "full")
TRACKERS = ("none", "tensorboard", "wandb")
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
SOLVED = 2000  # pictures of a world behind the least-squares map
FEWEST_TRIALS = 3


class ConfigError(ValueError):
    """A configuration that cannot be run; the message names the entry and the remedy."""


@dataclass(frozen=True)
class Config:
    """All that a run depends on.

    Attributes:
        worlds: World to the number of its pictures to train on.
        questions: A questions file in the layout of VQA v2 to train on, with ``annotations`` and ``pictures_folder``.
        annotations: Its annotations file.
        pictures_folder: Where its pictures are.
        held_out: Share of the file's pictures to validate on; the worlds have a split of their own.
        validation: Pictures of each world to validate on after every part; 0 for none.
        stones: Share of the pictures of shapes that teach with stepping stones; see :func:`worlds.with_stones`.
        more: How often more the questions that are learnt late are asked about a picture; see
            :func:`worlds.with_more`.
        more_of: The types of shapes that ``more`` is about, each with how often; by default those learnt late.
        early: Whether shapes are asked about things that stand early in a walk too; see :func:`worlds.with_early`.
        choices: Whether emoji scenes are asked for a choice about each of their things; see
            :func:`worlds.with_choices`.
        aloud: Whether the model is taught to say its workings before an answer; see :func:`worlds.with_workings`.
        bridge: One of ``BRIDGES``.
        trains: One of ``TRAINS``: what learns beside the bridge.
        enter: The layer before which pictures join.
        rank: Of LoRA's updates.
        solved: Whether a linear bridge begins at the least-squares map.
        start: A model that this program wrote, to go on from with its rank and its place to enter; "" to begin anew.
            What the bridge has and the model's had not, begins as in a new one.
        passes: Over the pictures.
        parts: Of a pass; the run is validated and kept after each.
        pictures: To a batch.
        accumulate: Batches to a step.
        learning_rate: At the end of the warm-up.
        warmup: Share of the steps.
        precision: "fp32" or "bf16".
        patience: Parts without a better validation after which to stop; 0 for never.
        seed: Of the weights and of the order of the pictures.
        tracker: One of ``TRACKERS``.
        folder: Where the run is kept.
    """

    worlds: dict[str, int] = field(default_factory=dict)
    questions: str = ""
    annotations: str = ""
    pictures_folder: str = ""
    held_out: float = 0.1
    validation: int = 100
    stones: float = 0.0
    more: int = 0
    more_of: dict[str, int] = field(default_factory=dict)
    early: bool = False
    choices: bool = False
    aloud: bool = False
    bridge: str = "linear"
    trains: str = "LoRA"
    enter: int = 20
    rank: int = 32
    solved: bool = True
    start: str = ""
    passes: int = 1
    parts: int = 10
    pictures: int = 16
    accumulate: int = 1
    learning_rate: float = 1e-3
    warmup: float = 0.03
    precision: str = "fp32"
    patience: int = 0
    seed: int = 0
    tracker: str = "none"
    folder: str = "runs/finetune"

    def __post_init__(self) -> None:
        for name, among in (("bridge", tuple(BRIDGES)), ("trains", TRAINS), ("tracker", TRACKERS)):
            if getattr(self, name) not in among:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; it is one of: {', '.join(among)}.")
        if unknown := set(self.worlds) - set(NAMES):
            raise ConfigError(f"worlds names {', '.join(sorted(unknown))}; there are: {', '.join(NAMES)}.")
        if unknown := set(self.more_of) - set(TYPES):
            raise ConfigError(f"more_of names {', '.join(sorted(unknown))}; there are: {', '.join(TYPES)}.")
        if self.more_of and not self.more:
            raise ConfigError("more_of says what more is about: set more to at least 1.")
        if not self.worlds and not self.questions:
            raise ConfigError("There is nothing to train on: give worlds, or questions, annotations, pictures_folder.")
        if self.questions and not (self.annotations and self.pictures_folder):
            raise ConfigError("questions needs annotations and pictures_folder beside it.")
        for name in ("rank", "passes", "parts", "pictures", "accumulate"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1.")


def read_config(path: str | Path, changes: Sequence[str] = ()) -> Config:
    """A configuration from a TOML file, with changes such as "learning_rate=3e-4".

    Raises:
        ConfigError: If the file is missing or is no TOML, or an entry is unknown or of the wrong type.
    """
    try:
        entries = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"There is no configuration {path}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no TOML: {error}") from error
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise ConfigError(f"--set takes NAME=VALUE, not {change!r}.")
        entries[name.strip()] = _value(value.strip())
    known = {one.name: one for one in dataclasses.fields(Config)}
    for name, value in entries.items():
        if name not in known:
            raise ConfigError(f"{path} has an unknown entry {name}. Known are: {', '.join(known)}.")
        wanted = type(getattr(Config(questions="-", annotations="-", pictures_folder="-"), name))
        if wanted is float and type(value) is int:
            entries[name] = float(value)
        elif type(value) is not wanted:
            raise ConfigError(f"{name} is {value!r}; it must be a {wanted.__name__}.")
    return Config(**entries)


def _value(text: str) -> Any:
    """A value of --set, written as in TOML; what is none is a text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


# --- the model --------------------------------------------------------------------------------------------------


def build(config: Config, device: torch.device | str = "cpu") -> vlm.VisionLanguageModel:
    """The model as it is before training, and before its bridge is measured; in what the device is fast at."""
    full = config.trains == "full"  # bfloat16 would swallow small updates
    model, tokenizer = llm.load(torch.float32 if full else llm.fast_dtype(device))
    if not 0 <= config.enter < model.config.num_hidden_layers:
        raise ConfigError(f"enter is {config.enter}; the layers are 0 to {model.config.num_hidden_layers - 1}.")
    upper = model.model.layers[config.enter :]
    if config.trains == "LoRA":
        lora.add_lora(upper, TARGETS, rank=config.rank, alpha=2 * config.rank)
    bridge = BRIDGES[config.bridge](vlm.PictureReader.DIM, model.config.hidden_size)
    trained = [*upper.parameters(), *model.model.norm.parameters()] if full else None
    return vlm.VisionLanguageModel(model, tokenizer, bridge, config.enter, trained=trained)


def measure_bridge(model: vlm.VisionLanguageModel, worlds: Sequence[World], solved: bool) -> None:
    """Stage one: how features vary, where words are, and the least-squares map where scenes are known."""
    emoji = EmojiNames(model.llm, model.tokenizer, model.enter)
    model.bridge.measure(torch.cat([world.features for world in worlds]), emoji.states[: emoji.seen])
    says = {"emoji scenes": emoji, "shapes": ShapeNames(model.llm, model.tokenizer, model.enter)}
    told = [world for world in worlds if world.scenes is not None]
    known = [(world.features[:SOLVED], world.scenes[:SOLVED], says[world.name]) for world in told]
    if solved and known and isinstance(model.bridge, bridges.LinearProjector):
        solve(model.bridge, known)


def save(model: vlm.VisionLanguageModel, config: Config, path: str | Path, about: dict | None = None) -> None:
    """Write what was trained, matrices in bfloat16, with the configuration that made it."""
    save_weights(vlm.compact(model), path, {"config": dataclasses.asdict(config), **(about or {})})


def load(path: str | Path) -> tuple[vlm.VisionLanguageModel, Config]:
    """A model that :func:`save` wrote, ready to be asked, and its configuration.

    Raises:
        CheckpointError: If the file is missing, damaged, or was not made by this program.
    """
    weights, notes = read_weights(path)
    if "config" not in notes:
        raise CheckpointError(f"{path} does not say how it was trained: it is not of course_utils.vlm.finetune.")
    known = {one.name for one in dataclasses.fields(Config)}
    config = Config(**{name: value for name, value in notes["config"].items() if name in known})
    model = build(config)
    load_weights(model, weights, Path(path))
    return model.eval(), config


# --- the data ---------------------------------------------------------------------------------------------------


class Parts:
    """A pass over the pictures in parts, each an epoch of :func:`course_utils.training.fit`.

    Args:
        batches: Of all the pictures.
        parts: Of a pass.

    Raises:
        ConfigError: If there are fewer batches than parts.
    """

    def __init__(self, batches: Conversations, parts: int) -> None:
        self.batches, self.parts, self.epoch = batches, parts, 0
        if len(batches) < parts:
            raise ConfigError(f"{len(batches)} batches do not divide into {parts} parts: set parts to less.")

    @property
    def batch_sampler(self) -> Parts:
        """Where ``fit`` says which epoch begins."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the part of the next batches."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.batches) // self.parts

    def __iter__(self):
        number, part = divmod(self.epoch, self.parts)
        self.batches.set_epoch(number)
        yield from self.batches.steps(part * len(self), (part + 1) * len(self))


def read_texts(model: vlm.VisionLanguageModel, worlds: Sequence[World]) -> Reading:
    """What the frozen layers below the pictures make of all that is said about some worlds."""
    turns = [some for world in worlds for some in world.turns]
    return vlm.read_ahead(model.llm, model.tokenizer, turns, model.enter)


def conversations(
    model: vlm.VisionLanguageModel, worlds: Sequence[World], pictures: int, *, reading: Reading | None = None, **options
) -> Conversations:  # fmt: skip
    """Batches of pictures from all the worlds together, their texts read ahead, by :func:`read_texts` if not yet.

    On a GPU nothing is read ahead: each batch reads its texts there.
    """
    if reading is None and model.llm.device.type == "cpu":
        reading = read_texts(model, worlds)
    turns = [some for world in worlds for some in world.turns]
    features = torch.cat([world.features for world in worlds])
    return Conversations(features, turns, model.tokenizer, pictures=pictures, reading=reading, **options)


def read_worlds(config: Config, reader: vlm.PictureReader) -> tuple[list[World], list[World]]:
    """What to train on and what to validate on."""
    train = [read_world(name, "train", number, reader) for name, number in config.worlds.items()]
    train = [with_stones(world, config.stones) if world.name == "shapes" else world for world in train]
    train = [with_more(world, config.more, config.more_of) for world in train]
    train = [with_early(world) for world in train] if config.early else train
    train = [with_choices(world) for world in train] if config.choices else train
    few = config.validation
    validation = [read_world(name, "validation", few, reader) for name in config.worlds] if few else []
    if config.questions:
        whole = read_vqa(config.questions, config.annotations, config.pictures_folder, reader)
        first, second = _split(whole, config.held_out, config.seed)
        train.append(first)
        validation += [second] if few and second.turns else []
    if config.aloud:
        train, validation = ([with_workings(world) for world in some] for some in (train, validation))
    return train, validation


def _split(world: World, held_out: float, seed: int) -> tuple[World, World]:
    """By pictures, so that no picture of the second part was trained on."""
    order = np.random.default_rng(seed).permutation(len(world.turns))
    cut = round(len(order) * (1 - held_out))
    return tuple(
        World(
            world.name, world.features[torch.from_numpy(part)], [world.turns[i] for i in part],
            annotators=[world.annotators[i] for i in part],
        )
        for part in (order[:cut], order[cut:])
    )  # fmt: skip


# --- training and measuring -------------------------------------------------------------------------------------


def train(
    config: Config, worlds: Sequence[World], validation: Sequence[World] = (), *, resume: bool = False,
    tracker: Tracker | None = None, accelerator: Accelerator | None = None, progress: bool = True,
    folder: Path | None = None, reading: Reading | None = None,
) -> tuple[vlm.VisionLanguageModel, training.History]:  # fmt: skip
    """Train a model from its seed.

    Args:
        config: Of the run.
        worlds: To train on.
        validation: To choose the best part by, and to stop early by.
        resume: Go on from the folder, if something is kept there.
        tracker: Told of losses and accuracies.
        accelerator: Of a run on several processes.
        progress: Whether to draw a progress bar.
        folder: Where the run is kept; None to keep nothing.
        reading: Of all the texts, if :func:`read_texts` has read them for such a model before.
    """
    seed_everything(config.seed)
    device = accelerator.device if accelerator is not None else torch.device("cpu")
    model = build(config, device)
    if config.start:
        _start(model, config)
    else:
        measure_bridge(model, worlds, config.solved)
    model.to(device)
    share = (accelerator.process_index, accelerator.num_processes) if accelerator is not None else (0, 1)
    batches = conversations(
        model, worlds, config.pictures, reading=reading, shuffle=True, seed=config.seed, share=share
    )
    held = conversations(model, validation, 32, reading=reading) if validation else None

    def score(model: nn.Module) -> tuple[float, dict[str, float]]:
        table = by_type(model, held)
        total = float((table["accuracy"] * table["questions"]).sum() / table["questions"].sum())
        return total, dict(zip(table["type"], table["accuracy"], strict=True))

    history = training.fit(
        model, Parts(batches, config.parts), score if held else None, epochs=config.passes * config.parts,
        learning_rate=config.learning_rate, weight_decay=0.0, warmup=config.warmup, precision=config.precision,
        accumulate=config.accumulate, patience=config.patience or None if held else None, folder=folder, resume=resume,
        tracker=tracker, accelerator=accelerator, progress=progress,
    )  # fmt: skip
    return model, history


def _start(model: vlm.VisionLanguageModel, config: Config) -> None:
    weights, notes = read_weights(config.start)
    enter = notes.get("config", {}).get("enter")
    if enter != config.enter:
        raise ConfigError(
            f"In {config.start} pictures join at layer {enter}, here at {config.enter}: set enter to that."
        )
    added = {name: own for name, own in model.bridge.state_dict(prefix="bridge.").items() if name not in weights}
    load_weights(model, weights | added, Path(config.start))


def by_type(model: vlm.VisionLanguageModel, batches: Conversations) -> pd.DataFrame:
    """Share of exact answers by question type, captions being one: type, questions, accuracy, low, high.

    Where an answer has a working, both must be exact; see :func:`vlm.answers_right`.
    """
    right = [hit for some in vlm.answers_right(model, batches) for hit in some]
    return accuracy_by_type(right, [turn.type for some in batches.turns for turn in some])


def vqa_score(model: vlm.VisionLanguageModel, world: World) -> float:
    """Mean VQA accuracy of what the model says, against all annotators, for a world that has them."""
    scores = []
    for features, turns, annotators in zip(world.features, world.turns, world.annotators, strict=True):
        said = model.answer(features.expand(len(turns), -1, -1), [turn.prompt for turn in turns])
        scores += [vqa_accuracy(text, others) for text, others in zip(said, annotators, strict=True)]
    return float(np.mean(scores))


def search(config: Config, worlds: Sequence[World], validation: Sequence[World], trials: int) -> Config:
    """Look for a better learning rate and rank with optuna's TPE (Bergstra and others, 2011); the best configuration.

    A trial that is behind the median of the earlier ones after a part is given up.

    Raises:
        ConfigError: If optuna is not installed, or there is nothing to validate on.
    """
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("The search needs optuna. Run: pip install optuna") from error
    if not validation:
        raise ConfigError("The search needs validation data: set validation to more than 0.")

    reading = read_texts(build(config), [*worlds, *validation])  # the same for every trial

    def objective(trial: optuna.Trial) -> float:
        rate = trial.suggest_float("learning_rate", config.learning_rate / 5, config.learning_rate * 5, log=True)
        rank = trial.suggest_categorical("rank", sorted({max(1, config.rank // 4), config.rank}))
        tried = dataclasses.replace(config, learning_rate=rate, rank=rank)
        _, history = train(tried, worlds, validation, tracker=_Pruner(trial), progress=False, reading=reading)
        return max(history.validation)

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=config.seed)
    study = optuna.create_study(
        direction="maximize", sampler=sampler, pruner=optuna.pruners.MedianPruner(n_startup_trials=FEWEST_TRIALS)
    )
    study.optimize(objective, n_trials=trials)
    print(f"The best of {trials} trials reached {study.best_value:.1%} with {study.best_params}.")
    return dataclasses.replace(config, **study.best_params)


class _Pruner:
    """Tells optuna of each validation, and stops a trial that it gives up."""

    def __init__(self, trial) -> None:
        self.trial = trial

    def log(self, step: int, values: dict[str, float]) -> None:
        import optuna

        if "validation accuracy" in values:
            self.trial.report(values["validation accuracy"], step)
            if self.trial.should_prune():
                raise optuna.TrialPruned

    def close(self) -> None:
        """Nothing is open."""


def _tracker(config: Config) -> Tracker:
    if config.tracker == "tensorboard":
        return TensorBoardTracker(Path(config.folder) / "tensorboard")
    if config.tracker == "wandb":
        return WandbTracker(project="cross-modal-course", config=dataclasses.asdict(config), dir=config.folder)
    return NoTracker()


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; its exit status."""
    parser = argparse.ArgumentParser(prog="course_utils.vlm.finetune", description=__doc__.splitlines()[0])
    parser.add_argument("--config", required=True, metavar="FILE", help="a TOML file; see Config for its entries")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change an entry")
    parser.add_argument("--resume", action="store_true", help="go on from the run's folder")
    parser.add_argument("--search", type=int, default=0, metavar="TRIALS", help="first look for a better setting")
    parser.add_argument("--ship", metavar="FILE", help="write the trained model here too")
    asked = parser.parse_args(arguments)
    try:
        return _run(read_config(asked.config, asked.set), asked)
    except KeyboardInterrupt:
        print("\nStopped. What was learnt is kept: the same command with --resume goes on.", file=sys.stderr)
        return 130
    except (ConfigError, CheckpointError, FileNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(config: Config, asked: argparse.Namespace) -> int:
    accelerator = Accelerator()
    reader = vlm.PictureReader().to(accelerator.device)
    worlds, validation = read_worlds(config, reader)
    if asked.search:
        config = search(config, worlds, validation, asked.search)
    folder = Path(config.folder)
    tracker = _tracker(config) if accelerator.is_main_process else NoTracker()
    try:
        model, history = train(
            config, worlds, validation, resume=asked.resume, tracker=tracker, accelerator=accelerator, folder=folder
        )
    finally:
        tracker.close()
    if accelerator.is_main_process:
        about = _about(config, asked, history)
        for path in (folder / "model.safetensors", *([asked.ship] if asked.ship else [])):
            save(model, config, path, about)
        (folder / "history.json").write_text(json.dumps(dataclasses.asdict(history)), encoding="utf-8")
        for world in validation:
            print(world.name, by_type(model, conversations(model, [world], 32)).to_string(index=False), sep="\n")
    accelerator.end_training()
    return 0


def _about(config: Config, asked: argparse.Namespace, history: training.History) -> dict:
    """How a model was made: its command, its seconds, its validation by type, and the same of what it began from."""
    command = " ".join(
        ["python -m course_utils.vlm.finetune --config", asked.config, *(f"--set {c}" for c in asked.set)]
    )
    about = {"command": command, "seconds": round(history.seconds), "by_type": history.by_type}
    if config.start:
        before = read_weights(config.start)[1]
        about["start"] = {name: value for name, value in before.items() if name != "config"}
    return about


if __name__ == "__main__":
    sys.exit(main())
