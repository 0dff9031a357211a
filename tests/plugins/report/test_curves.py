"""Which curves a stage gets: known metrics under their names, unknown ones too, nothing twice."""

from __future__ import annotations

import pytest

from aftertrain.plugins.report.curves import MOST_CHARTS, curves
from aftertrain.plugins.report.facts import Stage


def stage(**metrics: list[float]) -> Stage:
    return Stage("s", metrics={name: dict(enumerate(values, 1)) for name, values in metrics.items()})


@pytest.mark.parametrize(
    ("name", "title", "unit"),
    [
        ("reward", "Reward", ""),
        ("accuracy", "Accuracy", "%"),
        ("kl", "KL from the reference model", "nats"),
        ("response_length", "Length of a reply", "tokens"),
        ("sampled_entropy", "Entropy", "nats"),
    ],
)
def test_the_course_of_training(name: str, title: str, unit: str) -> None:
    (chart,) = curves(stage(**{name: [0.1, 0.2]})).course
    assert (chart.title, chart.unit) == (title, unit)


def test_the_optimizer_is_apart_and_a_rate_of_learning_is_no_share() -> None:
    found = curves(stage(learning_rate=[0.1, 0.2], critic_learning_rate=[0.1, 0.2], grad_norm=[1.0, 2.0])).optimizer
    assert [(chart.title, chart.unit) for chart in found] == [
        ("Grad norm", ""),
        ("Learning rate", ""),
        ("Critic learning rate", ""),
    ]


def test_an_accuracy_above_one_is_no_share() -> None:
    found = curves(stage(accuracy=[55.0, 60.0]))
    assert [chart.unit for chart in (*found.course, *found.other)] == [""]


def test_what_a_reward_is_made_of_shares_a_chart_and_so_do_sources() -> None:
    metrics = {"reward": [3.0], "reward/gsm8k": [2.0], "reward/format": [1.0], "accuracy/math": [0.5, 0.6]}
    found = curves(stage(**metrics, **{f"source_reward/{n}": [1.0] for n in range(8)})).course
    assert [(chart.title, [line.label for line in chart.lines]) for chart in found] == [
        ("Reward", ["Reward"]),
        ("Reward by part", ["gsm8k", "format"]),
        ("Verified as right, by source", ["math"]),
        ("Reward by source", ["0", "1", "2", "3", "4", "5"]),
        ("Reward by source", ["6", "7"]),
    ]


def test_parity_is_in_the_course_and_held_out_accuracy_has_its_interval() -> None:
    ends = {"validation_accuracy_low": [0.2, 0.3], "validation_accuracy_high": [0.6, 0.7]}
    found = curves(
        stage(validation_accuracy=[0.4, 0.5], **ends, logprob_difference=[1e-7, 2e-7], effective_samples=[1])
    )
    assert found.other == []
    held_out, parity, samples = found.course
    assert (held_out.title, held_out.note) == ("Verified as right, held out", "The band is the 95 % interval.")
    assert (parity.title, parity.unit) == ("Generator and trainer apart", "nats a token")
    assert samples.title == "Effective samples"
    # the axis runs to 0.7 and 6 % of that beyond: 0.742 stands at 10, 0 at 164; 0.6 → 39.5, 0.7 → 18.7, 0.2, 0.3 below
    assert held_out.lines[0].band == "M50 39.5L348 18.7L348 101.7L50 122.5Z"


def test_chosen_and_rejected_share_a_chart() -> None:
    found = curves(stage(accuracy=[0.5], reward_chosen=[1.0, 2.0], reward_rejected=[0.0, -1.0]))
    assert [(chart.title, len(chart.lines)) for chart in found.course] == [
        ("Chosen scored above rejected", 1),
        ("Reward chosen and rejected", 2),
    ]


def test_one_quantity_under_two_names_is_drawn_once_in_front() -> None:
    found = curves(stage(loss=[2.0, 1.0], nll_per_token=[2.0, 1.00001]))
    assert [chart.title for chart in found.course] == ["Loss"]
    assert [chart.title for chart in found.other] == ["Loss per token"]


def test_a_loss_that_is_a_sum_says_so_after_the_loss_per_token() -> None:
    found = curves(stage(loss=[104.0], nll_per_token=[2.0], targets_per_unit=[52.0], grad_norm_per_token=[1.0]))
    assert [chart.title for chart in found.course] == ["Loss per token", "Loss per sequence"]
    assert [chart.title for chart in found.optimizer] == ["Grad norm per token"]


def test_time_by_activity_replaces_time_of_a_step() -> None:
    made = stage()
    parts = {"generate": 1.0, "verify": 0.1, "update": 2.0, "seconds": 3.2, "tokens_per_second": 90.0}
    made.timing = {name: {1: value, 2: value} for name, value in parts.items()}
    speed, time = curves(made).speed
    assert (speed.unit, time.title, len(time.lines)) == ("tokens/s", "Time of a step, by activity", 3)


def test_metrics_beyond_the_room_stay_in_the_table() -> None:
    found = curves(stage(**{f"m{index}": [1.0] for index in range(MOST_CHARTS + 5)}))
    assert len(found.other) == MOST_CHARTS
    assert (found.undrawn, len(found.series)) == (5, MOST_CHARTS + 5)
