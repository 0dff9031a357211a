"""Rewards over steps: base score (F26), batch reward (F30), λ's schedule (F31), running normalisation (F35)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from aftertrain.core.batch import TokenScores
from aftertrain.core.errors import CheckpointError, NumericsError
from aftertrain.core.records import Check, Completion, FinishReason, Message, Problem, Verdict, VerificationCase
from aftertrain.plugins.online.measure import reply_metrics
from aftertrain.plugins.online.problems import Prompt
from aftertrain.plugins.online.reward_settings import RewardSettings
from aftertrain.plugins.online.rewarding import Rewarding
from aftertrain.plugins.online.rollout import Rollout

Make = Callable[..., Any]


class Right:
    """Right where the reply is 'right'."""

    compares = False

    view = "text"
    wants_turns = False

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        return [Verdict.scored(case.response == "right") for case in cases]


class Counting:
    """A reward model whose value at each token is that token's id: a reply's score is its last token's."""

    shares_prefixes = False

    def score(self, batch: Any, wants: Any, *, grad: bool) -> TokenScores:
        assert (tuple(wants), grad) == (("values",), False)
        return TokenScores(values=batch.token_ids.float())


def rollout(text: str, last: int = 7, finish: FinishReason = "stop", number: int = 0) -> Rollout:
    problem = Problem("p", (Message("user", "?"),), (Check("v", "truth"),), "source")
    completion = Completion("0", (5, 5), (6, last), (-1.0,) * 2, (0,) * 2, finish, text)
    return Rollout(f"p/{text}/{number}", 0, Prompt(problem, (5, 5)), completion)


def judged(rewarding: Rewarding, *rollouts: Rollout, step: int = 1) -> list[float]:
    return [one.reward for one in rewarding.judge(rollouts, {"v": Right()}, step)]  # type: ignore[dict-item]


def rules(**settings: Any) -> RewardSettings:
    return RewardSettings(**{"missing_eos": -10.0} | settings)


def test_the_base_score_is_read_at_the_last_token_and_added_f26() -> None:
    """R = ½·score + λ·R_verify: ½·8 + 2·10 = 24, ½·3 + 0 = 1.5, a cut reply gets −10; packing changes nothing."""
    settings = rules(base="rm", base_weight=0.5, weight=2.0)
    rollouts = [rollout("right", 8), rollout("wrong", 3), rollout("right", 9, "length", 1)]
    for budget in (4, 64):
        rewarding = Rewarding(settings, Counting(), budget)  # type: ignore[arg-type]
        found = rewarding.judge(rollouts, {"v": Right()}, 1)  # type: ignore[dict-item]
        assert [one.reward for one in found] == [24.0, 1.5, -10.0]
        assert [one.base for one in found] == [8.0, 3.0, 9.0]
        assert found[0].sample().facts()["base"] == 8.0
        assert rewarding.metrics(found, 1) == {
            "base_reward": pytest.approx(20 / 3),
            "reward/base": pytest.approx(10 / 3),
            "reward/verification": pytest.approx(40 / 3),
            "reward/v": pytest.approx(20 / 3),
        }


def test_the_batch_reward_is_what_replies_earned_by_themselves_f30() -> None:
    """((½·8 + 2·10) + (½·3 + 0) + (½·9 + 2·10))/3 = 50/3 before scaling and penalty; after: two scaled ones and −10."""
    settings = rules(base="rm", base_weight=0.5, weight=2.0, normalize={"target": 0.5})
    rewarding = Rewarding(settings, Counting(), 64)  # type: ignore[arg-type]
    rollouts = [rollout("right", 8), rollout("wrong", 3), rollout("right", 9, "length", 1)]
    found = rewarding.judge(rollouts, {"v": Right()}, 1)  # type: ignore[dict-item]
    metrics = reply_metrics(found)
    assert metrics["batch_reward"] == pytest.approx(50 / 3)
    assert metrics["reward"] == pytest.approx((1.5 - 0.5 - 10) / 3)
    assert [one.earned for one in found] == [24.0, 1.5, 24.5]


def test_a_score_that_is_not_finite_names_step_and_sample() -> None:
    nan = SimpleNamespace(
        shares_prefixes=False, score=lambda batch, *_, **__: TokenScores(values=torch.full((4,), math.nan))
    )
    with pytest.raises(NumericsError, match=r"step 3: the reward model's scores are not finite; samples: p/right/0"):
        judged(Rewarding(rules(base="rm"), nan, 64), rollout("right"), step=3)  # type: ignore[arg-type]


