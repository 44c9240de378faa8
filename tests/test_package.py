"""What importing the package does: OpenMP's waiting threads, and import paths of the release before."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SPINNING = ("GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_WAIT_POLICY")


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    clean = {name: value for name, value in os.environ.items() if name not in SPINNING}
    environment = {**clean, "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


# --- waiting threads --------------------------------------------------------------------------------------------

SHOW = "import os; print({n: os.environ.get(n) for n in ('GOMP_SPINCOUNT', 'KMP_BLOCKTIME', 'OMP_WAIT_POLICY')})"


def shown(before: str = "", **environment: str) -> dict:
    done = python("-c", f"{before}\nimport course_utils\n{SHOW}", **environment)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return {name: value for name, value in eval(done.stdout).items() if value is not None}


@pytest.mark.parametrize(
    ("platform", "expected"),
    [("linux", {"GOMP_SPINCOUNT": "10000"}), ("darwin", {"KMP_BLOCKTIME": "1"}), ("win32", {"KMP_BLOCKTIME": "1"})],
)
def test_waiting_threads_are_told_to_sleep_early(platform, expected):
    assert shown(f"import sys; sys.platform = {platform!r}") == expected


@pytest.mark.parametrize("name", SPINNING)
def test_a_setting_of_the_user_stays_and_stays_alone(name):
    assert shown(**{name: "active"}) == {name: "active"}


def test_once_torch_is_loaded_nothing_is_set():
    assert shown("import sys; sys.modules['torch'] = sys") == {}


@pytest.mark.parametrize("program", ["course_utils.vlm.finetune", "course_utils.vlm.ask", "experiments.grid_cnn"])
def test_programs_set_it_before_they_load_torch(program):
    finder = (
        "import os, runpy, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch':\n"
        "            sys.exit(f\"spin count {os.environ.get('GOMP_SPINCOUNT') or os.environ.get('KMP_BLOCKTIME')}\")\n"
        "sys.meta_path.insert(0, Finder())\n"
        f"runpy.run_module({program!r}, run_name='__main__')"
    )
    assert python("-c", finder).stderr.strip() in ("spin count 10000", "spin count 1")


# --- old paths --------------------------------------------------------------------------------------------------


def test_an_old_path_gives_the_module_at_its_new_path_and_a_warning():
    code = """
import sys, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import course_utils.reasoners
    from course_utils import cell_names
    from course_utils.datasets.shapes_questions import TYPES
import course_utils.reasoning.reasoners, course_utils.vlm.targets, course_utils.datasets.shapes
assert course_utils.reasoners is course_utils.reasoning.reasoners and cell_names is course_utils.vlm.targets
assert TYPES is course_utils.datasets.shapes.TYPES
assert cell_names.__spec__.name == cell_names.__name__ == "course_utils.vlm.targets"
said = [str(one.message) for one in caught if one.category is FutureWarning]
assert said[0] == "course_utils.reasoners is now course_utils.reasoning.reasoners: import it from there.", said
assert len(said) == 3
"""
    done = python("-c", code)
    assert done.returncode == 0, done.stderr


def test_every_new_path_exists():
    from course_utils import _moved

    for new in _moved.NEW.values():
        place = ROOT / new.replace(".", "/")
        assert place.with_suffix(".py").exists() or (place / "__init__.py").exists(), new


@pytest.mark.parametrize(
    ("statement", "command"),
    [
        ("from course_utils import homework", "python -m tools.homework"),
        ("import course_utils.recipes.bridges", "python -m experiments.NAME"),
        ("from course_utils.recipes import looks", "python -m experiments.NAME"),
        ("import course_utils.benchmark", "python -m experiments.benchmark"),
    ],
)
def test_what_left_the_package_names_its_command(statement, command):
    done = python("-c", statement)
    assert "ModuleNotFoundError" in done.stderr and f"run `{command}`" in done.stderr


def test_an_old_program_names_the_new_one():
    done = python("-m", "course_utils.finetune")
    assert done.returncode != 0 and "run `python -m course_utils.vlm.finetune`" in done.stderr


def test_a_module_that_never_was_is_missing_as_ever():
    done = python("-c", "import course_utils.nonsense")
    assert done.stderr.strip().endswith("ModuleNotFoundError: No module named 'course_utils.nonsense'")
