"""The cache folder; a folder in it is made completely or not at all, by one process at a time."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout


class AssetError(RuntimeError):
    """Something could not be put into the cache; the message names it, the reason and the remedy."""


def cache_folder() -> Path:
    """The folder for models and data: the one named by COURSE_CACHE, else your user cache folder."""
    chosen = os.environ.get("COURSE_CACHE", "").strip()
    if chosen:
        return Path(chosen).expanduser().absolute()
    return platformdirs.user_cache_path("cross-modal-course", appauthor=False)


def build_once(target: Path, build: Callable[[Path], Path], *, needs_mb: int, command: str) -> Path:
    """Return the folder ``target``, made first if it does not exist.

    Args:
        target: The folder. If it exists it is complete, whatever was interrupted, killed or run twice.
        build: Called with an empty scratch folder; returns the finished folder inside it.
        needs_mb: Disk space that ``build`` needs, in megabytes, for the message when the disk is full.
        command: The command that tries again, for messages.

    Raises:
        AssetError: If the disk is full or the cache cannot be written. Errors of ``build`` pass through.
    """
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target):
            if not target.is_dir():  # another process may have made it while this one waited
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


def _build_and_publish(target: Path, build: Callable[[Path], Path]) -> None:
    # We hold the lock, so any scratch folder here is left from a killed run. On Windows its files may still be open
    # for a moment: then it stays until the next time.
    for leftover in target.parent.glob(f"{target.name}.partial-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"{target.name}.partial-", dir=target.parent))
    try:
        build(scratch).replace(target)  # atomic, since both are on one file system
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Hold the lock of ``target``; the system frees it even when the holder is killed."""
    lock = FileLock(f"{target}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"Another process is making {target.name}: waiting for it.", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
