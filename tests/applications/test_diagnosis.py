from __future__ import annotations

import pytest
import torch

from course_utils.applications import diagnosis
from course_utils.applications.diagnosis import AttentionLSTM, Concat, Late
from course_utils.checkpoints import load_checkpoint
from course_utils.datasets import phantom
from course_utils.encoders.text import MiniLM
from course_utils.encoders.x_ray import XRayEncoder

KINDS = pytest.mark.parametrize("kind", [Late, Concat, AttentionLSTM])


def inputs(cases: int = 6, entries: int = 4, seed: int = 0) -> diagnosis.Inputs:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.arange(cases) % entries + 1
    mask = torch.arange(entries) < lengths[:, None]
    vectors = torch.randn(cases, entries, MiniLM.DIM, generator=generator) / 20
    return torch.randn(cases, 36, 64, generator=generator), vectors * mask[..., None], mask


@KINDS
def test_padding_changes_nothing(kind):
    torch.manual_seed(0)
    model, (regions, entries, mask) = kind(5).eval(), inputs()
    found = model(regions, entries, mask)
    assert found.shape == (6, 5)
    spoilt = torch.where(mask[..., None], entries, torch.full_like(entries, 9.0))
    longer = torch.cat([spoilt, torch.full((6, 2, MiniLM.DIM), -5.0)], dim=1)
    torch.testing.assert_close(model(regions, longer, torch.nn.functional.pad(mask, (0, 2))), found)
    for row in range(6):
        alone = model(regions[[row]], entries[[row], : mask[row].sum()], mask[[row], : mask[row].sum()])
        torch.testing.assert_close(alone[0], found[row], rtol=1e-4, atol=1e-5)


@KINDS
def test_a_missing_record_is_the_same_for_all(kind):
    torch.manual_seed(0)
    model, (regions, entries, mask) = kind(5).eval(), inputs()
    same = regions[:1].expand_as(regions)
    missing = model(same, entries, mask & False)
    torch.testing.assert_close(missing, missing[:1].expand_as(missing))
    assert (model(regions, entries, mask & False)[0] - missing[1]).abs().max() < 1e-5  # the X-ray of the first case
    assert not torch.allclose(model(regions, entries, mask & False)[1], missing[1])


@KINDS
def test_both_modalities_reach_the_answer(kind):
    torch.manual_seed(0)
    model, (regions, entries, mask) = kind(2).eval(), inputs()
    regions.requires_grad_(), entries.requires_grad_()
    model(regions, entries, mask).sum().backward()
    assert regions.grad.abs().sum() > 0
    assert (entries.grad.abs().sum(dim=-1) > 0).equal(mask)


def test_late_fusion_is_a_sum_of_one_score_for_each_modality():
    """Exchanging records between two patients leaves the sum of their logits as it was: it cannot match places."""
    torch.manual_seed(0)
    regions, entries, mask = inputs(2, 3)
    mask = mask | True
    for kind, adds in ((Late, True), (Concat, False), (AttentionLSTM, False)):
        model = kind(2).eval()
        own, exchanged = model(regions, entries, mask).sum(dim=0), model(regions, entries.flip(0), mask).sum(dim=0)
        assert torch.allclose(own, exchanged, atol=1e-6) == adds, kind


def test_attention_weights_are_kept_and_sum_to_one():
    model, parts = AttentionLSTM(5).eval(), inputs()
    model(*parts)
    assert model.weights.shape == (6, 5, 36)
    torch.testing.assert_close(model.weights.sum(dim=-1), torch.ones(6, 5))


@KINDS
def test_training_learns_and_depends_on_the_seed_alone(kind):
    parts = inputs(128, 3)
    targets = (parts[0][:, :, 0].amax(dim=1) > 2.1).long()

    def trained() -> torch.Tensor:
        torch.manual_seed(0)
        model = diagnosis.train(kind(2), parts, targets, steps=60, seed=0, learning_rate=1e-2)
        assert not model.training
        return diagnosis.logits(model, parts)

    found = trained()
    assert ((found.argmax(dim=1) == targets).float().mean() > 0.8) and torch.equal(found, trained())


def test_dropped_modalities_are_really_missing():
    seen = []

    class Spy(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(2))

        def forward(self, regions, entries, mask):
            seen.append((regions.flatten(1).abs().sum(dim=1) > 0, mask.any(dim=1)))
            return self.weight.expand(len(mask), 2)

    diagnosis.train(Spy(), inputs(640, 3), torch.zeros(640).long(), steps=20, seed=0, drop=0.3)
    x_ray, record = (torch.cat(part).float() for part in zip(*seen, strict=True))
    assert abs(x_ray.mean() - 0.7) < 0.05 and abs(record.mean() - 0.7) < 0.05
    assert (x_ray + record).min() == 1  # never both


def test_learning_the_scar_teaches_the_record_side_alone():
    torch.manual_seed(0)
    parts = inputs(96, 2)
    zones = torch.arange(96) % 2
    parts[1][:, 0] = zones[:, None] - 0.5
    model = AttentionLSTM(2)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    diagnosis.learn_scar(model, parts, zones, steps=40, seed=0)
    changed = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    assert {name.split(".")[0] for name in changed} >= {"record"}
    assert not any(name.startswith("decide") for name in changed)
    states = model.eval().state(0 * parts[0], *parts[1:])
    apart = (states[zones == 0].mean(dim=0) - states[zones == 1].mean(dim=0)).norm()
    assert apart > states[zones == 0].std(dim=0).norm()


def test_records_are_read_entry_by_entry():
    bert = MiniLM()
    entries, mask = diagnosis.read_records(["fever, no cough", "no cough ,, ", "fever"], bert)
    assert mask.tolist() == [[True, True], [True, False], [True, False]]
    torch.testing.assert_close(entries[0], bert.embed(["fever", "no cough"]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(entries[1, 0], entries[0, 1])
    assert (entries[1, 1] == 0).all()
    with pytest.raises(ValueError, match="A record is empty"):
        diagnosis.read_records(["fever", " , "], bert)


def test_the_bridge_trains_its_map_alone():
    torch.manual_seed(0)
    encoder = XRayEncoder()
    bridge = diagnosis.XRayBridge(32, encoder).train()
    assert bridge.training and not encoder.training
    assert {name for name, weight in bridge.named_parameters() if weight.requires_grad} == {
        "project.weight",
        "project.bias",
    }
    x_rays = torch.randn(3, 48, 48)
    cells = bridge.cells(x_rays)
    assert cells.shape == (3, 9, 256) and bridge(x_rays).shape == (3, 9, 32)
    regions = encoder(x_rays)  # the first cell: regions 0, 1, 6 and 7
    torch.testing.assert_close(cells[:, 0], regions[:, [0, 1, 6, 7]].flatten(1))


def test_the_shipped_reporter_reports():
    model = diagnosis.reporter()
    notes = load_checkpoint(model, diagnosis.REPORTER)
    assert notes["command"] == "python -m experiments.medical" and "phantom" in notes["trained on"]
    test = phantom.draw(24, 77)
    said = model.eval().answer(torch.tensor(test.x_rays), [diagnosis.report_turn(one).prompt for one in test.patients])
    claims = [phantom.check_claims(*pair) for pair in zip(said, test.patients, strict=True)]
    assert sum(one["heart"] and one["fluid"] for one in claims) >= 22
    assert diagnosis.REPORTER.stat().st_size < 3_000_000
