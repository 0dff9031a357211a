"""How far a verifier is from people's labels, from Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aftertrain.core.learning.rewards import VerifierError
    from aftertrain.core.records import Verdict


def verifier_error(
    verdicts: Iterable[Verdict | Mapping[str, Any]], labels: Sequence[float], *, positive: float = 1.0
) -> VerifierError:
    """E = (1/N)·Σ |R_verify − R_human|/|R_human| (F41) of verdicts against people's labels of the same responses.

    Verdicts without a score are counted in `unscored` and left out of the figures.

    Args:
        verdicts: what `verify` gives, or lines that `aftertrain verify` wrote, as mappings.
        labels: people's scores, in the order of the verdicts: 1 (or True) for right, 0 for wrong, or between.
        positive: the score of a response that is right; the divisor where a label is 0.

    Returns:
        `error`, `false_positives` and `false_negatives`, each with `mean`, `low`, `high` (95 %) and `n`; a rate is None
        where there are no labels of its kind.

    Raises:
        ValueError: there are more or fewer labels than verdicts, or no verdict has a score.

    >>> found = verifier_error([{"score": 1.0}, {"score": 0.0}, {"score": None}], [1, 1, 0])
    >>> found.error.mean, found.false_negatives.mean, found.false_positives, found.unscored
    (0.5, 0.5, None, 1)
    """
    from aftertrain.core.learning.rewards import verifier_error as error_of

    return error_of([_score(verdict) for verdict in verdicts], [float(label) for label in labels], positive=positive)


def _score(verdict: Verdict | Mapping[str, Any]) -> float | None:
    if not isinstance(verdict, Mapping):
        return verdict.value
    if "score" not in verdict:
        raise ValueError(f"a verdict's line has the key 'score'; this one has {', '.join(map(str, verdict))}")
    score = verdict["score"]
    return None if score is None else float(score)
