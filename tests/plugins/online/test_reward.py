"""Verdicts and rewards of rollouts (F26, F27, missing EOS), and the figures of a step (F38)."""

from __future__ import annotations

import doctest
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from aftertrain.core.learning.rewards import verification_reward
from aftertrain.core.records import Check, Completion, FinishReason, Message, Problem, Verdict, VerificationCase
from aftertrain.plugins.online import measure, plan, reward
from aftertrain.plugins.online.problems import Prompt
from aftertrain.plugins.online.reward import Judged, outcome_counts
from aftertrain.plugins.online.reward_settings import RewardSettings
from aftertrain.plugins.online.rewarding import Rewarding
from aftertrain.plugins.online.rollout import Rollout


class Table:
    """A verifier that looks verdicts up and remembers its batches."""

    compares = False

    view = "text"
    wants_turns = False

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


@pytest.mark.parametrize("module", [reward, measure, plan])
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
    assert [one.reward for one in judged] == [5.0, 0.5 * 4.5, -0.5, 0.5, 1.0, 1.5, -10.0]
    assert outcome_counts(judged) == {"v": {"scored": 4, "timeout": 1, "error": 1, "unparsable": 1}}
    assert [one.verified for one in judged] == [True, *[False] * 5, True]


GRADED = {text: Verdict.scored(float(text)) for text in ("0", "0.3", "0.7", "0.8", "1")}


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({"positive": 1.0}, [0.0, 0.3, 0.7, 0.8, 1.0]),
        ({"positive": 1.0, "negative": -1.0}, [-1.0, -0.4, 0.4, 0.6, 1.0]),
        ({"positive": 10.0, "weight": 0.5}, [0.0, 1.5, 3.5, 4.0, 5.0]),
        ({"positive": -1.0, "negative": -2.0}, [-2.0, -1.7, -1.3, -1.2, -1.0]),
        ({"positive": 1.0, "threshold": 1.0}, [0.0, 0.0, 0.0, 0.0, 1.0]),
        ({"positive": 1.0, "negative": -1.0, "threshold": 0.7}, [-1.0, -1.0, 1.0, 1.0, 1.0]),
        ({"positive": 1.0, "threshold": 0.3}, [0.0, 1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_values_in_between_pay_in_between_f27(rules: dict[str, Any], expected: list[float]) -> None:
    """r_neg + V·(r_pos − r_neg); with a threshold all or nothing."""
    judged = _judge([_rollout(text, ["v"]) for text in GRADED], {"v": Table(GRADED)}, RewardSettings(**rules))
    assert [one.reward for one in judged] == pytest.approx(expected, abs=1e-12)
    assert [one.verified for one in judged] == [float(text) >= rules.get("threshold", 1.0) for text in GRADED]


def test_the_ends_are_paid_to_the_last_bit() -> None:
    """-0.1 + 1·(0.3 + 0.1) is not 0.3 in floating point."""
    rules = RewardSettings(positive=0.3, negative=-0.1)
    assert [reward.earned_reward([("v", Verdict.scored(v))], rules) for v in (0.0, 1.0)] == [-0.1, 0.3]


def test_of_several_graded_checks_the_lowest_counts() -> None:
    """0.7 and 0.3 earn 3; with one that could not be judged its own policy; below a threshold one fails all."""
    pair = [("a", Verdict.scored(0.7)), ("b", Verdict.scored(0.3))]
    assert reward.earned_reward(pair, RewardSettings()) == 3.0
    assert reward.earned_reward([*pair, ("c", Verdict.timeout())], RewardSettings(on_timeout=-1.0)) == -1.0
    assert reward.earned_reward([pair[0], ("c", Verdict.unparsable())], RewardSettings(on_unparsable=9.0)) == 7.0
    assert reward.earned_reward(pair, RewardSettings(threshold=0.5)) == 0.0
    assert reward.earned_reward(pair, RewardSettings(threshold=0.3)) == 10.0


def test_a_sum_that_rounds_below_its_threshold_reaches_it() -> None:
    """0.1 + 0.7 is 0.7999999999999999 in floating point."""
    assert reward.earned_reward([("v", Verdict.scored(0.1 + 0.7))], RewardSettings(threshold=0.8)) == 10.0
    assert reward.earned_reward([("v", Verdict.scored(0.7999))], RewardSettings(threshold=0.8)) == 0.0


@pytest.mark.parametrize("value", [-0.1, 1.0000001, float("nan"), float("inf"), -float("inf")])
def test_no_value_outside_0_and_1_is_paid(value: float) -> None:
    with pytest.raises(ValueError, match=r"value lies in \[0, 1\]"):
        Verdict.scored(value)
    with pytest.raises(ValueError, match=r"value lies in \[0, 1\]"):
        verification_reward(value, 1.0, 0.0)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"threshold": 0.0}, "greater than 0"),
        ({"threshold": 1.1}, "less than or equal to 1"),
        ({"positive": 0.0}, "a right reply would earn no more than a wrong one"),
        ({"positive": -1.0, "negative": 0.0}, "a right reply would earn no more"),
    ],
)
def test_rewards_without_meaning_are_refused(rules: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RewardSettings(**rules)


def test_a_cut_reply_earns_its_penalty_whatever_its_value() -> None:
    rollouts = [_rollout("0.7", ["v"], "length"), _rollout("0.7", ["v"])]
    judged = _judge(rollouts, {"v": Table(GRADED)}, RewardSettings(missing_eos=-10.0))
    assert [one.reward for one in judged] == [-10.0, 7.0]


def test_metrics_tell_the_mean_value_beside_the_share_verified() -> None:
    """0.3, 0.7 and 1, and one that timed out: of the three that were judged one is verified, mean 2/3."""
    verdicts = {**GRADED, "slow": Verdict.timeout()}
    judged = _judge(
        [_rollout(text, ["v"]) for text in ("0.3", "0.7", "1", "slow")], {"v": Table(verdicts)}, RewardSettings()
    )
    metrics = measure.reply_metrics(judged)
    assert (metrics["accuracy"], metrics["verdict"]) == pytest.approx((1 / 3, 2 / 3))
    assert "verdict" not in measure.reply_metrics(judged[3:])


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
    """Rewards 10 and −10: mean 0, standard deviation 10, earned 10 and 0 (F30); lengths 2 and 6; one of two ended."""
    verdicts = {"a": Verdict.scored(1.0), "b": Verdict.scored(0.0)}
    rollouts = [_rollout("a", ["v"]), _rollout("b", ["v"], "length", 6)]
    judged = _judge(rollouts, {"v": Table(verdicts)}, RewardSettings(missing_eos=-10.0))
    assert measure.reply_metrics(judged) == {
        "reward": 0.0,
        "batch_reward": 5.0,
        "reward_std": 10.0,
        "accuracy": 0.5,
        "verdict": 0.5,
        "response_length": 4.0,
        "finished_rate": 0.5,
        "response_tokens": 8.0,
    }


def test_throughput_is_response_tokens_per_second_of_the_three_parts_f38() -> None:
    """B = 8 replies of N = 5 tokens in 1 s + 0.5 s + 2.5 s: 10 tokens a second."""
    assert measure.throughput(8, 5.0, [1.0, 0.5, 2.5]) == 10.0


class Sees(Table):
    """Right where the reply shows a `<think>`."""

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        return [Verdict.scored(float("<think>" in case.response)) for case in cases]


class SeesSpecial(Sees):
    view = "special"


def test_a_verifier_sees_the_view_of_a_reply_that_it_wants() -> None:
    """The same reply, whose `<think>` is a special token; a reply without special tokens is the same in both views."""
    rollout = _rollout("so 8", ["sees", "special"])
    marked = replace(rollout, completion=replace(rollout.completion, text_with_special="<think>so</think> 8"))
    found = reward.verdicts_on([marked, rollout], {"sees": Sees({}), "special": SeesSpecial({})})  # type: ignore[dict-item]
    assert [[verdict.value for _, verdict in verdicts] for verdicts in found] == [[0.0, 1.0], [0.0, 0.0]]
    (judged,) = _judge([marked], {"sees": Sees({}), "special": SeesSpecial({})}, RewardSettings())
    assert judged.sample().facts()["response_with_special"] == "<think>so</think> 8"


@pytest.mark.parametrize(
    ("verifier", "value"),
    [
        ({"use": "format", "tags": ["think"], "after": "text"}, 1.0),
        ({"use": "regex", "pattern": "^<think>", "equality": "search"}, 1.0),
        ({"use": "regex", "pattern": "think", "equality": "search"}, 0.0),
        ({"use": "all", "parts": [{"verifier": {"use": "format", "tags": ["think"], "after": "text"}}]}, 1.0),
        ({"use": "weighted", "parts": [{"verifier": {"use": "regex", "pattern": "</think> 8$"}}]}, 0.0),
        ({"use": "by_source", "routes": {"source": {"use": "regex", "pattern": "(8)$"}}}, 1.0),
    ],
)
def test_our_verifiers_see_special_tokens_where_they_look_for_them(verifier: dict[str, Any], value: float) -> None:
    from aftertrain.registry.builder import ComponentBuilder
    from aftertrain.registry.discovery import installed
    from aftertrain.registry.resolve import SettingsResolver

    registry = installed()
    built = ComponentBuilder(registry).build(SettingsResolver(registry).resolve("verifier", verifier))
    rollout = _rollout("so 8", ["v"])
    rollout = replace(rollout, completion=replace(rollout.completion, text_with_special="<think>so</think> 8"))
    problem = replace(rollout.prompt.problem, checks=(Check("v", "8"),))
    rollout = replace(rollout, prompt=replace(rollout.prompt, problem=problem))
    (((_, verdict),),) = reward.verdicts_on([rollout], {"v": built})
    assert verdict.value == value, verdict


IFEVAL = {"instruction_id_list": ["punctuation:no_comma", "startend:quotation"], "kwargs": [{}, {}]}
F1 = {"use": "f1"}
STRING = {"use": "string"}


@pytest.mark.parametrize(
    ("verifier", "truth", "response", "expected"),
    [
        ({"use": "ifeval", "level": "instruction"}, IFEVAL, "one two three", 5.0),
        ({"use": "ifeval", "level": "instruction", "weights": {"startend:quotation": 3.0}}, IFEVAL, "one two", 2.5),
        ({"use": "ifeval"}, IFEVAL, "one two three", 0.0),
        (F1, "red fox", "red", 10 * 2 / 3),
        ({"use": "all", "parts": [{"verifier": F1}, {"verifier": F1}]}, "red fox", "red", 10 * 2 / 3),
        ({"use": "any", "parts": [{"verifier": STRING}, {"verifier": F1}]}, "red fox", "red", 10 * 2 / 3),
        ({"use": "first", "parts": [{"verifier": F1}]}, "red fox", "red fox", 10.0),
        (
            {"use": "weighted", "parts": [{"verifier": F1, "weight": 3.0}, {"verifier": STRING}]},
            "red fox",
            "red",
            10 * (3 * 2 / 3) / 4,
        ),
        ({"use": "format", "tags": [], "max_words": 1, "min_characters": 9, "score": "share"}, None, "red", 5.0),
        ({"use": "by_source", "routes": {"source": F1}}, "red fox", "blue fox", 5.0),
    ],
    ids=lambda value: value["use"] if isinstance(value, dict) and "use" in value else None,
)
def test_what_verifiers_that_grade_give_is_paid(
    verifier: dict[str, Any], truth: Any, response: str, expected: float
) -> None:
    """By hand: half of two instructions, a quarter by weight; F1 of one word of two is 2/3."""
    from aftertrain.registry.builder import ComponentBuilder
    from aftertrain.registry.discovery import installed
    from aftertrain.registry.resolve import SettingsResolver

    registry = installed()
    built = ComponentBuilder(registry).build(SettingsResolver(registry).resolve("verifier", verifier))
    rollout = _rollout(response, ["v"])
    problem = replace(rollout.prompt.problem, checks=(Check("v", truth),))
    rollout = replace(rollout, prompt=replace(rollout.prompt, problem=problem))
    (judged,) = Rewarding(RewardSettings(), None, 64).judge([rollout], {"v": built}, 1)
    assert judged.reward == pytest.approx(expected), judged.verdicts
