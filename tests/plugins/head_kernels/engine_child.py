"""Training steps of a tiny model with Liger's head and with ours, in Triton's interpreter.

python engine_child.py MODEL OUT ENGINE_JSON

writes OUT: {case: {before: weights, who: {loss, weights}}}, who is liger and ours; ENGINE_JSON is a recipe's engine.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import interpreter  # noqa: F401  (it makes the kernels run here)
import torch

from aftertrain.core.batch import CHOSEN, REJECTED, PackedBatch
from aftertrain.core.engine import AdamW
from aftertrain.core.learning.step import train_step
from aftertrain.core.packed.packing import Segment, collate
from aftertrain.testing.build import build


def segment(number: int, length: int, **options: Any) -> Segment:
    """A sample whose first four tokens are its prompt."""
    ids = [3 + (7 * number + 5 * place) % 300 for place in range(length)]
    return Segment(f"s{number}", ids, [place >= 4 for place in range(length)], **options)


def pairs() -> PackedBatch:
    """Two preference pairs with reference log-probs."""
    found = []
    for group in range(2):
        for role, length in ((CHOSEN, 11), (REJECTED, 8)):
            columns = {"reference_logprobs": [-6.0] * length}
            found.append(segment(2 * group + role, length, role=role, group=group, columns=columns))
    return collate(found)


def main(model: str, out: str, settings: str) -> None:
    engine_settings = json.loads(settings)
    use = engine_settings.pop("use")
    singles = collate([segment(0, 9), segment(1, 14, group=1)])
    penalised = {"regularizer": "confidence_penalty"}
    cases = {"sft": ({}, singles), "sft with entropy": (penalised, singles), "dpo": ({}, pairs())}
    found = {}
    for name, (options, batch) in cases.items():
        found[name] = {}
        for who, kernel in (("ours", None), ("liger", "liger")):
            engine = build("engine", use, device="cpu", head_kernel=kernel, **engine_settings)
            # A large eps, so that rounding of a gradient stays rounding of the step.
            engine.load(model, optimizer=AdamW(eps=1.0))
            found[name]["before"] = {key: weight.clone() for key, weight in engine.weights()}
            loss = build("loss", name.split()[0], **options)
            done = train_step({"policy": engine}, loss, [batch], {"policy": 0.1}, step=1, progress=1.0)
            weights = {key: weight.clone() for key, weight in engine.weights()}
            found[name][who] = {"loss": done.losses["policy"], "weights": weights}
    torch.save(found, Path(out))


if __name__ == "__main__":
    main(*sys.argv[1:])
