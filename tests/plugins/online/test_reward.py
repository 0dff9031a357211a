"""Verdicts and rewards of rollouts (F26, F27, missing EOS), and the figures of a step (F38)."""

from __future__ import annotations

import doctest
from collections.abc import Sequence
from typing import Any

import pytest

from aftertrain.core.records import Check, Completion, FinishReason, Message, Problem, Verdict, VerificationCase
from aftertrain.plugins.online import measure, reward
from aftertrain.plugins.online.problems import Prompt
from aftertrain.plugins.online.reward import Judged, outcome_counts
from aftertrain.plugins.online.rewarding import Rewarding
from aftertrain.plugins.online.rollout import Rollout
from aftertrain.plugins.online.settings import RewardSettings


class Table:
    """A verifier that looks verdicts up and remembers its batches."""

    def __init__(self, verdicts: dict[str, Verdict]) -> None:
        self.verdicts, self.batches = verdicts, list[list[VerificationCase]]()

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        self.batches.append(list(cases))
        return [self.verdicts[case.response] for case in cases]


def _rollout(text: str, checks: Sequence[str], finish: FinishReason = "stop", tokens: int = 2) -> Rollout:
    problem = Problem("p", (Message("user", "?"),), tuple(Check(name, "truth") for name in checks), "source")
    completion = Completion("0", (5,), (6,) * tokens, (-1.0,) * tokens, (0,) * tokens, finish, text)
    return Rollout(f"p/{text}", 0, Prompt(problem, (5,)), completion)


def _judge(rollouts: Sequence[Rollout], verifiers: dict[str, Table], rules: RewardSettings) -> list[Judged]:
    return Rewarding(rules, None, 64).judge(rollouts, verifiers, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("module", [reward, measure])
def test_the_worked_examples_hold(module: Any) -> None:
    assert doctest.testmod(module).failed == 0


def test_every_outcome_earns_what_its_setting_says_f27() -> None:
    """A wrong reply and a failed verifier are not the same; λ scales both, the missing-EOS penalty it does not."""
    verdicts = {
        "right": Verdict.scored(1.0),
        "half": Verdict.scored(0.5),
        "wrong": Verdict.scored(0.0),
        "slow": Verdict.timeout(),
        "broken": Verdict.error("why"),
        "mute": Verdict.unparsable(),
    }
    rules = RewardSettings(
        positive=10, negative=-1, on_timeout=1, on_error=2, on_unparsable=3, missing_eos=-10, weight=0.5
    )
    rollouts = [_rollout(text, ["v"]) for text in verdicts] + [_rollout("right", ["v"], "length")]
    judged = _judge(rollouts, {"v": Table(verdicts)}, rules)
    assert [one.reward for one in judged] == [5.0, -0.5, -0.5, 0.5, 1.0, 1.5, -10.0]
    assert outcome_counts(judged) == {"v": {"scored": 4, "timeout": 1, "error": 1, "unparsable": 1}}
    assert [one.verified for one in judged] == [True, *[False] * 5, True]


def test_each_verifier_gets_one_batch_and_the_lowest_check_counts() -> None:
    good, bad = Table({"a": Verdict.scored(1.0), "b": Verdict.scored(1.0)}), Table({"b": Verdict.scored(0.0)})
    unused = Table({})
    rollouts = [_rollout("a", ["good"]), _rollout("b", ["good", "bad"])]
    judged = _judge(rollouts, {"good": good, "bad": bad, "unused": unused}, RewardSettings())
    assert [one.reward for one in judged] == [10.0, 0.0]
    assert [[case.response for case in batch] for batch in good.batches] == [["a", "b"]]
    assert [len(batch) for batch in bad.batches] == [1]
    assert unused.batches == []
    assert [name for name, _ in judged[1].verdicts] == ["good", "bad"]


def test_reply_metrics_are_means_over_replies() -> None:
    """Rewards 10 and −10: mean 0, standard deviation 10; lengths 2 and 6; one of two ended."""
    verdicts = {"a": Verdict.scored(1.0), "b": Verdict.scored(0.0)}
    rollouts = [_rollout("a", ["v"]), _rollout("b", ["v"], "length", 6)]
    judged = _judge(rollouts, {"v": Table(verdicts)}, RewardSettings())
    assert measure.reply_metrics(judged) == {
        "reward": 0.0,
        "reward_std": 10.0,
        "accuracy": 0.5,
        "response_length": 4.0,
        "finished_rate": 0.5,
        "response_tokens": 8.0,
    }


def test_throughput_is_response_tokens_per_second_of_the_three_parts_f38() -> None:
    """B = 8 replies of N = 5 tokens in 1 s + 0.5 s + 2.5 s: 10 tokens a second."""
    assert measure.throughput(8, 5.0, [1.0, 0.5, 2.5]) == 10.0
