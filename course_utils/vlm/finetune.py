"""Fine-tune a vision-language model: ``python -m course_utils.vlm.finetune --config data/seeing_llm.toml``.

Stage two of LLaVA (Liu and others, 2023): the bridge and the language model learn to answer questions about pictures
of the course's worlds or of files in VQA v2's layout. Stage one is the bridge's least-squares start, for known scenes.

A run is saved in its folder after every evaluation and at Ctrl-C; ``--resume`` continues exactly from there.
``accelerate launch --num_processes 2 -m course_utils.vlm.finetune …`` shares every batch among processes or GPUs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
import tempfile
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
from transformers import PreTrainedTokenizerBase

from course_utils import training, vlm
from course_utils.assets import AssetError
from course_utils.checkpoints import CheckpointError, load_weights, read_weights, save_weights, write_atomically
from course_utils.datasets import world as datasets
from course_utils.device import seed_everything
from course_utils.language import llm, lora
from course_utils.metrics import accuracy_by_type, vqa_accuracy
from course_utils.paths import CHECKPOINTS
from course_utils.trackers import NoTracker, TensorBoardTracker, Tracker, TrackerError, WandbTracker
from course_utils.vlm import bridges, prepare, targets
from course_utils.vlm.conversations import Conversations, TextStates
from course_utils.vlm.features import Features
from course_utils.vlm.worlds import EncodedWorld, read_vqa, read_world, with_rationales, with_training_mix

BRIDGES = {
    "linear": bridges.LinearProjector, "placed": bridges.PlacedProjector, "MLP": bridges.MLPProjector,
    "resampler": bridges.Resampler, "blind": bridges.Blind,
}  # fmt: skip
TRAINABLE = ("bridge", "LoRA", "full")
TRACKERS = ("none", "tensorboard", "wandb")
CHOICES = {
    "bridge": tuple(BRIDGES), "trainable": TRAINABLE, "tracker": TRACKERS, "precision": ("fp32", "bf16"),
    "on_bad_picture": ("raise", "skip"),
}  # fmt: skip
LIMITS = {
    "held_out": (0.0, 0.9), "validation": (0, math.inf), "stepping_stone_share": (0.0, 1.0),
    "extra_late_questions": (0, math.inf), "join_layer": (0, math.inf), "rank": (1, math.inf), "epochs": (1, math.inf),
    "evaluations_per_epoch": (1, math.inf), "pictures_per_batch": (1, math.inf), "accumulate": (1, math.inf),
    "warmup": (0.0, 1.0), "patience": (0, math.inf), "seed": (0, 2**32 - 1),
}  # fmt: skip
KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", dict: "a table"}
STRUCTURE = ("trainable", "join_layer", "rank")  # what two models must share for one to go on from the other
FREE = ("folder", "tracker", "patience")  # what may change when a run is resumed
SHIPPED = CHECKPOINTS / "seeing_llm.safetensors"  # trained with data/seeing_llm.toml and its six successors
MEASURED = 2000  # pictures from which a bridge learns the scale of the features
LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
TRAINING_MIX = (
    "stepping_stone_share", "extra_late_questions", "extra_questions_by_type", "early_match_questions",
    "choice_questions",
)  # fmt: skip
# Entries that were renamed: old name -> new name. Files written before still hold the old ones.
RENAMED = {
    "stones": "stepping_stone_share", "more": "extra_late_questions", "more_of": "extra_questions_by_type",
    "early": "early_match_questions", "choices": "choice_questions", "aloud": "with_rationale", "trains": "trainable",
    "enter": "join_layer", "solved": "least_squares_start", "start": "start_from", "passes": "epochs",
    "parts": "evaluations_per_epoch", "pictures": "pictures_per_batch",
}  # fmt: skip


class ConfigError(ValueError):
    """A configuration that cannot be run; the message names the entry and the remedy."""


@dataclass(frozen=True)
class Config:
    """Everything that a run depends on."""

    worlds: dict[str, int] = field(default_factory=dict)  # world -> number of its pictures to train on
    questions: str = ""  # questions file in the layout of VQA v2, with the next two
    annotations: str = ""
    pictures_folder: str = ""
    on_bad_picture: str = "raise"  # or "skip": leave out the questions about missing and unreadable pictures
    held_out: float = 0.1  # share of that file's pictures to validate on; worlds have a validation split
    validation: int = 100  # pictures of each world in an evaluation; 0 for none
    # The training mix, for worlds that have such questions: see course_utils.vlm.worlds.with_training_mix.
    stepping_stone_share: float = 0.0  # share of the pictures with easier questions in place of hard ones
    extra_late_questions: int = 0  # extra questions per picture of each type that is learned late
    extra_questions_by_type: dict[str, int] = field(default_factory=dict)  # question type -> number, in their place
    early_match_questions: bool = False  # add questions whose matching object comes early in the rationale
    choice_questions: bool = False  # add a choice question about every object
    with_rationale: bool = False  # answers follow their rationale
    bridge: str = "linear"  # one of BRIDGES
    trainable: str = "LoRA"  # one of TRAINABLE: what to train besides the bridge
    join_layer: int = 20  # the layer before which pictures join
    rank: int = 32  # of LoRA
    least_squares_start: bool = True  # a linear bridge starts from the least-squares map
    start_from: str = ""  # a model that this program wrote with the same STRUCTURE; "shipped"; "" for a new one
    epochs: int = 1  # passes over the pictures
    evaluations_per_epoch: int = 10  # the run is validated and saved after each
    pictures_per_batch: int = 16  # over all processes
    accumulate: int = 1  # batches per optimizer step
    learning_rate: float = 1e-3  # after the warm-up
    warmup: float = 0.03  # share of the steps with a rising learning rate
    precision: str = "fp32"  # or "bf16"
    patience: int = 0  # evaluations without improvement before stopping; 0 for never
    seed: int = 0  # of the weights and of the order of the pictures
    tracker: str = "none"  # one of TRACKERS
    folder: str = "runs/finetune"  # where the run is saved

    def __post_init__(self) -> None:
        known = datasets.worlds()
        types = dict.fromkeys(kind for name in self.worlds if name in known for kind in known[name].types)
        for name, among in CHOICES.items():
            if getattr(self, name) not in among:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; it is one of: {', '.join(among)}.")
        for name, among in (("worlds", known), ("extra_questions_by_type", types)):
            numbers = getattr(self, name)
            if unknown := set(numbers) - set(among):
                raise ConfigError(f"{name} names {', '.join(sorted(unknown))}; there are: {', '.join(among)}.")
            for key, number in numbers.items():
                if type(number) is not int or number < 1:
                    raise ConfigError(f"{name} gives {number!r} to {key}; it must be a whole number of at least 1.")
        for name, (low, high) in LIMITS.items():
            if not low <= getattr(self, name) <= high:  # false for NaN, too
                limits = f"at least {low}" if high == math.inf else f"from {low} to {high}"
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be {limits}.")
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError(f"learning_rate is {self.learning_rate}; it must be a positive number, such as 1e-3.")
        if self.extra_questions_by_type and not self.extra_late_questions:
            raise ConfigError("extra_questions_by_type needs extra_late_questions: set it to at least 1.")
        if not self.worlds and not self.questions:
            raise ConfigError("There is nothing to train on: give worlds, or questions, annotations, pictures_folder.")
        if bool(self.questions) != bool(self.annotations) or bool(self.questions) != bool(self.pictures_folder):
            raise ConfigError("questions, annotations and pictures_folder belong together: give all three or none.")


def read_config(path: str | Path, changes: Sequence[str] = ()) -> Config:
    """Read a TOML file with changes such as "learning_rate=3e-4"; ConfigError if the file or an entry is invalid."""
    try:
        entries = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"There is no configuration {path}.") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}). Give --config a TOML file.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise ConfigError(f"--set takes NAME=VALUE, not {change!r}.")
        try:
            entries[name.strip()] = tomllib.loads(f"value = {value.strip()}")["value"]
        except tomllib.TOMLDecodeError:  # anything but TOML is a string
            entries[name.strip()] = value.strip()
    defaults = dataclasses.asdict(Config(questions="-", annotations="-", pictures_folder="-"))
    for name, value in entries.items():
        if name in RENAMED:
            raise ConfigError(f"{path}: the entry {name} is now called {RENAMED[name]}.")
        if name not in defaults:
            raise ConfigError(f"{path} has an unknown entry {name}. Known are: {', '.join(defaults)}.")
        wanted = type(defaults[name])
        if wanted is float and type(value) is int:
            entries[name] = float(value)
        elif type(value) is not wanted:
            raise ConfigError(f"{name} is {value!r}; it must be {KINDS[wanted]}.")
    return Config(**entries)


def _saved_config(notes: dict, path: str | Path) -> dict[str, Any]:
    """The configuration in a model's notes under today's names; entries that no longer exist are dropped."""
    if "config" not in notes:
        raise CheckpointError(f"{path} has no configuration: it was not written by course_utils.vlm.finetune.")
    known = {one.name for one in dataclasses.fields(Config)}
    config = {RENAMED.get(name, name): value for name, value in notes["config"].items()}
    return {name: value for name, value in config.items() if name in known}


def build(config: Config, device: torch.device | str = "cpu") -> vlm.VisionLanguageModel:
    """Build the untrained model, in the type that is fast on the device; the bridge is not measured yet."""
    full = config.trainable == "full"  # small updates would vanish in bfloat16
    model, tokenizer = llm.load(torch.float32 if full else llm.fast_dtype(device))
    if not 0 <= config.join_layer < model.config.num_hidden_layers:
        raise ConfigError(f"join_layer is {config.join_layer}; the layers are 0 to {len(model.model.layers) - 1}.")
    upper = model.model.layers[config.join_layer :]
    if config.trainable == "LoRA":
        lora.add_lora(upper, LORA_TARGETS, rank=config.rank, alpha=2 * config.rank)
    bridge = BRIDGES[config.bridge](vlm.PictureReader.DIM, model.config.hidden_size)
    trained = [*upper.parameters(), *model.model.norm.parameters()] if full else None
    return vlm.VisionLanguageModel(model, tokenizer, bridge, config.join_layer, trained=trained)


def save(model: vlm.VisionLanguageModel, config: Config, path: str | Path, about: dict | None = None) -> None:
    """Write the trained weights, matrices in bfloat16, with the configuration and the notes ``about`` them."""
    notes = {"config": dataclasses.asdict(config), "prepared": prepare.VERSION}
    save_weights(vlm.compact(model), path, notes | (about or {}))


def load(path: str | Path) -> tuple[vlm.VisionLanguageModel, Config]:
    """Load a model that :func:`save` wrote, in evaluation mode, and its Config; CheckpointError if that fails."""
    weights, notes = read_weights(path)
    config = Config(**_saved_config(notes, path))
    if notes.get("prepared", prepare.VERSION) != prepare.VERSION:  # the shipped model's notes are older than this entry
        raise CheckpointError(f"{path} reads pictures and questions in another form than this version. Train it again.")
    model = build(config)
    load_weights(model, weights, Path(path))
    return model.eval(), config


def read_worlds(config: Config, reader: vlm.PictureReader) -> tuple[list[EncodedWorld], list[EncodedWorld]]:
    """Read and encode the worlds to train on and those to validate on."""
    mix = {name: getattr(config, name) for name in TRAINING_MIX}
    worlds = [read_world(name, "train", pictures, reader) for name, pictures in config.worlds.items()]
    worlds = [with_training_mix(world, **mix) for world in worlds]
    few = config.validation
    validation = [read_world(name, "validation", few, reader) for name in config.worlds] if few else []
    if config.questions:
        files = (config.questions, config.annotations, config.pictures_folder)
        whole = read_vqa(*files, reader, on_bad_picture=config.on_bad_picture)
        train, held_out = _split(whole, config.held_out, config.seed)
        worlds.append(train)
        validation += [held_out] if few and held_out.turns else []
    if config.with_rationale:
        worlds, validation = ([with_rationales(world) for world in some] for some in (worlds, validation))
    return worlds, validation


def _split(world: EncodedWorld, held_out: float, seed: int) -> tuple[EncodedWorld, EncodedWorld]:
    """Split a world by pictures, so that no validation picture is trained on."""
    order = np.random.default_rng(seed).permutation(len(world.turns))
    cut = round(len(order) * (1 - held_out))
    return tuple(
        EncodedWorld(
            world.name, world.features.take(rows), [world.turns[i] for i in rows],
            annotators=[world.annotators[i] for i in rows] if world.annotators else [],
        )
        for rows in (order[:cut], order[cut:])
    )  # fmt: skip


def _first(world: EncodedWorld, pictures: int) -> EncodedWorld:
    """The first pictures of a world; of files, all held-out ones would make every evaluation long."""
    kept = {"features": world.features[:pictures], "turns": world.turns[:pictures]}
    return dataclasses.replace(world, **kept, annotators=world.annotators[:pictures])


def precompute(model: vlm.VisionLanguageModel, worlds: Sequence[EncodedWorld]) -> TextStates:
    """Precompute the text states below the join layer."""
    turns = [some for world in worlds for some in world.turns]
    return vlm.precompute_text(model.llm, model.tokenizer, turns, model.join_layer)


def batch_worlds(
    model: vlm.VisionLanguageModel, worlds: Sequence[EncodedWorld], *, text_states: TextStates | None = None, **options
) -> Conversations:  # fmt: skip
    """Batches of pictures from all worlds together; ``options`` are those of :class:`Conversations`."""
    if text_states is None and model.llm.device.type == "cpu":  # on a GPU the model computes those of each batch
        text_states = precompute(model, worlds)
    turns = [some for world in worlds for some in world.turns]
    features = Features.join([world.features for world in worlds])
    return Conversations(features, turns, model.tokenizer, text_states=text_states, **options)


def train(
    config: Config, worlds: Sequence[EncodedWorld], validation: Sequence[EncodedWorld] = (), *, resume: bool = False,
    tracker: Tracker | None = None, accelerator: Accelerator | None = None, progress: bool = True,
    folder: Path | None = None, text_states: TextStates | None = None,
) -> tuple[vlm.VisionLanguageModel, training.History]:  # fmt: skip
    """Train a model from its seed; the other arguments are those of :func:`course_utils.training.fit`.

    ``validation`` chooses the best evaluation and stops early; ``text_states`` are :func:`precompute`'s for all worlds.
    """
    seed_everything(config.seed)
    device = accelerator.device if accelerator is not None else torch.device("cpu")
    model = build(config, device)
    for world in (*worlds, *validation):
        if world.scenes is None:  # the captions and rationales of known scenes are short enough
            _check_answers(world, model.tokenizer)
    start_bridge(model, worlds, config)
    model.to(device)
    share = (accelerator.process_index, accelerator.num_processes) if accelerator is not None else (0, 1)
    batches = batch_worlds(
        model, worlds, text_states=text_states, pictures_per_batch=config.pictures_per_batch, shuffle=True,
        seed=config.seed, share=share,
    )  # fmt: skip
    batches.evaluations_per_epoch = min(config.evaluations_per_epoch, len(batches))  # few pictures make few batches
    few = [_first(world, config.validation) for world in validation]
    held_out = batch_worlds(model, few, text_states=text_states, pictures_per_batch=32) if few else None

    def score(model: nn.Module) -> tuple[float, dict[str, float]]:
        table = by_type(model, held_out)
        return overall(table), dict(zip(table["type"], table["accuracy"], strict=True))

    history = training.fit(
        model, batches, score if held_out else None, epochs=config.epochs * batches.evaluations_per_epoch,
        learning_rate=config.learning_rate, weight_decay=0.0, warmup=config.warmup, precision=config.precision,
        accumulate=config.accumulate, patience=config.patience or None if held_out else None, folder=folder,
        about={name: value for name, value in dataclasses.asdict(config).items() if name not in FREE},
        resume=resume, tracker=tracker, accelerator=accelerator, progress=progress,
    )  # fmt: skip
    return model, history


def _start(config: Config) -> Path:
    return SHIPPED if config.start_from == "shipped" else Path(config.start_from)


def _check_answers(world: EncodedWorld, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse answers that generation would cut."""
    answers = list({turn.answer for turns in world.turns for turn in turns})
    for start in range(0, len(answers), 1000):
        some = answers[start : start + 1000]
        for answer, tokens in zip(some, tokenizer(some)["input_ids"], strict=True):
            if len(tokens) >= vlm.MAX_NEW_TOKENS:
                limit = f"{len(tokens)} tokens, and a model generates at most {vlm.MAX_NEW_TOKENS}"
                raise ValueError(f"{world.name}: the answer {answer[:40]!r}... has {limit}. Shorten it.")


