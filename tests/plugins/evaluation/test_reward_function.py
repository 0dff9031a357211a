"""A verifier as a reward function in TRL's form."""

from __future__ import annotations

import logging
from typing import Any

import pytest

import aftertrain

ROUTES = {"here": {"use": "gsm8k"}}
POOL = {"workers": 1}


def chat(*turns: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"role": role, "content": content} for role, content in turns]


def test_it_has_trls_form() -> None:
    reward = aftertrain.reward_function("gsm8k", ground_truth="answer", on_unparsable=None, pool=POOL)
    chats = [chat(("assistant", text)) for text in ("#### 1", "#### 3", "no")]
    prompts = [chat(("user", "?"))] * 3
    assert reward(prompts=prompts, completions=chats, answer=["1", "2", "3"], trainer_state=None) == [1.0, 0.0, None]
    assert reward.__name__ == "gsm8k"
    with pytest.raises(ValueError, match="needs the column 'answer'; there are: label"):
        reward(prompts=["?"], completions=["1"], label=["1"])


@pytest.mark.parametrize(("setting", "column"), [({}, "source"), ({"source": "dataset"}, "dataset")])
def test_the_source_column_reaches_by_source(setting: dict[str, str], column: str) -> None:
    reward = aftertrain.reward_function("by_source", routes=ROUTES, pool=POOL, **setting)
    given: dict[str, Any] = {"prompts": ["?"] * 3, "completions": ["#### 1"] * 3, "ground_truth": ["1", "2", "1"]}
    assert reward(**given, **{column: ["here", "here", None]}) == [1.0, 0.0, None]
    assert reward(**given, **{column: "here"}) == [1.0, 0.0, 1.0]
    if setting:
        with pytest.raises(ValueError, match="needs the column 'dataset'"):
            reward(**given, source=["here"] * 3)


def test_errors_are_left_out_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    reward = aftertrain.reward_function("by_source", routes=ROUTES, pool=POOL)
    with caplog.at_level(logging.WARNING, logger="aftertrain"):
        found = reward(["?"] * 3, ["#### 1"] * 3, ground_truth=["1"] * 3, source=["here", "hre", "there"])
    assert found == [1.0, None, None]
    [record] = [record for record in caplog.records if record.name.startswith("aftertrain")]
    assert record.getMessage().startswith("reward 'by_source': 2 of 3 verdicts are errors; the first: ")
    assert "'hre'" in record.getMessage()
    zero = aftertrain.reward_function("by_source", routes=ROUTES, pool=POOL, on_error=0.0)
    assert zero(["?"], ["#### 1"], ground_truth=["1"]) == [0.0]


def test_all_outcomes_are_metrics() -> None:
    """Those at zero too: TRL gathers each metric over all processes, which must name the same ones."""
    logged: dict[str, float] = {}
    reward = aftertrain.reward_function("gsm8k", pool=POOL)
    given = {
        "prompts": ["?"] * 4,
        "completions": ["#### 1", "#### 2", "no", "#### 1"],
        "ground_truth": ["1"] * 3 + [[]],
    }
    reward(**given, log_metric=logged.__setitem__)
    assert logged == {
        "rewards/gsm8k/scored_rate": 0.5,
        "rewards/gsm8k/timeout_rate": 0.0,
        "rewards/gsm8k/error_rate": 0.25,
        "rewards/gsm8k/unparsable_rate": 0.25,
        "rewards/gsm8k/abstained_rate": 0.0,
    }


@pytest.mark.parametrize(
    ("completion", "value"),
    [
        (chat(("assistant", None), ("tool", "#### 9"), ("assistant", "#### 1")), 1.0),
        (chat(("assistant", "#### 1"), ("tool", "#### 9")), 1.0),
        (chat(("assistant", [{"type": "text", "text": "so "}, {"type": "text", "text": "#### 1"}])), 1.0),
        (chat(("assistant", [{"type": "image", "image": "#### 1"}, {"type": "text", "text": "#### 2"}])), 0.0),
        ([{"content": "#### 1"}], 1.0),
        (chat(("tool", "#### 1")), 0.0),
        (chat(("assistant", None)), 0.0),
        (None, 0.0),
        ([], 0.0),
    ],
)
def test_the_assistants_turns_are_judged(completion: Any, value: float) -> None:
    reward = aftertrain.reward_function("gsm8k", pool=POOL)
    assert reward(["?"], [completion], ground_truth=["1"]) == [value]


def test_no_content_is_an_empty_text() -> None:
    reward = aftertrain.reward_function("string", pool=POOL)
    assert reward(["?"] * 2, [chat(("assistant", None)), "None"], ground_truth=["None", "None"]) == [0.0, 1.0]


def test_columns_of_unequal_lengths_are_named() -> None:
    reward = aftertrain.reward_function("gsm8k", pool=POOL)
    with pytest.raises(ValueError, match="unequal lengths: prompts 2, completions 2, ground_truth 1, source 2"):
        reward(["?"] * 2, ["1"] * 2, ground_truth=["1"])
