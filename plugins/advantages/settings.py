"""Settings of the advantage estimators, and what their papers set of the stage. No torch here."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from aftertrain.core.advantage import AdvantageSettings, Method
from aftertrain.core.settings import Fraction

ANYWHERE: frozenset[Literal["reward", "loss"]] = frozenset({"reward", "loss"})
IN_LOSS = {"place": "loss", "estimator": "k3", "score_function": False}


class GAESettings(AdvantageSettings):
    """Generalised advantage estimation (F37; Schulman et al. 2016), with Tülu 3's settings of PPO."""

    method: ClassVar[Method] = Method(
        critic=True,
        kl=ANYWHERE,
        columns=frozenset({"advantages", "returns", "old_values"}),
        defaults={
            "loss": "ppo",
            "kl": {"place": "reward", "estimator": "k1"},
            "batch": {"updates": 4},
            "reward": {"missing_eos": -10.0},
        },
    )
    gamma: Fraction = Field(1.0, description="Discount of later rewards.")
    lambda_: Fraction = Field(0.95, alias="lambda", description="λ; 1 trusts the rewards alone.")
    whiten: bool = Field(True, description="Scale advantages to mean 0, variance 1 over the step's tokens.")


class ActorCriticSettings(AdvantageSettings):
    """What was earned and what is expected, one step ahead (F37), with a critic and one update a step."""

    method: ClassVar[Method] = Method(
        critic=True,
        kl=ANYWHERE,
        columns=frozenset({"advantages", "returns"}),
        defaults={"loss": "actor_critic", "kl": {"place": "reward", "estimator": "k1"}},
    )
    gamma: Fraction = Field(1.0, description="Discount of later rewards.")
    baseline: bool = Field(
        True, description="Take off what was expected before the action; false: R_t + γV as it stands (F37)."
    )


class GroupSettings(AdvantageSettings):
    """(r − mean)/σ over the replies to one prompt (GRPO, DeepSeekMath, arXiv 2402.03300, eq. 3)."""

    method: ClassVar[Method] = Method(
        samples=2,
        scale_free=True,
        defaults={"loss": "grpo", "kl": IN_LOSS, "batch": {"samples_per_prompt": 8}},
    )


class GroupMeanSettings(AdvantageSettings):
    """r − mean over the replies to one prompt, without σ (Dr. GRPO, arXiv 2503.20783)."""

    method: ClassVar[Method] = Method(
        samples=2,
        defaults={"loss": "dr_grpo", "kl": {"beta": 0.0}, "batch": {"samples_per_prompt": 8}},
    )


class RLOOSettings(AdvantageSettings):
    """r minus the mean of the others' (RLOO; Kool et al. 2019, Ahmadian et al. 2024, arXiv 2402.14740, eq. 8)."""

    method: ClassVar[Method] = Method(
        samples=2,
        kl=ANYWHERE,
        defaults={
            "loss": "reinforce",
            "kl": {"place": "reward", "estimator": "k1"},
            "batch": {"samples_per_prompt": 4},
        },
    )


class PassAtKSettings(AdvantageSettings):
    """What a reply adds to the best of k (Walder and Karkhanis 2025, arXiv 2505.15201)."""

    method: ClassVar[Method] = Method(
        samples=2,
        defaults={"loss": "reinforce", "kl": {"beta": 0.0}, "batch": {"samples_per_prompt": 16}},
    )
    k: Annotated[int, Field(ge=2)] = Field(
        4, description="Replies of which the best shall be good; rloo is 1. At most samples_per_prompt."
    )

    @property
    def samples(self) -> int:
        """As many as a set has."""
        return self.k


class ProcessSettings(AdvantageSettings):
    """Rewards of steps against those of all steps of the group (DeepSeekMath, arXiv 2402.03300, section 4.1.3)."""

    method: ClassVar[Method] = Method(
        samples=2,
        scale_free=True,
        defaults={"loss": "grpo", "kl": IN_LOSS, "batch": {"samples_per_prompt": 8}},
    )
    step: Literal["turn", "token"] = Field(
        "turn",
        description="What has a reward of its own: a turn (the tokens between two outputs of a tool; a reply without "
        "tools is one) or each token.",
    )


class ReinforcePlusPlusSettings(AdvantageSettings):
    """Rewards to go, scaled to mean 0 and variance 1 over the step's tokens (REINFORCE++, arXiv 2501.03262)."""

    method: ClassVar[Method] = Method(
        kl=ANYWHERE,
        defaults={"loss": "grpo", "kl": {"place": "reward", "estimator": "k1"}},
    )
    gamma: Fraction = Field(1.0, description="Discount of later rewards.")


class ReinforcePlusPlusBaselineSettings(AdvantageSettings):
    """The same after the mean of the replies to the same prompt is taken off (REINFORCE++-baseline, the same paper)."""

    method: ClassVar[Method] = Method(
        samples=2,
        kl=ANYWHERE,
        defaults={"loss": "grpo", "kl": IN_LOSS | {"estimator": "k2"}, "batch": {"samples_per_prompt": 8}},
    )


class PairsSettings(AdvantageSettings):
    """The best reply to a prompt against the worst (OAIF, arXiv 2402.04792; F25)."""

    method: ClassVar[Method] = Method(
        samples=2,
        pairs=True,
        columns=frozenset(),
        kl=frozenset(),
        scale_free=True,
        defaults={"loss": "dpo", "kl": {"beta": 0.0}, "batch": {"samples_per_prompt": 2}},
    )
