"""The rungs of the ladder that are shipped with the course."""

from __future__ import annotations

import pytest

from course_utils import checkpoints, results
from course_utils.paths import CHECKPOINTS
from course_utils.reasoning import ladder


@pytest.mark.parametrize("method", [method for method, encoder in ladder.SHIPPED if encoder == "GridCNN"])
def test_the_shipped_models_are_runs_of_the_ladder(method):
    model = ladder.shipped(method)
    assert not model.training and not any(weight.requires_grad for weight in model.parameters())
    path = CHECKPOINTS / f"{ladder.SHIPPED[method, 'GridCNN']}.safetensors"
    notes = checkpoints.load_checkpoint(ladder.RUNGS[method].build(), path)
    runs = results.read("ladder").set_index(["method", "seed"])
    assert notes["method"] == method
    assert notes["test"] == pytest.approx(runs.loc[(method, notes["seed"]), "test"], abs=0.01)


def test_a_model_that_is_not_shipped_is_named():
    with pytest.raises(ValueError, match="only of: dot-product attention over GridCNN, two-hop attention over GridCNN"):
        ladder.shipped("additive attention")
