"""How much of a reply is a copy of its prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aftertrain.core.operator import Row, Scorer
from aftertrain.core.overlap.tokens import tokens
from aftertrain.plugins.quality.parts import share, text_of
from aftertrain.plugins.quality.settings import OverlapSettings


class Overlap(Scorer[OverlapSettings]):
    """Facts: `copied`, the share of the reply's words that stand in an n-gram which the prompt has too; `common`, the
    Jaccard index of the two sets of words."""

    Config = OverlapSettings
    finds = ("copied", "common")
    takes = frozenset({"Conversation", "PreferencePair", "Feedback"})

    def facts(self, row: Row) -> Mapping[str, float]:
        """Of all that is asked and all that is replied; 0 where one of them has no words."""
        prompt, reply = tokens(text_of(row, "prompt")), tokens(text_of(row, "reply"))
        return {
            "copied": share(covered(reply, prompt, self.settings.n), len(reply)),
            "common": share(len({*prompt} & {*reply}), len({*prompt} | {*reply})),
        }


def covered(words: Sequence[str], other: Sequence[str], n: int) -> int:
    """How many of the words stand in an n-gram that the others have too.

    >>> covered("a b c d x".split(), "z a b c d".split(), 3)
    4
    """
    known = set(zip(*(other[start:] for start in range(n)), strict=False))
    inside: set[int] = set()
    for place, gram in enumerate(zip(*(words[start:] for start in range(n)), strict=False)):
        if gram in known:
            inside.update(range(place, place + n))
    return len(inside)
