"""What nbval 0.11 does not notice by itself, noticed.

nbval runs every cell of every notebook; here its false greens are turned red, a dead kernel is reported within
seconds, and after the first failure of a notebook its later cells, which could only repeat it, name that failure.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from queue import Empty

import nbval.kernel
import pytest
from nbval.plugin import IPyNbCell

POLL_SECONDS = 2.0
ANSI = re.compile(r"\x1b\[[0-9;]*m")
first_failure = pytest.StashKey[str]()


def await_reply(self, msg_id: str, timeout: float | None = None) -> None:
    """Wait for a cell's reply as nbval does, but look every few seconds whether the kernel still lives."""
    deadline = time.monotonic() + (timeout if timeout is not None else float("inf"))
    while True:
        try:
            message = self.get_message("shell", timeout=min(POLL_SECONDS, max(0.0, deadline - time.monotonic())))
        except Empty:
            if not self.is_alive():
                raise RuntimeError("The kernel died: out of memory, or a crash in compiled code.") from None
            if time.monotonic() >= deadline:
                raise
            continue
        if message["parent_header"].get("msg_id") == msg_id:
            if message["content"]["status"] == "aborted":
                raise RuntimeError("The kernel aborted the cell.")
            return


nbval.kernel.RunningKernel.await_reply = await_reply


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out the learners' copies, full of unsolved exercises. Their solved sources, in solutions/, are run."""
    unsolved = collection_path.suffix == ".ipynb" and collection_path.parent.name == "homework"
    return True if unsolved else None  # None: the others decide


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Run a cell, then complain of what passed only because nbval does not look."""
    if not isinstance(item, IPyNbCell):
        return (yield)
    if earlier := item.parent.stash.get(first_failure, None):
        pytest.fail(f"Not run: {earlier} of this notebook failed before.", pytrace=False)
    result = yield
    for problem in false_greens(item):
        pytest.fail(f"{problem}\n\n{item.cell.source}", pytrace=False)
    return result


def false_greens(item: IPyNbCell) -> list[str]:
    """Why a cell that nbval passed should not have passed."""
    outputs = item.test_outputs
    problems = [
        # A failing thread or task, a misspelt magic, a warning: they all end up there, and nowhere else.
        f"The cell wrote to stderr: {ANSI.sub('', output.text).strip()[:1500]}"
        for output in outputs
        if output.get("name") == "stderr"
    ]
    if "raises-exception" in item.cell.metadata.get("tags", []) and not any(
        output.output_type == "error" for output in outputs
    ):
        problems.append("The cell is tagged raises-exception, and raised nothing.")
    if item.options["check"] and not item.cell.outputs:
        problems.append("NBVAL_CHECK_OUTPUT has no stored output to check against. Run the notebook and store it.")
    return problems


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Remember a notebook's first failure, and take terminal colours out of the report."""
    report = yield
    if isinstance(item, IPyNbCell) and report.failed:
        item.parent.stash.setdefault(first_failure, f"cell {item.cell_num}")
        report.longrepr = ANSI.sub("", str(report.longrepr))
    return report
