"""Interactive figures that know pictures, questions and answers, but nothing about models.

They work with ipywidgets 7.7 (Colab) and 8 (JupyterLab). Widgets in a stored notebook do not run, so a lesson shows a
static figure as well.
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
    """A model's reply to a picture and a question.

    Attributes:
        probabilities: Probability of each answer.
        attention: Attention over the picture, (rows, columns), or None.
        unknown: Words of the question that are not in the model's vocabulary.
        inside: Named vectors of equal length with values from -1 to 1, such as gates or states.
    """

    probabilities: Mapping[str, float]
    attention: np.ndarray | None = None
    unknown: Sequence[str] = ()
    inside: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def answer(self) -> str:
        """The most probable answer."""
        return max(self.probabilities, key=self.probabilities.get)


@dataclass(frozen=True)
class Found:
    """A search result: a picture (H, W, 3) uint8, its title, and its score (larger is better)."""

    picture: np.ndarray
    title: str
    score: float


# A callback may raise a ValueError about its input: the widget shows the message.
Answerer = Callable[[np.ndarray, str], Reply]  # (picture (H, W, 3) uint8, question) -> reply
Reader = Callable[[np.ndarray, str], Sequence[tuple[str, Reply]]]  # the same -> (word or step, reply) in order
Retriever = Callable[[str], Sequence[Found]]  # query -> results, best first


def ask(
    answerer: Answerer, pictures: Sequence[np.ndarray], examples: Sequence[str],
    draw: Callable[[str, str, int], np.ndarray] | None = None,
    choices: tuple[Sequence[str], Sequence[str]] = ((), ()),
) -> ipywidgets.Widget:  # fmt: skip
    """Ask a model about a picture, with a slider over pictures and example questions to pick.

    Args:
        answerer: Called with a picture, (H, W, 3) uint8, and a question.
        pictures: Pictures of the slider.
        examples: Example questions; the first is asked at once.
        draw: Draws a new picture from a shape, a colour and a seed.
        choices: Shapes and colours for ``draw``.
    """
    return _Asking(answerer, pictures, examples, draw, choices).box


def word_by_word(reader: Reader, pictures: Sequence[np.ndarray], examples: Sequence[str]) -> ipywidgets.Widget:
    """As :func:`ask`, with a slider over the words read: ``reader`` gives (word, reply up to this word) for each."""
    return _Reading(reader, pictures, examples).box


def step_by_step(reader: Reader, pictures: Sequence[np.ndarray], examples: Sequence[str]) -> ipywidgets.Widget:
    """As :func:`ask`, with a slider over a model's steps: ``reader`` gives (name of the step, reply) for each."""
    return _Stepping(reader, pictures, examples).box


def search(retrievers: Mapping[str, Retriever], examples: Sequence[str]) -> ipywidgets.Widget:
    """A search box that shows the pictures found and their scores.

    Args:
        retrievers: Search functions by name, to choose from if there are several.
        examples: Example queries; the first is searched at once.
    """
    return _Searching(retrievers, examples).box


@plots.LITERAL_TEXT
def answer_card(picture: np.ndarray, question: str, reply: Reply) -> plots.Shown:
    """A figure of a picture, the attention over it, the three most probable answers and, if given, ``reply.inside``."""
    heights = [2.3, 0.7 + 0.25 * len(reply.inside)] if reply.inside else [2.3]
    figure, axes = plt.subplot_mosaic(
        "abc\nddd" if reply.inside else "abc", figsize=(7.2, sum(heights)), width_ratios=(1, 1, 1.3),
        height_ratios=heights, layout="constrained",
    )  # fmt: skip
    plots.overlay(axes["a"], picture, None)
    plots.overlay(axes["b"], picture, reply.attention)
    axes["a"].set_title("the picture", fontsize=9)
    axes["b"].set_title("where it looked" if reply.attention is not None else "", fontsize=9)
    best = sorted(reply.probabilities.items(), key=lambda pair: pair[1])[-3:]
    names = [plots.wrapped(name, 16, most=2) for name, _ in best]
    bars = axes["c"].barh(range(len(best)), [share for _, share in best], tick_label=names, color=plots.PALETTE[0])
    axes["c"].bar_label(bars, labels=[f"{share:.0%}" for _, share in best], padding=3, fontsize=8)
    axes["c"].set(xlim=(0, 1.35), xticks=[], title=plots.wrapped(f"“{reply.answer}”", 24, most=3))
    axes["c"].grid(visible=False)  # grid lines would cross the numbers
    if reply.inside:
        cells = axes["d"].imshow(np.stack(list(reply.inside.values())), cmap="PuOr", vmin=-1, vmax=1, aspect="auto")
        axes["d"].set_yticks(range(len(reply.inside)), list(reply.inside), fontsize=8)
        axes["d"].set_xlabel("feature", fontsize=8)
        axes["d"].tick_params(axis="x", labelsize=7)
        axes["d"].grid(visible=False)
        figure.colorbar(cells, ax=axes["d"], pad=0.01).ax.tick_params(labelsize=7)
    figure.suptitle(plots.wrapped(question, 90, most=3), fontsize=10)
    said = ", ".join(f"{name} {share:.0%}" for name, share in reversed(best))
    means = "".join(f" {name}: {np.mean(values):.2f} on average." for name, values in reply.inside.items())
    return plots.show(figure, f"Asked “{question}”, the model answers {said}.{means}")


def search_card(query: str, found: Sequence[Found]) -> plots.Shown:
    """A figure of at least one search result, with the query in its alternative text."""
    titles = [f"{one.title}\n{one.score:.2f}" for one in found]
    said = ", ".join(f"{one.title} {one.score:.2f}" for one in found)
    return plots.pictures([one.picture for one in found], titles, alt=f"Searched “{query}”, found {said}.")


