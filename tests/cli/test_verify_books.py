"""`aftertrain verify`: every line gets one verdict, is a bad line, or the command fails."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftertrain.cli import judging
from aftertrain.core.errors import RunError
from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.settings import Settings
from aftertrain.core.verifier import Verifier

FATES = ("scored", "unparsable", "timeout", "error", "bad line", "blank")


class Fated(Verifier[Settings]):
    """Gives each case the outcome that its response says."""

    isolated = False

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        made = {"scored": Verdict.scored(0.0), "timeout": Verdict.timeout(), "unparsable": Verdict.unparsable()}
        return [made.get(case.response, Verdict.error("why")) for case in cases]


def judged(fates: Sequence[str]) -> judging.Tally:
    """What `verify` counts of lines with these fates."""
    others = {"bad line": b"{", "blank": b"  \n"}
    rows = [others.get(fate, json.dumps({"response": fate, "ground_truth": ""}).encode()) for fate in fates]
    return judging.judge(Fated(Settings(), None), rows, io.BytesIO(), "cases")  # type: ignore[arg-type]


@settings(max_examples=25)
@given(st.lists(st.sampled_from(FATES), max_size=80))
def test_every_line_ends_once(fates: list[str]) -> None:
    account = judged(fates).book.accounts.get("verification")
    wanted = {fate: fates.count(fate) for fate in FATES if fate != "blank" and fate in fates}
    bad = {"dropped: bad line": wanted.pop("bad line")} if "bad line" in wanted else {}
    assert account is not None or not fates
    assert dict(account.states if account is not None else {}) == wanted | bad


@pytest.mark.parametrize(("change", "told"), [(slice(1), "4 owed, 1 ended"), (slice(0), "4 owed, 0 ended")])
def test_a_line_without_a_verdict_is_found(change: slice, told: str) -> None:
    whole = judging.in_order

    def forgetful(*given: Any) -> Iterator[Any]:
        yield from list(whole(*given))[change]

    with patch.object(judging, "in_order", forgetful), pytest.raises(RunError, match=told):
        judged(["scored", "scored", "error", "timeout"])
