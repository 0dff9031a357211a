"""Exact match of the whole reply with the ground truth or one of its aliases."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence

from aftertrain.core.records import JSON, Verdict, VerificationCase
from aftertrain.core.text.answer import judged
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.verifiers.settings import StringSettings

SHOWN = 200
"""Characters of the prepared reply that a verdict keeps."""

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


class String(Verifier[StringSettings]):
    """Ground truth: a string, or a list of strings of which any may match."""

    Config = StringSettings

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        """Scored 1 or 0; an error where the ground truth is neither a string nor a list of strings."""
        return [judged(case, self.settings, self._verdict) for case in cases]

    def _verdict(self, case: VerificationCase) -> Verdict:
        truths = aliases(case.ground_truth)
        if truths is None:
            return no_alias(case.ground_truth)
        prepare = PREPARE[self.settings.normalize]
        reply = prepare(case.response)
        matched = next((alias for alias in truths if prepare(alias) == reply), None)
        detail = "no alias matches" if matched is None else f"matches {matched[:SHOWN]!r}"
        return Verdict.scored(float(matched is not None), reply[:SHOWN], detail)


def squad_normalise(text: str) -> str:
    """Lower case, punctuation and articles removed, white space made single (SQuAD's official evaluation).

    >>> squad_normalise(" The Eiffel-Tower,  a  landmark. ")
    'eiffeltower landmark'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


PREPARE: Mapping[str, Callable[[str], str]] = {
    "none": str,
    "strip": str.strip,
    "lower": lambda text: text.strip().lower(),
    "squad": squad_normalise,
}
"""How texts are prepared before they are compared, by the setting `normalize`."""


def aliases(truth: JSON) -> list[str] | None:
    """The texts of which any may match, or None for a ground truth that is neither a string nor a list of strings."""
    if isinstance(truth, str):
        return [truth]
    if isinstance(truth, list | tuple) and truth and all(isinstance(alias, str) for alias in truth):
        return list(truth)
    return None


def no_alias(truth: JSON) -> Verdict:
    """The verdict on a case whose ground truth `aliases` cannot read."""
    kind = type(truth).__name__
    return Verdict.error(f"the ground truth must be a string or a list of strings, at least one, not {kind}")


def not_json(truth: object) -> Verdict | None:
    """The verdict on a case whose ground truth, which is not looked at, is not JSON; else None."""
    if isinstance(truth, str | int | float | list | dict | None):
        return None
    return Verdict.error(f"the ground truth must be JSON, or null, not {type(truth).__name__}")
