"""Install and start the course as on Colab: its Python, its versions, and the set-up cell's pip install of a clone.

``make colab`` runs this; it is not part of ``make test``, because it installs 4 GB. ``.venv-colab`` has the versions
that Colab preinstalls (colab_constraints.txt). There, in an empty folder, every lesson's set-up cell runs unchanged,
with git redirected to a clone on this disk. Then it checks that

- data and checkpoints came along, and the imported package is the installed one;
- no package that was there before has changed, so torch stays and nothing needs a restart;
- the widgets work under ipywidgets 7.7.1.

It imports only the standard library, and runs on Python 3.11 or newer.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import course_wheel

ROOT = course_wheel.ROOT
CONSTRAINTS = ROOT / "tests" / "colab_constraints.txt"
ENVIRONMENT = ROOT / ".venv-colab"
PROBE = """
import json, sys
import IPython, ipykernel, ipywidgets, matplotlib, numpy, pandas, torch  # as a kernel of Colab's may have by then
exec(json.load(open(sys.argv[1])), globals())
import course_utils
from course_utils import paths
from course_utils.checkpoints import load_checkpoint
from course_utils.encoders.image import GridCNN
load_checkpoint(GridCNN(), paths.CHECKPOINTS / "grid_cnn.safetensors")
files = sorted(p.relative_to(paths.DATA).as_posix() for p in paths.DATA.rglob("*") if p.is_file())
print(json.dumps({"package": course_utils.__file__, "data": files, "number": lesson.number, "torch": torch.__file__}))
"""


class ColabError(Exception):
    """The failed check, in one line."""


def find_python(asked: str) -> str:
    """The path of a Python 3.13."""
    found = shutil.which(asked)
    show = [found, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    if found and subprocess.run(show, capture_output=True, text=True, check=False).stdout.strip() == "3.13":
        return found
    remedy = "Install it, or say where it is: make colab COLAB_PYTHON=/somewhere/python3.13"
    raise ColabError(f"Python 3.13, which Colab runs, is not here (looked for {asked}). {remedy}")


def make_environment(python: str) -> str:
    """Make ``.venv-colab`` with Colab's versions alone, again if they or the Python change; return its python."""
    mine = str(ENVIRONMENT / "bin" / "python")
    stamp = ENVIRONMENT / ".made-for"  # what it was made for, and what lay in it then
    wanted = hashlib.sha256(CONSTRAINTS.read_bytes() + python.encode()).hexdigest()
    made = json.loads(stamp.read_text()) if stamp.exists() else {}
    if made.get("for") == wanted:
        if added := sorted(set(installed(mine)) - set(made["packages"])):  # by the last run
            run([mine, "-m", "pip", "uninstall", "--quiet", "--yes", *added])
        if installed(mine) == made["packages"]:
            return mine
    print("Installing Colab's versions into", ENVIRONMENT.name, "(several minutes)", flush=True)
    run([python, "-m", "venv", "--clear", str(ENVIRONMENT)])
    run([mine, "-m", "pip", "install", "--quiet", "--requirement", str(CONSTRAINTS)])
    stamp.write_text(json.dumps({"for": wanted, "packages": installed(mine)}))
    return mine


def project() -> dict:
    """The project table of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def run(command: list[str], **options) -> str:
    """Run a command and return what it prints; raise ColabError with its output if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        raise ColabError(f"This failed: {' '.join(command[:6])} …\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout


def installed(python: str) -> dict[str, str]:
    """Versions of all packages of an environment."""
    listed = json.loads(run([python, "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"]))
    return {package["name"].lower().replace("_", "-"): package["version"] for package in listed}


def pins() -> dict[str, str]:
    """Colab's versions."""
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def expect(condition: bool, otherwise: str) -> None:
    """Raise ColabError unless the condition holds."""
    if not condition:
        raise ColabError(otherwise)


def setup_cells() -> dict[str, str]:
    """The first code cell of every lesson, by file name."""
    cells = {}
    for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        cells[path.name] = next("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
    return cells


def run_setup_cells(python: str, scratch: Path) -> None:
    """Run every lesson's set-up cell in an empty folder; the first one installs the course from a clone."""
    clone = scratch / "clone"
    clone.mkdir()
    course_wheel.clone(clone)
    content = scratch / "content"
    content.mkdir()
    repository = project()["urls"]["Repository"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "COLAB_RELEASE_TAG": "release-colab", "MPLBACKEND": "agg",
        "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{clone.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": repository,
    }  # fmt: skip
    data = {path.relative_to(clone / "data").as_posix() for path in (clone / "data").rglob("*") if path.is_file()}
    for name, cell in setup_cells().items():
        (scratch / "cell.json").write_text(json.dumps(cell))
        said = run([python, "-c", PROBE, str(scratch / "cell.json")], cwd=content, env=environment).strip().splitlines()
        found = json.loads(said[-1])
        print(" ", "\n  ".join(said[:-1]), flush=True)
        inside = ENVIRONMENT.resolve()
        expect(Path(found["package"]).resolve().is_relative_to(inside), f"{name} uses {found['package']}")
        expect(Path(found["torch"]).resolve().is_relative_to(inside), f"{name} uses the torch of {found['torch']}")
        expect(set(found["data"]) == data, f"{name}: other data came along: {set(found['data']) ^ data}")
        expect(found["number"] == name[:2], f"{name} started lesson {found['number']}")
    expect(list(content.iterdir()) == [], "the set-up cells left files behind")


def try_widgets(python: str, scratch: Path) -> None:
    """Run the widgets' tests with the installed course and Colab's ipywidgets."""
    run([python, "-m", "pip", "install", "--quiet", "--constraint", str(CONSTRAINTS), "pytest"])
    shutil.copy(ROOT / "tests" / "test_widgets.py", scratch)
    expect(installed(python)["ipywidgets"] == "7.7.1", "ipywidgets is not 7.7.1")
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(scratch), "test_widgets.py"]
    print("  widgets under ipywidgets 7.7.1:", run(command, cwd=scratch).strip().splitlines()[-1])


def main() -> None:
    """Run all checks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default="python3.13", help="a Python 3.13")
    python = make_environment(find_python(parser.parse_args().python))
    before = installed(python)
    other = {name: before.get(name) for name, wanted in pins().items() if before.get(name) != wanted}
    expect(not other, f"The environment does not hold Colab's versions: {other}")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        print("Set-up cells, with", len(before), "packages of Colab's:", flush=True)
        run_setup_cells(python, scratch)
        after = installed(python)
        changed = {name: (old, after.get(name)) for name, old in before.items() if after.get(name) != old}
        expect(not changed, f"The set-up cell changed what Colab has, which needs a restart: {changed}")
        print("  added:", ", ".join(sorted(set(after) - set(before))))
        try_widgets(python, scratch)
    print("Colab: all checks passed.")


if __name__ == "__main__":
    try:
        main()
    except ColabError as error:
        sys.exit(str(error))
