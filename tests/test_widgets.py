from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from course_utils import widgets

PICTURES = [np.full((64, 64, 3), shade, dtype=np.uint8) for shade in (0, 100, 255)]


class Answerer:
    """Gives fixed probabilities and records the shade of the picture and the question."""

    def __init__(self) -> None:
        self.asked = []

    def __call__(self, picture, question):
        self.asked.append((int(picture[0, 0, 0]), question))
        unknown = [word for word in question.split() if word == "<gnu>"]
        return widgets.Reply({"dark": 0.3, "light": 0.7}, np.eye(8) / 8, unknown)


def draw(shape, colour, seed):
    return np.full((64, 64, 3), {"black": 10, "white": 240}[colour] + seed, dtype=np.uint8)


@pytest.fixture
def asking():
    return widgets._Asking(Answerer(), PICTURES, ("how dark?", "how light?"), draw, (["square"], ["black", "white"]))


def test_the_first_question_is_asked_at_once(asking):
    assert asking.answerer.asked == [(0, "how dark?")]
    assert "light 70%" in asking.shown.value and "alt=" in asking.shown.value


def test_every_control_changes_what_is_asked(asking):
    asking.number.value = 2
    asking.text.value = "is it night?"
    asking.example.value = "how light?"
    asking.colour.value = "white"
    asking._draw(None)
    asking._draw(None)
    assert asking.answerer.asked[1:] == [
        (255, "how dark?"), (255, "is it night?"), (255, "how light?"), (241, "how light?"), (242, "how light?"),
    ]  # fmt: skip


def test_an_empty_question_asks_for_one(asking):
    asking.text.value = "  "
    assert len(asking.answerer.asked) == 1 and "Type a question" in asking.shown.value


def test_a_question_that_cannot_be_answered_says_why(asking):
    def refuse(picture, question):
        raise ValueError("There is no word in the question '<?>'.")

    asking.answerer = refuse
    asking.text.value = "<?>"
    assert "no word in the question" in asking.shown.value and "<?>" not in asking.shown.value


def test_unknown_words_are_reported_and_escaped(asking):
    asking.text.value = "where is the <gnu> ?"
    assert "never met “&lt;gnu&gt;”" in asking.shown.value


def test_a_reply_answers_with_the_most_probable():
    assert widgets.Reply({"yes": 0.2, "no": 0.8}).answer == "no"


def test_a_widget_needs_something_to_show():
    for pictures, examples in (([], ["a?"]), (PICTURES, [])):
        for widget in (widgets.ask, widgets.word_by_word, widgets.step_by_step):
            with pytest.raises(ValueError, match="at least one picture and one example"):
                widget(Answerer(), pictures, examples)


def test_without_draw_there_is_no_button():
    box = widgets.ask(Answerer(), PICTURES, ["how dark?"])
    assert not any(type(child).__name__ == "HBox" for child in box.children)


# --- searching ------------------------------------------------------------------------------------------------------


def by_length(query):
    """One picture per letter except x."""
    if "?" in query:
        raise ValueError(f"There is a question mark in {query!r} <b>.")
    found = [(i, letter) for i, letter in enumerate(query) if letter != "x"]
    return [widgets.Found(PICTURES[i % 3], f"letter {letter}", 1 - i / 10) for i, letter in found]


@pytest.fixture
def searching():
    return widgets._Searching({"by length": by_length, "backwards": lambda text: by_length(text[::-1])}, ("abc", "de"))


def test_the_first_example_is_searched_at_once(searching):
    assert "Searched “abc”, found letter a 1.00, letter b 0.90, letter c 0.80." in searching.shown.value


def test_words_examples_and_methods_change_what_is_found(searching):
    searching.text.value = " fg "
    assert "“fg”, found letter f 1.00" in searching.shown.value
    searching.method.value = "backwards"
    assert "“fg”, found letter g 1.00" in searching.shown.value
    searching.example.value = "de"
    assert searching.text.value == "de" and "found letter e 1.00" in searching.shown.value


def test_a_search_says_what_is_wrong(searching):
    searching.text.value = "   "
    assert "Type some words" in searching.shown.value
    searching.text.value = "<i>?"
    assert "question mark in" in searching.shown.value and "<i>" not in searching.shown.value
    searching.text.value = "xx"
    assert "Nothing was found for “xx”" in searching.shown.value


