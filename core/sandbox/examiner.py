"""The process that runs the tests of a program, apart from the program.

It lives behind walls of its own. The program runs elsewhere (`candidate.py`), at the other end of a line, and in the
tests its functions are stand-ins that call over it. So a program can pass only by giving right values: it can leave
(`os._exit(0)`), patch its builtins, walk its frames or override `__eq__`, and reaches nothing that decides.

Names in the tests mean, in this order: what the preamble defines; the entry point; Python's builtins and modules; what
the program defines. When tests call nothing but builtins (MBPP 126 tests a function `sum`), these are the program's.
"""

from __future__ import annotations

import builtins
import copy
import json
import marshal
import os
import random
import resource
import signal
import socket
import types
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NoReturn

from aftertrain.core.sandbox import candidate, orders, wire
from aftertrain.core.sandbox.equality import same
from aftertrain.core.sandbox.program import read_all

CASES = 500
LARGEST_KIB = 200 * 1024
"""After so many cases, or with so much memory, the examiner makes room for a fresh one."""
LARGEST_AHEAD = 1024
"""Bytes of a call that is sent ahead: all together less than a socket holds, so that nobody waits for room."""
_NO_KEYWORDS: dict[str, Any] = {"d": []}
SHOWN = 300
"""Characters of an error that is reported."""


class ProgramError(Exception):
    """An exception of a class that the program made itself."""


def serve(control: socket.socket) -> NoReturn:
    """Take orders (descriptors: tests, line to the candidate, report) until the owner is gone.

    Ends by itself after tests that might leave something behind, and now and then.
    """
    for _ in range(CASES):
        order, descriptors = orders.receive(control)
        if order is None:
            break
        tests, line, report = descriptors
        described, codes = marshal.loads(read_all(tests))
        asked = json.loads(described)
        Examiner(line, report, order["secret"]).examine(asked, [marshal.loads(code) for code in codes])
        os.close(line)
        os.close(report)
        if not asked["tame"] or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > LARGEST_KIB:
            break
    os._exit(0)


