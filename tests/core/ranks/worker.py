"""Two optimizer steps of every built-in loss, by however many ranks the environment says; rank 0 saves what came out.

python worker.py MODEL OUT ENGINE_JSON
"""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path
from typing import Any

import torch

from aftertrain.core.batch import CHOSEN, REJECTED
from aftertrain.core.engine import AdamW
from aftertrain.core.packing import Atom, Segment, pack_share
from aftertrain.core.ranks import current, joined
from aftertrain.core.step import train_step

BUDGET = 40
OPTIMIZER = AdamW(eps=1e-4)
"""With a tiny eps AdamW makes whole steps of the rounding of a gradient that is zero."""
LOSSES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "sft sum": ("sft:SFT", "settings:SFTSettings", {"reduction": "sum"}),
    "sft token_mean": ("sft:SFT", "settings:SFTSettings", {"reduction": "token_mean"}),
    "sft sequence_mean": ("sft:SFT", "settings:SFTSettings", {"reduction": "sequence_mean"}),
    "dpo": ("dpo:DPO", "settings:DPOSettings", {}),
    "simpo": ("simpo:SimPO", "settings:SimPOSettings", {}),
    "reward_model": ("reward_model:RewardModel", "settings:RewardModelSettings", {"centering": 0.01}),
    "ppo": ("ppo:PPO", "ppo_settings:PPOSettings", {"entropy_coefficient": 0.01}),
    "grpo": ("grpo:GRPO", "grpo_settings:GRPOSettings", {}),
}


class NoBuilder:
    """For components that nest none."""

    def build(self, use: Any) -> Any:
        raise AssertionError(f"{use} was not to be built")


def results(model: str, engine: dict[str, Any], names: list[str] | None = None) -> dict[str, Any]:
    """By loss: losses, norms and metrics of both steps, weights after them, and this rank's micro-batch counts."""
    return {name: _trained(name, model, engine) for name in names or LOSSES}


def make_engine(settings: dict[str, Any]) -> Any:
    """An engine by `use` and settings, without the registry."""
    settings = dict(settings)
    if settings.pop("use") == "torch":
        from aftertrain.plugins.torch_engine.engine import TorchEngine

        return TorchEngine(TorchEngine.Config(**settings), NoBuilder())
    from aftertrain.plugins.deepspeed_engine.engine import DeepSpeedEngine

    return DeepSpeedEngine(DeepSpeedEngine.Config(**settings), NoBuilder())


def _trained(name: str, model: str, engine: dict[str, Any]) -> dict[str, Any]:
    loss = _loss(name)
    ranks = current()
    engines = {}
    for term in loss.needs.per:
        engines[term] = make_engine(engine)
        engines[term].load(model, head="scalar" if term == "value" else "lm", optimizer=OPTIMIZER, seed=3)
    paired = "PreferencePair" in loss.needs.records
    # Over the steps the shares need 1 and 2, then 2 and 2, micro-batches, or one rank has no sample at all.
    steps = [_atoms([30, 9, 9, 9], paired), _atoms([12, 12, 12, 12, 12, 9, 7], paired), _atoms([14], paired)]
    found: dict[str, Any] = {"steps": [], "micro_batches": []}
    for step, atoms in enumerate(steps, 1):
        batches = pack_share(atoms, BUDGET, rank=ranks.rank, ranks=ranks.size)
        done = train_step(engines, loss, batches, dict.fromkeys(engines, 1e-2), step=step, temperature=0.9)
        norms = {f"norm {term}": report.grad_norm for term, report in done.reports.items()}
        found["steps"].append({**done.losses, **norms, **done.metrics})
        found["micro_batches"].append(len(batches))
    found["weights"] = {
        f"{term}.{weight}": tensor.detach().clone() for term, one in engines.items() for weight, tensor in one.weights()
    }
    return found


def _loss(name: str) -> Any:
    from importlib import import_module

    where, settings, values = LOSSES[name]
    kind, config = (
        getattr(import_module(f"aftertrain.plugins.losses.{module}"), attribute)
        for module, _, attribute in (text.partition(":") for text in (where, settings))
    )
    return kind(config(**values), NoBuilder())


def _atoms(lengths: list[int], paired: bool) -> list[Atom]:
    rng = random.Random(sum(lengths))
    roles = (CHOSEN, REJECTED) if paired else (0,)
    return [
        [_segment(rng, f"s{i}.{role}", max(3, n // len(roles) - role), role, i) for role in roles]
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
    return Segment(name, ids, [i >= 2 for i in range(length)], role=role, group=group, columns=columns)


def main() -> None:
    """See the module."""
    model, out, engine = sys.argv[1:]
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    with joined() as ranks:
        found = results(model, json.loads(engine))
        if ranks.first:
            torch.save(found, Path(out))


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    # Threads of native libraries may abort while the interpreter is taken down, and nothing is left to do.
    os._exit(0)
