"""Learning rates against transformers' schedulers, and against values by hand (F12)."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from aftertrain.core.learning.schedule import Optimizer, Pace, adaptive_beta


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
@pytest.mark.parametrize(("warmup", "n_steps"), [(0.0, 7), (0.03, 100), (0.1, 33), (0.5, 8), (1.0, 5)])
def test_rates_are_those_of_transformers(schedule: str, warmup: float, n_steps: int) -> None:
    from transformers import TrainingArguments, get_scheduler

    name: Any = "constant_with_warmup" if schedule == "constant" else schedule
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=3e-4)
    warm = TrainingArguments(warmup_steps=warmup, use_cpu=True, report_to="none").get_warmup_steps(n_steps)
    scheduler = get_scheduler(name, optimizer, num_warmup_steps=warm, num_training_steps=n_steps)
    ours = Optimizer(lr=3e-4, schedule=schedule, warmup=warmup)
    for step in range(n_steps):
        if warmup < 1:
            assert ours.rate(step, n_steps) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-12), step
        optimizer.step()
        scheduler.step()


def test_a_warmup_over_all_steps_rises_to_the_end() -> None:
    rates = [Optimizer(lr=1.0, warmup=1.0).rate(step, 4) for step in range(4)]
    assert rates == [0.0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize(("warmup", "decay", "floor", "n_steps"), [(0.1, 0.2, 0.0, 50), (0.0, 0.5, 0.1, 11)])
def test_warmup_stable_decay_is_that_of_transformers(warmup: float, decay: float, floor: float, n_steps: int) -> None:
    """Linear decay over the last steps; transformers' warmup starts at the floor, ours at 0."""
    import math

    from transformers.optimization import get_wsd_schedule

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3e-4)
    warm, fall = math.ceil(warmup * n_steps), math.ceil(decay * n_steps)
    scheduler = get_wsd_schedule(optimizer, warm, fall, n_steps, decay_type="linear", min_lr_ratio=floor)
    ours = Optimizer(lr=3e-4, schedule="wsd", warmup=warmup, decay=decay, floor=floor)
    for step in range(n_steps):
        assert ours.rate(step, n_steps) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-12), step
        optimizer.step()
        scheduler.step()


def test_cosine_to_a_floor_is_that_of_transformers() -> None:
    from transformers.optimization import get_cosine_with_min_lr_schedule_with_warmup

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = get_cosine_with_min_lr_schedule_with_warmup(optimizer, 0, 20, min_lr_rate=0.1)
    ours = Optimizer(lr=1.0, schedule="cosine", floor=0.1)
    for step in range(20):
        assert ours.rate(step, 20) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-12), step
        optimizer.step()
        scheduler.step()


def test_rates_by_hand() -> None:
    """wsd, 10 steps, warmup 2, decay 4: 0, ½, 1, 1, 1, 1, 1, ¾, ½, ¼ of the peak; linear to a floor of ½ by eighths."""
    wsd = Optimizer(lr=4.0, schedule="wsd", warmup=0.2, decay=0.4)
    assert [wsd.rate(step, 10) for step in range(10)] == [0.0, 2.0, 4.0, 4.0, 4.0, 4.0, 4.0, 3.0, 2.0, 1.0]
    linear = Optimizer(lr=8.0, floor=0.5)
    assert [linear.rate(step, 4) for step in range(4)] == [8.0, 7.0, 6.0, 5.0]


def test_the_adaptive_rate_by_hand() -> None:
    """η₀ = 1, t_w = 4 of 8 steps: √¼, √½, √¾, 1, 1 … with full batches; a batch of a quarter doubles it (F12)."""
    adaptive = Optimizer(lr=1.0, schedule="adaptive", warmup=0.5)
    expected = [0.5, 0.5**0.5, 0.75**0.5, 1.0, 1.0, 1.0]
    assert [adaptive.rate(step, 8) for step in range(6)] == pytest.approx(expected)
    assert adaptive.rate(0, 8, batch_share=0.25) == pytest.approx(1.0)
    assert adaptive.rate(7, 8, batch_share=0.5) == pytest.approx(2**0.5)
    assert Optimizer(lr=1.0, schedule="adaptive").rate(0, 8) == 1.0


def test_beta_by_hand() -> None:
    """β₀ = 5 at step 9 of 100, loss 0.8 above its target 0.2: 5·√0.09·√¼ = 0.75; under the target 1.5 (F22)."""
    assert adaptive_beta(5.0, 0.09, loss=0.8, target=0.2) == pytest.approx(0.75)
    assert adaptive_beta(5.0, 0.09, loss=0.1, target=0.2) == pytest.approx(1.5)
    assert adaptive_beta(5.0, 0.09, loss=-0.3, target=0.2) == pytest.approx(1.5)
    assert adaptive_beta(5.0, 0.09) == pytest.approx(1.5)


def test_a_horizon_beyond_the_run_and_short_of_it() -> None:
    """Linear from 8 over 8 planned steps of which 4 run: 8, 7, 6, 5; over 2: 8, 4, then 0; updates count too."""
    far, near = Optimizer(lr=8.0, horizon=8), Optimizer(lr=8.0, horizon=2)
    assert [Pace(step, 4).rates({"policy": far})["policy"] for step in range(4)] == [8.0, 7.0, 6.0, 5.0]
    assert [Pace(step, 4).rates({"policy": near})["policy"] for step in range(4)] == [8.0, 4.0, 0.0, 0.0]
    half = Optimizer(lr=8.0, horizon=4)
    assert [Pace(step, 4, updates=2).rates({"policy": half})["policy"] for step in range(4)] == [8.0, 7.0, 6.0, 5.0]
