"""Run lessons in a real browser and operate their widgets: ``make browser`` (tests/in_browser.py).

Opens a notebook in JupyterLab in a headless Chromium, runs all its cells, moves every control of every widget by
keyboard and checks that what the widget shows changes. Errors of cells, of the kernel, of JupyterLab's log and of the
page are problems; so are controls that do nothing, have no label, or cannot be reached with Tab. Screenshots for a
person to look at go to runs/browser/.

JupyterLab serves copies of the notebooks without outputs, with default settings. Requests to other hosts are answered
with an empty picture, so a run needs no network and gives the same result everywhere. browser.js runs in the page.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

SCRIPT = Path(__file__).with_suffix(".js")
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync "
    "--no-first-run --disable-dev-shm-usage"
).split()
PATIENCE = 300_000  # milliseconds until a missing answer becomes an error: slow is no error
SIZE = {"width": 1280, "height": 1400}
EMPTY_PICTURE = '<svg xmlns="http://www.w3.org/2000/svg"/>'
NO_NEWS = '{"fetchNews": "false", "checkForUpdates": false, "doNotDisturbMode": true}'
BAD_TEXTS = ("", "???", "<b>&", "9" * 60)  # what any text box must survive
KEYS = {  # kind of control: keys to try, in turn, until something changes
    "slider": (["ArrowRight"], ["ArrowLeft"], ["ArrowRight"] * 3, ["End"], ["Home"]),
    "dropdown": (["ArrowDown"], ["ArrowUp"], ["End"], ["Home"]),
    "number": (["ArrowUp", "Enter"], ["ArrowDown", "Enter"]),
    "radio": (["Space"],),
    "checkbox": (["Space"],),
    "button": (["Space"],),
}
KERNEL_DIED = "the kernel died"
UNKNOWN_KIND = "is of an unknown kind: add its keys to tools/browser.py"


class BrowserError(RuntimeError):
    """Why the browser or JupyterLab cannot start, in one line."""


@dataclass
class Control:
    """A control of a widget, as browser.js describes it."""

    cell: int
    number: int
    kind: str
    label: str
    options: list[str] = field(default_factory=list)

    @property
    def selector(self) -> str:
        """CSS selector of the mark that browser.js has given it."""
        return f'[data-course="{self.cell}-{self.number}"]'

    def __str__(self) -> str:
        return f"cell {self.cell}, {self.kind} “{self.label}”"


# --- the browser ------------------------------------------------------------------------------------------------


def find_browser(bundled: str = "") -> str:
    """Path of the browser: COURSE_BROWSER, else playwright's own (``bundled``) if installed, else the system's.

    Raises:
        BrowserError: If there is none.
    """
    asked = os.environ.get("COURSE_BROWSER", "")
    if asked and not shutil.which(asked):
        raise BrowserError(f"COURSE_BROWSER={asked} is not a program on this machine.")
    found = [asked, bundled if bundled and Path(bundled).exists() else "", *map(shutil.which, PROGRAMS)]
    if not any(found):
        raise BrowserError(
            "No Chromium was found. Install one: `sudo apt install chromium`, or `playwright install chromium` in the "
            "course's environment; or set COURSE_BROWSER to one."
        )
    return next(program for program in found if program)


def watched_page(context: BrowserContext) -> tuple[Page, list[str]]:
    """Open a page that is cut off from the network; return it and the list that collects its errors."""
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.add_init_script(path=SCRIPT)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(f"the page raised: {error}"))
    page.on("console", lambda said: said.type == "error" and problems.append(logged(said.text, said.location)))
    page.route(
        lambda url: not re.match(r"(https?|wss?)://127\.0\.0\.1|data:|blob:|about:", url),
        lambda route: route.fulfill(status=200, content_type="image/svg+xml", body=EMPTY_PICTURE),
    )
    return page, problems


def logged(text: str, location: dict) -> str:
    """Describe an error of the browser's console; a missing resource with its address."""
    address = re.sub(r"^https?://[^/]*|[?].*", "", location.get("url", ""))
    return f"the page logged: {text}" + (f" ({address})" if "Failed to load resource" in text else "")


