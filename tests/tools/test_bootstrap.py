from __future__ import annotations

import ast
import contextlib
import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tools import bootstrap


def test_an_old_python_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(bootstrap.sys, "version_info", (3, 9, 1))
    monkeypatch.setattr(bootstrap, "runs", lambda name, *_: name == "python3.12")
    with pytest.raises(bootstrap.SetupError, match=r"^Python 3.9 is too old.*make PYTHON=python3.12 lab$"):
        bootstrap.check_python()


def test_a_python_that_does_not_start_is_not_recommended(monkeypatch, tmp_path):
    for name, code in (("python3.12", 127), ("python3.11", 0)):
        (tmp_path / name).write_text(f"#!/bin/sh\necho no such version >&2\nexit {code}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    names = ("python3.13", "python3.12", "python3.11")
    assert [bootstrap.runs(name, "-c", "") for name in names] == [False, False, True]


@pytest.mark.parametrize(
    ("system", "machine", "refused"),
    [("Darwin", "x86_64", True), ("Darwin", "arm64", False), ("Linux", "x86_64", False)],
)
def test_intel_macs_are_refused_before_anything_is_installed(monkeypatch, system, machine, refused):
    monkeypatch.setattr(bootstrap.platform, "system", lambda: system)
    monkeypatch.setattr(bootstrap.platform, "machine", lambda: machine)
    said = pytest.raises(bootstrap.SetupError, match="^PyTorch has no packages for Intel Macs.*Use Colab")
    with said if refused else contextlib.nullcontext():
        bootstrap.check_machine()


def test_a_full_disk_is_reported_before_anything_is_installed(monkeypatch, tmp_path):
    monkeypatch.setattr(bootstrap.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 2e9}))
    with pytest.raises(bootstrap.SetupError, match="too full: about 9 GB are needed, 2.0 GB are free"):
        bootstrap.check_disk(tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".course-ready").touch()
    bootstrap.check_disk(tmp_path)  # an environment that is there needs no more room


# --- installing -------------------------------------------------------------------------------------------------

NOWHERE = "http://127.0.0.1:9/simple"
OFFLINE = {
    "PIP_INDEX_URL": NOWHERE, "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": "", "UV_DEFAULT_INDEX": NOWHERE,
    "UV_HTTP_RETRIES": "0",
}  # fmt: skip
UNREACHABLE = "the package index cannot be reached. Check the network and repeat: nothing is lost."
PROGRAM = """
import sys
from tools import bootstrap
bootstrap.ROOT = bootstrap.Path(sys.argv[1])
if "no uv" in sys.argv:
    bootstrap.find_uv = lambda python: None
try:
    bootstrap.install(sys.argv[2])
except bootstrap.SetupError as error:
    sys.exit(str(error))
"""


def failed_install(folder, *, uv=True, python=sys.executable, **environment) -> tuple[list[str], str]:
    """Lines on stdout and text on stderr of an ``install`` that fails, of a lock that names an unknown package."""
    (folder / "requirements.lock").write_text("no-such-package-anywhere==1.0\n")
    command = [sys.executable, "-c", PROGRAM, str(folder), str(python), *([] if uv else ["no uv"])]
    environment = {**os.environ, "PIP_CONFIG_FILE": os.devnull, **environment}
    done = subprocess.run(command, cwd=bootstrap.Path(bootstrap.__file__).parents[1], env=environment,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 1
    return done.stdout.splitlines()[1:], done.stderr


def test_without_a_network_uv_hands_over_to_pip_and_pip_gives_up_in_one_line(tmp_path):
    said, error = failed_install(tmp_path, **OFFLINE)
    assert said == [f"Using pip instead of uv: {UNREACHABLE}"]
    assert error == f"The packages could not be installed: {UNREACHABLE}\n"


def test_without_uv_pip_is_used_and_its_reason_is_one_line(tmp_path):
    said, error = failed_install(tmp_path, uv=False, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path))
    assert said == ["Using pip instead of uv: uv is not available."]
    assert error.startswith("The packages could not be installed: No matching distribution found for no-such-package")
    assert error.count("\n") == 1


