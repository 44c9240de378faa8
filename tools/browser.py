"""The lessons in a real browser: ``python -m tools.browser notebooks/00_start_here.ipynb``.

Opens each notebook in JupyterLab in a headless Chromium, runs all its cells, moves every control of every widget by
keyboard as a learner would, and looks whether what the widget shows changes. An error of a cell, of the kernel, of
JupyterLab's log or of the page is a problem, and so is a control that does nothing, has no label, or cannot be
reached with Tab. Screenshots for a person to look at go to runs/browser/.

JupyterLab serves a copy of the notebooks without their outputs, with none of the user's settings; whatever the page
asks of other hosts is answered with an empty picture, so that a run needs no network and gives the same everywhere.
"""

from __future__ import annotations

import argparse
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

from tools.authoring import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SCREENSHOTS = ROOT / "runs" / "browser"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync "
    "--no-first-run --disable-dev-shm-usage"
).split()
PATIENCE = 300_000  # milliseconds: what does not come is an error, and what is slow is not
SIZE = {"width": 1280, "height": 1400}
EMPTY_PICTURE = '<svg xmlns="http://www.w3.org/2000/svg"/>'
NO_NEWS = '{"fetchNews": "false", "checkForUpdates": false, "doNotDisturbMode": true}'
BAD_TEXTS = ("", "???", "<b>&", "9" * 60)  # what any text box must bear
KEYS = {  # kind of control: what to press, in turn, until something changes
    "slider": (["ArrowRight"], ["ArrowLeft"], ["ArrowRight"] * 3, ["End"], ["Home"]),
    "dropdown": (["ArrowDown"], ["ArrowUp"], ["End"], ["Home"]),
    "number": (["ArrowUp", "Enter"], ["ArrowDown", "Enter"]),
    "radio": (["Space"],),
    "checkbox": (["Space"],),
    "button": (["Space"],),
}
KERNEL_DIED = "the kernel died"
UNDRIVEN = "cannot be driven here: teach tools/browser.py how"


class BrowserError(RuntimeError):
    """What keeps the check from running at all, in one line."""


@dataclass
class Control:
    """Something in a widget that a learner can move."""

    cell: int
    number: int
    kind: str
    label: str
    options: list[str] = field(default_factory=list)

    @property
    def selector(self) -> str:
        """Where :data:`CONTROLS` has marked it in the page."""
        return f'[data-course="{self.cell}-{self.number}"]'

    def __str__(self) -> str:
        return f"cell {self.cell}, {self.kind} “{self.label}”"


# --- the browser ------------------------------------------------------------------------------------------------


def find_browser(bundled: str = "") -> str:
    """The browser to drive: COURSE_BROWSER, playwright's own (``bundled``) where it is installed, or the system's.

    Raises:
        BrowserError: If there is none.
    """
    asked = os.environ.get("COURSE_BROWSER", "")
    if asked and not shutil.which(asked):
        raise BrowserError(f"COURSE_BROWSER={asked} is no program on this machine.")
    found = [asked, bundled if bundled and Path(bundled).exists() else "", *map(shutil.which, PROGRAMS)]
    if not any(found):
        raise BrowserError(
            "No Chromium was found. Install one: `sudo apt install chromium`, or `playwright install chromium` in the "
            "course's environment; or set COURSE_BROWSER to one."
        )
    return next(program for program in found if program)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium.

    Raises:
        BrowserError: If playwright or the browser is missing.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise BrowserError("playwright is missing: `make browser` installs it.") from error
    with sync_playwright() as playwright:
        program = find_browser(playwright.chromium.executable_path)
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def watched_page(browser: Browser, **options) -> tuple[Page, list[str]]:
    """A new page, kept off the network, and the list that its errors go into."""
    page = browser.new_context(**{"viewport": SIZE, **options}).new_page()
    page.set_default_timeout(PATIENCE)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(f"the page raised: {error}"))
    page.on("console", lambda said: said.type == "error" and problems.append(logged(said.text, said.location)))
    page.route(
        lambda url: not re.match(r"(https?|wss?)://127\.0\.0\.1|data:|blob:|about:", url),
        lambda route: route.fulfill(status=200, content_type="image/svg+xml", body=EMPTY_PICTURE),
    )
    return page, problems


