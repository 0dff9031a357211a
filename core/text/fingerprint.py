"""What decides how a tokenizer renders and tokenises, as a digest."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.core.text.chat import TODAY

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ASIDE = frozenset({"name_or_path", "is_local", "local_files_only", "chat_template", "model_max_length"})
"""Arguments of a tokenizer that say where it lies, that decide nothing here, or that are told apart by themselves."""

STATE = frozenset({"truncation", "padding"})
"""Parts of a tokenizer's file that each call sets anew."""


def fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of all that decides how it renders and tokenises: vocabulary, merges, special tokens, chat template.

    Truncation and padding are left out: they are what the last call, or whoever saved the file, asked for. No row is
    tokenised with either.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules: Any = _slow_rules(tokenizer) if backend is None else json.loads(backend.to_str())
    if backend is not None:
        rules = {name: value for name, value in rules.items() if name not in STATE}
    special = {name: str(value) for name, value in tokenizer.special_tokens_map.items()}
    split = bool(getattr(tokenizer, "split_special_tokens", False))
    facts = [type(tokenizer).__name__, rules, special, split, tokenizer.chat_template, str(TODAY)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _slow_rules(tokenizer: PreTrainedTokenizerBase) -> list[Any]:
    """Of a tokenizer written in Python: its vocabulary files (scores and normaliser are in them) and its arguments."""
    with tempfile.TemporaryDirectory() as folder:
        names = sorted(tokenizer.save_vocabulary(folder) or ())
        files = [hashlib.sha256(Path(name).read_bytes()).hexdigest() for name in names]
    aside = ASIDE | set(tokenizer.vocab_files_names) | set(tokenizer.special_tokens_map)
    rest = {name: value for name, value in tokenizer.init_kwargs.items() if name not in aside}
    arguments = {name: value for name, value in rest.items() if isinstance(value, bool | int | float | str)}
    added = {str(number): repr(token) for number, token in tokenizer.added_tokens_decoder.items()}
    return [files, sorted(tokenizer.get_vocab().items()), arguments, added]