def test_the_weight_follows_its_schedule_f31() -> None:
    """λ₀ = 3, T_warm = 4: √¼ and √1 of it; the penalty of a cut reply is not weighed."""
    rewarding = Rewarding(rules(weight=3.0, weight_schedule={"warmup": 4}), None, 64)
    assert judged(rewarding, rollout("right"), step=1) == [15.0]
    assert judged(rewarding, rollout("right"), rollout("right", finish="length", number=1), step=4) == [30.0, -10.0]
    assert rewarding.metrics([], 1) == {"verification_weight": 1.5}


def test_rewards_are_normalised_by_all_so_far_f35() -> None:
    """First 10 and 0: μ = σ = 5, so 1 and −1; the cut one is left out. Then 0 and 0: μ = 2.5, σ = √(3·2.5² + 7.5²)/2.

    With scale 2 and target ½ they come to 2.5 and −1.5, then to 0.5 − 2·2.5/σ.
    """
    rewarding = Rewarding(rules(normalize={"scale": 2.0, "target": 0.5}), None, 64)
    assert judged(rewarding, rollout("right"), rollout("wrong"), rollout("right", finish="length", number=1)) == [
        2.5,
        -1.5,
        -10.0,
    ]
    saved = rewarding.state()
    resumed = Rewarding(rewarding.settings, None, 64)
    resumed.restore(saved)
    again = [rollout("wrong"), rollout("wrong", number=1)]
    found = judged(rewarding, *again, step=2)
    sigma = math.sqrt((3 * 2.5**2 + 7.5**2) / 4)
    assert found == pytest.approx([0.5 - 2 * 2.5 / sigma] * 2)
    assert judged(resumed, *again, step=2) == found, "the same bits after a resume"
    with pytest.raises(CheckpointError, match="no running mean"):
        resumed.restore({})
    lenient = Rewarding(rules(normalize={}, missing_eos=None), None, 64)
    judged(lenient, rollout("right"), rollout("right", finish="length", number=1))
    assert lenient.running.count == 2, "without the rule a cut reply's reward counts like any other"


def test_nothing_is_added_with_tulus_settings() -> None:
    rewarding = Rewarding(rules(), None, 64)
    (found,) = rewarding.judge([rollout("right")], {"v": Right()}, 1)  # type: ignore[dict-item]
    assert found.reward == 10.0
    assert not {"base", "earned"} & found.sample().facts().keys()
    assert rewarding.metrics([found], 1) == {"reward/verification": 10.0, "reward/v": 10.0}
    assert rewarding.state() == {}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight_schedule": {}}, "set warmup or decay"),
        ({"base_weight": 0.5}, "it needs base, of which there is none"),
        ({"normalize": {"scale": 0.0}}, "greater than 0"),
    ],
)
def test_settings_that_do_nothing_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        rules(**settings)


def test_a_stage_uses_all_three_and_resumes_to_the_same_bits(bench: Make, tiny_model: Path, tmp_path: Path) -> None:
    """Killed while writing step 4's events, after the checkpoint of step 2."""
    from aftertrain.core.engine import AdamW
    from aftertrain.plugins.torch_engine.engine import TorchEngine
    from aftertrain.plugins.torch_engine.settings import TorchSettings

    engine = TorchEngine(TorchSettings(), None)  # type: ignore[arg-type]
    engine.load(str(tiny_model), head="scalar", optimizer=AdamW(), seed=5)
    engine.save_model(tmp_path / "rm")
    reward = {
        "base": "rm",
        "base_weight": 0.5,
        "weight_schedule": {"warmup": 3, "decay": 50.0},
        "normalize": {"scale": 2.0},
        "missing_eos": None,
    }
    options = {"reward_model": tmp_path / "rm"}
    whole = bench("whole", {"reward": reward}, **options)
    assert [(parent.role, parent.stage) for parent in whole.stage.inputs()] == [
        ("model", "base"),
        ("reward.base", "rm"),
    ]
    whole.run()
    figures = whole.of("metrics")
    assert figures[0].keys() >= {"base_reward", "verification_weight", "running_reward_mean", "batch_reward"}
    assert figures[0]["verification_weight"] == pytest.approx(math.sqrt(1 / 3) * math.exp(-1 / 50))
    assert any(item.value.endswith("reward model from rm, generator transformers") for item in whole.plan())
    killed = bench("killed", {"reward": reward}, kill_at=("verdicts", 4), **options)
    with pytest.raises(BaseException, match="verdicts 4"):
        killed.run()
    again = bench("killed", {"reward": reward}, **options)
    again.run()
    assert again.outcome() == whole.outcome()
    assert again.of("metrics") == figures[2:]
