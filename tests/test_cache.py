from __future__ import annotations

from pathlib import Path

import pytest

from course_utils.cache import AssetError, build_once, cache_folder


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
