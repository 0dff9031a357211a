"""The reference's log-probs on disk are those of the model that training starts from."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from aftertrain.core.packed.packing import Atom
from aftertrain.invariants.bench import REFERENCE, Bench, Scores
from aftertrain.invariants.finding import EXACT, TOLERANCES, Finding, Measure, NotChecked
from aftertrain.invariants.scores import largest_difference, score_measure


def check_reference(bench: Bench) -> Finding:
    """What the stage cached, what it reads back, a reference model scored now, and the policy before its first step."""
    trial = bench.trial
    if trial.reference is None:
        raise NotChecked("the loss needs no reference")
    cached = _scores(bench.referenced)
    read = _scores(trial.reference(bench.folder, trial.ranks))
    live = bench.scores(bench.packed, wants=("logprobs",), engines=trial.engines(None))
    policy = bench.scores(bench.packed, wants=("logprobs",))
    tolerance = TOLERANCES[bench.precision]["scores"]
    tokens = sum(len(segment.token_ids) for segment in bench.flat)
    return Finding(
        "reference",
        f"cached log-probs of {tokens:,} tokens against a reference model scored now, the untrained policy, and (bits) "
        "what is read back",
        (
            Measure("live", score_measure(cached, live, bench.precision).deviation, tolerance),
            Measure("policy at the start", score_measure(cached, policy, bench.precision).deviation, tolerance),
            Measure("read back", largest_difference(cached, read), EXACT),
        ),
    )


def _scores(atoms: Iterable[Atom]) -> Scores:
    return [{"logprobs": torch.tensor(segment.columns[REFERENCE])} for atom in atoms for segment in atom]
