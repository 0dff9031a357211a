"""Weights of tasks by how well they go (F36)."""

from __future__ import annotations

import doctest
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftertrain.core.learning import task_rates
from aftertrain.core.learning.task_rates import TaskRates, reply_weights

TASKS = st.sampled_from(["gsm8k", "math", "if"])


def test_the_worked_examples_hold() -> None:
    assert doctest.testmod(task_rates).failed == 0


def test_a_failing_task_gets_less_weight_f36() -> None:
    """L = 0.2 and 0.9: e^−α·0.2 against e^−α·0.9, over their mean; a negative α turns it round."""
    rates = TaskRates().add({"gsm8k": [0, 0, 0, 0, 1], "math": [1] * 9 + [0]}, 0.9)
    assert rates.losses() == {"gsm8k": 0.2, "math": 0.9}
    good, bad = reply_weights(["gsm8k", "math"], rates.losses(), 2.0)
    assert good / bad == pytest.approx(math.exp(2 * 0.7))
    assert good + bad == pytest.approx(2)
    assert good > 1 > bad
    assert reply_weights(["gsm8k", "math"], rates.losses(), -2.0) == pytest.approx([bad, good])


@given(st.lists(TASKS, min_size=1, max_size=40), st.dictionaries(TASKS, st.floats(0, 1)), st.floats(-20, 20))
def test_the_mean_over_replies_is_one(tasks: list[str], losses: dict[str, float], alpha: float) -> None:
    weights = reply_weights(tasks, losses, alpha)
    assert sum(weights) / len(weights) == pytest.approx(1)
    assert all(weight >= 0 for weight in weights)
    assert len({(task, weight) for task, weight in zip(tasks, weights, strict=True)}) == len(set(tasks))


def test_a_task_without_a_loss_counts_as_the_mean_of_the_others() -> None:
    known = {"a": 0.0, "b": 1.0}
    assert reply_weights(["a", "b", "new"], known, 1.0) == reply_weights(["a", "b", "c"], {**known, "c": 0.5}, 1.0)
    assert reply_weights([], known, 1.0) == []


def test_what_a_step_lacks_stays_as_it_was() -> None:
    rates = TaskRates().add({"a": [1.0], "b": [0.0, 1.0]}, 0.5)
    assert rates.add({"a": [0.0], "b": []}, 0.5).losses() == {"a": pytest.approx(1 / 3), "b": 0.5}
    assert rates.add({}, 0.5) == rates
