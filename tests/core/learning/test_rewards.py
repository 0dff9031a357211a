"""F26, F27, F30, F31, F33, F35, F36, F41 and the missing-EOS rule, by hand."""

from __future__ import annotations

import doctest
import json
import math
import statistics
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

import aftertrain
from aftertrain.api import rewards as api_rewards
from aftertrain.core.learning import rewards
from aftertrain.core.records import Verdict

FINITE = st.floats(-1e6, 1e6)


def test_the_worked_examples_hold() -> None:
    assert doctest.testmod(rewards).failed == 0
    assert doctest.testmod(api_rewards).failed == 0


def test_only_full_verification_is_rewarded_f27() -> None:
    assert [rewards.verification_reward(v, 10.0, 0.0) for v in (0.0, 0.25, 1.0)] == [0.0, 2.5, 10.0]


def test_base_and_weighted_verification_add_f26() -> None:
    """−0.5 + 0.25·10 = 2."""
    assert rewards.total_reward(-0.5, 10.0, 0.25) == 2.0


def test_a_cut_reply_is_penalised_instead_of_rewarded_even_when_correct() -> None:
    assert rewards.ended_reward(10.0, False, -10.0) == -10.0
    assert rewards.ended_reward(0.0, True, -10.0) == 0.0
    assert rewards.ended_reward(10.0, False, 0.0) == 0.0, "a penalty of 0 is a penalty, not an absent one"


def test_the_weight_rises_with_the_root_and_decays_f31() -> None:
    """λ₀ = 2, T_warm = 4, T_decay = 10: √(t/4) for t = 1 … 4, then 1, times e^(−t/10)."""
    found = [rewards.verification_weight(t, 2.0, warmup=4, decay=10) for t in (1, 2, 3, 4, 5, 20)]
    roots = [0.5, math.sqrt(0.5), math.sqrt(0.75), 1.0, 1.0, 1.0]
    falls = [math.exp(-t / 10) for t in (1, 2, 3, 4, 5, 20)]
    assert found == pytest.approx([2.0 * root * fall for root, fall in zip(roots, falls, strict=True)])
    assert [rewards.verification_weight(t, 2.0) for t in (1, 100)] == [2.0, 2.0], "without either it is λ₀, exactly"
    with pytest.raises(ValueError, match="count from 1"):
        rewards.verification_weight(0, 1.0, warmup=4)
    with pytest.raises(ValueError, match="above 0"):
        rewards.verification_weight(1, 1.0, decay=0)


@given(st.lists(FINITE, min_size=1, max_size=30), st.integers(0, 30))
def test_running_statistics_are_those_of_all_rewards_f35(values: list[float], cut: int) -> None:
    """In two parts with a trip through JSON between them, as a checkpoint makes: the same bits."""
    whole = rewards.Running().add(values)
    saved = json.loads(json.dumps(asdict(rewards.Running().add(values[:cut]))))
    assert rewards.Running(**saved).add(values[cut:]) == whole
    assert whole.mean == pytest.approx(statistics.fmean(values), abs=1e-6)
    assert whole.std == pytest.approx(statistics.pstdev(values), rel=1e-6, abs=1e-6)


def test_rewards_are_normalised_f35() -> None:
    """2, 4, 4, 4, 5, 5, 7, 9 have μ = 5 and σ = 2: (9 − 5)/2·3 + 1 = 7; where nothing varies, the target."""
    running = rewards.Running().add([2, 4, 4, 4, 5, 5, 7, 9])
    assert (running.mean, running.std) == (5.0, 2.0)
    assert rewards.normalised_reward(9.0, running, scale=3.0, target=1.0) == 7.0
    assert rewards.normalised_reward(10.0, rewards.Running().add([10.0, 10.0]), scale=3.0, target=0.5) == 0.5
    with pytest.raises(ValueError, match="a reward is nan"):
        running.add([math.nan])


