"""Tokenizers that operators name: found, read, and told apart by what they do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from aftertrain.core.asking.prompting import clean
from aftertrain.core.run.base_model import find_model
from aftertrain.core.text.chat import encode, load_tokenizer
from aftertrain.core.text.fingerprint import fingerprint

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def tokenizer_of(model: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a model that settings name.

    Raises:
        ModelError: there is no such model, or it has no tokenizer that can be read.
    """
    return load_tokenizer(str(find_model(model, Path.cwd(), weights=False)), needs_template=False)


def tokenizer_digest(model: str) -> str:
    """SHA-256 of what the tokenizer does, its chat template included."""
    return fingerprint(tokenizer_of(model))


def token_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Of a text by itself, without a start token; halves of surrogate pairs are replaced."""
    return encode(tokenizer, clean(text), special=False)
