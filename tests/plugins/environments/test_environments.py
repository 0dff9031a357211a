"""The calculator, Python in the sandbox, and the game."""

from __future__ import annotations

import random
from typing import Any

import pytest

from aftertrain.core.environment import Reply
from aftertrain.core.playing import Table
from aftertrain.core.records import Message, Problem, ToolCall, Verdict
from aftertrain.plugins.environments.calculator import calculate
from aftertrain.testing.build import build

PROBLEM = Problem("p", (Message("user", "Play."),), (), "here")


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("17 * 23", "391"),
        ("0.1 + 0.2", "0.3"),
        ("1/3 + 1/6", "0.5"),
        ("-7 // 2", "-4"),
        ("7 % 3", "1"),
        ("2^10", "1024"),
        ("1,234 + 1", "1235"),
        ("2 ** 0.5", "1.41421356237"),
        ("2 ** -2", "0.25"),
        ("(3 + 4) * 2.5", "17.5"),
    ],
)
def test_sums_are_exact(expression: str, result: str) -> None:
    assert calculate(expression) == result


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("1 / 0", "division by zero"),
        ("9 ** 9 ** 9", "the result is too large"),
        ("10.0 ** 400 + 0.5", "the result is too large"),
        ("(-8) ** 0.5", "a root of a negative number is no real number"),
        ("__import__('os').getcwd()", "only numbers, "),
        ("True + 1", "only numbers, "),
        ("2 +", "not an arithmetic expression: 2 +"),
        ("1" * 1001, "the expression is over 1000 characters long"),
        ("(" * 400 + "1" + ")" * 400, "not an arithmetic expression"),
    ],
)
def test_what_is_no_sum_is_told(expression: str, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("(", r"\(").replace("+", r"\+")):
        calculate(expression)


def answer(environment: Any, reply: Reply) -> Any:
    with Table(environment) as table:
        table.reset({0: (PROBLEM, 1)})
        return table.step({0: reply})[0]


@pytest.fixture
def python() -> Any:
    environment = build("environment", "python", shown=100, seconds=1.0)
    yield environment
    environment.close()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("print(17 * 23)", "391"),
        ("x = 1", "(the program printed nothing)"),
        ("print(1)\n1 / 0", "1\nerror: ZeroDivisionError: division by zero"),
        ("print('a' * 150)", "a" * 100 + "\n… (50 characters more)"),
        ("while True: pass", "error: more than 1 s"),
        ("import socket; socket.create_connection(('1.1.1.1', 53), 1)", "error: "),
    ],
)
def test_programs_run_in_the_sandbox(python: Any, code: str, said: str) -> None:
    """A program's own failures are its answer: it is the policy that wrote it."""
    observation = answer(python, Reply("", None, (ToolCall("python", {"code": code}),)))
    assert observation.messages[0].content.startswith(said)
    assert (observation.messages[0].role, observation.messages[0].name) == ("tool", "python")


def test_a_sandbox_that_breaks_is_no_answer(python: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from aftertrain.core.sandbox.limits import Result
    from aftertrain.core.sandbox.sandbox import Sandbox

    monkeypatch.setattr(Sandbox, "run", lambda *_: Result("error", "", "", 0.0, "its process is gone"))
    verdict = answer(python, Reply("", None, (ToolCall("python", {"code": "print(1)"}),)))
    assert isinstance(verdict, Verdict)
    assert (verdict.outcome, verdict.value) == ("error", None)
    assert "the sandbox failed: its process is gone" in verdict.detail


def test_the_game_tells_higher_and_lower() -> None:
    """The number is the seed's: drawn here by the same generator."""
    number = random.Random(7).randint(1, 100)
    game = build("environment", "guess_number", reward=2.0, miss=-0.5).episode()
    (opening,) = game.reset(PROBLEM, 7)
    assert opening.content == "Play.\n\nI am thinking of a whole number from 1 to 100. Guess it."
    said = [game.step(Reply(text)) for text in (f"{number - 1}?", f"1 or {number + 1}", "no idea", f"It is {number}.")]
    assert [turn.messages[0].content if turn.messages else "" for turn in said] == [
        "Higher.",
        "Lower.",
        "Say a whole number.",
        "",
    ]
    assert [turn.reward for turn in said] == [-0.5, -0.5, -0.5, 2.0]
    assert [turn.done for turn in said] == [False, False, False, True]


def test_a_system_turn_that_is_there_is_lengthened() -> None:
    episode = build("environment", "calculator", show="prompt").episode()
    prompt = (Message("system", "Be brief."), Message("user", "2 + 2?"))
    system, user = episode.reset(Problem("p", prompt, (), "here"), 1)
    assert system.content.startswith("Be brief.\n\nYou may call these functions:\n")
    assert user == prompt[1]
