"""The process that calls a reward function of TRL's form. Started by its path: nothing of the parent's is imported.

What comes in is pickled by the parent, the first message its import path and where the function is; what goes out is
JSON, so that a function gone wrong cannot make the parent run anything. What it prints goes to standard error. Standard
library only.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import importlib.util
import inspect
import json
import math
import os
import pickle
import signal
import struct
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

LENGTH = struct.Struct("!Q")
DEATH_SIGNAL = 1
"""`PR_SET_PDEATHSIG` of prctl(2)."""
GIVEN = ("prompts", "completions", "completion_ids", "log_extra", "log_metric")
"""What a function is given beside the columns of its rows."""


def main() -> None:
    """Load the function, then answer calls until the pipe closes."""
    inbox, outbox = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    sys.path[:], source, name, arguments = receive(inbox)
    try:
        function = load(source, name, arguments)
        names, takes_any = parameters(function)
    except BaseException as error:  # noqa: BLE001 - whatever a stranger's module raises is told to the parent
        send(outbox, {"failed": told(error)})
        return
    send(outbox, {"parameters": names, "any": takes_any})
    while (columns := receive(inbox)) is not None:
        try:
            answer: dict[str, Any] = {
                "rewards": [number(reward) for reward in called(function, columns, names, takes_any)]
            }
        except BaseException as error:  # noqa: BLE001 - likewise
            answer = {"failed": told(error)}
        send(outbox, answer)


def load(source: str, name: str, arguments: dict[str, Any] | None) -> Callable[..., Any]:
    """The function `name` of a file or a module; with arguments what it returns when called with them."""
    if source.endswith(".py"):
        spec = importlib.util.spec_from_file_location(f"aftertrain_function_{Path(source).stem}", source)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    else:
        module = importlib.import_module(source)
    function = getattr(module, name)
    function = function if arguments is None else function(**arguments)
    if not callable(function):
        raise TypeError(f"{name} is {type(function).__name__}, which cannot be called")
    return function  # type: ignore[no-any-return]


def parameters(function: Callable[..., Any]) -> tuple[dict[str, bool], bool]:
    """The function's parameters, each with whether it must be given, and whether it takes any others too."""
    names, takes_any = {}, False
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            takes_any = True
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            names[name] = parameter.default is parameter.empty
    return names, takes_any


def called(function: Callable[..., Any], columns: dict[str, Any], names: dict[str, bool], takes_any: bool) -> list[Any]:
    """What the function returns for the columns that it takes: one reward per completion."""
    count = len(columns["completions"])
    given = {**columns, "log_extra": ignore, "log_metric": ignore}
    rewards = function(**{name: value for name, value in given.items() if takes_any or name in names})
    if inspect.isawaitable(rewards):
        rewards = asyncio.run(awaited(rewards))
    rewards = list(rewards)
    if len(rewards) != count:
        raise ValueError(f"it returned {len(rewards)} rewards for {count} completions")
    return rewards


async def awaited(rewards: Any) -> Any:
    """What an asynchronous function gives."""
    return await rewards


def ignore(*_: Any, **__: Any) -> None:
    """In place of TRL's `log_extra` and `log_metric`: a verifier's word is its verdict."""


def number(reward: Any) -> Any:
    """A reward as JSON: a finite number, None, or in a list why it is neither.

    >>> number(True), number(None), number("1"), number(float("nan"))
    (1.0, None, ["it returned '1', which is no number"], ['it returned nan'])
    """
    if reward is None:
        return None
    try:
        if isinstance(reward, str | bytes):
            raise TypeError
        value = float(reward)
    except (TypeError, ValueError, RuntimeError):
        return [f"it returned {reward!r:.80}, which is no number"]
    return value if math.isfinite(value) else [f"it returned {value}"]


def told(error: BaseException) -> str:
    """What was raised, and the line of the function's that raised it."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
    place = (
        f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames and frames[-1].filename != __file__ else ""
    )
    return f"{type(error).__name__}: {error}"[:2000] + place


def receive(inbox: BinaryIO) -> Any:
    """The next message, None at the end."""
    header = inbox.read(LENGTH.size)
    return pickle.loads(inbox.read(*LENGTH.unpack(header))) if len(header) == LENGTH.size else None


def send(outbox: BinaryIO, message: dict[str, Any]) -> None:
    """Write a message whole."""
    body = json.dumps(message).encode()
    outbox.write(LENGTH.pack(len(body)) + body)
    outbox.flush()


if __name__ == "__main__":
    main()
