"""What waiting threads cost: ``python -m experiments.spinning_threads`` writes data/spinning_threads.csv.

OpenMP's threads spin while they wait for work, and so take the cores that other programs would use, and that the
thread they wait for needs itself. This measures 400 training steps of a small LSTM on two threads, alone and beside
two busy programs, by how long threads may spin. Six minutes on two cores; run it on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from course_utils import results
from course_utils.paths import DATA

SETTINGS: dict[str, dict[str, str]] = {
    "unset": {},
    **{f"GOMP_SPINCOUNT={turns}": {"GOMP_SPINCOUNT": str(turns)} for turns in (0, 100, 1000, 10000)},
    "OMP_WAIT_POLICY=passive": {"OMP_WAIT_POLICY": "passive"},
}
LONGEST = 600  # seconds that a measurement may take
# In a process of its own, since OpenMP reads its settings once; without course_utils, which would set them.
STEPS = """
import sys, time, torch
torch.set_num_threads(2)
torch.manual_seed(0)
lstm, head = torch.nn.LSTM(64, 64, batch_first=True), torch.nn.Linear(64, 10)
optimizer = torch.optim.AdamW([*lstm.parameters(), *head.parameters()])
inputs, targets = torch.randn(64, 20, 64), torch.randint(10, (64,))
def step():
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(head(lstm(inputs)[0][:, -1]), targets).backward()
    optimizer.step()
for _ in range(3):
    step()
began = time.perf_counter()
for _ in range(int(sys.argv[1])):
    step()
print(time.perf_counter() - began)
"""
BUSY = f"import time; end = time.monotonic() + {LONGEST}\nwhile time.monotonic() < end: pass"


def main(steps: int = 400, repeats: int = 3, path: Path = DATA / "spinning_threads.csv") -> pd.DataFrame:
    """Measure every setting and write the table: setting, busy programs, repeat, steps, seconds, machine, torch."""
    where, rows = results.where_measured(), []
    for repeat in range(repeats):
        for programs in (0, 2):
            for name, setting in SETTINGS.items():
                with _busy(programs):
                    taken = seconds(setting, steps)
                row = {"setting": name, "busy_programs": programs, "repeat": repeat, "steps": steps, "seconds": taken}
                rows.append({**row, **where})
                print(f"{name}, {programs} busy programs: {taken:.2f} s", flush=True)
    table = pd.DataFrame(rows).sort_values(["busy_programs", "setting", "repeat"], key=_in_order)
    results.replace(path, table)
    return table


def seconds(setting: dict[str, str], steps: int) -> float:
    """Seconds that the training steps take in a new process with these environment variables."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("GOMP_", "OMP_", "KMP_"))}
    command = [sys.executable, "-c", STEPS, str(steps)]
    done = subprocess.run(
        command, env=inherited | setting, stdout=subprocess.PIPE, text=True, timeout=LONGEST, check=True
    )
    return float(done.stdout)


@contextlib.contextmanager
def _busy(programs: int) -> Iterator[None]:
    """Run this many programs that each keep one core busy."""
    running = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(programs)]
    try:
        yield
    finally:
        for program in running:
            program.kill()
            program.wait()


def _in_order(column: pd.Series) -> pd.Series:
    return column.map(list(SETTINGS).index) if column.name == "setting" else column


if __name__ == "__main__":
    parser = argparse.ArgumentParser("python -m experiments.spinning_threads", description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400, help="training steps to measure")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=DATA / "spinning_threads.csv", help="the table to write")
    asked = parser.parse_args()
    main(asked.steps, asked.repeats, asked.out)
