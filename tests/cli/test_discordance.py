"""How much of two runs differs, for what further questions would find."""

from __future__ import annotations

import pytest

from aftertrain.api.comparison import detects, discordance
from aftertrain.core.events import Difference
from aftertrain.core.paired import paired_row
from aftertrain.core.statistics import Z95, Weights, detectable


def difference(mean: float, error: float, *, better: int, worse: int, n: int = 400) -> Difference:
    low, high = mean - Z95 * error, mean + Z95 * error
    square = (n - 1) * error**2 + mean**2  # SE² = (E[gap²] - mean²) / (n - 1)
    return Difference("t", "m", 0.0, "a", mean, low, high, n, better=better, worse=worse, error=error, square=square)


def test_flips_of_right_and_wrong_are_counted() -> None:
    row = difference((60 - 20) / 400, ((0.2 - 0.01) / 399) ** 0.5, better=60, worse=20)
    assert discordance(row) == pytest.approx(0.2)
    assert detects(row) == detectable(400, 0.2)


def test_small_changes_of_every_pair_are_no_flips() -> None:
    """All 400 values changed, by 0.02 on average with a spread of 0.1: as 1.04 % of whole flips, not all of them."""
    row = difference(0.02, 0.1 / 20, better=240, worse=160)
    assert discordance(row) == pytest.approx(0.1**2 * 399 / 400 + 0.02**2)
    assert detects(row) == pytest.approx((1.959964 + 0.841621) * 0.1 / 20, rel=1e-5)


