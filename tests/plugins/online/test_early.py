"""Verdicts on replies while others are being made: known before the last one is there, and the same as at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import pytest

from aftertrain.core.completions.delivered import deliver
from aftertrain.core.generator import GenerationRequest, Generator, Sampling
from aftertrain.core.records import Check, Completion, Message, Problem
from aftertrain.core.settings import Settings
from aftertrain.core.verification import PoolSettings, VerifierPool, isolate
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.online.early import Early
from aftertrain.plugins.online.problems import Prompt
from aftertrain.plugins.online.reward import verdicts_on
from aftertrain.plugins.online.rollout import Rollout
from aftertrain.testing.build import build

TEXTS = ["so #### 4", "#### 5", "5", "nothing", "#### 1,234", "4 or 5", "####", "#### 4"]


def reply(number: int) -> Rollout:
    """Reply `number`, two to a problem; problem 0 has two checks of one verifier, and ids are not unique."""
    truths = ("4", "5") if number < 2 else ("4",)
    checks = tuple(Check("gsm8k", truth) for truth in truths)
    prompt = Prompt(Problem("p", (Message("user", "?"),), checks, "s"), (1, 2))
    completion = Completion(str(number), (1, 2), (3,), (-0.5,), (0,), "stop", TEXTS[number])
    return Rollout(f"p/{number % 2}", number // 2, prompt, completion)


@pytest.fixture(scope="module")
def verifiers() -> Iterator[dict[str, Verifier[Any]]]:
    with VerifierPool(PoolSettings(workers=1)) as pool:
        yield {"gsm8k": isolate(build("verifier", "gsm8k"), pool)}


@pytest.mark.parametrize("seed", range(4))
def test_they_are_those_of_the_end_whatever_comes_first(verifiers: dict[str, Verifier[Any]], seed: int) -> None:
    rollouts = [reply(number) for number in range(len(TEXTS))]
    expected = verdicts_on(rollouts, verifiers)
    assert [[verdict.value for _, verdict in on_reply] for on_reply in expected[:2]] == [[1.0, 0.0], [0.0, 1.0]]
    arriving = Random(seed).sample(rollouts, len(rollouts) - seed)  # of some nobody was told
    with Early(verifiers) as early:
        for rollout in arriving:
            early.take(rollout)
            time.sleep(0.002 * seed)
        known = early.verdicts()
    assert len(known) == sum(len(rollout.prompt.problem.checks) for rollout in arriving)
    assert verdicts_on(rollouts, verifiers, known) == expected


class Slow(Generator[Settings]):
    """Gives one reply, and the others once the first has been judged."""

    Config = Settings

    def __init__(self, early: Early) -> None:
        self.early, self.left = early, list(range(len(TEXTS)))

    def open(self, model: str, version: int = 0) -> None: ...

    def submit(self, requests: Sequence[GenerationRequest]) -> None: ...

    def collect(self, timeout: float | None = None) -> list[Completion]:
        if len(self.left) < len(TEXTS):
            end = time.monotonic() + 60
            while not self.early._found:
                assert time.monotonic() < end, "nothing was judged while replies were being made"
                time.sleep(0.01)
        return [reply(self.left.pop(0)).completion]

    def cancel(self, ids: Any = None) -> None: ...

    def update_weights(self, weights: Any, version: int) -> None: ...


def test_the_first_is_judged_before_the_last_is_there(verifiers: dict[str, Verifier[Any]]) -> None:
    requests = [GenerationRequest(str(number), (1, 2), Sampling(max_new_tokens=4), 0) for number in range(len(TEXTS))]
    with Early(verifiers) as early:
        deliver(Slow(early), "slow", requests, 60, arrived=lambda completion: early.take(reply(int(completion.id))))
        assert len(early.verdicts()) == len(TEXTS) + 2


def test_verifiers_of_this_process_and_judges_of_pairs_are_not_asked() -> None:
    with Early({"gsm8k": build("verifier", "gsm8k")}) as early:
        early.take(reply(0))
        assert early.verdicts() == {}
