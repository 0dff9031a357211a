"""Several checks of one problem (F26, F27), what shapes a reward, and weights of tasks (F36): each part by name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aftertrain.core.batch import PackedBatch
from aftertrain.core.errors import CheckpointError, NumericsError
from aftertrain.core.packed.packing import pack
from aftertrain.core.records import Check, Completion, FinishReason, Message, Problem, Verdict, VerificationCase
from aftertrain.core.settings import Settings, Use
from aftertrain.core.verification.checks import truth_of
from aftertrain.plugins.online.accounts import state_of
from aftertrain.plugins.online.problems import Prompt
from aftertrain.plugins.online.reward import Judged, earned_reward, failures, outcome_counts
from aftertrain.plugins.online.reward_settings import RewardSettings, TaskWeightSettings
from aftertrain.plugins.online.rewarding import Rewarding
from aftertrain.plugins.online.rollout import Rollout
from aftertrain.plugins.online.tasks import TaskWeights

SAYS = {
    "right": Verdict.scored(1.0, "7", "equal"),
    "half": Verdict.scored(0.5),
    "wrong": Verdict.scored(0.0),
    "slow": Verdict.timeout("late"),
    "broken": Verdict.error("set up wrongly"),
    "mute": Verdict.unparsable(),
    "not mine": Verdict.abstained(),
    "minus two": Verdict.rewarded(-2.0),
    "three": Verdict.rewarded(3.0),
}


V = Use[Any]("verifier", "v", Settings())


class Says:
    """Gives the verdict that its own word of the reply names."""

    compares = False

    view = "text"
    wants_turns = False

    def __init__(self, place: int) -> None:
        self.place = place
        self.asked = list[VerificationCase]()

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        self.asked += cases
        return [SAYS[case.response.split("/")[self.place]] for case in cases]


def rollout(
    text: str, checks: str = "a", *, tokens: int = 2, finish: FinishReason = "stop", source: str = "gsm8k"
) -> Rollout:
    problem = Problem("p", (Message("user", "?"),), tuple(Check(name, f"of {name}") for name in checks), source)
    completion = Completion("0", (5,), (6,) * tokens, (-1.0,) * tokens, (0,) * tokens, finish, text)
    return Rollout(f"{source}/{text}", 0, Prompt(problem, (5,)), completion)


def judge(rollouts: Sequence[Rollout], **rules: Any) -> list[Judged]:
    """The first two words of a reply are what `a` and `b` say, the third and fourth the shaping of these names."""
    shaping = {name: {"verifier": V, "weight": weight} for name, weight in rules.pop("shaping", {}).items()}
    settings = RewardSettings(**rules, shaping=shaping)
    verifiers = {"a": Says(0), "b": Says(1), "form": Says(2), "style": Says(3)}
    return Rewarding(settings, None, 64, max_new_tokens=10).judge(rollouts, verifiers, 1)  # type: ignore[arg-type]


def rewards(first: str, second: str, **rules: Any) -> float:
    return earned_reward([("a", SAYS[first]), ("b", SAYS[second])], RewardSettings(**rules))


@pytest.mark.parametrize(
    ("first", "second", "lowest", "product", "total"),
    [
        ("right", "right", 10.0, 10.0, 30.0),
        ("right", "half", 4.5, 4.5, 19.0),
        ("half", "half", 4.5, 1.75, 13.5),  # −1 + ¼·11
        ("right", "wrong", -1.0, -1.0, 8.0),
        ("right", "mute", -3.0, -3.0, 4.0),
        ("half", "broken", -5.0, -5.0, -5.5),
        ("right", "not mine", 10.0, 10.0, 10.0),
        ("not mine", "not mine", -7.0, -7.0, -7.0),
        ("right", "minus two", -2.0, -20.0, 6.0),
        ("three", "minus two", -2.0, -6.0, -1.0),
        ("three", "not mine", 3.0, 3.0, 3.0),
        ("three", "broken", -5.0, -5.0, -7.0),
    ],
)
def test_checks_are_combined_f26_f27(first: str, second: str, lowest: float, product: float, total: float) -> None:
    """r_pos = 10, r_neg = −1; the weight of `b` is 2. What abstains is left out; an own scale's reward is itself."""
    outcomes = {"on_unparsable": -3.0, "on_error": -5.0, "on_abstained": -7.0}
    rules = {"positive": 10.0, "negative": -1.0, **outcomes}
    assert rewards(first, second, **rules) == lowest
    assert rewards(first, second, combine="product", **rules) == product
    weighted = {"combine": "weighted_sum", "weights": {"b": 2.0}}
    assert rewards(first, second, **weighted, **rules) == total


