"""Loads pretrained transformers from a folder on disk, without network or progress bar."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from course_utils.cache import AssetError


def load(model: type, tokenizer: type, folder: Path, **options) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model, in evaluation mode, and its tokenizer, by transformers' Auto classes; options go to the model.

    Raises:
        AssetError: If the weights are damaged.
    """
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # transformers draws one on stderr even for a load of half a second
    try:
        loaded = model.from_pretrained(folder, local_files_only=True, **options)
    except SafetensorError as error:
        raise AssetError(f"{folder} is damaged ({error}). Delete it, then start again.") from error
    finally:
        if shown:
            logging.enable_progress_bar()
    return loaded.eval(), tokenizer.from_pretrained(folder, local_files_only=True)
