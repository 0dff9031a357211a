"""One game in the three ways that people write games: what comes of a rollout is the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.environment import Observation, Reply
from aftertrain.core.errors import PluginError
from aftertrain.core.playing import Table
from aftertrain.core.records import Check, Message, Problem, ToolCall, Verdict
from aftertrain.core.text.tool_calls import schema_of
from aftertrain.plugins.environments.trl import tools_of
from aftertrain.registry.builder import ComponentBuilder
from aftertrain.registry.discovery import installed
from aftertrain.registry.resolve import SettingsResolver
from aftertrain.testing.build import build

OURS = """
from aftertrain.core.environment import Environment, Episode, Observation, TurnSettings
from aftertrain.core.records import Message


class Settings(TurnSettings):
    rewards_turns = True


class Sums(Environment[Settings]):
    Config = Settings

    def episode(self):
        return Sum()


class Sum(Episode):
    def reset(self, problem, seed):
        self.reward = 0.0
        return problem.prompt

    def step(self, reply):
        self.reward = float("3" in reply.text)
        return Observation(done=True)

    def finish(self):
        return self.reward
"""
TRL = '''
class Sums:
    """In the shape of TRL's own examples: `reset`, tools, `reward`."""

    def reset(self, **columns) -> str | None:
        self.answer, self.reward, self.said = columns["answer"], 0.0, []
        return None

    def say(self, words: str) -> str:
        """
        Says something.

        Args:
            words: What is said.

        Returns:
            What was said so far.
        """
        if words == "boom":
            raise RuntimeError("Game over.")
        if words == "down":
            raise ConnectionError("the server is down")
        if words == "hang":
            import time

            time.sleep(600)
        self.said.append(words)
        self.reward = float(self.answer in words)
        return ", ".join(self.said)

    def get_reward(self) -> float:
        return self.reward
