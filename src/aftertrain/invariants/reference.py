"""The reference's log-probs on disk are those of the model that training starts from."""

from __future__ import annotations

import torch
from torch import Tensor

from aftertrain.invariants.bench import REFERENCE, Bench
from aftertrain.invariants.finding import EXACT, TOLERANCES, Finding, Measure, NotChecked
from aftertrain.invariants.scores import score_measure


def check_reference(bench: Bench) -> Finding:
    """What the stage cached, what it reads back, a reference model scored now, and the policy before its first step."""
    trial = bench.trial
    if trial.reference is None:
        raise NotChecked("the loss needs no reference")
    made = _column(bench)
    read = [
        {REFERENCE: torch.tensor(segment.columns[REFERENCE])}
        for atom in trial.reference(bench.folder, trial.ranks)
        for segment in atom
    ]
    cached = [{"logprobs": each[REFERENCE]} for each in made]
    reference = trial.engines(None)
    live = bench.scores(bench.packed, wants=("logprobs",), engines=reference)
    policy = bench.scores(bench.packed, wants=("logprobs",))
    own = TOLERANCES[bench.precision]["scores"]
    again = max(float((a[REFERENCE] - b[REFERENCE]).abs().max()) for a, b in zip(made, read, strict=True))
    tokens = sum(len(segment.token_ids) for segment in bench.flat)
    return Finding(
        "reference",
        f"cached log-probs of {tokens:,} tokens against a reference model scored now, the untrained policy, and (bits) "
        "what is read back",
        (
            Measure("live", score_measure(cached, live, bench.precision).deviation, own),
            Measure("policy at the start", score_measure(cached, policy, bench.precision).deviation, own),
            Measure("read back", again, EXACT),
        ),
    )


def _column(bench: Bench) -> list[dict[str, Tensor]]:
    return [{REFERENCE: torch.tensor(segment.columns[REFERENCE])} for atom in bench.referenced for segment in atom]
