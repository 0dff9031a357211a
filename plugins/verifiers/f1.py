"""SQuAD's F-measure of words (Rajpurkar et al. 2016): how many words do the reply and the ground truth share?

With `normalize: squad` the value is that of SQuAD 2.0's official script but in one case: a reply without a word left
equals only a ground truth that was blank to begin with or is the same text. So "" does not earn 1 for "!!!".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.text.answer import judged
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.verifiers.settings import F1Settings
from aftertrain.plugins.verifiers.string import PREPARE, SHOWN, aliases, no_alias


class TokenF1(Verifier[F1Settings]):
    """Ground truth: a string, or a list of strings of which the best counts. A blank one means "no answer"."""

    Config = F1Settings

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        """Scored in [0, 1]; an error where the ground truth is neither a string nor a list of strings."""
        return [judged(case, self.settings, self._verdict) for case in cases]

    def _verdict(self, case: VerificationCase) -> Verdict:
        truths = aliases(case.ground_truth)
        if truths is None:
            return no_alias(case.ground_truth)
        prepare = PREPARE[self.settings.normalize]
        words = prepare(case.response).split()
        best, matched = -1.0, ""
        for truth in truths:
            wanted = prepare(truth).split()
            value = overlap(words, wanted)
            if not words and not wanted:
                value = float(not truth.strip() or truth.strip() == case.response.strip())
            if value > best:
                best, matched = value, truth
        return Verdict.scored(best, " ".join(words)[:SHOWN], f"best with {matched[:SHOWN]!r}")


def overlap(words: Sequence[str], wanted: Sequence[str]) -> float:
    """The F-measure 2·shared / (|words| + |wanted|), each word shared as often as both have it.

    Precision 2/3 (of "cat sat down") and recall 2/2 (of "cat sat") give 2·(2/3·1)/(2/3 + 1) = 4/5 = 2·2/(3 + 2).

    >>> overlap("cat sat down".split(), "cat sat".split())
    0.8
    """
    shared = (Counter(words) & Counter(wanted)).total()
    return 2 * shared / (len(words) + len(wanted)) if shared else 0.0
