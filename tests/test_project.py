"""The structure of the project: versions, workflows, imports, and what the README states."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from course_utils import assets
from course_utils.paths import DATA
from course_utils.reasoning import ladder
from experiments import benchmark, measure_shipped
from tools import authoring, homework

ROOT = authoring.ROOT
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
INSTALLED = [Requirement(text) for text in PROJECT["dependencies"] + EXTRAS["lab"] + EXTRAS["test"]]


def pins(name: str) -> list[Requirement]:
    """The requirements of a lock or constraints file, without their hashes."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [Requirement(line.removesuffix("\\")) for line in lines if line and not line.startswith(("#", " "))]


# --- versions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", INSTALLED, ids=lambda wanted: wanted.name)
def test_the_lock_pins_every_dependency_inside_its_range(wanted):
    pinned = [pin for pin in pins("requirements.lock") if canonicalize_name(pin.name) == canonicalize_name(wanted.name)]
    assert pinned
    for pin in pinned:
        (version,) = (specifier.version for specifier in pin.specifier)
        assert wanted.specifier.contains(version)


def test_the_lock_holds_exact_versions_with_hashes_and_no_addresses():
    _, *blocks = re.split(r"^(?=\S)", (ROOT / "requirements.lock").read_text(encoding="utf-8"), flags=re.M)
    assert all(re.fullmatch(r".+(?: \\\n    --hash=sha256:[0-9a-f]{64})+\n", block) for block in blocks)
    assert len(blocks) == len(pins("requirements.lock")) > 150
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
    """CI runs ``make resolve``, which needs the package index; here, that it covers what the project promises."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"^resolve:.*\n((?:\t.*\n)+)", makefile, flags=re.M).group(1)
    assert re.findall(r"--extra lab --python-version (\S+)", recipe) == ["3.11", "3.12", "3.13"]
    assert "--constraints tests/colab_constraints.txt --python-version 3.13" in recipe
    workflow = yaml.safe_load((ROOT / ".github/workflows/cpu.yml").read_text(encoding="utf-8"))
    assert any("make resolve" in step.get("run", "") for step in workflow["jobs"]["ranges"]["steps"])


WORKFLOWS = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in ROOT.glob(".github/workflows/*")}


def test_no_job_passes_by_skipping():
    """No step may fail unnoticed or be skipped on a condition, and the GPU job asserts a GPU before it tests."""
    assert set(WORKFLOWS) == {"cpu", "gpu", "drift", "colab", "web"}
    for workflow in WORKFLOWS.values():
        for job in workflow["jobs"].values():
            parts = (job, *job["steps"])
            assert not any("continue-on-error" in part for part in parts)
            assert {part.get("if", "always()") for part in parts} == {"always()"}
            assert not any("|| true" in step.get("run", "") for step in job["steps"])
    commands = [step.get("run", "") for step in WORKFLOWS["gpu"]["jobs"]["notebooks"]["steps"]]
    asked = next(i for i, command in enumerate(commands) if "assert torch.cuda.is_available()" in command)
    assert asked < commands.index("make unit notebooks")
    assert WORKFLOWS["cpu"]["jobs"]["unit"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    assert set(WORKFLOWS["drift"]["jobs"]) == {"newest"} and set(WORKFLOWS["colab"]["jobs"]) == {"colab"}


def test_no_test_is_skipped():
    sources = [*(ROOT / "tests").rglob("*.py"), ROOT / "notebooks" / "conftest.py"]
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
    assert section == {"pip": ["-r requirements.lock"]}  # pip's hash mode takes nothing else beside it
    conda = (ROOT / "README.md").read_text(encoding="utf-8").partition("conda env create")[2].partition("```")[0]
    assert conda.splitlines()[1:4] == [
        "conda activate cross-modal-course", "pip install --no-deps -e .", "python -m course_utils.assets"
    ]  # fmt: skip
    allowed = Requirement(python)
    assert all(allowed.specifier.contains(version) for version in ("3.11", "3.12", "3.13"))
    assert PROJECT["requires-python"] == ">=3.11" and not allowed.specifier.contains("3.10")


# --- imports and modules ----------------------------------------------------------------------------------------

PACKAGE, EXPERIMENTS, TOOLS = ROOT / "course_utils", ROOT / "experiments", ROOT / "tools"
FOLDERS = ("datasets", "encoders", "alignment", "reasoning", "language", "vlm")  # each may import those to its left
OUTERMOST = ("applications", "production")  # may import all of FOLDERS
FOR_NOTEBOOKS = {"lesson": {"plots"}, "plots": set(), "widgets": {"plots"}, "checks": set()}  # and what they may import


def imported(source: str) -> set[str]:
    """The modules that a source imports, as dotted names; ``from a import b`` gives a.b."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def modules(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*.py") if path.parent != PACKAGE or path.stem not in ("__init__", "_moved")]


