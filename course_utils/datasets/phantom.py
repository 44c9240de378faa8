"""Phantom patients: synthetic chest X-rays and records, of which the best possible diagnosis is known.

A disease is drawn first; it causes a finding in the chest and symptoms in the record. The X-ray follows Beer and
Lambert's law with Poisson noise. An old scar, if there is one, stands in the record with its place and may be visible:
it looks exactly like a new opacity, so only the record tells which is which. Every probability is stated here, so
:func:`posterior` is exact. Nothing was measured on patients.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DIAGNOSES = ("bronchitis", "pneumonia", "tumour", "heart failure", "embolism")
PRIOR = np.array([0.30, 0.22, 0.16, 0.16, 0.16])
FINDINGS = ("clear", "opacity", "large heart", "fluid", "large heart and fluid")
CLEAR, OPACITY, LARGE_HEART, FLUID, HEART_AND_FLUID = range(5)
FINDING_GIVEN = np.array(  # (diagnoses, findings)
    [[0.95, 0.05, 0, 0, 0], [0.10, 0.80, 0, 0.10, 0], [0.10, 0.80, 0, 0.10, 0], [0.05, 0, 0.50, 0.05, 0.40],
     [0.80, 0.05, 0, 0.15, 0]]
)  # fmt: skip
SYMPTOMS = {  # each with ways to write it
    "fever": ("fever for three days", "high temperature", "fever"),
    "cough": ("productive cough", "coughing at night", "persistent cough"),
    "weight loss": ("weight loss of eight kilos", "loss of weight"),
    "smoking": ("smoking twenty a day", "heavy smoking"),
    "swollen legs": ("swollen legs", "swelling of the ankles"),
    "chest pain": ("sudden chest pain", "stabbing pain on breathing in"),
}
SYMPTOM_GIVEN = np.array(  # (diagnoses, symptoms)
    [[0.35, 0.9, 0.03, 0.3, 0.03, 0.05], [0.85, 0.8, 0.05, 0.3, 0.03, 0.3], [0.10, 0.6, 0.70, 0.8, 0.05, 0.1],
     [0.05, 0.3, 0.05, 0.4, 0.8, 0.1], [0.15, 0.2, 0.03, 0.3, 0.35, 0.85]]
)  # fmt: skip
NEGATIONS = ("no", "denies", "without")
HEALTHY = ("no old scars", "never ill before")
AGE, AGE_DEVIATION = np.array([40, 50, 66, 74, 55]), 14.0
ZONES = ("left upper", "left lower", "right upper", "right lower")
CENTRES = ((0.30, 0.70), (0.62, 0.74), (0.30, 0.30), (0.62, 0.26))  # (y, x): the patient's left is on our right
MENTIONED, SCARRED, VISIBLE = 0.7, 0.5, 0.5  # a symptom in the record; a scar; a scar that the X-ray shows
SIDE = 48  # pixels


@dataclass(frozen=True)
class Patient:
    """A phantom patient.

    Attributes:
        diagnosis: Index in ``DIAGNOSES``.
        finding: Index in ``FINDINGS``.
        symptoms: Present, absent (False) or not mentioned (None), in the order of ``SYMPTOMS``.
        age: In years.
        scar: Zone of an old scar, an index in ``ZONES``, or None. The record always mentions it.
        scar_visible: Whether the X-ray shows it.
        new: Zone of a new opacity, never that of the scar, or None.
        record: Entries separated by commas.
    """

    diagnosis: int
    finding: int
    symptoms: tuple[bool | None, ...]
    age: int
    scar: int | None
    scar_visible: bool
    new: int | None
    record: str

    @property
    def large_heart(self) -> bool:
        """Whether the heart is large."""
        return self.finding in (LARGE_HEART, HEART_AND_FLUID)

    @property
    def fluid(self) -> bool:
        """Whether there is fluid in the chest."""
        return self.finding in (FLUID, HEART_AND_FLUID)

    @property
    def opacities(self) -> list[int]:
        """Zones in which the X-ray shows an opacity, new or old."""
        return [zone for zone in (self.new, self.scar if self.scar_visible else None) if zone is not None]


def patient(rng: np.random.Generator) -> Patient:
    """Draw a patient."""
    diagnosis = int(rng.choice(5, p=PRIOR))
    finding = int(rng.choice(5, p=FINDING_GIVEN[diagnosis]))
    present, mentioned = rng.random(6) < SYMPTOM_GIVEN[diagnosis], rng.random(6) < MENTIONED
    symptoms = tuple(bool(has) if said else None for has, said in zip(present, mentioned, strict=True))
    scar = int(rng.integers(4)) if rng.random() < SCARRED else None
    visible = scar is not None and rng.random() < VISIBLE
    new = int(rng.choice([zone for zone in range(4) if zone != scar])) if finding == OPACITY else None
    age = int(np.clip(rng.normal(AGE[diagnosis], AGE_DEVIATION), 18, 95))
    said = zip(SYMPTOMS.values(), symptoms, strict=True)
    entries = [_entry(words, has, rng) for words, has in said if has is not None]
    entries.append(f"old scar in the {ZONES[scar]} zone" if scar is not None else str(rng.choice(HEALTHY)))
    rng.shuffle(entries)
    record = ", ".join([f"{age} year old {rng.choice(['man', 'woman'])}", *entries])
    return Patient(diagnosis, finding, symptoms, age, scar, bool(visible), new, record)


def _entry(words: Sequence[str], present: bool, rng: np.random.Generator) -> str:
    said = str(rng.choice(words))
    return said if present else f"{rng.choice(NEGATIONS)} {said}"


_Y, _X = np.mgrid[0:SIDE, 0:SIDE] / SIDE


def _ellipsoid(cy: float, cx: float, ry: float, rx: float) -> np.ndarray:
    """Relative path length of a ray through an ellipsoid, 1 in its middle."""
    return np.sqrt(np.maximum(0, 1 - ((_Y - cy) / ry) ** 2 - ((_X - cx) / rx) ** 2))


def x_ray(one: Patient, rng: np.random.Generator, photons: float = 1200) -> np.ndarray:
    """Draw an X-ray, (48, 48) float32: log attenuation as films show it, bone and fluid high; about -2.5 to 5."""
    density = 1.6 * _ellipsoid(0.5 + rng.normal(0, 0.01), 0.5, 0.62, 0.46)  # soft tissue
    size = 1 + rng.normal(0, 0.05)
    for cx in (0.30, 0.70):  # air in the lungs
        cy, cx = 0.47 + rng.normal(0, 0.01), cx + rng.normal(0, 0.012)
        density -= 0.95 * _ellipsoid(cy, cx, 0.34 * size, 0.155 * size)
    width = 0.20 if one.large_heart else 0.125
    cy, cx = 0.66 + rng.normal(0, 0.01), 0.54 + rng.normal(0, 0.01)
    density += 0.75 * _ellipsoid(cy, cx, 0.15, width + rng.normal(0, 0.008))
    density += 0.6 * np.exp(-(((_X - 0.5) / 0.035) ** 2))  # spine
    phase, chest = rng.normal(0, 0.02), (np.abs(_X - 0.5) > 0.06) & (np.abs(_X - 0.5) < 0.4)
    for rib in range(7):
        arc = (_Y - (0.14 + phase + 0.1 * rib) - 0.25 * (_X - 0.5) ** 2) / 0.012
        density += 0.13 * np.exp(-(arc**2)) * chest
    for zone in one.opacities:
        cy, cx = CENTRES[zone] + rng.normal(0, (0.025, 0.02))
        radius = 0.055 + abs(rng.normal(0, 0.012))
        density += 0.55 * np.exp(-((_Y - cy) ** 2 + (_X - cx) ** 2) / (1.2 * radius**2))
    if one.fluid:
        cx = rng.choice((0.28, 0.72))
        level = (_Y - (0.70 - 1.8 * (_X - cx) ** 2)) / 0.012
        density += 0.7 / (1 + np.exp(-level.clip(-50, 50))) * (np.abs(_X - cx) < 0.17)
    counts = rng.poisson(np.maximum(photons * np.exp(-density) * rng.uniform(0.85, 1.15), 0.1))
    return ((-np.log((counts + 1) / photons) - 1.0) / 0.5).astype(np.float32)


@dataclass(frozen=True)
class Patients:
    """Phantom patients with their X-rays, (n, 48, 48) float32."""

    patients: list[Patient]
    x_rays: np.ndarray

    def __len__(self) -> int:
        return len(self.patients)

    @property
    def records(self) -> list[str]:
        """The record of each."""
        return [one.record for one in self.patients]

    @property
    def diagnoses(self) -> np.ndarray:
        """The index of each diagnosis, (n,)."""
        return np.array([one.diagnosis for one in self.patients])


def draw(number: int, seed: int) -> Patients:
    """Draw patients and their X-rays; another seed gives other patients."""
    rng = np.random.default_rng(seed)
    patients = [patient(rng) for _ in range(number)]
    return Patients(patients, np.stack([x_ray(one, rng) for one in patients]))


def new_or_scar(number: int, seed: int) -> Patients:
    """Draw patients with a scar in the record and exactly one opacity in the X-ray: is it the scar, or is it new?"""
    rng, patients = np.random.default_rng(seed), []
    while len(patients) < number:
        one = patient(rng)
        if one.scar is not None and one.finding in (CLEAR, OPACITY) and len(one.opacities) == 1:
            patients.append(one)
    return Patients(patients, np.stack([x_ray(one, rng) for one in patients]))


# --- the best possible answer -------------------------------------------------------------------------------------


def posterior(one: Patient, *, record: bool = True, x_ray: bool = True) -> np.ndarray:
    """Exact probability of each diagnosis, (5,), for a reader who sees every finding in the X-ray without error.

    With record and X-ray, the reader knows which opacity is the scar; with the X-ray alone, only how many there are.
    """
    likelihood = PRIOR.copy()
    if record:
        for number, has in enumerate(one.symptoms):
            if has is not None:
                likelihood *= SYMPTOM_GIVEN[:, number] if has else 1 - SYMPTOM_GIVEN[:, number]
        likelihood *= [_age_probability(one.age, mean) for mean in AGE]
    if x_ray:
        likelihood *= FINDING_GIVEN[:, one.finding] if record else _findings_alone(one)
    return likelihood / likelihood.sum()


def _age_probability(age: int, mean: float) -> float:
    """Probability of an age rounded down, with all below 18 counted as 18 and all above 95 as 95."""

    def below(value: float) -> float:
        return 0.5 * (1 + math.erf((value - mean) / (AGE_DEVIATION * math.sqrt(2))))

    return (below(age + 1) if age < 95 else 1.0) - (below(age) if age > 18 else 0.0)


def _findings_alone(one: Patient) -> np.ndarray:
    """Likelihood of what an X-ray shows without the record, (5,): an opacity may be new or an old scar."""
    shown, total = len(one.opacities), np.zeros(5)
    for finding in (CLEAR, OPACITY) if one.finding in (CLEAR, OPACITY) else (one.finding,):
        scars = shown - (finding == OPACITY)
        if scars in (0, 1):
            total += FINDING_GIVEN[:, finding] * (SCARRED * VISIBLE if scars else 1 - SCARRED * VISIBLE)
    return total


# --- a report -----------------------------------------------------------------------------------------------------


def claims(one: Patient) -> dict[str, str]:
    """What a correct report says, claim by claim."""
    visible = one.scar if one.scar_visible else None
    return {
        "new opacity": "no new opacity" if one.new is None else f"new opacity in the {ZONES[one.new]} zone",
        "scar": "no scar seen" if visible is None else f"scar in the {ZONES[visible]} zone",
        "heart": "large heart" if one.large_heart else "normal heart",
        "fluid": "fluid" if one.fluid else "no fluid",
        "diagnosis": DIAGNOSES[one.diagnosis],
    }


def report(one: Patient) -> str:
    """A report of one sentence: all claims, separated by commas."""
    return ", ".join(claims(one).values())


def check_claims(text: str, one: Patient) -> dict[str, bool]:
    """Whether each claim of a report is the correct one; a claim that is missing or out of its place is wrong."""
    said = [part.strip() for part in text.strip().rstrip(".").split(",")]
    return {name: len(said) == 5 and said[number] == right for number, (name, right) in enumerate(claims(one).items())}
