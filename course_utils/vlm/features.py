"""Picture features on disk: each file is encoded once, and rows are read as they are needed.

A store in the cache holds the features of every file that was ever encoded, by the SHA-256 of its content, for one
picture reader. Its two files only grow: rows of features, then their digests. A row counts once its digest is written,
so a process killed in between loses the last batch and nothing else.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from course_utils.cache import AssetError, cache_folder, shared_lock
from course_utils.datasets.vqa import BadPicture
from course_utils.vlm.model import PictureReader
from course_utils.vlm.prepare import VERSION, prepared_picture

DIGEST = 32  # bytes
SHAPE = (PictureReader.SIDE**2, PictureReader.DIM)
ROW = SHAPE[0] * SHAPE[1] * 2  # bytes of a picture in float16
BATCH = 48  # pictures encoded and written together
FEW = 4 * BATCH  # up to so many pictures are read without worker processes, which take seconds to start


class Features:
    """Features of pictures, (n, cells, dim) float16, from several tensors; only what is indexed is copied.

    Index it like a tensor along the first dimension, with a number, a slice or a sequence of numbers.
    """

    def __init__(self, tensors: Sequence[torch.Tensor], source: np.ndarray, row: np.ndarray) -> None:
        self.tensors, self.source, self.row = tensors, source, row  # picture i is tensors[source[i]][row[i]]

    @classmethod
    def join(cls, parts: Sequence[torch.Tensor | Features]) -> Features:
        """The pictures of all parts, one part after the other."""
        tensors, sources, rows = [], [], []
        for part in parts:
            if isinstance(part, torch.Tensor):
                part = cls([part], np.zeros(len(part), dtype=int), np.arange(len(part)))
            sources.append(part.source + len(tensors))
            rows.append(part.row)
            tensors += part.tensors
        return cls(tensors, np.concatenate(sources), np.concatenate(rows))

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, index: int | slice | Sequence[int] | np.ndarray | torch.Tensor) -> torch.Tensor:
        if not isinstance(index, slice):
            index = np.asarray(index)
            index = index if index.size else index.astype(int)  # NumPy makes floats of an empty list
        source, row = self.source[index], self.row[index]
        if np.ndim(row) == 0:
            return self.tensors[source][row]
        found = torch.empty(len(row), *self.tensors[0].shape[1:], dtype=self.tensors[0].dtype)
        for number in np.unique(source):
            here = torch.from_numpy(source == number)
            found[here] = self.tensors[number][torch.from_numpy(row[source == number])]
        return found

    def take(self, index: np.ndarray) -> Features:
        """Some of the pictures, without copying them."""
        return Features(self.tensors, self.source[index], self.row[index])


def encode_files(
    paths: Sequence[str | Path], reader: PictureReader, *, workers: int | None = None
) -> tuple[Features, dict[int, str]]:  # fmt: skip
    """Encode picture files, reading them in worker processes; files that were encoded before come from the store.

    Args:
        paths: The files, of any size and format.
        reader: The frozen encoders.
        workers: Processes that read and scale pictures; by default none for a few pictures, else one per core, up to 4.

    Returns:
        The features of the readable pictures, in order, memory-mapped; and why each other one, by its number in
        ``paths``, cannot be read.

    Raises:
        AssetError: If the cache is full or cannot be written; what was encoded before is kept.
    """
    if workers is None:
        workers = 0 if len(paths) <= FEW else min(4, os.cpu_count() or 1)
    store = _Store(cache_folder() / "picture-features" / reader.fingerprint(VERSION))
    files = _Files(paths, frozenset(store.rows))
    digests, bad = [b""] * len(paths), {}
    # A batch is a list of (number, digest, pixels or the reason why there are none; None where the store has them).
    with tqdm(total=len(paths), desc="pictures", unit="picture", disable=len(paths) <= FEW) as bar:
        for batch in DataLoader(files, batch_size=BATCH, num_workers=workers, collate_fn=list):
            new: dict[bytes, np.ndarray] = {}
            for number, digest, pixels in batch:
                digests[number] = digest
                if isinstance(pixels, str):
                    bad[number] = pixels
                elif pixels is not None and digest not in store.rows:
                    new[digest] = pixels
            for side in {pixels.shape[0] for pixels in new.values()}:
                some = {digest: pixels for digest, pixels in new.items() if pixels.shape[0] == side}
                store.add(list(some), reader.read(np.stack(list(some.values()))))
            bar.update(len(batch))
    rows = np.array([store.rows[digest] for number, digest in enumerate(digests) if number not in bad], dtype=int)
    return Features([store.map()], np.zeros(len(rows), dtype=int), rows), bad


class _Files(Dataset):
    """Reads picture files; those whose digest is known are not decoded."""

    def __init__(self, paths: Sequence[str | Path], known: frozenset[bytes]) -> None:
        self.paths, self.known = paths, known

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> tuple[int, bytes, np.ndarray | str | None]:
        path = self.paths[number]
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            return number, b"", f"{path} cannot be read as a picture: {error.strerror}"
        digest = hashlib.sha256(content).digest()
        if digest in self.known:
            return number, digest, None
        try:
            return number, digest, prepared_picture(_Named(content, path))
        except BadPicture as error:
            return number, digest, str(error)


class _Named(io.BytesIO):
    """A file's content that error messages call by its path."""

    def __init__(self, content: bytes, path: str | Path) -> None:
        super().__init__(content)
        self.path = path

    def __str__(self) -> str:
        return str(self.path)


