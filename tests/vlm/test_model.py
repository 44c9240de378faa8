from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from course_utils import training, vlm
from course_utils.checkpoints import load_checkpoint, save_checkpoint
from course_utils.datasets.vqa import to_tensor
from course_utils.language import llm, lora
from course_utils.vlm import bridges
from course_utils.vlm.conversations import Conversations, caption_turn, question_turn

DIM, WIDTH = 6, 32
TURNS = [
    [caption_turn("a cat and a dog"), question_turn("is there a cat?", "yes"), question_turn("how many dogs?", "1")],
    [caption_turn("an owl"), question_turn("what is left of the owl?", "nothing")],
]


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(llm.folder(), local_files_only=True)


def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=49152, hidden_size=WIDTH, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=256, initializer_range=0.1,
        )
    ).eval()  # fmt: skip


BRIDGES = {
    "linear": lambda: bridges.LinearProjector(DIM, WIDTH),
    "resampler": lambda: bridges.Resampler(DIM, WIDTH, queries=5, inner=16, heads=2),
    "gated": lambda: bridges.GatedCrossAttention(DIM, WIDTH, before=(1, 2)),
}


@pytest.fixture(params=[(name, join_layer) for name in BRIDGES for join_layer in (0, 1)], ids=str)
def seeing(request, tokenizer):
    torch.manual_seed(1)
    name, join_layer = request.param
    bridge = BRIDGES[name]()
    for look in getattr(bridge, "looks", []):
        nn.init.constant_(look.gate, 0.7)
    return vlm.VisionLanguageModel(llama(), tokenizer, bridge, join_layer)


@pytest.fixture
def features():
    torch.manual_seed(2)
    return torch.randn(2, 16, DIM)


def test_turns_in_one_row_are_answered_as_if_each_were_alone(seeing, features, tokenizer):
    with torch.no_grad():
        together = seeing(Conversations(features, TURNS, tokenizer).batch([0, 1]))
        alone = [
            seeing(Conversations(features[[picture]], [[turn]], tokenizer).batch([0]))
            for picture, turns in enumerate(TURNS)
            for turn in turns
        ]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=1e-4)


