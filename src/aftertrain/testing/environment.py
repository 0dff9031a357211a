"""What an environment promises: problem, seed and replies decide; any reply is taken, in time; tools are schemas."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from aftertrain.core.environment import Environment, Observation, Reply
from aftertrain.core.playing import Table
from aftertrain.core.records import Check, Message, Problem, ToolCall, Verdict
from aftertrain.core.text.tool_calls import calls_in
from aftertrain.testing.promise import Subject, require
from aftertrain.testing.verifier import HOSTILE

PROBLEM = Problem("0", (Message("user", "What is 17 * 23?"),), (Check("exact", "391"),), "kit")
SEEDS = (1, 2)


def an_opening_is_a_prompt(subject: Subject) -> None:
    """`reset` gives messages that a reply can go on with, the same for the same problem and seed."""
    with _table(subject) as table:
        opened = table.reset({0: (PROBLEM, 1), 1: (PROBLEM, 1)})
        for opening in opened.values():
            _held(opening)
        require(opened[0] == opened[1], "the same problem and seed open with other messages")


def the_replies_decide(subject: Subject) -> None:
    """The same problem, seed and replies come to the same answers and rewards, whatever else is played between."""
    replies = _replies(subject.component())
    alone = [_played(subject, [seed], replies)[0] for seed in SEEDS]
    between = _played(subject, SEEDS, replies)
    again = _played(subject, SEEDS[::-1], replies)[::-1]
    require(alone == between, f"two episodes at a time are answered otherwise than one: {between}, alone {alone}")
    require(again == between, f"in another order of the tickets, answers differ: {again}, {between}")


def any_reply_is_answered(subject: Subject) -> None:
    """Whatever a policy says, a step answers it or ends the episode, in time, and what it earns is finite."""
    said = [
        *HOSTILE,
        *(f"<tool_call>{text}</tool_call>" for text in HOSTILE[:20]),
        *(
            f'<tool_call>{{"name": "{tool["function"]["name"]}", "arguments": {json.dumps(arguments)}}}</tool_call>'
            for tool in subject.component().tools
            for arguments in _arguments(tool)
        ),
    ]
    with _table(subject) as table:
        for number, text in enumerate(said):
            _held(table.reset({number: (PROBLEM, 1)})[number])
            found = calls_in(text)
            answer = table.step({number: Reply(text, None, found.calls, found.faults)})[number]
            require(not isinstance(answer, Verdict), f"the reply {text!r:.80} gives {answer}")
            earned = table.finish([number])[number]
            require(not isinstance(earned, Verdict), f"after the reply {text!r:.80}, finish gives {earned}")


def answers_have_the_role_that_it_names(subject: Subject) -> None:
    """Turns that answer are said by `answers`, so that chat templates are tried on what will come."""
    environment: Environment[Any] = subject.component()
    for answers in _played(subject, SEEDS, _replies(environment)):
        for answer in answers:
            roles = {message.role for message in answer.messages} if isinstance(answer, Observation) else set()
            require(
                roles <= {environment.answers}, f"turns of the roles {sorted(roles)}, it names {environment.answers}"
            )


def tools_are_schemas(subject: Subject) -> None:
    """Each tool has a name of its own, a description, and parameters as a JSON schema."""
    tools = subject.component().tools
    for tool in tools:
        function = json.loads(json.dumps(tool)).get("function", {})
        require(tool.get("type") == "function" and function.get("name"), f"no schema of a function: {tool!r:.200}")
        require(function.get("description"), f"tool {function['name']!r} has no description")
        require(
            function.get("parameters", {}).get("type") == "object",
            f"tool {function['name']!r}: no object of parameters",
        )
    names = [tool["function"]["name"] for tool in tools]
    require(len(set(names)) == len(names), f"two tools have one name: {names}")


def _table(subject: Subject) -> Table:
    return Table(subject.component())


def _held(opening: object) -> None:
    require(not isinstance(opening, Verdict), f"an episode cannot be begun: {opening}")


def _played(subject: Subject, seeds: Sequence[int], replies: Sequence[Reply]) -> list[list[object]]:
    """All answers, and what was earned as a whole, by seed; the episodes take their turns together."""
    answers: list[list[object]] = [[] for _ in seeds]
    with _table(subject) as table:
        for number, opening in table.reset({i: (PROBLEM, seed) for i, seed in enumerate(seeds)}).items():
            _held(opening)
            answers[number].append(opening)
        going = set(range(len(seeds)))
        for reply in replies:
            for number, answer in table.step(dict.fromkeys(sorted(going), reply)).items():
                require(not isinstance(answer, Verdict), f"the reply {reply.text!r:.80} gives {answer}")
                answers[number].append(answer)
                if isinstance(answer, Observation) and answer.done:
                    going.discard(number)
        for number, earned in table.finish(range(len(seeds))).items():
            answers[number].append(earned)
    return answers


def _replies(environment: Environment[Any]) -> list[Reply]:
    """A few, calls of each tool among them."""
    calls = [
        Reply("", None, (ToolCall(tool["function"]["name"], arguments),))
        for tool in environment.tools
        for arguments in _arguments(tool)
    ]
    return [*calls[:3], Reply("50"), Reply("no idea"), Reply("75")][: environment.max_turns]


def _arguments(tool: Any) -> list[dict[str, Any]]:
    """Arguments that fit the schema's types, and none."""
    values = {"string": "2 + 3", "integer": 2, "number": 2.5, "boolean": True, "array": [], "object": {}}
    properties = tool["function"].get("parameters", {}).get("properties", {})
    return [{name: values.get(fields.get("type"), "2") for name, fields in properties.items()}, {}]
