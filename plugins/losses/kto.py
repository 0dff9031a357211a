"""Kahneman-Tversky optimisation: single replies marked good or bad, no pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from aftertrain.core.batch import PackedBatch, TokenScores
from aftertrain.core.errors import NumericsError
from aftertrain.core.loss import Loss, LossOutput, Needs, Ratio
from aftertrain.plugins.losses.settings import KTOSettings


class KTO(Loss[KTOSettings]):
    """w_D·(1 − σ(β(r − z))) of a desirable reply, w_U·(1 − σ(β(z − r))) of an undesirable one; r = log π − log π_ref.

    z = max(0, mean of r over the step's prompts, each with the reply of another row) estimates KL(π‖π_ref) and has no
    gradient (Ethayarajh et al. 2024, arXiv 2402.01306, equations 7 and 8). A preference pair is two rows.
    """

    Config = KTOSettings

    @property
    def needs(self) -> Needs:
        """Replies with a label; to estimate z, each prompt with another row's reply."""
        return Needs(
            records=frozenset({"Feedback", "PreferencePair"}),
            columns=frozenset({"reference_logprobs"}),
            per={"policy": "segment"},
            statistics=self.settings.kl == "mismatched",
            probes="mismatched" if self.settings.kl == "mismatched" else None,
        )

    def statistics(self, batch: PackedBatch, scores: TokenScores) -> Mapping[str, Tensor]:
        """Sum and number of the mismatched replies' r."""
        rewards = self._rewards(batch, scores)[batch.counted]
        return {"kl": torch.stack([rewards.sum(), rewards.new_tensor(float(len(rewards)))]).detach()}

    def __call__(self, batch: PackedBatch, scores: TokenScores) -> LossOutput:
        """Sum over the replies that count, each weighed by its label; rewards shown are times β."""
        beta = self.settings.beta
        kl = self._kl(batch)
        rewards = self._rewards(batch, scores)[batch.counted]
        good = batch.segments["label"][batch.counted] > 0
        ahead = torch.where(good, rewards - kl, kl - rewards)
        weights = torch.where(good, self.settings.desirable_weight, self.settings.undesirable_weight)
        total = (weights * torch.sigmoid(-beta * ahead)).sum()
        shown = beta * rewards.detach()
        metrics = {
            "accuracy": Ratio((ahead.detach() > 0).sum(), len(shown)),
            "reward_chosen": Ratio(shown[good].sum(), good.sum()),
            "reward_rejected": Ratio(shown[~good].sum(), (~good).sum()),
            "kl": Ratio(kl * len(shown), len(shown)),
        }
        return LossOutput({"policy": total}, metrics)

    def _rewards(self, batch: PackedBatch, scores: TokenScores) -> Tensor:
        assert scores.logprobs is not None
        return batch.segment_sum(scores.logprobs - batch.columns["reference_logprobs"])

    def _kl(self, batch: PackedBatch) -> float:
        if self.settings.kl != "mismatched":
            return 0.0
        total, count = batch.statistics["kl"]
        kl = float(total) / max(float(count), 1.0)
        if not math.isfinite(kl):  # max(0, NaN) is 0; of an infinite one the loss is finite, and its gradient zero
            raise NumericsError(
                f"kto: the KL estimate is {kl}: some prompt with another row's reply has no finite log-probability, by "
                "the model or by its reference; set kl: none to do without the estimate"
            )
        return max(0.0, kl)
