"""The process that runs episodes: reads orders, writes one line of JSON for each.

Started by path, so that nothing of the parent's main module is imported. The first message is the parent's import path.
What comes in is pickled by the parent; what goes out is JSON, so that an environment gone wrong cannot make its parent
run anything.
"""

from __future__ import annotations

import ctypes
import json
import os
import pickle
import signal
import struct
import sys
from dataclasses import asdict
from typing import IO, Any

LENGTH = struct.Struct("!Q")
DEATH_SIGNAL = 1
"""`PR_SET_PDEATHSIG` of prctl(2)."""


def main() -> None:
    """Serve until the pipe closes. Arguments: descriptors of inbox and outbox, and the parent's process id."""
    inbox, outbox, parent = map(int, sys.argv[1:])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with os.fdopen(inbox, "rb") as orders, os.fdopen(outbox, "wb") as answers:
        sys.path[:] = _next(orders)
        pickled, files = _next(orders)
        try:
            player = load(pickled, files)
        except BaseException as error:  # noqa: BLE001 - whatever a stranger's module raises is told to the parent
            _send(answers, {"failed": f"{type(error).__name__}: {error}"})
            return
        _send(answers, {})
        while (order := _next(orders)) is not None:
            what, key, arguments = order
            _send(answers, told(getattr(player, what)(key, *arguments)))


def load(pickled: bytes, files: dict[str, str]) -> Any:
    """The environment, ready to make episodes."""
    from aftertrain.core.playing.here import Here
    from aftertrain.core.verification.worker import Files

    sys.meta_path.append(Files(files))
    environment = pickle.loads(pickled)
    environment.warm_up()
    return Here(environment)


def told(answer: Any) -> dict[str, Any]:
    """An answer as plain data."""
    from aftertrain.core.environment import Observation
    from aftertrain.core.records import Verdict

    if answer is None:
        return {}
    if isinstance(answer, float):
        return {"earned": answer}
    if isinstance(answer, Verdict):
        return {"verdict": answer.outcome, "detail": answer.detail}
    if isinstance(answer, Observation):
        return {**told(answer.messages), "reward": answer.reward, "done": answer.done}
    return {"messages": [asdict(message) for message in answer]}


def _next(stream: IO[bytes]) -> Any:
    head = stream.read(LENGTH.size)
    return pickle.loads(stream.read(LENGTH.unpack(head)[0])) if len(head) == LENGTH.size else None


def _send(stream: IO[bytes], message: dict[str, Any]) -> None:
    stream.write(json.dumps(message).encode() + b"\n")
    stream.flush()


if __name__ == "__main__":
    main()
