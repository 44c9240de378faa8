"""Interactive figures. They know pictures, questions and answers, never the inside of a model.

Everything here works under ipywidgets 7.7 (Colab) and 8 (JupyterLab). A notebook stored on the web does not run
widgets, so a lesson puts a static figure beside each.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np

from course_utils import plots


@dataclass(frozen=True)
class Reply:
    """What a model says about a picture and a question.

    Attributes:
        probabilities: Answer to probability, over all answers.
        attention: Where the model looked, (rows, columns), or None if it does not say.
        unknown: Words of the question that the model never met in training.
        inside: Name to numbers from -1 to 1, all as many: what goes on in the model, a gate or a state.
    """

    probabilities: Mapping[str, float]
    attention: np.ndarray | None = None
    unknown: Sequence[str] = ()
    inside: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def answer(self) -> str:
        """The most probable answer."""
        return max(self.probabilities, key=self.probabilities.get)


Answerer = Callable[[np.ndarray, str], Reply]  # (picture (H, W, 3) uint8, question) -> Reply
Reader = Callable[[np.ndarray, str], Sequence[tuple[str, Reply]]]  # the same, with a reply after each word


def ask(
    answerer: Answerer,
    pictures: Sequence[np.ndarray],
    examples: Sequence[str],
    draw: Callable[[str, str, int], np.ndarray] | None = None,
    choices: tuple[Sequence[str], Sequence[str]] = ((), ()),
) -> ipywidgets.Widget:
    """Ask a model about a picture: type or pick a question; pick a picture or draw a new one.

    Args:
        answerer: Called with a picture, (H, W, 3) uint8, and a question.
        pictures: What the slider goes through.
        examples: Questions to pick from; the first is asked at once.
        draw: Draws a new picture from a shape, a colour and a seed. Without it there is no drawing.
        choices: The shapes and the colours that ``draw`` knows.

    Raises:
        ValueError: If there is no picture or no example question.
    """
    if len(pictures) == 0 or not examples:
        raise ValueError("The widget needs at least one picture and one example question.")
    return _Asking(answerer, pictures, examples, draw, choices).box


def word_by_word(reader: Reader, pictures: Sequence[np.ndarray], examples: Sequence[str]) -> ipywidgets.Widget:
    """Follow a model through a question: a slider says how many of its words have been read.

    Args:
        reader: Called with a picture, (H, W, 3) uint8, and a question; gives (word, reply) for each word, in order,
            the reply being what the model would say if the question ended there.
        pictures: What the slider goes through.
        examples: Questions to pick from; the first is read at once.

    Raises:
        ValueError: If there is no picture or no example question.
    """
    if len(pictures) == 0 or not examples:
        raise ValueError("The widget needs at least one picture and one example question.")
    return _Reading(reader, pictures, examples).box


def step_by_step(reader: Reader, pictures: Sequence[np.ndarray], examples: Sequence[str]) -> ipywidgets.Widget:
    """Follow a model through its steps: a slider chooses the step, of a question that is typed or picked.

    Args:
        reader: Called with a picture, (H, W, 3) uint8, and a question; gives (what the step is called, reply) for each
            step, in order. It may raise a ValueError, to tell whoever typed the question what is wrong with it.
        pictures: What the slider goes through.
        examples: Questions to pick from; the first is asked at once.

    Raises:
        ValueError: If there is no picture or no example question.
    """
    if len(pictures) == 0 or not examples:
        raise ValueError("The widget needs at least one picture and one example question.")
    return _Stepping(reader, pictures, examples).box


def answer_card(picture: np.ndarray, question: str, reply: Reply) -> plots.Shown:
    """A picture, where the model looked, its three likeliest answers, and below what goes on inside, where it is told.

    It is what the widgets show, as a figure.
    """
    rows = ["abc", "ddd"] if reply.inside else ["abc"]
    figure, named = plt.subplot_mosaic(
        "\n".join(rows), figsize=(7.2, 2.3 + (0.7 + 0.25 * len(reply.inside)) * (len(rows) - 1)),
        width_ratios=(1, 1, 1.3), height_ratios=(2.3, 0.7 + 0.25 * len(reply.inside))[: len(rows)],
        layout="constrained",
    )  # fmt: skip
    axes = [named[name] for name in "abc"]
    plots.overlay(axes[0], picture, None)
    plots.overlay(axes[1], picture, reply.attention)
    axes[0].set_title("the picture", fontsize=9)
    axes[1].set_title("where it looked" if reply.attention is not None else "", fontsize=9)
    best = sorted(reply.probabilities.items(), key=lambda pair: pair[1])[-3:]
    bars = axes[2].barh([name for name, _ in best], [share for _, share in best], color=plots.PALETTE[0])
    axes[2].bar_label(bars, labels=[f"{share:.0%}" for _, share in best], padding=3, fontsize=8)
    axes[2].set(xlim=(0, 1.35), xticks=[], title=f"“{reply.answer}”")
    axes[2].grid(visible=False)  # its lines would strike through the numbers
    if reply.inside:
        _draw_inside(named["d"], reply.inside)
    figure.suptitle(question, fontsize=10)
    said = ", ".join(f"{name} {share:.0%}" for name, share in reversed(best))
    means = "".join(f" {name}: {np.mean(values):.2f} on average." for name, values in reply.inside.items())
    return plots.show(figure, f"Asked “{question}”, the model answers {said}.{means}")


def _draw_inside(axis, inside: Mapping[str, np.ndarray]) -> None:
    """One row of coloured cells for each name, orange below zero and blue above."""
    drawn = axis.imshow(np.stack(list(inside.values())), cmap="PuOr", vmin=-1, vmax=1, aspect="auto")
    axis.set_yticks(range(len(inside)), list(inside), fontsize=8)
    axis.set_xlabel("feature", fontsize=8)
    axis.tick_params(axis="x", labelsize=7)
    axis.grid(visible=False)
    axis.figure.colorbar(drawn, ax=axis, pad=0.01).ax.tick_params(labelsize=7)


# --- searching ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """One thing that a search found.

    Attributes:
        picture: What to show, (H, W, 3) uint8.
        title: What to write under it.
        score: How near it is to what was asked for, larger is nearer.
    """

    picture: np.ndarray
    title: str
    score: float


Retriever = Callable[[str], Sequence[Found]]  # words -> what was found, best first


def search(retrievers: Mapping[str, Retriever], examples: Sequence[str]) -> ipywidgets.Widget:
    """A search box: type or pick words, get pictures with their scores.

    Args:
        retrievers: Name to retriever, to choose from where there are several. A retriever may raise a ValueError, to
            tell whoever typed the words what is wrong with them.
        examples: Words to pick from; the first are searched for at once.

    Raises:
        ValueError: If there is no retriever or no example.
    """
    if not retrievers or not examples:
        raise ValueError("The search box needs at least one retriever and one example.")
    return _Searching(retrievers, examples).box


def search_card(query: str, found: Sequence[Found]) -> plots.Shown:
    """What was found for a query, best first, as a figure; the query stands in its alternative text.

    Raises:
        ValueError: If nothing was found.
    """
    titles = [f"{one.title}\n{one.score:.2f}" for one in found]
    said = ", ".join(f"{one.title} {one.score:.2f}" for one in found)
    return plots.pictures([one.picture for one in found], titles, alt=f"Searched “{query}”, found {said}.")


class _Searching:
    """The controls of :func:`search` and what happens when they move."""

    def __init__(self, retrievers, examples) -> None:
        self.retrievers = retrievers
        wide = ipywidgets.Layout(width="36em")
        self.method = ipywidgets.Dropdown(options=list(retrievers), description="search by", layout=wide)
        self.example = ipywidgets.Dropdown(options=list(examples), description="examples", layout=wide)
        self.words = ipywidgets.Text(
            examples[0], description="words", continuous_update=False, layout=wide,
            placeholder="type words and press Enter",
        )  # fmt: skip
        self.shown = ipywidgets.HTML()
        self.example.observe(self._copy_example, "value")
        for control in (self.method, self.words):
            control.observe(self._search, "value")
        rows = [self.method] if len(retrievers) > 1 else []
        self.box = ipywidgets.VBox([*rows, self.example, self.words, self.shown])
        self._search()

    def _copy_example(self, change) -> None:
        self.words.value = change["new"]

    def _search(self, _change=None) -> None:
        query = self.words.value.strip()
        if not query:
            self.shown.value = "<p><b>Type some words</b>, then press Enter.</p>"
            return
        try:
            found = self.retrievers[self.method.value](query)
        except ValueError as error:
            self.shown.value = f"<p><b>{html.escape(str(error))}</b></p>"
            return
        if not found:
            self.shown.value = f"<p>Nothing was found for “{html.escape(query)}”.</p>"
            return
        card = search_card(query, found)
        self.shown.value = plots.image_tag(card.png, card.alt)


# --- asking -------------------------------------------------------------------------------------------------------


class _Asking:
    """The controls of :func:`ask` and what happens when they move."""

    def __init__(self, answerer, pictures, examples, draw, choices) -> None:
        self.answerer, self.pictures, self.draw = answerer, pictures, draw
        self.picture = np.asarray(pictures[0])
        self.drawn = 0
        wide = ipywidgets.Layout(width="36em")
        self.number = ipywidgets.IntSlider(
            0, 0, len(pictures) - 1, description="picture", continuous_update=False, layout=wide
        )
        self.example = ipywidgets.Dropdown(options=list(examples), description="examples", layout=wide)
        self.question = ipywidgets.Text(
            examples[0], description="question", continuous_update=False, layout=wide,
            placeholder="type a question and press Enter",
        )  # fmt: skip
        self.shown = ipywidgets.HTML()
        self.number.observe(self._pick, "value")
        self.example.observe(self._copy_example, "value")
        self.question.observe(self._answer, "value")
        rows = [self.number, self.example, self.question]
        if draw is not None:
            rows.insert(1, self._drawing(choices))
        self.box = ipywidgets.VBox([*rows, self.shown])
        self._answer()

    def _drawing(self, choices) -> ipywidgets.Widget:
        narrow = ipywidgets.Layout(width="13em")
        self.shape = ipywidgets.Dropdown(options=list(choices[0]), description="or draw a", layout=narrow)
        self.colour = ipywidgets.Dropdown(options=list(choices[1]), description="that is", layout=narrow)
        button = ipywidgets.Button(description="Draw it", tooltip="Draw a new picture with this shape and colour")
        button.on_click(self._draw)
        return ipywidgets.HBox([self.shape, self.colour, button])

    def _pick(self, change) -> None:
        self.picture = np.asarray(self.pictures[change["new"]])
        self._answer()

    def _draw(self, _button) -> None:
        self.drawn += 1  # a new seed, so that every press draws another picture
        self.picture = self.draw(self.shape.value, self.colour.value, self.drawn)
        self._answer()

    def _copy_example(self, change) -> None:
        self.question.value = change["new"]

    def _answer(self, _change=None) -> None:
        question = self.question.value.strip()
        if not question:
            self.shown.value = "<p><b>Type a question</b>, then press Enter.</p>"
            return
        try:
            reply = self.answerer(self.picture, question)
        except ValueError as error:  # a question without a word in it, say: tell the one who typed it
            self.shown.value = f"<p><b>{html.escape(str(error))}</b></p>"
            return
        self._show(question, reply)

    def _show(self, question: str, reply: Reply) -> None:
        card = answer_card(self.picture, question, reply)
        self.shown.value = _unknown_words(reply.unknown) + plots.image_tag(card.png, card.alt)


class _Reading(_Asking):
    """The controls of :func:`word_by_word`: those of :func:`ask` and a slider over the words."""

    counted = "words read"

    def __init__(self, reader, pictures, examples) -> None:
        self.replies: Sequence[tuple[str, Reply]] = ()
        wide = ipywidgets.Layout(width="36em")
        self.read = ipywidgets.IntSlider(1, 1, 1, description=self.counted, continuous_update=False, layout=wide)
        self.read.observe(self._turn, "value")
        super().__init__(reader, pictures, examples, None, ((), ()))
        self.box.children = [*self.box.children[:-1], self.read, self.shown]

    def _answer(self, _change=None) -> None:
        self.replies = ()  # of the question before: the slider shows nothing until there are new ones
        super()._answer()

    def _show(self, question: str, reply: Sequence[tuple[str, Reply]]) -> None:
        if not reply:
            raise ValueError(f"The reader gave no reply to {question!r}. It must give one for each word.")
        self.read.max = len(reply)
        self.read.value = len(reply)
        self.replies = reply
        self._turn()

    def _turn(self, _change=None) -> None:
        if self.replies:
            super()._show(self._heading(), self.replies[self.read.value - 1][1])

    def _heading(self) -> str:
        words = [word for word, _ in self.replies[: self.read.value]]
        return " ".join(words) + (" …" if self.read.value < len(self.replies) else "")


class _Stepping(_Reading):
    """The controls of :func:`step_by_step`."""

    counted = "step"

    def _heading(self) -> str:
        return f"{self.question.value.strip()}\n{self.replies[self.read.value - 1][0]}"


def _unknown_words(words: Sequence[str]) -> str:
    if not words:
        return ""
    listed = ", ".join(f"“{html.escape(word)}”" for word in words)
    return f"<p>The model never met {listed} in training, so it reads past that. Its answer is a guess.</p>"
