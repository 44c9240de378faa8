"""What Colab gets: the wheel contains all that a lesson needs, and the set-up cell works with the wheel alone."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import course_wheel
import nbformat
import pytest

from tools import authoring, homework

ROOT = authoring.ROOT
NOTEBOOKS = [*authoring.lessons(), *sorted(homework.folder().glob("*.ipynb"))]
PROBE = """
import json, sys
for cell in json.load(open(sys.argv[1])):
    exec(cell)
import course_utils
from course_utils import paths
from course_utils.checkpoints import load_checkpoint
from course_utils.encoders.image import GridCNN
load_checkpoint(GridCNN(), paths.CHECKPOINTS / "grid_cnn.safetensors")
files = sorted(str(p.relative_to(paths.DATA)) for p in paths.DATA.rglob("*") if p.is_file())
print(json.dumps({"package": course_utils.__file__, "data": files, "last": lesson.number}))
"""


def first_code_cell(path):
    return next(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """A folder with the content of a wheel that was built from a clone."""
    clone, built, folder = (tmp_path_factory.mktemp(name) for name in ("clone", "built", "unpacked"))
    with zipfile.ZipFile(course_wheel.wheel(course_wheel.clone(clone), built)) as archive:
        archive.extractall(folder)
    return folder


def tracked(below):
    said = subprocess.run(["git", "ls-files", below], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {name for name in said.splitlines() if (ROOT / name).exists()}


def test_every_module_and_all_data_are_in_the_wheel(unpacked):
    files = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    code = {name for name in files if name.startswith("course_utils/") and not name.startswith("course_utils/_data/")}
    assert code == tracked("course_utils")
    data = {name.replace("course_utils/_data/", "data/", 1) for name in files if "/_data/" in name}
    assert data == tracked("data") and any(name.endswith(".safetensors") for name in data)
    others = {name.split("/")[0] for name in files} - {"course_utils"}
    assert len(others) == 1 and others.pop().endswith(".dist-info")  # no tests, no notebooks


def test_set_up_cells_work_with_the_wheel_alone(unpacked, tmp_path):
    cells = sorted({first_code_cell(path) for path in NOTEBOOKS})
    (tmp_path / "cells.json").write_text(json.dumps(cells))
    empty = tmp_path / "content"
    empty.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(unpacked), "COLAB_RELEASE_TAG": "release-colab", "MPLBACKEND": "agg"}
    command = [sys.executable, "-c", PROBE, str(tmp_path / "cells.json")]
    done = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *banners, last = done.stdout.strip().splitlines()
    found = json.loads(last)
    assert len(banners) == len(cells) == len(authoring.lessons())  # homework begins with the cell of its lesson
    assert Path(found["package"]).is_relative_to(unpacked)
    assert {f"data/{name}" for name in found["data"]} == tracked("data")
    assert list(empty.iterdir()) == []


def test_where_the_course_is_missing_the_set_up_cell_installs_it_and_nothing_else(monkeypatch):
    ran = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(subprocess, "run", lambda command, **options: ran.append((command, options)))
    exec(authoring.setup_cell("owner/name", "00"), {})
    pip = [sys.executable, "-m", "pip", "install", "-q", "git+https://github.com/owner/name"]
    assert ran == [(pip, {"check": True})]  # no --upgrade, no torch; a failure stops the cell


def test_every_badge_and_set_up_cell_names_the_one_repository():
    for path in NOTEBOOKS:
        file = path.relative_to(ROOT / "notebooks").as_posix()
        assert authoring.badge(authoring.slug(), file) in nbformat.read(path, as_version=4).cells[0].source
        assert f"git+https://github.com/{authoring.slug()}" in first_code_cell(path)


def test_widgets_are_tested_under_both_generations_of_ipywidgets():
    # Here it is 8; `make colab` runs the same tests under 7.7.1.
    assert version("ipywidgets").startswith("8.")
    assert "ipywidgets==7.7.1" in (ROOT / "tests" / "colab_constraints.txt").read_text()
    assert "test_widgets.py" in (ROOT / "tests" / "support" / "colab_environment.py").read_text()


def test_without_colabs_python_the_colab_check_fails_and_says_so():
    command = [
        sys.executable,
        str(ROOT / "tests" / "support" / "colab_environment.py"),
        "--python",
        "no-such-python3.13",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Python 3.13, which Colab runs, is not here") and "COLAB_PYTHON=" in done.stderr
