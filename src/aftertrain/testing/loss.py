"""What a loss promises: finite, differentiable, pure, and the same sums however its samples are packed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from aftertrain.core.batch import TokenScores
from aftertrain.core.loss import Loss
from aftertrain.testing.batches import Outcome, apply, lay, make_atoms, statistics
from aftertrain.testing.promise import Subject, require

STEP = 1e-3
"""Of central differences."""
TOLERANCE = 2e-5
"""Relative, for float32 sums taken in another order."""


def needs_are_well_formed(subject: Subject) -> None:
    """`needs` names known records and scores, and says of each term what divides it."""
    needs = subject.component().needs
    strange = needs.records - {"Conversation", "Document", "PreferencePair", "Feedback", "Problem"}
    require(needs.records and not strange, f"needs.records is {set(needs.records)}")
    unknown = needs.scores - {"logprobs", "entropy", "log_sum_p2", "values"}
    require(not unknown, f"needs.scores has {set(unknown)}, which no engine fills")
    units = {"token", "segment", "pair", "micro_batch"}
    require(needs.per and set(needs.per.values()) <= units, f"needs.per is {dict(needs.per)}")
    require("pair" not in needs.per.values() or needs.atom == "pair", "a term is divided by pairs, the atom is no pair")
    require(
        needs.statistics or needs.probes is None, "it needs probes and asks for no statistics, which alone see them"
    )


def terms_are_finite_scalars(subject: Subject) -> None:
    """Each term of `needs.per` is a finite float32 scalar, each metric a finite (sum, count) without gradient."""
    loss: Loss[Any] = subject.component()
    (outcome,) = apply(loss, [make_atoms(loss.needs)])
    terms, metrics = outcome.output.terms, outcome.output.metrics
    require(terms.keys() == loss.needs.per.keys(), f"terms {sorted(terms)}, needs.per {sorted(loss.needs.per)}")
    for name, term in terms.items():
        require(term.shape == (), f"term {name!r} has shape {tuple(term.shape)}; a loss returns sums")
        require(term.dtype == torch.float32, f"term {name!r} is {term.dtype}")
        require(math.isfinite(term.item()), f"term {name!r} is {term.item()}")
    for name, ratio in metrics.items():
        for part in (ratio.sum, ratio.count):
            require(not getattr(part, "requires_grad", False), f"metric {name!r} carries a gradient; detach it")
            require(math.isfinite(float(part)), f"metric {name!r} is {float(ratio.sum)} / {float(ratio.count)}")
        require(float(ratio.count) >= 0, f"metric {name!r} counts {float(ratio.count)}")


def it_is_differentiable(subject: Subject) -> None:
    """Each term has a finite gradient that agrees with finite differences of the term.

    A loss that `weighs_by_constants` is held to its term with these constant.
    """
    loss: Loss[Any] = subject.component()
    atoms = make_atoms(loss.needs)
    (outcome,) = apply(loss, [atoms])
    for term in outcome.output.terms:
        flat = torch.cat([gradient for (of, _, _), gradient in outcome.gradients.items() if of == term])
        require(torch.isfinite(flat).all(), f"term {term!r} has a gradient that is not finite")
        require(flat.any(), f"term {term!r} does not depend on any score")
        slope, expected = _slopes(loss, atoms, term, outcome)
        require(
            abs(slope - expected) <= 2e-2 * max(1.0, abs(expected)),
            f"term {term!r} rises by {slope:.5g} per unit along its gradient's sign, its gradient says {expected:.5g}",
        )


def packing_changes_nothing(subject: Subject) -> None:
    """One micro-batch or one for each atom, in any order: equal sums, metrics and gradients."""
    loss: Loss[Any] = subject.component()
    atoms = make_atoms(loss.needs)
    whole = apply(loss, [atoms])
    single = apply(loss, [[atom] for atom in atoms])
    _sums(whole, single, f"{loss.needs.atom}s")
    _same(whole, single, "in one micro-batch and in one for each atom")
    _same(whole, apply(loss, [atoms[3:], atoms[:3]]), "in one micro-batch and in two, reordered")
    _same(whole, apply(loss, [atoms[::-1]]), "in order and reversed")


def filler_counts_for_nothing(subject: Subject) -> None:
    """Segments of weight 0 change no term, no metric, and get no gradient."""
    loss: Loss[Any] = subject.component()
    *atoms, last = make_atoms(loss.needs)
    filler = [replace(scored, segment=replace(scored.segment, weight=0.0)) for scored in last]
    padded = apply(loss, [[filler, *atoms]])
    _same(apply(loss, [atoms]), padded, "without and with filler")
    weightless_ids = {scored.segment.sample_id for scored in filler}
    for (term, score, sample), gradient in padded[0].gradients.items():
        touched = sample in weightless_ids and gradient.any()
        require(not touched, f"term {term!r} sends gradient to {score} of a segment of weight 0")
    (alone,) = apply(loss, [[filler]])
    for name, value in alone.output.terms.items():
        require(value.item() == 0.0, f"term {name!r} of a micro-batch of filler alone is {value.item()}")


def it_is_pure(subject: Subject) -> None:
    """Called twice it gives the same bits, and it leaves batch and scores as they were."""
    loss: Loss[Any] = subject.component()
    atoms = make_atoms(loss.needs)
    (first,), (second,) = apply(loss, [atoms]), apply(loss, [atoms])
    for name, term in first.output.terms.items():
        require(torch.equal(term, second.output.terms[name]), f"term {name!r} differs from call to call")
    batch, scores = lay(atoms, loss.needs)
    tensors = {**batch.columns, **batch.masks, **batch.segments, **scores.filled()}
    before = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    loss(batch.with_statistics(statistics(loss, [atoms])), scores)
    for name, tensor in tensors.items():
        require(torch.equal(before[name], tensor.detach()), f"it changes {name!r} in place")


def extremes_stay_finite(subject: Subject) -> None:
    """Log-probabilities of -10,000, and segments without any target, give finite terms and gradients."""
    loss: Loss[Any] = subject.component()
    first, *others = make_atoms(loss.needs)
    far = [
        replace(s, scores={k: [v * 1e4 for v in vs] if k == "logprobs" else vs for k, vs in s.scores.items()})
        for s in first
    ]
    bare = [replace(s, segment=replace(s.segment, loss_mask=[False] * len(s.segment.token_ids))) for s in first]
    for what, changed in (("log-probabilities of -10,000", far), ("no targets", bare)):
        (outcome,) = apply(loss, [[changed, *others]])
        for name, term in outcome.output.terms.items():
            require(math.isfinite(term.item()), f"with {what}, term {name!r} is {term.item()}")
        for (name, _, _), gradient in outcome.gradients.items():
            require(torch.isfinite(gradient).all(), f"with {what}, term {name!r} has a gradient that is not finite")


def _sums(whole: Sequence[Outcome], single: Sequence[Outcome], atoms: str) -> None:
    """The likeliest mistake by its name: dividing by the size of the micro-batch, as trainers elsewhere ask for."""
    count = len(single)
    for name in whole[0].output.terms:
        a, b = _summed(whole, name), _summed(single, name)
        averaged = not _close(a, b) and 0.5 * count <= b / a <= 2 * count if a else False
        require(
            not averaged,
            f"term {name!r} is an average, it must be a sum: {count} {atoms} in one micro-batch give {a:.5g}, one "
            f"by one they add up to {b:.5g}. A loss returns .sum(), not .mean(): aftertrain divides by the count of "
            "the whole step, so that results do not depend on how it is cut into micro-batches",
        )


def _same(whole: Sequence[Outcome], parted: Sequence[Outcome], how: str) -> None:
    for name in whole[0].output.terms:
        a, b = _summed(whole, name), _summed(parted, name)
        require(_close(a, b), f"term {name!r} sums to {a:.7g} and {b:.7g} {how}")
    for name in {name for part in whole for name in part.output.metrics}:
        for which in ("sum", "count"):
            a, b = (
                sum(float(getattr(p.output.metrics[name], which)) for p in parts if name in p.output.metrics)
                for parts in (whole, parted)
            )
            require(_close(a, b), f"metric {name!r} has {which} {a:.7g} and {b:.7g} {how}")
    left, right = ({k: v for part in parts for k, v in part.gradients.items()} for parts in (whole, parted))
    for term, score, sample in left.keys() & right.keys():
        close = torch.allclose(left[term, score, sample], right[term, score, sample], rtol=1e-4, atol=1e-6)
        require(close, f"the gradient of term {term!r} by {score} of sample {sample} differs {how}")


def _summed(parts: Sequence[Outcome], term: str) -> float:
    return sum(part.output.terms[term].item() for part in parts)


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= TOLERANCE * max(1.0, abs(a), abs(b))


class _Held(TorchFunctionMode):
    """Whatever is detached has the values that it had in the first block, which are written to `values`."""

    def __init__(self, values: list[Tensor]) -> None:
        super().__init__()
        self.values, self.known = values, iter(list(values))
        self.first = not values

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func is not Tensor.detach:
            return found
        if self.first:
            self.values.append(found.clone())
            return found
        return next(self.known, found)


def _slopes(loss: Loss[Any], atoms: Any, term: str, outcome: Outcome) -> tuple[float, float]:
    """Rise of a term per unit along the sign of its gradient: by central differences, and by the gradient.

    Statistics are held, and what the loss detaches where that is its design: a gradient does not see these move.
    """
    batch, scores = lay(atoms, loss.needs)
    sums = statistics(loss, [atoms])
    gradients = {
        name: torch.cat([outcome.gradients[term, name, sample] for sample in batch.sample_ids])
        for name in scores.filled()
    }

    detached: list[Tensor] = []

    def value(sign: int) -> float:
        moved = {
            name: getattr(scores, name).detach() + sign * STEP * gradient.sign() for name, gradient in gradients.items()
        }
        with _Held(detached) if loss.weighs_by_constants else nullcontext():
            return float(loss(batch.with_statistics(sums), TokenScores(**moved)).terms[term])

    value(0)
    return (value(1) - value(-1)) / (2 * STEP), sum(float(gradient.abs().sum()) for gradient in gradients.values())
