"""Environments whose turns are calls of tools: plain typed functions, run where a reply asks for them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar, Literal, TypeVar

from pydantic import Field

from aftertrain.core.environment import Environment, Episode, Observation, Reply, TurnSettings
from aftertrain.core.records import JSON, Message, Problem, Role
from aftertrain.core.text.tool_calls import Tool, call_tool, described_tools, schema_of


class ToolSettings(TurnSettings):
    """Settings of an environment with tools."""

    show: Literal["template", "prompt"] = Field(
        "template",
        description="Who tells the policy of the tools: the chat template, from their JSON schemas; or a system turn "
        "that aftertrain writes, for templates that know no tools.",
    )


S = TypeVar("S", bound=ToolSettings)


class ToolEnvironment(Environment[S]):
    """Gives its tools to every episode; a subclass names them."""

    answers: ClassVar[Role] = "tool"

    @abstractmethod
    def functions(self) -> Sequence[Tool]:
        """The tools.

        A `ValueError` is a tool's way to refuse its arguments, and the policy reads it. What else it raises ends the
        rollout as an error.
        """

    @cached_property
    def _schemas(self) -> tuple[JSON, ...]:
        return tuple(schema_of(tool) for tool in self.functions())

    @property
    def tools(self) -> Sequence[JSON]:
        """Schemas for the chat template; none where a system turn tells of them."""
        return self._schemas if self.settings.show == "template" else ()

    def episode(self) -> Episode:
        """One that is done with the first reply that asks for no tool."""
        preface = "" if self.settings.show == "template" else described_tools(self._schemas)
        return ToolEpisode(self.functions(), preface)


class ToolEpisode(Episode):
    """Calls the tools that replies ask for, and is done with a reply that asks for none.

    Args:
        tools: called by their own names.
        preface: a system turn before the problem's prompt, or a paragraph more of the one that is there; "" for none.
    """

    def __init__(self, tools: Sequence[Tool], preface: str = "") -> None:
        self.tools = {tool.__name__: tool for tool in tools}
        self._preface = preface

    def reset(self, problem: Problem, seed: int) -> Sequence[Message]:
        """The problem's prompt, after the preface."""
        prompt = problem.prompt
        if not self._preface:
            return prompt
        if prompt[0].role != "system":
            return (Message("system", self._preface), *prompt)
        return (Message("system", f"{prompt[0].content}\n\n{self._preface}"), *prompt[1:])

    def step(self, reply: Reply) -> Observation:
        """A turn of the role `tool` for each call, in order; one that could not be read is told what is wrong."""
        refused = tuple(Message("tool", f"error: {fault}") for fault in reply.faults)
        answers = refused + tuple(
            Message("tool", call_tool(self.tools, call), tool_call_id=call.id, name=call.name) for call in reply.calls
        )
        return Observation(answers, done=not answers)
