"""Which problems a step asks and which groups it learns from: by hand, whatever comes first, and across a kill."""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pytest

from aftertrain.core.learning.batch_plan import BatchPlan
from aftertrain.core.records import Completion, Message, Problem, Verdict, VerificationCase
from aftertrain.core.selection import Group, Past
from aftertrain.core.settings import Settings
from aftertrain.plugins.online.asking import Asked, Asking
from aftertrain.plugins.online.problems import Prompt
from aftertrain.plugins.online.reward import Judged
from aftertrain.plugins.online.rollout import Rollout
from aftertrain.plugins.selection.selections import All, Curriculum, Informative, Oversample
from aftertrain.plugins.selection.settings import (
    AllSettings,
    CurriculumSettings,
    InformativeSettings,
    OversampleSettings,
)

Make = Callable[..., Any]
PROMPTS = [Prompt(Problem(f"p{i}", (Message("user", "?"),), (), "s"), (1, 2)) for i in range(8)]
PLAN = BatchPlan(8, 3, 2, seed=1)


def _reply(prompt: Prompt, group: int, number: int, reward: float) -> Judged:
    completion = Completion("x", (1, 2), (3,), (-0.5,), (0,), "stop", "")
    rollout = Rollout(f"{prompt.problem.id}/{number}", group, prompt, completion)
    return Judged(rollout, (("v", Verdict.scored(float(reward > 0))),), reward, reward)


def _judge(rewards: Callable[[str], Sequence[float]], log: list[tuple[int, list[str]]]) -> Any:
    def judge(prompts: Sequence[Prompt], first: int) -> list[Judged]:
        log.append((first, [prompt.problem.id for prompt in prompts]))
        return [
            _reply(prompt, first + place, number, reward)
            for place, prompt in enumerate(prompts)
            for number, reward in enumerate(rewards(prompt.problem.id))
        ]

    return judge


def _asking(selection: Any) -> Asking:
    return Asking(selection, PROMPTS, PLAN, 3, seed=5)


def _learnt(asked: Asked) -> list[str]:
    return list(dict.fromkeys(reply.rollout.prompt.problem.id for reply in asked.judged))


def test_all_follows_the_plan() -> None:
    log: list[tuple[int, list[str]]] = []
    asking = _asking(All(AllSettings(), None))  # type: ignore[arg-type]
    for step in (1, 2, 3):
        asked = asking.ask(step, _judge(lambda name: (1.0, 1.0), log))
        assert not asked.dropped
        assert not asked.metrics
    assert [names for _, names in log] == [[f"p{row}" for row in PLAN.rows(step)] for step in range(3)]
    assert asking.state() == {}


def test_constant_groups_are_refilled_in_order_without_asking_twice() -> None:
    """Of the shuffled eight, two are constant: the step asks three, then as many as are missing, each problem once."""
    order = [f"p{row}" for row in PLAN.order(0)]
    constant = {order[0], order[2], order[3]}
    log: list[tuple[int, list[str]]] = []
    asking = _asking(Informative(InformativeSettings(), None))  # type: ignore[arg-type]
    asked = asking.ask(1, _judge(lambda name: (1.0, 1.0) if name in constant else (1.0, 0.0), log))
    assert log == [(0, order[:3]), (3, order[3:5]), (5, order[5:6])]
    assert _learnt(asked) == [order[1], order[4], order[5]]
    assert [group[0].rollout.prompt.problem.id for group in asked.dropped["no_signal"]] == [order[0], *order[2:4]]
    assert asked.metrics == {"asked_problems": 6.0, "asking_rounds": 3.0, "kept_rate": 0.5}
    assert [reply.rollout.group for reply in asked.every] == [g for g in range(6) for _ in range(2)]


def test_a_step_makes_do_after_its_rounds_and_where_all_were_asked() -> None:
    asking = _asking(Informative(InformativeSettings(rounds=2), None))  # type: ignore[arg-type]
    log: list[tuple[int, list[str]]] = []
    asked = asking.ask(1, _judge(lambda name: (0.0, 0.0), log))
    assert (len(log), len(asked.judged)) == (2, 0)
    endless = _asking(Informative(InformativeSettings(rounds=99), None))  # type: ignore[arg-type]
    log.clear()
    endless.ask(1, _judge(lambda name: (0.0, 0.0), log))
    assert Counter(name for _, names in log for name in names) == Counter(prompt.problem.id for prompt in PROMPTS)


