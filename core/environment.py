"""The environment interface: what answers a policy's replies, turn by turn, until an episode is done.

An episode's state is a function of the problem, the seed and the replies so far, and of nothing else: whoever runs it
may begin it anew and give it the same replies. Nothing of it outlives the online step that it belongs to.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import Field

from aftertrain.core.component import Component
from aftertrain.core.records import JSON, Message, Problem, Role, ToolCall
from aftertrain.core.settings import PositiveInt, Settings

ANSWERS: tuple[Role, ...] = ("user", "tool")
"""Roles whose turns answer a policy."""


class EnvironmentSettings(Settings):
    """Base of an environment's settings."""

    rewards_turns: ClassVar[bool] = False
    """Whether it rewards turns: problems without checks can be learnt from then."""


class TurnSettings(EnvironmentSettings):
    """Settings of an environment of several turns."""

    max_turns: PositiveInt = Field(8, description="Replies of the policy after which an episode ends in any case.")
    timeout: Annotated[float, Field(gt=0)] = Field(
        30.0, description="Seconds that an answer may take; after that the rollout ends as a timeout, without rewards."
    )


S = TypeVar("S", bound=EnvironmentSettings)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the policy said in one turn.

    Attributes:
        text: without special tokens, up to what ended it.
        text_with_special: the same with special tokens, where that differs.
        calls: of tools, in order; those in its thoughts are none.
        faults: for each call that could not be read, why.
    """

    text: str
    text_with_special: str | None = None
    calls: tuple[ToolCall, ...] = ()
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Observation:
    """What comes of a reply.

    Attributes:
        messages: turns that answer it, of the roles `user` and `tool`; none where the episode is done.
        reward: what this turn earned, in units of the stage's own rewards; it lands on the turn's last token.
        done: nothing more is to be said.
    """

    messages: tuple[Message, ...] = ()
    reward: float = 0.0
    done: bool = False


class Episode(ABC):
    """One run of an environment. `reset` is called first, and once.

    What is wrong with a reply is said in an observation. What an episode raises is its own failure or its machine's:
    the rollout then ends as an error (a `TimeoutError` as a timeout), and earns what the settings say of those.
    """

    @abstractmethod
    def reset(self, problem: Problem, seed: int) -> Sequence[Message]:
        """Begin, and give the conversation that the first reply is to go on with; most often the problem's prompt."""

    @abstractmethod
    def step(self, reply: Reply) -> Observation:
        """Answer a reply."""

    def finish(self) -> float:
        """What the episode as a whole earned, asked once when it is over in whatever way: done, cut, out of turns.

        It is added to the reward of the last turn.
        """
        return 0.0

    def close(self) -> None:  # noqa: B027 (most hold nothing)
        """Free what the episode holds."""


class Environment(Component[S]):
    """Makes episodes; holds what they share."""

    kind: ClassVar[str] = "environment"
    isolated: ClassVar[bool] = True
    """Whether its episodes are run in a process of their own, which is ended where an answer takes too long. False for
    what bounds its own time."""
    answers: ClassVar[Role] = "user"
    """Who its turns are said by, so that chat templates can be tried before anything is generated."""

    @property
    def tools(self) -> Sequence[JSON]:
        """JSON schemas of its tools, which the chat template shows (`core.text.tool_calls.schema_of` makes them)."""
        return ()

    @property
    def max_turns(self) -> int:
        """Replies of the policy after which an episode ends in any case."""
        return self.settings.max_turns if isinstance(self.settings, TurnSettings) else 1

    @property
    def timeout(self) -> float:
        """Seconds that an answer may take."""
        return self.settings.timeout if isinstance(self.settings, TurnSettings) else 30.0

    def content(self) -> str:
        """Hex digest of what decides its answers beside settings and code, such as a file; "" for nothing."""
        return ""

    def preflight(self) -> None:
        """Find what is missing (a package, a program) before anything is generated.

        Raises:
            AftertrainError: what is missing, with the line that mends it.
        """

    def warm_up(self) -> None:
        """Load what episodes need, in the process that runs them, before the time of any answer begins."""

    @abstractmethod
    def episode(self) -> Episode:
        """A new episode."""

    def close(self) -> None:
        """Free what the environment holds."""


def sound(observation: Any) -> Observation:
    """An observation as a stranger's `step` may return it, made anew; numbers of any library become floats.

    Raises:
        TypeError: it is none. ValueError: its reward is not finite, or it neither answers nor ends.
    """
    if not isinstance(observation, Observation):
        raise TypeError(f"step must return an Observation, not {observation!r:.100}")
    reward = finite(observation.reward)
    messages = tuple(observation.messages)
    for message in messages:
        if not isinstance(message, Message) or message.role not in ANSWERS:
            raise TypeError(f"an observation's messages are turns of the roles user and tool, not {message!r:.100}")
    done = bool(observation.done)
    if done is not (not messages):
        raise ValueError(
            "an observation has messages, or says that the episode is done; this one "
            + ("has neither" if not done else "does both: nobody would read them")
        )
    return Observation(messages, reward, done)


def finite(reward: Any) -> float:
    """A reward as a float.

    Raises:
        TypeError: it is no number. ValueError: it is not finite.
    """
    number = float(reward)
    if not math.isfinite(number):
        raise ValueError(f"the reward of a turn is a finite number, not {number}")
    return number


def opening(messages: Any) -> tuple[Message, ...]:
    """What a stranger's `reset` returned, looked at.

    Raises:
        TypeError: it is no conversation that a reply can go on with.
    """
    turns = tuple(messages) if isinstance(messages, Sequence) and not isinstance(messages, str) else ()
    if not turns or not all(isinstance(turn, Message) for turn in turns) or turns[-1].role == "assistant":
        raise TypeError(f"reset must return messages, the last of them not the assistant's, not {messages!r:.100}")
    return turns
