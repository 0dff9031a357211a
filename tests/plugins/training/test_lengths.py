"""A plan tells how long rows are and what `batch.max_tokens` costs, as counted by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.text.chat import load_tokenizer
from aftertrain.plugins.training import glance

WORDS = [1, 1, 2, 3, 4, 5, 8, 9, 20, 40]
LIMIT = 12


@pytest.fixture
def told(bench: Callable[..., Any], tmp_path: Path) -> Callable[..., dict[str, str]]:
    """The plan's lines of a stage that learns texts of so many words under these settings of `batch`."""

    def told(**batch: Any) -> dict[str, str]:
        path = tmp_path / "texts.jsonl"
        path.write_text("".join(json.dumps({"text": "a " * n}) + "\n" for n in WORDS))
        data = {"use": "jsonl", "path": str(path), "format": "text"}
        stage = bench("lengths", loss={"use": "sft"}, data=data, batch={"sequences": 2, **batch})
        return {item.label: item.value for item in stage.plan()}

    return told


@pytest.fixture
def lengths(tiny_model: Path) -> list[int]:
    tokenizer = load_tokenizer(str(tiny_model))
    return sorted(len(tokenizer("a " * n)["input_ids"]) + 1 for n in WORDS)


def test_percentiles_are_those_of_the_sorted_lengths(told: Callable[..., Any], lengths: list[int]) -> None:
    half, most, nearly = (lengths[math.ceil(share * len(lengths)) - 1] for share in (0.5, 0.9, 0.99))
    assert told(max_tokens=2048)["lengths"] == (
        f"tokens of a text: 50 % have at most {half}, 90 % have at most {most}, 99 % have at most {nearly}, "
        f"the longest has {lengths[-1]}"
    )
    assert told(max_tokens=2048)["limit"] == "batch.max_tokens, 2,048: none is longer"


@pytest.mark.parametrize(("overlong", "becomes"), [("drop", "left out"), ("truncate", "cut")])
def test_what_a_limit_costs(told: Callable[..., Any], lengths: list[int], overlong: str, becomes: str) -> None:
    longer = [length for length in lengths if length > LIMIT]
    assert 0 < len(longer) < len(lengths)
    lost = sum(longer) if overlong == "drop" else sum(length - LIMIT for length in longer)
    share, tokens = 100 * len(longer) / len(lengths), 100 * lost / sum(lengths)
    assert told(max_tokens=LIMIT, overlong=overlong)["limit"] == (
        f"batch.max_tokens, {LIMIT}: {share:.2f}% of the texts ({len(longer)} of {len(lengths)}) are longer and "
        f"{becomes}, which takes {tokens:.2f}% of the tokens"
    )


def test_of_texts_that_are_split_the_pieces_are_told(told: Callable[..., Any]) -> None:
    items = told(max_tokens=LIMIT, overlong="split")
    assert items["lengths"].startswith("tokens of a piece: ")
    assert items["lengths"].endswith(f"the longest has {LIMIT}")
    assert "limit" not in items


def test_figures_of_a_sample_say_so(told: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every fourth text is looked at: the first, fifth and ninth, of which the last alone is too long."""
    monkeypatch.setattr(glance, "SAMPLE", 3)
    items = told(max_tokens=LIMIT)
    assert items["limit"].startswith(f"batch.max_tokens, {LIMIT}: about 33.33% of the texts (1 of 3) are longer")
    assert "95 % sure" in items["tokens"]
    assert told(max_tokens=100)["limit"] == "batch.max_tokens, 100: none of the 3 tokenised is longer"
