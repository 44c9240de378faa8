from __future__ import annotations

import ast
import contextlib
import os
import subprocess
import sys

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
    monkeypatch.setattr(bootstrap, "why_failed", lambda command: commands.append(command) or "the disk is full.")
    with pytest.raises(bootstrap.SetupError, match="could not be installed: the disk is full"):
        bootstrap.install(sys.executable)
    assert [command[0] for command in commands] == ["uv"]


def test_other_reasons_are_passed_on_in_one_line():
    uv = "error: No solution found when resolving dependencies\n  cause: Because x was not found, it is unsatisfiable."
    assert bootstrap.reason_of(uv) == "Because x was not found, it is unsatisfiable."
    assert bootstrap.reason_of("") == "no reason was given"


def test_an_old_python_can_parse_it():
    source = bootstrap.Path(bootstrap.__file__).read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 6))
    assert ":=" not in source and "match " not in source
