"""GSM8K's check (F32; Cobbe et al. 2021): does the reply's final number equal the reference's?

The extraction rules are those of lm-eval's `gsm8k` task and of open-instruct's GSM8K verifier, verdict by verdict, when
`equality` is `string`. All patterns run in linear time on any text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

from aftertrain.core.records import JSON, Verdict, VerificationCase
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.verifiers.settings import GSM8KSettings

MARK = "#### "
SHOWN = 200
"""Characters of an extracted answer that a verdict keeps."""

_STRICT = re.compile(r"#### (-?[0-9.,]+)")
_FLEXIBLE = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")
_TULU = re.compile(r"[-+]?[0-9]*\.[0-9]+|[-+]?[0-9]+")
_THOUSANDS = re.compile(r"([0-9]),([0-9])")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")


class GSM8K(Verifier[GSM8KSettings]):
    """Ground truth: a number, its text (`"1,234"`), or a whole reference answer that ends in `#### 1234`."""

    Config = GSM8KSettings

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        """Scored 1 or 0; unparsable where the reply holds no answer; an error where the ground truth is no number."""
        return [self._verdict(case) for case in cases]

    def _verdict(self, case: VerificationCase) -> Verdict:
        truth = _reference(case.ground_truth)
        wanted = None if truth is None else _value(truth)
        if truth is None or wanted is None:
            given = case.ground_truth
            shown = repr(given[:SHOWN]) if isinstance(given, str) else type(given).__name__
            return Verdict.error(f"the ground truth must be a number or end in '#### N', not {shown}")
        found = self._extract(case.response)
        if found is None:
            return Verdict.unparsable(f"no answer by the {self.settings.extract} rule")
        shown = found[:SHOWN]
        if self.settings.equality == "string":
            same = found.lower() == truth.lower() if self.settings.extract == "tulu" else _plain(found) == _plain(truth)
            return Verdict.scored(float(same), shown, f"{self.settings.extract}, string")
        value = _value(found)
        if value is None:
            return Verdict.unparsable(f"{shown!r} is not a number")
        return Verdict.scored(float(value == wanted), shown, f"{self.settings.extract}, decimal")

    def _extract(self, response: str) -> str | None:
        if self.settings.extract == "strict":
            match = _STRICT.search(response)
            return match.group(1) if match else None
        if self.settings.extract == "tulu":
            return _last(_TULU, _THOUSANDS.sub(r"\1\2", response))
        return _last(_FLEXIBLE, response)


def _last(pattern: re.Pattern[str], text: str) -> str | None:
    """The last match of `pattern`; one is kept at a time, so that a long text of numbers costs no memory."""
    found = None
    for match in pattern.finditer(text):
        found = match
    return found.group() if found else None


def _reference(truth: JSON) -> str | None:
    """The reference number's text without thousands separators, or None for a ground truth of another kind."""
    if isinstance(truth, str):
        return truth[truth.rfind(MARK) + len(MARK) if MARK in truth else 0 :].strip().replace(",", "")
    if isinstance(truth, bool) or not isinstance(truth, int | float):
        return None
    return str(Decimal(truth) if isinstance(truth, int) else truth)  # Python refuses to write out very long integers


def _plain(text: str) -> str:
    """lm-eval's `regexes_to_ignore` (commas, $, a last period) and `ignore_case`."""
    return text.replace(",", "").replace("$", "").removesuffix(".").lower()


def _value(text: str) -> Decimal | None:
    """The exact value of a written number (`-$1,234.50`, `72.`, `50%`), or None.

    A comma behind the point separates no thousands: `6.000,00` is six thousand to some and nothing to others.
    """
    if "," in text.partition(".")[2].rstrip(".,"):
        return None
    bare = text.strip().translate({ord(sign): None for sign in ",$%"}).rstrip(".")
    return Decimal(bare) if _NUMBER.fullmatch(bare) else None
