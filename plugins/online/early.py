"""Verdicts on replies that are finished while others are still being made.

Verifiers that judge in processes of their own are asked about each reply as soon as it is there, so that what a step
waits for after its last reply is little. A verifier is pure: when it is asked, and with which other cases, changes no
verdict, and rewards are made of them in the order of the tickets, as if all had been asked at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any

from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.verification import Isolated
from aftertrain.core.verifier import Verifier, verdicts_of
from aftertrain.plugins.online.reward import Key, case_of
from aftertrain.plugins.online.rollout import Rollout


class Early:
    """Verdicts of one step. Use it as a context manager, so that nothing is judged any more where generating failed."""

    def __init__(self, verifiers: Mapping[str, Verifier[Any]]) -> None:
        self._verifiers = {
            name: verifier
            for name, verifier in verifiers.items()
            if isinstance(verifier, Isolated) and not verifier.inner.compares
        }
        self._threads = {name: ThreadPoolExecutor(1, f"early-{name}") for name in self._verifiers}
        self._lock = Lock()
        self._waiting: dict[str, list[tuple[Key, VerificationCase]]] = {name: [] for name in self._verifiers}
        self._asked: list[Future[None]] = []
        self._found: dict[Key, Verdict] = {}

    def __enter__(self) -> Early:
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads.values():
            thread.shutdown(cancel_futures=True)

    def take(self, rollout: Rollout) -> None:
        """Ask about a reply that is finished; returns at once."""
        for place, check in enumerate(rollout.prompt.problem.checks):
            if check.verifier in self._verifiers:
                case = case_of(rollout.prompt, check, rollout.id, rollout.completion)
                with self._lock:
                    self._waiting[check.verifier].append(((rollout.group, rollout.id, place), case))
                self._asked.append(self._threads[check.verifier].submit(self._judge, check.verifier))

    def verdicts(self) -> dict[Key, Verdict]:
        """All that were asked for; waits for those that are not there yet.

        Raises:
            AftertrainError: what a user can mend, as `verdicts_of`.
        """
        for asked in self._asked:
            asked.result()
        return self._found

    def _judge(self, name: str) -> None:
        """Judge all that waits by now: what came while the verifier was busy goes together."""
        with self._lock:
            waiting, self._waiting[name] = self._waiting[name], []
        keys = [key for key, _ in waiting]
        self._found.update(zip(keys, verdicts_of(self._verifiers[name], [case for _, case in waiting]), strict=True))
