"""The files around the code agree with each other, and the set-up says what is wrong."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from course_utils import assets
from course_utils.paths import DATA
from course_utils.reasoning import ladder
from experiments import benchmark, seeing
from tools import authoring, bootstrap, homework

ROOT = authoring.ROOT
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
INSTALLED = [Requirement(text) for text in PROJECT["dependencies"] + EXTRAS["lab"] + EXTRAS["test"]]


def pins(name: str) -> list[Requirement]:
    """The requirements of a lock or constraints file."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


# --- versions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", INSTALLED, ids=lambda wanted: wanted.name)
def test_the_lock_pins_every_dependency_inside_its_range(wanted):
    pinned = [pin for pin in pins("requirements.lock") if canonicalize_name(pin.name) == canonicalize_name(wanted.name)]
    assert pinned
    for pin in pinned:
        (version,) = (specifier.version for specifier in pin.specifier)
        assert wanted.specifier.contains(version)


def test_the_lock_holds_exact_versions_and_no_addresses():
    for pin in pins("requirements.lock"):
        assert [specifier.operator for specifier in pin.specifier] == ["=="], pin
        assert pin.url is None
    assert "://" not in (ROOT / "requirements.lock").read_text(encoding="utf-8")


def test_colabs_versions_lie_in_the_ranges():
    colab = {canonicalize_name(pin.name): str(pin.specifier)[2:] for pin in pins("tests/colab_constraints.txt")}
    held = [wanted for wanted in INSTALLED if canonicalize_name(wanted.name) in colab]
    assert len(held) >= 10
    outside = [w.name for w in held if not w.specifier.contains(colab[canonicalize_name(w.name)])]
    assert outside == []


