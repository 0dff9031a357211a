"""The plain actor-critic: what an action earned and what is expected after it (F37; Sutton and Barto, section 13.5)."""

from __future__ import annotations

from aftertrain.core.advantage import Advantage, Credit, Replies
from aftertrain.core.learning.rl import gae
from aftertrain.plugins.advantages.settings import ActorCriticSettings


class ActorCritic(Advantage[ActorCriticSettings]):
    """A_t = R_t + γ·V_{t+1} − V_t, or without the baseline R_t + γ·V_{t+1}; the column `returns` is R_t + γ·V_{t+1}.

    V_t is the value before action t, and 0 after the last one. With −A·log π this is the gradient of F37's L_RLVR, the
    expectation under the policy of R_t + γV; the baseline leaves it as it is on average, and steadies it.
    """

    Config = ActorCriticSettings

    def __call__(self, replies: Replies) -> Credit:
        """Generalised advantage estimation with λ = 0."""
        assert replies.values is not None
        steps, returns = gae(
            replies.token_rewards, replies.values, replies.mask, replies.sizes, gamma=self.settings.gamma, lam=0.0
        )
        return Credit({"advantages": steps if self.settings.baseline else returns, "returns": returns})
