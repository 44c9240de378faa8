"""Set up everything the lessons need, from a bare Python: ``python3 tools/bootstrap.py [FOLDER [cpu]]``.

Makes a virtual environment, installs requirements.lock and the course with uv (or pip where uv fails), and downloads
the models and data sets. Safe to interrupt and repeat. It runs before anything is installed: only the standard
library, and syntax that an old Python can parse, so that it can report being too old.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)
GIGABYTES = 9  # the environment takes about 6.5, pip's downloads the rest while it unpacks them
CPU_GIGABYTES = 4  # without CUDA
CPU_INDEX = "https://download.pytorch.org/whl/cpu"  # PyTorch's own, for its builds without CUDA
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
OFFLINE = (  # in what pip and uv write when they cannot reach the index
    "connection broken", "Failed to establish", "Max retries", "timed out", "error sending request", "dns error",
)  # fmt: skip


class SetupError(Exception):
    """What is missing and its remedy, in one line."""


def main(folder, torch=""):
    """Set up the environment in ``folder`` and download the assets; ``torch`` is "cpu" for PyTorch without CUDA."""
    check_python()
    check_machine()
    if torch not in ("", "cpu"):
        raise SetupError(f"TORCH is {torch!r}; it is cpu, or left out.")
    # Once chosen it is kept, unless .venv is deleted. Elsewhere than on Linux, PyTorch comes without CUDA anyway.
    chosen = torch == "cpu" or any((ROOT / folder).glob("lib/*/site-packages/torch-*+cpu.dist-info"))
    cpu = chosen and platform.system() == "Linux"
    check_disk(ROOT, CPU_GIGABYTES if cpu else GIGABYTES)
    python = make_environment(ROOT / folder)
    install(python, cpu)
    if subprocess.call([python, "-m", "course_utils.assets"], cwd=str(ROOT)) != 0:
        sys.exit(1)  # it has printed the reason


def check_python():
    """Refuse an old Python, and name a newer one if this machine has it."""
    if sys.version_info >= OLDEST:
        return
    others = [name for name in ("python3.13", "python3.12", "python3.11") if runs(name, "-c", "")]
    remedy = f"Run: make PYTHON={others[0]} lab" if others else "Install Python 3.12."
    raise SetupError("Python {}.{} is too old: 3.11 or newer is needed. {}".format(*sys.version_info[:2], remedy))


def check_machine():
    """Refuse Python for Intel Macs, for which PyTorch has no packages."""
    if (platform.system(), platform.machine()) == ("Darwin", "x86_64"):
        raise SetupError(
            "PyTorch has no packages for Intel Macs since version 2.3. Use Colab (the badge in README.md) or a Linux "
            "machine; on a Mac with Apple silicon, install Python for arm64."
        )


def check_disk(folder, needed=GIGABYTES):
    """Refuse a full disk, unless the environment is already there."""
    free = shutil.disk_usage(str(folder)).free / 1e9
    if free < needed and not (folder / ".venv" / ".course-ready").exists():
        raise SetupError(f"The disk is too full: about {needed} GB are needed, {free:.1f} GB are free.")


def runs(*command):
    """Whether a command exists and succeeds; version managers leave names behind that do not start."""
    return shutil.which(command[0]) is not None and subprocess.call(command, **QUIET) == 0


def make_environment(folder):
    """Make the virtual environment if it is missing, broken, or without an installer; return its python."""
    python = str(folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    if not (runs(python, "-c", "import pip") or (runs(python, "-c", "") and find_uv(python))):
        print(f"Making a virtual environment in {folder.name}", flush=True)
        if subprocess.call([sys.executable, "-m", "venv", "--clear", str(folder)]) != 0:
            raise SetupError("Python's venv module is missing. On Debian or Ubuntu: sudo apt install python3-venv")
    return python


def find_uv(python):
    """The environment's own uv, or the one on the path, or None."""
    own = str(Path(python).parent / "uv")
    return next((uv for uv in (own, "uv") if runs(uv, "--version")), None)


def install(python, cpu=False):
    """Install the locked versions and the course itself, with uv or else with pip."""
    print("Installing requirements.lock (a minute with uv, several with pip, the first time)", flush=True)
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check"]
    has_pip = runs(*pip[:3], "--version")
    if has_pip and not find_uv(python):
        # Its own lines of the lock, in a file: pip takes hashes neither from constraints nor on the command line.
        only = Path(python).parent / "uv.lock"
        only.write_text("".join(one for one in locked() if one.startswith("uv==")), encoding="utf-8")
        subprocess.call([*pip, "--retries", "1", "--no-deps", "-r", str(only)], cwd=str(ROOT), **QUIET)
    wanted = without_cuda(Path(python).parent) if cpu else [["-r", "requirements.lock"]]
    reason = "uv is not available."
    if find_uv(python):
        reason = why_failed([find_uv(python), "pip", "install", "--python", python], wanted)
    if reason and has_pip and "disk is full" not in reason:
        print(f"Using pip instead of uv: {reason}", flush=True)
        reason = why_failed([*pip, "--retries", "3"], wanted)
    if reason:
        raise SetupError("The packages could not be installed: " + reason)


def locked():
    """The entries of requirements.lock, each a version with its hashes."""
    return re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text(encoding="utf-8"))


def without_cuda(folder):
    """What to install instead of requirements.lock, in two steps; writes a lock without CUDA into ``folder``.

    PyTorch is first, of the locked version, from its index. The lock has no hashes of those builds.
    """
    pinned = locked()
    own = [re.match(r"torch(vision)?==[^\s;]+", one) for one in pinned]
    others = [one for one in pinned if not re.match(r"(torch|torchvision|triton|(nvidia|cuda)-[\w-]+)==", one)]
    lock = folder / "requirements-cpu.lock"
    lock.write_text("\n".join(others), encoding="utf-8")
    return [["--index-url", CPU_INDEX, *(found.group() for found in own if found)], ["-r", str(lock)]]


def why_failed(installer, wanted):
    """Install what is wanted, then the course; the reason and remedy if that fails, else None."""
    quiet = [] if sys.stdout.isatty() else ["--quiet"]
    for what in [*wanted, ["-e", "."]]:
        command = installer + ["--no-deps"] + quiet + what
        process = subprocess.Popen(
            command, cwd=str(ROOT), stderr=subprocess.PIPE, universal_newlines=True, errors="replace"
        )
        said = []
        for line in process.stderr:
            said.append(line)
            if line.lstrip().startswith(("Downloading", "Downloaded", "Building", "Prepared", "Installed")):
                print(line, end="", flush=True)  # uv's progress
        if process.wait() != 0:
            return reason_of("".join(said))
    return None


def reason_of(said):
    """The reason and its remedy, from what pip or uv wrote to stderr."""
    if "Errno 28" in said or "No space left" in said:
        return f"the disk is full. Free some room (about {GIGABYTES} GB in all) and repeat: nothing is lost."
    if any(sign in said for sign in OFFLINE):
        return "the package index cannot be reached. Check the network and repeat: nothing is lost."
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    causes = [line.partition(":")[2] for line in lines if line.lower().startswith(("error:", "cause:", "caused by:"))]
    return (causes or lines or ["no reason was given"])[-1].strip()


if __name__ == "__main__":
    try:
        main(*(sys.argv[1:3] or [".venv"]))
    except SetupError as error:
        sys.exit(f"Set-up stopped. {error}")
    except KeyboardInterrupt:
        sys.exit("Set-up interrupted. Repeat the command to continue: nothing is lost.")