class Examiner:
    """Runs statements one after the other, each within its time."""

    def __init__(self, line: int, report: int, secret: str) -> None:
        self.line, self.report, self.secret = line, report, secret
        self.names: frozenset[str] = frozenset()
        self.coroutines: frozenset[str] = frozenset()
        self.ahead: deque[dict[str, Any]] = deque()
        self.gone = False
        self.uncarried = ""
        self.remotes: dict[int, Remote] = {}
        self.calling: Sequence[Any] = ()

    def examine(self, tests: dict[str, Any], codes: Sequence[types.CodeType]) -> None:
        """Report whether the program could be loaded, then on each test; stop when it is gone, or where told so."""
        random.seed(0)
        space = Namespace(self, tests)
        preamble, statements = codes[: tests["preamble"]], codes[tests["preamble"] :]
        attempts: list[Callable[[], None]] = [lambda: self._load(space, preamble, tests["first"])]
        attempts += [partial(exec, statement, space) for statement in statements]
        attempts += [partial(self._compare, tests["entry"], arguments, wanted) for arguments, *wanted in tests["calls"]]
        for number, attempt in enumerate(attempts):
            alarm(tests["timeout"])
            if not self._attempt(attempt) and (tests["stop"] or not number or self.gone):
                break
        alarm(0)
        self._tell({"end": True})

    def ask(self, **request: Any) -> Any:
        """Have the candidate do something; its answer.

        Raises:
            wire.Gone: the candidate has ended.
            Exception: what the candidate raised, as far as it is a builtin class.
        """
        arguments = request.pop("arguments", [])
        changed = request.pop("changed", arguments)
        may_end = request.pop("ends", False) or request["do"] == "next"
        request["arguments"] = [self.encode(argument) for argument in arguments]
        answer = self._answer(request)
        if not isinstance(answer, dict):
            raise wire.Gone
        if "uncarried" in answer:
            raise self.cannot_carry(f"the program gave {answer['uncarried']!s}"[:SHOWN])
        if "error" in answer:
            raise _raised(answer["error"], may_end)
        try:
            for argument, now in zip(changed, answer.get("after", ()), strict=False):
                _update(argument, now, self.remote)
            self.calling = arguments
            return wire.decode(answer.get("value"), self.remote)
        except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
            raise wire.Gone from error

    def encode(self, value: Any) -> Any:
        """Plain data for the program.

        Raises:
            wire.Uncarried: it cannot be handed over.
        """
        try:
            return wire.encode(value, _own)
        except (TypeError, RecursionError) as error:
            raise self.cannot_carry(str(error)) from error

    def cannot_carry(self, what: str) -> wire.Uncarried:
        """Note that a value could not cross, whatever the test makes of it."""
        self.uncarried = f"between program and tests cannot be carried: {what}"
        return wire.Uncarried(self.uncarried)

    def _ask_ahead(self, calls: Sequence[tuple[str, Any]]) -> None:
        """Send the calls that the tests begin with, so that the candidate need not wait for us between them."""
        for name, arguments in calls:
            request = {"do": "call", "name": name, "keywords": _NO_KEYWORDS, "arguments": arguments}
            if len(json.dumps(request)) > LARGEST_AHEAD:
                return
            try:
                wire.send(self.line, request)
            except wire.Gone:
                return  # it could not be loaded; its last words are still to be read
            self.ahead.append(request)

    def _answer(self, request: dict[str, Any]) -> Any:
        """The candidate's answer, already under way if this is the next of the calls that were sent ahead."""
        while self.ahead:
            sent = self.ahead.popleft()
            answer = wire.receive(self.line)
            if sent == request:
                return answer
            # An earlier test ended before its last call: what was asked for it is passed over.
        wire.send(self.line, request)
        return wire.receive(self.line)

    def remote(self, reference: Any) -> Any:
        """The stand-in for an object that the candidate keeps."""
        number, kind, called, coroutine = reference
        if coroutine is True:
            return self.awaited("start", int(number), self.calling)
        if number not in self.remotes:
            stand_in = RemoteFunction if called is True else Remote
            self.remotes[number] = stand_in(self, {"on": int(number)}, str(kind)[:100])
        return self.remotes[number]

    def function(self, name: str) -> Any:
        """The stand-in for a function of the program: an async function for one, as tests may ask what it is."""
        remote = RemoteFunction(self, {"name": name}, name)
        if name not in self.coroutines:
            return remote

        async def call(*arguments: Any, **keywords: Any) -> Any:
            return await remote(*arguments, **keywords)

        return call

    async def awaited(self, do: str, number: int, changed: Sequence[Any] = ()) -> Any:
        """A coroutine of the tests that has the candidate run one of the program's; it ends when that one does.

        Args:
            do: `start` to run the object `number`, `anext` for its next item.
            changed: arguments that it was called with, which it may change.
        """
        import asyncio

        task = self.ask(do=do, on=number)
        try:
            while self.ask(do="advance", on=_own(task)) is not True:
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.ask(do="cancel", on=_own(task))
            raise
        return self.ask(do="result", on=_own(task), ends=do == "anext", changed=changed)

    def _load(self, space: Namespace, preamble: Sequence[types.CodeType], first: Sequence[tuple[str, Any]]) -> None:
        self._ask_ahead(first)
        answer = wire.receive(self.line)
        if "error" in answer:
            raise _raised(answer["error"], False)
        self.names = frozenset(map(str, answer["names"]))
        self.coroutines = frozenset(map(str, answer.get("coroutines", ())))
        for source in preamble:
            exec(source, space)

    def _attempt(self, test: Callable[[], None]) -> bool:
        error = ""
        try:
            test()
        except wire.Gone:
            error, self.gone = "the program's process ended", True
        except BaseException as raised:  # noqa: BLE001 (whatever a test raises, it has not passed)
            error = ": ".join(filter(None, candidate.describe(raised)[:2]))
            if "catching classes that do not inherit from BaseException" in error:
                self.cannot_carry("a class of exceptions of the program's own, which a test catches")
        alarm(0)
        unknown, self.uncarried = self.uncarried, ""
        error = unknown or error
        self._tell({"passed": not error, "error": error[:SHOWN], "gone": self.gone, "unknown": bool(unknown)})
        return not error

    def _compare(self, name: str, arguments: list[Any], accepted: Sequence[Any]) -> None:
        if name in self.names or "Solution" not in self.names:
            value = self.ask(do="call", name=name, arguments=copy.deepcopy(arguments), keywords=_NO_KEYWORDS)
        else:
            solution = self.ask(do="call", name="Solution", keywords=_NO_KEYWORDS)
            value = getattr(solution, name)(*copy.deepcopy(arguments))
        if isinstance(value, types.CoroutineType):
            import asyncio

            value = asyncio.run(value)
        if not any(same(value, expected) for expected in accepted):
            raise AssertionError(f"{name} gives {value!r}"[:SHOWN] + f", expected {accepted[0]!r}"[:SHOWN])

    def _tell(self, line: dict[str, Any]) -> None:
        os.write(self.report, json.dumps({**line, "secret": self.secret}).encode() + b"\n")


