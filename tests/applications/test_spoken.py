from __future__ import annotations

import math

import pytest
import small_llm
import torch
from hypothesis import given
from hypothesis import strategies as st

from course_utils import vlm
from course_utils.applications import spoken
from course_utils.datasets import commands, shapes
from course_utils.encoders.recogniser import Recogniser
from course_utils.encoders.speech import spectrograms
from course_utils.vlm import bridges


@pytest.fixture(scope="module")
def seeing():
    torch.manual_seed(1)
    return vlm.VisionLanguageModel(*small_llm.load(), bridges.LinearProjector(6, 32), join_layer=1)


@pytest.fixture(scope="module")
def states():
    torch.manual_seed(2)
    return torch.randn(4, 11, 16), torch.arange(11) < torch.tensor([11, 7, 9, 4])[:, None]


def test_only_reading_questions_are_asked_with_the_number_of_their_picture():
    data = shapes.split("test", pictures=3)
    asked = spoken.questions(data)
    assert [number for number, _ in asked] == [0] * 4 + [1] * 4 + [2] * 4
    assert [one.type for _, one in asked] == list(spoken.ASKED) * 3


def test_the_embeddings_of_a_text_are_answered_as_the_text(seeing):
    torch.manual_seed(3)
    features, texts = (
        torch.randn(3, 16, 6),
        ["is there a red star?", "what colour?", "how many large things are there?"],
    )
    given = [spoken.word_embeddings(seeing, text) for text in texts]
    typed = seeing.answer(features, texts)
    assert spoken.answer_spoken(seeing, features, given) == typed
    assert len(set(typed)) > 1
    assert spoken.answer_spoken(seeing, features, [one + torch.randn_like(one) for one in given]) != typed
    assert seeing.answer(features, texts) == typed, "the table of words must be left as it was"


def test_the_bridge_is_solved_from_utterances_with_as_many_vectors_as_words(seeing):
    torch.manual_seed(4)
    texts = ["what colour is the star", "how many red things are there", "is there a star"] * 8
    known = {word: torch.randn(40) for text in texts for word in text.split()}
    vectors = [torch.stack([known[word] for word in text.split()]) for text in texts]
    vectors[0] = vectors[0][:2] * 100  # cut wrongly: must be left out
    bridge = spoken.solve_bridge(seeing, vectors, texts)
    made = spoken.spoken_embeddings(seeing, bridge, vectors[1:2])[0]
    wanted = spoken.word_embeddings(seeing, f"{texts[1]}?")
    assert made.shape == wanted.shape and torch.equal(made[-1], wanted[-1])
    assert torch.nn.functional.cosine_similarity(made[1:], wanted[1:]).min() > 0.9


COMMANDS = ["go to the ball", "go to the door", "open the door"]


def test_the_probability_is_that_of_the_counts():
    model = spoken.Bigram(COMMANDS)
    total = 14  # 11 words and 3 beginnings; the end of a text is the same word as its beginning
    expected = math.log((1 + (1 + 0.1 / 28**4) / total) / (3 + 1))  # "open" begins one of three texts
    first = model("open the door") - sum(
        math.log((pair + (count + 0.1 / 28**length) / total) / (before + 1))
        for pair, count, length, before in ((1, 3, 3, 1), (2, 2, 4, 3), (2, 3, 0, 2))
    )
    assert first == pytest.approx(expected)


def test_what_was_said_before_is_likelier_than_what_was_not():
    model = spoken.Bigram(COMMANDS)
    assert model("go to the door") > model("go to the dor") > model("go to the xqzwvjkp")
    assert model("open the ball") > model("ball the open")


@given(st.text("abcdefgh ", max_size=30))
def test_any_text_has_a_finite_probability(text):
    assert -math.inf < spoken.Bigram(COMMANDS)(text) < 0


def test_a_vocabulary_begins_with_its_three_signs():
    assert spoken.vocabulary(["open the door", "open it"]) == ["", "<start>", "<end>", "door", "it", "open", "the"]


def test_the_decoder_does_not_hear_padding_and_repeats_what_teacher_forcing_predicts(states):
    torch.manual_seed(0)
    model, (values, mask) = spoken.AttentionDecoder(9, dim=8).eval(), states
    found, weights = model.translate(values, mask, longest=6)
    for row, (said, some) in enumerate(zip(found, weights, strict=True)):
        real = int(mask[row].sum())
        assert some.shape == (len(said), 11) and bool((some[:, real:] == 0).all())
        torch.testing.assert_close(some.sum(dim=1), torch.ones(len(said)))
        alone = values[[row], :real], mask[[row], :real]
        with torch.no_grad():
            logits, _ = model(*alone, torch.tensor([[spoken.START, *said]]))
        best = logits[0].argmax(dim=1).tolist()
        assert best[: len(said)] == said and (len(said) == 6 or best[-1] == spoken.END)
        assert spoken.END not in said


def test_a_translator_learns(states):
    torch.manual_seed(0)
    values, mask = (one.repeat(8, *[1] * (one.ndim - 1)) for one in states)
    targets = [torch.tensor([3, 4]), torch.tensor([5]), torch.tensor([4, 3]), torch.tensor([6, 6])] * 8
    model = spoken.AttentionDecoder(7, dim=8)
    losses = spoken.train_translator(model, values, mask, targets, steps=60)
    assert losses[-1] < 0.5 * losses[0] and not model.training


def test_two_positions_are_averaged():
    torch.manual_seed(0)
    model = Recogniser(8).eval()
    waves = commands.speak(["open the door", "go to the red ball"], ["en-us+m6"], 1)
    values, mask = spoken.heard(model, waves)
    assert values.shape[:2] == mask.shape and values.shape[2] == 16
    with torch.no_grad():
        full, real = model.states(*spectrograms(waves))
    torch.testing.assert_close(values[1, 5], full[1, 10:12].mean(dim=0))
    assert mask.sum(dim=1).tolist() == [int(one) // 2 for one in real.sum(dim=1)]
