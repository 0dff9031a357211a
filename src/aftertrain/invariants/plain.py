"""The same model as transformers has it: no packing, no chunks, full logits, torch's own gradient.

Each sample goes alone through the family's own forward with its eager attention; log-softmax is taken of all its
logits in float32. What is compared with it owes nothing to `core.packed.logprobs`, `core.packed.layout` or
`core.packed.attention`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from aftertrain.core.batch import PackedBatch, TokenScores
from aftertrain.core.engine import Engine, StepReport
from aftertrain.core.ground.quiet import quiet
from aftertrain.core.learning.step import train_step
from aftertrain.core.learning.trial import Trial
from aftertrain.core.loss import Score
from aftertrain.core.ranks import ALONE
from aftertrain.invariants.outcome import Outcome


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
        kept = torch.ones_like(batch.loss_mask) if self.scalar else batch.scored_mask()
        whole = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return TokenScores(**{name: torch.where(kept, value, 0.0) for name, value in whole.items()})

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
        made = self._alone(ids, temperature, wants)
        self._known[key] = {name: score.detach() for name, score in made.items()}
        return made

    def _alone(self, ids: Tensor, temperature: float, wants: set[Score]) -> dict[str, Tensor]:
        """Scores `[n]` of one sample, the first token's 0."""
        inputs = {"input_ids": ids.unsqueeze(0), "use_cache": False}
        if self.scalar:
            hidden = self.model.base_model(**inputs).last_hidden_state[0]
            return {"values": self.model.score(hidden).squeeze(-1).float()}
        logits = self.model(**inputs).logits[0, :-1].float() / temperature
        logp = logits.log_softmax(-1)
        made = {
            "logprobs": lambda: logp.gather(1, ids[1:].unsqueeze(1)).squeeze(1),
            "entropy": lambda: -(logp.exp() * logp).sum(-1),
            "log_sum_p2": lambda: (2 * logp).logsumexp(-1),
            "hits": lambda: (logits.argmax(-1) == ids[1:]).float().detach(),
        }
        return {name: torch.nn.functional.pad(made[name](), (1, 0)) for name in wants}


def plain_models(trial: Trial, engines: Mapping[str, Engine[Any]]) -> dict[str, PlainModel]:
    """The plain form of each engine's model, with its weights."""
    made = {}
    for term, engine in engines.items():
        own = {name: tensor.detach().clone() for name, tensor in engine.weights()}
        made[term] = PlainModel(trial.models[term], term == "value", own)
    return made


def plain_outcome(trial: Trial, batches: Iterable[PackedBatch], models: Mapping[str, PlainModel]) -> Outcome:
    """As `outcome.outcome`, by plain models."""
    from aftertrain.invariants.outcome import HALF

    engines: Any = models
    rates = dict.fromkeys(models, 0.0)
    done = train_step(
        engines, trial.make_loss(), list(batches), rates, step=1, temperature=trial.temperature, progress=HALF
    )
    gradients = {f"{term}: {name}": g for term, model in models.items() for name, g in model.gradients.items()}
    return Outcome(done.losses, done.metrics, gradients)
