"""Generalised advantage estimation from a critic's values (F37; Schulman et al. 2016, arXiv 1506.02438, eq. 16)."""

from __future__ import annotations

from aftertrain.core.advantage import Advantage, Credit, Replies
from aftertrain.core.learning.rl import gae, values_before, whiten
from aftertrain.plugins.advantages.settings import GAESettings


class GAE(Advantage[GAESettings]):
    """Columns `advantages`, `returns` and `old_values` (V before the token).

    Returns come from the advantages as they are; `advantages` are whitened over the whole step where that is set.
    """

    Config = GAESettings

    def __call__(self, replies: Replies) -> Credit:
        """One backward pass over each reply's actions."""
        settings, values = self.settings, replies.values
        assert values is not None
        mask, sizes = replies.mask, replies.sizes
        raw, returns = gae(replies.token_rewards, values, mask, sizes, gamma=settings.gamma, lam=settings.lambda_)
        whitened, mean, std = whiten(raw, mask, reduce=replies.sum)
        columns = {
            "advantages": whitened if settings.whiten else raw,
            "returns": returns,
            "old_values": values_before(values),
        }
        return Credit(columns, {"advantage_mean": mean, "advantage_std": std})