def test_the_error_is_that_of_the_mean_whatever_widens_its_interval() -> None:
    """Half of 400 values fell by 0.05 and half rose by 0.05, in 40 clusters of ten that change alike or do not.

    Of independent ones d = 0.0025 and SE = 0.05 √(1/399). Of clusters that change as a whole SE = 0.05 √(1/39).
    """
    before = [0.5] * 400
    mixed = [0.5 + 0.05 * (-1) ** (place // 10 + place) for place in range(400)]
    whole = [0.5 + 0.05 * (-1) ** (place // 10) for place in range(400)]
    clusters = [f"p{place // 10}" for place in range(400)]
    place = ("t", "f1", 0.0)
    alone = paired_row(place, "a", (before, mixed), [""] * 400)
    assert alone.error == pytest.approx(0.05 / 399**0.5)
    assert discordance(alone) == pytest.approx(0.0025, rel=0.01)
    assert detects(alone) == pytest.approx(2.801585 * 0.05 / 399**0.5, rel=1e-5)
    found = paired_row(place, "a", (before, whole), clusters)
    assert found.error == pytest.approx(0.05 / 39**0.5)
    assert found.effect == pytest.approx(399 / 39)
    assert discordance(found) == pytest.approx(0.0025, rel=0.01)
    assert detects(found) == pytest.approx((2.022691 + 0.841621) * 0.05 / 39**0.5, rel=1e-5), "Student's t of 39"
    assert found.high - found.low > 20 * found.error, "the interval is widened by what 40 clusters may not show"


def test_clusters_whose_changes_cancel_find_no_more_than_independent_pairs() -> None:
    """In each of 100 clusters one of two rose by 0.5 and one fell: d = 0.25, and the error of the sums is 0."""
    after = [0.5 + 0.5 * (-1) ** place for place in range(200)]
    row = paired_row(("t", "f1", 0.0), "a", ([0.5] * 200, after), [f"p{place // 2}" for place in range(200)])
    assert row.error == pytest.approx(0.0, abs=1e-12)
    assert discordance(row) == pytest.approx(0.25)
    assert detects(row) == pytest.approx((1.984217 + 0.841621) * 0.5 / 199**0.5, rel=1e-5), "t of 99; d's own spread"


def test_equal_changes_spread_by_nothing_but_rounding() -> None:
    """0.3 - 0 and 0.6 - 0.3 differ by rounding: they have no correlation, no design effect, and find nothing."""
    before, after = [0.0, 0.3] * 100, [0.3, 0.6] * 100
    row = paired_row(("t", "f1", 0.0), "a", (before, after), [f"p{place // 10}" for place in range(200)])
    assert (row.effect, row.correlation, detects(row)) == (None, None, None)


@pytest.mark.parametrize("clusters", [2, 5, 6])
def test_few_clusters_find_nothing(clusters: int) -> None:
    """Were all of five to rise, p would be 2/2⁵ = 0.0625; of six 0.03."""
    after = [1.0 if place // clusters % 3 else 0.0 for place in range(120)]
    row = paired_row(("t", "m", 0.0), "a", ([0.0] * 120, after), [f"p{place % clusters}" for place in range(120)])
    assert (detects(row) is None) == (clusters < 6)


def test_pairs_that_weigh_nothing_are_no_pairs() -> None:
    """Of 450 questions 200 count: two changed, so that d is 0.01 of these, as if the others were not there."""
    before, after = [0.0] * 450, [1.0, 1.0, *[0.0] * 198, *[1.0] * 250]
    row = paired_row(
        ("t", "m", 0.0), "a", (before, after), [""] * 450, weights=Weights.of_sizes([1.0] * 200 + [0.0] * 250)
    )
    alone = paired_row(("t", "m", 0.0), "a", (before[:200], after[:200]), [""] * 200)
    assert row == alone
    assert (row.n, row.better, discordance(row)) == (200, 2, pytest.approx(0.01))


def test_pairs_of_one_cluster_find_nothing() -> None:
    for after in ([1.0, 1.0, 0.0, 1.0] * 50, [0.3, 0.6, 0.5, 0.4] * 50):
        row = paired_row(("t", "m", 0.0), "a", ([0.0] * 200, after), ["p"] * 200)
        assert (row.clusters, row.effect, row.error, row.correlation) == (1, None, None, None)
        assert detects(row) is None


def test_any_run_beside_a_file_may_name_the_clusters() -> None:
    """A run of an earlier version names none; whichever comes first, those of the other are taken."""
    from aftertrain.api.side_figures import TaskFigures
    from aftertrain.api.sides import Side
    from aftertrain.api.with_files import with_clusters

    old = Side("old", {}, {}, {}, tasks={"t": TaskFigures((), {}, {"1": "", "2": ""})})
    new = Side("new", {}, {}, {}, tasks={"t": TaskFigures((), {}, {"1": "p", "2": "p"}, "passage")})
    for anchor in (old, new):
        task = with_clusters(anchor, [old, new]).tasks["t"]
        assert (task.clusters_of(["2", "1", "3"]), task.clustered_by) == (["p", "p", ""], "passage")


def test_a_task_that_is_asked_otherwise_is_left_out_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its outputs stayed, so that macro means of it were compared beside the note that said it was left out."""
    from types import SimpleNamespace

    from aftertrain.api import sides

    base, run = (
        SimpleNamespace(name=name, scores=[SimpleNamespace(task=task, fingerprint=f"{task}{mark}") for task in "tu"])
        for name, mark in (("a", ""), ("b", ""))
    )
    run.scores[1].fingerprint = "another"
    keys = {task: (task, "acc", 0.0) for task in "tu"}
    whole = sides.Side(
        "b",
        values={key: {"1": 1.0} for key in keys.values()},
        replies={},
        prompts={},
        scored={(task, 0.0): {"1": ()} for task in "tu"},
        tasks=dict.fromkeys("tu", SimpleNamespace()),  # type: ignore[arg-type]
        unjudged=frozenset((task, 0.0, "2") for task in "tu"),
        recorded=dict.fromkeys(keys.values(), SimpleNamespace()),  # type: ignore[arg-type]
    )
    monkeypatch.setattr(sides, "own_side", lambda _: whole)
    notes: list[str] = []
    side = sides.like_side(base, run, notes)  # type: ignore[arg-type]
    assert notes == ["b: u differ in data, prompts, rules, limit or length from a's, and are left out"]
    told = (side.values, side.scored, side.tasks, side.unjudged, side.recorded)
    assert [{key[0] for key in found} for found in told] == [{"t"}] * 5
