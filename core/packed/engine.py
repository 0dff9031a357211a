"""What engines that score packed batches share: a model loaded and tried, its head kernel, its scores."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from aftertrain.core.batch import PackedBatch, TokenScores
from aftertrain.core.engine import AdamW, Engine, Head, ScoresContinuations
from aftertrain.core.errors import ModelError
from aftertrain.core.ground.model_folder import read_config
from aftertrain.core.head_kernel import HeadKernel
from aftertrain.core.loss import Score
from aftertrain.core.packed.apart import family_misfit
from aftertrain.core.packed.model import device_of, lm_head, load_model, score_packed, skeleton
from aftertrain.core.packed.probing import probe, probe_head
from aftertrain.core.packed.router import router_misfit
from aftertrain.core.packed.settings import PackedSettings
from aftertrain.core.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)
P = TypeVar("P", bound=PackedSettings)


class PackedEngine(Engine[P]):
    """An engine of one Hugging Face model. The model stays in eval mode: no dropout.

    A subclass says what becomes of the model once it is loaded (`prepare`), and steps and saves it.
    """

    _model: PreTrainedModel
    _head: Head
    _head_kernel: HeadKernel[Any] | None
    _folder: str
    unpacked: str
    """Why the loaded model cannot be packed, so that it scores continuations and nothing else; empty where it can."""

    def preflight(self, model: str, *, head: Head = "lm") -> None:
        device = device_of(self.settings.device, 0)
        if head == "lm" and (kernel := self._build_head_kernel()) is not None:
            kernel.check(lm_head(skeleton(read_config(model), head)), device, self._dtype)

    def misfits(self, model: str, *, head: Head = "lm") -> Sequence[str]:
        config = read_config(model)
        found = [family_misfit(config, head)]
        if head == "lm":
            found.append(router_misfit(config, self.settings.router_loss))
        return [misfit for misfit in found if misfit]

    def notes(self) -> Sequence[str]:
        kernel = self._build_head_kernel()
        return () if kernel is None else kernel.notes

    def facts(self, model: str) -> dict[str, str]:
        facts = {"device": device_of(self.settings.device, 0).type}
        if (kernel := self._build_head_kernel()) is not None:
            facts["head kernel's version"] = kernel.version
        return facts

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
        self._folder, self._head, self.ranks = model, head, ranks
        device = device_of(self.settings.device, ranks.local)
        loaded, self.unpacked = self._load_packed(seed, device)
        if loaded is None:
            if optimizer is not None or head != "lm" or not isinstance(self, ScoresContinuations):
                raise ModelError(self.unpacked)
            # Anew: some families cannot change their attention afterwards, and would be left without a mask.
            loaded = _on(load_model(model, head, seed, packed=False), device)
            logger.warning("continuations are scored each by itself, which is slower: %s", self.unpacked)
        self._model = loaded
        packs_head = head == "lm" and not self.unpacked
        self._head_kernel = self._build_head_kernel() if packs_head else None
        if self._head_kernel is not None:
            probe_head(self._model, self._head_kernel, self._dtype)
        self._model.requires_grad_(optimizer is not None)
        self.prepare(optimizer, seed)

    def _load_packed(self, seed: int, device: torch.device) -> tuple[PreTrainedModel | None, str]:
        """The model for packed scores, or None and why it cannot have them."""
        try:
            if misfit := family_misfit(read_config(self._folder), self._head):
                return None, misfit
            model = _on(load_model(self._folder, self._head, seed), device)
            probe(model, self._head)
        except ModelError as error:
            return None, str(error)  # its words alone: its traceback would keep the model in memory
        return model, ""

    @abstractmethod
    def prepare(self, optimizer: AdamW | None, seed: int) -> None:
        """Make the loaded model ready to be scored and, with an optimizer, to be trained."""

    def scores_of(self, batch: PackedBatch, wants: Iterable[Score], temperature: float, **options: Any) -> TokenScores:
        """`score_packed` of a batch on the model's device, in the settings' precision.

        Args:
            options: further arguments of `score_packed`.

        Raises:
            ModelError: the model cannot be packed.
        """
        if self.unpacked:
            raise ModelError(self.unpacked)
        with self.precision(batch.token_ids.device):
            return score_packed(
                self._model,
                self._head,
                batch,
                wants,
                temperature=temperature,
                chunk=self.settings.chunk,
                head_kernel=self._head_kernel,
                **options,
            )

    def precision(self, device: torch.device) -> AbstractContextManager[None]:
        """Matrix products in the settings' dtype, by autocast."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.settings.dtype == "bfloat16")

    @property
    def _dtype(self) -> torch.dtype:
        """Of matrix products."""
        dtype: torch.dtype = getattr(torch, self.settings.dtype)
        return dtype

    def _build_head_kernel(self) -> HeadKernel[Any] | None:
        use = self.settings.head_kernel
        return None if use is None else self.builder.build(use)


def _on(model: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    """The model, moved."""
    model.to(device)  # type: ignore[arg-type]
    return model
