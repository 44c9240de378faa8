"""Measure lesson 14: ``python -m experiments.speech_recognition`` writes speech.csv and spoken_….safetensors.

Columns of speech.csv: task, method, world, seed, wer (word error rate), low and high (95 % bootstrap over utterances,
of the accuracy where there is no wer), exact (share of utterances without an error, or accuracy), bleu, chrf, steps,
cpu_seconds, machine, torch.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import jiwer
import numpy as np
import pandas as pd
import sacrebleu
import torch
from torch import nn

from course_utils import results, vlm
from course_utils.applications import spoken
from course_utils.applications.spoken import AttentionDecoder, Bigram
from course_utils.checkpoints import load_frozen, save_checkpoint
from course_utils.datasets import commands, shapes
from course_utils.datasets.speech import HELD_OUT_VOICES, TRAINING_VOICES, add_noise
from course_utils.encoders import recogniser
from course_utils.encoders.recogniser import (
    Recogniser,
    beam_search,
    both_ways,
    ctc_loss,
    greedy,
    recognise,
    spelled,
    train_in_batches,
    word_vectors,
)
from course_utils.encoders.speech import spectrograms
from course_utils.encoders.whisper import SAMPLE_RATE, Whisper, words_only
from course_utils.language import llm
from course_utils.paths import DATA
from course_utils.vlm import finetune
from course_utils.vlm.evaluate import MostFrequentAnswer

SEEDS = (0, 1, 2)
PARTS = ("recognition", "noise", "whisper", "language models", "translation", "questions")
TABLE = DATA / "speech.csv"
STEPS, TRANSLATION_STEPS, TESTED, PICTURES = 600, 400, 60, 60
WORLDS = ("training speakers", *HELD_OUT_VOICES, "new speakers, 10 dB", "human speech")
COMMAND = "python -m experiments.speech_recognition"


def interval(score, rows: int) -> tuple[float, float]:
    """95 % bootstrap interval of a function of row numbers."""
    rng = np.random.default_rng(0)
    return tuple(np.percentile([score(rng.integers(rows, size=rows)) for _ in range(300)], (2.5, 97.5)))


def store(task: str, method: str, world: str, seed: int, **measured) -> None:
    """Replace one row."""
    columns = ("wer", "low", "high", "exact", "bleu", "chrf", "steps", "cpu_seconds")
    row = {
        "task": task,
        "method": method,
        "world": world,
        "seed": seed,
        **{name: measured.get(name) for name in columns},
    }
    row |= results.where_measured()
    table = pd.read_csv(TABLE) if TABLE.exists() else pd.DataFrame(columns=list(row))
    older = (table[["task", "method", "world", "seed"]] == [task, method, world, seed]).all(axis=1)
    table = pd.concat([table[~older], pd.DataFrame([row])]) if len(table) else pd.DataFrame([row])
    results.replace(TABLE, table.sort_values(["task", "method", "world", "seed"]))
    shown = {name: round(float(value), 3) for name, value in measured.items() if value is not None}
    print(f"{task}: {method}, {world}, seed {seed}: {shown}", flush=True)


def errors(texts: Sequence[str], said: Sequence[str]) -> dict[str, float]:
    """Word error rate with its interval, and the share without an error."""
    each = [jiwer.process_words(text, one) for text, one in zip(texts, said, strict=True)]
    wrong = np.array([one.substitutions + one.deletions + one.insertions for one in each])
    words = np.array([len(text.split()) for text in texts])
    low, high = interval(lambda rows: wrong[rows].sum() / words[rows].sum(), len(words))
    return {"wer": wrong.sum() / words.sum(), "low": low, "high": high, "exact": np.mean(wrong == 0)}


# --- recognition --------------------------------------------------------------------------------------------------


def white(waves: Sequence[np.ndarray], ratios: Sequence[float], seed: int) -> list[np.ndarray]:
    """Recordings in white noise at these ratios, in decibels."""
    rng = np.random.default_rng(seed)
    return [add_noise(one, rng.standard_normal(len(one)), db) for one, db in zip(waves, ratios, strict=True)]


def sentences() -> tuple[list[str], list[str], list[str]]:
    """Commands and questions to train on, the commands among them, and commands to test on, of which none is there."""
    told = commands.english(1500, 1)
    asked = [one.text.rstrip("?") for _, one in spoken.questions(shapes.split("train", pictures=250))]
    return [*told, *asked], told, commands.english(TESTED, 2, set(told))


def worlds(texts: Sequence[str]) -> dict[str, tuple[list[np.ndarray], list[str]]]:
    """The recordings and texts of each world that is tested."""
    found = {"training speakers": (commands.speak(texts, TRAINING_VOICES, 2), list(texts))}
    found |= {name: (commands.speak(texts, voices, 3), list(texts)) for name, voices in HELD_OUT_VOICES.items()}
    clean = found["new speakers"][0]
    found["new speakers, 10 dB"] = white(clean, [10] * len(clean), 4), list(texts)
    return found | {"human speech": commands.librivox()}


def train_recogniser(model: Recogniser, waves, texts: Sequence[str], steps: int, seed: int = 0) -> list[float]:
    """Train in place on recordings, (samples,) each, and their texts; returns the loss of each step."""
    (mel, mask), targets = spectrograms(waves), [recogniser.symbols(text) for text in texts]

    def loss(rows: torch.Tensor) -> torch.Tensor:
        frames = int(mask[rows].sum(dim=1).max())  # cut to the longest of the batch
        return ctc_loss(*model(mel[rows, :frames], mask[rows, :frames]), [targets[row] for row in rows])

    return train_in_batches(model, loss, len(texts), steps, seed)


def recognition(seed: int, noise: bool = False) -> None:
    """Train on clean speech or with noise on half of it; seed 0 of the latter is shipped."""
    texts, _, unseen = sentences()
    tested = worlds(unseen)
    waves = commands.speak(texts, TRAINING_VOICES, 1)
    if noise:
        rng = np.random.default_rng(seed)
        waves = [one if k % 2 else white([one], [rng.uniform(5, 25)], seed + k)[0] for k, one in enumerate(waves)]
    method = "CTC, trained with noise" if noise else "CTC"
    torch.manual_seed(seed)
    model, began = Recogniser(), time.process_time()
    train_recogniser(model, waves, texts, STEPS, seed)
    seconds = time.process_time() - began
    for world, (spoken_waves, wanted) in tested.items():
        more = errors(wanted, recognise(model, spoken_waves))
        store("recognition", method, world, seed, **more, steps=STEPS, cpu_seconds=seconds)
    save_checkpoint(model, f"runs/spoken/{method}, {seed}.safetensors")
    if noise and seed == 0:
        about = {"command": COMMAND, "trained on": "synthesised commands and questions, half of them in noise"}
        save_checkpoint(model, recogniser.ENGLISH, about)


def load(method: str, seed: int) -> Recogniser:
    """A recogniser that this program has trained."""
    return load_frozen(Recogniser(), f"runs/spoken/{method}, {seed}.safetensors")


def whisper() -> None:
    """Whisper, with its window of 30 seconds and with one cut to each recording."""
    model = Whisper()
    for world, (waves, texts) in worlds(sentences()[2]).items():
        waves = [commands.resampled(one, commands.SAMPLE_RATE, SAMPLE_RATE) for one in waves]
        said = [words_only(model.transcribe(one)) for one in waves]
        store("recognition", "Whisper tiny.en", world, 0, **errors(texts, said))
        said = [words_only(model.transcribe(one, seconds=len(one) / SAMPLE_RATE)) for one in waves[:10]]
        store("recognition", "Whisper tiny.en, window cut", world, 0, **errors(texts[:10], said))


def language_models(seed: int) -> None:
    """Greedy and beam search on noisy and accented commands, and two language models that rescore the eight best.

    The weight of each language model is the best one on other commands by the speakers of the first held-out group.
    """
    _, told, unseen = sentences()
    other = commands.english(TESTED, 5, {*told, *unseen})
    tested = worlds(unseen)
    tested["new speakers, 0 dB"] = white(tested["new speakers"][0], [0] * TESTED, 8), unseen
    tested["chosen on"] = white(commands.speak(other, HELD_OUT_VOICES["new speakers"], 6), [0] * TESTED, 7), other
    model, small, (large, tokenizer) = load("CTC, trained with noise", seed), Bigram(told), llm.load(torch.float32)
    judges = {"none": lambda texts: [0.0] * len(texts), "word pairs": lambda texts: [small(text) for text in texts],
              "SmolLM2": lambda texts: text_log_probability(large, tokenizer, texts)}  # fmt: skip
    kept = {}
    for world in ("chosen on", "new speakers, 0 dB", "new speakers and accents"):
        waves, texts = tested[world]
        with torch.no_grad():
            log_probs, mask = model(*spectrograms(waves))
        store(
            "language model", "greedy", world, seed, **errors(texts, [spelled(one) for one in greedy(log_probs, mask)])
        )
        best = [beam_search(row[real].numpy()) for row, real in zip(log_probs, mask, strict=True)]
        options = [[(spelled(text), value) for text, value in some] for some in best]
        for name, judge in judges.items():
            judged = [judge([text for text, _ in some]) for some in options]

            def chosen(weight: float, options=options, judged=judged) -> list[str]:
                return [rescored(*one, weight) for one in zip(options, judged, strict=True)]

            if world == "chosen on":
                weights = (0.0,) if name == "none" else (0.1, 0.2, 0.4, 0.7, 1.0)
                kept[name] = min(weights, key=lambda one: errors(texts, chosen(one))["wer"])
            store("language model", f"beam, {name}", world, seed, **errors(texts, chosen(kept[name])))


def rescored(options: Sequence[tuple[str, float]], judged: Sequence[float], weight: float) -> str:
    """The text with the highest sum of the recogniser's and the weighted language model's log-probability."""
    return max(zip(options, judged, strict=True), key=lambda one: one[0][1] + weight * one[1])[0][0]


@torch.no_grad()
def text_log_probability(model, tokenizer, texts: Sequence[str]) -> list[float]:
    """Log-probability of texts by the language model, behind the token that begins a document."""
    batch = tokenizer(
        [f"{vlm.END_OF_TEXT}{text}" for text in texts], return_tensors="pt", padding=True, padding_side="right"
    )
    ids, real = batch["input_ids"], batch["attention_mask"].bool()
    log_probs = model(**batch).logits[:, :-1].float().log_softmax(dim=-1)
    each = log_probs.gather(2, ids[:, 1:, None])[..., 0] * real[:, 1:]
    return each.sum(dim=1).tolist()


# --- translation --------------------------------------------------------------------------------------------------


class Monotone(nn.Module):
    """Translation by CTC: the GRU of the :class:`AttentionDecoder`, and a score for each word at each position."""

    def __init__(self, words: int, dim: int = 96) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(2 * dim, dim, batch_first=True, bidirectional=True), nn.Linear(2 * dim, words)

    def forward(self, states, mask):
        """States (batch, positions, 2 · dim) to log-probabilities (batch, positions, words), and their mask."""
        return self.head(both_ways(self.gru, states, mask)).log_softmax(dim=-1), mask

    def translate(self, states, mask) -> tuple[list[list[int]], None]:
        """Word numbers of each utterance, without attention weights."""
        with torch.no_grad():
            return greedy(*self(states, mask)), None


def train_monotone(model: Monotone, states, mask, targets: Sequence[torch.Tensor], steps: int, seed: int = 0):
    """Train in place on word numbers, as :func:`spoken.train_translator`; returns the loss of each step."""

    def loss(rows: torch.Tensor) -> torch.Tensor:
        return ctc_loss(*model(states[rows], mask[rows]), [targets[row] for row in rows])

    return train_in_batches(model, loss, len(targets), steps, seed)


def translation(seed: int) -> None:
    """A German recogniser, then two translators on its frozen states, with equal steps; seed 0 is shipped."""
    pairs = commands.german(1500, 1)
    unseen = commands.german(80, 2, set(pairs))
    waves = commands.speak([pair.german for pair in pairs], commands.GERMAN_TRAINING_VOICES, 1)
    new = commands.speak([pair.german for pair in unseen], commands.GERMAN_HELD_OUT_VOICES, 2)
    torch.manual_seed(seed)
    model, began = Recogniser(), time.process_time()
    train_recogniser(model, waves, [pair.german for pair in pairs], TRANSLATION_STEPS, seed)
    seconds = time.process_time() - began
    more = errors([pair.german for pair in unseen], recognise(model, new))
    store("recognition", "CTC, German", "new speakers", seed, **more, steps=TRANSLATION_STEPS, cpu_seconds=seconds)
    words = spoken.vocabulary(pair.english for pair in pairs)
    (states, mask), tested = spoken.heard(model, waves), spoken.heard(model, new)
    targets = [torch.tensor([words.index(word) for word in pair.english.split()]) for pair in pairs]
    ways = {"CTC": (Monotone, train_monotone), "attention": (AttentionDecoder, spoken.train_translator)}
    for method, (kind, train) in ways.items():
        torch.manual_seed(seed)
        translator, began = kind(len(words)), time.process_time()
        train(translator, states, mask, targets, TRANSLATION_STEPS, seed)
        seconds = time.process_time() - began
        found, _ = translator.translate(*tested)
        said = [" ".join(words[number] for number in row) for row in found]
        scores = translation_scores([pair.english for pair in unseen], said)
        store("translation", method, "new speakers", seed, **scores, steps=TRANSLATION_STEPS, cpu_seconds=seconds)
    said = [word_for_word(pair.german) for pair in unseen]
    store("translation", "word for word, from the right German text", "text", 0,
          **translation_scores([pair.english for pair in unseen], said))  # fmt: skip
    if seed == 0:
        about = {"command": COMMAND, "trained on": "synthesised German commands and their English translations"}
        save_checkpoint(model, recogniser.GERMAN, about)
        save_checkpoint(translator, spoken.TRANSLATOR, {**about, "words": words})


def word_for_word(german: str) -> str:
    """Each German word in English, in German order."""
    nouns = {noun: thing for thing, (noun, _) in commands.THINGS.items()}
    colours = {f"{adjective}{end}": colour for colour, adjective in commands.COLOURS.items() for end in ("e", "en")}
    more = {"du": "you", "sollst": "should", "den": "the", "die": "the", "zum": "to the", "zur": "to the",
            "aufheben": "pick up", "neben": "next to", "legen": "put", "gehen": "go", "gehst": "go", "bevor": "before",
            "öffne": "open", "nachdem": "after", "öffnest": "open", "hebe": "pick", "auf": "up"}  # fmt: skip
    return " ".join((nouns | colours | more)[word] for word in german.split())


def translation_scores(wanted: Sequence[str], said: Sequence[str]) -> dict[str, float]:
    """Word error rate, exactness, BLEU and chrF."""
    bleu, chrf = (score(list(said), [list(wanted)]).score for score in (sacrebleu.corpus_bleu, sacrebleu.corpus_chrf))
    return {**errors(wanted, said), "bleu": bleu, "chrf": chrf}


# --- spoken questions ---------------------------------------------------------------------------------------------


def spoken_questions(seed: int) -> None:
    """Spoken questions about shapes, answered by the shipped language model in two ways, blind and deaf."""
    model, _ = finetune.load(finetune.SHIPPED)
    reader = vlm.PictureReader()
    recognises = load("CTC, trained with noise", seed)
    train = [one for _, one in spoken.questions(shapes.split("train", pictures=250))]
    texts = [one.text.rstrip("?") for one in train]
    bridge = spoken.solve_bridge(model, word_vectors(recognises, commands.speak(texts, TRAINING_VOICES, 11)), texts)
    data = shapes.split("test", pictures=PICTURES)
    asked = spoken.questions(data)
    features = reader.read(data.pictures)[[number for number, _ in asked]]
    nothing = model.bridge.standardise.mean.expand_as(features).half()
    wanted, plain = [one.answer for _, one in asked], [one.text for _, one in asked]
    known = sorted({word for text in texts for word in text.split()})
    frequent = MostFrequentAnswer([vlm.conversations.question_turn(one.text, one.answer) for one in train])
    if seed == 0:
        judge("typed", "text", 0, wanted, model.answer(features, plain))
        judge("typed, blind", "text", 0, wanted, model.answer(nothing, plain))
        judge("most frequent answer to the question", "text", 0, wanted, [frequent.answer(text) for text in plain])
        deaf = [spoken.word_embeddings(model, "?")] * len(asked)
        judge("deaf", "text", 0, wanted, spoken.answer_spoken(model, features, deaf))
    for world, voices in HELD_OUT_VOICES.items():
        waves = commands.speak([text.rstrip("?") for text in plain], voices, 12)
        said = recognise(recognises, waves)
        store(
            "question, recognised",
            "CTC, trained with noise",
            world,
            seed,
            **errors([t.rstrip("?") for t in plain], said),
        )
        judge(
            "recognised, then asked",
            world,
            seed,
            wanted,
            model.answer(features, [f"{text or 'what'}?" for text in said]),
        )
        snapped = [" ".join(nearest(word, known) for word in text.split()) for text in said]
        judge("recognised, nearest words, then asked", world, seed, wanted,
              model.answer(features, [f"{text or 'what'}?" for text in snapped]))  # fmt: skip
        tokens = spoken.spoken_embeddings(model, bridge, word_vectors(recognises, waves))
        judge("speech tokens", world, seed, wanted, spoken.answer_spoken(model, features, tokens))
        judge("speech tokens, blind", world, seed, wanted, spoken.answer_spoken(model, nothing, tokens))


def nearest(word: str, known: Sequence[str]) -> str:
    """The known word with the fewest letters wrong."""
    return min(known, key=lambda one: jiwer.cer(one, word))


def judge(method: str, world: str, seed: int, wanted: Sequence[str], answers: Sequence[str]) -> None:
    """Store an accuracy."""
    right = np.array([one == other for one, other in zip(wanted, answers, strict=True)])
    low, high = interval(lambda rows: right[rows].mean(), len(right))
    store("spoken question", method, world, seed, exact=right.mean(), low=low, high=high)


def main(parts: Sequence[str], seeds: Sequence[int]) -> None:
    """Measure the parts with each seed; every row is stored at once."""
    if "whisper" in parts:
        whisper()
    of = {
        "recognition": recognition, "noise": lambda seed: recognition(seed, noise=True),
        "language models": language_models, "translation": translation, "questions": spoken_questions,
    }  # fmt: skip
    for seed in seeds:
        for part in parts:
            if part in of:
                of[part](seed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    options = parser.parse_args()
    main(options.parts, options.seeds)