def test_oversampling_keeps_what_varies_most() -> None:
    """Six are asked for three; of variances 4, 1, 1, 0, 9, 1 the places 4, 0 and the first of the equal ones stay."""
    rewards = iter([(2.0, -2.0), (1.0, -1.0), (1.0, -1.0), (0.0, 0.0), (3.0, -3.0), (1.0, -1.0)])
    asking = _asking(Oversample(OversampleSettings(factor=2.0), None))  # type: ignore[arg-type]
    asked = asking.ask(1, _judge(lambda name: next(rewards), []))
    assert [reply.rollout.group for reply in asked.judged] == [0, 0, 1, 1, 4, 4]
    assert [group[0].rollout.group for group in asked.dropped["set_aside"]] == [2, 3, 5]


def test_the_curriculum_draws_by_pass_rate() -> None:
    """Weights by hand; over many draws of one problem the shares are those of the weights."""
    curriculum = Curriculum(CurriculumSettings(target=0.5, width=0.25, floor=0.05), None)  # type: ignore[arg-type]
    found = [curriculum.weight(rate) for rate in (None, 0.5, 0.25, 0.0)]
    assert found == pytest.approx([1.0, 1.0, math.exp(-0.5), math.exp(-2.0)])
    assert curriculum.weight(1.5) == 0.05
    past = Past()
    for name, verified in (("a", 2), ("b", 1), ("c", 0)):
        past.add(Group(name, (0.0,) * 4, verified))
    counts = Counter(curriculum.draw(1, iter(()), ["a", "b", "c"], past, seed)[0] for seed in range(6000))
    weights = [1.0, math.exp(-0.5), math.exp(-2.0)]
    for place, weight in enumerate(weights):
        share = weight / sum(weights)
        assert counts[place] / 6000 == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 6000))


SETTINGS: dict[str, Any] = {
    "advantages": "group",
    "loss": {"use": "grpo"},
    "kl": {"beta": 0.0},
    "batch": {"samples_per_prompt": 2, "prompts": 3, "updates": 1},
}


@pytest.mark.parametrize("selection", [{"use": "informative", "rounds": 3}, "oversample", "curriculum"])
@pytest.mark.slow
def test_a_killed_run_asks_the_same_and_its_books_balance(bench: Make, selection: Any) -> None:
    """Killed while a step is told, it draws, keeps and learns the same; each ticket ends once (the bench checks it)."""
    changes = {**SETTINGS, "selection": selection}
    whole = bench("whole", changes)
    whole.run()
    killed = bench("killed", changes, kill_at=("metrics", 4))
    with pytest.raises(BaseException, match="metrics 4"):
        killed.run()
    again = bench("killed", changes)
    again.run()
    assert again.of("metrics") == whole.of("metrics")[2:]
    assert again.outcome() == whole.outcome()
    assert again.books == whole.books


@pytest.mark.parametrize("selection", ["all", {"use": "informative", "rounds": 4}, "oversample"])
@pytest.mark.slow
def test_the_order_in_which_replies_and_verdicts_come_changes_no_bit(bench: Make, selection: Any) -> None:
    """Replies arrive one by one in another order, verdicts after other delays: the same problems are asked, the same
    groups kept and refilled, the same bits learnt."""
    from aftertrain.plugins.generation.settings import TransformersSettings
    from aftertrain.plugins.generation.transformers import Transformers
    from tests.plugins.online.conftest import Mixed

    arrivals: list[list[str]] = []

    def run(seed: int) -> Any:
        source = random.Random(seed)

        class Shuffled(Transformers):
            waiting: ClassVar[list[Completion]] = []

            def collect(self, timeout: float | None = None) -> list[Completion]:
                while done := super().collect(timeout):
                    self.waiting.extend(done)
                source.shuffle(self.waiting)
                arrivals[-1].append(self.waiting[-1].id)
                return [self.waiting.pop()]

        class Late(Mixed):
            def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
                time.sleep(source.random() / 50)
                return super().verify(cases)

        changes = {"rewards": [{"use": "mixed"}], "checks": {"contains": "mixed"}, "reward": {"missing_eos": -1.0}}
        made = bench(f"run{seed}", {**SETTINGS, **changes, "selection": selection})
        made.builder.table["generator", "transformers"] = (Shuffled, TransformersSettings)
        made.builder.table["verifier", "mixed"] = (Late, Settings)
        arrivals.append([])
        made.run()
        return made

    first, second = run(1), run(2)
    assert arrivals[0] != arrivals[1]
    assert first.outcome() == second.outcome()
    assert first.of("metrics") == second.of("metrics")
    if selection != "all":
        assert any(step["kept_rate"] < 1 for step in first.of("metrics")), "something was refilled or left out"


def test_one_reply_to_a_prompt_cannot_differ(bench: Make) -> None:
    with pytest.raises(ValueError, match="samples_per_prompt must be 2 or more"):
        bench(changes={"selection": "informative", "batch": {"samples_per_prompt": 1}})
