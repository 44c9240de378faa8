from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from course_utils.assets import AssetError
from course_utils.vlm import features
from course_utils.vlm.features import Features, encode_files
from course_utils.vlm.prepare import prepared_picture


class Reader:
    """Stands in for a :class:`PictureReader`: each feature is the mean of the picture; counts what it encodes."""

    def __init__(self, name: str = "mean") -> None:
        self.name, self.encoded = name, 0

    def fingerprint(self, *details):
        return self.name

    def read(self, pictures):
        self.encoded += len(pictures)
        means = torch.from_numpy(pictures.reshape(len(pictures), -1).mean(axis=1))
        return means[:, None, None].expand(-1, *features.SHAPE).half()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "picture-features" / "mean"


@pytest.fixture
def paths(tmp_path):
    """Pictures of many sizes and greys, all different."""
    found = []
    for number in range(20):
        found.append(tmp_path / f"{number}.png")
        Image.new("L", (20 + 9 * number, 50), 12 * number).save(found[-1])
    return found


def expected(paths):
    return torch.stack([Reader().read(prepared_picture(path)[None])[0] for path in paths])


@pytest.mark.parametrize("workers", [None, 2])
def test_every_picture_gets_its_own_features_in_order(paths, workers):
    found, bad = encode_files(paths, Reader(), workers=workers)
    assert not bad and len(found) == 20
    assert torch.equal(found[:], expected(paths))


def test_a_picture_is_encoded_once_by_its_content(paths):
    reader = Reader()
    encode_files(paths, reader)
    copy = paths[3].rename(paths[3].with_name("renamed.png"))
    found, _ = encode_files([copy, paths[5], paths[5], paths[0]], reader)
    assert reader.encoded == 20
    assert torch.equal(found[:], expected([copy, paths[5], paths[5], paths[0]]))
    Image.new("L", (40, 40), 255).save(paths[0])  # other content under the same name
    found, _ = encode_files([paths[0]], reader)
    assert reader.encoded == 21 and found[0].mean() == 255


def test_two_readers_do_not_share(paths):
    encode_files(paths, Reader())
    other = Reader("other")
    encode_files(paths, other)
    assert other.encoded == 20


def test_bad_pictures_are_told_and_the_others_kept(paths, tmp_path):
    paths[2].write_bytes(b"no picture")
    paths[7].unlink()
    found, bad = encode_files(paths, Reader())
    assert sorted(bad) == [2, 7] and "2.png" in bad[2] and "7.png" in bad[7] and len(found) == 18
    assert torch.equal(found[[0, -1]], expected([paths[0], paths[19]]))
    found, bad = encode_files(paths[2:3], Reader())
    assert len(found) == 0 and list(bad) == [0]


@pytest.mark.parametrize(("values", "digests"), [(-100, 0), (0, -5), (-(10**7), 0), (500, 0), (0, 7), (0, -32 * 20)])
def test_half_written_rows_do_not_count(paths, cache, values, digests):
    encode_files(paths, Reader())
    for name, change in (("features.f16", values), ("digests", digests)):
        content = (cache / name).read_bytes()
        kept = max(0, len(content) + min(change, 0))
        (cache / name).write_bytes(content[:kept] + bytes(range(1, max(change, 0) % 256 + 1)))
    found, bad = encode_files(paths, Reader())
    assert not bad and torch.equal(found[:], expected(paths))
    again = Reader()
    found, _ = encode_files(paths, again)
    assert again.encoded == 0 and torch.equal(found[:], expected(paths))


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import test_features
from course_utils.vlm import features
features.BATCH, write, left = 3, features._write, [int(sys.argv[2])]
def killed(file, start, content):
    left[0] -= 1
    if left[0] == 0:
        write(file, start, content[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    write(file, start, content)
features._write = killed
features.encode_files(sys.argv[3:], test_features.Reader())
"""


@pytest.mark.parametrize("at", [1, 2, 3, 4, 9])
def test_a_process_killed_in_a_write_loses_one_batch_at_most(paths, at):
    paths = paths[5:]  # all of them larger than 64 pixels: five batches of three, each two writes
    here = os.path.dirname(__file__)  # noqa: PTH120
    command = [sys.executable, "-c", KILLED, here, str(at), *map(str, paths)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    reader = Reader()
    found, _ = encode_files(paths, reader)
    assert torch.equal(found[:], expected(paths))
    in_half_a_list = at % 2 == 0  # of the three digests, one was whole
    assert reader.encoded == 15 - 3 * ((at - 1) // 2) - in_half_a_list


def test_two_processes_at_once_share_the_work_and_the_file(paths):
    code = "import sys; sys.path.insert(0, sys.argv[1]); import test_features\nfrom course_utils.vlm import features\n"
    code += "features.BATCH = 2; features.encode_files(sys.argv[2:], test_features.Reader())"
    here = os.path.dirname(__file__)  # noqa: PTH120
    orders = [paths, paths[::-1]]
    processes = [subprocess.Popen([sys.executable, "-c", code, here, *map(str, order)]) for order in orders]
    assert [process.wait(120) for process in processes] == [0, 0]
    reader = Reader()
    found, _ = encode_files(paths, reader)
    assert reader.encoded == 0 and torch.equal(found[:], expected(paths))


def test_a_full_disk_keeps_what_was_encoded(paths, monkeypatch):
    write, room = features._write, [4]

    def full(file, start, content):
        room[0] -= 1
        if room[0] < 0:
            raise OSError(28, "No space left on device")
        write(file, start, content)

    monkeypatch.setattr(features, "BATCH", 5)
    monkeypatch.setattr(features, "_write", full)
    with pytest.raises(AssetError, match="the disk is full.*COURSE_CACHE.*is kept"):
        encode_files(paths, Reader())
    monkeypatch.setattr(features, "_write", write)
    reader = Reader()
    found, _ = encode_files(paths, reader)
    assert reader.encoded == 10 and torch.equal(found[:], expected(paths))


def test_a_cache_that_is_a_file_is_named(paths, tmp_path, monkeypatch):
    (tmp_path / "blocked").write_text("a file")
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "blocked"))
    with pytest.raises(AssetError, match="blocked.*COURSE_CACHE"):
        encode_files(paths, Reader())


def test_features_are_indexed_like_a_tensor():
    whole = torch.randn(10, 2, 3).half()
    joined = Features.join([whole[:4], whole[4:5], whole[5:]])
    assert len(joined) == 10
    for index in (3, -1, slice(2, 9, 3), [9, 0, 4, 4], np.array([5, 2]), torch.tensor([8, 3]), []):
        wanted = torch.as_tensor(index, dtype=torch.long) if not isinstance(index, int | slice) else index
        assert torch.equal(joined[index], whole[wanted])
    some = joined.take(np.array([7, 1, 4]))
    assert torch.equal(some[:], whole[[7, 1, 4]]) and torch.equal(torch.stack(list(some)), whole[[7, 1, 4]])
    twice = Features.join([some, joined])
    assert torch.equal(twice[[2, 3]], whole[[4, 0]])


def test_the_digest_is_that_of_the_file(paths, cache):
    encode_files(paths[:1], Reader())
    assert (cache / "digests").read_bytes() == hashlib.sha256(paths[0].read_bytes()).digest()
