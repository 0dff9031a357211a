"""What a loss promises: finite, differentiable, pure, and the same sums however its samples are packed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aftertrain.testing.promise import Promise, Subject, require

if TYPE_CHECKING:
    from aftertrain.core.loss import Loss
    from aftertrain.testing.batches import Outcome

STEP = 1e-3
"""Of central differences."""
TOLERANCE = 2e-5
"""Relative, for float32 sums taken in another order."""


def needs_are_well_formed(subject: Subject) -> None:
    """`needs` names known records and scores, and says of each term what divides it."""
    needs = _loss(subject).needs
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
    import torch

    loss = _loss(subject)
    (outcome,) = _apply(loss, [0])
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
    """Each term has a finite gradient that agrees with finite differences of the term."""
    import torch

    from aftertrain.testing.batches import make_atoms

    loss = _loss(subject)
    atoms = make_atoms(loss.needs)
    (outcome,) = _apply(loss, [0])
    for term, by_score in outcome.gradients.items():
        flat = [g for pieces in by_score.values() for g in pieces.values()]
        require(all(bool(torch.isfinite(g).all()) for g in flat), f"term {term!r} has a gradient that is not finite")
        require(any(bool((g != 0).any()) for g in flat), f"term {term!r} does not depend on any score")
        slope, expected = _slopes(loss, atoms, term, outcome)
        require(
            abs(slope - expected) <= 2e-2 * max(1.0, abs(expected)),
            f"term {term!r} rises by {slope:.5g} per unit along its gradient's sign, its gradient says {expected:.5g}",
        )


def packing_changes_nothing(subject: Subject) -> None:
    """One micro-batch or one for each atom, in any order: equal sums, metrics and gradients."""
    from aftertrain.testing.batches import apply, make_atoms

    loss = _loss(subject)
    atoms = make_atoms(loss.needs)
    whole = apply(loss, [atoms])
    single = apply(loss, [[atom] for atom in atoms])
    _sums(whole, single, f"{loss.needs.atom}s")
    _same(whole, single, "in one micro-batch and in one for each atom")
    _same(whole, apply(loss, [atoms[3:], atoms[:3]]), "in one micro-batch and in two, reordered")
    _same(whole, apply(loss, [atoms[::-1]]), "in order and reversed")


def filler_counts_for_nothing(subject: Subject) -> None:
    """Segments of weight 0 change no term, no metric, and get no gradient."""
    from aftertrain.core.batch import PROBE
    from aftertrain.testing.batches import apply, make_atoms, weightless

    loss = _loss(subject)
    *kept, last = make_atoms(loss.needs)
    filler = weightless(last)
    padded = apply(loss, [[filler, *kept]])
    _same(apply(loss, [kept]), padded, "without and with filler")
    for term, by_score in padded[0].gradients.items():
        for score, pieces in by_score.items():
            for scored in (sample for sample in filler if sample.segment.role != PROBE):
                touched = bool((pieces[scored.segment.sample_id] != 0).any())
                require(not touched, f"term {term!r} sends gradient to {score} of a segment of weight 0")
    (alone,) = apply(loss, [[filler]])
    for name, value in alone.output.terms.items():
        require(value.item() == 0.0, f"term {name!r} of a micro-batch of filler alone is {value.item()}")


def it_is_pure(subject: Subject) -> None:
    """Called twice it gives the same bits, and it leaves batch and scores as they were."""
    import torch

    from aftertrain.testing.batches import apply, lay, make_atoms, statistics

    loss = _loss(subject)
    atoms = make_atoms(loss.needs)
    (first,), (second,) = apply(loss, [atoms]), apply(loss, [atoms])
    for name, term in first.output.terms.items():
        require(torch.equal(term, second.output.terms[name]), f"term {name!r} differs from call to call")
    batch, scores = lay(atoms, loss.needs)
    tensors = {
        **batch.columns,
        **batch.masks,
        **batch.segments,
        **{k: v for k, v in vars(scores).items() if v is not None},
    }
    before = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    loss(batch.with_statistics(statistics(loss, [atoms])), scores)
    for name, tensor in tensors.items():
        require(torch.equal(before[name], tensor.detach()), f"it changes {name!r} in place")


def extremes_stay_finite(subject: Subject) -> None:
    """Log-probabilities of -10,000, and segments without any target, give finite terms and gradients."""
    import torch

    from aftertrain.testing.batches import apply, make_atoms

    loss = _loss(subject)
    atoms = make_atoms(loss.needs)
    far = [
        [
            replace(s, scores={k: [v * 1e4 for v in vs] if k == "logprobs" else vs for k, vs in s.scores.items()})
            for s in atom
        ]
        for atom in atoms
    ]
    bare = [
        [replace(s, segment=replace(s.segment, loss_mask=[False] * len(s.segment.token_ids))) for s in atom]
        for atom in atoms
    ]
    for what, changed in (
        ("log-probabilities of -10,000", [far[0], *atoms[1:]]),
        ("no targets", [bare[0], *atoms[1:]]),
    ):
        (outcome,) = apply(loss, [changed])
        for name, term in outcome.output.terms.items():
            require(math.isfinite(term.item()), f"with {what}, term {name!r} is {term.item()}")
            for pieces in outcome.gradients[name].values():
                finite = all(bool(torch.isfinite(piece).all()) for piece in pieces.values())
                require(finite, f"with {what}, term {name!r} has a gradient that is not finite")


def _loss(subject: Subject) -> Loss[Any]:
    from aftertrain.core.loss import Loss

    component = subject.component()
    require(isinstance(component, Loss), f"{subject.row.component} is no Loss")
    return component  # type: ignore[return-value]


def _apply(loss: Loss[Any], seeds: Sequence[int]) -> list[Outcome]:
    from aftertrain.testing.batches import apply, make_atoms

    return apply(loss, [make_atoms(loss.needs, seed) for seed in seeds])


def _sums(whole: Sequence[Outcome], single: Sequence[Outcome], atoms: str) -> None:
    """The likeliest mistake by its name: dividing by the size of the micro-batch, as trainers elsewhere ask for."""
    count = len(single)
    for name in whole[0].output.terms:
        a, b = (sum(part.output.terms[name].item() for part in parts) for parts in (whole, single))
        averaged = not _close(a, b) and 0.5 * count <= b / a <= 2 * count if a else False
        require(
            not averaged,
            f"term {name!r} is an average, it must be a sum: {count} {atoms} in one micro-batch give {a:.5g}, one "
            f"by one they add up to {b:.5g}. A loss returns .sum(), not .mean(): aftertrain divides by the count of "
            "the whole step, so that results do not depend on how it is cut into micro-batches",
        )


def _same(whole: Sequence[Outcome], parted: Sequence[Outcome], how: str) -> None:
    import torch

    for name in whole[0].output.terms:
        a, b = (sum(part.output.terms[name].item() for part in parts) for parts in (whole, parted))
        require(_close(a, b), f"term {name!r} sums to {a:.7g} and {b:.7g} {how}")
    for name in {name for part in whole for name in part.output.metrics}:
        for which in ("sum", "count"):
            a, b = (
                sum(float(getattr(p.output.metrics[name], which)) for p in parts if name in p.output.metrics)
                for parts in (whole, parted)
            )
            require(_close(a, b), f"metric {name!r} has {which} {a:.7g} and {b:.7g} {how}")
    left, right = _gathered(whole), _gathered(parted)
    for key in left.keys() & right.keys():
        close = torch.allclose(left[key], right[key], rtol=1e-4, atol=1e-6)
        require(close, f"the gradient of term {key[0]!r} by {key[1]} of sample {key[2]} differs {how}")


def _gathered(parts: Sequence[Outcome]) -> dict[tuple[str, str, str], Any]:
    return {
        (term, score, sample): gradient
        for part in parts
        for term, by_score in part.gradients.items()
        for score, pieces in by_score.items()
        for sample, gradient in pieces.items()
    }


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= TOLERANCE * max(1.0, abs(a), abs(b))


def _slopes(loss: Loss[Any], atoms: Any, term: str, outcome: Outcome) -> tuple[float, float]:
    """Rise of a term per unit along the sign of its gradient: by central differences, and by the gradient.

    Statistics are held: a loss gets them without gradient.
    """
    import torch

    from aftertrain.core.batch import TokenScores
    from aftertrain.testing.batches import lay, statistics

    batch, scores = lay(atoms, loss.needs)
    held = statistics(loss, [atoms])
    gradients = {
        name: torch.cat([pieces[sample] for sample in batch.sample_ids])
        for name, pieces in outcome.gradients[term].items()
    }

    def value(sign: int) -> float:
        moved = {
            name: getattr(scores, name).detach() + sign * STEP * gradient.sign() for name, gradient in gradients.items()
        }
        return float(loss(batch.with_statistics(held), TokenScores(**moved)).terms[term])

    return (value(1) - value(-1)) / (2 * STEP), sum(float(gradient.abs().sum()) for gradient in gradients.values())


PROMISES: tuple[Promise, ...] = (
    needs_are_well_formed,
    terms_are_finite_scalars,
    it_is_differentiable,
    packing_changes_nothing,
    filler_counts_for_nothing,
    it_is_pure,
    extremes_stay_finite,
)
