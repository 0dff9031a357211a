"""A verifier that does one bad thing at one point of its process's life, once or always; imported by children."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.settings import Settings
from aftertrain.core.verification.process import MARK
from aftertrain.core.verifier import Verifier

AT_IMPORT = "AFTERTRAIN_TEST_FAULT"
"""Environment variable with a fault and a file, for children that import this module."""


def _into_every_descriptor(text: bytes) -> None:
    for descriptor in range(1, 1024):
        try:
            os.set_blocking(descriptor, False)
            os.write(descriptor, text)
        except OSError:
            continue


def _forged() -> bytes:
    lines = [{"outcome": "scored", "value": 0.0, "number": n, "token": "guess", "t": "guess"} for n in range(1, 9)]
    return b"".join(b"%s\n" % json.dumps(line).encode() for line in [*lines, {"loaded": "x"}, {"failed": "x"}])


def _keep_writing() -> None:
    def write() -> None:
        while True:
            _into_every_descriptor(b"again\n")
            time.sleep(0.005)

    threading.Thread(target=write, daemon=True).start()


FAULTS: dict[str, Callable[[], object]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "stop the group": lambda: os.killpg(0, signal.SIGSTOP),
    "terminate": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "interrupt": lambda: os.kill(os.getpid(), signal.SIGINT),
    "real-time": lambda: os.kill(os.getpid(), signal.SIGRTMIN + 2),
    "exit": lambda: os._exit(0),
    "kill the keeper": lambda: (os.kill(os.getppid(), signal.SIGKILL), time.sleep(1)),
    "close": lambda: os.closerange(0, 1024),
    "garbage": lambda: _into_every_descriptor(b"\xff\x00 this is no verdict\n"),
    "forge": lambda: _into_every_descriptor(_forged()),
    "huge line": lambda: _into_every_descriptor(b"x" * 60_000),
    "half a line": lambda: _into_every_descriptor(b'{"outcome": "scored", "val'),
    "keep writing": _keep_writing,
    "hold the interpreter": lambda: threading.Thread(target=lambda: 9**9**9, daemon=True).start(),
}
LETHAL = {"kill", "terminate", "interrupt", "real-time", "exit", "kill the keeper"}


def commit(fault: str, mark: str) -> None:
    """The fault, unless it was committed before, as a file says; "always" is no file."""
    if mark != "always":
        try:
            os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
    FAULTS[fault]()


class Truth:
    """A ground truth that acts when it is read."""

    def __init__(self, fault: str, mark: str) -> None:
        self.fault, self.mark = fault, mark

    def __setstate__(self, state: dict[str, str]) -> None:
        self.__dict__ = state
        commit(self.fault, self.mark)


class Acting(Verdict):
    """A verdict that acts when it is written."""

    @property
    def detail(self) -> str:  # type: ignore[override]
        fault, mark = self.__dict__["act"]
        commit(fault, mark)
        return "written"


class FaultySettings(Settings):
    point: str = Field("", description="When it acts.")
    fault: str = Field("", description="What it does.")
    mark: str = Field("", description="The file that says that it has acted.")


class Faulty(Verifier[FaultySettings]):
    """Acts as its settings and cases say; scores every case 1 and shows its response."""

    Config = FaultySettings

    def __init__(self, settings: FaultySettings, builder: Any = None) -> None:
        super().__init__(settings, builder)
        if MARK in os.environ:
            self._act_at("unpickling")

    @property
    def timeout(self) -> float:
        return 2.0

    def _act_at(self, point: str) -> None:
        if self.settings.point == point:
            commit(self.settings.fault, self.settings.mark)

    def warm_up(self) -> None:
        self._act_at("loading")

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        return [self._judge(case.response, case) for case in cases]

    def _judge(self, response: str, case: VerificationCase) -> Verdict:
        point, _, rest = response.partition("|")
        fault, _, mark = rest.partition("|")
        match point:
            case "judging":
                commit(fault, mark)
            case "later":
                threading.Timer(0.05, commit, (fault, mark)).start()
            case "wait":
                time.sleep(0.2)
            case "writing":
                acting = object.__new__(Acting)
                for name, value in (("outcome", "scored"), ("value", 1.0), ("extracted", None), ("reward", None)):
                    object.__setattr__(acting, name, value)
                acting.__dict__["act"] = (fault, mark)
                return acting
            case "odd":
                return ODD[fault]()
            case "spawn":
                loop = f"while :; do env -i setsid {fault} 1000 & sleep 0.01; done"
                subprocess.Popen(["sh", "-c", loop], start_new_session=True).wait()
            case "daemon":
                script = (
                    "import os, time; os.setsid(); os.fork() and os._exit(0); open(%r, 'w').write(str(os.getpid()))"
                )
                script = f"{script % f'{fault}.new'}; os.rename({fault + '.new'!r}, {fault!r}); time.sleep(1000)"
                child = subprocess.Popen([sys.executable, "-c", script], env={} if mark == "bare" else None)
                child.wait()
                while not Path(fault).exists():
                    time.sleep(0.01)
        return Verdict.scored(1.0, str(os.getpid()), response)


def _unsound(outcome: str, value: Any) -> Verdict:
    verdict = Verdict.scored(1.0)
    object.__setattr__(verdict, "outcome", outcome)
    object.__setattr__(verdict, "value", value)
    return verdict


class _Fake:
    outcome, value, extracted, detail = "scored", 1.0, None, "fake"


ODD: dict[str, Callable[[], Any]] = {
    "nan": lambda: _unsound("scored", float("nan")),
    "infinite": lambda: _unsound("scored", float("inf")),
    "out of range": lambda: _unsound("scored", 1.5),
    "text": lambda: _unsound("scored", "1"),
    "no value": lambda: _unsound("scored", None),
    "own outcome": lambda: _unsound("splendid", None),
    "no verdict": _Fake,
    "none": lambda: None,
}

if AT_IMPORT in os.environ:
    commit(*os.environ[AT_IMPORT].split("|"))
