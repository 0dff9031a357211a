"""The trivial environment: one reply to a prompt, which verifiers judge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from aftertrain.core.environment import Environment, Episode, Observation, Reply
from aftertrain.core.records import Message, Problem
from aftertrain.plugins.environments.settings import SingleTurnSettings


class SingleTurn(Environment[SingleTurnSettings]):
    """Done with the first reply."""

    Config = SingleTurnSettings
    isolated: ClassVar[bool] = False

    def episode(self) -> Episode:
        """One turn."""
        return OneTurn()


class OneTurn(Episode):
    """The problem's prompt, and no answer."""

    def reset(self, problem: Problem, seed: int) -> Sequence[Message]:
        """The problem's prompt."""
        return problem.prompt

    def step(self, reply: Reply) -> Observation:
        """Done."""
        return Observation(done=True)