def start_bridge(model: vlm.VisionLanguageModel, worlds: Sequence[EncodedWorld], config: Config) -> None:
    """Set all weights to where training starts: those of an earlier model, or a measured bridge (stage one)."""
    if config.start_from:
        path = _start(config)
        weights, notes = read_weights(path)
        earlier = _saved_config(notes, path)
        theirs = {name: earlier.get(name, getattr(Config, name)) for name in STRUCTURE}
        if other := [
            f"{name} = {json.dumps(value)}" for name, value in theirs.items() if value != getattr(config, name)
        ]:
            raise ConfigError(f"{config.start_from} was built otherwise than this run: set {' and '.join(other)}.")
        # Bridge weights missing from the earlier model are freshly initialised.
        missing = {name: own for name, own in model.bridge.state_dict(prefix="bridge.").items() if name not in weights}
        load_weights(model, weights | missing, path)
        return
    language = (model.llm, model.tokenizer, model.join_layer)
    features = Features.join([world.features for world in worlds])
    some = np.linspace(0, len(features) - 1, min(len(features), MEASURED)).round().astype(int)
    model.bridge.measure(features[some], targets.reference_states(*language))
    linear = config.least_squares_start and isinstance(model.bridge, bridges.LinearProjector)
    if linear and (known := targets.known_targets(worlds, *language)):
        targets.solve(model.bridge, known)


