"""Measure lesson 13: ``python -m experiments.medical`` writes medical.csv and checkpoints/medical_reporter.safetensors.

Every fusion gets the same patients, steps and choice of learning rates; each rate is chosen on patients that are
neither trained nor tested on. Only phantom patients train what is shipped.

Columns of medical.csv: task, method, seed, score (accuracy; AUC for Open-I), low and high (95 % bootstrap over
patients), no_x_ray and no_record (the same with one of them missing), ece, learning_rate, steps, cpu_seconds, machine,
torch.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from torch import nn

from course_utils import results, training, vlm
from course_utils.applications import diagnosis
from course_utils.applications.diagnosis import AttentionLSTM, Concat, Late
from course_utils.checkpoints import save_weights
from course_utils.datasets import openi, phantom
from course_utils.encoders.text import MiniLM
from course_utils.encoders.x_ray import DIM, GRID, XRayEncoder, learn_where, read_x_rays
from course_utils.paths import DATA
from course_utils.vlm import bridges
from course_utils.vlm.conversations import Conversations
from course_utils.vlm.stage_one import StepLimit

SEEDS = (0, 1, 2)
RATES = (1e-3, 3e-3)
FUSIONS = {"late": Late, "concat": Concat, "attention + LSTM": AttentionLSTM}
PARTS = ("diagnosis", "new or scar", "open-i", "report", "report, blind")
TABLE = DATA / "medical.csv"
STEPS, WHERE_STEPS, SCAR_STEPS = 800, 400, 200
REPORT_PATIENTS, REPORT_STEPS, REPORT_RATE, REPORT_TESTED = 4800, 300, 2e-3, 300


def interval(scores: Callable[[np.ndarray], float], rows: int) -> tuple[float, float]:
    """95 % bootstrap interval over patients of a function of their rows."""
    rng = np.random.default_rng(0)
    return tuple(np.percentile([scores(rng.integers(rows, size=rows)) for _ in range(500)], (2.5, 97.5)))


def store(task: str, method: str, seed: int, correct: np.ndarray, **more) -> None:
    """Replace one row, with the mean of ``correct`` over patients as its score unless one is given."""
    low, high = more.pop("interval", None) or interval(lambda rows: correct[rows].mean(), len(correct))
    row = {"task": task, "method": method, "seed": seed, "score": more.pop("score", correct.mean())}
    columns = ("no_x_ray", "no_record", "ece", "learning_rate", "steps", "cpu_seconds")
    row |= {"low": low, "high": high, **{name: more.get(name) for name in columns}, **results.where_measured()}
    table = pd.read_csv(TABLE) if TABLE.exists() else pd.DataFrame(columns=list(row))
    older = (table["task"] == task) & (table["method"] == method) & (table["seed"] == seed)
    results.replace(TABLE, pd.concat([table[~older], pd.DataFrame([row])]) if len(table) else pd.DataFrame([row]))
    print(f"{task}: {method}, seed {seed}: {row['score']:.3f} [{low:.3f}, {high:.3f}]", flush=True)


# --- phantom patients ---------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Side:
    """Patients as models read them; the inputs hold X-rays in place of regions where a model trains its encoder."""

    patients: phantom.Patients
    inputs: diagnosis.Inputs
    targets: torch.Tensor

    def correct(self, model: nn.Module) -> np.ndarray:
        """Whether each answer is right."""
        return (diagnosis.logits(model, self.inputs).argmax(dim=1) == self.targets).numpy()

    def without(self, *missing: str) -> Side:
        """The same without the "X-ray" or the "record"."""
        regions, entries, mask = self.inputs
        inputs = (regions * ("X-ray" not in missing), entries, mask & ("record" not in missing))
        return dataclasses.replace(self, inputs=inputs)

    @property
    def zones(self) -> torch.Tensor:
        """The zone of each scar, 4 without one."""
        return torch.tensor([4 if one.scar is None else one.scar for one in self.patients.patients])


def sides(draw: Callable, target: Callable, sizes: Sequence[int], bert: MiniLM, encoder: XRayEncoder) -> list[Side]:
    """Patients to train, choose and test on, drawn with seeds of their own."""
    found = []
    for seed, size in enumerate(sizes, start=1):
        some = draw(size, seed)
        inputs = (read_x_rays(encoder, some.x_rays), *diagnosis.read_records(some.records, bert))
        found.append(Side(some, inputs, torch.tensor([target(one) for one in some.patients])))
    return found


@dataclasses.dataclass(frozen=True)
class Way:
    """How a model is trained: the patients' sides (train, choose, test), and what is learned before the answers."""

    kind: type[diagnosis.Fusion]
    sides: Sequence[Side]
    steps: int
    learn_scar: bool = False
    encoder: XRayEncoder | None = None  # trained on with the model; it then reads X-rays
    drop: float = 0.0

    def trained(self, rate: float, seed: int) -> nn.Module:
        """A model, trained from its seed."""
        torch.manual_seed(seed)
        train = self.sides[0]
        model = self.kind(len(train.targets.unique()))
        if self.learn_scar:
            nothing = torch.zeros(len(train.targets), GRID**2, DIM)
            diagnosis.learn_scar(model, (nothing, *train.inputs[1:]), train.zones, SCAR_STEPS, seed)
        if self.encoder is not None:
            model = EndToEnd(model, copy.deepcopy(self.encoder))
        return diagnosis.train(model, train.inputs, train.targets, self.steps, seed, rate, self.drop)

    def store(self, task: str, name: str, seed: int) -> None:
        """Choose the learning rate, and store the row on the test patients."""
        began = time.process_time()
        tried = [(self.trained(rate, seed), rate) for rate in RATES]
        seconds = (time.process_time() - began) / len(RATES)
        _, choose, test = self.sides
        model, rate = max(tried, key=lambda one: choose.correct(one[0]).mean())
        store(
            task, name, seed, test.correct(model), no_x_ray=test.without("X-ray").correct(model).mean(),
            no_record=test.without("record").correct(model).mean(), learning_rate=rate, steps=self.steps,
            ece=calibration_error(diagnosis.logits(model, test.inputs), test.targets), cpu_seconds=seconds,
        )  # fmt: skip


