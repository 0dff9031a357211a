"""What a model does without being asked: dropout, frozen weights, training mode."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from aftertrain.core.batch import PackedBatch
from aftertrain.core.engine import Engine
from aftertrain.core.ground.wording import counted
from aftertrain.core.packed.packing import collate
from aftertrain.invariants.bench import SHORTEST, Bench
from aftertrain.invariants.finding import EXACT, TOLERANCES, Finding, Measure
from aftertrain.invariants.outcome import MOVER, STEPS, move, weights
from aftertrain.invariants.scores import largest_difference, score_measure


def check_finite(bench: Bench) -> Finding:
    """Loss, metrics and gradient of a step on the rows are numbers, and the gradient is not zero."""
    base = bench.base
    figures = [*base.losses.values(), *base.metrics.values()]
    strange = sum(not torch.isfinite(torch.tensor(value)) for value in figures)
    strange += sum(int((~torch.isfinite(gradient)).sum()) for gradient in base.gradients.values())
    losses = ", ".join(f"{term} loss {value:.6g}" for term, value in base.losses.items())
    return Finding(
        "finite",
        f"{losses}, {counted(len(base.metrics), 'metric')}, a gradient of norm {base.norm:.4g}",
        (Measure("not finite", strange, EXACT), Measure("zero gradient", float(base.norm == 0), EXACT)),
    )


def check_gradient(bench: Bench) -> Finding:
    """After two steps every trainable weight tensor has moved and every frozen one has its bits.

    The two shortest rows move every weight of most models. Where they do not (experts that no token went to, a pair
    whose loss is flat), all rows decide.
    """
    rows = min(SHORTEST, len(bench.atoms))
    trainable, frozen, moved = _moved(bench, [collate(bench.small)])
    if trainable - moved and rows < len(bench.atoms):
        rows = len(bench.atoms)
        moved |= _moved(bench, bench.batches)[2]
    still, drifted = sorted(trainable - moved), sorted(moved & frozen)
    notes = [f"without a gradient: {_some(still)}"] if still else []
    notes += [f"frozen and moved: {_some(drifted)}"] if drifted else []
    return Finding(
        "gradient",
        f"{len(trainable)} trainable and {len(frozen)} frozen weight tensors, {STEPS} steps on {counted(rows, 'row')}",
        (Measure("not reached", len(still), EXACT), Measure("frozen, moved", len(drifted), EXACT)),
        "; ".join(notes),
    )


def _moved(bench: Bench, batches: Sequence[PackedBatch]) -> tuple[set[str], set[str], set[str]]:
    """Names of the trainable weights, of the frozen ones, and of those that two steps change."""
    engines = bench.trial.engines(MOVER)
    before, trainable = _state(engines)
    move(bench.trial, engines, batches)
    after, _ = _state(engines)
    moved = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    return trainable, before.keys() - trainable, moved


def check_dropout(bench: Bench) -> Finding:
    """The same scores twice, to the bit, in the scoring and in the training pass; and one like the other."""
    engines = bench.engines
    packed = [range(len(bench.small))]
    once, again = (bench.scores(packed, bench.small) for _ in range(2))
    trained, retrained = (bench.scores(packed, bench.small, grad=True) for _ in range(2))
    on = [
        f"{term}: {name}"
        for term, module in modules(engines)
        for name, part in module.named_modules()
        if part.training and _rate(part) > 0
    ]
    settings = {
        f"{name} {value:g}" for _, module in modules(engines) for name, value in _dropout_settings(module).items()
    }
    tokens = sum(len(segment.token_ids) for segment in bench.small)
    tolerance = TOLERANCES[bench.precision]["scores"]
    notes = [f"in training mode: {_some(on)}"] if on else []
    notes += [f"the model's own settings, which must have no effect: {', '.join(sorted(settings)) or 'none above 0'}"]
    return Finding(
        "dropout",
        f"scores of {tokens:,} tokens twice without and twice with gradient (bits), and one against the other",
        (
            Measure("scoring", largest_difference(once, again), EXACT),
            Measure("training", largest_difference(trained, retrained), EXACT),
            Measure("one as the other", score_measure(trained, once, bench.precision).deviation, tolerance),
            Measure("layers that drop", len(on), EXACT),
        ),
        "; ".join(notes),
    )


def modules(engines: Mapping[str, Engine[Any]]) -> Iterator[tuple[str, nn.Module]]:
    """The torch modules that each engine holds, outermost alone."""
    for term, engine in engines.items():
        held = [value for value in vars(engine).values() if isinstance(value, nn.Module)]
        inner = {id(part) for module in held for part in module.modules() if part is not module}
        for module in {id(module): module for module in held}.values():
            if id(module) not in inner:
                yield term, module


def _state(engines: Mapping[str, Engine[Any]]) -> tuple[dict[str, Tensor], set[str]]:
    """Copies of all weights, and names of the trainable ones; of an engine that shows no whole module, all are."""
    held = [(f"{term}: {name}", p) for term, module in modules(engines) for name, p in module.named_parameters()]
    if not held or any(parameter.numel() == 0 for _, parameter in held):
        every = weights(engines)
        return every, set(every)
    return (
        {name: parameter.detach().to("cpu", copy=True) for name, parameter in held},
        {name for name, parameter in held if parameter.requires_grad},
    )


def _rate(part: nn.Module) -> float:
    """What a layer drops: torch's own, or attention's that is handed on as a number."""
    rates = [getattr(part, name, 0.0) for name in ("attention_dropout", "dropout_p", "dropout")]
    rates += [part.p] if isinstance(part, nn.modules.dropout._DropoutNd) else []
    return max(rate for rate in (0.0, *rates) if isinstance(rate, float))


def _dropout_settings(module: nn.Module) -> dict[str, float]:
    config: Any = getattr(module, "config", None)
    settings = config.to_dict() if hasattr(config, "to_dict") else {}
    return {
        name: float(value)
        for name, value in settings.items()
        if ("dropout" in name or "pdrop" in name) and isinstance(value, float) and value > 0
    }


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
