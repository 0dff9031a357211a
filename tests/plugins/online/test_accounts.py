"""Every reply that is owed ends once: random verdicts, cuts, minibatches and kills against counts by plain Python."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftertrain.core.book import Book
from aftertrain.core.errors import RunError
from aftertrain.core.learning.batch_plan import BatchPlan
from aftertrain.core.records import Check, Completion, FinishReason, Message, Problem, Verdict
from aftertrain.core.run.ledger import Ledger
from aftertrain.plugins.online import training as training_module
from aftertrain.plugins.online.accounts import Accounts
from aftertrain.plugins.online.experience import pack_minibatches
from aftertrain.plugins.online.problems import Prompt, Prompts
from aftertrain.plugins.online.reward import Judged
from aftertrain.plugins.online.rollout import Rollout

VERDICTS = {
    "right": Verdict.scored(1.0),
    "wrong": Verdict.scored(0.0),
    "mute": Verdict.unparsable(),
    "slow": Verdict.timeout(),
    "broken": Verdict.error("why"),
}
PROMPT = Prompt(Problem("p", (Message("user", "?"),), (Check("v", ""),), "source"), (5, 6, 7))
Reply = tuple[str, FinishReason, int]


def judged_step(groups: Sequence[Sequence[Reply]]) -> list[Judged]:
    """A step's replies; what is right earns 1 and all else 0."""
    found = []
    for place, group in enumerate(groups):
        for number, (fate, finish, length) in enumerate(group):
            completion = Completion("0", (5, 6, 7), (9,) * length, (-1.0,) * length, (0,) * length, finish, fate)
            rollout = Rollout(f"p{place}/{number}", place, PROMPT, completion)
            earned = float(fate == "right")
            found.append(Judged(rollout, (("v", VERDICTS[fate]),), earned, earned))
    return found


def fate_of(reply: Reply, group: Sequence[Reply], compares: bool) -> str:
    """The state of a reply, as the documentation has it."""
    fate, finish, _ = reply
    if fate in ("broken", "slow"):
        return {"broken": "error", "slow": "timeout"}[fate]
    if compares and len({other[0] == "right" for other in group}) == 1:
        return "no_signal"
    if finish == "length":
        return "cut"
    return "unparsable" if fate == "mute" else "trained"


@settings(max_examples=40)
@given(data=st.data())
def test_tickets_end_once_whatever_happens(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    folder = tmp_path_factory.mktemp("books")
    problems, samples, steps = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 3)), data.draw(st.integers(1, 4))
    compares, atom = data.draw(st.booleans()), data.draw(st.sampled_from(["segment", "group"]))
    one_epoch = BatchPlan(problems, data.draw(st.integers(1, problems)), 1, 0)
    plan = BatchPlan(problems, one_epoch.rows_per_step, -(-steps // one_epoch.steps_per_epoch), 0)
    prompts = Prompts([PROMPT] * problems, {"too long": ["q"]}, [*["p"] * problems, "q"])
    reply = st.tuples(st.sampled_from(sorted(VERDICTS)), st.sampled_from(["stop", "length"]), st.integers(1, 4))
    replies = [
        [[data.draw(reply) for _ in range(samples)] for _ in plan.rows(step - 1)] for step in range(1, steps + 1)
    ]
    done, attempt, balances = 0, 0, None
    while balances is None:
        attempt += 1
        book = Book()
        if done:
            Ledger(book).restore(folder)
        accounts = Accounts(book, samples, compares=compares)
        accounts.expect(prompts, plan, steps)
        killed_at = data.draw(st.integers(done + 1, steps)) if attempt < 3 and data.draw(st.booleans()) else None
        for step in range(done + 1, steps + 1):
            judged = judged_step(replies[step - 1])
            accounts.step(step, judged, pack_minibatches(judged, data.draw(st.integers(1, 3)), 64, atom))
            if step == killed_at:
                break
            if data.draw(st.booleans()):
                Ledger(book).save(folder)
                done = step
        else:
            accounts.close(prompts)
            balances = Ledger(book).close("rl")
    every = [(reply, group) for step in replies for group in step for reply in group]
    states = [fate_of(reply, group, compares) for reply, group in every]
    lengths = {"learnt": 0, "masked": 0, "context": 3 * len(every)}
    for (one, group), _ in zip(every, states, strict=True):
        silent = compares and len({other[0] == "right" for other in group}) == 1
        lengths["masked" if silent else "learnt"] += one[2]
    assert Counter(balances["ticket"].states) == Counter(states)
    assert +Counter(balances["ticket"].tokens) == +Counter(lengths)
    assert balances["row"].states == {"dropped: too long": 1, "kept": problems}


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (lambda parts: [part[1:] for part in parts], "lost"),
        (lambda parts: [*parts, parts[0]], "too many"),
        (lambda parts: [parts[0]] * len(parts), "not the same ones"),
    ],
)
def test_a_step_that_loses_or_repeats_replies_is_found(broken: Callable[[Any], Any], told: str) -> None:
    judged = judged_step([[("right", "stop", 2), ("wrong", "stop", 2)], [("mute", "stop", 2), ("right", "length", 2)]])
    book = Book()
    accounts = Accounts(book, 2, compares=False)
    prompts = Prompts([PROMPT], {}, ["p"])
    accounts.expect(prompts, BatchPlan(2, 2, 1, 0), 1)
    accounts.step(1, judged, broken(pack_minibatches(judged, 2, 4096, "group")))
    accounts.close(prompts)
    with pytest.raises(RunError, match=told):
        Ledger(book).close("rl")


def test_a_run_says_what_became_of_its_replies(bench: Callable[..., Any], tmp_path: Path) -> None:
    """Four steps of ten replies (the last of an epoch has fewer: 12 problems are 5, 5 and 2), all cut at 8 tokens."""
    changes = {"data": {"long": 2}, "rewards": [{"use": "failing"}], "checks": {"contains": "failing"}}
    made = bench(changes={**changes, "unjudgeable": "keep"})
    made.run()
    assert made.books["row"]["states"] == {"dropped: prompt and reply over the model's 512 tokens": 2, "kept": 12}
    assert made.books["ticket"]["states"] == {"error": 2 * (5 + 5 + 2 + 5)}
    lines = [line for file in (made.folder / "samples").iterdir() for line in file.read_text().splitlines()]
    assert made.books["ticket"]["owed"] == len(lines)


def test_a_stage_that_forgets_a_step_is_found(bench: Callable[..., Any]) -> None:
    """What is owed comes from the plan, not from the loop that does it."""
    saved = SimpleNamespace(event="saved", facts=dict)

    def step(self: Any, number: int) -> None:
        judged = judged_step([[("right", "stop", 2)] * 2 for _ in self.order.rows(number - 1)])
        if number != 3:
            self.accounts.step(number, judged, pack_minibatches(judged, 1, 64, "segment"))

    with (
        patch.object(training_module.Training, "_step", step),
        patch.object(training_module, "save_checked", lambda *given, **named: saved),
        pytest.raises(RunError, match=r"ticket: 34 owed, 30 ended \(30 trained\): 4 lost"),
    ):
        bench().run()