class EndToEnd(nn.Module):
    """A model that trains its encoder too, and reads X-rays."""

    def __init__(self, model: nn.Module, encoder: XRayEncoder) -> None:
        super().__init__()
        self.model, self.encoder = model, encoder.requires_grad_(True)

    def forward(self, x_rays, entries, mask):
        """Logits."""
        return self.model(self.encoder(x_rays), entries, mask)


def calibration_error(logits: torch.Tensor, targets: torch.Tensor, bins: int = 10) -> float:
    """Expected calibration error (Guo and others, 2017): mean distance of confidence and accuracy over ten bins."""
    confidence, answer = logits.softmax(dim=1).max(dim=1)
    gap = confidence - (answer == targets).float()
    of = (confidence * bins).long().clamp(max=bins - 1)
    return sum(gap[of == number].sum().abs() for number in range(bins)).item() / len(gap)


def diagnoses(seed: int, encoder: XRayEncoder, bert: MiniLM) -> None:
    """All rows of the task "diagnosis" with one seed."""
    task = "diagnosis"
    train, choose, test = sides(phantom.draw, lambda one: one.diagnosis, (6000, 2000, 2000), bert, encoder)
    for name, known in (("both", {}), ("record", {"x_ray": False}), ("X-ray", {"record": False})):
        best = np.array([phantom.posterior(one, **known).argmax() for one in test.patients.patients])
        store(task, f"best possible, {name}", seed, best == test.targets.numpy())
    store(task, "most frequent", seed, (test.targets == train.targets.mode().values).numpy())
    words = CountVectorizer()
    bag = LogisticRegression(max_iter=1000).fit(words.fit_transform(train.patients.records), train.targets)
    said = bag.predict(words.transform(test.patients.records))
    store(task, "record, bag of words", seed, said == test.targets.numpy())
    for name, missing in (("X-ray alone", "record"), ("record alone", "X-ray")):
        Way(Late, [side.without(missing) for side in (train, choose, test)], STEPS).store(task, name, seed)
    for name, kind in FUSIONS.items():
        for drop in (0.0, 0.15):
            way = Way(kind, (train, choose, test), STEPS, learn_scar=True, drop=drop)
            way.store(task, f"{name}, dropout" if drop else name, seed)


def new_or_scar(seed: int, encoder: XRayEncoder, bert: MiniLM) -> None:
    """All rows of the task "new or scar" with one seed: which side has learned where before the answers."""
    task = "new or scar"
    where = sides(phantom.new_or_scar, lambda one: int(one.new is not None), (3000, 1000, 1500), bert, encoder)
    raw = [dataclasses.replace(one, inputs=(torch.tensor(one.patients.x_rays), *one.inputs[1:])) for one in where]
    torch.manual_seed(seed)
    fresh = XRayEncoder()
    store(task, "most frequent", seed, (where[2].targets == where[0].targets.mode().values).numpy())
    Way(Late, [side.without("X-ray") for side in where], 400, True).store(task, "record alone", seed)
    for name, kind in FUSIONS.items():
        Way(kind, raw, 400, encoder=fresh).store(task, f"{name}, answers only", seed)
        Way(kind, where, 400, True).store(task, f"{name}, both learned where", seed)
    Way(AttentionLSTM, where, 400).store(task, "attention + LSTM, X-ray learned where", seed)
    Way(AttentionLSTM, raw, 400, True, fresh).store(task, "attention + LSTM, record learned where", seed)
    Way(Concat, raw, 800, True, encoder).store(task, "concat, both learned where, encoder trained on", seed)


# --- real patients ------------------------------------------------------------------------------------------------


