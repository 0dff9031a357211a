"""The process that holds a program under test: loads it, then answers calls of its functions.

Everything here may be changed by the program, which runs in the same interpreter. That is allowed for: the examiner
believes nothing but the values that come back.
"""

from __future__ import annotations

import operator
import os
import random
import sys
import types
from collections.abc import Callable
from typing import Any, NoReturn

from aftertrain.core.sandbox import wire
from aftertrain.core.sandbox.program import NAME, give_exits, read_all

SHOWN = 500
"""Characters of an error's text that are sent."""
SLICE = 0.02
"""Seconds for which what is awaited runs before the tests have their turn."""
MODULE = "candidate"
CO_COROUTINE = 0x80
"""Flag of the code of an async function (`inspect.CO_COROUTINE`, whose module takes long to import)."""
_ASKED: dict[str, Callable[..., Any]] = {
    "value": lambda target: target,
    "get": getattr,
    "set": setattr,
    "item": operator.getitem,
    "length": len,
    # An iterator that is kept here, whatever it is, and goes on after an exception as a generator would not.
    "iterate": lambda target: map(lambda item: item, target),  # noqa: C417
    "next": next,
    "text": str,
    "has": operator.contains,
    "result": lambda task: task.result(),
    "cancel": lambda task: task.cancel(),
}
"""What is done with an object that the tests ask about, and the arguments that they give."""


def run(program: int, line: int) -> NoReturn:
    """Load the source in `program` and answer over `line` until the other side ends."""
    source = read_all(program).decode("utf-8", "surrogatepass")
    module = types.ModuleType(MODULE)
    sys.modules[MODULE] = module
    random.seed(0)
    give_exits()
    try:
        exec(compile(source, NAME, "exec", dont_inherit=True), module.__dict__)
    except BaseException as error:  # noqa: BLE001 (whatever it is, the program cannot be tested)
        # One that ends well has defined what it had to.
        if not isinstance(error, SystemExit) or error.code not in (None, 0):
            wire.send(line, {"error": describe(error)})
            os._exit(1)
    named = {name: value for name, value in module.__dict__.items() if isinstance(name, str)}
    wire.send(line, {"names": list(named), "coroutines": [name for name in named if _is_coroutine(named[name])]})
    desk = Desk(module)
    while True:
        answer = desk.answer(wire.receive(line))
        try:
            wire.send(line, answer)
        except ValueError as error:
            wire.send(line, {"uncarried": str(error)})


def describe(error: BaseException) -> list[str]:
    """An exception's class, its text, and the builtin classes that it is, the nearest first."""
    try:
        text = str(error)[:SHOWN]
    except BaseException:  # noqa: BLE001 (a program's own exception may fail here as well)
        text = "?"
    bases = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins"]
    return [type(error).__name__[:100], text, *bases]


def _is_coroutine(value: Any) -> bool:
    return type(value) is types.FunctionType and bool(value.__code__.co_flags & CO_COROUTINE)


class Desk:
    """Answers requests. Objects that cannot be sent are kept and numbered."""

    def __init__(self, module: types.ModuleType) -> None:
        self.module = module
        self.kept: list[Any] = []
        self.numbers: dict[int, int] = {}
        self.loop: Any = None
        self.given: dict[int, tuple[list[Any], list[Any]]] = {}

    def keep(self, value: Any) -> Any:
        """A number for an object that stays here, always the same, with its class for people to read."""
        number = self.numbers.setdefault(id(value), len(self.kept))
        if number == len(self.kept):
            self.kept.append(value)
        return [number, type(value).__name__[:100], callable(value), type(value) is types.CoroutineType]

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The value, with what the call did to its arguments, or the error."""
        try:
            arguments = wire.decode(request.get("arguments", []), self.kept.__getitem__)
            result = self._do(request, arguments)
        except BaseException as error:  # noqa: BLE001 (handed on to the tests)
            return {"error": describe(error)}
        try:
            value = wire.encode(result, self.keep)
            pairs = zip(*self._changing(request, arguments, result), strict=True)
            after = [self._again(argument, encoded) for argument, encoded in pairs]
            return {"value": value, **({"after": after} if any(item is not None for item in after) else {})}
        except RecursionError:
            return {"uncarried": "a result or argument that holds itself or is nested too deeply"}
        except BaseException as error:  # noqa: BLE001 (handed on to the tests)
            return {"error": describe(error)}

    def _changing(self, request: dict[str, Any], arguments: list[Any], result: Any) -> tuple[list[Any], list[Any]]:
        """The arguments that the request may have changed, and how they were given: of a coroutine's call, those are
        known when the coroutine has ended."""
        if request["do"] == "call" and type(result) is types.CoroutineType:
            self.given[id(result)] = (arguments, request["arguments"])
        if request["do"] == "start":
            self.given[id(result)] = self.given.pop(id(self.kept[request["on"]]), ([], []))
        if request["do"] == "result":
            return self.given.pop(id(self.kept[request["on"]]), ([], []))
        return arguments, request["arguments"]

    def _do(self, request: dict[str, Any], arguments: list[Any]) -> Any:
        target = self.kept[request["on"]] if "on" in request else getattr(self.module, request["name"])
        match request["do"]:
            case "call":
                return target(*arguments, **wire.decode(request["keywords"], self.kept.__getitem__))
            case "start":
                return self._start(target)
            case "anext":
                return self._start(target.__anext__())
            case "advance":
                return self._advance(target)
        return _ASKED[request["do"]](target, *arguments)

    def _start(self, awaitable: Any) -> Any:
        """A task of the loop in which everything that tests await runs."""
        import asyncio

        async def wait() -> Any:
            return await awaitable

        if self.loop is None:
            self.loop = asyncio.new_event_loop()
        return self.loop.create_task(wait())

    def _advance(self, task: Any) -> bool:
        """Let all tasks run for a moment; whether this one is done."""
        import asyncio

        if not task.done():
            self.loop.run_until_complete(asyncio.wait([task], timeout=SLICE))
        return bool(task.done())

    def _again(self, argument: Any, encoded: Any) -> Any:
        """The argument's encoding when the call has changed it, else None."""
        if not isinstance(argument, list | dict | set | bytearray):
            return None
        now = wire.encode(argument, lambda value: self.numbers.get(id(value), -1))
        return None if now == encoded else wire.encode(argument, self.keep)
