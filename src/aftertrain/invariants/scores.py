"""Invariants of the forward pass: a sample's scores are its own, whatever lies beside it."""

from __future__ import annotations

from collections.abc import Sequence

from aftertrain.core.ground.wording import counted
from aftertrain.invariants.bench import Bench, Scores
from aftertrain.invariants.finding import TOLERANCES, Finding, Measure, NotChecked
from aftertrain.invariants.outcome import PROBE, gradient_measure, loss_measure, outcome
from aftertrain.invariants.plain import plain_models, plain_outcome

CHUNKS = 5
"""Parts that the target tokens are cut into for the chunked head."""


def check_packed(bench: Bench) -> Finding:
    """Each sample in a forward of its own has the scores that it has packed."""
    alone = bench.scores([[i] for i in range(len(bench.flat))])
    measure = score_measure(bench.together, alone, bench.precision)
    tokens = counted(sum(len(segment.token_ids) for segment in bench.flat), "token")
    samples = counted(len(bench.flat), "sample")
    micro = counted(len(bench.packed), "micro-batch", "micro-batches")
    compared = f"{_names(bench)} of {tokens}: {samples} in {micro}, and alone"
    return Finding("packed", compared, (measure,), _worst(bench, bench.together, alone, measure))


def check_neighbours(bench: Bench) -> Finding:
    """A sample's scores do not depend on which samples, how long, lie before and after it."""
    if len(bench.places) < 2:
        raise NotChecked("there is only one row")
    beside = bench.scores([[place for here in reversed(pair) for place in here] for pair in _pairs(bench.places)])
    measure = score_measure(beside, bench.together, bench.precision)
    lengths = [len(segment.token_ids) for segment in bench.flat]
    compared = (
        f"{_names(bench)} of {len(bench.flat)} samples of {min(lengths)} to {max(lengths)} tokens, "
        "two rows at a time, turned round, and packed with all"
    )
    return Finding("neighbours", compared, (measure,), _worst(bench, beside, bench.together, measure))


def check_chunked(bench: Bench) -> Finding:
    """The engine, its head in chunks, gives the scores, loss and gradient of the family's own code with full logits."""
    trial = bench.trial
    scored = sum(int(batch.with_masks(bench.needs.masks).scored_mask().sum()) for batch in bench.batches)
    chunk = max(1, scored // len(bench.batches) // CHUNKS)
    engines = trial.engines(PROBE, chunk=chunk)
    models = plain_models(trial, engines)
    precision = f"{bench.precision} plain"
    ours = bench.scores(bench.packed, engines=engines)
    stepped, plain = outcome(trial, bench.batches, engines), plain_outcome(trial, bench.batches, models)
    theirs = bench.scores(bench.packed, engines=models)  # type: ignore[arg-type]
    measures = [score_measure(ours, theirs, precision), loss_measure(stepped, plain, precision)]
    note = _worst(bench, ours, theirs, measures[0])
    if stepped.gradients.keys() == plain.gradients.keys() and not _adapted(bench):
        gradient, name = gradient_measure(stepped, plain, precision)
        measures.append(gradient)
        note = note or (f"largest in the gradient of {name}" if not gradient.holds else "")
    else:
        note = note or "adapters are trained: the gradient of whole weights is not compared"
    several = "chunk" in type(trial.engine.settings).model_fields and bench.needs.scores != {"values"}
    how = f"logits {chunk} tokens at a time" if several else "the engine's scores"
    compared = f"{how} against transformers' own forward of each sample, {scored:,} scored tokens"
    return Finding("chunked", compared, tuple(measures), note)


def _pairs(places: Sequence[list[int]]) -> list[Sequence[list[int]]]:
    """Rows by twos, so that each has one neighbour; of an odd number the last has two."""
    ends = [*range(2, len(places) - 1, 2), len(places)]
    return [places[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def score_measure(ours: Scores, theirs: Scores, precision: str) -> Measure:
    """Largest difference of a score of one token, relative to the largest score (or to 1 where all are smaller)."""
    return Measure("scores", max(_differences(ours, theirs)), TOLERANCES[precision]["scores"])


def largest_difference(ours: Scores, theirs: Scores) -> float:
    """Of a score of one token, 0 only where all bits are equal."""
    return max(
        float((a[name] - b[name]).abs().max()) for a, b in zip(ours, theirs, strict=True) for name in a if len(a[name])
    )


def _differences(ours: Scores, theirs: Scores) -> list[float]:
    """Of each segment the largest; hits are left out, where a tie is decided by rounding."""
    names = [name for name in theirs[0] if name != "hits"]
    scale = {name: max(1.0, *(float(scores[name].abs().max()) for scores in theirs)) for name in names}
    return [
        max(float((a[name] - b[name]).abs().nan_to_num(float("inf")).max()) / scale[name] for name in names)
        for a, b in zip(ours, theirs, strict=True)
    ]


def _worst(bench: Bench, ours: Scores, theirs: Scores, measure: Measure) -> str:
    """The sample that differs most, where that is too much."""
    if measure.holds:
        return ""
    differences = _differences(ours, theirs)
    return f"largest in sample {bench.flat[differences.index(max(differences))].sample_id!r}"


def _names(bench: Bench) -> str:
    return ", ".join(sorted(bench.needs.scores))


def _adapted(bench: Bench) -> bool:
    return getattr(bench.trial.engine.settings, "lora", None) is not None