class Namespace(dict[str, Any]):
    """The names of the tests."""

    def __init__(self, examiner: Examiner, tests: dict[str, Any]) -> None:
        super().__init__(__name__="tests")
        self.examiner = examiner
        self.modules, self.theirs = frozenset(tests["modules"]), frozenset(tests["theirs"])

    def __missing__(self, name: str) -> Any:
        known = name in self.examiner.names
        if name in self.theirs and known:
            value: Any = self.examiner.function(name)
        elif hasattr(builtins, name):
            raise KeyError(name)
        elif name in self.modules:
            value = __import__(name)
        elif known and name in self.examiner.coroutines:
            value = self.examiner.function(name)
        elif known:
            value = self.examiner.ask(do="value", name=name)
        else:
            raise KeyError(name)
        self[name] = value
        return value


class Remote:
    """Stands for an object of the program. It equals nothing but itself."""

    def __init__(self, examiner: Examiner, target: dict[str, Any], kind: str) -> None:
        self.__dict__.update(_examiner=examiner, _target=target, _kind=kind)

    def _ask(self, do: str, *arguments: Any, **more: Any) -> Any:
        return self._examiner.ask(do=do, arguments=list(arguments), **self._target, **more)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._ask("get", name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._ask("set", name, value)

    def __getitem__(self, key: Any) -> Any:
        return self._ask("item", key)

    def __len__(self) -> int:
        return int(self._ask("length"))

    def __bool__(self) -> bool:
        return True

    def __contains__(self, value: Any) -> bool:
        return self._ask("has", value) is True

    def __iter__(self) -> Iterator[Any]:
        return self._ask("iterate")  # type: ignore[no-any-return]

    def __next__(self) -> Any:
        return self._ask("next")

    def __await__(self) -> Any:
        return self._examiner.awaited("start", _own(self)).__await__()

    def __aiter__(self) -> Any:
        return self

    def __anext__(self) -> Any:
        return self._examiner.awaited("anext", _own(self))

    def _beyond(self, *_: Any) -> Any:
        raise self._examiner.cannot_carry(f"a {self._kind}, which a test enters with 'with'")

    __enter__ = __exit__ = __aenter__ = __aexit__ = _beyond

    def __str__(self) -> str:
        return str(self._ask("text"))

    def __repr__(self) -> str:
        return f"<{self._kind} of the program>"


class RemoteFunction(Remote):
    """Stands for a function or class of the program."""

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self._ask("call", *arguments, keywords=self._examiner.encode(keywords))


def alarm(seconds: float) -> None:
    """End this process after that time, whatever it does; 0 calls it off."""
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _own(value: Any) -> Any:
    if isinstance(value, Remote) and "on" in value._target:
        return value._target["on"]
    raise TypeError(f"a {type(value).__name__} that a test hands to the program")


def _raised(error: Any, by_next: bool) -> BaseException:
    """The exception that the candidate reports, of its class or the nearest builtin one; never one that ends this
    process, looks like the candidate's end, or, but for `next`, ends a loop of the tests.
    """
    name, text, *bases = (str(part) for part in error)
    for base in bases:
        kind = getattr(builtins, base, None)
        if not (isinstance(kind, type) and issubclass(kind, Exception)) or kind is Exception:
            continue
        if issubclass(kind, StopIteration | StopAsyncIteration) and not by_next:
            break
        if not issubclass(kind, UnicodeError) or kind is UnicodeError:
            return kind(text)
    return ProgramError(f"{name}: {text}")


def _update(argument: Any, now: Any, remote: Callable[[Any], Any]) -> None:
    """Do to an argument what the call did to the candidate's copy of it."""
    if now is None:
        return
    value = wire.decode(now, remote)
    if type(value) is not type(argument):
        return
    if isinstance(argument, list | bytearray):
        argument[:] = value
    elif isinstance(argument, dict | set):
        argument.clear()
        argument.update(value)
