"""Train for a moment, alone or as one of several processes, and write the losses: ``… OUT [FOLDER]``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import small_llm
from accelerate import Accelerator

from course_utils.language import llm
from course_utils.vlm import finetune

if __name__ == "__main__":
    llm.load, llm.fast_dtype = small_llm.load, lambda *_: small_llm.torch.float32
    config = finetune.Config(
        worlds={"shapes": 1}, join_layer=1, rank=4, pictures_per_batch=6, evaluations_per_epoch=2, epochs=3,
        learning_rate=1e-2,
    )  # fmt: skip
    accelerator = Accelerator(cpu=True)
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    model, history = finetune.train(
        config, [small_llm.world()], [small_llm.world(seed=1)], accelerator=accelerator, progress=False, folder=folder
    )
    sums = [float(weight.detach().double().sum()) for weight in model.parameters()]
    out = {"processes": accelerator.num_processes, "loss": history.loss, "validation": history.validation, "sums": sums}
    Path(f"{sys.argv[1]}.{accelerator.process_index}").write_text(json.dumps(out), encoding="utf-8")
    accelerator.end_training()
