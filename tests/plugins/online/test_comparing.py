"""A judge of pairs as a reward (F25): by hand with a made-up judge, and online DPO from a recipe whose model judges."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from aftertrain.cli import main
from aftertrain.core.errors import RunError
from aftertrain.core.preference import ALONE, verdicts_by_comparison
from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.settings import Settings
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.judging import stand_in
from aftertrain.plugins.online.comparing import refuse_single_replies


class Judge(Verifier[Settings]):
    """Prefers the longer reply, and of equals the one shown first; fails on `?`. Keeps what it was asked."""

    compares = True

    def __init__(self) -> None:
        super().__init__(Settings(), None)  # type: ignore[arg-type]
        self.asked: list[VerificationCase] = []

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        self.asked += cases
        return [
            Verdict.error("no idea")
            if "?" in (case.response, case.ground_truth["other"])
            else Verdict.scored(float(len(case.response) >= len(case.ground_truth["other"])))
            for case in cases
        ]


def compared(judge: Judge, *replies: tuple[int, str]) -> list[Verdict]:
    """Verdicts on replies given as (group, text)."""
    cases = [VerificationCase(str(place), f"Q{group}", text, "7", "s") for place, (group, text) in enumerate(replies)]
    return verdicts_by_comparison(judge, [group for group, _ in replies], cases)


def test_each_reply_is_compared_with_the_others_to_its_prompt() -> None:
    """Three replies: the longest beats both (1), the middle one beats one (½), the shortest none (0).

    Two of one length in another group: each is preferred where it stands first, ½ over both orders.
    """
    judge = Judge()
    verdicts = compared(judge, (0, "bb"), (0, "a"), (1, "xx"), (0, "ccc"), (1, "yy"))
    assert [verdict.value for verdict in verdicts] == [0.5, 0.0, 0.5, 1.0, 0.5]
    assert len(judge.asked) == 2 * (3 + 1)
    first = judge.asked[0]
    assert (first.prompt, first.response) == ("Q0", "bb")
    assert first.ground_truth == {"other": "a", "reference": None}
    assert verdicts[0].detail == "compared with 2 in both orders"


def test_equal_replies_are_as_good_and_cost_nothing() -> None:
    judge = Judge()
    assert [verdict.value for verdict in compared(judge, (0, "same"), (0, "same"))] == [0.5, 0.5]
    assert judge.asked == []


def test_what_cannot_be_compared_is_an_error_and_no_value() -> None:
    """The judge fails on one of two: neither has a value. A third has nobody to be compared with."""
    verdicts = compared(Judge(), (0, "aa"), (0, "?"), (1, "alone"))
    assert [verdict.outcome for verdict in verdicts] == ["error"] * 3
    assert verdicts[0].detail == "no idea"
    assert verdicts[2].detail == ALONE


def test_one_reply_to_a_prompt_is_refused() -> None:
    refuse_single_replies({"judge": Judge()}, 2)
    with pytest.raises(RunError, match="reward 'judge' compares replies to one prompt: "):
        refuse_single_replies({"judge": Judge()}, 1)


SHOWN = "{{ fence }}\n{{ first }}\n{{ fence }}\n{{ fence }}\n{{ second }}\n{{ fence }}"
"""What the stand-in must see, and no more: the model that it stands for has room for 256 tokens."""
RECIPE = """
name: oaif
model: package:aftertrain.plugins.quickstart/model
stages:
  rl:
    use: online
    advantages: pairs
    loss: {{use: dpo, beta: 0.1}}
    data: {{use: quickstart, split: problems, rows: 8}}
    rewards:
      - use: pairwise
        model: package:aftertrain.plugins.quickstart/model
        generator: {{use: "{generator}:StandIn"}}
        template: {template}
        parse: {{pattern: "Better: (tie|A|B)", labels: {{A: 1, B: 0, tie: 0.5}}}}
    checks: {{gsm8k: pairwise}}
    sampling: {{max_new_tokens: 12}}
    batch: {{prompts: 4{samples}}}
    steps: 2
    optimizer: {{lr: 1.0e-4}}
"""


def recipe(tmp_path: Path, samples: str = "") -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        RECIPE.format(generator=stand_in.__file__, template=json.dumps(SHOWN), samples=samples), encoding="utf-8"
    )
    return str(path)


@pytest.mark.slow
def test_online_dpo_from_a_recipe_whose_judge_is_a_model(tmp_path: Path) -> None:
    """The stand-in prefers the longer reply: of each pair the chosen one, and what is learnt from, is the longer."""
    assert main(["run", recipe(tmp_path), "--out", str(tmp_path / "runs")]) == 0
    (folder,) = (tmp_path / "runs" / "oaif" / "stages").glob("rl-*")
    lines = (folder / "samples" / "step-00001.jsonl").read_text(encoding="utf-8").splitlines()
    samples: list[dict[str, Any]] = [json.loads(line) for line in lines]
    assert len(samples) == 8
    for one, other in zip(samples[::2], samples[1::2], strict=True):
        lengths = [len(reply["response"].strip()) for reply in (one, other)]
        values = [reply["verdicts"][0]["value"] for reply in (one, other)]
        assert values == [(lengths[0] >= lengths[1]) - 0.5 * (lengths[0] == lengths[1]), 1 - values[0]]
        assert one["reward"] == 10 * values[0]
    events = (tmp_path / "runs" / "oaif" / "events.jsonl").read_text(encoding="utf-8").splitlines()
    metrics = [line["data"] for line in map(json.loads, events) if line["name"] == "metrics"]
    assert {"loss", "margin", "reward_chosen"} <= metrics[0].keys()


def test_a_judge_of_pairs_with_one_sample_stops_the_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(recipe(tmp_path, ", samples_per_prompt: 1"))
    path.write_text(
        path.read_text().replace("advantages: pairs", "advantages: gae").replace("use: dpo, beta: 0.1", "use: ppo")
    )
    assert main(["plan", str(path)]) != 0
    told = capsys.readouterr()
    assert "compares replies to one prompt" in told.out + told.err
