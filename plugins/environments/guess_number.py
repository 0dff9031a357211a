"""Guess a number: a game whose every answer depends on the seed and the guess alone."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import ClassVar

from aftertrain.core.environment import Environment, Episode, Observation, Reply
from aftertrain.core.records import Message, Problem
from aftertrain.plugins.environments.settings import GuessNumberSettings

_NUMBER = re.compile(r"[-+]?\d{1,18}(?![\d.]\d)")


class GuessNumber(Environment[GuessNumberSettings]):
    """Higher or lower."""

    Config = GuessNumberSettings
    isolated: ClassVar[bool] = False

    def episode(self) -> Episode:
        """One game."""
        return Game(self.settings)


class Game(Episode):
    """One number to be found. The last number of a reply is its guess."""

    def __init__(self, settings: GuessNumberSettings) -> None:
        self._settings, self._number = settings, settings.lowest

    def reset(self, problem: Problem, seed: int) -> Sequence[Message]:
        """The problem's prompt; the rules follow its last turn's words."""
        settings = self._settings
        self._number = random.Random(seed).randint(settings.lowest, settings.highest)
        *before, last = problem.prompt
        rules = f"I am thinking of a whole number from {settings.lowest} to {settings.highest}. Guess it."
        return (*before, Message(last.role, f"{last.content}\n\n{rules}"))

    def step(self, reply: Reply) -> Observation:
        """Whether the number is higher or lower than the guess."""
        guesses = _NUMBER.findall(reply.text)
        if not guesses:
            return self._miss("Say a whole number.")
        guess = int(guesses[-1])
        if guess == self._number:
            return Observation(reward=self._settings.reward, done=True)
        return self._miss("Higher." if guess < self._number else "Lower.")

    def _miss(self, words: str) -> Observation:
        return Observation((Message("user", words),), self._settings.miss)