def by_type(model: vlm.VisionLanguageModel, batches: Conversations) -> pd.DataFrame:
    """Share of exact completions, rationales included, by type: type, questions, accuracy, low, high."""
    exact = [one for some in vlm.exact_matches(model, batches) for one in some]
    return accuracy_by_type(exact, [turn.type for some in batches.turns for turn in some])


def overall(table: pd.DataFrame) -> float:
    """Share of exact completions of all types together, from the table by type."""
    return float((table["accuracy"] * table["questions"]).sum() / table["questions"].sum())


def vqa_score(model: vlm.VisionLanguageModel, world: EncodedWorld) -> float:
    """Mean official VQA accuracy of the model's answers, for a world with several annotators."""
    flat = [(row, turn) for row, turns in enumerate(world.turns) for turn in turns]
    features = Features.join([world.features]).take(np.array([row for row, _ in flat]))
    answers = model.answer(features, [turn.prompt for _, turn in flat])
    others = [given for annotators in world.annotators for given in annotators]
    return float(np.mean([vqa_accuracy(*pair) for pair in zip(answers, others, strict=True)]))


def search(config: Config, worlds: Sequence[EncodedWorld], validation: Sequence[EncodedWorld], trials: int) -> Config:
    """Search learning rate and rank with optuna's TPE (Bergstra and others, 2011); prune trials below the median."""
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("The search needs optuna. Run: pip install optuna") from error
    if not validation:
        raise ConfigError("The search needs validation data: set validation to more than 0.")
    text_states = precompute(build(config), [*worlds, *validation])  # the same in every trial

    def objective(trial: optuna.Trial) -> float:
        rate = trial.suggest_float("learning_rate", config.learning_rate / 5, config.learning_rate * 5, log=True)
        rank = trial.suggest_categorical("rank", sorted({max(1, config.rank // 4), config.rank}))
        tried = dataclasses.replace(config, learning_rate=rate, rank=rank)
        _, history = train(tried, worlds, validation, tracker=_Pruner(trial), progress=False, text_states=text_states)
        return max(history.validation)

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=config.seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3),
    )  # fmt: skip
    study.optimize(objective, n_trials=trials)
    print(f"The best of {trials} trials reached {study.best_value:.1%} with {study.best_params}.")
    return dataclasses.replace(config, **study.best_params)


class _Pruner:
    """A tracker that reports validation accuracies to optuna and stops the trials it prunes."""

    def __init__(self, trial) -> None:
        self.trial = trial

    def log(self, step: int, values: dict[str, float]) -> None:
        import optuna

        if "validation accuracy" in values:
            self.trial.report(values["validation accuracy"], step)
            if self.trial.should_prune():
                raise optuna.TrialPruned

    def close(self) -> None: ...


def _tracker(config: Config) -> Tracker:
    if config.tracker == "tensorboard":
        return TensorBoardTracker(Path(config.folder) / "tensorboard")
    if config.tracker == "wandb":
        return WandbTracker(project="cross-modal-course", config=dataclasses.asdict(config), dir=config.folder)
    return NoTracker()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    parser = argparse.ArgumentParser(prog="course_utils.vlm.finetune", description=__doc__.splitlines()[0])
    parser.add_argument("--config", required=True, metavar="FILE", help="TOML file; the class Config lists its entries")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change an entry")
    parser.add_argument("--resume", action="store_true", help="continue from the run's folder")
    parser.add_argument("--search", type=int, default=0, metavar="TRIALS", help="search for better settings first")
    parser.add_argument("--ship", metavar="FILE", help="also write the trained model here")
    options = parser.parse_args(arguments)
    config = None
    try:
        config = read_config(options.config, options.set)
        return _run(config, options)
    except KeyboardInterrupt:
        saved = config is not None and (Path(config.folder) / "last.pt").exists()
        how = "The run is saved: the same command with --resume continues it" if saved else "Training had not begun"
        print(f"\nStopped. {how}.", file=sys.stderr)
        return 130
    except (AssetError, CheckpointError, TrackerError, training.NonFiniteLoss, FileNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _check_folders(config: Config, options: argparse.Namespace) -> None:
    """Find out before any work whether the run can be saved and the model written, and whether a run is there."""
    last = Path(config.folder) / "last.pt"
    if options.resume and not last.exists():
        raise ConfigError(f"There is no run in {config.folder}. Start it without --resume, or correct the folder.")
    if last.exists() and not options.resume:
        raise ConfigError(
            f"{config.folder} holds an earlier run. Continue it with --resume, or give this one another folder: "
            "--set folder=…"
        )
    for folder in (Path(config.folder), *([Path(options.ship).parent] if options.ship else [])):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise ConfigError(f"Nothing can be written in {folder} ({error.strerror}): choose another.") from error
    if options.ship and Path(options.ship).is_dir():
        raise ConfigError(f"{options.ship} is a folder. Give --ship a file, such as model.safetensors.")


def _run(config: Config, options: argparse.Namespace) -> int:
    accelerator = Accelerator()
    if accelerator.is_main_process:
        _check_folders(config, options)
    folder = Path(config.folder)
    tracker = _tracker(config) if accelerator.is_main_process else NoTracker()
    try:
        with accelerator.main_process_first():  # the others find the features of picture files in the cache
            worlds, validation = read_worlds(config, vlm.PictureReader().to(accelerator.device))
        if options.search:
            config = search(config, worlds, validation, options.search)
        model, history = train(
            config, worlds, validation, resume=options.resume, tracker=tracker, accelerator=accelerator, folder=folder
        )
    finally:
        tracker.close()
    if accelerator.is_main_process:
        about = _about(config, options, history)
        for path in (folder / "model.safetensors", *([options.ship] if options.ship else [])):
            save(model, config, path, about)
        record = json.dumps(dataclasses.asdict(history))
        write_atomically(folder / "history.json", lambda path: path.write_text(record, encoding="utf-8"))
        if not validation:
            print("Nothing was held out to validate on: raise held_out and validation, or add pictures.")
        for world in validation:
            table = by_type(model, batch_worlds(model, [world], pictures_per_batch=32))
            print(world.name, table.to_string(index=False), sep="\n")
            if world.annotators:
                print(f"exact {overall(table):.4f}, official VQA accuracy {vqa_score(model, world):.4f}")
    accelerator.end_training()
    return 0


def _about(config: Config, options: argparse.Namespace, history: training.History) -> dict:
    """Notes about a model: its command, seconds and validation by type, and under "start" those of its start."""
    changes = [f"--set {change}" for change in options.set]
    command = " ".join(["python -m course_utils.vlm.finetune --config", options.config, *changes])
    about = {"command": command, "seconds": round(history.seconds), "by_type": history.by_type}
    if config.start_from:
        earlier = read_weights(_start(config))[1]
        about["start"] = {name: earlier[name] for name in earlier if name not in ("config", "prepared")}
    return about


if __name__ == "__main__":
    sys.exit(main())