class _Store:
    """Rows of features in one file, their digests in another; ``rows`` maps each digest to its row."""

    def __init__(self, folder: Path) -> None:
        self.values, self.digests, self.lock = (folder / name for name in ("features.f16", "digests", "lock"))
        self.rows: dict[bytes, int] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for file in (self.values, self.digests):
                file.open("ab").close()
        except OSError as error:
            raise self._unusable(error) from error
        self._refresh()

    def _refresh(self) -> None:
        """Take over the rows that other processes wrote."""
        content = self.digests.read_bytes()
        self.count = min(len(content) // DIGEST, self.values.stat().st_size // ROW)
        self.rows = {content[row * DIGEST : (row + 1) * DIGEST]: row for row in range(self.count)}

    def add(self, digests: Sequence[bytes], features: torch.Tensor) -> None:
        """Append rows of features, (n, cells, dim) float16, unless another process has written them meanwhile."""
        try:
            with shared_lock(self.lock):
                self._refresh()
                new = [number for number, digest in enumerate(digests) if digest not in self.rows]
                os.truncate(self.digests, self.count * DIGEST)  # what a killed process left behind
                _write(self.values, self.count * ROW, features[new].contiguous().numpy().tobytes())
                _write(self.digests, self.count * DIGEST, b"".join(digests[number] for number in new))
        except OSError as error:
            raise self._unusable(error) from error
        self.rows |= {digests[number]: self.count + place for place, number in enumerate(new)}
        self.count += len(new)

    def map(self) -> torch.Tensor:
        """All rows, (n, cells, dim) float16, memory-mapped."""
        if not self.count:
            return torch.empty(0, *SHAPE, dtype=torch.float16)
        # Copy-on-write: a tensor must be writable, the file must not change.
        return torch.from_numpy(np.memmap(self.values, np.float16, mode="c", shape=(self.count, *SHAPE)))

    def _unusable(self, error: OSError) -> AssetError:
        reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror
        return AssetError(
            f"Picture features cannot be kept in {self.values.parent} ({reason}). Free some room or set COURSE_CACHE "
            "to another folder, then start again: what has been encoded so far is kept."
        )


def _write(file: Path, start: int, content: bytes) -> None:
    """Write bytes from ``start`` on, drop what came after, and wait until they are on the disk."""
    with file.open("r+b") as opened:
        opened.seek(start)
        opened.write(content)
        opened.truncate()
        opened.flush()
        os.fsync(opened.fileno())
