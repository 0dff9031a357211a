"""A verifier that is asked in the run's own process: what it raises or returns in place of verdicts costs one case."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from aftertrain.core.errors import DataError
from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.settings import Settings
from aftertrain.core.verifier import Verifier, verdicts_of
from tests.core.verification.faulty import ODD

HALF = chr(0xD800)


class Held(Verifier[Settings]):
    isolated = False

    def verify(self, cases: Sequence[VerificationCase]) -> Any:
        return [verdict for case in cases for verdict in self._one(case.response)]

    def _one(self, response: str) -> list[Any]:
        match response:
            case "raise":
                raise ValueError(HALF)
            case "two":
                return [Verdict.scored(1.0)] * 2
            case "none":
                return []
            case "missing":
                raise DataError("nothing to judge with; install it")
            case word if word in ODD:
                return [ODD[word]()]
        return [Verdict.scored(1.0, response)]


def _ask(*responses: str) -> list[Verdict]:
    held = Held(Settings(), builder=None)  # type: ignore[arg-type]
    return verdicts_of(held, [VerificationCase(str(n), "", text, None) for n, text in enumerate(responses)])


@pytest.mark.parametrize("trouble", ["raise", "two", "none", *ODD])
def test_trouble_costs_its_own_case(trouble: str) -> None:
    first, second, third = _ask("a", trouble, "c")
    assert (first, third) == (Verdict.scored(1.0, "a"), Verdict.scored(1.0, "c"))
    assert second.outcome == "error"
    assert second.detail.startswith("the verifier raised ")
    second.detail.encode()


def test_what_a_user_can_mend_ends_the_call() -> None:
    with pytest.raises(DataError, match="install it"):
        _ask("a", "missing")
