"""The classic answerer: BERT, attention, LSTM and a list of answers."""

from __future__ import annotations

import numpy as np
import pytest
import small_llm
import torch

from course_utils import training
from course_utils.datasets.vqa import PAD, VisualQADataset, VisualQuestion
from course_utils.encoders.text import MiniLM
from course_utils.vlm import PictureReader
from course_utils.vlm.classifier import BertClassifier, CachedBert, WordPieces, WorldBatches
from course_utils.vlm.conversations import caption_turn
from course_utils.vlm.worlds import EncodedWorld

QUESTIONS = ("what colour is it?", "is it red?")
ANSWERS = ("red", "green", "blue", "yes", "no")


@pytest.fixture(scope="module")
def bert():
    return MiniLM()


def batches(bert, world, **options):
    return WorldBatches([world], WordPieces(bert), CachedBert(bert), ANSWERS, **options)


def test_pieces_are_those_of_bert_and_fit_the_data_set(bert):
    pieces = WordPieces(bert)
    assert bert.tokenizer.convert_ids_to_tokens(pieces.encode("Is it red?")) == bert.tokens("Is it red?")
    asked = [VisualQuestion(n, 0, text, "red") for n, text in enumerate(QUESTIONS)]
    data = VisualQADataset(asked, np.zeros((1, 8, 8, 3), dtype=np.uint8), pieces, ANSWERS)
    assert data[0]["words"].tolist() == pieces.encode(QUESTIONS[0])
    with pytest.raises(ValueError, match="no word"):
        pieces.encode("  ")


def test_padding_changes_nothing_and_each_question_is_read_once(bert, monkeypatch):
    words, pieces = CachedBert(bert), WordPieces(bert)
    rows = [torch.tensor(pieces.encode(text)) for text in QUESTIONS]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)
    states = words(padded)
    assert states.shape == (*padded.shape, MiniLM.DIM)
    for row, state, text in zip(rows, states, QUESTIONS, strict=True):
        alone = bert([text]).unpooled[0]
        torch.testing.assert_close(state[: len(row)].float(), alone, atol=5e-3, rtol=0)  # kept in float16
        assert not state[len(row) :].any()
    monkeypatch.setattr(words, "bert", None)  # asked once more, it would fail
    assert torch.equal(words(padded), states)


def test_a_batch_holds_all_questions_of_its_pictures_and_no_captions(bert):
    world = small_llm.world(4)
    world = EncodedWorld(world.name, world.features, [[caption_turn("a red thing"), *turns] for turns in world.turns])
    batch = batches(bert, world).batch(np.array([2, 0]))
    assert batch["picture_of"].tolist() == [0, 0, 1, 1] and torch.equal(batch["features"][0], world.features[2])
    expected = [turn.answer for index in (2, 0) for turn in world.turns[index][1:]]
    assert [ANSWERS[number] for number in batch["answers"].tolist()] == expected


def test_an_answer_that_is_not_on_the_list_has_no_number(bert):
    found = WorldBatches([small_llm.world(6)], WordPieces(bert), CachedBert(bert), ("yes", "no"))
    batch = found.batch(np.arange(6))
    assert set(batch["answers"][::2].tolist()) == {training.IGNORE} and set(batch["answers"][1::2].tolist()) <= {0, 1}


def test_every_epoch_has_an_order_of_its_own_and_all_pictures(bert):
    found = batches(bert, small_llm.world(10), pictures_per_batch=4, shuffle=True)
    orders = []
    for epoch in (0, 1, 0):
        found.set_epoch(epoch)
        orders.append(torch.cat([batch["features"][:, 0, 0] for batch in found]).tolist())
    assert len(found) == 3 and orders[0] == orders[2] != orders[1] and sorted(orders[0]) == sorted(orders[1])


def test_the_classifier_learns_what_the_pictures_show(bert):
    torch.manual_seed(0)
    train, test = small_llm.world(96), small_llm.world(40, seed=1)
    model = BertClassifier(len(ANSWERS), PictureReader.DIM, dim=32)
    model.standardise.measure(train.features)
    training.fit(
        model, batches(bert, train, pictures_per_batch=8, shuffle=True), epochs=10, learning_rate=3e-3, progress=False
    )
    assert training.accuracy(model, batches(bert, test)) > 0.9
    blind = EncodedWorld(test.name, torch.zeros_like(test.features), test.turns)
    assert training.accuracy(model, batches(bert, blind)) < 0.75


def test_padding_behind_a_question_does_not_change_its_scores(bert):
    torch.manual_seed(0)
    model = BertClassifier(len(ANSWERS), PictureReader.DIM, dim=32).eval()
    batch = batches(bert, small_llm.world(3)).batch(np.arange(3))
    short = batch["word_mask"].sum(dim=1).min()
    rows = (batch["word_mask"].sum(dim=1) == short).nonzero()[:, 0]
    alone = {name: batch[name][rows] for name in ("picture_of", "states", "word_mask")}
    alone = {**alone, "states": alone["states"][:, :short], "word_mask": alone["word_mask"][:, :short]}
    torch.testing.assert_close(model(batch)[rows], model({**alone, "features": batch["features"]}))