def test_the_ranges_are_resolved_on_every_python_and_under_colabs_versions():
    """By ``make resolve``, which asks the package index, so that this file needs no network; continuous integration
    runs it. Here: that it covers what environment.yml and Colab promise."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"^resolve:.*\n((?:\t.*\n)+)", makefile, flags=re.M).group(1)
    assert re.findall(r"--extra lab --python-version (\S+)", recipe) == ["3.11", "3.12", "3.13"]
    assert "--constraints tests/colab_constraints.txt --python-version 3.13" in recipe
    workflow = yaml.safe_load((ROOT / ".github/workflows/cpu.yml").read_text(encoding="utf-8"))
    assert any("make resolve" in step.get("run", "") for step in workflow["jobs"]["ranges"]["steps"])


WORKFLOWS = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in ROOT.glob(".github/workflows/*")}


def test_no_job_passes_by_skipping():
    """No step may fail unseen, none is left out on a condition, and the GPU job demands a GPU before it tests."""
    assert set(WORKFLOWS) == {"cpu", "gpu", "drift", "colab", "web"}
    for workflow in WORKFLOWS.values():
        for job in workflow["jobs"].values():
            parts = (job, *job["steps"])
            assert not any("continue-on-error" in part for part in parts)
            assert {part.get("if", "always()") for part in parts} == {"always()"}  # which leaves nothing out
            assert not any("|| true" in step.get("run", "") for step in job["steps"])
    commands = [step.get("run", "") for step in WORKFLOWS["gpu"]["jobs"]["notebooks"]["steps"]]
    asked = next(i for i, command in enumerate(commands) if "assert torch.cuda.is_available()" in command)
    assert asked < commands.index("make unit notebooks")
    assert WORKFLOWS["cpu"]["jobs"]["unit"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    assert set(WORKFLOWS["drift"]["jobs"]) == {"newest"} and set(WORKFLOWS["colab"]["jobs"]) == {"colab"}


def test_no_test_is_skipped():
    sources = [*(ROOT / "tests").glob("*.py"), ROOT / "notebooks" / "conftest.py"]
    called = {
        (path.name, node.attr)
        for path in sources
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
    }
    assert [name for name, what in called if what in ("skip", "skipif", "xfail", "importorskip")] == []


def test_environment_yml_is_thin_and_agrees():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    python, pip, section = environment["dependencies"]
    assert environment["name"] == PROJECT["name"] and pip == "pip"
    assert section == {"pip": ["-r requirements.lock", "-e ."]}
    allowed = Requirement(python)
    assert all(allowed.specifier.contains(version) for version in ("3.11", "3.12", "3.13"))
    assert PROJECT["requires-python"] == ">=3.11" and not allowed.specifier.contains("3.10")


def test_imports_are_declared():
    optional = EXTRAS["test"] + EXTRAS["wandb"] + EXTRAS["browser"]  # for authoring, finetune, trackers, browser alone
    declared = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"] + optional}
    names = {"PIL": "pillow", "sklearn": "scikit-learn", "IPython": "ipython"}
    imported = set()
    for path in (ROOT / "course_utils").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").split(".")[0])
    third_party = imported - set(sys.stdlib_module_names) - {"course_utils"}
    assert {name for name in third_party if canonicalize_name(names.get(name, name)) not in declared} == set()


LAYERS = (  # what is imported stands further down
    {"browser", "homework"},
    {"recipes"},
    {"ask"},
    {"authoring", "benchmark", "finetune", "ladder", "widgets"},
    {"results"},
    {"lesson"},
    {"plots", "training"},
    {"trackers", "metrics", "checks", "relations", "classifier"},
    {"cell_names", "worlds"},
    {"reasoners", "vlm"},
    {"rungs", "bridges"},
    {"alignment", "grid"},
    {"encoders"},
    {"datasets"},
    {"llm", "generation", "lora", "conversations"},
    {"assets", "checkpoints", "pretrained"},
    {"cache", "paths", "bootstrap"},
)


def test_imports_point_one_way():
    level = {name: depth for depth, names in enumerate(LAYERS) for name in names}
    wrong = []
    for path in (ROOT / "course_utils").rglob("*.py"):
        own = path.relative_to(ROOT / "course_utils").parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                own != "__init__"
                and isinstance(node, ast.ImportFrom)
                and (node.module or "").startswith("course_utils")
            ):
                parts = node.module.split(".")[1:2] or [alias.name for alias in node.names]
                wrong += [f"{own} imports {part}" for part in parts if part != own and level[part] <= level[own]]
    assert wrong == []


# --- the repository's files -------------------------------------------------------------------------------------


def tracked() -> list[str]:
    return subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()


def test_nothing_large_lies_in_the_repository():
    sizes = {name: (ROOT / name).stat().st_size for name in tracked() if (ROOT / name).exists()}
    assert max(sizes.values()) < 16_000_000
    assert sum(size for name, size in sizes.items() if name.startswith("data/")) < 41_000_000


def test_links_in_the_readmes_resolve():
    for readme in (ROOT / "README.md", DATA / "README.md", homework.folder() / "README.md"):
        for target in re.findall(r"\]\(([^)\s]+)\)", readme.read_text(encoding="utf-8")):
            assert re.match(r"https?:|#", target) or (readme.parent / target.split("#")[0]).exists(), target


def test_the_readme_quotes_the_measured_results():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert benchmark.results_table() in readme
    assert ladder.results_table() in readme
    assert seeing.results_table() in readme


def test_the_readme_lists_every_lesson():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in authoring.lessons() if f"notebooks/{path.name}" not in readme] == []


def test_every_module_has_its_tests():
    tested = {path.name for path in (ROOT / "tests").glob("test_*.py")}
    modules = [path for path in (ROOT / "course_utils").rglob("*.py") if path.stem != "__init__"]
    elsewhere = {  # module -> the tests that cover it
        "shapes_scenes": "shapes", "shapes_questions": "shapes", "trackers": "training", "bootstrap": "project",
        "paths": "project", "benchmark": "project", "reasoners": "models",
        "encoded": "models", "image": "image_encoders", "text": "text_encoders", "grid_cnn": "image_encoders",
        "compare_encoders": "image_encoders", "attribute_cnn": "image_encoders", "looks": "attention",
        "finetuning": "seeing",
    }  # fmt: skip
    assert [m.name for m in modules if f"test_{elsewhere.get(m.stem, m.stem)}.py" not in tested] == []


def test_what_is_tested_outside_of_make_test_has_a_job_of_its_own():
    workflows = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / ".github" / "workflows").glob("*.yml"))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in ("grade-test", "colab"):
        assert re.search(rf"^{target}:", makefile, flags=re.M) and f"make {target}" in workflows


def test_nbgrader_is_an_extra_that_nothing_else_needs():
    (wanted,) = map(Requirement, EXTRAS["homework"])
    assert wanted.name == "nbgrader" and wanted.specifier.contains("0.9.6") and not wanted.specifier.contains("0.10")
    assert "nbgrader" not in {pin.name for pin in pins("requirements.lock")}
    assert not re.search(r"^\s*(import|from) nbgrader", (ROOT / "course_utils" / "homework.py").read_text(), flags=re.M)


# --- setting up -------------------------------------------------------------------------------------------------


def test_an_old_python_is_told_so_in_one_line(monkeypatch):
    monkeypatch.setattr(bootstrap.sys, "version_info", (3, 9, 1))
    monkeypatch.setattr(bootstrap, "runs", lambda name: name == "python3.12")
    with pytest.raises(bootstrap.SetupError, match=r"^Python 3.9 is too old.*make PYTHON=python3.12 lab$"):
        bootstrap.check_python()


def test_a_python_that_does_not_start_is_not_recommended(monkeypatch, tmp_path):
    for name, code in (("python3.12", 127), ("python3.11", 0)):
        (tmp_path / name).write_text(f"#!/bin/sh\necho no such version >&2\nexit {code}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [bootstrap.runs(name) for name in ("python3.13", "python3.12", "python3.11")] == [False, False, True]


def test_a_full_disk_is_told_before_anything_is_installed(monkeypatch, tmp_path):
    monkeypatch.setattr(bootstrap.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 2e9}))
    with pytest.raises(bootstrap.SetupError, match="too full: about 9 GB are needed, 2.0 GB are free"):
        bootstrap.check_disk(tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".course-ready").touch()
    bootstrap.check_disk(tmp_path)  # what is installed already needs no more room


def test_a_failed_command_becomes_one_line(capfd):
    with pytest.raises(bootstrap.SetupError, match="^this is the remedy$"):
        bootstrap.run([sys.executable, "-c", "raise SystemExit(3)"], "this is the remedy")
    capfd.readouterr()


def failed_install(folder, **environment) -> str:
    """What ``install`` says on stderr when it fails in a folder whose lock names a package."""
    (folder / "requirements.lock").write_text("no-such-package-anywhere==1.0\n")
    program = (
        "import sys\nfrom course_utils import bootstrap\n"
        "bootstrap.ROOT = bootstrap.Path(sys.argv[1])\n"
        "try:\n    bootstrap.install(sys.executable)\n"
        "except bootstrap.SetupError as error:\n    sys.exit(str(error))\n"
    )
    command = [sys.executable, "-c", program, str(folder)]
    environment = {**os.environ, "PIP_CONFIG_FILE": os.devnull, **environment}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    return done.stderr


def test_without_network_the_set_up_stops_and_says_so_in_one_line(tmp_path):
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": ""}
    assert failed_install(tmp_path, **nowhere).splitlines() == [
        "The packages could not be installed: the package index cannot be reached. "
        "Check the network and repeat: nothing is lost."
    ]


def test_what_else_pip_says_is_passed_on_in_one_line(tmp_path):
    said = failed_install(tmp_path, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path))
    assert "pip says: No matching distribution found for no-such-package-anywhere==1.0" in said
    assert said.count("\n") == 1
    assert "disk is full" in bootstrap.why_pip_failed("ERROR: Could not install: [Errno 28] No space left on device")


def test_data_is_found_and_travels_in_the_wheel():
    assert (DATA / "README.md").exists()
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]
    assert wheel["wheel"]["force-include"] == {"data": "course_utils/_data"}


def test_the_banner_figures_of_the_data_page_hold():
    total = sum(asset.mb for asset in assets.ASSETS.values())
    assert f"({total:.0f} MB)" in (ROOT / "README.md").read_text(encoding="utf-8")
