"""Tables of measured results in data/: a CSV with, as a rule, one row for each method and seed."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from course_utils.checkpoints import write_atomically
from course_utils.device import describe
from course_utils.paths import DATA


def read(name: str) -> pd.DataFrame:
    """Read the table ``data/<name>.csv``; FileNotFoundError if there is no such table."""
    path = DATA / f"{name}.csv"
    if not path.exists():
        raise FileNotFoundError(
            f"There is no table {path}. The programs under experiments/ write these tables, for instance "
            "`python -m experiments.trainable_parts`; data/README.md names the one for each."
        )
    return pd.read_csv(path)


def replace(path: Path, table: pd.DataFrame) -> None:
    """Write a whole table, with four decimals; a failed write leaves the old one as it was.

    Raises:
        course_utils.checkpoints.CheckpointError: If the table cannot be written.
    """
    write_atomically(path, lambda beside: table.to_csv(beside, index=False, float_format="%.4f"))


def store(path: Path, row: dict, methods: Sequence[str]) -> None:
    """Write one row into a table, in place of an older row with the same method and seed.

    Args:
        path: The CSV; created if missing.
        row: Column to value, including "method" and "seed".
        methods: The order of the methods in the table; within a method, rows are sorted by seed.

    Raises:
        course_utils.checkpoints.CheckpointError: If the table cannot be written; the old one is then unchanged.
    """
    rows = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=list(row))
    older = (rows["method"] == row["method"]) & (rows["seed"] == row["seed"])
    rows = pd.concat([rows[~older], pd.DataFrame([row])] if len(rows) else [pd.DataFrame([row])])
    rank = {method: i for i, method in enumerate(methods)}
    rows = rows.sort_values(
        ["method", "seed"], key=lambda values: values.map(rank) if values.name == "method" else values
    )
    replace(path, rows)


def where_measured(device: torch.device | str = "cpu") -> dict[str, str]:
    """The columns "machine" and "torch" of a row."""
    device = torch.device(device)
    machine = f"{platform.machine()}, {describe(device)}" if device.type == "cpu" else describe(device)
    return {"machine": machine, "torch": torch.__version__.split("+")[0]}