def test_what_is_said_greedily_is_what_training_scores_highest(seeing, features, tokenizer):
    prompts = ["Picture:", "is there a cat?"]
    said = seeing.complete(features, prompts, max_new_tokens=5, stop=None)
    for picture, (prompt, text) in enumerate(zip(prompts, said, strict=True)):
        alone = seeing.complete(features[[picture]], [prompt], max_new_tokens=5, stop=None)
        assert alone == [text]  # padding changes nothing
    words = tokenizer(prompts[0], return_tensors="pt", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        for _ in range(5):
            length = words.shape[1]
            batch = {
                "features": features[:1], "input_ids": words, "turn_ids": torch.zeros(1, length, dtype=torch.long),
                "position_ids": torch.arange(length)[None],
                "answer_mask": torch.arange(length)[None] == length - 1,
            }  # fmt: skip
            words = torch.cat([words, seeing(batch).argmax(dim=-1)[None]], dim=1)
    assert tokenizer.decode(words[0, -5:], skip_special_tokens=True).strip() == said[0]


def test_gates_that_are_shut_leave_the_language_model_as_it_was(features, tokenizer):
    model = vlm.VisionLanguageModel(llama(), tokenizer, BRIDGES["gated"]())
    batch = Conversations(features, [turns[:1] for turns in TURNS], tokenizer).batch([0])
    with torch.no_grad():
        plain = model.llm(batch["input_ids"]).logits[batch["answer_mask"]]
        torch.testing.assert_close(model(batch), plain, atol=1e-5, rtol=1e-5)


def test_the_frozen_language_model_is_no_part_of_a_checkpoint(seeing, tmp_path, features, tokenizer):
    save_checkpoint(seeing, tmp_path / "bridge.safetensors")
    assert all(name.startswith("bridge.") for name in seeing.state_dict())
    other = vlm.VisionLanguageModel(llama(), tokenizer, copy.deepcopy(seeing.bridge), seeing.join_layer)
    for weight in other.parameters():
        nn.init.normal_(weight)
    load_checkpoint(other, tmp_path / "bridge.safetensors")
    batch = Conversations(features, TURNS, tokenizer).batch([0, 1])
    with torch.no_grad():
        torch.testing.assert_close(other(batch), seeing(batch))


def test_training_moves_the_bridge_and_the_updates_alone(features, tokenizer):
    base = lora.add_lora(llama(), ("q_proj", "v_proj"), rank=2)
    model = vlm.VisionLanguageModel(base, tokenizer, BRIDGES["linear"]())
    updates = [name for name in model.state_dict() if name.startswith("updates.")]
    assert len(updates) == 3 * 2 * 2  # layers, targets, down and up
    frozen = base.model.layers[0].self_attn.q_proj.base.weight.clone()
    words = base.model.embed_tokens.weight.clone()
    batches = Conversations(features, TURNS, tokenizer, pictures_per_batch=2)
    history = training.fit(model, batches, epochs=30, learning_rate=1e-2, progress=False)
    assert history.loss[-1] < history.loss[0] - 1.5
    assert torch.equal(base.model.layers[0].self_attn.q_proj.base.weight, frozen)
    assert torch.equal(base.model.embed_tokens.weight, words)
    assert base.model.layers[0].self_attn.q_proj.up.abs().max() > 0


def test_a_run_that_was_stopped_goes_on_exactly(features, tokenizer, tmp_path):
    def fresh():
        torch.manual_seed(4)
        return vlm.VisionLanguageModel(llama(), tokenizer, BRIDGES["linear"]())

    def batches():
        return Conversations(features, TURNS, tokenizer, pictures_per_batch=1, shuffle=True)

    options = {"epochs": 4, "learning_rate": 1e-2, "progress": False}
    whole = training.fit(fresh(), batches(), **options)

    class Stopped(Conversations):
        def __iter__(self):
            if self.epoch == 2:
                raise KeyboardInterrupt
            yield from super().__iter__()

    with pytest.raises(KeyboardInterrupt):
        stopped = Stopped(features, TURNS, tokenizer, pictures_per_batch=1, shuffle=True)
        training.fit(fresh(), stopped, folder=tmp_path, **options)
    resumed = training.fit(fresh(), batches(), folder=tmp_path, resume=True, **options)
    assert resumed.loss == whole.loss


def test_moving_the_model_moves_the_language_model(tokenizer):
    model = vlm.VisionLanguageModel(llama(), tokenizer, BRIDGES["linear"]()).to(torch.float64)
    assert model.llm.model.embed_tokens.weight.dtype == torch.float64


def test_each_picture_needs_its_prompt(seeing, features):
    with pytest.raises(ValueError, match="2 pictures and 1 prompts"):
        seeing.complete(features, ["Picture:"])
    with pytest.raises(ValueError, match="2 pictures and 1 prompts"):
        seeing.answer(features, ["Picture:"])
    with pytest.raises(ValueError, match="none empty"):
        seeing.complete(features, ["Picture:", " "])


def test_pictures_join_at_a_layer_that_there_is(tokenizer):
    with pytest.raises(ValueError, match="join_layer is 3; the layers are 0 to 2"):
        vlm.VisionLanguageModel(llama(), tokenizer, BRIDGES["linear"](), join_layer=3)


def test_all_layers_are_the_language_model_itself(tokenizer):
    base = llama()
    ids = torch.arange(5, 17).view(2, 6)
    look = torch.ones(2, 6, 6, dtype=torch.bool).tril()
    with torch.no_grad():
        states = vlm.run_layers(
            base, slice(None), base.get_input_embeddings()(ids), look, torch.arange(6).expand(2, -1)
        )
        found = base.lm_head(base.model.norm(states))
        torch.testing.assert_close(found, base(ids).logits, atol=1e-5, rtol=1e-5)


def test_precomputed_states_are_those_computed_now(features, tokenizer):
    model = vlm.VisionLanguageModel(llama(), tokenizer, BRIDGES["linear"](), join_layer=2)
    states = vlm.precompute_text(model.llm, tokenizer, TURNS, 2, batch_size=2)
    assert len(states) == 5
    with torch.no_grad():
        now = model(Conversations(features, TURNS, tokenizer).batch([0, 1]))
        ahead = model(Conversations(features, TURNS, tokenizer, text_states=states).batch([0, 1]))
    torch.testing.assert_close(ahead, now, atol=2e-2, rtol=1e-2)


class TeacherForced(nn.Module):
    """Predicts the right tokens, all but some."""

    def __init__(self, wrong: list[int]) -> None:
        super().__init__()
        self.__dict__["llm"], self.wrong = llama(), wrong

    def forward(self, batch):
        said = batch["answers"].clone()
        said[self.wrong] += 1
        return nn.functional.one_hot(said, 49152).float()


def test_one_wrong_token_spoils_its_own_answer_alone(features, tokenizer):
    batches = Conversations(features, TURNS, tokenizer)
    answers = batches.batch([0, 1])["answers"].tolist()
    assert vlm.exact_matches(TeacherForced([]), batches) == [[True, True, True], [True, True]]
    last_of_first = answers.index(tokenizer.eos_token_id)  # the caption should end and goes on
    assert vlm.exact_matches(TeacherForced([last_of_first]), batches) == [[False, True, True], [True, True]]
    assert vlm.exact_matches(TeacherForced([last_of_first + 1, -1]), batches) == [[True, False, True], [True, False]]


def test_a_word_of_two_tokens_is_their_mean_and_alone_of_its_padding(tokenizer):
    base = llama()
    ids = tokenizer(" xylophone", add_special_tokens=False)["input_ids"]
    assert len(ids) > 1
    found = vlm.word_states(base, tokenizer, ["cat", "xylophone"], join_layer=0)
    torch.testing.assert_close(found[1], base.get_input_embeddings().weight[ids].mean(dim=0).detach())
    alone = vlm.word_states(base, tokenizer, ["cat"], join_layer=2)
    torch.testing.assert_close(vlm.word_states(base, tokenizer, ["cat", "xylophone"], join_layer=2)[:1], alone)


def test_the_nearest_word_of_a_word_is_itself():
    torch.manual_seed(0)
    states, words = 5 + torch.randn(4, 20), ["a", "b", "c", "d"]
    assert [row[0] for row in vlm.nearest(states, states, words, k=2)] == words


def test_a_model_to_be_shipped_is_half_as_large(seeing):
    small = vlm.compact(seeing)
    assert all(value.dtype == (torch.bfloat16 if value.ndim > 1 else torch.float32) for value in small.values())


# --- the picture reader -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reader():
    return vlm.PictureReader()


def test_the_reader_sees_what_its_two_encoders_see(reader):
    pictures = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), dtype=np.uint8)
    found = reader.read(pictures, batch_size=2)
    assert found.shape == (3, 16, reader.DIM) and found.dtype == torch.float16
    with torch.no_grad():
        cells = reader.attributes(to_tensor(pictures)).unpooled.view(3, 8, 8, 64)
    corner = cells[:, :2, :2].flatten(1)  # (3, 256): the four cells at the top left
    torch.testing.assert_close(found[:, 0, -256:].float(), corner, atol=2e-2, rtol=1e-2)


def test_pictures_of_other_sizes_are_read_and_oblong_ones_refused(reader):
    assert reader.read(np.zeros((1, 100, 100, 3), dtype=np.uint8)).shape == (1, 16, reader.DIM)
    with pytest.raises(ValueError, match="must be square"):
        reader.read(np.zeros((1, 64, 80, 3), dtype=np.uint8))
