"""The parts of tools.browser that need no browser; tests/in_browser.py (`make browser`) tests the rest in one."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools import browser


@pytest.fixture
def no_programs(monkeypatch):
    monkeypatch.delenv("COURSE_BROWSER", raising=False)
    monkeypatch.setattr(browser.shutil, "which", lambda name: None)


def test_without_a_browser_one_line_says_what_to_install(no_programs):
    with pytest.raises(browser.BrowserError, match="^No Chromium was found. Install one: `sudo apt install") as error:
        browser.find_browser("/nowhere/chrome")
    assert "\n" not in str(error.value)


def test_a_wrong_course_browser_is_reported(no_programs, monkeypatch):
    monkeypatch.setenv("COURSE_BROWSER", "netscape")
    with pytest.raises(browser.BrowserError, match="COURSE_BROWSER=netscape is not a program"):
        browser.find_browser()


def test_course_browser_comes_before_playwrights_own_and_that_before_the_systems(monkeypatch, tmp_path):
    monkeypatch.delenv("COURSE_BROWSER", raising=False)
    monkeypatch.setattr(browser.shutil, "which", lambda name: f"/usr/bin/{name}")
    bundled = tmp_path / "chrome"
    assert browser.find_browser(str(bundled)) == "/usr/bin/chromium"
    bundled.touch()
    assert browser.find_browser(str(bundled)) == str(bundled)
    monkeypatch.setenv("COURSE_BROWSER", "firefox")
    assert browser.find_browser(str(bundled)) == "firefox"


def test_the_page_starts_without_outputs():
    output = new_output("stream", text="old")
    notebook = new_notebook(cells=[new_markdown_cell("a"), new_code_cell("1", execution_count=3, outputs=[output])])
    cell = browser.without_outputs(notebook).cells[1]
    assert cell.outputs == [] and cell.execution_count is None and cell.source == "1"


def ran(**changes):
    cell = {"number": 4, "code": True, "count": 1, "source": "x = 1", "tags": [], "errors": [], "stderr": ""}
    return browser.cell_problems([cell | changes])


def test_what_is_wrong_with_a_cell():
    assert ran() == []
    assert ran(errors=["ValueError: no"]) == ["cell 4 raised ValueError: no"]
    assert ran(errors=["ValueError: no"], tags=["raises-exception"]) == []
    assert ran(tags=["raises-exception"]) == ["cell 4 is tagged raises-exception, and raised nothing"]
    assert ran(stderr="careful") == ["cell 4 wrote to stderr: careful"]
    assert ran(count=None) == ["cell 4 was not run"]
    assert ran(count=None, source=" \n") == ran(count=None, code=False) == []


@pytest.mark.parametrize(
    ("source", "needed"),
    [
        ("import ipywidgets", True),
        ("from ipywidgets import Text", True),
        ("widgets.ask(model, pictures, questions)", True),
        ("from course_utils import widgets\nwidgets.answer_card(picture)", False),
        ("text = 'import ipywidgets'", False),
    ],
)
def test_which_notebooks_mean_to_show_a_control(source, needed):
    assert browser.needs_a_control([{"code": True, "source": source}]) is needed


def test_errors_outside_of_cells_are_reported_except_jupyterlabs_probe():
    probe = "No such comm target registered: jupyter.widget.control\n[W] No such comm: 02cd9c81\n"
    assert browser.outside_problems([probe, "ValueError: planted\n"]) == [
        "outside of any cell, the kernel wrote: ValueError: planted"
    ]


def test_exceptions_are_read_from_the_log():
    log = """\
[I 2026-01-01 ServerApp] Kernel started
Traceback (most recent call last):
  File "x.py", line 1, in show
ZeroDivisionError: division by zero
traitlets.traitlets.TraitError: out of range
[W] an Error: in the middle of a line is a line's own affair
"""
    assert browser.log_problems(log) == [
        "the server's log: ZeroDivisionError: division by zero",
        "the server's log: traitlets.traitlets.TraitError: out of range",
    ]


def test_a_missing_resource_is_named():
    missing = "Failed to load resource: the server responded with a status of 404 (Not Found)"
    said = browser.logged(missing, {"url": "http://127.0.0.1:8888/api/x?token=1"})
    assert said == f"the page logged: {missing} (/api/x)"
    assert browser.logged("planted", {"url": "http://127.0.0.1/a.js"}) == "the page logged: planted"


def test_a_port_is_free():
    port = browser.free_port()
    with contextlib.closing(browser.socket.socket()) as probe:
        probe.bind(("127.0.0.1", port))


def test_a_server_that_does_not_start_is_reported(monkeypatch, tmp_path):
    started = subprocess.Popen
    failing = [sys.executable, "-c", "print('planted: no room'); raise SystemExit(1)"]
    monkeypatch.setattr(browser.subprocess, "Popen", lambda command, **options: started(failing, **options))
    path = tmp_path / "a.ipynb"
    nbformat.write(new_notebook(), path)
    with pytest.raises(browser.BrowserError, match="did not start:\nplanted: no room"), browser.lab([path]):
        pass


class FakePage:
    """A page whose cell shows what the pressed keys make it show."""

    def __init__(self, shown, answers_keys=True):
        self.shown, self.pressed, self.answers_keys = shown, [], answers_keys
        self.keyboard = self

    def press(self, key):
        self.pressed.append(key)

    def evaluate(self, program, *_):
        if program == "course.value":
            return len(self.pressed) if self.answers_keys else 0
        return self.shown(self.pressed) if program == "course.shown" else None

    def focus(self, selector):
        assert selector == '[data-course="2-0"]'

    def wait_for_timeout(self, _milliseconds):
        pass


def move(shown, kind="slider", answers_keys=True):
    page = FakePage(shown, answers_keys)
    problems = []
    notebook = browser.NotebookPage(page, problems, None, "name")
    notebook.changed = lambda cell, before: page.evaluate("course.shown") != before
    return notebook.move(browser.Control(2, 0, kind, "number")), page.pressed, problems


def test_a_control_that_answers_is_moved_once():
    assert move(lambda pressed: len(pressed)) == (True, ["ArrowRight"], [])


def test_a_control_at_its_end_is_moved_back():
    assert move(lambda pressed: "ArrowLeft" in pressed) == (True, ["ArrowRight", "ArrowLeft"], [])


def test_a_control_that_does_nothing_is_tried_in_every_way():
    moved, pressed, problems = move(lambda pressed: 0)
    assert not moved and set(pressed) == {"ArrowRight", "ArrowLeft", "End", "Home"} and problems == []


def test_a_control_that_keys_do_not_move_is_reported():
    moved, _, problems = move(lambda pressed: 0, answers_keys=False)
    assert not moved and problems == ["cell 2, slider “number” does not respond to keys"]


def test_a_control_of_an_unknown_kind_does_not_pass_unnoticed():
    assert move(lambda pressed: 0, kind="color")[2] == [f"cell 2, color “number” {browser.UNKNOWN_KIND}"]
