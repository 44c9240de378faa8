"""Pretrained models from a folder on disk, loaded without a network and without a progress bar."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging


def load(model: type, tokenizer: type, folder: Path, **options) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model in evaluation mode, and its tokenizer, by transformers' Auto classes; options go to the model."""
    with _no_progress_bar():
        loaded = model.from_pretrained(folder, local_files_only=True, **options)
    return loaded.eval(), tokenizer.from_pretrained(folder, local_files_only=True)


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """transformers draws a bar on stderr even for a load of half a second."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
