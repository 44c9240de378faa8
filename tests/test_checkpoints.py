from __future__ import annotations

import pytest
import torch
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
