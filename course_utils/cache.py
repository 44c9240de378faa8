"""The cache; a folder in it is made completely or not at all, by one process at a time, and checked when it is used."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

MANIFEST = "manifest.json"  # in each folder: its files with their sizes, times of modification and SHA-256


class AssetError(RuntimeError):
    """Something could not be put into the cache; the message names it, the reason and the remedy."""


def cache_folder() -> Path:
    """The folder for models and data: the one named by COURSE_CACHE, else your user cache folder."""
    chosen = os.environ.get("COURSE_CACHE", "").strip()
    if chosen:
        return Path(chosen).expanduser().absolute()
    return platformdirs.user_cache_path("cross-modal-course", appauthor=False)


def state(target: Path) -> str:
    """Whether a folder made by :func:`build_once` is "missing", "damaged" or "ready"."""
    if not os.path.lexists(target):
        return "missing"
    return "damaged" if damage(target) else "ready"


def damage(folder: Path) -> str | None:
    """What is wrong with a folder made by :func:`build_once`; None if it is whole.

    Each file must have its size; it is hashed if it has been modified, or copied, since the last look.
    """
    try:
        listed = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = {name: (size, modified, digest) for name, (size, modified, digest) in listed.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return f"{MANIFEST} is missing or unreadable"
    modified_since = {}
    for name, (size, modified, digest) in files.items():
        try:
            found = os.stat(os.path.join(folder, name))  # noqa: PTH116, PTH118 - three times faster, for 5,000 files
            if found.st_size != size:
                return f"{name} has {found.st_size} bytes instead of {size}"
            if found.st_mtime_ns != modified:
                if _sha256(folder / name) != digest:
                    return f"{name} has another content"
                modified_since[name] = (size, found.st_mtime_ns, digest)
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
    if modified_since:
        with suppress(OSError):  # in a read-only cache they are hashed each time
            _write_manifest(folder, files | modified_since)
    return None


def build_once(target: Path, build: Callable[[Path], Path], *, needs_mb: int, command: str) -> Path:
    """Return the folder ``target``, made first if it does not exist or is damaged.

    Args:
        target: The folder. If it is ready it is complete, whatever was interrupted, killed or run twice.
        build: Called with an empty scratch folder; returns the finished folder inside it.
        needs_mb: Disk space that ``build`` needs, in megabytes, for the message when the disk is full.
        command: The command that tries again, for messages.

    Raises:
        AssetError: If the disk is full or the cache cannot be written. Errors of ``build`` pass through.
    """
    if state(target) == "ready":
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target):
            if state(target) != "ready":  # another process may have made it while this one waited
                _build_and_publish(target, build)
    except OSError as error:
        if error.errno is None:  # raised by a library, not by the system
            raise
        reason = f"the cache folder {target.parent} cannot be used ({error.strerror})"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason = f"the disk is full, and {needs_mb} MB are needed in {target.parent}"
        remedy = f"Free some room or set COURSE_CACHE to another folder, then run: {command}"
        raise AssetError(f"{target.name} could not be made: {reason}. {remedy}") from error
    return target


def shared_lock(path: Path) -> FileLock:
    """A lock file that other users can lock too, where the umask lets them write."""
    path.touch()
    return FileLock(path, mode=stat.S_IMODE(path.stat().st_mode))


def _build_and_publish(target: Path, build: Callable[[Path], Path]) -> None:
    if os.path.lexists(target):
        print(f"{target.name} is damaged ({damage(target)}): it is made again.", file=sys.stderr)
    # We hold the lock, so any scratch folder here is left from a killed run. On Windows its files may still be open
    # for a moment: then it stays until the next time.
    for leftover in target.parent.glob(f"{target.name}.partial-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"{target.name}.partial-", dir=target.parent))
    try:
        made = build(scratch)
        _seal(made, scratch)
        if os.path.lexists(target):
            target.rename(scratch / "damaged")
            shutil.rmtree(scratch / "damaged", ignore_errors=True)  # now: once published, nobody looks for leftovers
        made.replace(target)  # atomic, since both are on one file system
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _seal(folder: Path, scratch: Path) -> None:
    """Give a finished folder the permissions that the umask asks for, and its manifest."""
    (scratch / "mode").mkdir()
    (scratch / "mode" / "file").touch()
    file_mode, folder_mode = (stat.S_IMODE((scratch / name).stat().st_mode) for name in ("mode/file", "mode"))
    files = {}
    for path in sorted(folder.rglob("*")):
        path.chmod(folder_mode if path.is_dir() else file_mode)  # safetensors' files, for one, are private
        if path.is_file():
            found = path.stat()
            files[path.relative_to(folder).as_posix()] = (found.st_size, found.st_mtime_ns, _sha256(path))
    _write_manifest(folder, files)
    folder.chmod(folder_mode)


def _write_manifest(folder: Path, files: dict[str, tuple[int, int, str]]) -> None:
    beside = folder / f"{MANIFEST}.{os.getpid()}"
    beside.write_text(json.dumps(files, indent=0), encoding="utf-8")
    beside.replace(folder / MANIFEST)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Hold the lock of ``target``; the system frees it even when the holder is killed."""
    lock = shared_lock(target.with_name(f"{target.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"Another process is making {target.name}: waiting for it.", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
