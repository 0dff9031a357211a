"""Settings of the losses of sampled replies (the stage `online`). No torch here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from aftertrain.core.ground.usage import used_unless
from aftertrain.core.settings import PositiveInt, Settings

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
PolicyReduction = Literal["token_mean", "sequence_mean", "sum"]

BELOW = "How far the probability ratio may fall below 1 before a token stops pushing."


class PPOSettings(Settings):
    """Clipped policy and value losses (F37); the defaults are Tülu 3's."""

    clip: Positive = Field(0.2, description="How far the probability ratio may leave 1 before a token stops pushing.")
    value_clip: Positive | None = Field(
        0.2, description="How far a value may leave its old one; null does not clip. In units of the reward."
    )
    value_coefficient: NotNegative = Field(0.1, description="Weight of the value loss, beside its ½.")
    entropy_coefficient: NotNegative = Field(
        0.0, description="Weight of the entropy bonus; above 0 the entropy is computed and shown."
    )
    show_entropy: Annotated[bool, used_unless("entropy_coefficient")] = Field(
        False, description="Compute and show the policy's entropy without a bonus."
    )


class GRPOSettings(Settings):
    """The clipped policy loss without a critic; the defaults are Tülu 3.1's."""

    clip: Positive = Field(0.2, description=BELOW)
    clip_high: Positive | None = Field(
        None, description="How far it may rise above 1; null is as far as clip. DAPO has 0.28."
    )
    reduction: Literal["token_mean", "sequence_mean"] = Field(
        "token_mean",
        description="Averaged over all response tokens of the step (Tülu 3.1), or over replies of each reply's mean "
        "(DeepSeekMath), where a token of a short reply counts more.",
    )


class DrGRPOSettings(Settings):
    """GRPO whose replies are divided by a constant (Liu et al. 2025)."""

    clip: Positive = Field(0.2, description=BELOW)
    clip_high: Positive | None = Field(None, description="How far it may rise above 1; null is as far as clip.")
    length: PositiveInt = Field(
        3000,
        description="The constant, in tokens, that each reply's sum is divided by; sampling.max_new_tokens keeps the "
        "loss on the scale of the other losses. The authors generated at most 3000.",
    )


class DAPOSettings(Settings):
    """Clip-higher and the mean over all tokens (Yu et al. 2025)."""

    clip: Positive = Field(0.2, description=BELOW)
    clip_high: Positive = Field(0.28, description="How far it may rise above 1: more, so that rare tokens can grow.")


class GSPOSettings(Settings):
    """One ratio for a whole reply (Zheng et al. 2025)."""

    clip: Positive = Field(
        3e-4, description="How far a reply's ratio, a mean over its tokens, may fall below 1 before it stops pushing."
    )
    clip_high: Positive = Field(4e-4, description="How far it may rise above 1.")
    credit: Literal["sequence", "token"] = Field(
        "sequence",
        description="sequence: a reply is credited with its mean advantage (GSPO); token: each token with its own, "
        "under the reply's ratio (GSPO-token). The same where all tokens of a reply have one advantage.",
    )


class CISPOSettings(Settings):
    """REINFORCE whose importance weights are clipped (MiniMax-M1, 2025)."""

    clip: Positive | None = Field(
        None, description="The weight is at least 1 - clip; null has no lower bound (MiniMax-M1)."
    )
    clip_high: Positive = Field(
        4.0,
        description="The weight is at most 1 + clip_high. MiniMax-M1 does not tell its own; 5 is what ScaleRL takes "
        "for the whole bound.",
    )


class ReinforceSettings(Settings):
    """The plain policy gradient (Williams 1992)."""

    reduction: PolicyReduction = Field(
        "sum",
        description="sum: each reply's sum, averaged over replies, which alone is the gradient of the expected reward; "
        "token_mean: over all response tokens of the step; sequence_mean: each reply's mean, averaged over replies.",
    )


class ActorCriticSettings(Settings):
    """Policy gradient and squared error of the critic, neither clipped (F37)."""

    value_coefficient: NotNegative = Field(1.0, description="Weight of the value loss, beside its ½.")
