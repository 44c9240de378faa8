from __future__ import annotations

import copy

import peft
import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from course_utils import checkpoints
from course_utils.language import lora

TARGETS = ["q_proj", "v_proj"]
IDS = torch.arange(12).view(2, 6)


def llama(seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=64,
        )
    ).eval()  # fmt: skip


def adapted(seed: int = 0, rank: int = 3, alpha: float = 5, moved: bool = True) -> LlamaForCausalLM:
    """A model with LoRA whose updates are no longer zero."""
    model = lora.add_lora(llama(seed), TARGETS, rank, alpha)
    if moved:
        for layer in lora.lora_layers(model).values():
            nn.init.normal_(layer.up, std=0.5)
    return model


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits


def test_nothing_has_changed_before_the_first_step():
    torch.testing.assert_close(logits(adapted(moved=False)), logits(llama()), rtol=0, atol=0)


def test_it_equals_peft_with_the_same_weights_merged_or_not():
    ours = adapted()
    theirs = peft.get_peft_model(llama(), peft.LoraConfig(r=3, lora_alpha=5, target_modules=TARGETS)).eval()
    for name, layer in lora.lora_layers(ours).items():
        twin = theirs.base_model.model.get_submodule(name)
        twin.lora_A["default"].weight.data.copy_(layer.down)
        twin.lora_B["default"].weight.data.copy_(layer.up)
    expected = logits(theirs)
    assert (expected - logits(llama())).abs().max() > 0.01
    torch.testing.assert_close(logits(ours), expected, rtol=1e-5, atol=1e-6)
    trained = sum(w.numel() for w in theirs.parameters() if w.requires_grad)
    assert lora.count_parameters(ours)[0] == trained == 2 * (3 * (16 + 16) + 3 * (16 + 8))
    merged, theirs = lora.merge_lora(ours), theirs.merge_and_unload()
    torch.testing.assert_close(logits(merged), expected, rtol=1e-5, atol=1e-5)
    assert not lora.lora_layers(merged)
    for name, weight in theirs.named_parameters():
        torch.testing.assert_close(merged.get_parameter(name), weight, rtol=1e-5, atol=1e-6)


def test_training_moves_the_updates_and_nothing_else():
    model = adapted(moved=False)
    before = copy.deepcopy(model.state_dict())
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    losses = []
    for _ in range(5):
        loss = model(IDS, labels=IDS).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and {name.rpartition(".")[2] for name in changed} == {"up", "down"}


def test_updates_of_a_bfloat16_model_are_float32():
    layer = lora.LoRALinear(nn.Linear(4, 4).bfloat16(), rank=2, alpha=2)
    assert layer.down.dtype == layer.up.dtype == torch.float32
    assert layer(torch.ones(1, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16
    nn.init.ones_(layer.up)
    x = torch.randn(3, 4, dtype=torch.bfloat16)
    torch.testing.assert_close(layer(x), layer.merged()(x), rtol=0.05, atol=0.05)  # bfloat16 keeps eight bits


def test_merging_in_bfloat16_costs_the_rounding_of_the_weights_and_no_more():
    def after(merge, dtype):
        model = adapted().to(dtype)
        for layer in lora.lora_layers(model).values():  # updates stay in float32
            layer.down.data, layer.up.data = layer.down.data.float(), layer.up.data.float()
        return (lora.merge_lora(model) if merge else model).float()

    exact = after(False, torch.float32)
    torch.testing.assert_close(logits(after(True, torch.float32)), logits(exact), rtol=1e-5, atol=1e-5)
    rounded = after(True, torch.bfloat16)
    for name, layer in lora.lora_layers(after(False, torch.bfloat16)).items():
        whole = layer.base.weight + layer.up @ layer.down * layer.alpha / layer.rank
        assert torch.equal(rounded.get_submodule(name).weight, whole.bfloat16().float())


def test_weights_are_drawn_on_the_cpu_whatever_the_device():
    def left_to_draw(device):
        base = nn.Linear(6, 5, device=device)
        torch.manual_seed(0)
        layer = lora.LoRALinear(base, rank=2, alpha=1)
        assert layer.down.device.type == layer.up.device.type == device
        return torch.rand(3)

    torch.manual_seed(0)
    fresh = torch.rand(3)
    assert torch.equal(left_to_draw("cpu"), left_to_draw("meta"))  # drawn on "meta" itself, nothing would be used up
    assert not torch.equal(left_to_draw("meta"), fresh)


def test_an_adapter_travels_alone(tmp_path):
    one, other = adapted(), adapted(moved=False)
    path = tmp_path / "adapter.safetensors"
    lora.save_adapter(one, path, {"task": "reading"})
    assert path.stat().st_size < 8_000  # the model has 9,000 float32 numbers
    assert lora.load_adapter(other, path) == {"task": "reading"}
    torch.testing.assert_close(logits(other), logits(one), rtol=0, atol=0)


@pytest.mark.parametrize("settings", [{"rank": 2}, {"alpha": 7}])
def test_an_adapter_of_other_settings_is_refused(tmp_path, settings):
    path = tmp_path / "adapter.safetensors"
    lora.save_adapter(adapted(), path)
    other = adapted(**settings)
    before = logits(other)
    with pytest.raises(checkpoints.CheckpointError, match="Call add_lora with those settings"):
        lora.load_adapter(other, path)
    torch.testing.assert_close(logits(other), before, rtol=0, atol=0)


def test_an_adapter_of_another_model_is_refused(tmp_path):
    path = tmp_path / "adapter.safetensors"
    another = nn.ModuleDict({name: nn.Linear(9, 9) for name in TARGETS})
    lora.save_adapter(lora.add_lora(another, TARGETS, 3, 5), path)
    with pytest.raises(checkpoints.CheckpointError, match="another model"):
        lora.load_adapter(adapted(), path)


def test_misuse_is_named():
    with pytest.raises(ValueError, match="No linear layer is called query.*q_proj"):
        lora.add_lora(llama(), ["q_proj", "query"])
    with pytest.raises(ValueError, match="called nothing"):
        lora.add_lora(llama(), [])
    with pytest.raises(ValueError, match="LoRA already"):
        lora.add_lora(adapted(), TARGETS)
    with pytest.raises(ValueError, match="no LoRA in the model to merge"):
        lora.merge_lora(llama())
    with pytest.raises(ValueError, match="Call add_lora first"):
        lora.save_adapter(llama(), "nowhere.safetensors")
    with pytest.raises(ValueError, match="rank of 9 does not fit"):
        lora.LoRALinear(nn.Linear(8, 30), rank=9, alpha=1)


def test_a_model_that_could_not_be_adapted_is_as_it_was():
    model = llama()
    with pytest.raises(ValueError, match="does not fit"):
        lora.add_lora(model, TARGETS, rank=17)
    assert not lora.lora_layers(model) and lora.count_parameters(model)[0] == lora.count_parameters(model)[1]


def test_shared_weights_count_once():
    model = nn.ModuleList([nn.Linear(3, 3, bias=False)] * 2)
    assert lora.count_parameters(model) == (9, 9)
