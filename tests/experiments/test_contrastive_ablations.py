from __future__ import annotations

import torch

from course_utils import results
from experiments.contrastive_ablations import SEEDS, runs, train_and_measure


def test_a_run_measures_what_it_held_out():
    torch.manual_seed(0)
    cause = torch.randn(80, 5)
    recall = train_and_measure(cause @ torch.randn(5, 9), cause @ torch.randn(5, 8), 60, batch_size=20)
    assert set(recall) == {1, 5, 10} and 0 <= recall[1] <= recall[5] <= recall[10] <= 1


def test_the_shipped_table_has_all_runs():
    table = results.read("contrastive")
    placeholder = dict.fromkeys(("image", "text", "random image", "random text"), torch.ones(1, 1))
    expected = {(ablation, value) for ablation, value, *_ in runs(placeholder)}
    assert set(table[["ablation", "value"]].itertuples(index=False, name=None)) == expected
    assert (table.groupby(["ablation", "value"])["seed"].apply(sorted).map(tuple) == tuple(range(SEEDS))).all()