@given(st.lists(st.tuples(st.one_of(st.none(), st.floats(-5, 5)), st.floats(-3, 3)), min_size=1, max_size=5))
def test_a_weighted_sum_is_trls(given_: list[tuple[float | None, float]]) -> None:
    """TRL: `(rewards_per_func * weights).nansum()`, a reward of None being NaN; it leaves a row of Nones out."""
    verdicts = [(f"f{n}", Verdict.abstained() if r is None else Verdict.rewarded(r)) for n, (r, _) in enumerate(given_)]
    weights = {f"f{number}": weight for number, (_, weight) in enumerate(given_)}
    theirs = torch.tensor([math.nan if reward is None else reward for reward, _ in given_], dtype=torch.float64)
    expected = float((theirs * torch.tensor([weight for _, weight in given_], dtype=torch.float64)).nansum())
    ours = earned_reward(verdicts, RewardSettings(combine="weighted_sum", weights=weights, on_abstained=0.0))
    assert ours == pytest.approx(expected, abs=1e-12)


def test_weights_without_a_weighted_sum_are_refused() -> None:
    with pytest.raises(ValueError, match="set, and not used"):
        RewardSettings(weights={"a": 2.0})


def test_shaping_is_added_beside_lambda_and_each_part_has_its_name() -> None:
    """λ·10 + ½·1 − 2·½ and −(8 − 6)/4·3 for 8 of 10 tokens with a cache of 4; the checks' parts are unweighted."""
    (found,) = judge(
        [rollout("right/half/right/half", "ab", tokens=8)],
        weight=0.5, combine="weighted_sum", shaping={"form": 0.5, "style": -2.0}, overlong={"cache": 4, "weight": 3.0},
    )  # fmt: skip
    assert found.parts == {"a": 10.0, "b": 5.0, "form": 0.5, "style": -1.0, "overlong": -1.5}
    assert found.reward == found.earned == 0.5 * 15.0 + 0.5 - 1.0 - 1.5
    facts = found.sample().facts()
    assert facts["parts"] == {"verification": 7.5, "form": 0.5, "style": -1.0, "overlong": -1.5}
    assert [(verdict["verifier"], verdict["reward"]) for verdict in facts["verdicts"]] == [("a", 10.0), ("b", 5.0)]
    assert [(verdict["verifier"], verdict["reward"]) for verdict in facts["shaping"]] == [
        ("form", 0.5),
        ("style", -1.0),
    ]
    assert (found.value, found.verified) == (0.5, False)
    metrics = Rewarding(RewardSettings(), None, 64).metrics([found], 1)
    assert metrics == {f"reward/{name}": amount for name, amount in {**found.added, "a": 10.0, "b": 5.0}.items()}


def test_shaping_sees_every_reply_with_the_truth_of_its_problem() -> None:
    """One check's ground truth as it is, several by name; without a check of its own."""
    one, two = rollout("right/right/right", "a"), rollout("right/right/right", "aab")
    form = Says(2)
    shaping = {"form": {"verifier": V}}
    verifiers = {"a": Says(0), "b": Says(1), "form": form}
    Rewarding(RewardSettings(shaping=shaping), None, 64).judge([one, two], verifiers, 1)  # type: ignore[arg-type]
    assert [case.ground_truth for case in form.asked] == ["of a", {"a": "of a", "a#2": "of a", "b": "of b"}]
    assert truth_of(one.prompt.problem) == "of a"


@pytest.mark.parametrize("word", ["slow", "broken", "mute", "not mine"])
def test_shaping_that_cannot_judge_adds_nothing_and_is_counted(word: str) -> None:
    (found,) = judge([rollout(f"right/right/{word}", "a")], shaping={"form": 4.0})
    assert (found.reward, found.parts, found.verified) == (10.0, {"a": 10.0}, True)
    counts = outcome_counts([found])
    assert counts == {"a": {"scored": 1}, "form": {SAYS[word].outcome: 1}}
    warned = [name for name, _ in failures([found], counts)]
    assert warned == (["form"] if word in ("slow", "broken") else [])


def test_a_cut_reply_gets_the_penalty_instead_of_all_parts() -> None:
    (found,) = judge([rollout("right", tokens=10, finish="length")], missing_eos=-10.0, overlong={"cache": 5})
    assert (found.reward, found.earned) == (-10.0, 9.0)


