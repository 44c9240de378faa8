"""The build backend that compiles nothing; test_assets.py has pip and uv call it."""

from __future__ import annotations

import csv
import zipfile

import pytest

from course_utils import packer


def test_the_wheel_holds_every_file_and_a_record_of_all(tmp_path, monkeypatch):
    files = {"PKG-INFO": "Name: Some-model\nVersion: 1.2.0\n", "data/a, b.txt": "words", "src/main.c": "int main;"}
    for name, text in files.items():
        (tmp_path / "package" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "package" / name).write_text(text)
    monkeypatch.chdir(tmp_path / "package")
    wheel = packer.build_wheel(tmp_path)
    assert wheel == "Some_model-1.2.0-py3-none-any.whl"
    with zipfile.ZipFile(tmp_path / wheel) as archive:
        assert {name: archive.read(name).decode() for name in files} == files
        record = archive.read("Some_model-1.2.0.dist-info/RECORD").decode().splitlines()
        assert sorted(name for name, *_ in csv.reader(record)) == sorted(archive.namelist())
        assert archive.read("Some_model-1.2.0.dist-info/METADATA").decode() == files["PKG-INFO"]


def test_a_folder_that_is_no_source_package_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="PKG-INFO"):
        packer.build_wheel(tmp_path)
