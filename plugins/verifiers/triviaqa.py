"""Open questions with many right answers (F32: TriviaQA, Joshi et al. 2017; PopQA, Mallen et al. 2023).

`exact` normalises as SQuAD does; TriviaQA's own script differs in that it makes punctuation a space where SQuAD removes
it. `contains` is PopQA's rule. Blank aliases are left out: every reply holds the empty text.
"""

from __future__ import annotations

from collections.abc import Sequence

from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.text.answer import judged
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.verifiers.settings import TriviaQASettings
from aftertrain.plugins.verifiers.string import SHOWN, aliases, squad_normalise


class TriviaQA(Verifier[TriviaQASettings]):
    """Ground truth: a string, or a list of strings of which any will do."""

    Config = TriviaQASettings

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        """Scored 1 or 0; an error where the ground truth is no string or list of strings, or all of them are blank."""
        return [judged(case, self.settings, self._verdict) for case in cases]

    def _verdict(self, case: VerificationCase) -> Verdict:
        truths = [alias for alias in aliases(case.ground_truth) or () if alias.strip()]
        if not truths:
            kind = type(case.ground_truth).__name__
            return Verdict.error(f"the ground truth must be a string or a list of strings, one not blank, not {kind}")
        within = self.settings.match == "contains"
        reply = case.response if within else comparable(case.response)
        for alias in truths:
            for form in (alias, alias.lower(), alias.capitalize()) if within else (comparable(alias),):
                if form == reply or (within and form in reply):
                    return Verdict.scored(1.0, form[:SHOWN], f"{self.settings.match}, {alias[:SHOWN]!r}")
        return Verdict.scored(0.0, reply[:SHOWN], f"{self.settings.match}, no alias matches")


def comparable(text: str) -> str:
    """The text as SQuAD normalises it; a text of which nothing would be left stays as it is, in lower case.

    >>> comparable("The  Beatles!"), comparable(" !!! ")
    ('beatles', '!!!')
    """
    return squad_normalise(text) or text.strip().lower()
