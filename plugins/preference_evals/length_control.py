"""AlpacaEval 2's length-controlled win rate (Dubois et al. 2024, arXiv 2404.04475): preferences at equal length.

A logistic regression of the preference on the difference of lengths, the instruction's difficulty and the model; the
rate is its mean prediction with no difference of lengths. Regularised by L1 with a strength chosen by five-fold
cross-validation, and by two "gamed" baselines (the same model, told to be brief or verbose) whose own term is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.core.benchmark.rows import read_file
from aftertrain.core.errors import DataError, MissingExtra

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

FOLDS, SEED, GAMED_WEIGHT = 5, 123, 0.1
"""The reference's folds and seed; its weight of 0.2 shared by two gamed baselines."""
STRENGTHS = 10
"""Inverse strengths of L1 that are tried, from 1e-4 to 1e4."""


@dataclass(frozen=True)
class Gamed:
    """The file df_gamed.csv.

    Attributes:
        difficulty: of each instruction, by its place in the benchmark.
        rows: (preference in [0, 1], standardised difference of lengths, difficulty) of the gamed baselines.
    """

    difficulty: dict[int, float]
    rows: tuple[tuple[float, float, float], ...]


def read_gamed(path: str) -> Gamed:
    """AlpacaEval's file.

    Raises:
        DataError: it cannot be read, or lacks a column.
    """
    difficulty: dict[int, float] = {}
    rows = []
    for row in read_file(Path(path)):
        try:
            place = int(float(row.text("index")))
            preference, delta, hard = (
                float(row.text(name)) for name in ("preference", "std_delta_len", "instruction_difficulty")
            )
        except ValueError as error:
            raise DataError(f"{row.where}: {error}") from error
        difficulty.setdefault(place, hard)
        rows.append((preference, delta, hard))
    return Gamed(difficulty, tuple(rows))


class LengthControl:
    """Fits the regression; the strength of regularisation is chosen once, on the first questions it is given.

    Args:
        gamed: None fits without difficulty and without gamed baselines: another number, by another name.
    """

    def __init__(self, gamed: Gamed | None) -> None:
        self._gamed = gamed
        self._strength: float | None = None

    def rate(self, preferences: Sequence[float], deltas: Sequence[float], places: Sequence[int]) -> float:
        """The rate in [0, 1].

        Args:
            preferences: how much each reply is preferred to the baseline's.
            deltas: characters of the baseline's reply less those of the model's.
            places: of the instructions in the benchmark.

        Raises:
            ZeroDivisionError: there are fewer questions than folds.
            DataError: the file of gamed baselines lacks an instruction.
        """
        import numpy as np

        if len(preferences) < FOLDS:
            raise ZeroDivisionError(f"a length-controlled rate needs at least {FOLDS} questions")
        lengths = np.asarray(deltas, dtype=np.float64)
        spread = lengths.std(ddof=1)
        scaled = lengths / spread if spread > 0 else np.zeros_like(lengths)
        own = np.ones(len(lengths))
        if self._gamed is None:
            features = np.stack([np.tanh(scaled), own], axis=1)
            equal = np.stack([np.zeros_like(own), own], axis=1)
            wanted, weights = np.asarray(preferences, dtype=np.float64), own
        else:
            hard = np.array([self._difficulty(place) for place in places])
            gamed = np.asarray(self._gamed.rows, dtype=np.float64)
            other = np.stack([np.tanh(gamed[:, 1]), gamed[:, 2], np.zeros(len(gamed))], axis=1)
            features = np.concatenate([other, np.stack([np.tanh(scaled), hard, own], axis=1)])
            equal = np.stack([np.zeros_like(own), hard, own], axis=1)
            wanted = np.concatenate([gamed[:, 0], preferences])
            weights = np.concatenate([np.full(len(gamed), GAMED_WEIGHT), own])
        if self._strength is None:
            self._strength = chosen_strength(features, wanted, weights)
        coefficients = fitted(features, wanted, weights, self._strength)
        return float(np.mean(sigmoid(equal @ coefficients)))

    def _difficulty(self, place: int) -> float:
        assert self._gamed is not None
        if place not in self._gamed.difficulty:
            raise DataError(f"the file of gamed baselines has no instruction {place}: it is of another benchmark")
        return self._gamed.difficulty[place]


def sigmoid(values: Array) -> Array:
    """1 / (1 + exp(−x)), without overflow."""
    import numpy as np

    found: Array = np.exp(-np.logaddexp(0, -values))
    return found


def fitted(features: Array, wanted: Array, weights: Array, strength: float) -> Array:
    """Coefficients: each row stands twice, as a win weighing its preference and as a loss weighing the rest."""
    import numpy as np

    model: Any = _logistic_regression()(
        C=strength, l1_ratio=1.0, solver="liblinear", fit_intercept=False, random_state=SEED
    )
    twice = np.concatenate([features, features])
    labels = np.repeat([1, 0], len(features))
    model.fit(twice, labels, sample_weight=np.concatenate([wanted * weights, (1 - wanted) * weights]))
    found: Array = model.coef_[0]
    return found


def chosen_strength(features: Array, wanted: Array, weights: Array) -> float:
    """The strength with the least weighted log loss over five folds, in which a row's two copies stay together."""
    import numpy as np

    folds = _folds()
    n = len(features)
    groups = np.concatenate([np.arange(n), np.arange(n)])
    splits = [
        (np.unique(groups[train]), groups[test])
        for train, test in folds(n_splits=FOLDS).split(np.zeros((2 * n, 1)), groups=groups)
    ]
    strengths = np.logspace(-4, 4, STRENGTHS)
    losses = [
        np.mean(
            [
                _loss(
                    features[test] @ fitted(features[train], wanted[train], weights[train], c),
                    wanted[test],
                    weights[test],
                )
                for train, test in splits
            ]
        )
        for c in strengths
    ]
    return float(strengths[int(np.argmin(losses))])


def _loss(scores: Array, wanted: Array, weights: Array) -> float:
    import numpy as np

    likely = np.clip(sigmoid(scores), 1e-15, 1 - 1e-15)
    return float(-np.mean((wanted * np.log(likely) + (1 - wanted) * np.log(1 - likely)) * weights))


def preflight() -> None:
    """Find scikit-learn.

    Raises:
        MissingExtra: it is not installed.
    """
    _logistic_regression()


def _logistic_regression() -> Any:
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise MissingExtra("scikit-learn", "preference", "a length-controlled win rate") from error
    return LogisticRegression


def _folds() -> Any:
    from sklearn.model_selection import GroupKFold

    return GroupKFold
