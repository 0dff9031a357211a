"""The deepspeed engine: one model whose optimizer, gradients and weights are shared out over ranks (ZeRO)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from aftertrain.core.batch import PackedBatch, TokenScores
from aftertrain.core.engine import AdamW, Engine, Head, StepReport
from aftertrain.core.errors import MissingExtra, ModelError, NumericsError
from aftertrain.core.ground.model_folder import read_config
from aftertrain.core.head_kernel import HeadKernel
from aftertrain.core.loss import Score
from aftertrain.core.packed.model import device_of, load_model, not_finite, write_model
from aftertrain.core.packed.probing import preflight_head, probe, probe_head
from aftertrain.core.packed.recompute import checkpoint_layers
from aftertrain.core.packed.router import router_misfit
from aftertrain.core.ranks import ALONE, Ranks
from aftertrain.plugins.deepspeed_engine.settings import DeepSpeedSettings
from aftertrain.plugins.deepspeed_engine.shares import read_state, write_state
from aftertrain.plugins.deepspeed_engine.start import Scorer, wrap

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class DeepSpeedEngine(Engine[DeepSpeedSettings]):
    """DeepSpeed ZeRO 1 to 3 over the run's ranks.

    Every rank makes the same calls of every method, `weights` and the saving ones included. The model stays in eval
    mode: no dropout. A model without an optimizer (a reference) is held whole by each rank.
    """

    Config = DeepSpeedSettings

    _model: PreTrainedModel
    _scorer: Any
    _engine: Any

    def preflight(self, model: str, *, head: Head = "lm") -> None:
        if find_spec("deepspeed") is None:
            raise MissingExtra("deepspeed", "deepspeed", "the engine 'deepspeed'")
        device = device_of(self.settings.device, 0)
        if head == "lm" and (head_kernel := self._made_head_kernel()) is not None:
            preflight_head(head_kernel, read_config(model), device, getattr(torch, self.settings.dtype))

    def misfits(self, model: str, *, head: Head = "lm") -> Sequence[str]:
        misfit = router_misfit(read_config(model), self.settings.router_loss) if head == "lm" else ""
        return [misfit] if misfit else []

    def load(
        self,
        model: str,
        *,
        head: Head = "lm",
        optimizer: AdamW | None = None,
        seed: int = 0,
        ranks: Ranks = ALONE,
    ) -> None:
        if optimizer is not None and (misfits := self.misfits(model, head=head)):
            raise ModelError(f"{model}: {'; '.join(misfits)}")
        self.ranks = ranks
        self._model = load_model(model, head, seed)
        self._model.to(device_of(self.settings.device, self.ranks.local))  # type: ignore[arg-type]
        self._device = self._model.device
        probe(self._model, head)
        self._n_parameters = sum(parameter.numel() for parameter in self._model.parameters())
        head_kernel = self._made_head_kernel() if head == "lm" else None
        if head_kernel is not None:
            probe_head(self._model, head_kernel, getattr(torch, self.settings.dtype))
        self._model.requires_grad_(optimizer is not None)
        scorer = Scorer(self._model, head, self.settings, head_kernel).eval()
        if optimizer is None:
            self._engine, self._scorer = None, scorer
            return
        if self.settings.activation_checkpointing:
            checkpoint_layers(self._model)
        self._engine = wrap(self._model, scorer, optimizer, self.ranks)
        self._scorer = self._engine

    def facts(self, model: str) -> dict[str, str]:
        found = {"device": device_of(self.settings.device, 0).type}
        if (head_kernel := self._made_head_kernel()) is not None:
            found["head kernel's version"] = head_kernel.version
        return found

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

    def notes(self) -> Sequence[str]:
        kernel = self._made_head_kernel()
        return () if kernel is None else kernel.notes

    def _made_head_kernel(self) -> HeadKernel[Any] | None:
        use = self.settings.head_kernel
        return None if use is None else self.builder.build(use)

    def _whole(self, parameter: Tensor) -> Any:
        if self._engine is None or self.settings.zero != 3:
            return nullcontext()
        import deepspeed

        return deepspeed.zero.GatheredParameters([parameter])

    def _together(self, what: str) -> Any:
        return nullcontext() if self._engine is None else self.ranks.together(what)