# --- JupyterLab -------------------------------------------------------------------------------------------------


@dataclass
class Lab:
    """A running JupyterLab.

    Attributes:
        address: Its URL, without a path.
        token: Its access token.
        log: The file that it and its kernels write to.
    """

    address: str
    token: str
    log: Path


@contextlib.contextmanager
def lab(notebooks: Sequence[Path], patience: float = 600) -> Iterator[Lab]:
    """Run JupyterLab on this machine, on copies of the notebooks without outputs, with default settings."""
    with tempfile.TemporaryDirectory(prefix="course-browser-", ignore_cleanup_errors=True) as folder:
        home, served = Path(folder), Path(folder) / "notebooks"
        served.mkdir()
        for path in notebooks:
            nbformat.write(without_outputs(nbformat.read(path, as_version=4)), served / path.name)
        settings = home / "settings" / "@jupyterlab" / "apputils-extension"
        settings.mkdir(parents=True)
        (settings / "notification.jupyterlab-settings").write_text(NO_NEWS, encoding="utf-8")
        own = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime"}
        own |= {"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}
        environment = {**os.environ, **{name: str(home / part) for name, part in own.items()}}
        token, port = secrets.token_hex(16), free_port()
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--expose-app-in-browser", "--allow-root"]
        command += ["--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
        command += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={served}"]
        running = Lab(f"http://127.0.0.1:{port}", token, home / "log")
        with running.log.open("w") as log:
            server = subprocess.Popen(command, env=environment, cwd=served, stdout=log, stderr=subprocess.STDOUT)
            try:
                _wait_for(running, server, patience)
                yield running
            finally:
                server.terminate()  # it ends its kernels first
                try:
                    server.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    server.kill()


def without_outputs(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Remove all outputs, so that whatever the page shows comes from this run."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def free_port() -> int:
    """A TCP port that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(running: Lab, server: subprocess.Popen, patience: float) -> None:
    end = time.monotonic() + patience
    while time.monotonic() < end and server.poll() is None:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(f"{running.address}/api/status?token={running.token}", timeout=5).close()
            return
        time.sleep(0.3)
    raise BrowserError(f"JupyterLab did not start:\n{running.log.read_text()[-1500:]}")


# --- a notebook -------------------------------------------------------------------------------------------------


class NotebookPage:
    """A notebook that is open in JupyterLab.

    Args:
        page: The page that shows it.
        problems: The list that collects the page's errors; this class adds its own.
        folder: Folder for screenshots.
        name: First part of their names.
    """

    def __init__(self, page: Page, problems: list[str], folder: Path, name: str) -> None:
        self.page, self.problems, self.folder, self.name = page, problems, folder, name
        self.controls_moved = 0

    def js(self, function: str, argument: object = None) -> object:
        """Call a function of browser.js."""
        return self.page.evaluate(f"course.{function}", argument)

    def check(self, running: Lab, seconds: float) -> None:
        """Open the notebook, run it, take screenshots, move its widgets, and shut its kernel down."""
        address = f"{running.address}/lab/tree/{self.name}.ipynb?token={running.token}&reset"
        self.page.goto(address, wait_until="domcontentloaded")
        self.page.wait_for_function("course.idle()")
        self.js("listen")
        cells = self.run(seconds)
        if KERNEL_DIED in self.problems:
            return
        self.photograph()
        self.try_widgets(cells)
        self.problems += outside_problems(self.js("state")["errors"])
        self.js("shutDown")

    def run(self, seconds: float) -> list[dict]:
        """Run all cells and return them with their outcome. A dead or slow kernel is a problem."""
        end = time.monotonic() + seconds
        self.js("runAll")
        state = self.js("state")
        while state["run"] == "running" and not state["died"] and time.monotonic() < end:
            self.page.wait_for_timeout(500)
            state = self.js("state")
        if state["died"]:
            self.problems.append(KERNEL_DIED)
        elif state["run"] != "done":
            self.problems.append(f"after {seconds:.0f} s the cells were not done: {state['run']}")
        cells = self.js("cells")
        self.problems += cell_problems(cells)
        return cells

    def try_widgets(self, cells: Sequence[dict]) -> None:
        """Move every control of every cell."""
        for cell in cells:
            if cell["code"] and (found := self.js("controls", cell["number"])):
                self.try_cell(cell["number"], [Control(**control) for control in found])
        if not self.controls_moved and needs_a_control(cells):
            self.problems.append("it imports ipywidgets, and shows no control")

    def try_cell(self, cell: int, controls: list[Control]) -> None:
        """Move every control of one cell, by keyboard alone."""
        self.js("scrollTo", cell)
        self.settle(cell)
        self.screenshot(cell, "before")
        self.problems += [f"{control} has no label" for control in controls if not control.label]
        self.problems += [f"{control} is not reached with Tab" for control in self.missed_by_tab(controls)]
        buttons = [control for control in controls if control.kind == "button"]
        for control in controls:
            self.js("controls", cell)  # a move may have replaced other controls, and their marks with them
            if not self.move(control) and not any(self.move(button) for button in buttons if button is not control):
                self.problems.append(f"{control} was moved, and nothing that the cell shows has changed")
            self.problems += [f"{control}: {text}" for text in self.js("failedOutputs", cell)]
            self.settle(cell)
            self.screenshot(cell, f"{control.number + 1}_{control.label}")
            self.controls_moved += 1

    def missed_by_tab(self, controls: list[Control]) -> list[Control]:
        """The controls that never get the focus while Tab is pressed repeatedly, starting before the first one."""
        self.page.focus(controls[0].selector)
        self.page.keyboard.press("Shift+Tab")
        reached = set()
        for _ in range(3 * len(controls) + 12):
            self.page.keyboard.press("Tab")
            reached.add(self.page.evaluate("document.activeElement?.dataset.course"))
        return [control for control in controls if f"{control.cell}-{control.number}" not in reached]

    def move(self, control: Control) -> bool:
        """Move a control until what its cell shows changes; return whether it did."""
        before = self.js("shown", control.cell)
        if control.kind in ("text", "textarea"):
            return self.type_into(control, before)
        if control.kind not in KEYS:
            self.problems.append(f"{control} {UNKNOWN_KIND}")
            return True
        held, moved = self.js("value", control.selector), control.kind == "button"
        for keys in KEYS[control.kind]:
            self.page.focus(control.selector)
            for key in keys:
                self.page.keyboard.press(key)
            if self.changed(control.cell, before):
                return True
            moved = moved or self.js("value", control.selector) != held
        if not moved:
            self.problems.append(f"{control} does not respond to keys")
        return False

    def type_into(self, control: Control, before: int) -> bool:
        """Type other texts into a text box, then nonsense, then the first text; return whether it responded."""
        held = self.page.input_value(control.selector)
        others = [option for option in control.options if option != held][:2] or [f"{held} dog".strip(), "dog"]
        responds = False
        for text in others:
            self.enter(control, text)
            responds = responds or self.changed(control.cell, before)
        self.screenshot(control.cell, f"{control.number + 1}_{control.label}_typed")
        for text in BAD_TEXTS:
            self.enter(control, text)
            self.settle(control.cell)
        after_nonsense = self.js("shown", control.cell)
        self.enter(control, held)
        if responds and not self.changed(control.cell, after_nonsense):
            self.problems.append(f"{control} no longer responds after nonsense was entered")
        return responds

    def enter(self, control: Control, text: str) -> None:
        """Replace the text of a box by keyboard, and confirm it."""
        self.page.focus(control.selector)
        self.page.keyboard.press("ControlOrMeta+a")
        self.page.keyboard.press("Delete")
        self.page.keyboard.insert_text(text)
        self.page.keyboard.press("Enter" if control.kind == "text" else "Tab")

    def settle(self, cell: int) -> None:
        """Wait until the kernel has answered and the page has drawn the answer.

        A widget sends its next message only after the kernel has handled the last, hence several rounds.
        """
        for _ in range(20):
            before = self.js("shown", cell)
            self.js("roundTrip")
            self.page.wait_for_timeout(200)
            if self.js("shown", cell) == before:
                return

    def changed(self, cell: int, before: int, patience: float = 3.0) -> bool:
        """Whether a cell shows something else once the kernel is done."""
        self.settle(cell)
        end = time.monotonic() + patience
        while (now := self.js("shown", cell)) == before and time.monotonic() < end:
            self.page.wait_for_timeout(200)
        return now != before

    def screenshot(self, cell: int, what: str) -> None:
        """Save what the window shows, with the cell at its top."""
        label = re.sub(r"\W+", "_", what).strip("_")
        self.page.screenshot(path=self.folder / f"{self.name}_cell{cell:03d}_{label}.png")

    def photograph(self, limit: int = 80) -> None:
        """Save screenshots of the whole notebook, from top to bottom."""
        self.js("scrollToTop")
        for number in range(limit):
            self.page.wait_for_timeout(300)
            self.page.screenshot(path=self.folder / f"{self.name}_page{number:02d}.png")
            if self.js("scrollDown") < 1:
                return


def cell_problems(cells: Sequence[dict]) -> list[str]:
    """Unexpected errors, warnings, and cells that did not run."""
    problems = []
    for cell in cells:
        name, wanted = f"cell {cell['number']}", "raises-exception" in cell["tags"]
        if not cell["code"] or not cell["source"].strip():
            continue
        if wanted and not cell["errors"]:
            problems.append(f"{name} is tagged raises-exception, and raised nothing")
        if not wanted:
            problems += [f"{name} raised {error}" for error in cell["errors"]]
        if cell["stderr"]:
            problems.append(f"{name} wrote to stderr: {cell['stderr'][:300]}")
        if not cell["count"]:
            problems.append(f"{name} was not run")
    return problems


def outside_problems(texts: Sequence[str]) -> list[str]:
    """Errors and warnings that belong to no cell, except JupyterLab's probe of a kernel without widgets."""
    lines = [line.strip() for text in texts for line in text.splitlines()]
    ours = [line for line in lines if line and not re.match(r".*No such comm\b", line)]
    return [f"outside of any cell, the kernel wrote: {line}" for line in ours]


def needs_a_control(cells: Sequence[dict]) -> bool:
    """Whether a notebook is meant to show a widget: it imports ipywidgets, or calls ``widgets.ask``."""
    sources = "\n".join(cell["source"] for cell in cells if cell["code"])
    return bool(re.search(r"^\s*(import|from) ipywidgets\b|\bwidgets\.ask\(", sources, flags=re.M))


def log_problems(log: str) -> list[str]:
    """Exceptions in the log of JupyterLab and its kernels, where those of widget callbacks end up."""
    raised = re.findall(r"^(?:\w+\.)*\w*(?:Error|Exception): .*$", log, flags=re.M)
    return [f"the server's log: {line}" for line in raised]


def check_notebook(context: BrowserContext, running: Lab, path: Path, folder: Path, seconds: float = 900) -> list[str]:
    """Run a notebook in the browser and move its widgets.

    Args:
        context: A fresh browser context.
        running: A JupyterLab that serves the notebook.
        path: The notebook.
        folder: Folder for screenshots; those of an earlier run are removed.
        seconds: Time limit for its cells.

    Returns:
        Its problems.
    """
    from playwright.sync_api import Error

    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{path.stem}_*.png"):
        old.unlink()
    page, problems = watched_page(context)
    logged_before = running.log.stat().st_size
    notebook = NotebookPage(page, problems, folder, path.stem)
    try:
        notebook.check(running, seconds)
    except Error as error:
        problems.append(f"the page did not answer: {str(error).splitlines()[0]}")
    problems += log_problems(running.log.read_bytes()[logged_before:].decode(errors="replace"))
    print(f"{path.name}: {notebook.controls_moved} controls moved")
    return list(dict.fromkeys(problems))
