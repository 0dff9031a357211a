"""Components with one fault each, as a stranger might write them; recipes name them `./broken.py:Name`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from aftertrain.core.batch import PackedBatch, TokenScores
from aftertrain.core.engine import StepReport
from aftertrain.core.loss import Loss, LossOutput, Needs, Ratio
from aftertrain.core.ranks import ALONE
from aftertrain.core.settings import Settings
from aftertrain.plugins.torch_engine.engine import TorchEngine


class OneSegment(TorchEngine):
    """Hands the model all samples as one: attention sees across."""

    def score(self, batch: PackedBatch, *wants: Any, **options: Any) -> TokenScores:
        facts = {name: column[:1] for name, column in batch.segments.items()}
        whole = replace(batch, lengths=(batch.n_tokens,), segments=facts, sample_ids=batch.sample_ids[:1])
        return super().score(whole, *wants, **options)


class Padded(TorchEngine):
    """Scores depend a little on the longest sample beside."""

    def score(self, batch: PackedBatch, *wants: Any, **options: Any) -> TokenScores:
        scores = super().score(batch, *wants, **options)
        assert scores.logprobs is not None
        return replace(scores, logprobs=scores.logprobs * (1 + 1e-3 * max(batch.lengths)))


class ChunkEdge(TorchEngine):
    """The last token of each chunk is off."""

    def score(self, batch: PackedBatch, *wants: Any, **options: Any) -> TokenScores:
        scores = super().score(batch, *wants, **options)
        if self.settings.chunk is None:
            return scores
        assert scores.logprobs is not None
        place = batch.scored_mask().cumsum(0) % self.settings.chunk == 0
        return replace(scores, logprobs=torch.where(place, scores.logprobs * 1.01, scores.logprobs))


class Drops(TorchEngine):
    """Drops states while it trains, and not while it scores."""

    def load(self, *arguments: Any, **options: Any) -> None:
        super().load(*arguments, **options)
        self._model.model.norm.register_forward_hook(self._drop)

    def _drop(self, module: nn.Module, inputs: Any, states: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(states, 0.1, training=torch.is_grad_enabled())


class InTraining(TorchEngine):
    """Leaves a layer that drops in training mode, where nothing uses it yet."""

    def load(self, *arguments: Any, **options: Any) -> None:
        super().load(*arguments, **options)
        self._model.add_module("extra", nn.Dropout(0.1))


class Detached(TorchEngine):
    """Cuts the graph behind the first layer."""

    def load(self, *arguments: Any, **options: Any) -> None:
        super().load(*arguments, **options)
        self._model.model.layers[0].register_forward_hook(lambda module, inputs, states: states.detach())


class Drifting(TorchEngine):
    """Freezes a weight, and moves it nevertheless."""

    def load(self, *arguments: Any, **options: Any) -> None:
        super().load(*arguments, **options)
        self._model.model.norm.weight.requires_grad_(False)

    def step(self, learning_rate: float) -> StepReport:
        self._model.model.norm.weight.data.add_(1e-3)
        return super().step(learning_rate)


class Forgetful(TorchEngine):
    """Comes back from a checkpoint without the optimizer's state."""

    def load_state(self, folder: Any) -> None:
        super().load_state(folder)
        assert self._optimizer is not None
        self._optimizer.state.clear()


class WarmReference(TorchEngine):
    """Scores a reference at another temperature than the policy."""

    def score(self, batch: PackedBatch, *wants: Any, temperature: float = 1.0, **options: Any) -> TokenScores:
        warmer = temperature * (2 if self._optimizer is None else 1)
        return super().score(batch, *wants, temperature=warmer, **options)


class Lonely(TorchEngine):
    """Knows of no other ranks: each steps with its own gradient."""

    def load(self, *arguments: Any, **options: Any) -> None:
        super().load(*arguments, **options)
        self.ranks = ALONE


class Misnamed(TorchEngine):
    """Saves a weight under a name that the family does not know."""

    def save_model(self, folder: Path) -> None:
        super().save_model(folder)
        tensors = load_file(folder / "model.safetensors")
        tensors["model.layers.0.mlp.base_layer.up_proj.weight"] = tensors.pop("model.layers.0.mlp.up_proj.weight")
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


class Stale(TorchEngine):
    """Saves one layer as it was when it was loaded."""

    def load(self, *arguments: Any, **options: Any) -> None:
        super().load(*arguments, **options)
        self._first = self._model.model.layers[1].mlp.up_proj.weight.detach().clone()

    def save_model(self, folder: Path) -> None:
        super().save_model(folder)
        tensors = load_file(folder / "model.safetensors")
        tensors["model.layers.1.mlp.up_proj.weight"] = self._first
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


class Reconfigured(TorchEngine):
    """Saves the right weights beside a configuration that uses them otherwise."""

    def save_model(self, folder: Path) -> None:
        super().save_model(folder)
        path = folder / "config.json"
        config = json.loads(path.read_text())
        path.write_text(json.dumps({**config, "hidden_act": "relu"}))


class Plain(Loss[Settings]):
    """Cross-entropy; the others change one line of it."""

    Config = Settings
    needs = Needs(records=frozenset({"Conversation"}), per={"policy": "segment"})

    def __call__(self, batch: PackedBatch, scores: TokenScores) -> LossOutput:
        assert scores.logprobs is not None
        each = batch.segment_sum(-scores.logprobs)
        return LossOutput(
            {"policy": self.total(batch, each)}, {"nll": Ratio(each.detach()[batch.counted].sum(), batch.counted.sum())}
        )

    def total(self, batch: PackedBatch, each: torch.Tensor) -> torch.Tensor:
        return each[batch.counted].sum()


class LocalMean(Plain):
    """Divides by the samples of its own micro-batch."""

    def total(self, batch: PackedBatch, each: torch.Tensor) -> torch.Tensor:
        return super().total(batch, each) / batch.counted.sum().clamp(min=1)


class Positional(Plain):
    """Earlier samples count more."""

    def total(self, batch: PackedBatch, each: torch.Tensor) -> torch.Tensor:
        return (each * batch.counted / torch.arange(1, len(each) + 1)).sum()


class Weightless(Plain):
    """Does not look at weights."""

    def total(self, batch: PackedBatch, each: torch.Tensor) -> torch.Tensor:
        return each.sum()


class Remembers(Plain):
    """Grows with the steps that this object has seen, which no checkpoint holds."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.seen: set[float] = set()

    def total(self, batch: PackedBatch, each: torch.Tensor) -> torch.Tensor:
        self.seen.add(batch.progress)
        return super().total(batch, each) * len(self.seen)


class NoGradient(Plain):
    """Cuts the graph."""

    def total(self, batch: PackedBatch, each: torch.Tensor) -> torch.Tensor:
        return super().total(batch, each.detach())


class Infinite(Plain):
    """Takes the logarithm of zero."""

    def total(self, batch: PackedBatch, each: torch.Tensor) -> torch.Tensor:
        return super().total(batch, each) + (each[0] * 0).log()


class WrongMetric(Plain):
    """A metric that is counted in micro-batches."""

    def __call__(self, batch: PackedBatch, scores: TokenScores) -> LossOutput:
        output = super().__call__(batch, scores)
        return replace(output, metrics={"nll": Ratio(output.metrics["nll"].sum, 1)})