# --- controls -----------------------------------------------------------------------------------------------------


def _control(kind: type, description: str, width: str = "36em", **options) -> ipywidgets.Widget:
    return kind(description=description, layout=ipywidgets.Layout(width=width), **options)


def _slider(description: str, low: int, high: int) -> ipywidgets.IntSlider:
    return _control(ipywidgets.IntSlider, description, value=low, min=low, max=high, continuous_update=False)


class _TextBox:
    """Controls, examples and a text box above a result that follows them; subclasses define _reply and _show."""

    description, placeholder, empty = "question", "type a question and press Enter", "Type a question"

    def __init__(self, examples: Sequence[str], above: Sequence = (), below: Sequence = ()) -> None:
        self.example = _control(ipywidgets.Dropdown, "examples", options=list(examples))
        options = {"value": examples[0], "placeholder": self.placeholder, "continuous_update": False}
        self.text = _control(ipywidgets.Text, self.description, **options)
        self.shown = ipywidgets.HTML()
        self.example.observe(lambda change: setattr(self.text, "value", change["new"]), "value")
        self.text.observe(self._update, "value")
        self.box = ipywidgets.VBox([*above, self.example, self.text, *below, self.shown])
        self._update()

    def _update(self, _change=None) -> None:
        text = self.text.value.strip()
        if not text:
            self.shown.value = f"<p><b>{self.empty}</b>, then press Enter.</p>"
            return
        try:
            reply = self._reply(text)
        except ValueError as error:
            self.shown.value = f"<p><b>{html.escape(str(error))}</b></p>"
        else:
            self._show(text, reply)


class _Searching(_TextBox):
    description, placeholder, empty = "words", "type words and press Enter", "Type some words"

    def __init__(self, retrievers, examples) -> None:
        if not retrievers or not examples:
            raise ValueError("The search box needs at least one retriever and one example.")
        self.retrievers = retrievers
        self.method = _control(ipywidgets.Dropdown, "search by", options=list(retrievers))
        self.method.observe(self._update, "value")
        super().__init__(examples, [self.method] if len(retrievers) > 1 else [])

    def _reply(self, query: str) -> Sequence[Found]:
        return self.retrievers[self.method.value](query)

    def _show(self, query: str, found: Sequence[Found]) -> None:
        if not found:
            self.shown.value = f"<p>Nothing was found for “{html.escape(query)}”.</p>"
            return
        card = search_card(query, found)
        self.shown.value = plots.image_tag(card.png, card.alt)


class _Asking(_TextBox):
    def __init__(self, answerer, pictures, examples, draw=None, choices=((), ()), below=()) -> None:
        if len(pictures) == 0 or not examples:
            raise ValueError("The widget needs at least one picture and one example question.")
        self.answerer, self.pictures, self.draw = answerer, pictures, draw
        self.picture, self.drawn = np.asarray(pictures[0]), 0
        self.number = _slider("picture", 0, len(pictures) - 1)
        self.number.observe(self._pick, "value")
        super().__init__(examples, [self.number] if draw is None else [self.number, self._drawing(choices)], below)

    def _drawing(self, choices) -> ipywidgets.Widget:
        self.shape = _control(ipywidgets.Dropdown, "or draw a", "13em", options=list(choices[0]))
        self.colour = _control(ipywidgets.Dropdown, "that is", "13em", options=list(choices[1]))
        button = ipywidgets.Button(description="Draw it", tooltip="Draw a new picture with this shape and colour")
        button.on_click(self._draw)
        return ipywidgets.HBox([self.shape, self.colour, button])

    def _pick(self, change) -> None:
        self.picture = np.asarray(self.pictures[change["new"]])
        self._update()

    def _draw(self, _button) -> None:
        self.drawn += 1  # the seed: every click draws another picture
        self.picture = self.draw(self.shape.value, self.colour.value, self.drawn)
        self._update()

    def _reply(self, question: str):
        return self.answerer(self.picture, question)

    def _show(self, question: str, reply: Reply) -> None:
        card = answer_card(self.picture, question, reply)
        warning = ""
        if reply.unknown:
            words = ", ".join(f"“{html.escape(word)}”" for word in reply.unknown)
            warning = f"<p>The model never met {words} in training, so it reads past that. Its answer is a guess.</p>"
        self.shown.value = warning + plots.image_tag(card.png, card.alt)


class _Reading(_Asking):
    counted = "words read"

    def __init__(self, reader, pictures, examples) -> None:
        self.read = _slider(self.counted, 1, 1)
        self.read.observe(self._turn, "value")
        super().__init__(reader, pictures, examples, below=[self.read])

    def _update(self, _change=None) -> None:
        self.replies = ()  # the slider shows nothing until there are replies to the new question
        super()._update()

    def _show(self, question: str, reply: Sequence[tuple[str, Reply]]) -> None:
        if not reply:
            raise ValueError(f"The reader gave no reply to {question!r}. It must give one for each word.")
        self.read.max = self.read.value = len(reply)
        self.replies = reply
        self._turn()

    def _turn(self, _change=None) -> None:
        if self.replies:
            super()._show(self._heading(), self.replies[self.read.value - 1][1])

    def _heading(self) -> str:
        words = [word for word, _ in self.replies[: self.read.value]]
        return " ".join(words) + (" …" if self.read.value < len(self.replies) else "")


class _Stepping(_Reading):
    counted = "step"

    def _heading(self) -> str:
        return f"{self.text.value.strip()}\n{self.replies[self.read.value - 1][0]}"
