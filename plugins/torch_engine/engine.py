"""The torch engine: one model in one process, or a copy of it in each rank."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor

from aftertrain.core.batch import PackedBatch, TokenScores
from aftertrain.core.engine import AdamW, Continuation, Head, Likelihood, StepReport
from aftertrain.core.errors import BrokenWeights, NumericsError
from aftertrain.core.ground.model_folder import read_config
from aftertrain.core.loss import Score
from aftertrain.core.packed.apart import own_likelihoods
from aftertrain.core.packed.attention_kernels import choose_kernel
from aftertrain.core.packed.engine import PackedEngine
from aftertrain.core.packed.heap import give_back
from aftertrain.core.packed.layout import Kernel
from aftertrain.core.packed.lean import make_lean
from aftertrain.core.packed.model import (
    compile_layers,
    device_of,
    not_finite,
    score_continuations,
    skeleton,
    write_model,
)
from aftertrain.core.packed.probing import probe_kernel
from aftertrain.core.packed.recompute import Mode, predicted_bytes, predicted_head_bytes, recompute_layers
from aftertrain.core.text.padding import check_base
from aftertrain.plugins.torch_engine.adamw import clip, make_adamw, require_8bit
from aftertrain.plugins.torch_engine.lora import adapter_state, add_adapters, merged_state, save_adapters
from aftertrain.plugins.torch_engine.replicas import add_gradients, check_equal
from aftertrain.plugins.torch_engine.settings import Lora, TorchSettings
from aftertrain.plugins.torch_engine.state import read_state, write_state

if TYPE_CHECKING:
    from transformers import PretrainedConfig


class TorchEngine(PackedEngine[TorchSettings]):
    """PyTorch on the CPU or one GPU; of several ranks each holds the whole model and they add up their gradients.

    Weights, gradients and AdamW's state are float32; with `dtype: bfloat16` matrix products run under autocast and the
    saved model is bfloat16.
    """

    Config = TorchSettings

    kernel: Kernel
    _optimizer: torch.optim.Optimizer | None
    _max_grad_norm: float

    @property
    def saves(self) -> Literal["model", "adapter"]:
        return "adapter" if self.settings.lora is not None and self.settings.lora.save == "adapter" else "model"

    def preflight(self, model: str, *, head: Head = "lm") -> None:
        super().preflight(model, head=head)
        config = read_config(model)
        device = device_of(self.settings.device, 0)
        self._choose_kernel(device, config)
        if self.settings.adamw == "8bit":
            require_8bit(device)
        if self.settings.lora is not None:
            add_adapters(skeleton(config, head), self.settings.lora, seed=0)

    def prepare(self, optimizer: AdamW | None, seed: int) -> None:
        self.kernel = self._choose_kernel(self._model.device, self._model.config)
        if self.kernel != "sdpa" and not self.unpacked:
            probe_kernel(self._model, self.kernel)
        if optimizer is not None:
            if self._lean:
                make_lean(self._model)
            if self.settings.lora is not None:
                if self._head == "scalar" and self.settings.lora.save == "adapter":
                    check_base(self._folder)
                add_adapters(self._model, self.settings.lora, seed)
            if mode := self.settings.activation_checkpointing:
                recompute_layers(self._model, "full" if mode is True else mode)
        if self.settings.compile:
            compile_layers(self._model)
        self._optimizer = None if optimizer is None else make_adamw(self._model, optimizer, self.settings.adamw)
        limit = None if optimizer is None else optimizer.max_grad_norm
        self._max_grad_norm = float("inf") if limit is None else limit

    def facts(self, model: str) -> dict[str, str]:
        kernel = self._choose_kernel(device_of(self.settings.device, 0), read_config(model))
        return {**super().facts(model), "attention": kernel}

    @property
    def shares_prefixes(self) -> bool:
        return self.settings.share_prefixes

    def score(
        self, batch: PackedBatch, wants: Iterable[Score] = ("logprobs",), *, temperature: float = 1.0, grad: bool = True
    ) -> TokenScores:
        options = {"share_prefixes": self.settings.share_prefixes, "kernel": self.kernel, "lean": self._lean}
        with torch.set_grad_enabled(grad):
            return self.scores_of(batch.to(self._model.device), wants, temperature, **options)

    def likelihoods(self, items: Sequence[Continuation], budget: int) -> list[Likelihood]:
        with self.precision(self._model.device):
            if self.unpacked:
                return own_likelihoods(self._model, items, budget)
            return score_continuations(
                self._model, items, budget, chunk=self.settings.chunk, head_kernel=self._head_kernel
            )

    def backward(self, numerator: Tensor, denominator: float) -> None:
        (numerator / denominator).backward()  # type: ignore[no-untyped-call]
        if self._model.device.type == "cpu":
            # What the layers kept lies in holes now, in which the next forward pass would not all fit.
            give_back()

    def step(self, learning_rate: float) -> StepReport:
        assert self._optimizer is not None, "the model was loaded without an optimizer"
        add_gradients(self._model, self.ranks)
        try:
            norm = clip(self._model.parameters(), self._max_grad_norm)
        except NumericsError:
            self._optimizer.zero_grad()
            raise
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        try:
            self._optimizer.step()
        except RuntimeError as error:
            if "without overflow" not in str(error):
                raise
            raise BrokenWeights(
                f"lr, eps or weight_decay is too large for float32 (learning rate {learning_rate:g}): {error}"
            ) from error
        self._optimizer.zero_grad()
        return StepReport(norm, learning_rate)

    def not_finite(self) -> list[str]:
        return not_finite((name, p) for name, p in self._model.named_parameters() if p.requires_grad)

    @property
    def lends(self) -> bool:
        return self._lora is None

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        if self._lora is None:
            for name, parameter in self._model.named_parameters():
                yield name, parameter.detach()
        else:
            yield from merged_state(self._model)

    def save_model(self, folder: Path) -> None:
        check_equal(self._model, self.ranks)
        if not self.ranks.first:
            return
        if self._lora is not None and self._lora.save == "adapter":
            save_adapters(self._model, folder, self._folder)
            return
        write_model(self._model, dict(self.saved()), folder, self.settings.dtype)

    def saved(self) -> Iterator[tuple[str, Tensor]]:
        if self._lora is None:
            yield from self._model.state_dict().items()
        elif self._lora.save == "adapter":
            yield from adapter_state(self._model).items()
        else:
            yield from merged_state(self._model)

    def save_state(self, folder: Path) -> None:
        check_equal(self._model, self.ranks)
        if self.ranks.first:
            write_state(folder, self._model, self._optimizer)

    def load_state(self, folder: Path) -> None:
        read_state(folder, self._model, self._optimizer)

    def memory(self, config: Any, parameters: int, tokens: int, targets: int) -> dict[str, int]:
        if self.settings.lora is not None or self.settings.compile or self.settings.head_kernel is not None:
            return {}
        width = 4 if self.settings.dtype == "float32" else 2
        checkpointing = self.settings.activation_checkpointing
        plain: Mode = "lean" if self.settings.lean else "none"
        own: Mode = plain if not checkpointing else "selective" if checkpointing == "selective" else "full"
        moments = 2 if self.settings.adamw == "8bit" else 8
        head = predicted_head_bytes(config, targets, self.settings.chunk) if targets else 0
        sizes = {"weights": 4 * parameters, "gradients": 4 * parameters, "AdamW": moments * parameters, "head": head}
        sizes["activations"] = predicted_bytes(config, tokens, own, width)
        for mode in get_args(Mode):
            if mode != own:
                sizes[f"activations, {mode}"] = predicted_bytes(config, tokens, mode, width)
        return sizes

    @property
    def n_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self._model.parameters())

    @property
    def _lora(self) -> Lora | None:
        return self.settings.lora if self._optimizer is not None else None

    def _choose_kernel(self, device: torch.device, config: PretrainedConfig) -> Kernel:
        return choose_kernel(self.settings.attention, device, self.settings.dtype, config.get_text_config())

    @property
    def _lean(self) -> bool:
        # A compiler decides by itself what it makes again.
        return self.settings.lean and not self.settings.compile
