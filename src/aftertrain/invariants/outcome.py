"""What one training step gives: losses, metrics and the gradient, all through an engine's public methods.

An engine shows no gradients, but it takes AdamW's settings. With β1 = β2 = 0 and an ε far above every gradient g, one
step moves a weight by -η·g/(|g| + ε) = -(η/ε)·g, so that the difference of the weights is the gradient as it was
really applied: after all micro-batches, ranks and divisions, whatever the engine is made of. η/ε is a power of two and
so large that the digits of g are not lost beside those of the weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from aftertrain.core.batch import PackedBatch
from aftertrain.core.engine import AdamW, Engine
from aftertrain.core.learning.step import StepResult, train_step
from aftertrain.core.learning.trial import Trial
from aftertrain.invariants.finding import TOLERANCES, Measure

EPS, RATIO = 2.0**30, 2.0**20
PROBE = AdamW(beta1=0.0, beta2=0.0, eps=EPS, weight_decay=0.0, max_grad_norm=None)
"""With a learning rate of `EPS * RATIO`, a step subtracts `RATIO` times the gradient."""
STEPS = 2
"""Adapters add nothing before their second factors have moved, and only a second step moves the first ones."""
MOVER = AdamW(weight_decay=0.0)
HALF = 0.5
"""Progress of the step that is compared: schedules stand in their middle."""
SMALL = 1e-3
"""A tensor whose gradient is less than this share of all of it is measured against that share: what is zero but for
rounding (the bias of attention's keys) has no digits to compare."""


@dataclass(frozen=True)
class Outcome:
    """One step.

    Attributes:
        losses: by term.
        gradients: by term and weight, float32 on the CPU.
    """

    losses: Mapping[str, float]
    metrics: Mapping[str, float]
    gradients: Mapping[str, Tensor]

    @property
    def norm(self) -> float:
        """Of the whole gradient."""
        return _norm(self.gradients.values())


def outcome(trial: Trial, batches: Sequence[PackedBatch], engines: Mapping[str, Engine[Any]] | None = None) -> Outcome:
    """One step of the stage's models on these micro-batches.

    Args:
        engines: loaded with `PROBE` and not yet stepped; loaded here by default.

    Raises:
        NumericsError: the loss or the gradient is not finite.
    """
    engines = trial.engines(PROBE) if engines is None else engines
    before = weights(engines)
    result = step_all(trial, engines, batches, EPS * RATIO)
    after = weights(engines)
    gradients = {name: (before.pop(name) - after.pop(name)) / RATIO for name in list(before)}
    return Outcome(result.losses, result.metrics, gradients)


def step_all(
    trial: Trial, engines: Mapping[str, Engine[Any]], batches: Sequence[PackedBatch], rate: float, *, step: int = 1
) -> StepResult:
    """A step of every model, as the stage takes it."""
    rates, temperature = dict.fromkeys(engines, rate), trial.temperature
    return train_step(engines, trial.make_loss(), batches, rates, step=step, temperature=temperature, progress=HALF)


def move(trial: Trial, engines: Mapping[str, Engine[Any]], batches: Sequence[PackedBatch]) -> None:
    """`STEPS` plain steps of engines that were loaded with `MOVER`."""
    for step in range(1, STEPS + 1):
        step_all(trial, engines, batches, 1e-3, step=step)


def weights(engines: Mapping[str, Engine[Any]]) -> dict[str, Tensor]:
    """Copies of all weights, float32 on the CPU, by term and name."""
    return {
        f"{term}: {name}": tensor.detach().to("cpu", torch.float32, copy=True)
        for term, engine in engines.items()
        for name, tensor in engine.weights()
    }


def loss_measure(ours: Outcome, theirs: Outcome, precision: str) -> Measure:
    """Largest difference of a term's losses, relative to the loss (or to 0.1 where it is smaller)."""
    worst = max(abs(ours.losses[term] - value) / max(abs(value), 0.1) for term, value in theirs.losses.items())
    return Measure("loss", worst, TOLERANCES[precision]["loss"])


def metrics_measure(ours: Outcome, theirs: Outcome) -> tuple[Measure, str]:
    """Largest difference of a metric, relative to it (or to 0.1 where it is smaller), and the metric's name.

    One that is there on one side only counts as infinitely far.
    """
    shares = {
        name: abs(ours.metrics[name] - theirs.metrics[name]) / max(abs(theirs.metrics[name]), 0.1)
        if name in ours.metrics and name in theirs.metrics
        else float("inf")
        for name in {**ours.metrics, **theirs.metrics}
    }
    worst = max(shares, key=lambda name: (shares[name] != shares[name], shares[name]), default="")
    return Measure("metrics", shares.get(worst, 0.0), TOLERANCES["float32"]["metrics"]), worst


def gradient_measure(ours: Outcome, theirs: Outcome, precision: str) -> tuple[Measure, str]:
    """Norm of the difference over the norm of the gradient, of the worst weight tensor; and that tensor's name."""
    least = SMALL * theirs.norm
    shares = {
        name: _norm([ours.gradients[name] - gradient]) / max(_norm([gradient]), least, 1e-30)
        for name, gradient in theirs.gradients.items()
    }
    name = max(shares, key=lambda key: (shares[key] != shares[key], shares[key]))
    return Measure("gradient", shares[name], TOLERANCES[precision]["gradient"]), name


def precision_of(engines: Mapping[str, Engine[Any]]) -> str:
    """`bfloat16` where products or weights have its digits or fewer than float32's, else `float32`."""
    for engine in engines.values():
        of_weights = {tensor.dtype for _, tensor in engine.weights()}
        of_products = getattr(engine.settings, "dtype", "")
        if of_products in ("bfloat16", "float16") or of_weights & {torch.bfloat16, torch.float16}:
            return "bfloat16"
    return "float32"


def _norm(tensors: Any) -> float:
    return float(torch.stack([torch.linalg.vector_norm(t, dtype=torch.float64) for t in tensors]).norm())
