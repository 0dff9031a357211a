"""The length-controlled rate: the published regression by scikit-learn's own cross-validation, and what it is for."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aftertrain.core.errors import DataError
from aftertrain.plugins.preference_evals.length_control import Gamed, LengthControl, fitted, read_gamed, sigmoid

N = 60


@pytest.fixture
def drawn() -> tuple[Any, Any, Gamed]:
    """Preferences that follow length, difficulty and a model's strength of -0.4; gamed ones follow length alone."""
    rng = np.random.default_rng(0)
    deltas, hard = rng.normal(0, 300, N), rng.normal(0, 1, N)
    preferences = sigmoid(-1.2 * np.tanh(deltas / deltas.std(ddof=1)) + 0.5 * hard - 0.4)
    gamed = [
        (float(sigmoid(np.array(-1.5 * np.tanh(d)))), float(d), float(h))
        for d, h in zip(rng.normal(0, 1, 2 * N), np.tile(hard, 2), strict=True)
    ]
    return preferences, deltas, Gamed(dict(enumerate(hard.tolist())), tuple(gamed))


@pytest.mark.filterwarnings("ignore")
def test_it_is_the_published_regression(drawn: tuple[Any, Any, Gamed]) -> None:
    """LogisticRegressionCV with GroupKFold and a loss of continuous targets, in place of our own loop."""
    import sklearn
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.metrics import make_scorer
    from sklearn.model_selection import GroupKFold

    preferences, deltas, gamed = drawn
    hard = np.array(list(gamed.difficulty.values()))
    other = np.array(gamed.rows)
    own = np.stack([np.tanh(deltas / deltas.std(ddof=1)), hard, np.ones(N)], axis=1)
    x = np.concatenate([np.stack([np.tanh(other[:, 1]), other[:, 2], np.zeros(2 * N)], axis=1), own])
    p = np.concatenate([other[:, 0], preferences])
    w = np.concatenate([np.full(2 * N, 0.1), np.ones(N)])

    def loss(y: Any, likely: Any, prob: Any, weight: Any) -> float:
        target = np.where(y == 1, prob, 1 - prob)
        return float(-np.mean((target * np.log(likely) + (1 - target) * np.log(1 - likely)) * weight))

    with sklearn.config_context(enable_metadata_routing=True):
        scorer = make_scorer(loss, response_method="predict_proba", greater_is_better=False)
        model = LogisticRegressionCV(
            cv=GroupKFold(n_splits=5),
            scoring=scorer.set_score_request(prob=True, weight=True),
            random_state=123,
            penalty="l1",
            solver="liblinear",
            fit_intercept=False,
        ).set_fit_request(sample_weight=True)
        twice = np.concatenate([p, 1 - p])
        weights = np.concatenate([w, w])
        model.fit(
            np.concatenate([x, x]),
            np.repeat([1, 0], len(x)),
            sample_weight=twice * weights,
            groups=np.tile(np.arange(len(x)), 2),
            prob=twice,
            weight=weights,
        )
    own[:, 0] = 0
    published = float(np.mean(model.predict_proba(own)[:, 1]))
    control = LengthControl(gamed)
    ours = control.rate(preferences.tolist(), deltas.tolist(), range(N))
    assert ours == pytest.approx(published, abs=1e-4)
    assert abs(ours - float(preferences.mean())) < 0.1


def test_a_fit_minimises_its_loss(drawn: tuple[Any, Any, Gamed]) -> None:
    """Σ w·(−p·log σ − (1−p)·log(1−σ)) + |β|₁/C, by scipy from another start."""
    from scipy.optimize import minimize

    preferences, deltas, _ = drawn
    x = np.stack([np.tanh(deltas / deltas.std(ddof=1)), np.ones(N)], axis=1)

    def objective(beta: Any) -> float:
        z = x @ beta
        return float(
            np.sum(preferences * np.logaddexp(0, -z) + (1 - preferences) * np.logaddexp(0, z)) + np.abs(beta).sum() / 2
        )

    best = minimize(objective, [0.1, 0.1], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10}).x
    assert fitted(x, preferences, np.ones(N), 2.0) == pytest.approx(best, abs=2e-3)


