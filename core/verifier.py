"""The verifier interface: does a response agree with the ground truth?"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self, TypeVar

from aftertrain.core.component import Component
from aftertrain.core.errors import AftertrainError
from aftertrain.core.ground.cleaning import described
from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.settings import Settings

S = TypeVar("S", bound=Settings)
View = Literal["text", "special"]
"""How a reply is shown to a verifier: without special tokens, or with them."""


class Verifier(Component[S]):
    """Judges batches of cases.

    A verifier is pure (same case, same verdict), picklable, thread-safe and bounded in time. It never raises on any
    response text: what it cannot judge is `Verdict.unparsable` or `Verdict.error`. A ground truth of the wrong type
    is an error verdict that says so.
    """

    kind: ClassVar[str] = "verifier"
    isolated: ClassVar[bool] = True
    """Whether it is run in killable processes (`core.verification`). False for what holds a model or other verifiers,
    which then bounds its own time."""
    every_problem: ClassVar[bool] = False
    """Whether online learning asks it about every problem's replies, not about those with a check of its name."""
    compares: ClassVar[bool] = False
    """Whether it says which of two replies is better (`core.preference`): its ground truth is the other reply. As a
    reward of an online stage it compares the replies to one prompt."""
    view: ClassVar[View] = "text"
    """What `verify` finds in a case's `response`: the reply without special tokens, or with them, for rules about marks
    (`<think>`) that are special tokens of some tokenizers."""

    @property
    def wants_turns(self) -> bool:
        """Whether it reads a case's `turns` and `token_ids`, which others are not handed; by default whether a part
        does."""
        return any(part.wants_turns for part in self.parts)

    @property
    def own_scale(self) -> bool:
        """Whether its verdicts say by themselves what they earn (`Verdict.reward`); by default whether a part's do."""
        return any(part.own_scale for part in self.parts)

    @property
    def timeout(self) -> float:
        """Seconds that one case may take before it is a timeout."""
        return 10.0

    @property
    def note(self) -> str:
        """What whoever reads its verdicts should know of the rule; blank: nothing. By default the parts'."""
        return "; ".join(dict.fromkeys(part.note for part in self.parts if part.note))

    @property
    def needs_truth(self) -> bool:
        """Whether it looks at ground truths; of one made of parts, whether a part does."""
        return any(part.needs_truth for part in self.parts) if self.parts else True

    def handed_on(self, case: VerificationCase) -> VerificationCase:
        """The case as verifiers that judge after this one should see it: a part of the reply, if this one finds it."""
        return case

    @property
    def parts(self) -> tuple[Verifier[Any], ...]:
        """Verifiers that this one is made of, each isolated in its own right."""
        return ()

    def with_parts(self, parts: Sequence[Verifier[Any]]) -> Self:
        """The same verifier made of other parts (isolated ones), in the order of `parts`."""
        if parts:
            raise TypeError(f"{type(self).__name__} has no parts")
        return self

    def content(self) -> str:
        """Hex digest of what decides its verdicts beside settings and code, such as a model's files; "" for nothing.

        By default that of its parts.
        """
        found = [part.content() for part in self.parts]
        return hashlib.sha256("\0".join(found).encode()).hexdigest() if any(found) else ""

    @property
    def cost(self) -> float:
        """What it has spent so far on models that it asks, by their prices; that of its parts by default."""
        return sum(part.cost for part in self.parts)

    def preflight(self) -> None:
        """Find what is missing (a package, a resource) before anything is generated; the default asks the parts.

        Raises:
            AftertrainError: what is missing, with the line that mends it.
        """
        for part in self.parts:
            part.preflight()

    def warm_up(self) -> None:
        """Load what judging needs, in the process that judges and before any case's time runs; by default `preflight`.

        Raises:
            AftertrainError: see `preflight`.
        """
        self.preflight()

    @abstractmethod
    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        """One verdict per case, in order."""

    def objections(self, cases: Sequence[VerificationCase]) -> list[str | None]:
        """For each case why it cannot be judged whatever the response, asked before anything is generated; or None.

        Their responses are not looked at. By default what `verify` says of blank ones in error verdicts: a ground truth
        that cannot be read, a resource that only such a case needs.
        """
        blank = self.verify([replace(case, response="") for case in cases])
        return [verdict.detail if verdict.outcome == "error" else None for verdict in blank]

    def close(self) -> None:
        """Free what the verifier and its parts hold (a model, a child process)."""
        for part in self.parts:
            part.close()


def shown(verifier: Verifier[Any], cases: Sequence[VerificationCase]) -> Sequence[VerificationCase]:
    """The cases with the view of their replies that the verifier wants; whoever asks a verifier hands it these.

    One made of parts is given both views, for it does the same with its parts.
    """
    if not verifier.wants_turns:
        cases = [replace(case, turns=(), token_ids=()) if case.turns or case.token_ids else case for case in cases]
    return cases if verifier.view == "text" else with_special(cases)


def verdicts_of(verifier: Verifier[Any], cases: Sequence[VerificationCase]) -> list[Verdict]:
    """One verdict per case, in order, from a verifier that is asked in this process, in the view that it wants.

    What it raises, or returns in place of verdicts, costs the case that it does so for and no other: all are then asked
    one by one. About no case at all it is not asked.

    Raises:
        AftertrainError: what a user can mend, and no case is to blame for.
    """
    if not cases:
        return []
    cases = shown(verifier, cases)
    try:
        return checked(verifier.verify(cases), len(cases))
    except AftertrainError:
        raise
    except Exception as error:  # noqa: BLE001 - a stranger's verifier; the verdict says what it raised
        if len(cases) == 1:
            return [Verdict.error(f"the verifier raised {described(error)}")]
    return [verdict for case in cases for verdict in verdicts_of(verifier, [case])]


def checked(verdicts: Any, count: int) -> list[Verdict]:
    """What `verify` returned, made anew: a verdict may have got round its own checks, or been changed since.

    Raises:
        TypeError: it is not a list of so many verdicts. ValueError: one says what no verdict says.
    """
    if not isinstance(verdicts, list) or len(verdicts) != count or not all(isinstance(v, Verdict) for v in verdicts):
        raise TypeError(f"verify must return a list of one Verdict per case, not {verdicts!r:.100}")
    return [Verdict(v.outcome, v.value, v.extracted, v.detail, v.reward) for v in verdicts]


def with_special(cases: Sequence[VerificationCase]) -> Sequence[VerificationCase]:
    """The cases with their special tokens in the response, for a verifier whose settings decide the view."""
    return [
        case
        if case.response_with_special is None
        else replace(case, response=case.response_with_special, response_with_special=None)
        for case in cases
    ]