def test_task_weights_are_a_softmax_f36() -> None:
    """L = (0, log 2, log 4), α = 1: weights as 1 : ½ : ¼, so 4/7, 2/7, 1/7; α = −1 turns them round; α = 0 is even."""
    losses = {"a": 0.0, "b": math.log(2), "c": math.log(4)}
    assert rewards.task_weights(losses, 1.0) == pytest.approx({"a": 4 / 7, "b": 2 / 7, "c": 1 / 7})
    assert rewards.task_weights(losses, -1.0) == pytest.approx({"a": 1 / 7, "b": 2 / 7, "c": 4 / 7})
    assert rewards.task_weights(losses, 0.0) == pytest.approx(dict.fromkeys("abc", 1 / 3))
    assert rewards.task_weights({"a": 1e5, "b": 1e5 + 1}, 1000.0) == {"a": 1.0, "b": 0.0}, "no overflow"
    for wrong in ({}, {"a": math.inf}):
        with pytest.raises(ValueError, match="at least one task"):
            rewards.task_weights(wrong, 1.0)


def test_data_quality_f33() -> None:
    """V = 3/4; C = log 4/log 8 = 2/3; Q = 0.6·0.75 + 0.4·2/3."""
    v = rewards.well_defined(["scored", "unparsable", "scored", "scored"])
    c = rewards.complexity(3, 7)
    assert (v, c) == (0.75, pytest.approx(2 / 3))
    assert rewards.data_quality(v, c, 0.6) == pytest.approx(0.45 + 0.8 / 3)
    assert rewards.complexity(100, 7) == 1.0
    assert rewards.above_quality({"a": 0.5, "b": 0.51}, 0.5) == ["b"], "above, not at, the threshold"
    with pytest.raises(ValueError, match="S_max at least 1"):
        rewards.complexity(1, 0)
    with pytest.raises(ValueError, match="no responses"):
        rewards.well_defined([])
    with pytest.raises(ValueError, match="lie in"):
        rewards.data_quality(0.5, 0.5, 1.5)


def test_verifier_error_f41() -> None:
    """Labels 4, 10, 0 and rewards 5, 10, 10 with r_pos 10: (1/4 + 0 + 10/10)/3 = 5/12."""
    found = rewards.verifier_error([5.0, 10.0, 10.0], [4.0, 10.0, 0.0], positive=10.0)
    assert found.error.mean == pytest.approx(5 / 12)
    assert found.error.n == 3
    assert found.false_positives is not None
    assert (found.false_positives.mean, found.false_positives.n) == (0.5, 2)
    assert found.false_negatives is not None
    assert (found.false_negatives.mean, found.false_negatives.n) == (0.0, 1)
    assert found.false_negatives.high == pytest.approx(0.793, abs=1e-3), "Wilson: one success says little"


def test_verifier_error_of_zeros_and_ones_is_the_share_of_disagreements_f41() -> None:
    found = rewards.verifier_error([1, 0, 1, 1], [1, 0, 0, 1])
    assert (found.error.mean, found.error.n) == (0.25, 4)
    assert (found.error.low, found.error.high) == pytest.approx((0.0456, 0.6994), abs=1e-4), "Wilson's of 1 in 4"
    right = rewards.verifier_error([1.0], [1.0])
    assert right.false_positives is None, "nobody's reply was wrong: there is no such rate"
    for verified, human, positive in (([1], [], 1), ([], [], 1), ([math.nan], [1], 1), ([1], [1], 0)):
        with pytest.raises(ValueError):
            rewards.verifier_error(verified, human, positive=positive)


def test_verdicts_are_compared_with_labels_f41() -> None:
    """Verdicts and written lines alike; one without a score is counted, not taken for a 0."""
    verdicts = [Verdict.scored(1.0), Verdict.scored(0.0), Verdict.unparsable(), {"id": "d", "score": 1.0}]
    found = aftertrain.verifier_error(verdicts, [True, 0, 1, 0])
    assert (found.error.mean, found.error.n, found.unscored) == (pytest.approx(1 / 3), 3, 1)
    for wrong, labels, message in (
        (verdicts, [1], "4 verdicts and 1 labels"),
        ([Verdict.error("x")], [1], "none of 1"),
        ([{"value": 1}], [1], "the key 'score'"),
    ):
        with pytest.raises(ValueError, match=message):
            aftertrain.verifier_error(wrong, labels)