def logged(text: str, location: dict) -> str:
    """An error of the browser's console, with its address where that is what is wrong."""
    address = re.sub(r"^https?://[^/]*|[?].*", "", location.get("url", ""))
    return f"the page logged: {text}" + (f" ({address})" if "Failed to load resource" in text else "")


# --- JupyterLab -------------------------------------------------------------------------------------------------


@dataclass
class Lab:
    """A running JupyterLab.

    Attributes:
        address: Its root, with the host and the port.
        token: What it asks for.
        log: The file that it and its kernels write to.
    """

    address: str
    token: str
    log: Path


@contextlib.contextmanager
def lab(notebooks: Sequence[Path], patience: float = 600) -> Iterator[Lab]:
    """JupyterLab on this machine alone, over copies of the notebooks without outputs, with default settings."""
    with tempfile.TemporaryDirectory(prefix="course-browser-", ignore_cleanup_errors=True) as folder:
        home, served = Path(folder), Path(folder) / "notebooks"
        served.mkdir()
        for path in notebooks:
            nbformat.write(without_outputs(nbformat.read(path, as_version=4)), served / path.name)
        settings = home / "settings" / "@jupyterlab" / "apputils-extension"
        settings.mkdir(parents=True)
        (settings / "notification.jupyterlab-settings").write_text(NO_NEWS, encoding="utf-8")
        token, port = secrets.token_hex(16), free_port()
        own = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime"}
        own |= {"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}
        environment = {**os.environ, **{name: str(home / part) for name, part in own.items()}}
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
    """The notebook as if it had never been run, so that whatever the page shows comes from this run."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def free_port() -> int:
    """A port that nobody listens on."""
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

_KERNEL = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel"
IDLE = f"() => {{ const k = {_KERNEL}; return k?.connectionStatus === 'connected' && k.status === 'idle'; }}"
LISTEN = f"""() => {{  // errors of callbacks belong to no cell: JupyterLab shows them in its log alone
  const seen = window.courseErrors = [];
  window.courseDied = false;
  {_KERNEL}.statusChanged.connect((_, status) => {{
    if (['dead', 'restarting', 'autorestarting'].includes(status)) window.courseDied = true;
  }});
  {_KERNEL}.anyMessage.connect((_, {{msg, direction}}) => {{
    if (direction !== 'recv' || msg.parent_header.msg_type === 'execute_request') return;
    if (msg.header.msg_type === 'error') seen.push(`${{msg.content.ename}}: ${{msg.content.evalue}}`);
    if (msg.header.msg_type === 'stream' && msg.content.name === 'stderr') seen.push(msg.content.text);
  }});
}}"""
RUN_ALL = """() => {
  window.courseRun = 'running';
  window.jupyterapp.commands.execute('notebook:run-all-cells')
    .then(() => { window.courseRun = 'done'; }, error => { window.courseRun = String(error); });
}"""
STATE = "() => ({run: window.courseRun, died: window.courseDied})"
CELLS = """() => window.jupyterapp.shell.currentWidget.content.widgets.map((cell, number) => {
  const outputs = cell.model.type === 'code' ? cell.model.outputs.toJSON() : [];
  const text = value => Array.isArray(value) ? value.join('') : String(value ?? '');
  return {
    number, code: cell.model.type === 'code', count: cell.model.executionCount,
    source: cell.model.sharedModel.getSource(), tags: cell.model.getMetadata('tags') ?? [],
    errors: outputs.filter(o => o.output_type === 'error').map(o => `${o.ename}: ${o.evalue}`),
    stderr: outputs.filter(o => o.name === 'stderr').map(o => text(o.text)).join(''),
  };
})"""
ROUND_TRIP = f"async () => {{ await {_KERNEL}.requestKernelInfo(); }}"
SHUT_DOWN = "async () => { await window.jupyterapp.shell.currentWidget.sessionContext.shutdown(); }"
CONTROLS = """cell => {  // mark every control of a cell's widgets, and say what it is
  const node = window.jupyterapp.shell.currentWidget.content.widgets[cell].node;
  const found = [...node.querySelectorAll('.jp-OutputArea :is(.noUi-handle, select, input, textarea, button)')]
    .filter(e => e.closest('.jupyter-widgets'));
  found.forEach(e => { delete e.dataset.course; });
  const kind = e => {
    if (e.matches('.noUi-handle')) return 'slider';
    if (e.tagName !== 'INPUT') return {SELECT: 'dropdown', TEXTAREA: 'textarea', BUTTON: 'button'}[e.tagName];
    return {text: 'text', '': 'text', number: 'number', checkbox: 'checkbox', radio: 'radio'}[e.type] ?? e.type;
  };
  return found.filter(e => !e.disabled && !(e.type === 'radio' && e.checked)).map((e, number) => {
    e.dataset.course = `${cell}-${number}`;
    const text = node => node?.textContent.replace(/[\\s\u200b]+/g, ' ').trim();  // ipywidgets pads with \u200b
    let box = e;  // the control with its label: its smallest ancestor that has one, itself in no box of controls
    while (box && !box.matches('.widget-box') && !text(box.querySelector('.widget-label'))) box = box.parentElement;
    const beside = box?.matches('.widget-box') ? '' : text(box?.querySelector('.widget-label'));
    const label = e.tagName === 'BUTTON' ? text(e) || e.title
      : text(e.labels?.[0]) || beside || e.getAttribute('aria-label') || '';
    const options = e.list ? [...e.list.options].map(o => o.value) : [];
    return {cell, number, kind: kind(e), label, options};
  });
}"""
VALUE = """selector => {  // what a control itself holds
  const e = document.querySelector(selector);
  return e.getAttribute('aria-valuenow') ?? (['radio', 'checkbox'].includes(e.type) ? e.checked : e.value);
}"""
SHOWN = """cell => {  // a fingerprint of what a cell shows, its controls left out
  const node = window.jupyterapp.shell.currentWidget.content.widgets[cell].node;
  const copy = node.querySelector('.jp-Cell-outputArea').cloneNode(true);
  copy.querySelectorAll('.widget-inline-hbox, select, input, textarea, button, datalist').forEach(e => {
    if (!e.matches('.widget-html, .widget-label-basic') && !e.querySelector('.widget-html-content')) e.remove();
  });
  copy.querySelectorAll('*').forEach(e => {
    for (const name of ['id', 'class', 'tabindex', 'data-course']) e.removeAttribute(name);
  });
  const canvases = [...node.querySelectorAll('canvas')].map(c => c.toDataURL()).join();
  let hash = 5381;
  for (const c of copy.innerHTML + canvases) hash = (hash * 33 + c.codePointAt(0)) % 9007199254740;
  return hash;
}"""
FAILED_OUTPUTS = """cell => {  // what an Output widget or an unloaded one shows instead of the figure
  const node = window.jupyterapp.shell.currentWidget.content.widgets[cell].node;
  const bad = '.jupyter-widgets [data-mime-type$="jupyter.error"], .jupyter-widgets [data-mime-type$="jupyter.stderr"]';
  const texts = [...node.querySelectorAll(bad)].map(e => e.textContent);
  if (/Error displaying widget|Loading widget/.test(node.textContent)) texts.push('a widget did not load');
  return texts;
}"""
SCROLL_TO = """async cell => {
  const notebook = window.jupyterapp.shell.currentWidget.content;
  notebook.activeCellIndex = cell;
  await notebook.scrollToItem(cell, 'start');
}"""
SCROLLER = "() => window.jupyterapp.shell.currentWidget.content.node.querySelector('.jp-WindowedPanel-outer')"
SCROLL_DOWN = """node => {
  const at = node.scrollTop;
  node.scrollTop += node.clientHeight - 60;
  return node.scrollTop - at;
}"""


class NotebookPage:
    """A notebook that is open in JupyterLab, and what is wrong with it.

    Args:
        page: The page that it is open in.
        problems: The list that the page's errors go into; this class adds its own.
        folder: Where screenshots go.
        name: How their names begin.
    """

    def __init__(self, page: Page, problems: list[str], folder: Path, name: str) -> None:
        self.page, self.problems, self.folder, self.name = page, problems, folder, name
        self.controls_moved, self.ran = 0, 0.0

    def check(self, running: Lab, seconds: float, pages: bool) -> None:
        """Open the notebook, run it, take pictures of it, move its widgets, close it."""
        self.open(running)
        began = time.monotonic()
        cells = self.run(seconds)
        self.ran = time.monotonic() - began
        if KERNEL_DIED in self.problems:
            return
        if pages:
            self.walk()
        self.try_widgets(cells)
        self.finish()

    def open(self, running: Lab) -> None:
        """Open the notebook and wait for its kernel."""
        address = f"{running.address}/lab/tree/{self.name}.ipynb?token={running.token}&reset"
        self.page.goto(address, wait_until="domcontentloaded")
        self.page.wait_for_function(IDLE)
        self.page.evaluate(LISTEN)

    def run(self, seconds: float) -> list[dict]:
        """Run all cells; the cells with their outcome. A kernel that dies, or takes too long, is a problem."""
        end = time.monotonic() + seconds
        self.page.evaluate(RUN_ALL)
        state = self.page.evaluate(STATE)
        while state["run"] == "running" and not state["died"] and time.monotonic() < end:
            self.page.wait_for_timeout(500)
            state = self.page.evaluate(STATE)
        if state["died"]:
            self.problems.append(KERNEL_DIED)
        elif state["run"] != "done":
            self.problems.append(f"after {seconds:.0f} s the cells were not done: {state['run']}")
        cells = self.page.evaluate(CELLS)
        self.problems += cell_problems(cells)
        return cells

    def try_widgets(self, cells: Sequence[dict]) -> None:
        """Move every control of every cell."""
        for cell in cells:
            if cell["code"] and (controls := self.controls(cell["number"])):
                self.try_cell(cell["number"], controls)
        if not self.controls_moved and needs_a_control(cells):
            self.problems.append("it imports ipywidgets, and shows no control")

    def controls(self, cell: int) -> list[Control]:
        """The controls that a cell shows."""
        return [Control(**found) for found in self.page.evaluate(CONTROLS, cell)]

    def try_cell(self, cell: int, controls: list[Control]) -> None:
        """Move every control of a cell, by keys alone."""
        self.page.evaluate(SCROLL_TO, cell)
        self.settle(cell)
        self.screenshot(cell, "before")
        self.problems += [f"{control} has no label" for control in controls if not control.label]
        self.problems += [f"{control} is not reached with Tab" for control in self.missed_by_tab(controls)]
        buttons = [control for control in controls if control.kind == "button"]
        for control in controls:
            self.page.evaluate(CONTROLS, cell)  # moving one may have drawn another anew
            if not self.move(control) and not any(self.move(button) for button in buttons if button is not control):
                self.problems.append(f"{control} was moved, and nothing that the cell shows has changed")
            self.problems += [f"{control}: {text}" for text in self.page.evaluate(FAILED_OUTPUTS, cell)]
            self.settle(cell)
            self.screenshot(cell, f"{control.number + 1}_{control.label}")
            self.controls_moved += 1

    def missed_by_tab(self, controls: list[Control]) -> list[Control]:
        """The controls that do not get the focus when Tab is pressed again and again, from before the first one."""
        self.page.focus(controls[0].selector)
        self.page.keyboard.press("Shift+Tab")
        reached = set()
        for _ in range(3 * len(controls) + 12):
            self.page.keyboard.press("Tab")
            reached.add(self.page.evaluate("() => document.activeElement?.dataset.course"))
        return [control for control in controls if f"{control.cell}-{control.number}" not in reached]

    def move(self, control: Control) -> bool:
        """Move a control until what the cell shows changes; whether it did."""
        before = self.page.evaluate(SHOWN, control.cell)
        if control.kind in ("text", "textarea"):
            return self.type_into(control, before)
        if control.kind not in KEYS:
            self.problems.append(f"{control} {UNDRIVEN}")
            return True
        held, moved = self.page.evaluate(VALUE, control.selector), control.kind == "button"
        for keys in KEYS[control.kind]:
            self.page.focus(control.selector)
            for key in keys:
                self.page.keyboard.press(key)
            if self.changed(control.cell, before):
                return True
            moved = moved or self.page.evaluate(VALUE, control.selector) != held
        if not moved:
            self.problems.append(f"{control} does not answer to keys")
        return False

    def type_into(self, control: Control, before: int) -> bool:
        """Type something else into a text box, then what makes no sense, then what it held; whether it answers."""
        held = self.page.input_value(control.selector)
        others = [option for option in control.options if option != held][:2] or [f"{held} dog".strip(), "dog"]
        answers = False
        for text in others:
            self.enter(control, text)
            answers = answers or self.changed(control.cell, before)
        self.screenshot(control.cell, f"{control.number + 1}_{control.label}_typed")
        for text in BAD_TEXTS:
            self.enter(control, text)
            self.settle(control.cell)
        after_nonsense = self.page.evaluate(SHOWN, control.cell)
        self.enter(control, held)
        if answers and not self.changed(control.cell, after_nonsense):
            self.problems.append(f"{control} answers nothing more after it was given nonsense")
        return answers

    def enter(self, control: Control, text: str) -> None:
        """Replace the text of a box by keyboard, and leave it as its kind asks."""
        self.page.focus(control.selector)
        self.page.keyboard.press("ControlOrMeta+a")
        self.page.keyboard.press("Delete")
        self.page.keyboard.insert_text(text)
        self.page.keyboard.press("Enter" if control.kind == "text" else "Tab")

    def settle(self, cell: int) -> None:
        """Wait until the kernel has answered what it was sent, and the page has drawn it.

        A widget keeps its next message back until the kernel is through with the last, hence more than one look.
        """
        for _ in range(20):
            before = self.page.evaluate(SHOWN, cell)
            self.page.evaluate(ROUND_TRIP)
            self.page.wait_for_timeout(200)
            if self.page.evaluate(SHOWN, cell) == before:
                return

    def changed(self, cell: int, before: int, patience: float = 3.0) -> bool:
        """Whether a cell comes to show something else, once the kernel is through."""
        self.settle(cell)
        end = time.monotonic() + patience
        while (now := self.page.evaluate(SHOWN, cell)) == before and time.monotonic() < end:
            self.page.wait_for_timeout(200)
        return now != before

    def finish(self) -> None:
        """Gather the errors that belong to no cell, and end the kernel."""
        self.problems += outside_problems(self.page.evaluate("window.courseErrors"))
        self.page.evaluate(SHUT_DOWN)

    # --- pictures -------------------------------------------------------------------------------------------------

    def screenshot(self, cell: int, what: str) -> None:
        """What the window shows, the cell at its top."""
        label = re.sub(r"\W+", "_", what).strip("_")
        self.page.screenshot(path=self.folder / f"{self.name}_cell{cell:03d}_{label}.png")

    def walk(self, limit: int = 80) -> None:
        """Screenshots of the notebook from top to bottom."""
        scroller = self.page.evaluate_handle(SCROLLER)
        scroller.evaluate("node => { node.scrollTop = 0; }")
        for number in range(limit):
            self.page.wait_for_timeout(300)
            self.page.screenshot(path=self.folder / f"{self.name}_page{number:02d}.png")
            if scroller.evaluate(SCROLL_DOWN) < 1:
                return


def cell_problems(cells: Sequence[dict]) -> list[str]:
    """What is wrong with cells that were run: errors that nobody asked for, warnings, cells that did not run."""
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
    """Errors and warnings that belong to no cell, JupyterLab's knock on a kernel without widgets left out."""
    lines = [line.strip() for text in texts for line in text.splitlines()]
    ours = [line for line in lines if line and not re.match(r".*No such comm\b", line)]
    return [f"outside of any cell, the kernel said: {line}" for line in ours]


def needs_a_control(cells: Sequence[dict]) -> bool:
    """Whether a notebook means to show a widget: it imports ipywidgets, or asks course_utils.widgets for one."""
    sources = "\n".join(cell["source"] for cell in cells if cell["code"])
    return bool(re.search(r"^\s*(import|from) ipywidgets\b|\bwidgets\.ask\(", sources, flags=re.M))


def log_problems(log: str) -> list[str]:
    """Exceptions in the log of JupyterLab and its kernels, where those of widget callbacks end up."""
    raised = re.findall(r"^(?:\w+\.)*\w*(?:Error|Exception): .*$", log, flags=re.M)
    return [f"the server's log: {line}" for line in raised]


# --- a run ------------------------------------------------------------------------------------------------------


def check_notebook(
    browser: Browser, running: Lab, path: Path, folder: Path, *, seconds: float = 900, pages: bool = True
) -> list[str]:
    """Run a notebook in the browser and move its widgets.

    Args:
        browser: From :func:`chromium`.
        running: From :func:`lab`, made for this notebook among others.
        path: The notebook.
        folder: Where screenshots go; those of an earlier run are removed.
        seconds: How long its cells may take.
        pages: Whether to take screenshots of the whole notebook as well.

    Returns:
        What is wrong with it; nothing if all is well.
    """
    from playwright.sync_api import Error

    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{path.stem}_*.png"):
        old.unlink()
    page, problems = watched_page(browser)
    logged = running.log.stat().st_size
    notebook = NotebookPage(page, problems, folder, path.stem)
    try:
        notebook.check(running, seconds, pages)
    except Error as error:  # the next notebook may do better
        problems.append(f"the page did not answer: {str(error).splitlines()[0]}")
    problems += log_problems(running.log.read_bytes()[logged:].decode(errors="replace"))
    page.context.close()
    print(f"{path.name}: ran for {notebook.ran:.0f} s, {notebook.controls_moved} controls moved", flush=True)
    return list(dict.fromkeys(problems))


def notebooks_in(paths: Sequence[Path]) -> list[Path]:
    """The notebooks named, and those of the folders named.

    Raises:
        BrowserError: If there is none.
    """
    found = [n for path in paths for n in (sorted(path.glob("*.ipynb")) if path.is_dir() else [path])]
    missing = [str(path) for path in found if not path.exists()]
    if missing or not found:
        raise BrowserError(f"No notebook: {', '.join(missing or map(str, paths))}.")
    return found


def main() -> int:
    """The command line: the number of notebooks with problems."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path, help="notebooks, or folders of lessons")
    parser.add_argument("--screenshots", type=Path, default=SCREENSHOTS, metavar="FOLDER")
    parser.add_argument("--seconds", type=float, default=900, help="a notebook's cells may take (default: 900)")
    asked = parser.parse_args()
    bad, paths = 0, notebooks_in(asked.paths)
    with chromium() as browser, lab(paths) as running:
        for path in paths:
            problems = check_notebook(browser, running, path, asked.screenshots, seconds=asked.seconds)
            bad += bool(problems)
            for problem in problems:
                print(f"  PROBLEM {problem}", flush=True)
    print(f"Screenshots: {asked.screenshots}. " + (f"Notebooks with problems: {bad}." if bad else "No problem."))
    return bad


if __name__ == "__main__":
    try:
        sys.exit(min(main(), 1))
    except BrowserError as error:
        sys.exit(str(error))