'''
VERIFIERS = """
import verifiers.v1 as vf


class Data(vf.TaskData):
    answer: str


class SumTask(vf.Task[Data]):
    @vf.reward
    async def right(self, trace) -> float:
        return float(self.data.answer in trace.last_reply)


class SumTaskset(vf.Taskset[SumTask]):
    def load(self):
        for i in range(4):
            yield SumTask(Data(prompt=f"What is {i} + 2?", answer=str(i + 2)))


__all__ = ["SumTaskset"]
"""
PROMPT = (Message("user", "What is 1 + 2?"),)
PROBLEM = Problem("sums-v1-1", PROMPT, (Check("exact", "3"),), "sums")


def ours(folder: Path) -> Any:
    (folder / "ours.py").write_text(OURS)
    use = SettingsResolver(installed(), folder).resolve("environment", {"use": "./ours.py:Sums"})
    return ComponentBuilder(installed(), folder).build(use), Reply


def trl(folder: Path) -> Any:
    (folder / "theirs.py").write_text(TRL)
    made = build("environment", "trl", factory=f"{folder}/theirs.py:Sums", timeout=5.0)
    return made, lambda text: Reply("", None, (ToolCall("say", {"words": text}),))


def verifiers(folder: Path) -> Any:
    python = os.environ.get("AFTERTRAIN_VERIFIERS")
    if not python:
        pytest.skip("AFTERTRAIN_VERIFIERS is not set: it names a Python with the package verifiers")
    (folder / "sums_v1.py").write_text(VERIFIERS)
    made = build("environment", "verifiers", taskset="sums-v1", python=python, path=str(folder), timeout=120.0)
    return made, Reply


@pytest.mark.parametrize("convention", [ours, trl, pytest.param(verifiers, marks=pytest.mark.slow)])
def test_a_game_is_the_same_however_it_is_written(convention: Callable[[Path], Any], tmp_path: Path) -> None:
    """Opening, what a right and a wrong reply earn, and the same again whatever is played between."""
    environment, say = convention(tmp_path)
    environment.preflight()

    def played(said: Sequence[str]) -> list[Any]:
        with Table(environment) as table:
            opened = table.reset(dict.fromkeys(range(len(said)), (PROBLEM, 7)))
            answers = table.step({i: say(text) for i, text in enumerate(said)})
            earned = table.finish(range(len(said)))
        assert all(opening == PROMPT for opening in opened.values())
        assert all(isinstance(answer, Observation) for answer in answers.values())
        return [earned[i] for i in range(len(said))]

    assert played(["It is 3.", "It is 4."]) == [1.0, 0.0]
    assert played(["It is 4.", "It is 3.", "It is 3."]) == [0.0, 1.0, 1.0]


def test_a_class_of_trls_is_found_as_trl_finds_it(tmp_path: Path) -> None:
    """The same tools as TRL's own discovery and transformers' schemas give."""
    pytest.importorskip("trl")
    import inspect

    from transformers.utils import get_json_schema

    environment, _ = trl(tmp_path)
    made = environment.made()
    found = [
        getattr(made, name)
        for name, _ in inspect.getmembers(type(made), predicate=inspect.isfunction)
        if name not in ("reset", "get_reward") and not name.startswith("_")
    ]
    assert tools_of(made) == found
    assert [*environment.tools] == [get_json_schema(tool) for tool in found] == [schema_of(made.say)]


def test_trls_tools_answer_in_turns_and_their_errors_are_answers(tmp_path: Path) -> None:
    environment, say = trl(tmp_path)
    with Table(environment) as table:
        table.reset(dict.fromkeys(range(3), (PROBLEM, 1)))
        first = table.step({0: say("boom"), 1: say("down"), 2: say("1")})
        assert first[0].messages == (Message("tool", "{'error': 'Game over.'}", name="say"),)
        assert isinstance(first[1], Verdict)
        assert first[1].outcome == "error"
        assert "the server is down" in first[1].detail
        assert table.step({2: say("2")})[2].messages[0].content == "1, 2"
        assert table.step({2: Reply("Done.")})[2].done


def test_a_tool_of_trls_that_hangs_is_a_timeout(tmp_path: Path) -> None:
    """Its process is ended; the other episode goes on where it was."""
    (tmp_path / "theirs.py").write_text(TRL)
    environment = build("environment", "trl", factory=f"{tmp_path}/theirs.py:Sums", timeout=2.0)
    say = {text: Reply("", None, (ToolCall("say", {"words": text}),)) for text in ("hang", "1", "2")}
    with Table(environment) as table:
        table.reset(dict.fromkeys(range(2), (PROBLEM, 1)))
        table.step({1: say["1"]})
        answers = table.step({0: say["hang"], 1: say["2"]})
        assert isinstance(answers[0], Verdict)
        assert answers[0].outcome == "timeout"
        assert answers[1].messages[0].content == "1, 2"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("nowhere:Sums", "nowhere cannot be imported"),
        ("missing.py:Sums", "missing.py cannot be imported: FileNotFoundError: no such file"),
        ("json:Sums", "json: no factory named 'Sums'"),
        ("json:JSONDecoder", "an environment of TRL's has a method reset; this one has none"),
    ],
)
def test_what_is_no_environment_of_trls_is_told(factory: str, said: str) -> None:
    with pytest.raises(PluginError, match=said):
        build("environment", "trl", factory=factory).preflight()


def test_a_python_that_is_not_there_is_told() -> None:
    with pytest.raises(PluginError, match="no Python at /nowhere/python; make one with 'python -m venv FOLDER'"):
        build("environment", "verifiers", taskset="sums-v1", python="/nowhere/python").preflight()


@pytest.mark.slow
def test_the_tasks_of_verifiers_are_problems(tmp_path: Path) -> None:
    verifiers(tmp_path)
    python = os.environ["AFTERTRAIN_VERIFIERS"]
    data = build("dataset", "verifiers", taskset="sums-v1", python=python, path=str(tmp_path), tasks=3)
    problems = list(data)
    assert [problem.id for problem in problems] == ["sums-v1-0", "sums-v1-1", "sums-v1-2"]
    assert problems[1].prompt == PROMPT
    assert len(data.fingerprint()) == 64
