"""GSPO: ratio, clip and credit of whole replies (Zheng et al. 2025, arXiv 2507.18071)."""

from __future__ import annotations

from torch import Tensor

from aftertrain.core.batch import PackedBatch
from aftertrain.plugins.losses.policy import PolicyLoss, clipped
from aftertrain.plugins.losses.policy_settings import GSPOSettings, PolicyReduction


class GSPO(PolicyLoss[GSPOSettings]):
    """max(−A·s, −A·clip(s, 1 − clip, 1 + clip_high)), averaged over replies (eq. 5).

    s = (π(y)/π_old(y))^(1/|y|) (eq. 7). A is the mean of the advantages of the reply's tokens. With `credit: token`
    (GSPO-token, eq. 13 and 14) token t has its own A_t and s_t = sg[s]·π_t/sg[π_t], in value s, in gradient its own.
    """

    Config = GSPOSettings
    weighs_by_constants = True

    @property
    def reduction(self) -> PolicyReduction:
        """Over replies, of each one's mean."""
        return "sequence_mean"

    def log_ratio(self, batch: PackedBatch, log_ratio: Tensor) -> Tensor:
        """The reply's mean at each of its tokens; its gradient is shared by them, or each token's own."""
        of_reply = batch.segment_mean(log_ratio, batch.targets)[batch.segment_ids]
        if self.settings.credit == "sequence":
            return of_reply
        return of_reply.detach() + (log_ratio - log_ratio.detach())

    def advantages(self, batch: PackedBatch, advantages: Tensor) -> Tensor:
        """The reply's mean at each of its tokens, or each token's own."""
        if self.settings.credit == "token":
            return advantages
        return batch.segment_mean(advantages, batch.targets)[batch.segment_ids]

    def objective(self, logprobs: Tensor, ratio: Tensor, advantages: Tensor) -> tuple[Tensor, Tensor | None]:
        """The clipped surrogate, with the reply's ratio."""
        return clipped(ratio, advantages, self.settings.clip, self.settings.clip_high)
