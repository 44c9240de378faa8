from __future__ import annotations

import jiwer
import numpy as np
import pandas as pd
import pytest
import torch

from course_utils import results
from course_utils.datasets import commands
from course_utils.datasets.speech import TRAINING_VOICES
from experiments import speech_recognition


def test_a_row_replaces_its_older_self(tmp_path, monkeypatch):
    monkeypatch.setattr(speech_recognition, "TABLE", tmp_path / "speech.csv")
    for wer in (0.5, 0.25):
        speech_recognition.store("recognition", "CTC", "new speakers", 0, wer=wer, low=0.1, high=0.6, exact=0.5)
    speech_recognition.store("recognition", "CTC", "new speakers", 1, wer=1.0)
    table = pd.read_csv(speech_recognition.TABLE)
    assert table[["seed", "wer"]].values.tolist() == [[0, 0.25], [1, 1.0]]


def test_errors_are_jiwers_over_all_words():
    texts, said = ["a b c", "d", "e f"] * 5, ["a x c", "d", "e f g"] * 5
    found = speech_recognition.errors(texts, said)
    assert found["wer"] == pytest.approx(jiwer.wer(texts, said)) and found["exact"] == pytest.approx(1 / 3)
    assert found["low"] < found["wer"] < found["high"]


def test_the_weight_decides_between_sound_and_language():
    options, judged = [("dor", -1.0), ("door", -3.0)], [-20.0, -5.0]
    assert speech_recognition.rescored(options, judged, 0.0) == "dor"
    assert speech_recognition.rescored(options, judged, 0.5) == "door"


def test_noise_has_the_ratio_that_was_asked_for():
    wave = np.sin(np.arange(20_000) / 10).astype(np.float32) / 4
    noise = speech_recognition.white([wave], [10], 0)[0] - wave
    assert 10 * np.log10(wave.var() / noise.var()) == pytest.approx(10, abs=0.2)


def test_word_for_word_has_all_german_words_and_their_order():
    pairs = commands.german(500, 1)
    assert all(len(speech_recognition.word_for_word(pair.german).split()) >= len(pair.german.split()) for pair in pairs)
    assert speech_recognition.word_for_word("du sollst den roten ball aufheben") == "you should the red ball pick up"
    scores = speech_recognition.translation_scores(["open the red door"] * 3, ["open the red door"] * 3)
    assert scores["bleu"] == pytest.approx(100) and scores["chrf"] == pytest.approx(100) and scores["exact"] == 1


def test_training_a_recogniser_lowers_the_loss():
    texts = commands.english(64, 1)
    torch.manual_seed(0)
    model = speech_recognition.Recogniser(32)
    losses = speech_recognition.train_recogniser(model, commands.speak(texts, TRAINING_VOICES, 1), texts, steps=8)
    assert len(losses) == 8 and losses[-1] < losses[0] and not model.training


def test_a_monotone_translator_learns():
    torch.manual_seed(0)
    states, mask = torch.randn(4, 11, 16).repeat(8, 1, 1), torch.ones(32, 11, dtype=torch.bool)
    targets = [torch.tensor([3, 4]), torch.tensor([5]), torch.tensor([4, 3]), torch.tensor([6, 6])] * 8
    model = speech_recognition.Monotone(7, dim=8)
    losses = speech_recognition.train_monotone(model, states, mask, targets, steps=60)
    assert losses[-1] < 0.5 * losses[0] and not model.training
    found, _ = model.translate(states, mask)
    assert len(found) == 32 and all(0 not in row for row in found)


def test_a_misspelled_word_goes_to_the_nearest():
    assert speech_recognition.nearest("stor", ["circle", "star", "square"]) == "star"


def test_no_test_command_is_trained_on():
    texts, told, unseen = speech_recognition.sentences()
    assert len(unseen) == speech_recognition.TESTED and not set(unseen) & set(texts) and set(told) <= set(texts)


def test_the_stored_table_has_three_seeds_of_every_comparison():
    table = results.read("speech")
    trained = table[~table["method"].str.contains("Whisper|word for word|typed|most frequent|deaf")]
    for key, rows in trained.groupby(["task", "method", "world"]):
        assert sorted(rows["seed"]) == [0, 1, 2], key
    rates = table.dropna(subset=["wer"])
    assert (rates["low"] <= rates["wer"]).all() and (rates["wer"] <= rates["high"]).all()
    assert table["exact"].between(0, 1).all()
    of = table[table["task"] == "translation"].groupby("method")["steps"].unique()
    assert of["CTC"].tolist() == of["attention"].tolist()
