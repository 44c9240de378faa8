"""Checkpoints: whole or an error, whatever is killed, full, forbidden or damaged."""

from __future__ import annotations

import os
import random
import stat

import faults
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from course_utils import checkpoints


def model(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))


def weights_of(model: nn.Module) -> torch.Tensor:
    return torch.cat([value.detach().flatten() for value in model.state_dict().values()])


def test_a_checkpoint_brings_weights_and_notes_back(tmp_path):
    one, other = model(1), model(2)
    checkpoints.save_checkpoint(one, tmp_path / "model.safetensors", {"epochs": 3})
    assert checkpoints.load_checkpoint(other, tmp_path / "model.safetensors") == {"epochs": 3}
    assert torch.equal(weights_of(one), weights_of(other))


def test_checkpoints_that_cannot_be_used_say_why(tmp_path):
    one, path = model(0), tmp_path / "model.safetensors"
    with pytest.raises(checkpoints.CheckpointError, match="There is no checkpoint"):
        checkpoints.load_checkpoint(one, path)
    checkpoints.save_checkpoint(one, path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(checkpoints.CheckpointError, match="damaged"):
        checkpoints.load_checkpoint(one, path)
    checkpoints.save_checkpoint(nn.Linear(2, 2), path)
    before = weights_of(one)
    with pytest.raises(checkpoints.CheckpointError, match="another model"):
        checkpoints.load_checkpoint(one, path)
    assert torch.equal(weights_of(one), before)


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    checkpoints.save_checkpoint(model(1), path)
    kept = path.read_bytes()

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints.safetensors.torch, "save_file", full)
    with pytest.raises(checkpoints.CheckpointError, match="could not be written.*No space left"):
        checkpoints.save_checkpoint(model(2), path)
    assert path.read_bytes() == kept and list(tmp_path.iterdir()) == [path]


def test_a_frozen_model_is_the_saved_one_and_learns_nothing(tmp_path):
    one, other = model(1), model(2)
    checkpoints.save_checkpoint(one, tmp_path / "model.safetensors")
    frozen = checkpoints.load_frozen(other, tmp_path / "model.safetensors")
    assert torch.equal(weights_of(frozen), weights_of(one)) and not frozen.training
    assert not any(weight.requires_grad for weight in frozen.parameters())


# --- faults -----------------------------------------------------------------------------------------------------


def number_in(path) -> int:
    """The number that a function of ``SAVES`` wrote, after every weight has been compared with it."""
    if path.read_bytes()[:2] == b"PK":  # torch.save makes a zip file
        state = torch.load(path, weights_only=True)
        weights, number = state["weights"], state["number"]
    else:
        weights, notes = checkpoints.read_weights(path)
        weights, number = weights["weights"], notes["number"]
    assert (weights == number).all() and len(weights) == 2_000_000
    return number


SAVES = pytest.mark.parametrize("save", [faults.save, faults.save_state])


@SAVES
@pytest.mark.parametrize("longest", [0, 1, 1000, 4_000_000, 8_000_000])
def test_a_write_that_fails_half_way_leaves_the_old_checkpoint(tmp_path, longest, save):
    path = tmp_path / "model"
    save(1, path)
    with pytest.raises(checkpoints.CheckpointError, match=r"model could not be written.*Free some space"):
        faults.elsewhere(faults.with_short_files, longest, save, 2, path)
    assert number_in(path) == 1 and list(tmp_path.iterdir()) == [path]


@SAVES
def test_a_process_killed_at_any_moment_leaves_a_whole_checkpoint(tmp_path, save):
    path, rng = tmp_path / "model", random.Random(0)
    for _ in range(8):
        faults.kill_after(rng.uniform(0, 0.1), save, path)
        number_in(path)
    assert len(list(tmp_path.iterdir())) > 1, "no kill hit a write"


@SAVES
def test_two_processes_that_write_the_same_checkpoint_do_not_mix(tmp_path, save):
    path = tmp_path / "model"
    with faults.ProcessPoolExecutor(2, faults.PROCESSES) as pool:
        writes = [pool.submit(save, number, path) for number in range(20)]
        writes[0].result()
        seen = {number_in(path) for _ in range(15)}
        for write in writes:
            write.result()
    assert seen <= set(range(20)) and number_in(path) in range(20)
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_may_not_be_written_is_named(tmp_path):
    path = tmp_path / "run" / "model.safetensors"
    faults.save(1, path)
    path.parent.chmod(0o555)
    try:
        with pytest.raises(checkpoints.CheckpointError, match="could not be written .*Permission denied"):
            faults.elsewhere(faults.as_ordinary_user, faults.save, 2, path)
    finally:
        path.parent.chmod(0o755)
    assert number_in(path) == 1


def test_a_file_that_may_not_be_read_is_not_called_missing_or_damaged(tmp_path):
    path = tmp_path / "model.safetensors"
    faults.save(1, path)
    path.chmod(0)
    with pytest.raises(checkpoints.CheckpointError, match=r"cannot be read \(Permission denied\)"):
        faults.elsewhere(faults.as_ordinary_user, checkpoints.read_weights, path)


@given(st.data())
def test_a_checkpoint_cut_anywhere_is_damaged(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("cut") / "model.safetensors"
    checkpoints.save_checkpoint(model(0), path, {"epochs": 3})
    os.truncate(path, data.draw(st.integers(0, path.stat().st_size - 1)))
    with pytest.raises(checkpoints.CheckpointError, match="is damaged .*Make or fetch it again"):
        checkpoints.read_weights(path)


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o002])
def test_others_may_read_a_checkpoint_as_far_as_the_umask_lets_them(tmp_path, umask):
    path, before = tmp_path / "run" / "model.safetensors", os.umask(umask)
    try:
        checkpoints.save_checkpoint(model(0), path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
        path.chmod(0o640)  # a choice of its owner stays
        checkpoints.save_checkpoint(model(1), path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_what_is_not_a_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(checkpoints.CheckpointError, match="could not be written: it is not a file"):
            checkpoints.save_checkpoint(model(0), path)
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(checkpoints.CheckpointError, match="could not be written"):
        checkpoints.save_checkpoint(model(0), tmp_path / "taken" / "model.safetensors")
