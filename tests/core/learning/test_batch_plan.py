"""Which rows form a step is a pure function of seed, rows and settings."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftertrain.core.learning.batch_plan import BatchPlan

PLANS = st.builds(BatchPlan, st.integers(1, 60), st.integers(1, 20), st.integers(1, 4), st.integers(0, 2**32))


@given(PLANS)
def test_each_epoch_sees_each_row_once(plan: BatchPlan) -> None:
    for epoch in range(plan.epochs):
        steps = range(epoch * plan.steps_per_epoch, (epoch + 1) * plan.steps_per_epoch)
        rows = [row for step in steps for row in plan.rows(step)]
        assert sorted(rows) == list(range(plan.n_rows))
        assert all(len(plan.rows(step)) == plan.rows_per_step for step in steps[:-1])


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 2**32))
def test_full_steps_alone(n_rows: int, rows_per_step: int, seed: int) -> None:
    plan = BatchPlan(n_rows, min(n_rows, rows_per_step), 3, seed, drop_last=True)
    steps = [list(plan.rows(step)) for step in range(plan.n_steps)]
    assert {len(step) for step in steps} == {plan.rows_per_step}
    first = [row for step in steps[: plan.steps_per_epoch] for row in step]
    assert len(set(first)) == len(first) > n_rows - plan.rows_per_step


@given(PLANS, st.randoms())
def test_steps_can_be_asked_in_any_order(plan: BatchPlan, rng: object) -> None:
    """No iterator state: a resume may begin anywhere."""
    expected = [list(plan.rows(step)) for step in range(plan.n_steps)]
    order = list(range(plan.n_steps))
    rng.shuffle(order)  # type: ignore[attr-defined]
    again = BatchPlan(plan.n_rows, plan.rows_per_step, plan.epochs, plan.seed)
    assert all(list(again.rows(step)) == expected[step] for step in order)


def test_another_process_has_the_same_plan() -> None:
    """Not Python's salted hash, nor any global generator, decides."""
    code = (
        "from aftertrain.core.learning.batch_plan import BatchPlan\n"
        "print([list(BatchPlan(7, 3, 2, 5).rows(step)) for step in range(6)])"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert other.strip() == str([list(BatchPlan(7, 3, 2, 5).rows(step)) for step in range(6)])


def test_seeds_and_epochs_differ() -> None:
    plan = BatchPlan(50, 50, 2, 0)
    assert plan.rows(0) != plan.rows(1)
    assert plan.rows(0) != BatchPlan(50, 50, 2, 1).rows(0)


def test_a_step_beyond_the_plan_is_an_error() -> None:
    with pytest.raises(IndexError, match="step 6 of a plan of 6 steps"):
        BatchPlan(7, 3, 2, 5).rows(6)
