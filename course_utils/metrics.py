"""Metrics: accuracy by question type, retrieval recall and rank, the official VQA accuracy."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

# --- accuracy by type -------------------------------------------------------------------------------------------


Z = 1.959963984540054  # 95 % of a normal distribution lie within so many standard deviations


def wilson_interval(right: float, total: int) -> tuple[float, float]:
    """95 % confidence interval of a share (Wilson, 1927): valid near 0 and 1, where the normal one is not.

    ``right`` may be a sum of scores from 0 to 1. The interval is then too wide rather than too narrow: of all scores
    with the same mean, those of 0 and 1 vary most.

    Raises:
        ValueError: If there are no trials, or more successes than trials.
    """
    if not (1 <= total < math.inf and 0 <= right <= total):
        raise ValueError(f"{right} right out of {total} is not a share.")
    share = right / total
    middle, half = share + Z**2 / (2 * total), Z * math.sqrt(share * (1 - share) / total + (Z / (2 * total)) ** 2)
    low, high = ((middle + side) / (1 + Z**2 / total) for side in (-half, half))
    return max(0.0, min(low, share)), min(1.0, max(high, share))  # rounding


def accuracy_by_type(correct: Sequence[float], types: Sequence[str]) -> pd.DataFrame:
    """Accuracy of each question type with its 95 % Wilson interval.

    Args:
        correct: Whether each question was answered correctly, or a score from 0 to 1 such as its VQA accuracy.
        types: The type of each question.

    Returns:
        Columns type, questions, accuracy, low, high; types in alphabetical order.

    Raises:
        ValueError: If the two differ in length or are empty, or a score is not from 0 to 1.
    """
    scores, kinds = np.asarray(correct, dtype=float), np.asarray(types, dtype=object)
    if scores.shape != kinds.shape or scores.ndim != 1 or len(scores) == 0:
        raise ValueError(f"Each question needs an outcome and a type, got {len(correct)} and {len(types)}.")
    if (wrong := scores[~((scores >= 0) & (scores <= 1))]).size:  # NaN, too
        raise ValueError(f"The outcome of a question is right or wrong, or a score from 0 to 1, not {wrong[0]}.")
    rows = []
    for kind in sorted(set(kinds)):
        chosen = scores[kinds == kind]
        right, total = math.fsum(chosen), len(chosen)
        rows.append((kind, total, right / total, *wilson_interval(right, total)))
    return pd.DataFrame(rows, columns=["type", "questions", "accuracy", "low", "high"])


# --- retrieval --------------------------------------------------------------------------------------------------


def ranks(similarity: torch.Tensor | np.ndarray, targets: Sequence[int] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """For each query, how many candidates score above the correct one, and how many others tie with it.

    Args:
        similarity: (queries, candidates), larger is nearer.
        targets: The correct candidate of each query; by default candidate i for query i.

    Returns:
        ``better`` and ``tied``, both (queries,).

    Raises:
        ValueError: If there is no query, a similarity is NaN, or a target is missing or out of range.
    """
    if isinstance(similarity, torch.Tensor):
        similarity = similarity.detach().cpu()
        similarity = (similarity.float() if similarity.dtype == torch.bfloat16 else similarity).numpy()
    table = np.asarray(similarity)
    if table.ndim != 2 or len(table) == 0 or np.isnan(table).any():
        raise ValueError(f"Similarities are (queries, candidates) without NaN, not {table.shape}. Check the encoders.")
    right = np.arange(len(table)) if targets is None else np.asarray(targets)
    whole = np.issubdtype(right.dtype, np.integer)
    if right.shape != (len(table),) or not whole or (right < 0).any() or (right >= table.shape[1]).any():
        raise ValueError(f"Each of the {len(table)} queries needs one target below {table.shape[1]}.")
    own = table[np.arange(len(table)), right][:, None]
    return (table > own).sum(axis=1), (table == own).sum(axis=1) - 1


def recall_at_k(
    similarity: torch.Tensor | np.ndarray, targets: Sequence[int] | None = None, ks: Sequence[int] = (1, 5, 10)
) -> dict[int, float]:
    """Share of queries whose correct candidate is among the first k; arguments and errors as for :func:`ranks`.

    A tie counts by its expected value over random orders: if all similarities are equal, recall@k is k / candidates.
    """
    if min(ks, default=1) < 1:
        raise ValueError(f"k is {min(ks)}; the first k candidates are at least 1.")
    better, tied = ranks(similarity, targets)
    return {k: float(np.clip((k - better) / (tied + 1), 0, 1).mean()) for k in ks}


def median_rank(similarity: torch.Tensor | np.ndarray, targets: Sequence[int] | None = None) -> float:
    """Median rank of the correct candidate, from 1; a tie counts as its middle."""
    better, tied = ranks(similarity, targets)
    return float(np.median(better + tied / 2 + 1))


# --- VQA accuracy -----------------------------------------------------------------------------------------------

# The rules of the official evaluation (Antol et al., 2015; vqaEval.py of GT-Vision-Lab/VQA), in its order and with its
# quirks, so that figures can be compared with published ones.
_PUNCTUATION = r""";/[]"{}()=+\_-><@`,?!"""
_PERIOD = re.compile(r"(?!<=\d)(\.)(?!\d)")  # the first group was meant as a look-behind; as published it never matches
_MOST_PERIODS = 32  # the value of re.UNICODE, which the official code passes as the count
_NUMBER_WITH_COMMA = re.compile(r"\d,\d")
_ARTICLES = ("a", "an", "the")
_DIGITS = {
    "none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7",
    "eight": "8", "nine": "9", "ten": "10",
}  # fmt: skip
_CONTRACTED = (
    "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd "
    "he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've "
    "needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've "
    "somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll "
    "that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've "
    "weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's who've "
    "why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're "
    "you've "
).split()


