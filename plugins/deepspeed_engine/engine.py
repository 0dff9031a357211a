"""The deepspeed engine: one model whose optimizer, gradients and weights are shared out over ranks (ZeRO)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aftertrain.core.batch import PackedBatch, TokenScores
from aftertrain.core.engine import AdamW, Head, StepReport
from aftertrain.core.errors import MissingExtra, NumericsError
from aftertrain.core.loss import Score
from aftertrain.core.packed.engine import PackedEngine
from aftertrain.core.packed.model import not_finite, write_model
from aftertrain.core.packed.recompute import recompute_layers
from aftertrain.plugins.deepspeed_engine.settings import DeepSpeedSettings
from aftertrain.plugins.deepspeed_engine.shares import read_state, write_state
from aftertrain.plugins.deepspeed_engine.start import Scorer, wrap


class DeepSpeedEngine(PackedEngine[DeepSpeedSettings]):
    """DeepSpeed ZeRO 1 to 3 over the run's ranks.

    Every rank makes the same calls of every method, `weights` and the saving ones included. A model
    without an optimizer (a reference) is held whole by each rank.
    """

    Config = DeepSpeedSettings

    _scorer: Any
    _engine: Any

    def preflight(self, model: str, *, head: Head = "lm") -> None:
        if find_spec("deepspeed") is None:
            raise MissingExtra("deepspeed", "deepspeed", "the engine 'deepspeed'")
        super().preflight(model, head=head)

    def prepare(self, optimizer: AdamW | None, seed: int) -> None:
        # Once the weights are shared out neither can be told from them.
        self._device = self._model.device
        self._n_parameters = sum(parameter.numel() for parameter in self._model.parameters())
        scorer = Scorer(self._model, self.scores_of).eval()
        if optimizer is None:
            self._engine, self._scorer = None, scorer
            return
        if self.settings.activation_checkpointing:
            recompute_layers(self._model)
        self._engine = wrap(scorer, self._head, self.settings, optimizer, self.ranks)
        self._scorer = self._engine

    def score(
        self, batch: PackedBatch, wants: Iterable[Score] = ("logprobs",), *, temperature: float = 1.0, grad: bool = True
    ) -> TokenScores:
        with torch.set_grad_enabled(grad), self._together("scores"):
            return TokenScores(**self._scorer(batch.to(self._device), set(wants), temperature))

    def backward(self, numerator: Tensor, denominator: float) -> None:
        # DeepSpeed averages over ranks; the denominator is global already (F42).
        with self._together("gradients"):
            self._engine.backward(numerator * (self.ranks.size / denominator), scale_wrt_gas=False)

    def step(self, learning_rate: float) -> StepReport:
        for group in self._engine.optimizer.param_groups:
            group["lr"] = learning_rate
        with self._together("the optimizer step"):
            self._engine.step()
        norm = float(self._engine.get_global_grad_norm())
        if not self._engine.was_step_applied() or not math.isfinite(norm):
            raise NumericsError(f"the gradient's norm is {norm}; the weights are left as they were")
        return StepReport(norm, learning_rate)

    def not_finite(self) -> list[str]:
        # Under ZeRO 3 a rank holds a share of each weight.
        shares = ((name, getattr(p, "ds_tensor", p)) for name, p in self._model.named_parameters())
        every = self.ranks.gather(not_finite(shares), "what is not finite after the step")
        return list(dict.fromkeys(name for names in every for name in names))

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in self._model.named_parameters():
            with self._whole(parameter):
                yield name, parameter.detach()

    def saved(self) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in self.weights():
            # Shared out again when its turn is over.
            yield name, tensor.to("cpu", copy=True) if self.ranks.first else tensor
        # Of persistent buffers (DeepSeek-V3's expert biases) every rank has its own.
        named = {name for name, _ in self._model.named_buffers()}
        for name, tensor in self._model.state_dict().items():
            if name in named:
                yield name, tensor.detach()

    def save_model(self, folder: Path) -> None:
        state = dict(self.saved())
        if self.ranks.first:
            write_model(self._model, state, folder, self.settings.dtype)

    def save_state(self, folder: Path) -> None:
        with self._together("the state of a checkpoint"):
            write_state(folder, self._model, self._engine, self.ranks)

    def load_state(self, folder: Path) -> None:
        with self._together("the state of a checkpoint"):
            read_state(folder, self._model, self._engine, self.ranks)

    @property
    def n_parameters(self) -> int:
        return self._n_parameters

    def _whole(self, parameter: Tensor) -> Any:
        if self._engine is None or self.settings.zero != 3:
            return nullcontext()
        import deepspeed

        return deepspeed.zero.GatheredParameters([parameter])

    def _together(self, what: str) -> Any:
        return nullcontext() if self._engine is None else self.ranks.together(what)