def test_pip_takes_uv_by_the_locks_own_lines(tmp_path):
    (entry,) = [one for one in bootstrap.locked() if one.startswith("uv==")]
    (tmp_path / "uv.lock").write_text(entry)
    options = ["--dry-run", "--no-index", "--ignore-installed", "-r", str(tmp_path / "uv.lock")]
    command = [sys.executable, "-m", "pip", "install", *options]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    assert "--hash=sha256:" in entry
    assert "No matching distribution found for uv==" in said  # nothing but the index is missing
    assert "hashes" not in said


def test_an_environment_made_by_uv_has_no_pip_and_needs_none(tmp_path):
    uv, made = bootstrap.find_uv(sys.executable), tmp_path / ".venv"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(made)], check=True)
    before = (made / "pyvenv.cfg").stat().st_mtime_ns
    env = {**os.environ, "PATH": f"{bootstrap.Path(uv).resolve().parent}{os.pathsep}{os.environ['PATH']}"}
    program = "import sys; from tools import bootstrap; print(bootstrap.make_environment(bootstrap.Path(sys.argv[1])))"
    done = subprocess.run([sys.executable, "-c", program, str(made)], env=env, check=True, capture_output=True,
                          text=True, cwd=bootstrap.Path(bootstrap.__file__).parents[1])  # fmt: skip
    assert done.stdout.strip() == str(made / "bin" / "python")
    assert (made / "pyvenv.cfg").stat().st_mtime_ns == before  # kept, not made again
    said, error = failed_install(tmp_path, python=done.stdout.strip(), **OFFLINE, PATH=env["PATH"])
    assert said == [] and error == f"The packages could not be installed: {UNREACHABLE}\n"


@pytest.mark.parametrize(
    "said",
    [
        "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
        "error: Failed to download `numpy==2.4.6`\n  cause: cannot write: No space left on device (os error 28)",
    ],
    ids=["pip", "uv"],
)
def test_a_full_disk_is_named(said):
    assert bootstrap.reason_of(said).startswith("the disk is full. Free some room")


def test_a_full_disk_is_not_tried_again_with_pip(monkeypatch, capsys):
    commands = []
    monkeypatch.setattr(bootstrap, "find_uv", lambda python: "uv")
    monkeypatch.setattr(bootstrap, "why_failed", lambda command, _: commands.append(command) or "the disk is full.")
    with pytest.raises(bootstrap.SetupError, match="could not be installed: the disk is full"):
        bootstrap.install(sys.executable)
    assert [command[0] for command in commands] == ["uv"]


# --- PyTorch without CUDA -----------------------------------------------------------------------------------------


def put_wheel(folder: Path, name: str, version: str) -> str:
    """Write an empty wheel; return its SHA-256."""
    info = f"{name}-{version}.dist-info"
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "".join(f"{info}/{file},,\n" for file in ("METADATA", "WHEEL", "RECORD")))
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_without_cuda_torch_comes_from_its_own_index_and_the_rest_from_the_lock(installer, tmp_path, monkeypatch):
    usual, own = tmp_path / "usual", tmp_path / "own"
    for name, version in (
        ("torch", "2.15.0"),
        ("torchvision", "0.29.2"),
        ("nvidia_nccl_cu13", "2.3"),
        ("triton", "3.9"),
    ):
        put_wheel(usual, name, version)
    hashed = put_wheel(usual, "numpy", "2.4.6")
    for name, version in (("torch", "2.15.0+cpu"), ("torch", "2.16.0+cpu"), ("torchvision", "0.29.2+cpu")):
        put_wheel(own / name, name, version)
    for folder in own.iterdir():
        links = "".join(f"<a href='{wheel.name}'>{wheel.name}</a>" for wheel in folder.glob("*.whl"))
        (folder / "index.html").write_text(f"<!DOCTYPE html><html><body>{links}</body></html>")
    no = f" \\\n    --hash=sha256:{'0' * 64}"
    (tmp_path / "requirements.lock").write_text(
        f"numpy==2.4.6 \\\n    --hash=sha256:{hashed}\nnvidia-nccl-cu13==2.3 ; sys_platform == 'linux'{no}\n"
        f"torch==2.15.0{no}\ntorchvision==0.29.2{no}\ntriton==3.9 ; sys_platform == 'linux'{no}\n"
    )
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap, "CPU_INDEX", own.as_uri())
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    for name, value in (("PIP_CONFIG_FILE", os.devnull), ("PIP_FIND_LINKS", str(usual)), ("PIP_NO_CACHE_DIR", "1"),
                        ("UV_NO_CONFIG", "1"), ("UV_FIND_LINKS", str(usual)), ("UV_NO_CACHE", "1")):  # fmt: skip
        monkeypatch.setenv(name, value)
    installed = tmp_path / "installed"
    command = [sys.executable, "-m", "pip", "install"]
    if installer == "uv":
        command = [bootstrap.find_uv(sys.executable), "pip", "install", "--python", sys.executable]
    torch_first, rest = bootstrap.without_cuda(tmp_path)
    for what in (torch_first, [*rest, "--no-index"]):
        subprocess.run([*command, "--no-deps", "--target", str(installed), *what], check=True, capture_output=True)
    found = {path.name.removesuffix(".dist-info") for path in installed.glob("*.dist-info")}
    assert found == {"numpy-2.4.6", "torch-2.15.0+cpu", "torchvision-0.29.2+cpu"}


