"""A pool of killable processes for verifiers.

Children are spawned (never forked from a process with threads), so a pool works the same in the main thread, in worker
threads, in a coroutine, in a Ray actor and under pytest-xdist. Each case has a deadline of its own, counted from when
its process took it up. Whatever ends a child costs at most the case that ends it: the others of its batch go to another
child, and a case is blamed only once it has ended a child that judged nothing else.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from typing import Any

from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.verification.call import Call
from aftertrain.core.verification.children import Children
from aftertrain.core.verification.settings import PoolSettings
from aftertrain.core.verifier import Verifier, shown, verdicts_of


class VerifierPool:
    """Judges cases of any number of verifiers in at most `settings.size` child processes, started as needed.

    Thread-safe. Close it, or use it as a context manager; what is left is killed when it is garbage or Python ends.
    """

    def __init__(self, settings: PoolSettings | None = None) -> None:
        self.settings = settings or PoolSettings()
        self._children = Children(self.settings)
        weakref.finalize(self, self._children.close)

    def __enter__(self) -> VerifierPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def verify(self, verifier: Verifier[Any], cases: Sequence[VerificationCase]) -> list[Verdict]:
        """One verdict per case, in order. See `stream`."""
        verdicts = dict(self.stream(verifier, cases))
        return [verdicts[index] for index in range(len(cases))]

    def stream(self, verifier: Verifier[Any], cases: Sequence[VerificationCase]) -> Iterator[tuple[int, Verdict]]:
        """(index, verdict) of each case, as they are known.

        Raises:
            RunError: the verifier cannot be loaded in another process, or no process can be started.
        """
        call = Call(self._children, verifier, cases, self.settings)
        try:
            yield from call.run()
        finally:
            call.give_back()

    def pids(self) -> list[int]:
        """Process ids of the children there are."""
        return self._children.pids()

    def close(self) -> None:
        """Kill every child. The pool can be used again."""
        self._children.close()


class Isolated(Verifier[Any]):
    """A verifier whose cases are judged by a pool."""

    def __init__(self, inner: Verifier[Any], pool: VerifierPool) -> None:
        super().__init__(inner.settings, inner.builder)
        self.inner, self.pool = inner, pool

    @property
    def timeout(self) -> float:
        """The verifier's, unless the pool's settings have one."""
        return self.pool.settings.timeout or self.inner.timeout

    def preflight(self) -> None:
        """The verifier's, in this process."""
        self.inner.preflight()

    @property
    def note(self) -> str:
        """The verifier's."""
        return self.inner.note

    @property
    def needs_truth(self) -> bool:
        """The verifier's."""
        return self.inner.needs_truth

    @property
    def wants_turns(self) -> bool:
        """The verifier's."""
        return self.inner.wants_turns

    @property
    def own_scale(self) -> bool:
        """The verifier's."""
        return self.inner.own_scale

    def handed_on(self, case: VerificationCase) -> VerificationCase:
        """The verifier's, in this process."""
        return self.inner.handed_on(case)

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        """One verdict per case, in order."""
        return self.pool.verify(self.inner, shown(self.inner, cases))

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("an isolated verifier belongs to its pool; pickle the verifier itself")


def isolate(verifier: Verifier[Any], pool: VerifierPool) -> Verifier[Any]:
    """The verifier with everything of it that can be isolated judged by `pool`.

    One made of parts stays in this process and its parts are isolated; one that holds a model stays as it is.
    """
    if verifier.parts:
        return verifier.with_parts([isolate(part, pool) for part in verifier.parts])
    return Isolated(verifier, pool) if verifier.isolated else verifier


def stream(verifier: Verifier[Any], cases: Sequence[VerificationCase]) -> Iterator[tuple[int, Verdict]]:
    """(index, verdict) of each case: as they are known where a pool judges, else all at the end."""
    if isinstance(verifier, Isolated):
        return verifier.pool.stream(verifier.inner, shown(verifier.inner, cases))
    return enumerate(verdicts_of(verifier, cases))
