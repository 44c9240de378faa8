"""Faults for tests: processes that are killed or run at once, writes that fail half-way, folders without permission.

What runs in another process is a function of this module: it is found there by its name.
"""

from __future__ import annotations

import ctypes
import itertools
import multiprocessing
import os
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from course_utils import cache, checkpoints

PROCESSES = multiprocessing.get_context("forkserver")  # its children are forks of one that has imported all this:
PROCESSES.set_forkserver_preload(["pytest", "torch", "course_utils.cache", "course_utils.checkpoints"])
WHOLE = {"weights": bytes(range(256)) * 4000, "folder/words": b"red\n" * 1000}


def elsewhere(work: Callable, *arguments):
    """Run ``work(*arguments)`` in another process; its result, or its exception raised here."""
    with ProcessPoolExecutor(1, PROCESSES) as pool:
        return pool.submit(work, *arguments).result()


def with_short_files(longest: int, work: Callable, *arguments):
    """Let every write fail that goes beyond ``longest`` bytes of a file, as on a disk that fills up on the way."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (longest, resource.RLIM_INFINITY))
    return work(*arguments)


def as_ordinary_user(work: Callable, *arguments):
    """Give up root's right to read and write everything: in containers, tests run as root."""
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if os.geteuid() == 0 and ctypes.CDLL(None).capset(header, none) != 0:
        raise OSError("capset failed")
    return work(*arguments)


def kill_after(seconds: float, work: Callable, *arguments) -> None:
    """Start ``work(*arguments)`` in another process and kill it so many seconds after its first turn."""
    begun = PROCESSES.Event()
    process = PROCESSES.Process(target=_announced, args=(begun, work, arguments))
    process.start()
    assert begun.wait(60)
    time.sleep(seconds)
    assert process.is_alive(), "it ended by itself"
    process.kill()
    process.join()


def _announced(begun, work: Callable, arguments: tuple) -> None:
    for turn in itertools.count():
        work(turn, *arguments)
        begun.set()


# --- checkpoints ------------------------------------------------------------------------------------------------


def save(number: int, path: Path) -> None:
    """Write 8 MB, each weight the number."""
    checkpoints.save_weights({"weights": torch.full((2_000_000,), float(number))}, path, {"number": number})


def save_state(number: int, path: Path) -> None:
    """The same as training keeps its state: with torch.save, which writes in place."""
    state = {"weights": torch.full((2_000_000,), float(number)), "number": number}
    checkpoints.write_atomically(path, lambda place: torch.save(state, place))


# --- the cache --------------------------------------------------------------------------------------------------


def write_whole(scratch: Path) -> Path:
    """A build: writes ``WHOLE``, file by file, privately."""
    for name, content in WHOLE.items():
        file = scratch / "made" / name
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_bytes(content)
        file.chmod(0o600)
    return scratch / "made"


def make(target: Path, log: Path | None = None) -> str:
    """Make the target with :func:`write_whole`, and write a line for each build into the log."""

    def build(scratch: Path) -> Path:
        if log is not None:
            with log.open("a") as lines:
                lines.write("built\n")
            time.sleep(0.3)
        return write_whole(scratch)

    return str(cache.build_once(target, build, needs_mb=1, command="again"))


def damage_and_make(turn: int, target: Path) -> None:
    """Truncate a file of the target, or delete it, and make it again."""
    if turn:
        file = target / sorted(WHOLE)[turn % 2]
        os.truncate(file, turn % 7) if turn % 3 else file.unlink()
    make(target)
