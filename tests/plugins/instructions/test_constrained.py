"""Prompts with an instruction behind them: what is asked, what is checked, and what cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.errors import DataError
from aftertrain.core.records import VerificationCase
from aftertrain.testing.build import build

SENTENCE = "Use no commas."


def _made(tmp_path: Path, rows: list[dict[str, Any]], format: str = "messages", **settings: Any) -> Any:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = {"instruction": "punctuation:no_comma", "sentence": SENTENCE} | settings
    return build("dataset", "constrained", data={"use": "jsonl", "path": str(path), "format": format}, **given)


def test_the_sentence_ends_the_prompt_and_the_check_is_ifevals(tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello! "}]
    reply = {"role": "assistant", "content": "Hi, you."}
    data = _made(tmp_path, [{"messages": [*turns, reply, turns[1], reply]}, {"messages": [turns[1], reply]}])
    first, second = data
    assert [message.content for message in first.prompt] == ["Be kind.", "Hello! Use no commas."]
    assert [message.content for message in second.prompt] == ["Hello! Use no commas."]
    (check,) = first.checks
    cases = [VerificationCase(str(n), "?", text, check.ground_truth) for n, text in enumerate(("Hi you.", "Hi, you."))]
    assert [verdict.value for verdict in build("verifier", check.verifier).verify(cases)] == [1.0, 0.0]
    assert len({first.id, second.id}) == 2


def test_arguments_and_data_are_in_the_fingerprint(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "x"}]}]
    counts = {"instruction": "length_constraints:number_words"}
    some = [
        _made(tmp_path, rows, **counts, arguments={"num_words": n, "relation": "at least"}).fingerprint()
        for n in (3, 4)
    ]
    assert len({*some, _made(tmp_path, rows).fingerprint(), _made(tmp_path, rows * 2).fingerprint()}) == 4


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"instruction": "punctuation:no_comas"}, "punctuation:no_comma"),
        ({"instruction": "length_constraints:number_words", "arguments": {"num_wrds": 3}}, "num_wrds"),
    ],
)
def test_an_instruction_that_cannot_be_checked_is_told(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    rows = [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "x"}]}]
    with pytest.raises(DataError, match=said):
        list(_made(tmp_path, rows, **settings))


def test_a_record_without_a_question_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Document has no prompt"):
        list(_made(tmp_path, [{"text": "once"}], "text"))