# Every way of losing one apostrophe leads back to the word; the last entry is the official table's one exception.
_CONTRACTIONS = {word[:i] + word[i + 1 :]: word for word in _CONTRACTED for i in range(len(word)) if word[i] == "'"}
_CONTRACTIONS["somebody'd"] = "somebodyd"


def normalise_answer(answer: str) -> str:
    """An answer as the official evaluation compares it: "The  Two dogs!" becomes "2 dogs".

    In this order: white space; punctuation; lower case; number words to digits; articles dropped; lost apostrophes
    restored.
    """
    return _digits_and_articles(_punctuation(answer.replace("\n", " ").replace("\t", " ").strip()))


def vqa_accuracy(answer: str, annotators: Sequence[str]) -> float:
    """VQA accuracy of an answer, from 0 to 1 (Antol et al., 2015), exactly as officially computed.

    The mean of min(matches / 3, 1) over all ways to leave one annotator out. The model's answer is normalised in full;
    the annotators' answers, already tidy in the data set, only for punctuation, and only where they differ.

    Args:
        answer: The model's answer.
        annotators: The annotators' answers, ten in VQA v2.

    Raises:
        ValueError: If there are fewer than two annotators.
    """
    if len(annotators) < 2 or isinstance(annotators, str):
        raise ValueError(f"VQA accuracy leaves one annotator out: it needs a list of at least two, not {annotators!r}.")
    given = normalise_answer(answer)
    differ = len(set(annotators)) > 1
    matches = [(_punctuation(text) if differ else text) == given for text in annotators]
    total = sum(matches)
    return sum(min(1.0, (total - own) / 3) for own in matches) / len(matches)


def _punctuation(text: str) -> str:
    """Drop each mark at the edge of a word, or anywhere if a number contains a comma; replace others by a space."""
    has_number = _NUMBER_WITH_COMMA.search(text) is not None
    out = text
    for mark in _PUNCTUATION:
        at_edge = mark + " " in text or " " + mark in text
        out = out.replace(mark, "" if at_edge or has_number else " ")
    return _PERIOD.sub("", out, count=_MOST_PERIODS)


def _digits_and_articles(text: str) -> str:
    words = [_DIGITS.get(word, word) for word in text.lower().split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)
