"""Verifiers that a process can be lost to; imported by the child processes of a pool."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from aftertrain.core.errors import DataError
from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.settings import Settings
from aftertrain.core.verification import PoolSettings, VerifierPool
from aftertrain.core.verifier import Verifier


class Obedient(Verifier[Settings]):
    """Does what the response says; other responses are scored 1, with its process id and the response shown."""

    @property
    def timeout(self) -> float:
        return 1.0

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        return [self._judge(case) for case in cases]

    def _judge(self, case: VerificationCase) -> Verdict:
        word, _, argument = case.response.partition(" ")
        match word:
            case "sleep":
                time.sleep(float(argument))
            case "spin":
                while True:
                    pass
            case "hold":
                9**9**9
            case "deaf":
                for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM, signal.SIGXCPU):
                    signal.signal(number, signal.SIG_IGN)
                time.sleep(1000)
            case "exit":
                os._exit(int(argument))
            case "leave":
                sys.exit(int(argument))
            case "crash":
                ctypes.string_at(0)
            case "eat":
                return Verdict.scored(float(len(bytearray(int(argument))) > 0))
            case "raise":
                raise ValueError(argument)
            case "flood":
                return Verdict.scored(1.0, "x" * int(argument), "y" * int(argument))
            case "breed":
                child = subprocess.Popen(["sleep", "1000"])
                with open(argument, "w") as file:
                    file.write(str(child.pid))
                time.sleep(1000)
        return Verdict.scored(1.0, str(os.getpid()), case.response[:100])


class Careless(Obedient):
    """Returns no list of verdicts."""

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        return [] if cases[0].response == "none" else [1.0]  # type: ignore[list-item]


class Needy(Obedient):
    """Misses something."""

    def preflight(self) -> None:
        raise DataError("the list of stop words is not there: pip install stopwords")


class Slow(Obedient):
    """Takes longer to load than a case may take."""

    def warm_up(self) -> None:
        time.sleep(1.5)


def judge_in_a_pool(response: str) -> tuple[str, str]:
    """Outcomes of `response` and of a plain neighbour, judged by a pool of this process."""
    cases = [VerificationCase("", "", text, None) for text in (response, "plain")]
    with VerifierPool(PoolSettings(workers=1)) as pool:
        first, second = pool.verify(Obedient(Settings(), builder=None), cases)  # type: ignore[arg-type]
    return first.outcome, second.outcome
