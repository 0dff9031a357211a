"""The letter a reply chooses. Six rules from the clearest to the vaguest; the first that matches decides.

Within a rule the last match counts, since a reply weighs the other letters before it settles. Every pattern repeats
over short bounded runs only, so that time is linear in any text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from aftertrain.core.answer import judged
from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.verifiers.settings import MultipleChoiceSettings

_EMPHASIS = r"\s*_\"'`$"
_OPEN = rf"[{_EMPHASIS}(\[{{]{{0,9}}(?:\\(?:boxed|text|textbf|mathrm|mathbf)\{{\(?)?"
"""What may stand before a letter: white space, emphasis, brackets, mathematics."""
_CLOSE = rf"[{_EMPHASIS})\]}}.]{{0,9}}"
"""What may stand between a letter and the end of what encloses it."""
_SAYS = r"(?:\s{0,9}[:=]|\s{1,9}(?:is|(?:would|must|should)\s{1,9}be)\b:?)"
_ENDS = r"(?!\w|['’-]\w)"
_NO_ARTICLE = r"(?!\s{1,9}(?!(?:is|because|since)\b)[a-z])"
"""'A dog' and 'I think' choose nothing; 'A is right' does."""


def _not_denied(before: str) -> str:
    """What has just been matched, `before`, does not follow 'not' or "isn't": these choose nothing.

    It looks back from behind the match, because a pattern that starts with a literal is found faster.
    """
    return rf"(?<!\b[Nn]ot {before})(?<!n['’]t {before})"


class MultipleChoice(Verifier[MultipleChoiceSettings]):
    """Ground truth: one of the letters, in either case."""

    Config = MultipleChoiceSettings

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        """Scored 1 or 0; unparsable where no rule finds a letter; an error where the ground truth is none of them."""
        return [judged(case, self.settings, self._verdict, block=False) for case in cases]

    def _verdict(self, case: VerificationCase) -> Verdict:
        letters, truth = self.settings.letters, case.ground_truth
        wanted = truth.strip().upper() if isinstance(truth, str) else ""
        if len(wanted) != 1 or wanted not in letters:
            shown = repr(truth[:40]) if isinstance(truth, str) else type(truth).__name__
            return Verdict.error(f"the ground truth must be one of the letters {letters}, not {shown}")
        patterns = _patterns(letters)
        for rule in self.settings.rules:
            found = None
            for match in patterns[rule].finditer(case.response):
                found = match
            if found:
                letter = found[1].upper()
                return Verdict.scored(float(letter == wanted), letter, rule)
        return Verdict.unparsable("no letter by the rules " + ", ".join(self.settings.rules))


@lru_cache(maxsize=32)
def _patterns(letters: str) -> dict[str, re.Pattern[str]]:
    """The rules by name; small letters count only where something encloses them."""
    capital, any_case = f"([{letters}])", f"([{letters}{letters.lower()}])"
    described = rf"(?=[).:]|{_CLOSE}"
    in_brackets, in_bold = _not_denied(r"\("), _not_denied(r"\*\*")
    standing = "".join(_not_denied(before) for before in (".", r"\(.", r"\*\*."))
    rules = {
        "tag": rf"<answer>{_OPEN}{any_case}{described}</answer>)",
        "boxed": rf"\\boxed\{{{_OPEN}{any_case}{described}\}})",
        "phrase": rf"(?<![A-Za-z])(?i:answer|option|choice)[*_\"']{{0,3}}(?i:{_SAYS})"
        rf"{_OPEN}(?i:(?:option|choice|letter)\s{{1,9}})?{_OPEN}"
        rf"((?<=\()[{letters.lower()}](?=\))|[{letters}]{_ENDS})",
        "parentheses": rf"\({in_brackets}{capital}\)",
        "bold": rf"\*\*{in_bold}[\s(]{{0,3}}{capital}(?=[).:]|\s{{0,3}}\*\*)",
        "standing": rf"{capital}(?<![\w'’-].){standing}{_ENDS}{_NO_ARTICLE}",
    }
    return {name: re.compile(pattern) for name, pattern in rules.items()}
