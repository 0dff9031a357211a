"""The episodes of one online step: begun and answered in the order of their tickets, each within its time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, Self

from aftertrain.core.environment import Environment, Reply
from aftertrain.core.playing.apart import Apart
from aftertrain.core.playing.here import Answer, Here, Key, Opening
from aftertrain.core.records import Problem, Verdict


class Player(Protocol):
    """What runs episodes."""

    def reset(self, key: Key, problem: Problem, seed: int) -> Opening: ...

    def step(self, key: Key, reply: Reply) -> Answer: ...

    def finish(self, key: Key) -> float | Verdict: ...

    def drop(self, key: Key) -> None: ...

    def close(self) -> None: ...


class Table:
    """Runs an environment's episodes.

    Args:
        environment: its episodes run in a process of their own if it is `isolated`. It stays open when this closes.
    """

    def __init__(self, environment: Environment[Any]) -> None:
        self._player: Player = Apart(environment) if environment.isolated else Here(environment)

    def reset(self, begun: Mapping[Key, tuple[Problem, int]]) -> dict[Key, Opening]:
        """Begin an episode for each key, with its problem and seed."""
        openings = {key: self._player.reset(key, problem, seed) for key, (problem, seed) in begun.items()}
        for key, opened in openings.items():
            if isinstance(opened, Verdict):
                self._player.drop(key)
        return openings

    def step(self, replies: Mapping[Key, Reply]) -> dict[Key, Answer]:
        """Answer each reply, in the order given; an episode that failed is closed."""
        answers = {key: self._player.step(key, reply) for key, reply in replies.items()}
        for key, answer in answers.items():
            if isinstance(answer, Verdict):
                self._player.drop(key)
        return answers

    def finish(self, keys: Iterable[Key]) -> dict[Key, float | Verdict]:
        """What each of these episodes earned as a whole; they go no further, and are closed."""
        earned = {key: self._player.finish(key) for key in keys}
        for key in earned:
            self._player.drop(key)
        return earned

    def drop(self, key: Key) -> None:
        """Close an episode that goes no further, without asking what it earned."""
        self._player.drop(key)

    def close(self) -> None:
        """End all episodes."""
        self._player.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
