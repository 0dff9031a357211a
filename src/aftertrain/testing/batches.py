"""Made-up micro-batches and scores that satisfy what a loss says it needs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from aftertrain.core.batch import CHOSEN, PROBE, REJECTED, SINGLE, PackedBatch, TokenScores
from aftertrain.core.loss import Loss, LossOutput, Needs
from aftertrain.core.packed.packing import Segment, collate

VOCABULARY = 50
ATOMS = 8


@dataclass(frozen=True)
class Scored:
    """A segment with its made-up scores, one number per token and score."""

    segment: Segment
    scores: dict[str, list[float]] = field(default_factory=dict)


Atoms = Sequence[Sequence[Scored]]


def make_atoms(needs: Needs) -> list[list[Scored]]:
    """Atoms of unequal lengths, as `needs.atom` groups them, with every column and score asked for."""
    rng = random.Random(0)
    places = range({"segment": 1, "pair": 2, "group": 3}[needs.atom])
    atoms = [[_scored(needs, rng, atom, place) for place in places] for atom in range(ATOMS)]
    if needs.probes is not None:
        for number, atom in enumerate(atoms):
            probe = _scored(needs, rng, number, len(places))
            atom.append(replace(probe, segment=replace(probe.segment, role=PROBE)))
    return atoms


def lay(atoms: Atoms, needs: Needs, *, probes: bool = False) -> tuple[PackedBatch, TokenScores]:
    """One micro-batch of these atoms, of their probes alone or without them; the scores are leaves that want gradients.

    It is the batch of half the stage's steps done.
    """
    flat = [scored for atom in atoms for scored in atom if (scored.segment.role == PROBE) is probes]
    batch = replace(collate([scored.segment for scored in flat]).with_masks(needs.masks), progress=0.5)
    names = flat[0].scores
    scores = {
        name: torch.tensor([v for scored in flat for v in scored.scores[name]]).requires_grad_() for name in names
    }
    return batch, TokenScores(**scores)


@dataclass(frozen=True)
class Outcome:
    """A loss's output with the gradients by term, score and sample id."""

    output: LossOutput
    gradients: dict[tuple[str, str, str], Tensor]


def apply(loss: Loss[Any], parts: Sequence[Atoms]) -> list[Outcome]:
    """The loss on each micro-batch, with the statistics of all of them."""
    laid = [lay(atoms, loss.needs) for atoms in parts]
    sums = statistics(loss, parts)
    return [_outcome(loss, batch.with_statistics(sums), scores) for batch, scores in laid]


def statistics(loss: Loss[Any], parts: Sequence[Atoms]) -> dict[str, Tensor]:
    """The loss's statistics over all micro-batches."""
    sums: dict[str, Tensor] = {}
    if not loss.needs.statistics:
        return sums
    with torch.no_grad():
        for atoms in parts:
            batch, scores = lay(atoms, loss.needs, probes=loss.needs.probes is not None)
            for name, value in loss.statistics(batch, scores).items():
                sums[name] = sums[name] + value if name in sums else value
    return sums


def _outcome(loss: Loss[Any], batch: PackedBatch, scores: TokenScores) -> Outcome:
    output = loss(batch, scores)
    gradients: dict[tuple[str, str, str], Tensor] = {}
    for term, value in output.terms.items():
        for name, leaf in scores.filled().items():
            gradient = None
            if value.requires_grad:
                (gradient,) = torch.autograd.grad(value.sum(), [leaf], retain_graph=True, allow_unused=True)
            of_samples = torch.split(torch.zeros_like(leaf) if gradient is None else gradient, list(batch.lengths))
            gradients |= {(term, name, id_): part for id_, part in zip(batch.sample_ids, of_samples, strict=True)}
    return Outcome(output, gradients)


def _scored(needs: Needs, rng: random.Random, atom: int, place: int) -> Scored:
    length = rng.randint(4, 11)
    prompt = rng.randint(1, length - 2)
    mask = [index >= prompt for index in range(length)]
    scored = [index > 0 for index in range(length)] if needs.masks else mask
    logprobs = [-rng.expovariate(1.0) - 0.01 if counts else 0.0 for counts in scored]
    role = SINGLE if needs.atom != "pair" else (CHOSEN, REJECTED)[place]
    segment = Segment(
        sample_id=f"{atom}.{place}",
        token_ids=[rng.randrange(3, VOCABULARY) for _ in range(length)],
        loss_mask=mask,
        source=f"source-{atom % 2}",
        role=role,
        group=atom,
        label=float(rng.random() < 0.5),
        margin=float(atom % 3) if needs.margins else 0.0,
        columns={name: _column(name, rng, logprobs, scored) for name in sorted(needs.columns)},
    )
    scores = {
        "logprobs": logprobs,
        "entropy": [rng.uniform(0.1, 3.0) if counts else 0.0 for counts in scored],
        "log_sum_p2": [-rng.uniform(0.1, 3.0) if counts else 0.0 for counts in scored],
        "values": [rng.gauss(0, 1) for _ in range(length)],
    }
    return Scored(segment, {name: scores[name] for name in sorted(needs.scores)})


def _column(name: str, rng: random.Random, logprobs: Sequence[float], mask: Sequence[bool]) -> list[float]:
    """Log-probabilities of another model are near the scores'; every other column is a standard normal."""
    if name.endswith("logprobs"):
        return [
            min(-1e-3, value + rng.gauss(0, 0.3)) if counts else 0.0
            for value, counts in zip(logprobs, mask, strict=True)
        ]
    return [rng.gauss(0, 1) if counts else 0.0 for counts in mask]
