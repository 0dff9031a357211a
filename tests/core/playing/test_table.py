"""Episodes in a process of their own: a hang is a timeout, a death an error, and neither costs the others anything."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from aftertrain.core.environment import Environment, Episode, Observation, Reply, TurnSettings
from aftertrain.core.playing import Table
from aftertrain.core.records import Message, Problem, Verdict

PROBLEM = Problem("p", (Message("user", "Count."),), (), "here")


class Counting(Environment[TurnSettings]):
    """Answers with what it was told so far; obeys a few words."""

    Config = TurnSettings

    def episode(self) -> Episode:
        return Count()


class CountingHere(Counting):
    isolated: ClassVar[bool] = False


class Count(Episode):
    def reset(self, problem: Problem, seed: int) -> Sequence[Message]:
        self.said = [str(seed)]
        if seed == 13:
            raise RuntimeError("unlucky")
        return problem.prompt

    def step(self, reply: Reply) -> Observation:
        if reply.text == "hang":
            time.sleep(600)
        if reply.text == "die":
            os._exit(9)
        if reply.text == "raise":
            raise KeyError("lost")
        if reply.text == "give up":
            raise TimeoutError("the server sleeps")
        if reply.text == "nan":
            return Observation(done=True, reward=float("nan"))
        if reply.text == "both":
            return Observation((Message("user", "more"),), done=True)
        if reply.text == "assistant":
            return Observation((Message("assistant", "me too"),))
        if reply.text == "text":
            return "more"  # type: ignore[return-value]
        self.said.append(reply.text)
        if reply.text == "spoil":
            self.said = None  # type: ignore[assignment]
            return Observation((Message("user", "spoilt"),))
        if reply.text == "end":
            return Observation(done=True, reward=2.5)
        return Observation((Message("user", " ".join(self.said)),), reward=len(self.said))

    def finish(self) -> float:
        return float(len(self.said))


def table(environment: type[Counting], timeout: float = 30.0) -> Table:
    return Table(environment(TurnSettings(timeout=timeout), builder=None))  # type: ignore[arg-type]


def words(answer: Any) -> str:
    """An observation's text, or the verdict's outcome and detail."""
    if isinstance(answer, Verdict):
        return f"{answer.outcome}: {answer.detail}"
    return "done" if answer.done else str(answer.messages[0].content)


@pytest.mark.parametrize("environment", [CountingHere, Counting])
def test_episodes_keep_apart(environment: type[Counting]) -> None:
    with table(environment) as played:
        assert played.reset({0: (PROBLEM, 5), 1: (PROBLEM, 6)}) == {0: PROBLEM.prompt, 1: PROBLEM.prompt}
        assert list(map(words, played.step({0: Reply("a"), 1: Reply("b")}).values())) == ["5 a", "6 b"]
        answers = played.step({1: Reply("end"), 0: Reply("c")})
        assert (words(answers[0]), words(answers[1]), answers[1].reward) == ("5 a c", "done", 2.5)  # type: ignore[union-attr]


@pytest.mark.parametrize("environment", [CountingHere, Counting])
@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("raise", "error: the environment raised KeyError: 'lost'"),
        ("give up", "timeout: the environment gave up: the server sleeps"),
        ("nan", "error: the environment raised ValueError: the reward of a turn is a finite number, not nan"),
        ("both", "error: the environment raised ValueError: an observation has messages, or says that the episode is"),
        ("assistant", "error: the environment raised TypeError: an observation's messages are turns of the roles user"),
        ("text", "error: the environment raised TypeError: step must return an Observation, not 'more'"),
    ],
)
def test_what_an_environment_does_wrong_is_an_error_of_its_rollout(
    environment: type[Counting], said: str, told: str
) -> None:
    with table(environment) as played:
        played.reset({0: (PROBLEM, 5), 1: (PROBLEM, 6)})
        answers = played.step({0: Reply(said), 1: Reply("b")})
        assert words(answers[0]).startswith(told)
        assert words(answers[1]) == "6 b"


@pytest.mark.parametrize("environment", [CountingHere, Counting])
def test_what_an_episode_earned_as_a_whole_is_asked_at_its_end(environment: type[Counting]) -> None:
    with table(environment) as played:
        played.reset({0: (PROBLEM, 5), 1: (PROBLEM, 6)})
        played.step({0: Reply("a"), 1: Reply("spoil")})
        earned = played.finish([0, 1])
        assert earned[0] == 2.0
        assert isinstance(earned[1], Verdict)
        assert earned[1].outcome == "error"


def test_an_episode_that_cannot_begin_is_an_error() -> None:
    with table(CountingHere) as played:
        assert words(played.reset({0: (PROBLEM, 13)})[0]) == "error: the environment raised RuntimeError: unlucky"


def test_a_hang_and_a_death_cost_the_others_nothing() -> None:
    """The process is ended; the other episodes are begun anew and given the replies that they have had."""
    with table(Counting, timeout=1.0) as played:
        played.reset({0: (PROBLEM, 5), 1: (PROBLEM, 6), 2: (PROBLEM, 7)})
        played.step({0: Reply("a"), 1: Reply("b"), 2: Reply("c")})
        answers = played.step({0: Reply("d"), 1: Reply("hang"), 2: Reply("e")})
        assert words(answers[0]) == "5 a d"
        assert words(answers[1]) == "timeout: the environment gave no answer in 1 s"
        assert words(answers[2]) == "7 c e"
        answers = played.step({2: Reply("die"), 0: Reply("f")})
        assert words(answers[2]) == "error: the environment's process was lost: it ended with status 9"
        assert words(answers[0]) == "5 a d f"


def test_a_class_in_the_main_program_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from aftertrain.core.errors import RunError

    monkeypatch.setattr(Counting, "__module__", "__main__")
    with (
        table(Counting) as played,
        pytest.raises(RunError, match="environment Counting is defined in the main program"),
    ):
        played.reset({0: (PROBLEM, 5)})
