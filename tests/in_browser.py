"""Lessons in a real browser, after planted defects that must be caught there: `make browser` runs this.

NOTEBOOKS names the notebooks or folders to check; by default all lessons.
"""

from __future__ import annotations

import os
import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tools import authoring, browser

WIDGETS = "import ipywidgets\nfrom IPython.display import HTML, Javascript, display\nshown = ipywidgets.HTML('start')"
SLIDER = "s = ipywidgets.IntSlider(2, 0, 9, description='number')"
OBSERVED = f"{SLIDER}\ns.observe(show, 'value')\nipywidgets.VBox([s, shown])"
SHOW = "def show(change):\n    shown.value = f'<b>{change.new}</b>'"
GOOD = """\
controls = [
    ipywidgets.IntSlider(9, 0, 9, description='number', continuous_update=False),
    ipywidgets.Dropdown(options=['red', 'blue'], value='blue', description='colour'),
    ipywidgets.Text('a dog', description='question', continuous_update=False),
    ipywidgets.Combobox(value='cat', options=['cat', 'cow'], description='animal', continuous_update=False),
    ipywidgets.Textarea('long', description='story', continuous_update=False),
    ipywidgets.BoundedIntText(3, 0, 3, description='count'),
    ipywidgets.Checkbox(False, description='upside down'),
    ipywidgets.RadioButtons(options=['one', 'two'], description='voice'),
]
for control in controls:
    control.observe(show, 'value')
waiting = ipywidgets.Dropdown(options=['circle', 'square'], description='or draw a')
button = ipywidgets.Button(description='Draw it')
drawn = []


def draw(_button):
    drawn.append(waiting.value)
    shown.value = f'{len(drawn)}. {waiting.value}'


button.on_click(draw)
ipywidgets.VBox([*controls, waiting, button, shown])"""

SLOW = """\
import time


def show(change):
    time.sleep(5)
    shown.value = f'<b>{change.new}</b>'


text = ipywidgets.Text('a dog', description='question', continuous_update=False)
text.observe(show, 'value')
ipywidgets.VBox([text, shown])"""

PLANTED = {  # name: (cells, pattern of the problem; None if there is none)
    "good": ([WIDGETS, SHOW, GOOD], None),
    "slow": ([WIDGETS, SLOW], None),
    "wanted": (["# tagged\n1 / 0", "1 + 1"], None),
    "cell": (["1 + 1", "raise ValueError('planted')"], r"cell 1 raised ValueError: planted"),
    "warning": (["import warnings\nwarnings.warn('planted')"], r"cell 0 wrote to stderr: .*planted"),
    "dead": (["import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"], r"the kernel died"),
    "idle": (
        [WIDGETS, f"{SLIDER}\nipywidgets.VBox([s, shown])"],
        r"cell 1, slider “number” was moved, and nothing that the cell shows has changed",
    ),
    "callback": (
        [WIDGETS, "def show(change):\n    shown.value = str(1 / (change.new - 3))", OBSERVED],
        r"ZeroDivisionError",
    ),
    "nonsense": (
        [
            WIDGETS,
            "def show(change):\n    shown.value = {'a': 'A', 'a dog': 'B', 'dog': 'C'}[change.new]",
            "s = ipywidgets.Text('a', description='question', continuous_update=False)\n"
            "s.observe(show, 'value')\nipywidgets.VBox([s, shown])",
        ],
        r"KeyError",
    ),
    "label": ([WIDGETS, SHOW, OBSERVED.replace("description='number'", "")], r"slider “” has no label"),
    "tab": (
        [
            WIDGETS, SHOW, OBSERVED,
            "display(Javascript('setInterval(() => document.querySelectorAll(\".noUi-handle\")"
            ".forEach(e => e.tabIndex = -1), 50)'))",
        ],
        r"cell 2, slider “number” is not reached with Tab",
    ),
    "keys": (
        [
            WIDGETS, SHOW, OBSERVED,
            "display(Javascript('document.addEventListener(\"keydown\", "
            "e => e.key === \"Tab\" || (e.preventDefault(), e.stopImmediatePropagation()), true)'))",
        ],
        r"cell 2, slider “number” does not respond to keys",
    ),
    "unknown": (
        [WIDGETS, SHOW, OBSERVED.replace("IntSlider(2, 0, 9,", "ColorPicker(")],
        r"color “number” is of an unknown kind",
    ),
    "absent": (["import ipywidgets\nprint('no control')"], r"it imports ipywidgets, and shows no control"),
    "logged": (
        ["from IPython.display import Javascript\nJavascript('console.error(\"planted in the page\")')"],
        r"the page logged: planted in the page",
    ),
    "thrown": (
        ["from IPython.display import Javascript\nJavascript('setTimeout(() => { throw new Error(\"planted\") })')"],
        r"the page raised: .*planted",
    ),
}  # fmt: skip


ASKED = [authoring.ROOT / name for name in os.environ.get("NOTEBOOKS", "notebooks").split()]
LESSONS = [lesson for path in ASKED for lesson in (sorted(path.glob("*.ipynb")) if path.is_dir() else [path])]
assert LESSONS, "NOTEBOOKS names no notebook"


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """The folder of the planted notebooks."""
    folder = tmp_path_factory.mktemp("planted")
    for name, (sources, _) in PLANTED.items():
        cells = [new_code_cell(source) for source in sources]
        for cell in cells:
            if cell.source.startswith("# tagged"):
                cell.metadata["tags"] = ["raises-exception"]
        nbformat.write(new_notebook(cells=cells, metadata=authoring.METADATA), folder / f"{name}.ipynb")
    return folder


@pytest.fixture(scope="module")
def lab(planted):
    """JupyterLab with the planted notebooks and the lessons."""
    with browser.lab([*planted.glob("*.ipynb"), *LESSONS]) as running:
        yield running


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_defect_is_caught(context, lab, planted, name):
    pictures = planted / "screenshots"
    problems = browser.check_notebook(context, lab, planted / f"{name}.ipynb", pictures, seconds=300)
    wanted, said = PLANTED[name][1], "\n".join(problems)
    if wanted is None:
        assert not problems, said
    else:
        assert any(re.search(wanted, problem, flags=re.S) for problem in problems), said
    if name == "good":
        names = {path.name for path in pictures.glob("good_*.png")}
        assert {"good_page00.png", "good_cell002_before.png", "good_cell002_2_colour.png"} <= names


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_has_no_problem(context, lab, path):
    assert browser.check_notebook(context, lab, path, authoring.ROOT / "runs" / "browser") == []
