from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_utils.datasets import phantom

STUDY = phantom.draw(300, 0)


def test_patients_depend_on_the_seed_alone():
    again, other = phantom.draw(300, 0), phantom.draw(300, 1)
    assert again.patients == STUDY.patients and np.array_equal(again.x_rays, STUDY.x_rays)
    assert other.records != STUDY.records
    assert STUDY.x_rays.shape == (300, 48, 48) and STUDY.x_rays.dtype == np.float32 and np.isfinite(STUDY.x_rays).all()
    assert len(STUDY) == 300


@given(st.integers(0, 10_000))
def test_records_say_what_the_patient_has(seed):
    one = phantom.patient(np.random.default_rng(seed))
    first, *entries = one.record.split(", ")
    assert first.startswith(f"{one.age} year old ")
    for (name, words), present in zip(phantom.SYMPTOMS.items(), one.symptoms, strict=True):
        said = [entry for entry in entries if any(entry.endswith(each) for each in words)]
        assert len(said) == (present is not None), name
        if said:
            assert (said[0].split()[0] in phantom.NEGATIONS) == (not present)
    scars = [entry for entry in entries if entry.startswith("old scar in")]
    assert scars == ([] if one.scar is None else [f"old scar in the {phantom.ZONES[one.scar]} zone"])


@given(st.integers(0, 10_000))
def test_a_new_opacity_never_lies_on_the_scar(seed):
    one = phantom.patient(np.random.default_rng(seed))
    assert (one.new is not None) == (one.finding == phantom.OPACITY)
    assert one.new is None or one.new != one.scar
    assert len(set(one.opacities)) == len(one.opacities)


def test_findings_show_where_they_are():
    """The mean of many X-rays with an opacity in a zone is brighter there than the mean of clear ones."""
    rng, plain = np.random.default_rng(0), phantom.Patient(0, phantom.CLEAR, (None,) * 6, 50, None, False, None, "")

    def mean(**changes) -> np.ndarray:
        return np.mean([phantom.x_ray(dataclasses.replace(plain, **changes), rng) for _ in range(40)], axis=0)

    clear = mean()
    for zone, (y, x) in enumerate(phantom.CENTRES):
        more = mean(finding=phantom.OPACITY, new=zone) - clear
        assert np.hypot(*(np.array(np.unravel_index(more.argmax(), more.shape)) / 48 - (y, x))) < 0.1
        assert np.allclose(mean(scar=zone, scar_visible=True), mean(finding=phantom.OPACITY, new=zone), atol=0.4)
    assert (mean(finding=phantom.LARGE_HEART) - clear)[30:34, 12:36].mean() > 0.2
    assert (mean(finding=phantom.FLUID) - clear)[36:44].mean() > 0.05
    assert np.abs(mean(scar=2) - clear).max() < 0.4  # a scar that is not visible


def test_new_or_scar_has_one_opacity_and_a_scar():
    some = phantom.new_or_scar(200, 3)
    assert len(some) == 200
    assert all(one.scar is not None and len(one.opacities) == 1 and one.finding < 2 for one in some.patients)
    assert 0.3 < np.mean([one.new is not None for one in some.patients]) < 0.55


# --- the posterior --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [{}, {"record": False}, {"x_ray": False}])
def test_the_posterior_is_calibrated(known):
    """Of the cases with a posterior of p, a share of p has the disease; on average it is the prior."""
    rng = np.random.default_rng(1)
    patients = [phantom.patient(rng) for _ in range(4000)]
    found = np.stack([phantom.posterior(one, **known) for one in patients])
    truth = np.eye(5)[[one.diagnosis for one in patients]]
    np.testing.assert_allclose(found.sum(axis=1), 1)
    np.testing.assert_allclose(found.mean(axis=0), phantom.PRIOR, atol=0.02)
    for low, high in itertools.pairwise(np.linspace(0, 1, 6)):
        chosen = (found >= low) & (found < high)
        if chosen.sum() > 300:
            assert abs(truth[chosen].mean() - found[chosen].mean()) < 0.04


def test_the_x_rays_posterior_equals_counting():
    """The likelihood of what an X-ray shows, from frequencies among many patients."""
    rng = np.random.default_rng(2)
    patients = [phantom.patient(rng) for _ in range(30_000)]
    one = next(p for p in patients if p.finding == phantom.CLEAR and p.scar_visible)
    alike = [p for p in patients if len(p.opacities) == 1 and not p.fluid and not p.large_heart]
    counted = np.bincount([p.diagnosis for p in alike], minlength=5) / len(alike)
    np.testing.assert_allclose(phantom.posterior(one, record=False), counted, atol=0.025)


def test_ages_have_a_probability_of_one_together():
    for mean in phantom.AGE:
        assert sum(phantom._age_probability(age, mean) for age in range(18, 96)) == pytest.approx(1)


# --- reports --------------------------------------------------------------------------------------------------------


def test_a_correct_report_passes_and_each_wrong_claim_fails():
    one = next(p for p in STUDY.patients if p.new is not None and p.scar_visible)
    report = phantom.report(one)
    assert all(phantom.check_claims(report, one).values()) and all(phantom.check_claims(f" {report}. ", one).values())
    for number, name in enumerate(phantom.claims(one)):
        parts = report.split(", ")
        parts[number] = "something else"
        assert [claim for claim, right in phantom.check_claims(", ".join(parts), one).items() if not right] == [name]
    assert not any(phantom.check_claims(report.rpartition(", ")[0], one).values())  # a claim is missing
    assert not any(phantom.check_claims("", one).values())


def test_claims_name_zone_heart_and_fluid():
    one = phantom.Patient(3, phantom.HEART_AND_FLUID, (None,) * 6, 70, 1, True, None, "")
    assert phantom.report(one) == "no new opacity, scar in the left lower zone, large heart, fluid, heart failure"
