"""Try homework without a kernel: solutions must pass every check, the stub and plausible wrong answers must fail.

``python tests/support/homework_trial.py SOURCE...`` prints the problems and CPU seconds of each source, as JSON.
All cells of a source share one namespace, as in a kernel. Before a solution runs, the stub and each wrong answer run
in its place; then variables, their contents and the random generators are restored.

The wrong answers of a source are in ``tests/wrong_answers/<its name>.py``. Each begins with a line
``# %% grade_id: what is wrong with it`` and replaces the whole solution cell. With ``(hidden)`` after the grade_id it
may pass the visible checks, but must fail the hidden tests.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import random
import re
import sys
import time
from pathlib import Path
from typing import NamedTuple

import nbformat
import numpy as np
import torch

from tools import homework

WRONG_ANSWERS = Path(__file__).parent.parent / "wrong_answers"
HEADER = r"^# %% (?P<grade_id>[\w-]+)(?P<hidden> \(hidden\))?: (?P<what>.+)$"


class Wrong(NamedTuple):
    """A plausible wrong answer: the text of the solution cell, and whether only hidden tests catch it."""

    what: str
    code: str
    hidden: bool


def wrong_answers(source: Path) -> dict[str, list[Wrong]]:
    """The wrong answers of a source, by grade_id; none if there is no file."""
    file = WRONG_ANSWERS / f"{source.stem}.py"
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    headers = list(re.finditer(HEADER, text, flags=re.M))
    ends = [header.start() for header in headers[1:]] + [len(text)]
    found: dict[str, list[Wrong]] = {}
    for header, end in zip(headers, ends, strict=False):  # without a header, there is nothing before the end
        answer = Wrong(header["what"], text[header.end() : end].strip(), bool(header["hidden"]))
        found.setdefault(header["grade_id"], []).append(answer)
    return found


def try_out(source: Path) -> list[str]:
    """List the problems of a homework; empty if every check tells right from wrong."""
    cells = [cell for cell in nbformat.read(source, as_version=4).cells if cell.cell_type == "code"]
    wrong = wrong_answers(source)
    exercises = [cell.metadata["nbgrader"]["grade_id"] for cell in cells if homework.role(cell, "solution")]
    problems = [f"tests/wrong_answers/{source.stem}.py has answers to {name}, which is no exercise here"
                for name in wrong if name not in exercises]  # fmt: skip
    if not source.stem.endswith(homework.FROM_LESSON):  # optional for cells that a teacher has tagged
        problems += [
            f"{name} has no wrong answer that a visible check catches: add one to "
            f"tests/wrong_answers/{source.stem}.py, below a line '# %% {name}: what is wrong with it'"
            for name in exercises
            if all(answer.hidden for answer in wrong.get(name, []))
        ]
    space: dict = {"__name__": "homework"}
    solution, before, between = None, (), []  # the open exercise, the state it began in, the cells after it
    for cell in cells:
        if homework.role(cell, "solution"):
            solution, before, between = cell, _saved(space), []
        elif solution is not None and homework.role(cell, "grade"):
            problems += _try_exercise(solution, between, cell, before, wrong, space)
            solution = None
        else:
            between.append(cell)
        _run(cell.source, space)
    return problems


def _try_exercise(solution, between, check, before, wrong, space) -> list[str]:
    """Run the stub and the wrong answers of one exercise, each from the state before its solution ran."""
    name, after = solution.metadata["nbgrader"]["grade_id"], _saved(space)
    stub = homework.clear_solution(solution.source, homework.CODE_STUB)[0]
    visible = homework.clear_hidden_tests(check.source)[0]
    problems = []
    for what, code, tests, wanted in [
        ("the stub", stub, visible, (AssertionError, NotImplementedError)),
        *((f"a wrong answer ({a.what})", a.code, visible, AssertionError) for a in wrong.get(name, []) if not a.hidden),
        *((f"a wrong answer ({a.what})", a.code, check.source, Exception) for a in wrong.get(name, []) if a.hidden),
    ]:
        _restore(space, before)
        problems += _must_fail(f"{name}: {what}", [code, *(cell.source for cell in between), tests], space, wanted)
    _restore(space, after)
    return problems


def _must_fail(what: str, parts: list[str], space: dict, wanted) -> list[str]:
    """An empty list if the last part fails as expected, else what happened."""
    *first, tests = parts
    with contextlib.suppress(NotImplementedError):  # a stub outside of a function raises at once
        for part in first:
            _run(part, space)
    try:
        _run(tests, space)
    except (NameError, SyntaxError) as error:
        return [f"{what} fails for a reason of its own: {error!r}"]
    except wanted:
        return []
    except Exception as error:  # noqa: BLE001 - whatever it is, it is reported
        return [f"{what} ends in {error!r}, where a check should say what is wrong"]
    return [f"{what} passes the checks"]


def _run(code: str, space: dict) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(code, "homework", "exec", dont_inherit=True), space)


def _saved(space: dict) -> tuple:
    """The variables, copied where they could change in place, and the state of every random generator."""
    variables = {name: _copied(value) for name, value in space.items()}
    return variables, random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002


def _restore(space: dict, saved: tuple) -> None:
    variables, *states = saved
    space.clear()
    space.update({name: _copied(value) for name, value in variables.items()})
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    torch.set_rng_state(states[2])


def _copied(value: object) -> object:
    if isinstance(value, torch.Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if isinstance(value, torch.Generator):
        return torch.Generator(value.device).set_state(value.get_state())
    if isinstance(value, np.ndarray | np.random.Generator | torch.nn.Module):
        return copy.deepcopy(value)
    if type(value) in (list, set, tuple):
        return type(value)(_copied(item) for item in value)
    if type(value) is dict:
        return {key: _copied(item) for key, item in value.items()}
    return value


def main() -> None:
    """Try out the sources named on the command line."""
    results = {}
    for source in map(Path, sys.argv[1:]):
        began = time.process_time()
        try:
            problems = try_out(source)
        except Exception as error:  # noqa: BLE001 - a broken source is a finding, and the others are still tried
            problems = [f"the source itself does not run: {error!r}"]
        results[source.name] = {"problems": problems, "cpu_seconds": round(time.process_time() - began, 1)}
    print(json.dumps(results))


if __name__ == "__main__":
    main()
