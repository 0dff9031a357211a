"""Bradley-Terry reward model."""

from __future__ import annotations

from torch.nn.functional import logsigmoid

from aftertrain.core.batch import PackedBatch, TokenScores
from aftertrain.core.loss import Loss, LossOutput, Needs
from aftertrain.plugins.losses.pairs import counted_pairs, reward_metrics
from aftertrain.plugins.losses.settings import RewardModelSettings


class RewardModel(Loss[RewardModelSettings]):
    """−log σ(s_w − s_l − m) + c·(s_w + s_l)², s the scalar head at a reply's last token.

    The first term is the Bradley-Terry likelihood (Ouyang et al. 2022, equation 1), with `margin: true` less the pair's
    margin m (Touvron et al. 2023, "Llama 2", equation 2). The second keeps scores around 0 (Eisenstein et al. 2023), as
    they are known otherwise only up to a constant.
    """

    Config = RewardModelSettings

    @property
    def needs(self) -> Needs:
        """Values of pairs, and their margins where they are used."""
        return Needs(
            records=frozenset({"PreferencePair"}),
            scores=frozenset({"values"}),
            atom="pair",
            per={"value": "pair"},
            margins=self.settings.margin,
        )

    def __call__(self, batch: PackedBatch, scores: TokenScores) -> LossOutput:
        """Sum over pairs of −log σ(s_w − s_l − m), and what centres the scores."""
        assert scores.values is not None
        chosen, rejected = counted_pairs(batch, scores.values[batch.last_token()])
        z = chosen - rejected
        if self.settings.margin:
            z = z - counted_pairs(batch, batch.segments["margin"])[0]
        total = (-logsigmoid(z) + self.settings.centering * (chosen + rejected) ** 2).sum()
        return LossOutput({"value": total}, reward_metrics(chosen, rejected))
