from __future__ import annotations

import subprocess

from course_utils import results
from experiments import spinning_threads


def test_every_setting_is_measured_quiet_and_beside_busy_programs_that_end(monkeypatch, tmp_path):
    started = []

    class RememberedPopen(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", RememberedPopen)
    monkeypatch.setattr(spinning_threads, "SETTINGS", {"GOMP_SPINCOUNT=100": {"GOMP_SPINCOUNT": "100"}})
    table = spinning_threads.main(steps=1, repeats=1, path=tmp_path / "spin.csv")
    assert table["busy_programs"].tolist() == [0, 2] and (table["seconds"] > 0).all()
    assert len(started) == 4 and all(program.returncode is not None for program in started)
    assert (tmp_path / "spin.csv").exists()


def test_the_setting_of_the_course_costs_little_when_quiet_and_gains_much_beside_other_programs():
    table = results.read("spinning_threads")
    median = table.groupby(["busy_programs", "setting"])["seconds"].median()
    chosen = "GOMP_SPINCOUNT=10000"
    assert median[0, chosen] < 1.2 * median[0, "unset"] < median[0, "GOMP_SPINCOUNT=1000"]
    assert median[2, chosen] < 0.6 * median[2, "unset"]
