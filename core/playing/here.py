"""Episodes in this process."""

from __future__ import annotations

import logging
from typing import Any

from aftertrain.core.environment import Environment, Episode, Observation, Reply, finite, opening, sound
from aftertrain.core.ground.cleaning import described
from aftertrain.core.records import Message, Problem, Verdict

log = logging.getLogger(__name__)
Key = int
"""Of an episode, for who asks."""
Opening = tuple[Message, ...] | Verdict
Answer = Observation | Verdict
"""A verdict is `timeout` or `error`: the environment failed, which says nothing of the policy."""


class Here:
    """Episodes in this process, of environments that bound their own time."""

    def __init__(self, environment: Environment[Any]) -> None:
        self._environment = environment
        self._episodes: dict[Key, Episode] = {}

    def reset(self, key: Key, problem: Problem, seed: int) -> Opening:
        """Begin."""
        try:
            self._episodes[key] = self._environment.episode()
            return opening(self._episodes[key].reset(problem, seed))
        except Exception as error:  # noqa: BLE001 - a stranger's environment; the verdict says what it raised
            return failure(error)

    def step(self, key: Key, reply: Reply) -> Answer:
        """Answer."""
        try:
            return sound(self._episodes[key].step(reply))
        except Exception as error:  # noqa: BLE001 - as above
            return failure(error)

    def finish(self, key: Key) -> float | Verdict:
        """What it earned."""
        try:
            return finite(self._episodes[key].finish())
        except Exception as error:  # noqa: BLE001 - as above
            return failure(error)

    def drop(self, key: Key) -> None:
        """Close one."""
        if (episode := self._episodes.pop(key, None)) is not None:
            try:
                episode.close()
            except Exception as error:  # noqa: BLE001 - its answers are given: nothing hangs on its end
                log.warning("an episode could not be closed: %s", described(error))

    def close(self) -> None:
        """Close all."""
        for key in list(self._episodes):
            self.drop(key)


def failure(error: BaseException) -> Verdict:
    """What a rollout is when its environment has raised."""
    if isinstance(error, TimeoutError):
        return Verdict.timeout(f"the environment gave up: {error}" if str(error) else "the environment gave up")
    return Verdict.error(f"the environment raised {described(error)}")