@pytest.mark.parametrize(
    ("system", "asked", "there", "cpu"),
    [
        ("Linux", "", False, False),
        ("Linux", "cpu", False, True),
        ("Linux", "", True, True),
        ("Windows", "cpu", False, False),
    ],
)
def test_cuda_is_left_out_where_asked_and_remembered(system, asked, there, cpu, monkeypatch, tmp_path):
    did = {}
    if there:
        (tmp_path / ".venv" / "lib" / "python3.12" / "site-packages" / "torch-2.15.0+cpu.dist-info").mkdir(parents=True)
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap.platform, "system", lambda: system)
    monkeypatch.setattr(bootstrap, "check_disk", lambda _, needed: did.update(gigabytes=needed))
    monkeypatch.setattr(bootstrap, "make_environment", lambda folder: "python")
    monkeypatch.setattr(bootstrap, "install", lambda python, cpu: did.update(cpu=cpu))
    monkeypatch.setattr(bootstrap.subprocess, "call", lambda *_, **__: 0)
    bootstrap.main(".venv", asked)
    assert did == {"cpu": cpu, "gigabytes": bootstrap.CPU_GIGABYTES if cpu else bootstrap.GIGABYTES}


def test_makes_switch_reaches_the_program_and_takes_one_value():
    command = ["make", "--dry-run", "--what-if=pyproject.toml", "setup"]
    root = Path(bootstrap.__file__).parents[1]
    # A make inside a make says which folder it enters, and inherits the outer one's switches.
    alone = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "TORCH")}
    for switch, arguments in (([], ".venv"), (["TORCH=cpu"], ".venv cpu")):
        said = subprocess.run(
            [*command, *switch], cwd=root, env=alone, capture_output=True, text=True, check=True
        ).stdout
        assert [line.strip() for line in said.splitlines()][0].endswith(f"tools/bootstrap.py {arguments}")
    with pytest.raises(bootstrap.SetupError, match="TORCH is 'gpu'; it is cpu, or left out"):
        bootstrap.main(".venv", "gpu")


def test_pytorchs_index_is_named_in_one_place():
    said = subprocess.run(
        ["git", "grep", "--untracked", "-l", bootstrap.CPU_INDEX],
        cwd=Path(bootstrap.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.split() == ["tools/bootstrap.py"]


def test_other_reasons_are_passed_on_in_one_line():
    uv = "error: No solution found when resolving dependencies\n  cause: Because x was not found, it is unsatisfiable."
    assert bootstrap.reason_of(uv) == "Because x was not found, it is unsatisfiable."
    assert bootstrap.reason_of("") == "no reason was given"


def test_an_old_python_can_parse_it():
    source = bootstrap.Path(bootstrap.__file__).read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 6))
    assert ":=" not in source and "match " not in source
