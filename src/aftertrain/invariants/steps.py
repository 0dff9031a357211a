"""Invariants of a whole step: how its rows are cut, ordered and filled up changes neither loss nor gradient."""

from __future__ import annotations

from dataclasses import replace

from aftertrain.core.ground.wording import counted
from aftertrain.core.packed.packing import collate
from aftertrain.invariants.bench import Bench
from aftertrain.invariants.finding import Finding, Measure, NotChecked
from aftertrain.invariants.outcome import Outcome, gradient_measure, loss_measure, metrics_measure, outcome


def check_accumulation(bench: Bench) -> Finding:
    """Packed as full as the budget allows, and one row in each micro-batch."""
    if len(bench.atoms) < 2:
        raise NotChecked("there is only one row")
    few, packed = bench.batches, bench.base
    if len(few) == len(bench.atoms):
        few = [collate([*first, *second]) for first, second in zip(bench.atoms[::2], bench.atoms[1::2], strict=False)]
        few += [collate(bench.atoms[-1])] * (len(bench.atoms) % 2)
        packed = outcome(bench.trial, few)
    n = len(bench.atoms)
    cut = f"{len(few)} × {n / len(few):.2g}"
    return _finding(bench, "accumulation", f"{cut} against {n} × 1", packed, bench.single)


def check_order(bench: Bench) -> Finding:
    """The same rows in the same micro-batches, last first."""
    if len(bench.atoms) < 2:
        raise NotChecked("there is only one row")
    turned = [collate([s for i in reversed(group) for s in bench.atoms[i]]) for group in reversed(bench.groups)]
    compared = f"{len(bench.atoms)} rows in order and reversed"
    return _finding(bench, "order", compared, outcome(bench.trial, turned), bench.base)


def check_filler(bench: Bench) -> Finding:
    """With what a rank computes when it has fewer rows than the others: a micro-batch of weight 0."""
    smallest = min(bench.atoms, key=lambda atom: sum(len(segment.token_ids) for segment in atom))
    filler = collate([replace(segment, weight=0.0) for segment in smallest])
    beside = collate([*(replace(segment, weight=0.0) for segment in smallest), *bench.atoms[0]])
    rest = [collate(atom) for atom in bench.atoms[1:]]
    compared = f"{counted(len(bench.atoms), 'row')}, and with two samples of weight 0, one in a micro-batch of its own"
    return _finding(bench, "filler", compared, outcome(bench.trial, [beside, *rest, filler]), bench.single)


def _finding(bench: Bench, invariant: str, compared: str, ours: Outcome, theirs: Outcome) -> Finding:
    measures, note = step_measures(ours, theirs, bench.precision)
    targets = counted(sum(int(batch.targets.sum()) for batch in bench.batches), "target token")
    return Finding(invariant, f"loss, metrics and gradient of {targets}: {compared}", measures, note)


def step_measures(ours: Outcome, theirs: Outcome, precision: str) -> tuple[tuple[Measure, ...], str]:
    """Of loss, gradient and (in float32) metrics; and where what is broken is broken most."""
    loss = loss_measure(ours, theirs, precision)
    gradient, tensor = gradient_measure(ours, theirs, precision)
    metrics, metric = metrics_measure(ours, theirs)
    shown = [metrics] if precision == "float32" and metric else []
    note = ""
    if not loss.holds:
        note = ", ".join(
            f"{term} loss {ours.losses[term]:.6g}, not {value:.6g}" for term, value in theirs.losses.items()
        )
    elif not gradient.holds:
        note = f"largest in the gradient of {tensor}"
    elif shown and not metrics.holds:
        note = f"metric {metric} is {ours.metrics.get(metric)}, not {theirs.metrics.get(metric)}"
    return (loss, gradient, *shown), note
