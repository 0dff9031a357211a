"""GSM8K's check (F32; Cobbe et al. 2021): does the reply's final number equal the reference's?

The extraction rules are those of lm-eval's `gsm8k` task and of open-instruct's GSM8K verifier, verdict by verdict, when
`equality` is `string`. `decimal` looks in the same place and reads the whole number there, as people write numbers
(`core/text/numeral.py`). All patterns run in linear time on any text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from aftertrain.core.records import JSON, Verdict, VerificationCase
from aftertrain.core.text import numeral
from aftertrain.core.text.answer import WHOLE, judged
from aftertrain.core.text.notation import latex
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.verifiers.settings import GSM8KSettings

MARK = "#### "
SHOWN = 200
"""Characters of an extracted answer that a verdict keeps."""

_STRICT = re.compile(r"#### (-?[0-9.,]+)")
_FLEXIBLE = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")
_TULU = re.compile(r"[-+]?[0-9]*\.[0-9]+|[-+]?[0-9]+")
_OTHER = re.compile(r"[^-+$0-9.,]")
_END = 4_000
"""Characters at a reply's end that are searched first."""
_THOUSANDS = re.compile(r"([0-9]),([0-9])")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")


class GSM8K(Verifier[GSM8KSettings]):
    """Ground truth: a number, its text (`"1,234"`), or a whole reference answer that ends in `#### 1234`."""

    Config = GSM8KSettings

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        """Scored 1 or 0; unparsable where the reply holds no answer; an error where the ground truth is no number."""
        reference = self.settings.equality == "string"
        return [judged(case, self.settings, self._verdict, reference=reference) for case in cases]

    @property
    def note(self) -> str:
        """Of equality string."""
        mine = self.settings.equality == "string" and self.settings.thoughts is None
        return f"gsm8k's equality string {WHOLE}" if mine else ""

    def _verdict(self, case: VerificationCase) -> Verdict:
        return self._same_text(case) if self.settings.equality == "string" else self._same_value(case)

    def _same_text(self, case: VerificationCase) -> Verdict:
        truth = _reference(case.ground_truth)
        if truth is None or _value(truth) is None:
            return no_reference(case.ground_truth)
        match = self._match(case.response)
        if match is None:
            return self._no_answer()
        answer = match[match.re.groups]
        same = answer.lower() == truth.lower() if self.settings.extract == "tulu" else _plain(answer) == _plain(truth)
        return Verdict.scored(float(same), answer[:SHOWN], f"{self.settings.extract}, string")

    def _same_value(self, case: VerificationCase) -> Verdict:
        wanted = wanted_value(case.ground_truth)
        if wanted is None:
            return no_reference(case.ground_truth)
        response = latex(case.response)
        match = self._match(response)
        if match is None:
            return self._no_answer()
        number = numeral.at(response, match.start(1)) if self.settings.extract == "strict" else numeral.last(response)
        answer = match[match.re.groups]
        if number is None or (number.value is None and _value(answer) is None):
            return Verdict.unparsable(f"{answer[:SHOWN]!r} is not a number")
        if number.value is None:
            return Verdict.scored(0.0, number.text[:SHOWN], f"{self.settings.extract}, part of something else")
        same = numeral.same(number.value, wanted)
        shown = answer if _value(answer) == number.value else number.text
        return Verdict.scored(float(same), shown[:SHOWN], f"{self.settings.extract}, decimal")

    def _no_answer(self) -> Verdict:
        return Verdict.unparsable(f"no answer by the {self.settings.extract} rule")

    def _match(self, response: str) -> re.Match[str] | None:
        """Where the reference finds its number: in the pattern's group, if it has one."""
        if self.settings.extract == "strict":
            return _STRICT.search(response)
        return _last(_TULU, response, commas=False) if self.settings.extract == "tulu" else _last(_FLEXIBLE, response)


def _last(pattern: re.Pattern[str], text: str, commas: bool = True) -> re.Match[str] | None:
    """The last match of `pattern` in `text`, or in `text` without the commas between digits.

    The end of a long text is searched first: where something that is in no number stands before the match there,
    matches fall as they do in the whole. One is kept at a time, so that a long text of numbers costs no memory.
    """
    for part in (text[-_END:], text):
        last = None
        for match in pattern.finditer(part if commas else _THOUSANDS.sub(r"\1\2", part)):
            last = match
        if len(part) == len(text) or (last and _OTHER.search(last.string, 0, last.start())):
            return last
    return None


def no_reference(truth: JSON) -> Verdict:
    """The verdict on a case whose ground truth has no value (see `wanted_value`)."""
    shown = repr(truth[:SHOWN]) if isinstance(truth, str) else type(truth).__name__
    return Verdict.error(f"the ground truth must be a number or end in '#### N', not {shown}")


def wanted_value(truth: JSON) -> Decimal | Fraction | None:
    """The reference number's value, read as a reply's is; None where it is no number, or has two usual readings."""
    if not isinstance(truth, str):
        text = _reference(truth)
        return None if text is None else _value(text)
    return numeral.value(latex(truth[truth.rfind(MARK) + len(MARK) if MARK in truth else 0 :]))


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
