"""A pattern of the user's own: its match equals the ground truth, or is there at all.

Such a pattern may backtrack for longer than anyone waits (`(a+)+$` on forty letters). Python cannot stop a match from
within, so that this verifier must run in a process that can be killed, as the commands, recipes and `aftertrain.verify`
do: a case that passes `timeout` (2 s unless set) is a time-out, and its neighbours are judged. Called directly, it
takes as long as the pattern does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from aftertrain.core.records import JSON, Verdict, VerificationCase
from aftertrain.core.settings import Builder
from aftertrain.core.text import numeral
from aftertrain.core.text.answer import judged
from aftertrain.core.text.notation import latex
from aftertrain.core.verifier import Verifier, with_special
from aftertrain.plugins.verifiers.gsm8k import no_reference, wanted_value
from aftertrain.plugins.verifiers.settings import RegexSettings, compiled_pattern
from aftertrain.plugins.verifiers.string import PREPARE, SHOWN, aliases, no_alias, not_json

_TAGGED = re.compile(r"[</?\[](?:seed:)?(?:think|thought|reason)", re.IGNORECASE)
"""In a pattern: it looks at the tags of thoughts itself, so that it gets the reply as it is."""


class Regex(Verifier[RegexSettings]):
    """Ground truth: a string or a list of strings (equality string), a number (decimal), or any JSON (search)."""

    Config = RegexSettings

    def __init__(self, settings: RegexSettings, builder: Builder) -> None:
        super().__init__(settings, builder)
        self._pattern = compiled_pattern(settings.pattern, settings.flags)
        first = 1 if self._pattern.groups else 0
        self._group = first if settings.group is None else settings.group

    @property
    def needs_truth(self) -> bool:
        """All but equality search do."""
        return self.settings.equality != "search"

    @property
    def timeout(self) -> float:
        """The setting: a pattern that needs long is one that never ends."""
        return self.settings.timeout

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        """Scored 1 or 0; unparsable where nothing matches; an error where the ground truth does not fit the equality.

        With equality search, a reply without a match scores 0. A pattern that names tags sees those that are special
        tokens too.
        """
        tagged = _TAGGED.search(self.settings.pattern) is not None
        if tagged:
            cases = with_special(cases)
        return [judged(case, self.settings, self._verdict, reference=tagged, block=False) for case in cases]

    def _verdict(self, case: VerificationCase) -> Verdict:
        wrong = self._wrong_truth(case.ground_truth)
        if wrong is not None:
            return wrong
        matched = self._find(case.response)
        if self.settings.equality == "search":
            shown = None if matched is None else matched[:SHOWN]
            return Verdict.scored(float(matched is not None), shown, "match" if matched is not None else "no match")
        if matched is None:
            return Verdict.unparsable("no match")
        if self.settings.equality == "decimal":
            value, wanted = numeral.value(latex(matched)), wanted_value(case.ground_truth)
            if value is None:
                return Verdict.unparsable(f"{matched[:SHOWN]!r} is not a number")
            return Verdict.scored(float(wanted is not None and numeral.same(value, wanted)), matched[:SHOWN], "decimal")
        prepare = PREPARE[self.settings.normalize]
        answer = prepare(matched)
        equal = any(prepare(alias) == answer for alias in aliases(case.ground_truth) or ())
        return Verdict.scored(float(equal), matched[:SHOWN], f"string, {self.settings.normalize}")

    def _find(self, response: str) -> str | None:
        """The answer's text; None where there is no match, or the group took no part in it."""
        last = None
        for match in self._pattern.finditer(response):
            last = match
            if self.settings.which == "first" or self.settings.equality == "search":
                break
        return None if last is None else last[self._group]

    def _wrong_truth(self, truth: JSON) -> Verdict | None:
        if self.settings.equality == "search":
            return not_json(truth)
        if self.settings.equality == "string":
            return no_alias(truth) if aliases(truth) is None else None
        return no_reference(truth) if wanted_value(truth) is None else None
