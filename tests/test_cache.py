"""The cache: folders that are whole or not there, whatever is interrupted, killed, full, forbidden or damaged."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import stat
from pathlib import Path

import faults
import pytest

from course_utils import cache
from course_utils.cache import MANIFEST, AssetError, build_once, cache_folder


def build_into(scratch: Path) -> Path:
    (scratch / "made").mkdir()
    (scratch / "made" / "file").write_text("whole")
    return scratch / "made"


def test_the_environment_chooses_the_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    monkeypatch.setenv("COURSE_CACHE", "~/there")
    assert cache_folder() == Path.home() / "there"


def test_without_a_choice_it_is_a_folder_of_the_user(monkeypatch):
    monkeypatch.delenv("COURSE_CACHE", raising=False)
    assert cache_folder().is_absolute()
    assert "cross-modal-course" in cache_folder().parts


def test_a_folder_is_made_once(tmp_path):
    made = []

    def build(scratch):
        made.append(scratch)
        return build_into(scratch)

    for _ in range(2):
        target = build_once(tmp_path / "cache" / "thing", build, needs_mb=1, command="again")
        assert (target / "file").read_text() == "whole"
    assert len(made) == 1
    assert not made[0].exists()


@pytest.mark.parametrize("error", [ValueError("bad file"), KeyboardInterrupt(), OSError("no errno: a library's own")])
def test_a_failed_build_leaves_nothing_and_its_error_passes_through(tmp_path, error):
    def build(scratch):
        build_into(scratch)
        raise error

    with pytest.raises(type(error)) as caught:
        build_once(tmp_path / "thing", build, needs_mb=1, command="again")
    assert caught.value is error
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def test_a_cache_that_cannot_be_a_folder_is_named(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(AssetError, match=r"taken.* cannot be used .*COURSE_CACHE.*then run: again"):
        build_once(tmp_path / "taken" / "thing", build_into, needs_mb=1, command="again")


# --- damage -----------------------------------------------------------------------------------------------------


@pytest.fixture
def target(tmp_path) -> Path:
    faults.make(tmp_path / "cache" / "thing")
    return tmp_path / "cache" / "thing"


def assert_whole(target: Path) -> None:
    assert cache.state(target) == "ready"
    assert {name: (target / name).read_bytes() for name in faults.WHOLE} == faults.WHOLE
    assert all(path.name.startswith(target.name) for path in target.parent.iterdir())
    left = [file for path in target.parent.glob("*.partial-*") for file in path.rglob("*") if file.is_file()]
    assert [file for file in left if file.stat().st_size] == []


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def keep_time(file: Path, change) -> None:
    modified = file.stat().st_mtime_ns
    change(file)
    os.utime(file, ns=(modified, modified))


DAMAGES = {
    "cut": lambda target: os.truncate(target / "weights", 1000),
    "cut, with its old time": lambda target: keep_time(target / "weights", lambda file: os.truncate(file, 1000)),
    "emptied": lambda target: os.truncate(target / "folder" / "words", 0),
    "lengthened": lambda target: (target / "weights").open("ab").write(b"more"),
    "one bit changed": lambda target: flip(target / "weights"),
    "a file deleted": lambda target: (target / "folder" / "words").unlink(),
    "a folder deleted": lambda target: shutil.rmtree(target / "folder"),
    "a folder for a file": lambda target: [(target / "weights").unlink(), (target / "weights").mkdir()],
    "no manifest": lambda target: (target / MANIFEST).unlink(),
    "manifest cut": lambda target: os.truncate(target / MANIFEST, 50),
    "manifest emptied": lambda target: os.truncate(target / MANIFEST, 0),
    "manifest of another kind": lambda target: (target / MANIFEST).write_text('{"weights": 3}'),
    "manifest a list": lambda target: (target / MANIFEST).write_text("[]"),
    "a file in its place": lambda target: [shutil.rmtree(target), target.write_text("a file")],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damage_is_noticed_and_repaired(target, damage, capsys):
    assert cache.state(target) == "ready"
    damage(target)
    assert cache.state(target) == "damaged"
    faults.make(target)
    assert_whole(target)
    said = capsys.readouterr().err
    assert said.startswith("thing is damaged (") and said.endswith("): it is made again.\n") and said.count("\n") == 1


def test_damage_that_cannot_be_repaired_changes_nothing(target):
    def no_network(scratch):
        raise AssetError("no network")

    os.truncate(target / "weights", 1000)
    before = {path: path.stat().st_mtime_ns for path in target.rglob("*")}
    with pytest.raises(AssetError, match="no network"):
        build_once(target, no_network, needs_mb=1, command="again")
    assert {path: path.stat().st_mtime_ns for path in target.rglob("*")} == before
    assert cache.state(target) == "damaged"


def test_a_copied_cache_is_hashed_once(target, tmp_path, monkeypatch):
    copy = Path(shutil.copytree(target, tmp_path / "copy", copy_function=shutil.copyfile))
    for name in faults.WHOLE:
        os.utime(copy / name, ns=(0, 0))
    hashed = []
    original = cache._sha256
    monkeypatch.setattr(cache, "_sha256", lambda path: hashed.append(path.name) or original(path))
    assert [cache.state(copy), cache.state(copy)] == ["ready", "ready"]
    assert sorted(hashed) == ["weights", "words"]
    assert json.loads((copy / MANIFEST).read_text())["weights"][:2] == [len(faults.WHOLE["weights"]), 0]


# --- permissions ------------------------------------------------------------------------------------------------


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o002, 0o077])
def test_others_may_use_the_cache_as_far_as_the_umask_lets_them(tmp_path, umask):
    before = os.umask(umask)
    try:
        target = Path(faults.make(tmp_path / "cache" / "thing"))
    finally:
        os.umask(before)
    folders = [target.parent, target, target / "folder"]
    files = [*(target / name for name in faults.WHOLE), target / MANIFEST, target.with_name("thing.lock")]
    assert {mode(path) for path in folders} == {0o777 & ~umask}
    assert {mode(path) for path in files} == {0o666 & ~umask}


def test_a_cache_that_may_only_be_read_is_used(target):
    os.utime(target / "weights", ns=(0, 0))  # it must be hashed, and that cannot be noted
    for folder in (target, target.parent):
        folder.chmod(0o555)
    try:
        assert faults.elsewhere(faults.as_ordinary_user, faults.make, target) == str(target)
    finally:
        target.parent.chmod(0o755)
        target.chmod(0o755)
    assert_whole(target)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_cache_that_may_not_be_written_is_named(tmp_path, damaged):
    target = tmp_path / "cache" / "thing"
    target.parent.mkdir()
    if damaged:
        target.mkdir()
    target.parent.chmod(0o555)
    try:
        with pytest.raises(AssetError, match=r"cache cannot be used \(Permission denied\).*COURSE_CACHE.*run: again"):
            faults.elsewhere(faults.as_ordinary_user, faults.make, target)
    finally:
        target.parent.chmod(0o755)
    assert list(target.parent.iterdir()) == [target] * damaged


# --- full, killed, at once ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("longest", [0, 1, 100, 100_000, 1_023_999])
@pytest.mark.parametrize("damaged", [False, True])
def test_a_write_that_fails_half_way_leaves_nothing(tmp_path, longest, damaged):
    target = tmp_path / "thing"
    if damaged:
        faults.make(target)
        os.truncate(target / "weights", 10)
    with pytest.raises(AssetError, match="thing could not be made.*Free some room"):
        faults.elsewhere(faults.with_short_files, longest, faults.make, target)
    assert cache.state(target) == ("damaged" if damaged else "missing")
    assert {path.name for path in tmp_path.iterdir()} <= {"thing", "thing.lock"}
    faults.make(target)
    assert_whole(target)


def test_a_disk_that_is_full_is_called_so(tmp_path):
    def build(scratch):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(AssetError, match="the disk is full, and 7 MB are needed"):
        build_once(tmp_path / "thing", build, needs_mb=7, command="again")


def test_a_process_killed_at_any_moment_leaves_it_whole_or_known_to_be_not(tmp_path):
    target, rng, states = tmp_path / "cache" / "thing", random.Random(0), set()
    for _ in range(25):
        faults.kill_after(rng.uniform(0, 0.04), faults.damage_and_make, target)
        states.add(cache.state(target))
        if cache.state(target) == "ready":
            assert {name: (target / name).read_bytes() for name in faults.WHOLE} == faults.WHOLE
        faults.make(target)
        assert_whole(target)  # and nothing that the killed process left takes room
    assert states - {"ready"}, "no kill hit a moment that matters"


def test_of_processes_at_once_one_makes_it_and_all_find_it_whole(tmp_path):
    target, log = tmp_path / "cache" / "thing", tmp_path / "log"
    for turn in (1, 2):  # missing, then damaged
        with faults.ProcessPoolExecutor(4, faults.PROCESSES) as pool:
            made = [pool.submit(faults.make, target, log) for _ in range(4)]
        assert [one.result() for one in made] == [str(target)] * 4
        assert log.read_text() == "built\n" * turn
        assert_whole(target)
        os.truncate(target / "weights", 5)
