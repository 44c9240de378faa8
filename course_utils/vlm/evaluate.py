"""Evaluate the shipped models on test questions: a baseline without vision, a classifier, and the language model.

``python -m experiments.measure_shipped`` and ``python -m experiments.forced_rationales`` measure them at length.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from course_utils import training, vlm
from course_utils.checkpoints import load_frozen, read_weights
from course_utils.datasets import emoji_scenes, shapes
from course_utils.paths import CHECKPOINTS, DATA
from course_utils.vlm.classifier import BertClassifier, CachedBert, WordPieces, WorldBatches
from course_utils.vlm.conversations import Turn
from course_utils.vlm.worlds import EncodedWorld, only_questions

# Configurations of the shipped model's training, one part after the other.
PARTS = tuple(
    DATA / f"seeing_llm{name}.toml" for name in ("", "_late", "_aloud", "_early", "_choices", "_further", "_wide")
)
# Epochs of the classifier in each part; in the last three it sees every picture as often as the language model does.
CLASSIFIER_EPOCHS = (4, 4, 4, 4, 2, 1, 1)
SHIPPED_CLASSIFIER = CHECKPOINTS / "seeing_classifier.safetensors"
METHODS = ("most frequent answer", "BERT + attention + LSTM", "language model with LoRA")
MOST_FREQUENT, CLASSIFIER, LANGUAGE_MODEL = METHODS
# World, split and number of pictures to ask about
TESTS = (
    ("easy-VQA", "test", 1000), ("shapes", "test", 2000), ("shapes", "compositional", 1000),
    ("emoji scenes", "test", 500), ("emoji scenes", "unseen", 500),
)  # fmt: skip
WHERE = ("nowhere", "first", "last")  # places of a matching object in a forced rationale


def parts_of(notes: dict) -> list[dict]:
    """The notes of each part of a model's training, first to last, from the notes in its file."""
    parts = [notes]
    while "start" in parts[0]:
        parts.insert(0, parts[0]["start"])
    return parts


def questions(world: EncodedWorld) -> list[Turn]:
    """All questions about a world, without captions."""
    return [turn for turns in only_questions(world).turns for turn in turns]


class MostFrequentAnswer:
    """The most frequent training answer to a question, or else to questions with the same first word."""

    def __init__(self, asked: Sequence[Turn]) -> None:
        self.by_question: dict[str, Counter] = defaultdict(Counter)
        self.by_first_word: dict[str, Counter] = defaultdict(Counter)
        for turn in asked:
            self.by_question[turn.prompt][turn.answer] += 1
            self.by_first_word[turn.prompt.split()[0]][turn.answer] += 1

    def answer(self, question: str) -> str:
        """The answer; "" if no training question had this first word."""
        for counts, key in ((self.by_question, question), (self.by_first_word, question.split()[0])):
            if key in counts:
                return counts[key].most_common(1)[0][0]
        return ""


def shipped_classifier() -> tuple[BertClassifier, list[str]]:
    """The shipped classifier, frozen, and its answers; errors as for :func:`load_frozen`."""
    answers = read_weights(SHIPPED_CLASSIFIER)[1]["answers"]
    return load_frozen(BertClassifier(len(answers), vlm.PictureReader.DIM), SHIPPED_CLASSIFIER), answers


def correct_answers(method: str, model, world: EncodedWorld) -> list[bool]:
    """Whether a method, one of ``METHODS``, answers each question about a world exactly.

    ``model`` is a :class:`MostFrequentAnswer`; or a classifier, its answers and its MiniLM; or a vision-language model.
    """
    if method == MOST_FREQUENT:
        return [model.answer(turn.prompt) == turn.answer for turn in questions(world)]
    if method == CLASSIFIER:
        classifier, answers, bert = model
        batches = WorldBatches([world], WordPieces(bert), CachedBert(bert), answers)
        result = training.evaluate(classifier, batches, answers)
        return [found == target for found, target in zip(result.predictions, result.targets, strict=True)]
    asked = [(number, turn) for number, turns in enumerate(only_questions(world).turns) for turn in turns]
    found = model.answer(world.features[[number for number, _ in asked]], [turn.prompt for _, turn in asked])
    return [text == turn.answer for text, (_, turn) in zip(found, asked, strict=True)]


def type_of(turn: Turn, split: str) -> str:
    """The type to count a question under; in the split "unseen", choices of two unseen objects count apart."""
    if split != "unseen" or turn.type != "choice":
        return turn.type
    # A preference for unseen names would answer choices between a seen and an unseen object.
    names = re.sub(r"^(is|are) there ", "", turn.prompt.rstrip("?")).split(" or ")
    new = {emoji_scenes.name(thing) for thing in emoji_scenes.vocabulary()[1]}
    return "choice of two new" if {re.sub(r"^an? ", "", name) for name in names} <= new else "choice of new and seen"


def with_forced_rationale(turn: Turn, where: str) -> str | None:
    """The prompt up to the answer, with a rationale that names a matching object in one place (one of ``WHERE``).

    It does so whatever the picture shows, much as Lanham and others (Measuring Faithfulness in Chain-of-Thought
    Reasoning, 2023) do with large models. ``turn`` is an "exist-relation" question about shapes with its rationale;
    None if that names no other object, so that first and last coincide.
    """
    target = shapes.parse(turn.prompt).target
    *names, anchor = turn.rationale.split(", ")
    names = [name for name in names if (target.colour or target.shape) not in name.split()]
    if not names:
        return None
    if where != "nowhere":
        match = shapes.Description(None, target.colour or "blue", target.shape or "circle")
        names.insert(0 if where == "first" else len(names), str(match))
    return f"{turn.prompt} {', '.join([*names, anchor])}:"
