"""The letter a reply chooses. Six rules from the clearest to the vaguest; the first that matches decides.

Within a rule the last match counts, since a reply weighs the other letters before it settles. Every pattern repeats
over short bounded runs only, so that time is linear in any text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.text.answer import judged
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.verifiers.denial import denied
from aftertrain.plugins.verifiers.settings import MultipleChoiceSettings

_EMPHASIS = r"\s*_\"'`$"
_OPEN = rf"[{_EMPHASIS}(\[{{]{{0,9}}(?:\\(?:boxed|text|textbf|mathrm|mathbf)\{{\(?)?"
"""What may stand before a letter: white space, emphasis, brackets, mathematics."""
_CLOSE = rf"[{_EMPHASIS})\]}}.]{{0,9}}"
"""What may stand between a letter and the end of what encloses it."""
_SAYS = r"(?:\s{0,9}[:=]|\s{1,9}(?:is|(?:would|must|should)\s{1,9}be)\b:?)"
_GOES_ON = (
    "is|are|isn|aren|wasn|doesn|because|since|as|and|or|but|over|than|rather|instead|seems|looks|must|should|would|can|could|cannot|does|holds"
    "|fits|follows|works|wins|remains|stays|stands|out|if|so|which|here"
)
"""Words that may follow a letter that is no article."""
_ENDS = r"(?!\w|['’-]\w)"
_NO_ARTICLE = rf"(?!\s{{1,9}}(?!(?:{_GOES_ON})\b)[a-z])"
"""'A dog' and 'I think' choose nothing; 'A is right' does."""
_SMALL_ENDS = r"(?=[^\S\n]{0,9}(?:[).,:;!\]*_\"'`$}]|$|\n)|\s{1,9}(?:is|because|since)\b)"
"""What follows a small letter that is chosen: no word, as after an article."""
_ENCLOSED = ("tag", "boxed")
"""Rules whose marks are the choice itself, whatever stands around them."""


class MultipleChoice(Verifier[MultipleChoiceSettings]):
    """Ground truth: one of the letters, in either case."""

    Config = MultipleChoiceSettings

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        """Scored 1 or 0, the latter too where the right letter is turned down; unparsable where no letter is chosen;
        an error where the ground truth is none of them."""
        return [judged(case, self.settings, self._verdict, block=False) for case in cases]

    def _verdict(self, case: VerificationCase) -> Verdict:
        letters, truth = self.settings.letters, case.ground_truth
        wanted = truth.strip().upper() if isinstance(truth, str) else ""
        if len(wanted) != 1 or wanted not in letters:
            shown = repr(truth[:40]) if isinstance(truth, str) else type(truth).__name__
            return Verdict.error(f"the ground truth must be one of the letters {letters}, not {shown}")
        patterns = _patterns(letters)
        refused: set[str] = set()
        for rule in self.settings.rules:
            if letter := self._letter(case.response, rule, patterns[rule], refused):
                return Verdict.scored(float(letter == wanted), letter, rule)
        if wanted in refused:
            return Verdict.scored(0.0, None, f"no letter chosen; turned down: {', '.join(sorted(refused))}")
        return Verdict.unparsable("no letter by the rules " + ", ".join(self.settings.rules))

    def _letter(self, response: str, rule: str, pattern: re.Pattern[str], refused: set[str]) -> str | None:
        """The last letter that the rule finds and the reply does not turn down; those behind it go to `refused`."""
        places = [match.span(match.lastindex or 1) for match in pattern.finditer(response)]
        for start, end in reversed(places):
            if rule in _ENCLOSED or not denied(response, start, end, self.settings.letters):
                return response[start:end].upper()
            refused.add(response[start:end].upper())
        return None


@lru_cache(maxsize=32)
def _patterns(letters: str) -> dict[str, re.Pattern[str]]:
    """The rules by name; small letters count where something encloses them, they are all of the reply, or a word says
    that one follows and none does that would make them an article."""
    small = letters.lower()
    capital, any_case = f"([{letters}])", f"([{letters}{small}])"
    described = rf"(?=[).:]|{_CLOSE}"
    rules = {
        "tag": rf"<answer>{_OPEN}{any_case}{described}</answer>)",
        "boxed": rf"\\boxed\{{{_OPEN}{any_case}{described}\}})",
        "phrase": rf"(?<![A-Za-z])(?i:answer|option|choice)[*_\"']{{0,3}}(?i:{_SAYS})"
        rf"{_OPEN}(?i:(?:option|choice|letter)\s{{1,9}})?{_OPEN}"
        rf"((?<=\()[{small}](?=\))|[{letters}]{_ENDS}|[{small}]{_SMALL_ENDS})"
        rf"|(?<![A-Za-z])(?i:option|choice|letter)\s{{1,3}}\(?([{small}]){_SMALL_ENDS}",
        "parentheses": rf"\({capital}\)",
        "bold": rf"\*\*(?:[\s(]{{0,3}}{capital}(?=[).:]|\s{{0,3}}\*\*)|\(?([{small}])\)?[.:]?\*\*)"
        rf"|(?<!\w)__?\(?{any_case}\)?[.:]?__?(?!\w)",
        "standing": rf"{capital}(?<![\w'’-].){_ENDS}{_NO_ARTICLE}|\A[\s(*_\"']{{0,9}}([{small}])[\s).*_\"']{{0,9}}\Z",
    }
    return {name: re.compile(pattern) for name, pattern in rules.items()}