def real_patients(seed: int, bert: MiniLM) -> None:
    """AUC on Open-I, five folds of patients drawn from the seed: pictures' visual words, the indication, and both."""
    used = [one for one in openi.reports() if one.indication and one.visual_words]
    codes = [[f"{place} {word}" for place, words in enumerate(one.visual_words) for word in words] for one in used]
    codes = [[*some, *(code.split(" ", 1)[1] for code in some)] for some in codes]
    pictures = CountVectorizer(analyzer=lambda some: some, binary=True, min_df=3).fit_transform(codes)
    distinct = sorted({one.indication for one in used}, key=len)
    row = {text: number for number, text in enumerate(distinct)}
    records = 3 * bert.embed(distinct).numpy()[[row[one.indication] for one in used]]
    for finding in ("effusion", "cardiomegaly"):
        target = np.array([one.has(finding) for one in used])
        odds = {"X-ray": np.zeros(len(used)), "record": np.zeros(len(used))}
        for fit, held in StratifiedKFold(5, shuffle=True, random_state=seed).split(records, target):
            for name, inputs, strength in (("X-ray", pictures, 0.1), ("record", records, 0.3)):
                model = LogisticRegression(C=strength, max_iter=500).fit(inputs[fit], target[fit])
                odds[name][held] = model.decision_function(inputs[held])
        odds["both"] = odds["X-ray"] + odds["record"]
        for name, values in odds.items():
            between = interval(lambda rows, t=target, v=values: roc_auc_score(t[rows], v[rows]), len(used))
            store(f"Open-I, {finding}", name, seed, target, score=roc_auc_score(target, values), interval=between)


# --- the language model -------------------------------------------------------------------------------------------


def report(seed: int, encoder: XRayEncoder, blind: bool = False) -> None:
    """Train the language model to report, with the X-ray or blind; score each claim on patients that are new to it."""
    began = time.process_time()
    train, test = phantom.draw(REPORT_PATIENTS, 11), phantom.draw(REPORT_TESTED, 12)
    torch.manual_seed(seed)
    model = diagnosis.reporter(bridges.Blind(4 * DIM, 576, tokens=9) if blind else diagnosis.XRayBridge(576, encoder))
    measure(model, train)
    turns = [[diagnosis.report_turn(one)] for one in train.patients]
    states = vlm.precompute_text(model.llm, model.tokenizer, turns, diagnosis.JOIN_LAYER)
    x_rays = torch.tensor(train.x_rays)
    batches = Conversations(x_rays, turns, model.tokenizer, shuffle=True, seed=seed, text_states=states)
    options = {"epochs": 1, "learning_rate": REPORT_RATE, "weight_decay": 0.0, "progress": False}
    training.fit(model, StepLimit(batches, REPORT_STEPS), **options)
    seconds = time.process_time() - began
    prompts = [diagnosis.report_turn(one).prompt for one in test.patients]
    said = model.answer(torch.tensor(test.x_rays), prompts)
    claims = [phantom.check_claims(*pair) for pair in zip(said, test.patients, strict=True)]
    method, more = "language model, blind" if blind else "language model", {"learning_rate": REPORT_RATE}
    for name in claims[0]:
        found = np.array([one[name] for one in claims])
        store(f"report, {name}", method, seed, found, steps=REPORT_STEPS, cpu_seconds=seconds, **more)
    if seed == 0 and not blind:
        about = {"command": "python -m experiments.medical", "trained on": "phantom patients alone", "seed": seed}
        save_weights(vlm.compact(model), diagnosis.REPORTER, about)


def measure(model: vlm.VisionLanguageModel, train: phantom.Patients) -> None:
    """Give the bridge the scale of the features and of the words of reports."""
    words = [claim for one in train.patients[:100] for claim in phantom.claims(one).values()]
    states = vlm.word_states(model.llm, model.tokenizer, sorted(set(words)), diagnosis.JOIN_LAYER)
    seeing = isinstance(model.bridge, diagnosis.XRayBridge)
    features = model.bridge.cells(torch.tensor(train.x_rays[:500])) if seeing else torch.zeros(2, 9, 256)
    model.bridge.measure(features, states)


def main(parts: Sequence[str], seeds: Sequence[int]) -> None:
    """Measure the parts with each seed; every row is stored at once, and seed 0 of the language model is shipped."""
    bert = MiniLM()
    for seed in seeds:
        began = time.process_time()
        encoder = learn_where(phantom.draw(6000, 1), WHERE_STEPS, seed)
        print(f"seed {seed}: where learned in {time.process_time() - began:.0f} CPU s", flush=True)
        if "diagnosis" in parts:
            diagnoses(seed, encoder, bert)
        if "new or scar" in parts:
            new_or_scar(seed, encoder, bert)
        if "open-i" in parts:
            real_patients(seed, bert)
        if "report" in parts:
            report(seed, encoder)
        if "report, blind" in parts:
            report(seed, encoder, blind=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    options = parser.parse_args()
    main(options.parts, options.seeds)
