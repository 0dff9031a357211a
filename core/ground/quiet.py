"""Loading and saving with transformers, without the bars and reports that would cut through the console."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and load reports of transformers inside the block; its settings come back after it."""
    import torch
    from transformers.utils import logging as transformers_logging

    if not torch.cuda.is_available():
        # Where DeepSpeed is installed transformers imports it to save, and it would say that it finds no GPU.
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    logging: Any = transformers_logging
    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
