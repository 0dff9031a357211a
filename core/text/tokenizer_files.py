"""A tokenizer read from a model's folder: what is broken is told with its file, what is too large is not read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING

from aftertrain.core.errors import ModelError
from aftertrain.core.ground.model_folder import OWN_CODE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LARGEST = {
    "tokenizer.json": 512 * 2**20,
    "tokenizer_config.json": 32 * 2**20,
    "special_tokens_map.json": 2**20,
    "added_tokens.json": 32 * 2**20,
    "chat_template.jinja": 2**22,
    "chat_template.json": 2**22,
    "config.json": 32 * 2**20,
}
"""Bytes of a folder's files that a tokenizer is made of; the largest known tokenizer.json has some 40 million."""


_READ: ContextVar[dict[str, PreTrainedTokenizerBase] | None] = ContextVar("tokenizers that were read", default=None)


@contextmanager
def read_once() -> Iterator[None]:
    """Within it a folder's tokenizer is read once: for what looks often at files that nobody changes meanwhile.

    Who asks for it again is given a copy with settings of its own (its template, say) and the same vocabulary.
    """
    token = _READ.set({})
    try:
        yield
    finally:
        _READ.reset(token)


def read_tokenizer(folder: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a model's folder; no code that stands there is run.

    Raises:
        ModelError: a file is missing, broken or too large; names it.
    """
    tokenizers = _READ.get()
    if tokenizers is None:
        return _read(folder)
    if folder not in tokenizers:
        tokenizers[folder] = _read(folder)
    tokenizer = copy(tokenizers[folder])
    vars(tokenizer).update({name: copy(value) for name, value in vars(tokenizer).items() if isinstance(value, dict)})
    return tokenizer


def _read(folder: str) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    for name, most in LARGEST.items():
        file = Path(folder) / name
        if file.is_file() and file.stat().st_size > most:
            raise ModelError(f"{file}: {file.stat().st_size:,} bytes are too large; {most:,} at most are read")
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        # Some faults, such as a length that is no number, show in use alone.
        tokenizer("", verbose=False)
    except MemoryError:
        raise
    except BaseException as error:
        # The library of tokenizers raises a plain Exception over a file that it cannot read, or panics outside it.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        if "trust_remote_code" in reason:
            reason = OWN_CODE
        raise ModelError(f"{_broken(Path(folder), error)}: cannot load a tokenizer: {reason[:600]}") from error
    _check_template(tokenizer, Path(folder))
    return tokenizer


def _broken(folder: Path, error: BaseException) -> str:
    """The file that an error is about, with what is wrong with it; the folder where that cannot be told."""
    for name in LARGEST:
        file = folder / name
        if not file.is_file():
            continue
        try:
            text = file.read_text(encoding="utf-8")
            if name.endswith(".json") and not isinstance(json.loads(text), dict):
                return f"{file}: no JSON object"
        except RecursionError:
            return f"{file}: too many brackets within one another"
        except (OSError, ValueError) as wrong:
            return f"{file}: not {'JSON' if name.endswith('.json') else 'UTF-8'} ({wrong})"
    if type(error) is Exception or not isinstance(error, Exception):
        return f"{folder / 'tokenizer.json'} (or its class in tokenizer_config.json)"
    named = [name for name in ("tokenizer_config.json", "tokenizer.json") if (folder / name).is_file()]
    return f"{folder} ({', '.join(named)})" if named else str(folder)


def _check_template(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """See that chat templates are texts."""
    template: object = tokenizer.chat_template
    texts = list(template.values()) if isinstance(template, dict) else [template]
    for text in texts:
        if text is not None and not isinstance(text, str):
            raise ModelError(
                f"{folder / 'tokenizer_config.json'}: chat_template: expected a text, found {type(text).__name__}"
            )
