"""Set up everything a lesson needs, from a bare Python: ``python3 tools/bootstrap.py``.

Makes a virtual environment, installs the exact versions of requirements.lock and the course itself, and fetches the
models and data sets. Safe to interrupt and to repeat. It runs before anything is installed, so it imports the
standard library alone, and its syntax is old enough that an old Python can still say what is wrong.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)
GIGABYTES = 9  # the environment takes about 6.5, pip's downloads the rest until they are unpacked


class SetupError(Exception):
    """What is missing, in one line, with its remedy."""


def main(folder):
    """Set up the environment in ``folder`` and fetch the assets."""
    check_python()
    check_disk(ROOT)
    python = make_environment(ROOT / folder)
    install(python)
    if subprocess.call([python, "-m", "course_utils.assets"], cwd=str(ROOT)) != 0:
        sys.exit(1)  # it has said in one line what is missing


def check_python():
    """Python must be new enough; say which other one on this machine is."""
    if sys.version_info >= OLDEST:
        return
    others = [name for name in ("python3.13", "python3.12", "python3.11") if runs(name)]
    remedy = f"Run: make PYTHON={others[0]} lab" if others else "Install Python 3.12."
    raise SetupError("Python {}.{} is too old: 3.11 or newer is needed. {}".format(*sys.version_info[:2], remedy))


def runs(name):
    """Whether there is a Python of this name that starts; version managers leave names behind that do not."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return shutil.which(name) is not None and subprocess.call([name, "-c", ""], **quiet) == 0


def check_disk(folder):
    """The disk must have room, unless the environment stands already."""
    free = shutil.disk_usage(str(folder)).free / 1e9
    if free < GIGABYTES and not (folder / ".venv" / ".course-ready").exists():
        raise SetupError(f"The disk is too full: about {GIGABYTES} GB are needed, {free:.1f} GB are free.")


def make_environment(folder):
    """Make the virtual environment where it is missing or broken; its python."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    works = python.exists() and subprocess.call([str(python), "-m", "pip", "--version"], stdout=subprocess.DEVNULL) == 0
    if not works:
        print(f"Making a virtual environment in {folder.name}", flush=True)
        remedy = "Python's venv module is missing. On Debian or Ubuntu: sudo apt install python3-venv"
        run([sys.executable, "-m", "venv", "--clear", str(folder)], remedy)
    return str(python)


def install(python):
    """Install the locked versions and the course itself."""
    print("Installing requirements.lock (several minutes the first time)", flush=True)
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--retries", "3"]
    if not sys.stdout.isatty():  # progress is for people, not for logs
        pip.append("--quiet")
    run_pip([*pip, "-r", "requirements.lock"])
    run_pip([*pip, "--quiet", "--no-deps", "-e", "."])


def run_pip(command):
    """Run pip in the repository; turn its failure, which it tells in many lines, into one."""
    pip = subprocess.Popen(command, cwd=str(ROOT), stderr=subprocess.PIPE, universal_newlines=True, errors="replace")
    _, said = pip.communicate()
    if pip.returncode != 0:
        raise SetupError("The packages could not be installed: " + why_pip_failed(said))


def why_pip_failed(said):
    """The reason and its remedy, from what pip wrote to stderr."""
    if "Errno 28" in said or "No space left" in said:
        return f"the disk is full. Free some room (about {GIGABYTES} GB in all) and repeat: nothing is lost."
    if any(sign in said for sign in ("connection broken", "Failed to establish", "Max retries", "timed out")):
        return "the package index cannot be reached. Check the network and repeat: nothing is lost."
    errors = [line.partition("ERROR:")[2].strip() for line in said.splitlines() if line.startswith("ERROR:")]
    return f"pip says: {(errors or said.strip().splitlines() or ['nothing'])[-1]}"


def run(command, remedy):
    """Run a command in the repository; turn its failure into one line."""
    if subprocess.call(command, cwd=str(ROOT)) != 0:
        raise SetupError(remedy)


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else ".venv")
    except SetupError as error:
        sys.exit(f"Set-up stopped. {error}")
    except KeyboardInterrupt:
        sys.exit("Set-up interrupted. Repeat the command to go on: nothing is lost.")