def test_a_search_box_offers_methods_only_if_there_are_several():
    alone = widgets.search({"by length": by_length}, ["abc"])
    several = widgets.search({"a": by_length, "b": by_length}, ["abc"])
    assert len(several.children) == len(alone.children) + 1
    for retrievers, examples in (({}, ["a"]), ({"a": by_length}, [])):
        with pytest.raises(ValueError, match="at least one retriever and one example"):
            widgets.search(retrievers, examples)


def test_a_query_in_any_script_draws_without_a_warning(recwarn):
    assert "“火箭”" in widgets.search_card("火箭", by_length("ab")).alt
    assert not recwarn.list


# --- word by word -----------------------------------------------------------------------------------------------


def read(picture, question):
    """One reply per word."""
    words = question.replace("?", " ").split()
    if not words:
        raise ValueError("There is no word in it.")
    return [(word, widgets.Reply({"dark": 0.1, f"light {n}": 0.9}, np.eye(8) / n)) for n, word in enumerate(words, 1)]


@pytest.fixture
def reading():
    return widgets._Reading(read, PICTURES, ("how dark is it?", "how light?"))


def test_the_whole_question_is_read_at_first(reading):
    assert (reading.read.value, reading.read.max) == (4, 4)
    assert "how dark is it”" in reading.shown.value and "light 4 90%" in reading.shown.value


def test_the_slider_goes_back_through_the_words(reading):
    reading.read.value = 2
    assert "how dark …”" in reading.shown.value and "light 2 90%" in reading.shown.value


def test_another_question_has_its_own_number_of_words(reading):
    reading.read.value = 1
    reading.example.value = "how light?"
    assert (reading.read.value, reading.read.max) == (2, 2) and "how light”" in reading.shown.value
    reading.text.value = "is it very dark <now>?"
    assert (reading.read.value, reading.read.max) == (5, 5) and "&lt;now&gt;" in reading.shown.value
    reading.number.value = 2
    assert (reading.read.value, reading.read.max) == (5, 5)


def test_bad_input_says_why_and_keeps_the_widget_alive(reading):
    reading.text.value = "?"
    assert "There is no word" in reading.shown.value
    reading.read.value = 1
    reading.text.value = "  "
    assert "Type a question" in reading.shown.value
    reading.text.value = "how light?"
    assert "how light”" in reading.shown.value


def test_a_reader_without_replies_is_refused():
    with pytest.raises(ValueError, match="one for each word"):
        widgets.word_by_word(lambda picture, question: [], PICTURES, ["how dark?"])


def test_the_words_slider_stands_above_the_figure():
    box = widgets.word_by_word(read, PICTURES, ["how dark is it?"])
    kinds = [type(child).__name__ for child in box.children]
    assert kinds == ["IntSlider", "Dropdown", "Text", "IntSlider", "HTML"]


# --- gates and states ----------------------------------------------------------------------------------------


def test_a_card_shows_gates_below_the_picture():
    plain = widgets.Reply({"dark": 0.1, "light": 0.9}, np.eye(8))
    gated = dataclasses.replace(plain, inside={"forget gate": np.full(16, 0.25), "state": np.linspace(-1, 1, 16)})
    cards = [widgets.answer_card(PICTURES[0], "how dark?", reply) for reply in (plain, gated)]
    assert "forget gate: 0.25 on average. state:" in cards[1].alt and "gate" not in cards[0].alt
    heights = [int.from_bytes(card.png[20:24], "big") for card in cards]  # from the PNG header
    assert heights[1] > 1.2 * heights[0]


def test_steps_show_the_whole_question_and_the_name_of_the_step():
    stepping = widgets._Stepping(read, PICTURES, ("how dark is it?", "how light?"))
    assert stepping.read.description == "step" and stepping.read.value == stepping.read.max == 4
    stepping.read.value = 2
    assert stepping._heading() == "how dark is it?\ndark"
    assert "<img" in stepping.shown.value
    stepping.text.value = "   "
    assert "Type a question" in stepping.shown.value
    stepping.read.value = 1  # there is no question: nothing to show, and no error
    assert "Type a question" in stepping.shown.value