def test_imports_are_declared():
    optional = EXTRAS["test"] + EXTRAS["wandb"] + EXTRAS["browser"]
    declared = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"] + optional}
    names = {"PIL": "pillow", "sklearn": "scikit-learn", "IPython": "ipython"}
    sources = [path for folder in (PACKAGE, EXPERIMENTS, TOOLS) for path in folder.rglob("*.py")]
    found = {name.split(".")[0] for path in sources for name in imported(path.read_text(encoding="utf-8"))}
    third_party = found - set(sys.stdlib_module_names) - {"course_utils", "experiments", "tools"}
    assert {name for name in third_party if canonicalize_name(names.get(name, name)) not in declared} == set()


def may_import(path: Path, part: str) -> bool:
    """Whether a module of course_utils may import ``part``, a flat module or a folder of course_utils."""
    own, *below = path.relative_to(PACKAGE).parts
    own = own.removesuffix(".py")
    if part in FOR_NOTEBOOKS:
        return part in FOR_NOTEBOOKS.get(own, set())
    if part not in FOLDERS + OUTERMOST:  # a flat module
        return True
    if not below:
        return own in FOR_NOTEBOOKS
    return part == own or part in (FOLDERS if own in OUTERMOST else FOLDERS[: FOLDERS.index(own)])


def test_imports_point_one_way():
    """Flat modules, then the folders in their order; what notebooks use is imported by nothing else."""
    wrong = []
    for path in modules(PACKAGE):
        for name in imported(path.read_text(encoding="utf-8")):
            top, *rest = name.split(".")
            if top in ("experiments", "tools") or (top == "course_utils" and rest and not may_import(path, rest[0])):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == [], wrong
    assert " ← ".join(FOLDERS) in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_import_rule_refuses():
    assert may_import(PACKAGE / "vlm" / "model.py", "language") and may_import(PACKAGE / "vlm" / "model.py", "training")
    assert may_import(PACKAGE / "widgets.py", "vlm") and may_import(PACKAGE / "production" / "x.py", "vlm")
    assert not may_import(PACKAGE / "language" / "llm.py", "vlm") and not may_import(PACKAGE / "training.py", "vlm")
    assert not may_import(PACKAGE / "vlm" / "model.py", "plots") and not may_import(PACKAGE / "plots.py", "widgets")
    assert not may_import(PACKAGE / "production" / "x.py", "applications")


def test_notebooks_import_neither_experiments_nor_tools():
    wrong = []
    for path in [*authoring.lessons(), *homework.sources()]:
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code" and "import" in cell.source:
                names = {name.split(".")[0] for name in imported(cell.source)}
                wrong += [f"{path.name} imports {name}" for name in names & {"experiments", "tools", "tests"}]
    assert wrong == []


def test_the_package_stays_small():
    """Twelve thousand lines for 25 lessons: CONTRIBUTING.md says how."""
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE.rglob("*.py")) <= 12_000


def test_an_experiment_shares_its_name_with_no_module():
    package = {name.removesuffix(".py") for path in modules(PACKAGE) for name in path.relative_to(PACKAGE).parts}
    assert {path.stem for path in EXPERIMENTS.glob("*.py")} & package == {"__init__"}


def test_every_module_is_tested_in_the_folder_that_mirrors_its_own():
    """By a file of its name, or by one that imports it; a module of a data set's folder by the tests of that folder."""
    elsewhere = {"device": "test_lesson", "encoded": "test_text", "world": "test_shapes"}  # tested through others
    untested = []
    for path in modules(PACKAGE) + modules(TOOLS):
        if path.stem == "__init__":
            continue
        inside = path.relative_to(ROOT if path.is_relative_to(TOOLS) else PACKAGE).parts[:-1]
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        module = module.rsplit(".", 1)[0] if len(inside) > 1 else module
        name = f"test_{module.split('.')[-1]}"
        tests = {test.stem: test for test in (ROOT / "tests" / "/".join(inside[:1])).glob("test_*.py")}
        if not {name, elsewhere.get(path.stem)} & set(tests):
            names = {used for test in tests.values() for used in imported(test.read_text(encoding="utf-8"))}
            if not any(f"{used}.".startswith(f"{module}.") for used in names):
                untested.append(module)
    assert untested == [], untested
    mirrored = {*FOLDERS, *OUTERMOST, "experiments", "tools", "lessons", "support", "wrong_answers"}
    assert {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()} - {"__pycache__"} <= mirrored


