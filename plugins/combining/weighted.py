"""The weighted mean of several verifiers' scores, V = Σ wᵢ·Vᵢ / Σ wᵢ."""

from __future__ import annotations

from collections.abc import Sequence

from aftertrain.core.records import Verdict
from aftertrain.plugins.combining.parts import PartsInOrder, worst, zeroed
from aftertrain.plugins.combining.settings import WeightedSettings


class Weighted(PartsInOrder[WeightedSettings]):
    """Ground truth: what the parts need; with a part's `truth`, a mapping that holds it under that key.

    A part without a score makes the whole that outcome, the gravest of several: error, timeout, unparsable. `zero`
    counts unparsable replies or time-outs of a part as a score of 0 instead. A part that abstains is left out of the
    mean; where all do, so does the whole.
    """

    Config = WeightedSettings
    hands_on = True

    def _combined(self, verdicts: Sequence[Verdict]) -> Verdict:
        verdicts = zeroed(verdicts, self.settings.zero)
        missing = worst(verdicts)
        if missing is not None:
            return missing
        applied = [place for place, verdict in enumerate(verdicts) if verdict.outcome != "abstained"]
        if not applied:
            return Verdict.abstained()
        weights = [self.settings.parts[place].weight for place in applied]
        values = [verdicts[place].value or 0.0 for place in applied]
        shown = next((verdict.extracted for verdict in verdicts if verdict.extracted is not None), None)
        return Verdict.scored(weighted_mean(values, weights), shown)


def weighted_mean(values: Sequence[float], weights: Sequence[float]) -> float:
    """Σ w·v / Σ w, exactly 1.0 where every value is 1 and never outside the values' range.

    >>> weighted_mean([1.0, 0.0], [3.0, 1.0]), weighted_mean([1.0] * 3, [0.1, 0.2, 0.3])
    (0.75, 1.0)
    """
    mean = sum(weight * value for weight, value in zip(weights, values, strict=True)) / sum(weights)
    return min(max(mean, min(values)), max(values))
