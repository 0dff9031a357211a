"""Three optimizer steps of every built-in loss, by however many ranks the environment says; rank 0 saves what came out.

python worker.py OUT CASES_JSON      cases: {name: [model folder, engine settings, names of losses or null for all]}
"""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path
from typing import Any

import torch

from aftertrain.core.batch import CHOSEN, PROBE, REJECTED
from aftertrain.core.engine import AdamW
from aftertrain.core.learning.processes import joined
from aftertrain.core.learning.step import train_step
from aftertrain.core.packed.packing import Atom, Segment, pack_share
from aftertrain.core.ranks import Ranks
from aftertrain.registry.builder import ComponentBuilder
from aftertrain.registry.discovery import installed
from aftertrain.registry.resolve import SettingsResolver

BUDGET = 40
STEPS = 3
OPTIMIZER = AdamW(eps=1e-4)
"""With a tiny eps AdamW makes whole steps of the rounding of a gradient that is zero."""
ADAPTIVE = {"beta_schedule": "adaptive", "target_loss": 0.2}
LOSSES: dict[str, dict[str, Any]] = {
    "sft sum": {"use": "sft", "reduction": "sum"},
    "sft token_mean": {"use": "sft", "reduction": "token_mean"},
    "sft sequence_mean": {"use": "sft", "reduction": "sequence_mean"},
    "sft with entropy": {"use": "sft", "regularizer": {"use": "confidence_penalty"}},
    "sft near the reference": {
        "use": "sft",
        "reduction": "token_mean",
        "regularizer": {"use": "reference_kl", "reduction": "token_mean"},
    },
    "confidence_penalty": {"use": "confidence_penalty", "reduction": "sequence_mean"},
    "reference_kl": {"use": "reference_kl"},
    "dpo": {"use": "dpo"},
    "dpo by length, smoothed": {"use": "dpo", "beta": 5.0, "normalize": "length", "label_smoothing": 0.1},
    "dpo, beta by step and loss": {"use": "dpo", **ADAPTIVE},
    "ipo": {"use": "ipo", "beta": 0.5},
    "hinge": {"use": "hinge"},
    "robust": {"use": "robust"},
    "wpo": {"use": "wpo"},
    "wpo, capped, beta by step and loss": {"use": "wpo", "normalize": "length", "max_weight": 0.02, **ADAPTIVE},
    "simpo": {"use": "simpo"},
    "simpo, gamma, beta by step and loss": {"use": "simpo", "gamma": 0.3, **ADAPTIVE},
    "orpo": {"use": "orpo"},
    "orpo of whole samples": {"use": "orpo", "likelihood": "sequence"},
    "kto": {"use": "kto", "desirable_weight": 1.5},
    "kto without kl": {"use": "kto", "kl": "none"},
    "reward_model": {"use": "reward_model", "centering": 0.01},
    "reward_model with margins": {"use": "reward_model", "margin": True, "centering": 0.01},
    "ppo": {"use": "ppo", "entropy_coefficient": 0.01},
    "grpo": {"use": "grpo", "clip_high": 0.28},
    "grpo sequence_mean": {"use": "grpo", "reduction": "sequence_mean"},
    "dr_grpo": {"use": "dr_grpo", "length": 30},
    "dapo": {"use": "dapo"},
    "gspo": {"use": "gspo"},
    "gspo by token": {"use": "gspo", "credit": "token"},
    "cispo": {"use": "cispo"},
    "reinforce": {"use": "reinforce"},
    "actor_critic": {"use": "actor_critic"},
}
"""Every loss, and each setting that makes it count or divide otherwise; sft's micro_batch_mean promises no equality."""
REGISTRY = installed(frozenset({"*"}))
BUILDER = ComponentBuilder(REGISTRY)


def results(ranks: Ranks, model: str, engine: dict[str, Any], names: list[str] | None = None) -> dict[str, Any]:
    """By loss: losses, norms and metrics of the steps, weights after them, and this rank's micro-batch counts."""
    return {name: _trained(ranks, LOSSES[name], model, engine) for name in names or LOSSES}


def make_engine(settings: dict[str, Any]) -> Any:
    """An engine by `use` and settings."""
    return BUILDER.build(SettingsResolver(REGISTRY).resolve("engine", settings))


def _trained(ranks: Ranks, use: dict[str, Any], model: str, engine: dict[str, Any]) -> dict[str, Any]:
    loss = BUILDER.build(SettingsResolver(REGISTRY).resolve("loss", use))
    engines = {}
    for term in loss.needs.per:
        engines[term] = make_engine(engine)
        head = "scalar" if term == "value" else "lm"
        engines[term].load(model, head=head, optimizer=OPTIMIZER, seed=3, ranks=ranks)
    paired, probed = loss.needs.atom == "pair", loss.needs.probes is not None
    # Over the steps the shares need 1 and 2, then 2 and 2, micro-batches, or one rank has no sample at all.
    lengths = [[30, 9, 9, 9], [12, 12, 12, 12, 12, 9, 7], [14]]
    found: dict[str, Any] = {"steps": [], "micro_batches": []}
    for step in range(1, STEPS + 1):
        atoms = _atoms(lengths[step - 1], paired, probed)
        batches = pack_share(atoms, BUDGET, rank=ranks.rank, ranks=ranks.size)
        rates = dict.fromkeys(engines, 1e-2)
        done = train_step(engines, loss, batches, rates, step=step, temperature=0.9, progress=step / STEPS)
        norms = {f"norm {term}": report.grad_norm for term, report in done.reports.items()}
        found["steps"].append({**done.losses, **norms, **done.metrics})
        found["micro_batches"].append(len(batches))
    found["weights"] = {
        f"{term}.{weight}": tensor.detach().clone() for term, one in engines.items() for weight, tensor in one.weights()
    }
    return found


def _atoms(lengths: list[int], paired: bool, probed: bool) -> list[Atom]:
    rng = random.Random(sum(lengths))
    roles = (CHOSEN, REJECTED) if paired else (0, PROBE) if probed else (0,)
    return [
        [_segment(rng, f"s{i}.{role}", max(3, n // len(roles) - place), role, i) for place, role in enumerate(roles)]
        for i, n in enumerate(lengths)
    ]


def _segment(rng: random.Random, name: str, length: int, role: int, group: int) -> Segment:
    columns = {
        "reference_logprobs": [-4.0 - rng.random() for _ in range(length)],
        "old_logprobs": [-4.0 - rng.random() for _ in range(length)],
        "advantages": [rng.gauss(0, 1) for _ in range(length)],
        "returns": [rng.gauss(0, 1) for _ in range(length)],
        "old_values": [rng.gauss(0, 1) for _ in range(length)],
    }
    ids = [rng.randrange(3, 60) for _ in range(length)]
    mask = [i >= 2 for i in range(length)]
    extras = {"label": float(group % 2), "margin": 0.5 + group}
    return Segment(name, ids, mask, role=role, group=group, columns=columns, **extras)


def main() -> None:
    """See the module."""
    out, cases = sys.argv[1:]
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    with joined() as ranks:
        found = {name: results(ranks, *case) for name, case in json.loads(cases).items()}
        if ranks.first:
            torch.save(found, Path(out))


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    # Threads of native libraries may abort while the interpreter is taken down, and nothing is left to do.
    os._exit(0)
