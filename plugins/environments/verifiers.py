"""Tasks of the package `verifiers` (Prime Intellect, 0.4), in a Python of its own.

Its loops drive an agent that asks an endpoint; here the loop is turned inside out: what it asks is an observation, what
the policy says is the endpoint's answer (`verifiers_host`). Rewards are the task's own.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aftertrain.core.environment import Environment, Episode, Observation, Reply
from aftertrain.core.errors import PluginError
from aftertrain.core.records import JSON, Message, Problem, ToolCall
from aftertrain.plugins.environments import verifiers_host
from aftertrain.plugins.environments.settings import TasksetSettings, VerifiersSettings


class Verifiers(Environment[VerifiersSettings]):
    """Plays the task whose number stands at the end of a problem's id, as the data set `verifiers` writes it."""

    Config = VerifiersSettings
    _host: Host | None = None

    @functools.cached_property
    def _schemas(self) -> tuple[JSON, ...]:
        host = Host(self.settings)
        try:
            return tuple(host.ask("tools")["tools"])
        finally:
            host.close()

    @property
    def tools(self) -> Sequence[JSON]:
        """Those that the first task is given."""
        return self._schemas

    def preflight(self) -> None:
        """Load the taskset.

        Raises:
            PluginError: the other Python, the package or the taskset is not there.
        """
        self.tools  # noqa: B018 (loaded when they are looked at)

    def warm_up(self) -> None:
        """Load the taskset in the process that plays."""
        self._host = Host(self.settings)

    def episode(self) -> Episode:
        """One task."""
        if self._host is None:
            self.warm_up()
        assert self._host is not None
        return Task(self._host)

    def close(self) -> None:
        """End the other Python."""
        if self._host is not None:
            self._host.close()
            self._host = None


class Task(Episode):
    """One task, by its number."""

    _keys = iter(range(1 << 62))

    def __init__(self, host: Host) -> None:
        self._host, self._key = host, next(self._keys)

    def reset(self, problem: Problem, seed: int) -> Sequence[Message]:
        """What the task asks first."""
        answer = self._host.ask("reset", key=self._key, index=number_of(problem.id))
        return tuple(map(message_of, answer["messages"]))

    def step(self, reply: Reply) -> Observation:
        """What the task asks next."""
        calls = [{"name": call.name, "arguments": dict(call.arguments)} for call in reply.calls]
        answer = self._host.ask("step", key=self._key, reply={"text": reply.text, "calls": calls})
        return Observation(tuple(map(message_of, answer["messages"])), done=answer["done"])

    def finish(self) -> float:
        """What the task's own reward functions give; 0 for one that was cut off."""
        return float(self._host.ask("finish", key=self._key)["earned"])

    def close(self) -> None:
        """Call off what is left of it."""
        self._host.ask("drop", key=self._key)


class Host:
    """The other Python, with the taskset loaded.

    Raises:
        PluginError: it cannot be started, or does not find the package or the taskset.
    """

    def __init__(self, settings: TasksetSettings) -> None:
        python = Path(settings.python).expanduser()
        if not python.is_file():
            raise PluginError(
                f"environment verifiers: no Python at {python}; make one with 'python -m venv FOLDER' and "
                f"'FOLDER/bin/pip install verifiers', and set python: FOLDER/bin/python"
            )
        self._process = subprocess.Popen(
            [str(python), str(Path(verifiers_host.__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
            | ({"PYTHONPATH": settings.path} if settings.path else {}),
        )
        try:
            self._exchange({"taskset": settings.taskset, "options": settings.options, "roles": list(settings.roles)})
        except RuntimeError as error:
            self.close()
            raise PluginError(
                f"environment verifiers: taskset {settings.taskset!r} cannot be loaded: {error}"
            ) from error

    def ask(self, what: str, **fields: Any) -> dict[str, Any]:
        """What comes of an order.

        Raises:
            RuntimeError: the task or its loop failed, or the other Python ended.
        """
        return self._exchange({"what": what, **fields})

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def _exchange(self, message: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise RuntimeError(f"it ended with status {self._process.wait()}; see above for what it said") from None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"it ended with status {self._process.wait()}; see above for what it said")
        answer: dict[str, Any] = json.loads(line)
        if "failed" in answer:
            raise RuntimeError(answer["failed"])
        return answer


def number_of(id: str) -> int:
    """The task's number in a problem's id.

    >>> number_of("gsm8k-v1-17")
    17
    """
    number = id.rpartition("-")[2]
    if not number.isdecimal():
        raise ValueError(f"the problem's id {id!r} does not end with a task's number, as in 'gsm8k-v1-17'")
    return int(number)


def message_of(fields: dict[str, Any]) -> Message:
    """A message as OpenAI's API writes it.

    Raises:
        ValueError: it holds more than text.
    """
    content = fields.get("content") or ""
    if isinstance(content, list):
        if any(part.get("type") != "text" for part in content):
            raise ValueError("a task shows more than text, which the policy cannot see")
        content = "\n".join(part["text"] for part in content)
    calls = tuple(
        ToolCall(call["function"]["name"], json.loads(call["function"]["arguments"] or "{}"), call.get("id"))
        for call in fields.get("tool_calls") or ()
    )
    return Message(
        fields["role"], content, tool_calls=calls, tool_call_id=fields.get("tool_call_id"), name=fields.get("name")
    )
