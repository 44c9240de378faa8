"""Trackers that cannot be used say so in one line; what they record is tested in test_training.py."""

from __future__ import annotations

import sys

import faults
import pytest

from course_utils import trackers


def test_tensorboard_in_a_file_or_a_folder_without_permission_is_refused(tmp_path):
    (tmp_path / "taken").write_text("a file")
    for folder in (tmp_path / "taken", tmp_path / "taken" / "run"):
        with pytest.raises(trackers.TrackerError, match="^Nothing can be written in .*taken.* choose another"):
            trackers.TensorBoardTracker(folder)
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(trackers.TrackerError, match="Permission denied"):
            faults.elsewhere(faults.as_ordinary_user, trackers.TensorBoardTracker, tmp_path / "run")
    finally:
        tmp_path.chmod(0o755)


def test_wandb_without_a_network_or_an_account_gives_its_reason_and_a_remedy(monkeypatch):
    class Fake:
        class Error(Exception):
            pass

        @classmethod
        def init(cls):
            raise cls.Error("No API key configured.\nUse `wandb login`.")

    monkeypatch.setitem(sys.modules, "wandb", Fake)
    with pytest.raises(trackers.TrackerError) as caught:
        trackers.WandbTracker()
    assert str(caught.value) == (
        "Weights & Biases could not start: No API key configured. To record on this machine only, set "
        "WANDB_MODE=offline."
    )