def test_data_readme_names_every_experiment():
    text = (DATA / "README.md").read_text(encoding="utf-8") + (ROOT / "Makefile").read_text(encoding="utf-8")
    names = {path.stem for path in EXPERIMENTS.glob("*.py")} - {"__init__"}
    assert {name for name in names if f"experiments.{name}" not in text} == set()


# --- the repository's files -------------------------------------------------------------------------------------


def tracked() -> list[str]:
    return subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()


def test_nothing_large_lies_in_the_repository():
    sizes = {name: (ROOT / name).stat().st_size for name in tracked() if (ROOT / name).exists()}
    assert max(sizes.values()) < 16_000_000
    assert sum(size for name, size in sizes.items() if name.startswith("data/")) < 41_000_000


TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", DATA / "README.md", homework.folder() / "README.md"]


def test_every_command_that_is_named_exists():
    """``python -m module`` and ``make target``, wherever the project names one."""
    code = [path for folder in (PACKAGE, EXPERIMENTS, TOOLS) for path in folder.rglob("*.py")]
    files = [*TEXTS, *code, *authoring.lessons(), *homework.sources(), *DATA.glob("*.toml"), ROOT / "Makefile"]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    named = set(re.findall(r"python -m ((?:course_utils|experiments|tools)[\w.]*\w)", text))
    assert len(named) > 10
    paths = {name: ROOT / f"{name.replace('.', '/')}.py" for name in named}
    missing = {
        n for n, path in paths.items() if not path.exists() or "__main__" not in path.read_text(encoding="utf-8")
    }
    assert missing == set()
    targets = set(re.findall(r"^(?:    )?make ([a-z-]+)|`make ([a-z-]+)", text, flags=re.M))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert {a or b for a, b in targets if not re.search(rf"^{a or b}:", makefile, flags=re.M)} == set()


def test_links_in_the_readmes_resolve():
    for readme in TEXTS:
        for target in re.findall(r"\]\(([^)\s]+)\)", readme.read_text(encoding="utf-8")):
            assert re.match(r"https?:|#", target) or (readme.parent / target.split("#")[0]).exists(), target


def test_the_readme_quotes_the_measured_results():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert benchmark.results_table() in readme
    assert ladder.results_table() in readme
    assert measure_shipped.results_table() in readme


def test_the_house_in_the_readme_is_the_real_one():
    house = (ROOT / "README.md").read_text(encoding="utf-8").partition("## The house")[2].split("```")[1]
    words = set(re.findall(r"^ *\w+/|(?<=[ ])[a-z]+(?= |$)", house, flags=re.M))
    flat = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "_moved"}
    assert flat - words == set()
    folders = {f"{path.name}/" for path in PACKAGE.iterdir() if path.is_dir() and path.name[0].isalpha()}
    top = {f"{name.split('/')[0]}/" for name in tracked() if "/" in name and name[0] != "."}
    assert {word.strip() for word in words if "/" in word} == folders | top


def test_the_readme_lists_every_lesson():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in authoring.lessons() if f"notebooks/{path.name}" not in readme] == []


def test_what_is_tested_outside_of_make_test_has_a_job_of_its_own():
    workflows = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / ".github" / "workflows").glob("*.yml"))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in ("grade-test", "colab"):
        assert re.search(rf"^{target}:", makefile, flags=re.M) and f"make {target}" in workflows


def test_nbgrader_is_an_extra_that_nothing_else_needs():
    (wanted,) = map(Requirement, EXTRAS["homework"])
    assert wanted.name == "nbgrader" and wanted.specifier.contains("0.9.6") and not wanted.specifier.contains("0.10")
    assert "nbgrader" not in {pin.name for pin in pins("requirements.lock")}
    assert not any(
        name.startswith("nbgrader") for name in imported((TOOLS / "homework.py").read_text(encoding="utf-8"))
    )


def test_data_is_found_and_travels_in_the_wheel():
    assert (DATA / "README.md").exists()
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]
    assert wheel["wheel"]["force-include"] == {"data": "course_utils/_data"}


def test_the_data_readme_lists_every_asset_and_where_its_licence_is_stated():
    text = (DATA / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([\w-]+)` \| (.*)$", text, flags=re.M))
    for asset in assets.ASSETS.values():
        said = rows[asset.name].split(" | ")
        assert said[0].removesuffix(", source package") == f"`{asset.package}` {asset.version}"
        assert said[1:3] == [f"{asset.mb} MB", asset.licence] and asset.hub in said[4]
        assert f"\n- **`{asset.name}`**. " in text


def test_the_readme_states_the_size_of_the_downloads():
    total = sum(assets.ASSETS[name].mb for name in assets.AT_SETUP)
    assert f"({total:.0f} MB)" in (ROOT / "README.md").read_text(encoding="utf-8")
