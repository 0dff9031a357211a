"""The same model as transformers has it: no packing, no chunks, full logits, torch's own gradient.

Each sample goes alone through the family's own forward with its eager attention; log-softmax is taken of all its
logits in float32. What is compared with it owes nothing to `core.packed.logprobs`, `core.packed.layout` or
`core.packed.attention`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from aftertrain.core.batch import PackedBatch, TokenScores
from aftertrain.core.engine import Engine, StepReport
from aftertrain.core.ground.quiet import quiet
from aftertrain.core.learning.trial import Trial
from aftertrain.core.loss import Score
from aftertrain.core.ranks import ALONE
from aftertrain.invariants.outcome import Outcome, step_all


class PlainModel:
    """What a training step asks of an engine, done in the plainest way, by one process.

    Args:
        folder: of the model.
        weights: named as in the folder; they replace those of the folder (a scalar head is drawn by the engine).
    """

    ranks = ALONE

    def __init__(self, folder: str, scalar: bool, weights: Mapping[str, Tensor]) -> None:
        from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

        kind: Any = AutoModelForSequenceClassification if scalar else AutoModelForCausalLM
        options = {"num_labels": 1} if scalar else {}
        with quiet():
            self.model = kind.from_pretrained(
                folder, dtype=torch.float32, attn_implementation="eager", **options, trust_remote_code=False
            )
        self.model.load_state_dict(dict(weights), strict=False)
        device = next(iter(weights.values())).device
        self.model.eval().to(device)
        self.scalar = scalar
        self.gradients: dict[str, Tensor] = {}
        self._known: dict[tuple[int, ...], dict[str, Tensor]] = {}

    def score(
        self, batch: PackedBatch, wants: Iterable[Score] = ("logprobs",), *, temperature: float = 1.0, grad: bool = True
    ) -> TokenScores:
        """As `Engine.score`, at one temperature for good; what is known of a sample is not computed again."""
        batch = batch.to(self.model.device)
        samples, wanted = torch.split(batch.token_ids, list(batch.lengths)), set(wants)
        with torch.set_grad_enabled(grad):
            parts = [self._scores(ids, temperature, wanted, grad=grad) for ids in samples]
        scored = torch.ones_like(batch.loss_mask) if self.scalar else batch.scored_mask()
        names = parts[0]
        return TokenScores(**{n: torch.where(scored, torch.cat([part[n] for part in parts]), 0.0) for n in names})

    def backward(self, numerator: Tensor, denominator: float) -> None:
        """As `Engine.backward`."""
        (numerator / denominator).backward()  # type: ignore[no-untyped-call]

    def not_finite(self) -> list[str]:
        """As `Engine.not_finite`: none, for `step` moves no weight."""
        return []

    def step(self, learning_rate: float) -> StepReport:
        """Take the gradient down instead."""
        for name, parameter in self.model.named_parameters():
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            self.gradients[name] = gradient.detach().float().cpu()
        return StepReport(0.0, learning_rate)

    def _scores(self, ids: Tensor, temperature: float, wants: set[Score], *, grad: bool) -> dict[str, Tensor]:
        key = tuple(ids.tolist())
        known = self._known.get(key, {})
        if not grad and known.keys() >= wants:
            return {name: known[name] for name in wants}
        scores = self._alone(ids, temperature, wants)
        self._known[key] = {name: score.detach() for name, score in scores.items()}
        return scores

    def _alone(self, ids: Tensor, temperature: float, wants: set[Score]) -> dict[str, Tensor]:
        """Scores `[n]` of one sample, the first token's 0."""
        inputs = {"input_ids": ids.unsqueeze(0), "use_cache": False}
        if self.scalar:
            hidden = self.model.base_model(**inputs).last_hidden_state[0]
            return {"values": self.model.score(hidden).squeeze(-1).float()}
        logits = self.model(**inputs).logits[0, :-1].float() / temperature
        logp = logits.log_softmax(-1)
        scores = {
            "logprobs": lambda: logp.gather(1, ids[1:].unsqueeze(1)).squeeze(1),
            "entropy": lambda: -(logp.exp() * logp).sum(-1),
            "log_sum_p2": lambda: (2 * logp).logsumexp(-1),
            "hits": lambda: (logits.argmax(-1) == ids[1:]).float().detach(),
        }
        return {name: torch.nn.functional.pad(scores[name](), (1, 0)) for name in wants}


def plain_models(trial: Trial, engines: Mapping[str, Engine[Any]]) -> dict[str, PlainModel]:
    """The plain form of each engine's model, with its weights."""
    weights = {term: {name: tensor.detach().clone() for name, tensor in e.weights()} for term, e in engines.items()}
    return {term: PlainModel(trial.models[term], term == "value", own) for term, own in weights.items()}


def plain_outcome(trial: Trial, batches: Sequence[PackedBatch], models: Mapping[str, PlainModel]) -> Outcome:
    """As `outcome.outcome`, by plain models."""
    engines: Any = models
    result = step_all(trial, engines, batches, 0.0)
    gradients = {f"{term}: {name}": g for term, model in models.items() for name, g in model.gradients.items()}
    return Outcome(result.losses, result.metrics, gradients)
