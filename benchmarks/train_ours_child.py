"""Our side of `train.py`: `train_step` on the torch engine, fed the samples that the peer's step was fed."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from train_child import Sample, Spec, fixed_bytes, forget_peak, heard, resident, say

os.environ["HF_HUB_OFFLINE"] = "1"

import torch

from aftertrain.core.batch import CHOSEN, REJECTED, PackedBatch, TokenScores
from aftertrain.core.engine import AdamW
from aftertrain.core.learning.seeding import use_determinism
from aftertrain.core.learning.step import train_step
from aftertrain.core.loss import Loss, LossOutput, Needs, Ratio
from aftertrain.core.packed.packing import Atom, Segment, pack
from aftertrain.plugins.losses.dpo import DPO
from aftertrain.plugins.losses.reward_model import RewardModel
from aftertrain.plugins.losses.settings import DPOSettings, RewardModelSettings, SFTSettings
from aftertrain.plugins.losses.sft import SFT
from aftertrain.plugins.torch_engine.engine import TorchEngine
from aftertrain.plugins.torch_engine.settings import TorchSettings


class Watched(Loss[Any]):
    """A loss with the entropy and the token accuracy that TRL reports at each step."""

    def __init__(self, inner: Loss[Any]) -> None:
        self.inner = inner

    @property
    def needs(self) -> Needs:
        needs = self.inner.needs
        return replace(needs, scores=needs.scores | {"entropy", "hits"})

    def __call__(self, batch: PackedBatch, scores: TokenScores) -> LossOutput:
        output = self.inner(batch, scores)
        assert scores.entropy is not None
        assert scores.hits is not None
        n = batch.targets.sum()
        more = {"entropy": Ratio(scores.entropy.detach().sum(), n), "token_accuracy": Ratio(scores.hits.sum(), n)}
        return LossOutput(output.terms, {**output.metrics, **more})


def _loss(spec: Spec) -> Loss[Any]:
    builder: Any = None
    if spec.kind == "sft":
        return Watched(SFT(SFTSettings(reduction="token_mean"), builder))
    if spec.kind == "dpo":
        return Watched(DPO(DPOSettings(beta=0.1), builder))
    return RewardModel(RewardModelSettings(), builder)


def settings_of(mode: str) -> TorchSettings:
    """Of the engine, for a mode of `Spec`."""
    if mode == "selective":
        return TorchSettings(device="cpu", lean=False, activation_checkpointing="selective")
    return TorchSettings(device="cpu", lean=mode == "lean", activation_checkpointing=mode == "full")


def _engine(spec: Spec, *, train: bool) -> TorchEngine:
    builder: Any = None
    engine = TorchEngine(settings_of(spec.mode), builder)
    optimizer = AdamW(max_grad_norm=1.0) if train else None
    engine.load(spec.model, head="scalar" if spec.kind == "reward" else "lm", optimizer=optimizer)
    return engine


def _atoms(spec: Spec, samples: Sequence[tuple[list[int], list[bool]]]) -> list[Atom]:
    segments = [Segment(str(i), ids, mask, group=i) for i, (ids, mask) in enumerate(samples)]
    if spec.kind == "sft":
        return [[segment] for segment in segments]
    return [
        [replace(chosen, role=CHOSEN, group=i), replace(rejected, role=REJECTED, group=i)]
        for i, (chosen, rejected) in enumerate(zip(segments[::2], segments[1::2], strict=True))
    ]


def _referenced(engine: TorchEngine, batches: Sequence[PackedBatch]) -> list[PackedBatch]:
    return [
        batch.with_columns(reference_logprobs=scores)
        for batch in batches
        if (scores := engine.score(batch, ("logprobs",), grad=False).logprobs) is not None
    ]


def main() -> None:
    spec = Spec.read(sys.argv[1])
    use_determinism(spec.threads)
    before = resident()
    engine = _engine(spec, train=True)
    loss = _loss(spec)
    reference = _engine(spec, train=False) if spec.kind == "dpo" else None
    live = spec.case == "dpo-live"
    fixed = fixed_bytes(before, engine.n_parameters, reference=spec.kind == "dpo")
    term = "value" if spec.kind == "reward" else "policy"
    head = heard()["head"]
    if head is not None:
        dict(engine.weights())["score.weight"].copy_(torch.tensor(head).view(1, -1))
    say(ready=True)
    first = True
    while (told := heard())["do"] != "stop":
        atoms = _atoms(spec, told["samples"])
        budget = max(spec.micro_tokens, *(sum(len(segment.token_ids) for segment in atom) for atom in atoms))
        cached = None if reference is None or live else _referenced(reference, pack(atoms, budget))
        with Sample() as sample:
            batches = pack(atoms, budget) if cached is None else cached
            if live and reference is not None:
                batches = _referenced(reference, batches)
            result = train_step({term: engine}, loss, batches, {term: 1e-6}, step=1, progress=1.0)
        say(
            wall=sample.wall,
            cpu=sample.cpu,
            loss=result.losses[term],
            peak=resident("VmHWM"),
            fixed=fixed,
            micro_batches=len(batches),
            metrics=dict(result.metrics),
        )
        if first:
            forget_peak()
            first = False


if __name__ == "__main__":
    main()
