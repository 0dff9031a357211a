"""All, any, first: verifiers combined by logic. A part that decides alone spares the parts after it.

Where a part has no score, `all` and `any` say what is true whatever it would have said, as in three-valued logic: a 0
decides `all`, a 1 decides `any`. Nothing is scored 0 because it could not be judged. A part that abstains is as if it
were not there; where all do, so does the whole.
"""

from __future__ import annotations

from collections.abc import Sequence

from aftertrain.core.records import Verdict
from aftertrain.plugins.combining.parts import PartsInOrder, applying, worst, zeroed
from aftertrain.plugins.combining.settings import AllSettings, AnySettings, FirstSettings


class All(PartsInOrder[AllSettings]):
    """The lowest score. A part that scores 0 decides; else a part without a score makes the whole that outcome.

    `zero` counts unparsable replies or time-outs of a part as 0. Ground truth: what the parts need.
    """

    Config = AllSettings
    hands_on = True

    def _decided(self, verdicts: Sequence[Verdict]) -> bool:
        return any(verdict.value == 0.0 for verdict in zeroed(verdicts, self.settings.zero))

    def _combined(self, verdicts: Sequence[Verdict]) -> Verdict:
        verdicts = applying(zeroed(verdicts, self.settings.zero)) or verdicts
        zero = next((verdict for verdict in verdicts if verdict.value == 0.0), None)
        return zero or worst(verdicts) or min(verdicts, key=_value)


class AnyOf(PartsInOrder[AnySettings]):
    """The highest score. A part that scores 1 decides; else an error or time-out of a part is the whole's.

    An unparsable reply says that it holds no answer by that part's rule: the others' scores stand, and the whole is
    unparsable where it is so for every part. Ground truth: what the parts need.
    """

    Config = AnySettings

    def _decided(self, verdicts: Sequence[Verdict]) -> bool:
        return any(verdict.value == 1.0 for verdict in verdicts)

    def _combined(self, verdicts: Sequence[Verdict]) -> Verdict:
        verdicts = applying(verdicts) or verdicts
        one = next((verdict for verdict in verdicts if verdict.value == 1.0), None)
        failed = worst([verdict for verdict in verdicts if verdict.outcome != "unparsable"])
        return one or failed or max(verdicts, key=_value)


class First(PartsInOrder[FirstSettings]):
    """The first part that gives a score; where none does, the gravest outcome of all.

    `pass_over` says after which outcomes the next part is tried: time-outs and unparsable replies. An error stops there
    and is the verdict, since it mostly means that a part is set up wrongly. Ground truth: what the parts need.
    """

    Config = FirstSettings
    keeps_scale = True

    def _decided(self, verdicts: Sequence[Verdict]) -> bool:
        return bool(verdicts) and verdicts[-1].outcome not in (*self.settings.pass_over, "abstained")

    def _combined(self, verdicts: Sequence[Verdict]) -> Verdict:
        last = verdicts[-1]
        return last if self._decided(verdicts) else worst(verdicts) or last


def _value(verdict: Verdict) -> float:
    """Its score; one without lies below all that have one."""
    return -1.0 if verdict.value is None else verdict.value
