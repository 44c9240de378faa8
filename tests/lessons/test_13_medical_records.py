"""Functions that lesson 13 defines itself: readers of files in the official layouts, calibration, DICOM."""

from __future__ import annotations

import json

import numpy as np
import pydicom
import pytest
import torch
from lesson_code import lesson_code
from pydicom.data import get_testdata_file
from sklearn.calibration import calibration_curve

lesson = lesson_code(
    "13", "read_medmnist", "read_vqa_rad", "calibration_error", "read_dicom", "without_identity", "IDENTITY", "missing"
)


def test_medmnist_files_are_read(tmp_path):
    rng, arrays = np.random.default_rng(0), {}
    for split, rows in (("train", 5), ("val", 2), ("test", 3)):
        arrays[f"{split}_images"] = rng.integers(256, size=(rows, 28, 28), dtype=np.uint8)
        arrays[f"{split}_labels"] = rng.integers(2, size=(rows, 1), dtype=np.uint8)
    np.savez_compressed(tmp_path / "pneumoniamnist.npz", **arrays)
    pictures, labels = lesson.read_medmnist(tmp_path / "pneumoniamnist.npz", "val")
    assert np.array_equal(pictures, arrays["val_images"]) and np.array_equal(labels, arrays["val_labels"])
    with pytest.raises(ValueError, match="not dev_images"):
        lesson.read_medmnist(tmp_path / "pneumoniamnist.npz", "dev")
    np.savez(tmp_path / "short.npz", train_images=arrays["train_images"], train_labels=arrays["val_labels"])
    with pytest.raises(ValueError, match="5 pictures and 2 labels"):
        lesson.read_medmnist(tmp_path / "short.npz")


def test_vqa_rad_is_read(tmp_path):
    row = {
        "qid": 0, "phrase_type": "freeform", "qid_linked_id": "x", "image_case_url": "", "image_name": "synpic1.jpg",
        "image_organ": "CHEST", "question": "Is there an effusion? ", "question_type": "PRES", "answer": "Yes",
        "answer_type": "CLOSED ", "question_rephrase": "NULL",
    }  # fmt: skip
    rows = [row, {**row, "phrase_type": "test_freeform", "answer": 2, "answer_type": "OPEN"}]
    file = tmp_path / "VQA_RAD Dataset Public.json"
    file.write_text(json.dumps(rows), encoding="utf-8")
    with pytest.raises(ValueError, match=r"lacks 2 pictures, the first is synpic1\.jpg"):
        lesson.read_vqa_rad(file, tmp_path)
    (tmp_path / "synpic1.jpg").touch()
    first, second = lesson.read_vqa_rad(file, tmp_path)
    assert first == {
        "picture": tmp_path / "synpic1.jpg", "question": "Is there an effusion?", "answer": "yes", "closed": True,
        "test": False,
    }  # fmt: skip
    assert (second["answer"], second["closed"], second["test"]) == ("2", False, True)
    file.write_text(json.dumps([{"question": "?"}]), encoding="utf-8")
    with pytest.raises(ValueError, match=r"not VQA-RAD's JSON"):
        lesson.read_vqa_rad(file, tmp_path)


def test_the_calibration_error_equals_scikit_learns_bins():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.2, 1, 2000)
    correct = rng.random(2000) < confidence**2
    share, mean = calibration_curve(correct, confidence, n_bins=10)
    weights = np.histogram(confidence, bins=np.linspace(0, 1, 11))[0]
    expected = (np.abs(share - mean) * weights[weights > 0]).sum() / 2000
    found = lesson.calibration_error(torch.tensor(confidence), torch.tensor(correct))
    assert found == pytest.approx(expected, abs=1e-6) and found > 0.1


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm"])
def test_a_window_equals_pydicoms(name):
    file = pydicom.dcmread(get_testdata_file(name, download=False))
    file.WindowCenter, file.WindowWidth = 300, 900
    theirs = pydicom.pixels.apply_windowing(pydicom.pixels.apply_rescale(file.pixel_array, file), file)
    ours = lesson.read_dicom(file, 300, 900)
    shift = float(file.get("RescaleIntercept", 0))  # pydicom spreads the window over all values that 16 bits can hold
    np.testing.assert_allclose(ours, (theirs - shift + 2**15) / (2**16 - 1), atol=1e-6)
    file.PhotometricInterpretation = "MONOCHROME1"
    np.testing.assert_allclose(lesson.read_dicom(file, 300, 900), 1 - ours)


def test_identity_is_removed_from_header_and_pixels():
    file = pydicom.dcmread(get_testdata_file("CT_small.dcm", download=False))
    assert str(file.PatientName)
    corner = (slice(5, 20), slice(0, 60))
    clean = lesson.without_identity(file, corner)
    assert all(str(clean.get(field, "")) == "" for field in lesson.IDENTITY)
    assert np.unique(clean.pixel_array[corner]).size == 1
    assert np.array_equal(clean.pixel_array[20:], file.pixel_array[20:])
    assert not any(element.tag.is_private for element in clean.iterall())
    assert str(file.PatientName), "the file that was given must stay as it was"


def test_a_missing_side_is_missing():
    regions, entries, mask = torch.ones(2, 3, 4), torch.ones(2, 2, 5), torch.tensor([[True, True], [True, False]])
    assert lesson.missing((regions, entries, mask), "X-ray")[0].abs().sum() == 0
    without = lesson.missing((regions, entries, mask), "record")
    assert not without[2].any() and torch.equal(without[0], regions)
