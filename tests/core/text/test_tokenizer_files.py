"""A tokenizer that is read once is every caller's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from aftertrain.core.records import Message
from aftertrain.core.text.chat import load_tokenizer, render
from aftertrain.core.text.tokenizer_files import read_once

TALK = (Message("user", "How many?"), Message("assistant", "Four."))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that transformers reads."""
    folders: list[str] = []
    read = AutoTokenizer.from_pretrained
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda f, **more: folders.append(f) or read(f, **more))
    return folders


def test_a_folder_is_read_once(tiny_model: Path, reads: list[str]) -> None:
    with read_once():
        tokenizers = [load_tokenizer(str(tiny_model)) for _ in range(3)]
    assert reads == [str(tiny_model)]
    load_tokenizer(str(tiny_model))
    load_tokenizer(str(tiny_model))
    assert reads == [str(tiny_model)] * 3
    expected = render(load_tokenizer(str(tiny_model)), TALK, generation_prompt=False)
    assert all(render(tokenizer, TALK, generation_prompt=False) == expected for tokenizer in tokenizers)


def test_what_one_changes_the_others_do_not_see(tiny_model: Path, reads: list[str]) -> None:
    with read_once():
        own = load_tokenizer(str(tiny_model), "tulu_bos")
        own.pad_token = "a"
        own.padding_side = "left"
        other = load_tokenizer(str(tiny_model))
    fresh = load_tokenizer(str(tiny_model))
    for name in ("chat_template", "pad_token", "pad_token_id", "padding_side", "special_tokens_map", "name_or_path"):
        assert getattr(other, name) == getattr(fresh, name)
    assert own.pad_token == "a"
    assert own.chat_template != fresh.chat_template
    assert len(reads) == 2
