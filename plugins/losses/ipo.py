"""Identity preference optimisation."""

from __future__ import annotations

from torch import Tensor

from aftertrain.plugins.losses.pairs import ReferencePairLoss
from aftertrain.plugins.losses.settings import IPOSettings


class IPO(ReferencePairLoss[IPOSettings]):
    """(h − 1/(2β))², h = r(y_w) − r(y_l) with r = log π − log π_ref (Azar et al. 2023, equation 17; β is its τ).

    Unlike DPO's it has a minimum at a finite h, so that certain preferences do not drive the policy ever further away.
    Log-probs are means per token unless `normalize: none`.
    """

    Config = IPOSettings

    def objective(self, h: Tensor, beta: float) -> Tensor:
        """(h − 1/(2β))²."""
        return (h - 1 / (2 * beta)).square()