def test_the_limit_is_the_settings_or_that_of_the_replies() -> None:
    for limit, penalty in ((None, -0.5), (8, -1.0), (20, 0.0)):
        (found,) = judge([rollout("right", tokens=8)], overlong={"cache": 4, "limit": limit})
        assert found.parts["overlong"] == penalty


def test_a_reply_that_no_check_applies_to_is_no_success_and_no_failure() -> None:
    (found,) = judge([rollout("not mine/not mine", "ab")], on_abstained=-0.5)
    assert (found.reward, found.value, found.verified, found.parts) == (-0.5, None, False, {})
    assert state_of(found, silent=False) == "abstained"
    assert state_of(judge([rollout("not mine/right", "ab")])[0], silent=False) == "trained"


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"overlong": {"cache": 5, "limit": 4}}, r"cache \(5\) must not be above limit \(4\)"),
        (
            {"shaping": {"form": {"verifier": V, "weight": 0}}},
            "a weight of 0 adds nothing",
        ),
        ({"shaping": {"base": {"verifier": V}}}, "'base' is no name for a part"),
        ({"task_weights": {"alpha": 0}}, "an alpha of 0 weighs all tasks alike"),
    ],
)
def test_settings_that_do_nothing_are_refused(rules: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RewardSettings(**rules)


def test_a_reward_beyond_all_numbers_names_step_and_sample() -> None:
    with pytest.raises(NumericsError, match="step 1: rewards are not finite; samples: gsm8k/right"):
        judge([rollout("right/right/three", "a")], shaping={"form": 1e308})


def scored(reply: Rollout) -> PackedBatch:
    """The reply with a critic whose error at each token is the root of 2·tokens: a loss of as many as it has tokens."""
    (batch,) = pack([[reply.segment()]], 64)
    error = torch.full((batch.n_tokens,), math.sqrt(2 * len(reply.completion.token_ids)), dtype=torch.float64)
    return batch.with_columns(returns=error, old_values=torch.zeros(batch.n_tokens))


def weights(*steps: Sequence[Rollout], **rules: Any) -> tuple[TaskWeights, dict[str, float]]:
    """After these steps, and the factors of a step with one reply of each source."""
    tasks = TaskWeights(TaskWeightSettings(**{"alpha": 1.0, **rules}))
    for replies in steps:
        judged = judge(replies)
        tasks.learn(judged, [scored(reply.rollout) for reply in judged])
    probe = judge(
        [rollout("right", source="gsm8k"), rollout("right", "b" if rules.get("by") == "check" else "a", source="math")]
    )
    return tasks, tasks.factors(probe)


def test_a_failing_task_gets_less_weight_f36() -> None:
    """gsm8k succeeds, math fails: 1 to 1/e, over their mean."""
    step = [rollout("right", source="gsm8k"), rollout("wrong", source="math")]
    tasks, factors = weights(step)
    assert tasks.rates.losses() == {"gsm8k": 0.0, "math": 1.0}
    good, bad = factors.values()
    assert good / bad == pytest.approx(math.e)
    assert good + bad == pytest.approx(2)
    _, turned = weights(step, alpha=-1.0)
    assert list(turned.values()) == pytest.approx([bad, good])


def test_what_could_not_be_judged_says_nothing_of_its_task_f36() -> None:
    """An unparsable reply is a failure of the policy; a verifier's own failure is not."""
    tasks, factors = weights([rollout(word, source=word) for word in ("slow", "broken", "not mine", "mute", "half")])
    assert tasks.rates.losses() == {"mute": 1.0, "half": 1.0}
    assert set(factors.values()) == {1.0}


def test_a_task_is_a_source_or_the_checks_and_its_loss_a_failure_or_the_critics_f36() -> None:
    step = [rollout("right/wrong", "ab", tokens=3), rollout("right", "a", tokens=1)]
    assert weights(step, by="check")[0].rates.losses() == {"a+b": 1.0, "a": 0.0}
    assert weights(step, loss="value")[0].rates.losses() == {"gsm8k": pytest.approx(2.0)}
    assert weights(step, step, by="check", loss="value", decay=0.5)[0].rates.losses() == pytest.approx(
        {"a+b": 3, "a": 1}
    )


def test_the_rates_go_through_a_checkpoint_to_the_bit_f36() -> None:
    import json

    tasks, _ = weights([rollout("right", source="gsm8k"), rollout("wrong", source="math")] * 3, decay=0.7)
    other = TaskWeights(tasks.settings)
    other.restore(json.loads(json.dumps(tasks.state())))
    assert other.rates == tasks.rates
    with pytest.raises(CheckpointError, match="no rates of the tasks"):
        other.restore({})
