"""Tables of measured results: a CSV with one row for each method and seed, and where each row was measured."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from course_utils.checkpoints import write_atomically
from course_utils.lesson import describe


def store(path: Path, row: dict, methods: Sequence[str]) -> None:
    """Write a row into a table in place of an older one of its method and seed, if there is one.

    Args:
        path: The CSV; it is begun where there is none.
        row: Column to value; "method" and "seed" among them.
        methods: In the order that the table has. Rows of a method go by seed.

    Raises:
        course_utils.checkpoints.CheckpointError: If the table cannot be written; the old one is then untouched.
    """
    rows = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=list(row))
    older = (rows["method"] == row["method"]) & (rows["seed"] == row["seed"])
    rows = pd.concat([rows[~older], pd.DataFrame([row])] if len(rows) else [pd.DataFrame([row])])
    order = {method: place for place, method in enumerate(methods)}
    rows = rows.sort_values(
        ["method", "seed"], key=lambda column: column.map(order) if column.name == "method" else column
    )
    write_atomically(path, lambda beside: rows.to_csv(beside, index=False, float_format="%.4f"))


def where_measured(device: torch.device | str = "cpu") -> dict[str, str]:
    """The columns "machine" and "torch" of a row."""
    device = torch.device(device)
    machine = f"{platform.machine()}, {describe(device)}" if device.type == "cpu" else describe(device)
    return {"machine": machine, "torch": torch.__version__.split("+")[0]}