def test_a_verbose_model_loses_what_length_had_won() -> None:
    """Each reply is longer, and preferred the more, the longer: at equal length nothing is left of 0.5 and more."""
    shorter = -np.linspace(0, 3000, N)
    preferences = sigmoid(-1.0 * np.tanh(shorter / shorter.std(ddof=1)))
    rate = LengthControl(None).rate(preferences.tolist(), shorter.tolist(), range(N))
    assert float(preferences.mean()) > 0.65
    assert rate == pytest.approx(0.5, abs=0.02)


def test_equal_lengths_and_ties_are_one_half() -> None:
    assert LengthControl(None).rate([0.5] * 10, [0.0] * 10, range(10)) == pytest.approx(0.5)


def test_too_few_questions_have_no_rate() -> None:
    with pytest.raises(ZeroDivisionError, match="at least 5 questions"):
        LengthControl(None).rate([1.0] * 4, [0.0] * 4, range(4))


def test_the_file_is_read_by_its_columns(tmp_path: Path, drawn: tuple[Any, Any, Gamed]) -> None:
    rows = [["", "index", "preference", "std_delta_len", "instruction_difficulty", "not_gamed_baseline", "model"]]
    rows += [
        ["0", "3.0", "0.25", "-1.5", "0.7", "False", "brief"],
        ["1", "3", "0.75", "1.5", "0.7", "False", "verbose"],
    ]
    with (tmp_path / "df_gamed.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    gamed = read_gamed(str(tmp_path / "df_gamed.csv"))
    assert gamed == Gamed({3: 0.7}, ((0.25, -1.5, 0.7), (0.75, 1.5, 0.7)))
    with pytest.raises(DataError, match="no instruction 4"):
        LengthControl(gamed).rate([0.5] * 5, [0.0] * 5, [3, 3, 3, 3, 4])
    (tmp_path / "df_gamed.csv").write_text("index,preference\n1,x\n")
    with pytest.raises(DataError, match="row 1"):
        read_gamed(str(tmp_path / "df_gamed.csv"))


@pytest.mark.slow
def test_the_leaderboards_rates_follow_from_its_published_weights(shared_data: Path) -> None:
    """LC = mean of σ(w_difficulty · d + w_constant): of the unknown difficulties d only the distribution matters.

    Estimated from four fifths of 199 published models, it gives the rates of the others within 0.2 points.
    """
    from scipy.optimize import least_squares

    folder = shared_data / "alpaca_eval"
    with (folder / "lc_weights_weighted_alpaca_eval_gpt4_turbo.csv").open() as file:
        weights = {row[0]: (float(row[2]), float(row[3])) for row in list(csv.reader(file))[1:]}
    with (folder / "leaderboard_weighted_alpaca_eval_gpt4_turbo.csv").open() as file:
        published = {row[""]: float(row["length_controlled_winrate"]) for row in csv.DictReader(file)}
    names = [name for name in published if name in weights]
    given = np.array([weights[name] for name in names])
    rates = np.array([published[name] for name in names])

    def predicted(difficulty: Any, rows: Any) -> Any:
        return 100 * sigmoid(rows[:, :1] * difficulty[None] + rows[:, 1:]).mean(1)

    held = np.random.default_rng(0).permutation(len(names)) % 5 == 0
    fit = least_squares(
        lambda d: np.concatenate([predicted(d, given[~held]) - rates[~held], 1e-3 * d]), np.linspace(-2, 2, 31)
    )
    errors = np.abs(predicted(fit.x, given[held]) - rates[held])
    assert len(names) == 199
    assert errors.mean() < 0.02
    assert errors.max() < 0.2
