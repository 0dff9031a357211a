"""Episodes in a process of their own, which is ended where an answer takes too long."""

from __future__ import annotations

from typing import Any

from aftertrain.core.environment import Environment, Reply
from aftertrain.core.playing.here import Answer, Key, Opening
from aftertrain.core.playing.room import Lost, Room
from aftertrain.core.records import Problem, Verdict


class Apart:
    """Episodes in a process of their own.

    One that takes too long ends the process. The others are begun anew in the next one, and given the replies that they
    have had: they come to the same state.
    """

    def __init__(self, environment: Environment[Any]) -> None:
        self._environment, self._timeout = environment, environment.timeout
        self._room: Room | None = None
        self._begun: dict[Key, tuple[Problem, int]] = {}
        self._replies: dict[Key, list[Reply]] = {}
        self._there: set[Key] = set()

    def reset(self, key: Key, problem: Problem, seed: int) -> Opening:
        """Begin."""
        self._begun[key], self._replies[key] = (problem, seed), []
        answer: Opening = self._ask(key, "reset", problem, seed)
        if not isinstance(answer, Verdict):
            self._there.add(key)
        return answer

    def step(self, key: Key, reply: Reply) -> Answer:
        """Answer, in a process that may have to be brought up to date."""
        if key not in self._there and (failed := self._again(key)) is not None:
            return failed
        self._replies[key].append(reply)
        answer: Answer = self._ask(key, "step", reply)
        return answer

    def finish(self, key: Key) -> float | Verdict:
        """What it earned."""
        if key not in self._there and (failed := self._again(key)) is not None:
            return failed
        earned: float | Verdict = self._ask(key, "finish")
        return earned

    def drop(self, key: Key) -> None:
        """Close one."""
        if key in self._there:
            self._there.discard(key)
            self._ask(key, "drop")

    def close(self) -> None:
        """End the process."""
        if self._room is not None:
            self._room.close()
            self._room = None

    def _again(self, key: Key) -> Verdict | None:
        """Bring an episode to where it was when its process was lost."""
        answer = self._ask(key, "reset", *self._begun[key])
        for reply in self._replies[key]:
            if isinstance(answer, Verdict):
                return answer
            answer = self._ask(key, "step", reply)
        if isinstance(answer, Verdict):
            return answer
        self._there.add(key)
        return None

    def _ask(self, key: Key, what: str, *arguments: object) -> Any:
        if self._room is None:
            self._room, self._there = Room(self._environment), set()
        try:
            return self._room.ask((what, key, arguments), self._timeout)
        except TimeoutError:
            verdict = Verdict.timeout(f"the environment gave no answer in {self._timeout:g} s")
        except Lost as error:
            verdict = Verdict.error(f"the environment's process was lost: {error}")
        self.close()
        self._there = set()
        return verdict
